//! Sudare: a screen between applications and their storage.
//!
//! A reverse proxy that protects personal fields in JSON on the way in, and reveals them on the way out only to a caller whose
//! declared purpose allows it, at the least revealing level that serves that purpose.
//!
//! The life of a request is one page, [`exchange`]. Everything else is one step of it: [`front`] accepts, [`dialect`]
//! classifies, [`caller`] identifies, [`purpose`] decides, [`document`] finds the values, [`field`] protects and reveals them
//! with keys from [`keys`], [`upstream`] forwards, [`audit`] records. [`config`] reads the two files, [`app`] builds it all
//! once, [`cli`] is the command line. `ARCHITECTURE.md` has the map and the table of who may import whom.

pub mod admin;
pub mod app;
pub mod audit;
pub mod base;
pub mod batch;
pub mod caller;
pub mod cli;
pub mod config;
pub mod crypto;
pub mod dialect;
pub mod discover;
pub mod document;
pub mod encoding;
pub mod exchange;
pub mod field;
pub mod front;
pub mod keys;
pub mod metrics;
pub mod net;
pub mod normalise;
pub mod purpose;
pub mod store;
pub mod subject;
pub mod sweep;
pub mod upstream;
pub mod vault;
