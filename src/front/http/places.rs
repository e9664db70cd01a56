//! Places for the connections that need memory: over HTTP/1.1 while they are awake, over HTTP/2 as long as they last.
//!
//! Always holds: no more connections have buffers at a time than `[limits] memory_bytes` is reckoned to suffice for. The others wait: a
//! connection that waits costs what one costs that does nothing. Called by [`super::connection`] and [`super::http2`].

use std::time::Duration;

use tokio::sync::{Notify, Semaphore, SemaphorePermit};

/// A request waits for so long until its connection may wake up; then it is turned away.
const PATIENCE: Duration = Duration::from_secs(1);
/// While a connection over HTTP/2 waits, those that do nothing are asked so often to leave.
const ASKS: Duration = Duration::from_millis(200);

/// See the module.
#[derive(Debug)]
pub(super) struct Places {
    awake: Semaphore,
    http2: Semaphore,
    /// With fewer places left than this, connections over HTTP/1.1 that wait for their next request rest at once.
    spare: usize,
    /// A connection over HTTP/2 waits for a place.
    wanted: Notify,
}

impl Places {
    /// For `most` connections over HTTP/1.1 that are awake and half as many over HTTP/2. Two in five places may be taken by connections that
    /// wait for their next request.
    pub(super) fn new(most: usize) -> Self {
        let most = most.clamp(2, Semaphore::MAX_PERMITS);
        let (awake, http2) = (Semaphore::new(most), Semaphore::new(most / 2));
        Self { awake, http2, spare: most - most / 5 * 2, wanted: Notify::new() }
    }

    /// Should a connection over HTTP/1.1 that has nothing to do rest at once?
    pub(super) fn crowded(&self) -> bool {
        self.awake.available_permits() < self.spare
    }

    /// A place for a connection over HTTP/1.1 that has a request; `None`: there was none for a while.
    pub(super) async fn awake(&self) -> Option<SemaphorePermit<'_>> {
        match self.awake.try_acquire() {
            Ok(place) => Some(place),
            // In a box of its own, for it is rare.
            Err(_none) => Box::pin(tokio::time::timeout(PATIENCE, self.awake.acquire())).await.ok()?.ok(),
        }
    }

    /// A place for a connection over HTTP/2, for which those that do nothing make room; `None`: there was none for so long.
    pub(super) async fn http2(&self, longest: Duration) -> Option<SemaphorePermit<'_>> {
        if let Ok(place) = self.http2.try_acquire() {
            return Some(place);
        }
        let asks = async {
            loop {
                self.wanted.notify_waiters();
                tokio::time::sleep(ASKS).await;
            }
        };
        tokio::select! {
            place = tokio::time::timeout(longest, self.http2.acquire()) => place.ok()?.ok(),
            () = asks => None,
        }
    }

    /// Waits until another connection over HTTP/2 wants a place.
    pub(super) async fn wanted(&self) {
        self.wanted.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_request_waits_a_second_for_a_place_and_connections_rest_before_all_are_taken() {
        let places = Places::new(5);
        let mut held = Vec::new();
        for _ in 0..5 {
            assert_eq!(places.crowded(), held.len() > 2, "{}", held.len());
            held.push(places.awake().await.unwrap());
        }
        let started = tokio::time::Instant::now();
        assert!(places.awake().await.is_none());
        assert_eq!(started.elapsed(), PATIENCE);
        let (came, ()) = tokio::join!(places.awake(), async { drop(held.pop()) });
        assert!(came.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_waits_asks_the_others_until_one_leaves() {
        let places = Places::new(2);
        let held = places.http2(Duration::ZERO).await.unwrap();
        let leaves = async {
            places.wanted().await;
            places.wanted().await;
            drop(held);
        };
        let (came, ()) = tokio::join!(places.http2(Duration::from_secs(9)), leaves);
        assert!(came.is_some());
        assert!(places.http2(Duration::from_secs(9)).await.is_none());
    }
}
