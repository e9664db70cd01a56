//! Sudare.
#![expect(missing_docs, clippy::todo, reason = "sketch")]
pub mod audit;
pub mod base;
pub mod caller;
pub mod cli;
pub mod config;
pub mod crypto;
pub mod dialect;
pub mod document;
pub mod field;
pub mod keys;
pub mod purpose;
pub mod store;
pub mod upstream;
