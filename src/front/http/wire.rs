//! The guard on the wire of HTTP/1.1. Filled in by its own commit.
