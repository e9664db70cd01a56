//! Integration tests: one binary, real sockets. Each trap of the threat model has a test named after its number.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "tests"
)]

mod canary;
mod destroy;
mod deterministic;
mod encodings;
mod envelopes;
mod exceptions;
mod facts;
mod feeds;
mod guesses;
mod handover;
mod hostile;
mod http;
mod http2;
mod idle;
mod index;
mod jwt;
mod kill;
mod leak_guard;
mod liar;
mod life;
mod lifecycle;
mod limits;
mod load;
mod migration;
#[cfg(feature = "otlp")]
mod otlp;
mod patches;
mod providers;
mod proxy_protocol;
mod published;
mod replication;
mod rewrap;
mod rings;
mod rotation;
mod roundtrips;
mod rows;
mod searches;
mod semantics;
mod smuggling;
mod store;
mod support;
mod tls;
mod tokens;
mod unix;
mod upkeep;
mod upstream_faults;
mod upstream_tls;
mod views;
mod writes;
