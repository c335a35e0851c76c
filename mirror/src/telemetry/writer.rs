//! Threads that write logs, so that nothing that serves waits for a terminal, a pipe or a disk.
//!
//! [`Output`] takes whole lines and never waits: a line that finds the queue full is lost and counted, and once the reader goes on the log says how
//! many. [`Writer`] owns the thread and ends it, in bounded time. [`Lines`] is an output as the access log uses it.

use std::convert::Infallible;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, TrySendError, channel, sync_channel};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;

use crate::config::LogFormat;

/// Where whole lines go; cheap to clone. A stopped reader must not stop pulls.
#[derive(Clone, Debug)]
pub struct Output {
    lost: Counter,
    queue: SyncSender<Vec<u8>>,
}

/// The thread's owner.
#[derive(Debug)]
pub struct Writer {
    /// Disconnected by the thread's end.
    alive: Receiver<Infallible>,
    ending: Arc<AtomicBool>,
    queue: SyncSender<Vec<u8>>,
}

impl Output {
    /// Starts the thread `name`, which hands lines to `sink`, several at once and each of them whole.
    pub fn spawn(name: &str, sink: impl Write + Send + 'static) -> io::Result<(Self, Writer)> {
        Self::spawn_telling(name, sink, tell_loss)
    }

    fn spawn_telling(name: &str, sink: impl Write + Send + 'static, tell_loss: fn(u64)) -> io::Result<(Self, Writer)> {
        let (queue, taken) = sync_channel(QUEUE);
        let (lives, alive) = channel();
        let (lost, ending) = (Counter::default(), Arc::<AtomicBool>::default());
        let work = Work { _lives: lives, ending: ending.clone(), lost: lost.clone(), sink, taken, tell_loss };
        std::thread::Builder::new().name(name.into()).spawn(move || work.run())?;
        Ok((Self { lost, queue: queue.clone() }, Writer { alive, ending, queue }))
    }

    /// Whether the line was taken.
    pub fn write(&self, line: Vec<u8>) -> bool {
        let is_lost = matches!(self.queue.try_send(line), Err(TrySendError::Full(_)));
        if is_lost {
            self.lost.inc();
        }
        !is_lost
    }

    /// Lines that were lost so far.
    pub(super) fn lost(&self) -> &Counter {
        &self.lost
    }
}

impl Writer {
    /// Writes what is queued and ends the thread; whether it did so within `patience`. Blocks for no longer. Lines that come later are lost.
    pub fn finish(self, patience: Duration) -> bool {
        self.ending.store(true, Ordering::Release);
        // An empty line wakes the thread. Where the queue is full it has more than enough to wake up for, and sees the end when it is through.
        let _ = self.queue.try_send(Vec::new());
        matches!(self.alive.recv_timeout(patience), Err(RecvTimeoutError::Disconnected))
    }
}

/// What the thread has.
struct Work<S> {
    _lives: Sender<Infallible>,
    ending: Arc<AtomicBool>,
    lost: Counter,
    sink: S,
    taken: Receiver<Vec<u8>>,
    tell_loss: fn(u64),
}

impl<S: Write> Work<S> {
    fn run(mut self) {
        let (mut batch, mut told) = (Vec::new(), 0);
        let mut next = self.taken.recv().ok();
        while let Some(line) = next {
            self.write(line, &mut batch);
            next = self.taken.try_recv().ok();
            if next.is_some() || self.ending.load(Ordering::Acquire) {
                continue; // The end comes when nothing is queued.
            }
            self.tell_loss_since(&mut told);
            next = self.taken.recv().ok();
        }
    }

    /// One write for all lines that wait. A sink that fails (a closed pipe) is tried again with the next: nobody else can be told.
    fn write(&mut self, line: Vec<u8>, batch: &mut Vec<u8>) {
        batch.extend(line);
        while batch.len() < BATCH
            && let Ok(line) = self.taken.try_recv()
        {
            batch.extend(line);
        }
        let _ = self.sink.write_all(batch).and_then(|()| self.sink.flush());
        batch.clear();
    }

    /// All that waited is written: now there is room for a word about what is not.
    fn tell_loss_since(&self, told: &mut u64) {
        let lost = self.lost.get();
        if lost > *told {
            (self.tell_loss)(lost - *told);
            *told = lost;
        }
    }
}

fn tell_loss(lines: u64) {
    tracing::warn!(log.lines = lines, "{lines} lines of the log were lost, since nobody read it");
}

/// Lines of the access log: an output, and how a line looks. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Lines {
    fields: Arc<[(String, String)]>,
    format: LogFormat,
    output: Output,
}

impl Lines {
    /// Starts the thread. Each line carries `fields`.
    pub fn spawn(format: LogFormat, fields: &[(String, String)], sink: impl Write + Send + 'static) -> io::Result<(Self, Writer)> {
        let (output, writer) = Output::spawn("access-log", sink)?;
        Ok((Self { fields: fields.into(), format, output }, writer))
    }

    pub(super) fn fields(&self) -> &[(String, String)] {
        &self.fields
    }

    pub(super) fn format(&self) -> LogFormat {
        self.format
    }

    /// Whether the line was taken.
    pub(super) fn write(&self, line: Vec<u8>) -> bool {
        self.output.write(line)
    }
}

/// Bytes in one write.
const BATCH: usize = 64 << 10;
/// Lines that may wait: some 20 MB at the most, a second of the highest load.
const QUEUE: usize = 1 << 16;

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<usize>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            *self.0.lock().expect("whole") += bytes.len();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    const PATIENCE: Duration = Duration::from_mins(1);
    static TOLD: AtomicU64 = AtomicU64::new(0);

    #[test]
    fn a_log_whose_reader_stopped_loses_lines_holds_nobody_and_says_how_many() {
        let sink = Sink::default();
        let tell = |lines| _ = TOLD.fetch_add(lines, Ordering::SeqCst);
        let (output, writer) = Output::spawn_telling("log", sink.clone(), tell).expect("a thread");
        let stopped = sink.0.lock().expect("whole");
        let taken = (0..10 * QUEUE).take_while(|_| output.write(b"line\n".to_vec())).count();
        assert!((QUEUE..10 * QUEUE).contains(&taken), "{taken}");
        assert!(!output.write(b"line\n".to_vec()));
        assert_eq!(output.lost().get(), 2);
        drop(stopped);
        while TOLD.load(Ordering::SeqCst) < 2 {
            std::thread::yield_now();
        }
        assert!(output.write(b"line\n".to_vec()), "it goes on");
        assert!(writer.finish(PATIENCE));
        assert_eq!(*sink.0.lock().expect("whole"), (taken + 1) * 5, "what was taken is written before the end");
        assert!(output.write(b"late".to_vec()), "nobody is left to lose it to");
    }

    #[test]
    fn a_reader_that_never_comes_back_does_not_hold_the_end() {
        for lines in [1, 2 * QUEUE] {
            let sink = Sink::default();
            let (output, writer) = Output::spawn("log", sink.clone()).expect("a thread");
            let stopped = sink.0.lock().expect("whole");
            for _ in 0..lines {
                output.write(b"line\n".to_vec());
            }
            assert!(!writer.finish(Duration::from_millis(10)), "it says that something is left");
            drop(stopped);
        }
    }
}
