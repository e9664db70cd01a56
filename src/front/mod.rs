//! What faces the callers. So far: the guard on the wire of HTTP/1.1.

pub mod http;
