//! The HTTP front.

pub mod wire;
