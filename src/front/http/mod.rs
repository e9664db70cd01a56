//! HTTP in: [`accept`] takes connections, `connection` serves one, [`wire`] refuses ambiguous framing before hyper sees it,
//! `answer` brings one request to the exchange, `reply` alone turns an error into a status and a body.

pub mod accept;
mod answer;
mod connection;
pub mod http2;
mod reply;
pub mod wire;
