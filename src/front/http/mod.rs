//! HTTP in: [`accept`] takes connections, `connection` serves one, [`wire`] refuses ambiguous framing before hyper sees it,
//! `answer` brings one request to the exchange, `reply` alone turns an error into a status and a body.

pub mod accept;
mod answer;
mod connection;
mod crowd;
mod reply;
mod unread;
pub mod wire;
