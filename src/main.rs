//! The command line: arguments → configuration → app → exit code.
fn main() {}
