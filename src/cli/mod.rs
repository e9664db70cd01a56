//! One file per command. Each writes to an `io::Write` it is given and returns its exit code.

pub mod check;
pub mod init;
