//! The command line: one file per command.

pub mod audit;
pub mod check;
pub mod init;
pub mod keys;
pub mod policy;
