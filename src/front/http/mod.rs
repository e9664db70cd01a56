//! HTTP in: [`accept`] takes connections, `connection` serves one (over `tls`, behind a load balancer by `proxy_protocol`, if there is a place for it in `places`), [`wire`] refuses ambiguous framing before hyper sees it,
//! `answer` brings one request to the exchange, `reply` alone turns an error into a status and a body.

pub mod accept;
mod answer;
mod connection;
mod crowd;
mod ending;
pub mod http2;
mod places;
mod proxy_protocol;
mod reply;
mod tls;
mod unread;
pub mod wire;

/// What is spoken over TLS, offered by ALPN, the preferred one first. The last alone where HTTP/2 is switched off.
pub const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];
