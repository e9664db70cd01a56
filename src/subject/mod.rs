//! What is known of data subjects, and what is opened by exception.
//!
//! Exceptions: `exception`.

pub mod exception;
