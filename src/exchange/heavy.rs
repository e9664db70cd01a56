//! Work that takes long does not keep a runtime thread from the other connections on it.
//!
//! A body of 16 MiB takes some 100 ms to walk and protect. Meanwhile another thread takes over what else waits. Replies need
//! none of this: they are worked on window by window.

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::Semaphore;

/// Bodies of fewer bytes are done before another thread could take over.
const HEAVY_BYTES: usize = 256 << 10;

/// Bodies that are worked on at a time: more than there are processors would only take memory.
#[derive(Debug)]
pub(super) struct Heavy(Semaphore);

impl Heavy {
    pub(super) fn new() -> Self {
        Self(Semaphore::new(std::thread::available_parallelism().map_or(1, std::num::NonZero::get)))
    }

    /// Works on a body of so many bytes.
    pub(super) async fn work<T>(&self, bytes: usize, work: impl FnOnce() -> T) -> T {
        // On a runtime of one thread there is no other one to take over.
        if bytes < HEAVY_BYTES || Handle::current().runtime_flavor() == RuntimeFlavor::CurrentThread {
            return work();
        }
        // It is never closed.
        let _one = self.0.acquire().await;
        tokio::task::block_in_place(work)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn others_go_on_while_a_large_body_is_worked_on() {
        let (told, tells) = mpsc::channel();
        let tasks = tokio_util::task::TaskTracker::new();
        let done = tasks.spawn(async {
            // The only worker is busy until this other task has run on it, or on the one that took over.
            Heavy::new()
                .work(HEAVY_BYTES, move || {
                    let waited = Handle::current().spawn(async move { told.send(()) });
                    let told = tells.recv_timeout(std::time::Duration::from_mins(1));
                    drop(waited);
                    told
                })
                .await
        });
        done.await.unwrap().expect("the other task ran meanwhile");
    }

    #[tokio::test]
    async fn one_thread_does_it_all_itself() {
        assert_eq!(Heavy::new().work(HEAVY_BYTES, || 1).await, 1);
    }
}
