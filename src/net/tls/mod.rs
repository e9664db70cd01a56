//! TLS on both sides, with rustls: what the front accepts with and what connections to the services behind us verify with.
//!
//! Always holds: TLS 1.2 and 1.3 only; a peer is verified, or the connection fails (T21); certificates and keys are read when
//! the configuration is, so that a reload takes new ones and a connection that stands keeps its own.

pub mod client;
pub mod dates;
pub mod pem;
pub mod server;
