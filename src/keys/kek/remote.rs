//! One question to a provider over HTTP, from code that blocks.
//!
//! Always holds: the call runs on a thread and a small runtime of its own, so that it neither blocks a thread of the runtime that
//! serves nor needs one (a command line has none); redirects are not followed; what comes back is bounded.

use bytes::Bytes;
use http::{Request, StatusCode};
use tokio::runtime::{Builder, Runtime};
use zeroize::Zeroizing;

use super::provider::ProviderError;
use crate::net::fetch::{FetchError, Reply, Service, Statuses};

/// Most of an answer that is read. The longest that is meant, a key policy's refusal with its explanation, has some kilobytes.
const MAX_ANSWER: usize = 64 << 10;

/// Asks. The thread that calls waits.
pub(super) fn ask(service: &Service, request: Request<Bytes>) -> Result<Reply, ProviderError> {
    let asked = std::thread::scope(|scope| {
        let call = scope.spawn(|| {
            let runtime = Builder::new_current_thread().enable_io().enable_time().build();
            let runtime: Runtime =
                runtime.map_err(|error| ProviderError::Local(format!("no runtime can be started: {error}")))?;
            let asked = runtime.block_on(service.ask(request, Statuses::All, MAX_ANSWER));
            // A resolver that hangs must not keep us: what it looks up is given up.
            runtime.shutdown_background();
            asked.map_err(|error| of_fetch(&error))
        });
        call.join()
    });
    let reply = asked.map_err(|_panic| ProviderError::Local("the call broke off: a defect of Sudare".to_owned()))??;
    if reply.status.is_redirection() {
        return Err(ProviderError::Outage(format!(
            "it redirects (HTTP {}), which is never followed: write the address that serves",
            reply.status.as_u16()
        )));
    }
    Ok(reply)
}

fn of_fetch(error: &FetchError) -> ProviderError {
    ProviderError::Outage(format!("it cannot be asked: {error}"))
}

/// A body with something secret in it, overwritten once it is sent. What the connection buffers of it is not.
pub(super) fn secret_body(text: Zeroizing<String>) -> Bytes {
    struct Body(Zeroizing<String>);
    impl AsRef<[u8]> for Body {
        fn as_ref(&self) -> &[u8] {
            self.0.as_bytes()
        }
    }
    Bytes::from_owner(Body(text))
}

/// What a status means where the service says no more about it.
pub(super) fn outage(status: StatusCode, why: &str) -> ProviderError {
    let why = if why.is_empty() { String::new() } else { format!(" ({why})") };
    ProviderError::Outage(format!("it is not in service: it answered {}{why}", status.as_u16()))
}

/// For what has no better place: a random part of a whole, so that many nodes do not ask at once (T20).
pub(super) fn share(low: f64, high: f64) -> f64 {
    let byte = crate::crypto::random::<1>().map_or(128, |[byte]| byte);
    low + (high - low) * f64::from(byte) / 255.0
}
