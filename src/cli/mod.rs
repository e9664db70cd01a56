//! The command line: one file per command; this one knows their words and nothing of what they do.
//!
//! Exit codes: 0 done, 1 failed, 2 wrong usage or configuration. Data goes to standard output, everything else to
//! standard error.

pub mod audit;
mod caller;
pub mod check;
mod demo;
pub mod init;
pub mod keys;
pub mod policy;
mod serve;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::base::SystemClock;

/// A screen between an application and its database: protects personal fields in JSON on write, reveals them by purpose.
#[derive(Debug, Parser)]
#[command(name = "sudare", version, arg_required_else_help = true, disable_help_subcommand = true)]
struct Words {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// See the whole idea work: a proxy, an embedded database, five callers; nothing to set up
    Demo(demo::Options),
    /// Write a commented sudare.toml, policy.toml and a key ring to start from
    Init {
        /// Folder to write to; made if it is not there
        #[arg(long, value_name = "DIR", default_value = ".")]
        dir: PathBuf,
    },
    /// Check both files completely; every mistake at once
    Check {
        #[command(flatten)]
        file: File,
        #[command(flatten)]
        format: Format,
    },
    /// Run the proxy; SIGHUP reloads, SIGTERM drains
    Serve {
        #[command(flatten)]
        file: File,
    },
    /// Callers: who may ask
    #[command(subcommand)]
    Caller(CallerCommand),
    /// The key ring: make, list, rotate, verify
    #[command(subcommand)]
    Keys(KeysCommand),
    /// The policy: explain, test, schema
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// The audit log: read, prove, query
    #[command(subcommand)]
    Audit(AuditCommand),
}

#[derive(Debug, Subcommand)]
enum CallerCommand {
    /// Make a credential, print it once, and the lines for sudare.toml
    Add {
        /// Name of the caller, e.g. helpdesk
        name: String,
        #[command(flatten)]
        file: File,
        /// Append the lines to sudare.toml
        #[arg(long)]
        write: bool,
    },
}

#[derive(Debug, Subcommand)]
enum KeysCommand {
    /// Make the ring and the key file where they are absent; nothing is overwritten
    Init {
        #[command(flatten)]
        file: File,
    },
    /// List lines and versions
    List {
        #[command(flatten)]
        file: File,
        #[command(flatten)]
        format: Format,
    },
    /// Make a new version of a line and seal under it from now on; older ones still open
    Rotate {
        #[command(flatten)]
        file: File,
        /// seal, lookup, token, audit, or pseudonym/SCOPE
        #[arg(long, default_value = "seal")]
        line: String,
    },
    /// Check the ring: seal of the manifest, every wrapped key, every commitment
    Verify {
        #[command(flatten)]
        file: File,
        #[command(flatten)]
        format: Format,
    },
}

#[derive(Debug, Subcommand)]
enum PolicyCommand {
    /// Who sees what, and which rule says so
    Explain {
        #[command(flatten)]
        file: File,
        /// Caller; all if not given
        #[arg(long)]
        caller: Option<String>,
        /// Purpose; all the caller has if not given
        #[arg(long)]
        purpose: Option<String>,
        #[command(flatten)]
        format: Format,
    },
    /// Run the [[test]] tables of the policy
    Test {
        #[command(flatten)]
        file: File,
        #[command(flatten)]
        format: Format,
    },
    /// Print the JSON Schema of policy.toml
    Schema,
}

#[derive(Debug, Subcommand)]
enum AuditCommand {
    /// The last events
    Tail {
        #[command(flatten)]
        file: File,
        /// How many
        #[arg(short = 'n', long, default_value_t = 20)]
        lines: usize,
        #[command(flatten)]
        format: Format,
    },
    /// Prove that nothing was edited, reordered, cut off or removed
    Verify {
        #[command(flatten)]
        file: File,
        #[command(flatten)]
        format: Format,
    },
    /// Who saw what of whom, for what
    Report {
        #[command(flatten)]
        file: File,
        /// Id of the data subject, as it stands in the documents
        #[arg(long)]
        subject: Option<String>,
        /// Only this caller
        #[arg(long)]
        caller: Option<String>,
        /// Only this purpose
        #[arg(long)]
        purpose: Option<String>,
        /// From this time on, RFC 3339
        #[arg(long)]
        since: Option<String>,
        /// Before this time, RFC 3339
        #[arg(long)]
        until: Option<String>,
        #[command(flatten)]
        format: Format,
    },
}

#[derive(Debug, Args)]
struct File {
    /// The engineers' file; policy.toml is named in it
    #[arg(short = 'c', long = "config", value_name = "FILE", default_value = "sudare.toml")]
    config: PathBuf,
}

#[derive(Debug, Args)]
struct Format {
    /// How data is printed
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    Table,
    Json,
}

/// Something failed.
pub(crate) const FAILED: u8 = 1;
/// Wrong usage or configuration.
pub(crate) const USAGE: u8 = 2;

/// Runs the command line; the process ends with what comes back.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let words = match Words::try_parse_from(arguments) {
        Ok(words) => words,
        Err(error) => {
            let _printed = error.print();
            return ExitCode::from(if error.use_stderr() { USAGE } else { 0 });
        }
    };
    let mut out = io::stdout().lock();
    let code = command(words.command, &mut out);
    if out.flush().is_err() {
        return ExitCode::from(FAILED);
    }
    ExitCode::from(code)
}
