//! `sudare demo`: the whole idea at work, with nothing to set up.
//!
//! Writes the same files as `sudare init` into a folder, starts the same proxy as `sudare serve`, and walks through it as
//! applications would. A step that differs from what it promises makes the exit code 1.

mod client;
mod walk;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use zeroize::Zeroizing;

use crate::app::{self, Running};
use crate::base::SystemClock;
use crate::config::{self, Endpoint};
use crate::purpose::Policy;
use crate::{audit, keys};

use super::{FAILED, USAGE, init};

/// `sudare demo`'s words.
#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// Stop after the walk; exit 1 if any step differs from what it promises
    #[arg(long)]
    once: bool,
    /// Keep the state in this folder (which must be empty or absent) instead of a temporary one
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// The customer of the walk. Invented; the ID has a wrong check digit.
const PERSON: &str = r#"{"id":"c-1","name":"Mei Tanaka","address":"101-0047 Uchikanda","phone":"+81355501234","id_card":"123456789018","tier":"gold"}"#;

/// What the walk needs to know of the set-up.
struct Demo {
    /// Header value by caller.
    credentials: BTreeMap<String, Zeroizing<String>>,
    database: PathBuf,
    audit_dir: PathBuf,
    audit_keys: Vec<audit::Key>,
    policy: Arc<Policy>,
}

impl Demo {
    fn credential(&self, caller: &str) -> Option<&str> {
        self.credentials.get(caller).map(|credential| credential.as_str())
    }
}

/// Runs the demo; the exit code comes back.
pub(super) fn run(options: &Options, out: &mut dyn Write) -> u8 {
    let temporary;
    let dir = match &options.dir {
        Some(dir) if dir.join("sudare.toml").exists() => {
            super::complain(&format!(
                "{0} already holds a sudare.toml, of this demo or of your own. To serve it: sudare serve -c {0}/sudare.toml; to walk again: choose an empty folder",
                dir.display()
            ));
            return USAGE;
        }
        Some(dir) if std::fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some()) => {
            super::complain(&format!(
                "{} is not empty, and the demo writes files of its own: choose an empty folder",
                dir.display()
            ));
            return USAGE;
        }
        Some(dir) => dir.clone(),
        None => match tempfile::tempdir() {
            Ok(folder) => {
                temporary = folder;
                temporary.path().to_path_buf()
            }
            Err(error) => {
                super::complain(&format!("no temporary folder can be made ({error}); name one with --dir"));
                return FAILED;
            }
        },
    };
    let runtime = match super::runtime() {
        Ok(runtime) => runtime,
        Err(error) => {
            super::complain(&error);
            return FAILED;
        }
    };
    match runtime.block_on(story(options, &dir, out)) {
        Ok(()) => 0,
        Err(sentence) => {
            super::complain(&sentence);
            FAILED
        }
    }
}

async fn story(options: &Options, dir: &Path, out: &mut dyn Write) -> Result<(), String> {
    let started = Instant::now();
    let (demo, proxy) = set_up(dir)?;
    let Endpoint::Tcp(address) = *proxy.address() else { return Err("the demo listens on TCP".to_owned()) };
    let print = |result: std::io::Result<()>| result.map_err(|error| format!("cannot print: {error}"));
    print(writeln!(out, "Sudare: a screen between an application and its database.\n"))?;

    let mut walk = walk::Walk { demo: &demo, proxy: &proxy, address, out, promises: walk::Promises::default() };
    let walked = walk.run().await;
    let promises = walk.promises;
    let kept = promises.made - promises.broken.len();
    print(writeln!(out, "{} checks, {kept} as promised, {:.2} s.", promises.made, started.elapsed().as_secs_f64()))?;
    let outcome = match walked {
        Err(sentence) => Err(format!("the walk stopped: {sentence}")),
        Ok(()) if !promises.broken.is_empty() => Err(format!("not as promised:\n  {}", promises.broken.join("\n  "))),
        Ok(()) => Ok(()),
    };
    if options.once || outcome.is_err() {
        proxy.stop().await;
        if outcome.is_ok() {
            print(writeln!(out, "Try it: sudare demo   keeps serving, prints a curl line per row"))?;
            print(writeln!(out, "Yours:  sudare init   then README, \"In front of your database\""))?;
        }
        return outcome;
    }
    let signals = app::Signals::catch().map_err(|error| error.to_string())?;
    print(keep_serving(&demo, address, dir, out))?;
    proxy.until_signalled(&dir.join("sudare.toml"), signals).await;
    Ok(())
}

/// One curl line per row of the third step.
fn keep_serving(demo: &Demo, address: std::net::SocketAddr, dir: &Path, out: &mut dyn Write) -> std::io::Result<()> {
    writeln!(out, "\nStill serving on http://{address} until Ctrl-C; state in {}. Try:", dir.display())?;
    for (caller, purpose, _) in walk::VIEWS {
        let credential = demo.credential(caller).unwrap_or_default();
        writeln!(out, "  curl -H 'Sudare-Credential: {credential}' -H 'Data-Purpose: {purpose}' http://{address}/customers/c-1")?;
    }
    writeln!(out, "Yours:  sudare init   then README, \"In front of your database\"")?;
    out.flush()
}

/// The same as `sudare init` and `sudare serve`, but for a free port.
fn set_up(dir: &Path) -> Result<(Demo, Running), String> {
    let made = init::write_files(dir, &SystemClock).map_err(|error| error.to_string())?;
    made.keys.map_err(|error| error.to_string())?;
    let mut settings = config::load(&dir.join("sudare.toml")).map_err(|findings| findings.to_string())?;
    settings.listen.address = Endpoint::Tcp(std::net::SocketAddr::from(([127, 0, 0, 1], 0)));
    settings.listen.admin = None;
    let crate::upstream::Endpoint::Embedded(database) = settings.upstream.endpoint.clone() else {
        return Err("the demo's database is the embedded one".to_owned());
    };
    let audit_dir = settings.audit.dir.clone();
    let policy = Arc::clone(&settings.policy);
    let ring = keys::KeyRing::open(&settings.keys).map_err(|error| error.to_string())?;
    let audit_keys = ring.audit_keys().map_err(|error| error.to_string())?;
    let proxy = app::start(settings).map_err(|error| error.to_string())?;
    let credentials = made.credentials.into_iter().map(|(name, credential)| (name.as_str().to_owned(), credential)).collect();
    Ok((Demo { credentials, database, audit_dir, audit_keys, policy }, proxy))
}
