//! HTTP in: [`accept`] takes connections, `connection` serves one, `proxy_protocol` reads what a load balancer says first, [`wire`] refuses ambiguous framing before hyper sees it,
//! `answer` brings one request to the exchange, `reply` alone turns an error into a status and a body.

pub mod accept;
mod answer;
mod connection;
mod proxy_protocol;
mod reply;
pub mod wire;
