//! The thread that writes access log lines, so that no request waits for a terminal, a pipe or a disk.

use std::io::Write;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use crate::config::LogFormat;

/// Where lines go; cheap to clone. A line that finds the queue full is lost and counted: a stopped reader must not stop pulls.
#[derive(Clone, Debug)]
pub struct Lines {
    fields: std::sync::Arc<[(String, String)]>,
    format: LogFormat,
    queue: SyncSender<Message>,
}

/// The thread's owner.
#[derive(Debug)]
pub struct Writer {
    queue: SyncSender<Message>,
    thread: JoinHandle<()>,
}

enum Message {
    End,
    Line(Vec<u8>),
}

impl Lines {
    /// Starts the thread. Each line carries `fields`, and goes to `sink` as a whole.
    pub fn spawn(format: LogFormat, fields: &[(String, String)], sink: impl Write + Send + 'static) -> std::io::Result<(Self, Writer)> {
        let (queue, taken) = sync_channel(QUEUE);
        let thread = std::thread::Builder::new().name("access-log".into()).spawn(move || write_all(&taken, sink))?;
        Ok((Self { fields: fields.into(), format, queue: queue.clone() }, Writer { queue, thread }))
    }

    pub(super) fn fields(&self) -> &[(String, String)] {
        &self.fields
    }

    pub(super) fn format(&self) -> LogFormat {
        self.format
    }

    /// Whether the line was taken.
    pub(super) fn write(&self, line: Vec<u8>) -> bool {
        !matches!(self.queue.try_send(Message::Line(line)), Err(TrySendError::Full(_)))
    }
}

impl Writer {
    /// Writes what is queued, and ends the thread. Blocking; lines that come later are lost.
    pub fn finish(self) {
        // Only a panic in the sink ends the thread before: then there is nobody to wait for.
        let _ = self.queue.send(Message::End);
        let _ = self.thread.join();
    }
}

/// One write for all lines that wait. A sink that fails (a closed pipe) is tried again with the next: nobody else can be told.
fn write_all(taken: &Receiver<Message>, mut sink: impl Write) {
    let mut batch = Vec::new();
    while let Ok(message) = taken.recv() {
        let mut next = Some(message);
        let mut ended = false;
        while let Some(message) = next {
            match message {
                Message::End => ended = true,
                Message::Line(line) => batch.extend(line),
            }
            next = if batch.len() < BATCH && !ended { taken.try_recv().ok() } else { None };
        }
        let _ = sink.write_all(&batch).and_then(|()| sink.flush());
        batch.clear();
        if ended {
            return;
        }
    }
}

/// Bytes in one write.
const BATCH: usize = 64 << 10;
/// Lines that may wait: some 20 MB at the most, a second of the highest load.
const QUEUE: usize = 1 << 16;

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    struct Sink(Arc<Mutex<usize>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            *self.0.lock().expect("whole") += bytes.len();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_log_whose_reader_stopped_loses_lines_and_holds_nobody() {
        let written = Arc::new(Mutex::new(0));
        let (lines, writer) = Lines::spawn(LogFormat::Text, &[], Sink(Arc::clone(&written))).expect("a thread");
        let stopped = written.lock().expect("whole");
        let taken = (0..10 * QUEUE).take_while(|_| lines.write(b"line\n".to_vec())).count();
        assert!((QUEUE..10 * QUEUE).contains(&taken), "{taken}");
        drop(stopped);
        writer.finish();
        assert_eq!(*written.lock().expect("whole"), taken * 5, "what was taken is written before the end");
        assert!(lines.write(b"late".to_vec()), "nobody is left to lose it to");
    }
}
