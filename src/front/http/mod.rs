//! HTTP/1.1 in: [`accept`] takes connections, [`wire`] refuses ambiguous framing before hyper sees it, `reply` alone
//! turns an error into a status and a body.

pub mod accept;
mod reply;
pub mod wire;
