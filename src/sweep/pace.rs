//! At most so many documents a second, over all tasks of a sweep.

use std::num::NonZeroU32;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

pub(super) struct Pace {
    /// Time a document takes; `None` for no bound.
    each: Option<Duration>,
    /// When the next may begin.
    next: Mutex<Instant>,
}

impl Pace {
    pub(super) fn new(rate: Option<NonZeroU32>) -> Self {
        Self { each: rate.map(|rate| Duration::from_secs(1) / rate.get()), next: Mutex::new(Instant::now()) }
    }

    /// Waits for the turn of `count` documents.
    pub(super) async fn wait(&self, count: usize) {
        let Some(each) = self.each else { return };
        let turn = {
            let mut next = self.next.lock().await;
            let turn = (*next).max(Instant::now());
            *next = turn + each * u32::try_from(count).unwrap_or(u32::MAX);
            turn
        };
        tokio::time::sleep_until(turn).await;
    }
}
