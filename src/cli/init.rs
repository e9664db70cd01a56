//! `sudare init`: writes a commented `sudare.toml` and `policy.toml` and makes the key ring, to start from.
//!
//! Always holds: nothing is overwritten; a credential is shown once and only its SHA-256 is written; what is written passes
//! `sudare check`. Called by the command line.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::base::{CallerName, Clock};
use crate::config::{self, Environment, Findings, templates};
use crate::{caller, keys};

/// Where the template listens for applications.
const ADDRESS: &str = "127.0.0.1:8080";
/// Where the template offers health and metrics.
const ADMIN: &str = "127.0.0.1:8081";

/// Why nothing, or not everything, was made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InitError {
    /// A file of that name is there.
    #[error(
        "{path} is already there, and nothing is ever overwritten: nothing was written. Choose another folder with --dir, or check yours with `sudare check`",
        path = .0.display()
    )]
    Exists(PathBuf),
    /// A file or folder could not be made.
    #[error("{path} cannot be written: {error}. Choose a folder you may write to with --dir")]
    Write {
        /// What should have been made.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// No randomness.
    #[error("no credentials could be made: {0}. Nothing was written")]
    Random(String),
    /// The key ring could not be made; the two files and the credentials are good.
    #[error("the key ring could not be made: {0}. The files are written; run `sudare keys init` when that is repaired")]
    Keys(#[from] keys::KeyError),
    /// The files do not pass the check, which a test of ours should have found.
    #[error("the files that were written do not pass the check:\n{0}")]
    Check(Findings),
    /// The output could not be written to.
    #[error("the output cannot be written: {0}")]
    Out(#[from] io::Error),
}

/// Writes the files into `dir` (made if absent), makes the keys, and tells on `out` what was made, each credential once, and
/// what to do next.
///
/// # Errors
///
/// [`InitError`].
pub fn run(dir: &Path, clock: &dyn Clock, out: &mut dyn io::Write) -> Result<(), InitError> {
    let Made { credentials, keys: made, service_file } = write_files(dir, clock)?;
    writeln!(out, "Made in {}:", shown(dir).display())?;
    writeln!(out, "  sudare.toml   where things listen and are kept, who the callers are, which members are protected")?;
    writeln!(out, "  policy.toml   who may see what, and why")?;
    if made.is_ok() {
        writeln!(out, "  keys/         the key ring and the key that wraps it: keep a copy of both safe, and never commit them")?;
    }
    writeln!(out, "\nCredentials, shown only now. An application sends its line as a header:")?;
    let width = templates::CALLERS.iter().map(|name| name.len()).max().unwrap_or(0);
    for (name, credential) in &credentials {
        writeln!(out, "  {:width$}   Sudare-Credential: {}", name.as_str(), credential.as_str())?;
    }
    made?;
    let option = if service_file == Path::new("sudare.toml") { String::new() } else { format!(" -c {}", service_file.display()) };
    writeln!(out, "\nNext:")?;
    writeln!(out, "  sudare check{option}      says what would be wrong")?;
    writeln!(out, "  sudare serve{option}      starts, with a small database of its own")?;
    writeln!(out, "  curl -i http://{ADDRESS}/customers -H 'Content-Type: application/json' -H 'Data-Purpose: registration' \\")?;
    writeln!(
        out,
        "    -H 'Sudare-Credential: shop.…' -d '{{\"id\":\"c-1\",\"name\":\"Mei Tanaka\",\"phone\":\"+81355501234\"}}'"
    )?;
    writeln!(out, "Then put your own database behind it: [upstream] in sudare.toml.")?;
    Ok(())
}

/// What [`write_files`] made.
#[derive(Debug)]
pub(super) struct Made {
    /// The header value of each caller.
    pub(super) credentials: Vec<(CallerName, Zeroizing<String>)>,
    /// How the key ring went; the files are good either way.
    pub(super) keys: Result<keys::InitReport, keys::KeyError>,
    service_file: PathBuf,
}

/// Writes the files and makes the keys, silently; also what `sudare demo` starts from.
pub(super) fn write_files(dir: &Path, clock: &dyn Clock) -> Result<Made, InitError> {
    // `.` is left out, so that what is printed reads as people say it.
    let dir = if dir == Path::new(".") { Path::new("") } else { dir };
    let service_file = dir.join("sudare.toml");
    let policy_file = dir.join("policy.toml");
    if let Some(there) = [&service_file, &policy_file].into_iter().find(|file| file.symlink_metadata().is_ok()) {
        return Err(InitError::Exists(there.clone()));
    }
    let mut credentials = Vec::new();
    let mut hashes = Vec::new();
    for name in templates::CALLERS.map(CallerName::new) {
        let (credential, sha256) = caller::new_credential(&name).map_err(|error| InitError::Random(error.to_string()))?;
        hashes.push((name.clone(), sha256));
        credentials.push((name, Zeroizing::new(credential)));
    }
    make_folder(dir)?;
    make_folder(&dir.join("data"))?;
    write_new(&policy_file, templates::POLICY)?;
    write_new(&service_file, &templates::service(ADDRESS, ADMIN, &hashes))?;
    let settings = config::load_with(&service_file, Environment::Ignored).map_err(InitError::Check)?;
    let keys = keys::init(&settings.keys, &settings.policy.pseudonym_scopes(), clock);
    Ok(Made { credentials, keys, service_file })
}

/// The folder as people say it.
fn shown(dir: &Path) -> &Path {
    if dir.as_os_str().is_empty() { Path::new(".") } else { dir }
}

/// Makes a folder, readable by its owner only, where it is absent.
fn make_folder(dir: &Path) -> Result<(), InitError> {
    if dir.as_os_str().is_empty() {
        return Ok(());
    }
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.map_err(|error| InitError::Write { path: dir.to_owned(), error })
}

fn write_new(path: &Path, text: &str) -> Result<(), InitError> {
    let write = || {
        let mut file = fs::File::create_new(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    write().map_err(|error| {
        if error.kind() == io::ErrorKind::AlreadyExists {
            InitError::Exists(path.to_owned())
        } else {
            InitError::Write { path: path.to_owned(), error }
        }
    })
}
