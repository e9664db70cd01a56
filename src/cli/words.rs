//! The words of the command line, as clap reads them: commands, their options, and the help of each.
//!
//! Always holds: nothing is done here; `super` says what each command does. The first sentence of every comment is what `--help` prints.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::keys::{ending, rewrap};
use super::{demo, discover, exception, policy, seal, store, subject, sweep};
use crate::base::{Kid, SystemClock};
use crate::keys::{Change, MAIN_RING};

/// A screen between an application and its database: protects personal fields in JSON on write, reveals them by purpose.
///
/// Exit codes: 0 done, 1 failed, 2 wrong usage or configuration.
#[derive(Debug, Parser)]
#[command(name = "sudare", version, arg_required_else_help = true)]
pub(super) struct Words {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// See the whole idea work: a proxy, an embedded database, five callers; nothing to set up
    Demo(demo::Options),
    /// Write a commented sudare.toml, policy.toml and a key ring to start from
    Init {
        /// Folder to write to; made if it is not there
        #[arg(long, value_name = "DIR", default_value = ".")]
        dir: PathBuf,
    },
    /// Check both files completely; every mistake at once. Without any: what each field tells whoever holds the database
    Check {
        #[command(flatten)]
        file: File,
        /// Only what each field tells, once nothing is wrong; with --format json one object a field
        #[arg(long)]
        leakage: bool,
        #[command(flatten)]
        format: Format,
    },
    /// Run the proxy; SIGHUP reloads, SIGTERM drains
    Serve {
        #[command(flatten)]
        file: File,
    },
    /// Propose a field map from sample documents: what in them looks personal
    ///
    /// By the names of members and by their values, in some fifteen languages. Prints paths, categories and counts, never a value; needs no
    /// configuration and no keys. Lines that are no JSON object are reported and left out; the exit code is then 1.
    Discover(discover::Options),
    /// Seal a file of documents as the proxy would: JSON Lines in, JSON Lines out
    ///
    /// Sealed values are kept, so a file may be sealed twice. A line that cannot be sealed is reported and left out, and without --skip-bad
    /// no file is made (on standard output good lines leave as they come; the exit code is 1). Progress stands on standard error, on a terminal only.
    Seal(seal::Options),
    /// Open a file of sealed documents, recorded in the audit log with your reason
    ///
    /// The way out of Sudare, or of a backup. The output holds clear text: keep it like the key. The log must be free, so `sudare serve`
    /// does not run with the same [audit] dir.
    Open {
        #[command(flatten)]
        options: seal::Options,
        /// Why; kept in the audit log with your user id, so name no person in it
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// Upkeep of a whole collection in its database: migrate
    #[command(subcommand)]
    Sweep(SweepCommand),
    /// Callers: who may ask
    #[command(subcommand)]
    Caller(CallerCommand),
    /// The key ring: make, list, rotate, mark compromised, rewrap, count, destroy, change its KEK, verify
    #[command(subcommand)]
    Keys(KeysWords),
    /// The policy: explain, test, schema
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Exceptions of the policy: ask for one, agree, revoke, tell, review, list
    #[command(subcommand)]
    Exception(exception::Command),
    /// The audit log: read, prove, query
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Data subjects: what they agreed to and what is known of them
    #[command(subcommand)]
    Subject(subject::Command),
    /// The store of tokens and high-water marks: migrate, check, copy
    #[command(subcommand)]
    Store(store::Command),
}

#[derive(Debug, Subcommand)]
pub(super) enum SweepCommand {
    /// Seal what is still clear in a collection, while the proxy serves it with strict = false
    ///
    /// Documents are written on the revision they were read with, so a newer one is never overwritten; sealed values are left alone, so a
    /// sweep that was broken off is begun again. Exit code 0 once a whole pass has found nothing clear.
    Migrate(sweep::Options),
}

#[derive(Debug, Subcommand)]
pub(super) enum CallerCommand {
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
pub(super) enum KeysWords {
    #[command(flatten)]
    Ring(KeysCommand),
    #[command(flatten)]
    Ending(ending::Command),
}

#[derive(Debug, Subcommand)]
pub(super) enum KeysCommand {
    /// Make the ring and the key file where they are absent; nothing is overwritten
    Init {
        #[command(flatten)]
        file: File,
        #[command(flatten)]
        ring: Ring,
    },
    /// List lines and versions
    List {
        #[command(flatten)]
        file: File,
        /// Also those that are destroyed; with --format json they are always there
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        ring: Ring,
        #[command(flatten)]
        format: Format,
    },
    /// Make a new version of a line and seal under it from now on; older ones still open
    Rotate {
        #[command(flatten)]
        changing: Changing,
        /// seal, lookup, token, audit, or pseudonym/SCOPE
        #[arg(long, default_value = "seal")]
        line: String,
        /// Only publish the new version, so that every node has it before any seals under it; `activate` follows
        #[arg(long, conflicts_with_all = ["wait", "without"])]
        publish_only: bool,
        #[command(flatten)]
        patience: Patience,
    },
    /// Seal under a published version from now on; the one before it is deactivated
    ///
    /// Where several nodes share a store, each of them must have the version first; a node that has not after --wait is named.
    Activate {
        #[command(flatten)]
        changing: Changing,
        #[command(flatten)]
        patience: Patience,
        /// The version's id, as `sudare keys list` prints it
        kid: Kid,
    },
    /// Let a version protect nothing more; activating another does that by itself
    ///
    /// A line always has an active version, so this is refused for it; what is left is to end a pseudonym scope.
    Deactivate {
        #[command(flatten)]
        changing: Changing,
        /// The version's id, as `sudare keys list` prints it
        kid: Kid,
        /// Of a line pseudonym/SCOPE: show no pseudonym of it any more
        #[arg(long)]
        end_scope: bool,
    },
    /// Somebody else may know these versions: what they protect is shown to nobody until it is written anew
    ///
    /// All in one write, or none. There is no way back.
    Compromise {
        #[command(flatten)]
        changing: Changing,
        /// Their ids, as `sudare keys list` prints them
        #[arg(required = true, value_name = "KID")]
        kids: Vec<Kid>,
        /// Make and activate a new version in place of one that is active
        #[arg(long)]
        replace: bool,
        /// It is done at once; then wait so long for every node that shares the store to take it
        #[arg(long, value_name = "SECONDS", default_value_t = 30)]
        wait: u64,
    },
    /// The nodes that share the store, and which revision of the ring each holds
    Nodes {
        #[command(flatten)]
        file: File,
        #[command(flatten)]
        format: Format,
    },
    /// Write the ring, byte for byte, into a new file: a backup
    Copy {
        #[command(flatten)]
        file: File,
        /// Which ring: main, or NAME of a table [keys.NAME]
        #[arg(long, value_name = "NAME", default_value = MAIN_RING)]
        ring: String,
        /// The new file; nothing is overwritten
        to: PathBuf,
        #[command(flatten)]
        format: Format,
    },
    /// Move the ring from a file into the store, or back
    ///
    /// It is written to its new place, read back and opened there, and then taken out of the old one; a command that was killed is run again.
    Move {
        #[command(flatten)]
        changing: Changing,
        /// `store`, or a file that is not there
        #[arg(long, value_name = "PLACE")]
        to: PathBuf,
    },
    /// Wrap the ring under another key-encryption key: the one named by `next_kek` in [keys]
    ///
    /// No version changes, and no stored value. One write, or none; opened whole under the new KEK before it takes the old ring's place. Run
    /// again it does nothing. The old KEK still opens old copies of the ring.
    ChangeKek {
        #[command(flatten)]
        changing: Changing,
        /// Wrap it anew under the KEK that is configured, after that was rotated at its provider
        #[arg(long)]
        same: bool,
    },
    /// Seal anew what hangs on versions that are not active, in the database and the vault, while clients go on
    ///
    /// Documents are written on the revision they were read with, so a newer one is never overwritten. Broken off, it is run again and goes
    /// on. Exit code 0 once a whole pass has found nothing on another version than the active ones.
    Rewrap(rewrap::Options),
    /// Check the ring: seal of the manifest, every wrapped key, every commitment
    Verify {
        #[command(flatten)]
        file: File,
        #[command(flatten)]
        ring: Ring,
        #[command(flatten)]
        format: Format,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum PolicyCommand {
    /// Who sees what, and which rule says so
    Explain {
        #[command(flatten)]
        file: File,
        /// Caller; all if not given
        #[arg(long)]
        caller: Option<String>,
        /// Purpose, by name or dpv id; all the caller has if not given
        #[arg(long)]
        purpose: Option<String>,
        /// Something that holds of the person; may be given several times
        #[arg(long, value_name = "NAME")]
        fact: Vec<String>,
        /// How old the person is, in years
        #[arg(long, value_name = "YEARS")]
        age: Option<u8>,
        /// A category that the reply has; may be given several times. All if not given
        #[arg(long, value_name = "CATEGORY")]
        holds: Vec<String>,
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
    /// Which sentence of the published policy is kept by which rule and test
    ///
    /// Reads clauses.toml beside the policy. Each rule is taken away in turn, and some test must fail. Exit code 1 if a clause is kept by
    /// nothing, or a rule is covered by no clause.
    Coverage {
        #[command(flatten)]
        file: File,
        /// How to print: html is a page to forward
        #[arg(long, value_enum, default_value_t = CoverageKind::Table)]
        format: CoverageKind,
        /// Also look which purposes this audit log has seen
        #[arg(long, value_name = "DIR")]
        audit: Option<PathBuf>,
    },
    /// What each caller gains and loses between two versions of a policy
    ///
    /// Exit code 1 if somebody gains something.
    Diff {
        /// The older policy.toml
        old: PathBuf,
        /// The newer policy.toml
        new: PathBuf,
        #[command(flatten)]
        format: Format,
    },
    /// Print the JSON Schema of policy.toml
    Schema,
}

/// How `policy coverage` prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum CoverageKind {
    Table,
    Json,
    Markdown,
    Html,
}

impl From<CoverageKind> for policy::CoverageFormat {
    fn from(kind: CoverageKind) -> Self {
        match kind {
            CoverageKind::Table => Self::Table,
            CoverageKind::Json => Self::Json,
            CoverageKind::Markdown => Self::Markdown,
            CoverageKind::Html => Self::Html,
        }
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum AuditCommand {
    /// The last events
    Tail {
        #[command(flatten)]
        file: File,
        #[command(flatten)]
        which: Which,
        /// How many
        #[arg(short = 'n', long, default_value_t = 20)]
        lines: usize,
        #[command(flatten)]
        format: Format,
    },
    /// Prove that nothing was edited, reordered, cut off or removed, and that the log still is what its checkpoints say
    Verify {
        #[command(flatten)]
        file: File,
        #[command(flatten)]
        which: Which,
        /// Also hold it against a checkpoint that was kept elsewhere; may be given several times
        #[arg(long, value_name = "FILE")]
        checkpoint: Vec<PathBuf>,
        /// Also believe this verifier key, as `sudare audit key` printed it; may be given several times
        #[arg(long, value_name = "KEY")]
        key: Vec<crate::audit::VerifierKey>,
        /// For outsiders: a copy of the audit folder, held against its checkpoints by --key alone; needs no file and no key ring
        #[arg(long, value_name = "DIR", requires = "key", conflicts_with = "config")]
        dir: Option<PathBuf>,
        #[command(flatten)]
        format: Format,
    },
    /// Prove the log and print a signed checkpoint of it: keep it where nobody who can write the log can
    Checkpoint {
        #[command(flatten)]
        file: File,
        #[command(flatten)]
        which: Which,
    },
    /// Print what anybody can check the log's checkpoints with
    Key {
        #[command(flatten)]
        file: File,
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        format: Format,
    },
    /// What callers may have put together from several replies, although the policy keeps it apart in each
    Combined {
        #[command(flatten)]
        file: File,
        #[command(flatten)]
        which: Which,
        /// Replies that lie no more hours apart than this count together
        #[arg(long, value_name = "HOURS", default_value_t = 24, value_parser = clap::value_parser!(u32).range(1..=8784))]
        within: u32,
        /// Only this caller
        #[arg(long)]
        caller: Option<String>,
        #[command(flatten)]
        times: Times,
        #[command(flatten)]
        format: Format,
    },
    /// Who saw what of whom, for what; all that is given must fit
    Report {
        #[command(flatten)]
        file: File,
        #[command(flatten)]
        which: Which,
        /// Only about this data subject: its id as it stands in the documents
        #[arg(long)]
        subject: Option<String>,
        /// What may be given to that person: without what is withheld, and with each exception under which they were seen
        #[arg(long, requires = "subject", conflicts_with = "operators")]
        for_subject: bool,
        /// With --for-subject, where a running proxy holds the store: the address of its admin listener, http://… or unix:PATH
        #[arg(long, value_name = "URL", requires = "credential", requires = "for_subject")]
        via: Option<String>,
        /// With --via: the credential of a caller that may read exceptions (`records`), in a file or as env:VARIABLE
        #[arg(long, value_name = "WHERE", requires = "via")]
        credential: Option<String>,
        /// Only this caller
        #[arg(long)]
        caller: Option<String>,
        /// Only this purpose, by its name in the policy
        #[arg(long)]
        purpose: Option<String>,
        /// Only where values of this category were shown or protected
        #[arg(long)]
        category: Option<String>,
        #[command(flatten)]
        times: Times,
        #[command(flatten)]
        format: Format,
    },
}

/// Which log.
#[derive(Debug, Args)]
pub(super) struct Which {
    /// The log of what operators did by hand, to keys, exceptions and facts; it stands apart, for it is written while the proxy writes its own
    #[arg(long)]
    pub(super) operators: bool,
}

#[derive(Debug, Args)]
pub(super) struct File {
    /// The engineers' file; policy.toml is named in it
    #[arg(short = 'c', long = "config", value_name = "FILE", default_value = "sudare.toml")]
    pub(super) config: PathBuf,
}

/// From when to when.
#[derive(Debug, Args)]
pub(super) struct Times {
    /// From this time on: RFC 3339, or a date, which is its midnight in UTC
    #[arg(long, value_name = "TIME")]
    pub(super) since: Option<String>,
    /// Before this time: RFC 3339, or a date, which is its midnight in UTC
    #[arg(long, value_name = "TIME")]
    pub(super) until: Option<String>,
}

/// Which of several rings; without, every one that this node holds.
#[derive(Debug, Args)]
pub(super) struct Ring {
    /// Only this ring: main, or NAME of a table [keys.NAME]; all that this node holds if not given
    #[arg(long, value_name = "NAME")]
    pub(super) ring: Option<String>,
}

/// What every command takes that changes the ring.
#[derive(Debug, Args)]
pub(super) struct Changing {
    #[command(flatten)]
    pub(super) file: File,
    /// Which ring: main, or NAME of a table [keys.NAME]
    #[arg(long, value_name = "NAME", default_value = MAIN_RING)]
    pub(super) ring: String,
    /// Do it only if the ring is still at this revision, as `sudare keys list` printed it
    #[arg(long, value_name = "N")]
    pub(super) at_revision: Option<u64>,
    #[command(flatten)]
    pub(super) format: Format,
}

/// How long to wait for other nodes, and for which not.
#[derive(Debug, Args)]
pub(super) struct Patience {
    /// Where several nodes share a store: how long to wait for each to have the version
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    wait: u64,
    /// Do not wait for this node, as `sudare keys nodes` names it; may be given several times
    #[arg(long, value_name = "NODE")]
    without: Vec<String>,
}

impl From<Patience> for crate::keys::fleet::Patience {
    fn from(patience: Patience) -> Self {
        Self { limit: std::time::Duration::from_secs(patience.wait), without: patience.without }
    }
}

#[derive(Debug, Args)]
pub(super) struct Format {
    /// How data is printed
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub(super) format: Kind,
}

impl Changing {
    pub(super) fn of<'a>(&self, config: &'a crate::keys::Config) -> Change<'a> {
        Change { config, clock: &SystemClock, at_revision: self.at_revision }
    }
}

impl From<Format> for policy::Format {
    fn from(format: Format) -> Self {
        if format.format == Kind::Json { Self::Json } else { Self::Table }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Kind {
    Table,
    Json,
}
