//! The log: JSON or text, to standard error or output, each line with the configured fields.
//!
//! Lines are written by a thread of their own, panics too: who logs never waits for a reader. What finds no room is lost, counted, and told.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::error::Error;
use std::fmt;
use std::io;
use std::panic::PanicHookInfo;
use std::time::Duration;

use mirror::chain;
use mirror::config::{LogConfig, LogFormat};
use mirror::telemetry::{Output, Writer as Thread};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::{EnvFilter, ParseError};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, format};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::reload;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LogError {
    #[error("log.level {level:?} is no filter")]
    Filter { level: String, source: ParseError },
    #[error("cannot start the thread that writes the log")]
    Thread(#[source] io::Error),
    #[error("a log was started already")]
    Twice(#[source] TryInitError),
}

/// Whether a log can be made of it.
pub(crate) fn check(config: &LogConfig) -> Result<(), LogError> {
    filter(config).map(drop)
}

/// The process's log. Dropping it writes what is left, if anybody reads it.
pub(crate) struct Log {
    level: SetLevel,
    output: Output,
    thread: Option<Thread>,
}

/// Starts the process's log.
pub(crate) fn init(config: &LogConfig) -> Result<Log, LogError> {
    let sink: Box<dyn io::Write + Send> = if config.to_stdout { Box::new(io::stdout()) } else { Box::new(io::stderr()) };
    let (output, thread) = Output::spawn("log", sink).map_err(LogError::Thread)?;
    let queued = output.clone();
    let (subscriber, level) = subscriber(config, BoxMakeWriter::new(move || Queued(queued.clone())))?;
    subscriber.try_init().map_err(LogError::Twice)?;
    std::panic::set_hook(Box::new(say_panic));
    Ok(Log { level, output, thread: Some(thread) })
}

/// What changes the level of a log that runs.
type SetLevel = Box<dyn Fn(EnvFilter) -> Result<(), reload::Error> + Send + Sync>;

impl Log {
    /// Makes another level hold from now on.
    pub(crate) fn set_level(&self, level: EnvFilter) {
        if let Err(error) = (self.level)(level) {
            tracing::error!(error = &error as &dyn Error, "the log's level stays as it was");
        }
    }

    /// Where its lines go.
    pub(crate) fn output(&self) -> &Output {
        &self.output
    }

    /// Puts a text among the lines, as it is.
    pub(crate) fn print(&self, text: &str) {
        self.output.write(text.into());
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            drop(std::panic::take_hook()); // From now on nobody would hear it.
        }
        if let Some(thread) = self.thread.take() {
            thread.finish(LAST_WORDS); // Whom could it be told that nobody reads?
        }
    }
}

/// The panic's own words: a bug in the answer to one request must not make its thread wait for a reader either.
fn say_panic(panic: &PanicHookInfo<'_>) {
    let backtrace = Backtrace::capture();
    if backtrace.status() == BacktraceStatus::Captured {
        tracing::error!(%backtrace, "{panic}");
    } else {
        tracing::error!("{panic}");
    }
}

/// Takes each line as a whole, which is how they come.
struct Queued(Output);

impl io::Write for Queued {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.write(line.to_vec());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn subscriber(config: &LogConfig, writer: BoxMakeWriter) -> Result<(Box<dyn Subscriber + Send + Sync>, SetLevel), LogError> {
    let builder = tracing_subscriber::fmt().with_env_filter(filter(config)?).with_writer(writer).with_ansi(false);
    let fields = FixedFields::new(config);
    Ok(match config.format {
        LogFormat::Json => {
            let builder = builder.json().event_format(WithFields { inner: WithCauses(format().json().flatten_event(true)), fields });
            let builder = builder.with_filter_reloading();
            let level = builder.reload_handle();
            (Box::new(builder.finish()), Box::new(move |filter| level.reload(filter)))
        }
        LogFormat::Text => {
            let builder = builder.event_format(WithFields { inner: format(), fields }).with_filter_reloading();
            let level = builder.reload_handle();
            (Box::new(builder.finish()), Box::new(move |filter| level.reload(filter)))
        }
    })
}

/// The configured level, for a log or for [`Log::set_level`].
///
/// rustls warns of what clients send, such as an address in the place of a server's name, at each handshake: strangers would fill the log. Its warnings
/// are shown to whoever names it.
pub(crate) fn filter(config: &LogConfig) -> Result<EnvFilter, LogError> {
    let filter = EnvFilter::try_new(&config.level).map_err(|source| LogError::Filter { level: config.level.clone(), source })?;
    let is_named = config.level.contains("rustls");
    Ok(if is_named { filter } else { filter.add_directive("rustls=error".parse().expect("a directive")) })
}

/// An event's format, with the same fields at the end of each line.
struct WithFields<F> {
    fields: FixedFields,
    inner: F,
}

/// An event's format in JSON, which would say an error without its causes; the one in text says them by itself.
struct WithCauses<F>(F);

impl<S, N, F> FormatEvent<S, N> for WithCauses<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut caused = Caused::default();
        event.record(&mut caused);
        if caused.0.is_empty() {
            return self.0.format_event(context, writer, event);
        }
        let mut line = String::new();
        self.0.format_event(context, Writer::new(&mut line), event)?;
        for (bare, whole) in caused.0 {
            line = line.replacen(&bare, &whole, 1); // The event's own fields come before those of spans.
        }
        writer.write_str(&line)
    }
}

/// An event's errors that have causes, each as its field is written, and as it is to be.
#[derive(Default)]
struct Caused(Vec<(String, String)>);

impl Visit for Caused {
    fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}

    fn record_error(&mut self, field: &Field, error: &(dyn Error + 'static)) {
        if error.source().is_some() {
            let written = |text: String| format!("{}:{}", serde_json::Value::from(field.name()), serde_json::Value::from(text));
            self.0.push((written(error.to_string()), written(chain(error))));
        }
    }
}

struct FixedFields {
    /// What the line of the inner format ends with, and is put back after the fields.
    end: &'static str,
    text: String,
}

impl FixedFields {
    fn new(config: &LogConfig) -> Self {
        let (end, between): (_, fn(&str, &str) -> String) = match config.format {
            LogFormat::Json => ("}\n", |name, value| format!(",{}:{}", serde_json::Value::from(name), serde_json::Value::from(value))),
            LogFormat::Text => ("\n", |name, value| format!(" {name}={value:?}")),
        };
        let fields: Vec<_> = config.fields.iter().map(|(name, value)| between(name, value)).collect();
        Self { end, text: fields.concat() }
    }
}

impl<S, N, F> FormatEvent<S, N> for WithFields<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        if self.fields.text.is_empty() {
            return self.inner.format_event(context, writer, event);
        }
        let mut line = String::new();
        self.inner.format_event(context, Writer::new(&mut line), event)?;
        let body = line.strip_suffix(self.fields.end).unwrap_or(&line);
        writer.write_str(body)?;
        writer.write_str(&self.fields.text)?;
        writer.write_str(self.fields.end)
    }
}

/// For a reader that is slow, at the end.
const LAST_WORDS: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no writer panics").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn line(format: LogFormat, fields: &[(&str, &str)]) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let config = LogConfig { access: true, fields, format, level: "info".into(), to_stdout: false };
        let (subscriber, _) = subscriber(&config, BoxMakeWriter::new(move || writer.clone())).expect("a level");
        tracing::subscriber::with_default(subscriber, || {
            tracing::debug!("not this");
            tracing::info!(repo.name = "library/alpine", "served");
        });
        let bytes = lines.0.lock().expect("no writer panics").clone();
        let line = String::from_utf8(bytes).expect("a log is text");
        // The time is the one thing that differs from run to run.
        match format {
            LogFormat::Json => line.split_once(',').expect("a time and more").1.to_owned(),
            LogFormat::Text => line.split_once(' ').expect("a time and more").1.to_owned(),
        }
    }

    #[test]
    fn every_line_carries_the_configured_fields() {
        let fields = [("service", "registry"), ("site", "a \"b\"")];
        insta::assert_snapshot!(line(LogFormat::Json, &fields), @r#""level":"INFO","message":"served","repo.name":"library/alpine","target":"agent::logging::tests","service":"registry","site":"a \"b\""}"#);
        insta::assert_snapshot!(line(LogFormat::Text, &fields), @r#" INFO agent::logging::tests: served repo.name="library/alpine" service="registry" site="a \"b\"""#);
        insta::assert_snapshot!(line(LogFormat::Json, &[]), @r#""level":"INFO","message":"served","repo.name":"library/alpine","target":"agent::logging::tests"}"#);
    }

    #[derive(Debug, thiserror::Error)]
    #[error("cannot read \"{0}\"")]
    struct Unread(&'static str, #[source] io::Error);

    #[test]
    fn an_error_is_logged_with_its_causes_in_either_format() {
        for format in [LogFormat::Json, LogFormat::Text] {
            let lines = Lines::default();
            let writer = lines.clone();
            let fields = vec![("site".to_owned(), "tokyo".to_owned())];
            let config = LogConfig { access: true, fields, format, level: "info".into(), to_stdout: false };
            let (subscriber, _) = subscriber(&config, BoxMakeWriter::new(move || writer.clone())).expect("a level");
            tracing::subscriber::with_default(subscriber, || {
                let error = Unread("a\nb", io::Error::other("the disk is \"ill\""));
                tracing::error!(error = &error as &dyn Error, other = 7, "what is served stays");
                let bare = io::Error::other("no more to say");
                tracing::error!(error = &bare as &dyn Error, "once more");
            });
            let text = String::from_utf8(lines.0.lock().expect("no writer panics").clone()).expect("a log is text");
            assert!(text.contains("the disk is"), "{text}");
            if format == LogFormat::Json {
                let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
                assert_eq!(lines[0]["error"], "cannot read \"a\nb\": the disk is \"ill\"");
                assert_eq!(
                    (&lines[0]["other"], &lines[0]["site"], &lines[0]["message"]),
                    (&7.into(), &"tokyo".into(), &"what is served stays".into())
                );
                assert_eq!((lines.len(), &lines[1]["error"]), (2, &"no more to say".into()));
            }
        }
    }

    #[test]
    fn what_clients_make_the_tls_library_say_is_for_whoever_asks_for_it() {
        for (level, lines_of_it) in [("info", 0), ("debug", 0), ("info,rustls=warn", 1)] {
            let lines = Lines::default();
            let writer = lines.clone();
            let config = LogConfig { access: true, fields: Vec::new(), format: LogFormat::Text, level: level.into(), to_stdout: false };
            let (subscriber, _) = subscriber(&config, BoxMakeWriter::new(move || writer.clone())).expect("a level");
            tracing::subscriber::with_default(subscriber, || tracing::warn!(target: "rustls::msgs::handshake", "an address for a name"));
            let text = String::from_utf8(lines.0.lock().expect("no writer panics").clone()).expect("a log is text");
            assert_eq!(text.lines().count(), lines_of_it, "{level}: {text}");
        }
    }

    #[test]
    fn a_level_changes_while_the_log_runs() {
        for format in [LogFormat::Json, LogFormat::Text] {
            let lines = Lines::default();
            let writer = lines.clone();
            let config = |level: &str| LogConfig { access: true, fields: Vec::new(), format, level: level.into(), to_stdout: false };
            let (subscriber, set) = subscriber(&config("info"), BoxMakeWriter::new(move || writer.clone())).expect("a level");
            tracing::subscriber::with_default(subscriber, || {
                for level in ["info", "debug", "error"] {
                    set(filter(&config(level)).expect("a level")).expect("the log lives");
                    tracing::debug!("at {level}");
                }
            });
            let text = String::from_utf8(lines.0.lock().expect("no writer panics").clone()).expect("a log is text");
            assert!(text.contains("at debug") && text.lines().count() == 1, "{text}");
        }
    }
}
