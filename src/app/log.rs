//! The operator's log on standard error, written by a thread of its own.
//!
//! Always holds: no request waits for whoever reads standard error. Lines go through a bounded queue; while the reader is
//! behind, lines are dropped and counted, and the count is written down once it has caught up. A panic is logged by its place
//! alone, for its text may hold a value (T13), and libraries are not heard at any level: h2 would write down targets that it
//! refuses (T14). Called by `cli/serve`.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;

use crate::base::limits::STACK_BYTES;
use crate::config::{Log, LogFormat, LogLevel};

/// Lines that may wait. A line has some hundred bytes, so this is about a megabyte.
const MAX_LINES: usize = 4096;
/// As much is written at once.
const MAX_BATCH: usize = 64 << 10;
/// Longest wait at the end for lines that are still to be written.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// Between two looks for lines that were dropped and not yet told.
const PAUSE: Duration = Duration::from_secs(1);

/// Lines dropped since the process began; standard error, too, is there once in a process.
static DROPPED: AtomicU64 = AtomicU64::new(0);

/// Lines that were dropped because nobody read standard error.
pub fn dropped() -> u64 {
    DROPPED.load(Ordering::Relaxed)
}

enum Message {
    Line(Vec<u8>),
    /// Everything before it is written when the other end is dropped.
    Flush(SyncSender<()>),
}

/// Writes what is still queued when dropped, if that is soon done.
#[derive(Debug)]
pub struct Guard(SyncSender<Message>);

impl Drop for Guard {
    fn drop(&mut self) {
        let (done, told) = sync_channel(0);
        // With a full queue nobody reads, so there is nothing to wait for.
        if self.0.try_send(Message::Flush(done)).is_ok() {
            told.recv_timeout(LAST_WORDS).ok();
        }
    }
}

/// From now on log lines go to standard error. `SUDARE_LOG` comes before the configured level. `None` if logging was set up
/// before, by the program that runs us.
pub fn to_stderr(log: Log) -> Option<Guard> {
    let (sender, receiver) = sync_channel(MAX_LINES);
    let thread = std::thread::Builder::new().name("log".to_owned()).stack_size(STACK_BYTES);
    thread.spawn(move || write_all(&receiver, &mut io::stderr())).ok()?;
    let level = std::env::var("SUDARE_LOG").ok().and_then(|word| word.parse().ok()).unwrap_or(match log.level {
        LogLevel::Error => tracing::Level::ERROR,
        LogLevel::Warn => tracing::Level::WARN,
        LogLevel::Info => tracing::Level::INFO,
        LogLevel::Debug => tracing::Level::DEBUG,
        LogLevel::Trace => tracing::Level::TRACE,
    });
    tracing::subscriber::set_global_default(subscriber(log.format, level, Lines(sender.clone()))).ok()?;
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        tracing::error!(place, "a thread panicked: this is a defect of Sudare, please report it");
    }));
    Some(Guard(sender))
}

fn subscriber(format: LogFormat, level: tracing::Level, lines: Lines) -> Box<dyn tracing::Subscriber + Send + Sync> {
    let builder = tracing_subscriber::fmt().with_max_level(level).with_target(false).with_writer(lines);
    let ours = filter_fn(|about| is_ours(about.target()));
    match format {
        LogFormat::Json => Box::new(builder.json().flatten_event(true).finish().with(ours)),
        LogFormat::Text => Box::new(builder.finish().with(ours)),
    }
}

/// The target of an event is the path of the module that tells it.
fn is_ours(target: &str) -> bool {
    target == "sudare" || target.starts_with("sudare::")
}

/// Takes each line to the queue, or drops it.
#[derive(Clone)]
struct Lines(SyncSender<Message>);

impl<'w> MakeWriter<'w> for Lines {
    type Writer = Self;

    fn make_writer(&'w self) -> Self {
        self.clone()
    }
}

/// The formatter writes a line in one call.
impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.0.try_send(Message::Line(line.to_vec())).is_err() {
            DROPPED.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The thread's life: whatever waits, in one write.
fn write_all(messages: &Receiver<Message>, out: &mut impl Write) {
    let (mut batch, mut told) = (Vec::new(), 0);
    loop {
        let mut flushed = None;
        match messages.recv_timeout(PAUSE) {
            Ok(message) => take(message, &mut batch, &mut flushed),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        while flushed.is_none() && batch.len() < MAX_BATCH {
            let Ok(message) = messages.try_recv() else { break };
            take(message, &mut batch, &mut flushed);
        }
        // Nobody is left to tell if standard error is closed.
        out.write_all(&batch).and_then(|()| out.flush()).ok();
        batch.clear();
        let lost = dropped();
        if lost > told {
            tracing::warn!(lines = lost - told, "log lines were dropped: standard error was not read fast enough");
            told = lost;
        }
    }
}

fn take(message: Message, batch: &mut Vec<u8>, flushed: &mut Option<SyncSender<()>>) {
    match message {
        Message::Line(line) => batch.extend(line),
        Message::Flush(done) => *flushed = Some(done),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Out(std::sync::mpsc::Sender<Vec<u8>>);

    impl Write for Out {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.send(bytes.to_vec()).unwrap();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_come_out_whole_and_in_order_and_a_flush_waits_for_them() {
        let (sender, receiver) = sync_channel(8);
        let (out, written) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || write_all(&receiver, &mut Out(out)));
        let mut lines = Lines(sender.clone());
        for line in ["one\n", "two\n", "three\n"] {
            lines.write_all(line.as_bytes()).unwrap();
        }
        let guard = Guard(sender);
        drop(guard);
        let all: Vec<u8> = written.try_iter().flatten().collect();
        assert_eq!(String::from_utf8(all).unwrap(), "one\ntwo\nthree\n");
        drop(lines);
        thread.join().unwrap();
    }

    #[test]
    fn t14_what_libraries_say_is_not_written_at_any_level() {
        for format in [LogFormat::Text, LogFormat::Json] {
            let (sender, receiver) = sync_channel(8);
            tracing::subscriber::with_default(subscriber(format, tracing::Level::TRACE, Lines(sender)), || {
                tracing::debug!(target: "h2::server", "malformed path (\"/customers/mei@example.com\")");
                tracing::error!(target: "sudarely", "mei@example.com");
                tracing::trace!("ours");
            });
            let text = |message| match message {
                Message::Line(line) => String::from_utf8(line).unwrap(),
                Message::Flush(_) => panic!("nobody asked"),
            };
            let lines: Vec<_> = receiver.try_iter().map(text).collect();
            assert!(lines.len() == 1 && lines[0].contains("ours"), "{lines:?}");
        }
    }

    #[test]
    fn nobody_waits_for_a_reader_that_does_not_read() {
        let (sender, receiver) = sync_channel(2);
        let mut lines = Lines(sender.clone());
        let before = dropped();
        for _ in 0..5 {
            lines.write_all(b"line\n").unwrap();
        }
        assert_eq!(dropped() - before, 3);
        drop(Guard(sender));
        drop(receiver);
    }
}
