//! Where requests come in. One folder a protocol; each speaks it to the client and hands plain requests to `exchange`.

pub mod http;
