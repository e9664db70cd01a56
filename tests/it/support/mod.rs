//! A whole proxy in a temporary folder, a database to put behind it, and clients that speak HTTP or raw bytes.

mod client;
mod feed;
pub(crate) mod http2;
mod idp;
pub(crate) mod issuer;
pub(crate) mod keeper;
mod pki;
mod process;
mod proxy;
mod stub;

pub(crate) use client::{Answer, exchange_raw, send, send_on, try_send};
pub(crate) use feed::{Came, Live, SlowDatabase, Waiting};
pub(crate) use idp::{Idp, Says};
pub(crate) use pki::{Files, Pki};
pub(crate) use process::Process;
pub(crate) use proxy::{Database, Proxy, Setup, ask_upstream, events};
pub(crate) use stub::{Seen, Stub, StubReply, decoded, take_one};

/// The customer most tests store; every protected value is unique in the process.
pub(crate) const PERSON: &str = r#"{"id":"c-1","name":"Mei Tanaka","address":"101-0047 Uchikanda","phone":"+81355501234","id_card":"123456789018","tier":"gold"}"#;

/// The clear values of [`PERSON`].
pub(crate) const CLEAR: [&str; 4] = ["Mei Tanaka", "101-0047 Uchikanda", "+81355501234", "123456789018"];
