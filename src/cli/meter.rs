//! Progress of long commands: one line that is written over, on a terminal only; and how fast it went, for the summary.

use std::io::{self, Write as _};
use std::time::{Duration, Instant};

/// How often the line is written.
const EVERY: Duration = Duration::from_millis(300);

/// One run's progress.
pub(super) struct Meter {
    verb: &'static str,
    /// Of what `moved` is told as `reached`.
    total: Option<u64>,
    terminal: bool,
    begun: Instant,
    /// Since when `moved` counts towards this total.
    part_begun: Instant,
    written: Option<Instant>,
    /// Where the first `moved` stood: a resumed run is not faster for what it did before.
    from: Option<(u64, u64)>,
    count: u64,
}

impl Meter {
    /// `total` is what `moved` will reach: bytes, or documents.
    pub(super) fn new(verb: &'static str, total: Option<u64>, terminal: bool) -> Self {
        Self { verb, total, terminal, begun: Instant::now(), part_begun: Instant::now(), written: None, from: None, count: 0 }
    }

    /// `count` lines or documents are done; `reached` is what compares with the total (the count itself if not given).
    pub(super) fn moved(&mut self, count: u64, reached: Option<u64>) {
        let reached = reached.unwrap_or(count);
        let (first, first_reached) = *self.from.get_or_insert((0, 0));
        self.count = count - first;
        if !self.terminal || self.written.is_some_and(|written| written.elapsed() < EVERY) {
            return;
        }
        self.written = Some(Instant::now());
        let left = self.total.and_then(|total| {
            let spent = self.part_begun.elapsed().as_millis();
            let (done, all) =
                (u128::from(reached.saturating_sub(first_reached)), u128::from(total.saturating_sub(first_reached)));
            let left_ms = (spent * all.saturating_sub(done)).checked_div(done)?;
            let percent = (done * 100).checked_div(all)?.min(100);
            Some(format!("  {percent} %  {} left", clock(u64::try_from(left_ms / 1000).ok()?)))
        });
        let text = format!(
            "{}  {}{}  {}/s",
            self.verb,
            thousands(count),
            left.unwrap_or_default(),
            thousands(rate(self.count, self.part_begun.elapsed()))
        );
        let mut out = io::stderr().lock();
        // Only for looking at: if it cannot be written, nothing is lost.
        write!(out, "\r\x1b[K{text}").and_then(|()| out.flush()).ok();
    }

    /// A run that goes on where another stopped.
    pub(super) fn starts_at(&mut self, count: u64, reached: u64) {
        self.from = Some((count, reached));
    }

    /// What `moved` will reach from now on, counted anew.
    pub(super) fn expects(&mut self, total: Option<u64>) {
        (self.total, self.part_begun) = (total, Instant::now());
    }

    /// Takes the line away, so that something else can be written.
    pub(super) fn clear(&mut self) {
        if self.terminal && self.written.take().is_some() {
            let mut out = io::stderr().lock();
            write!(out, "\r\x1b[K").and_then(|()| out.flush()).ok();
        }
    }

    /// `; 3.2 s, 12,000/s`
    pub(super) fn pace(&self) -> String {
        self.pace_of(self.count)
    }

    /// The same for `count` of something else, done since the beginning.
    pub(super) fn pace_of(&self, count: u64) -> String {
        let spent = self.begun.elapsed();
        format!("; {:.1} s, {}/s", spent.as_secs_f32(), thousands(rate(count, spent)))
    }
}

fn rate(count: u64, spent: Duration) -> u64 {
    u64::try_from(u128::from(count) * 1000 / spent.as_millis().max(1)).unwrap_or(u64::MAX)
}

/// `1,234,567`
pub(super) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1:02:03` or `2:03`
fn clock(seconds: u64) -> String {
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        let all = [0, 7, 100, 1_000, 12_345, 1_234_567].map(thousands);
        assert_eq!(all, ["0", "7", "100", "1,000", "12,345", "1,234,567"]);
        assert_eq!([59, 60, 3_599, 3_600, 3_723].map(clock), ["0:59", "1:00", "59:59", "1:00:00", "1:02:03"]);
    }
}
