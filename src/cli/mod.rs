//! The command line: one file per command.

pub mod audit;
pub mod keys;
pub mod policy;
