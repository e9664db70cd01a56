//! What is kept beside the ring to answer for it: every census, and every destruction with its receipt.
//!
//! A folder `<ring>.evidence` (mode 0700) with `census.jsonl`, one census a line, each with the hash of the line before it and a MAC under the
//! audit line (`docs/format.md`, "Census"), whose versions are never destroyed and outlast every change of the KEK. Who holds only the database or
//! the store can write no line; who can write to the folder but has no audit key can put back an older list, never invent one. Always holds: a
//! line that is counted on is durable and authentic, under a version that nobody else may know; a line that a crash left unfinished is none.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

use super::super::files::{self, Lock};
use super::super::{AuditKey, Config, KeyError, KeyRing, LineName};
use super::census::Census;
use super::spelled;
use crate::base::Kid;
use crate::crypto;

const FORMAT: &str = "sudare-census/1";
const MAC_BEFORE: &str = ",\"mac\":\"";
const MAC_AFTER: &str = "\"}";
const MAC_CHARS: usize = 43;
/// Longest list that is read; a census of a hundred versions takes about 15 KiB.
const MAX_BYTES: u64 = 256 << 20;

/// A census that was kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Its MAC is under an audit version that is compromised: whoever knows that can have made it.
    pub doubtful: bool,
    /// What it found.
    pub census: Census,
    /// SHA-256 of its line, by which requests and receipts name it.
    pub hash: [u8; 32],
}

/// A line, less its MAC.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    format: String,
    #[serde(with = "spelled::text")]
    kid: Kid,
    controller: String,
    ring: String,
    census: Census,
    #[serde(with = "spelled::hash")]
    prev: [u8; 32],
}

/// The folder of a ring's evidence.
pub(super) fn folder(config: &Config) -> PathBuf {
    let mut name = OsString::from(config.ring.companion());
    name.push(".evidence");
    PathBuf::from(name)
}

/// Makes it where it is absent.
pub(super) fn make_folder(config: &Config) -> Result<PathBuf, KeyError> {
    let folder = folder(config);
    files::make_folder_of(&folder.join("census.jsonl"))?;
    Ok(folder)
}

/// Adds a census to those that are kept of a ring, durably. `main` is the ring with the audit line. Returns the hash of its line.
///
/// # Errors
///
/// A list that was changed; no audit key; what the system refuses.
pub fn keep(config: &Config, main: &KeyRing, census: &Census) -> Result<[u8; 32], KeyError> {
    let path = make_folder(config)?.join("census.jsonl");
    let _held = Lock::take(&path)?;
    let (kept, whole) = read(config, main, &path)?;
    let line = written(config, main, census, kept.last().map_or([0; 32], |kept| kept.hash))?;
    append(&path, whole, &line).map_err(|error| KeyError::io(&path, "written", &error))?;
    Ok(crypto::sha256(&line))
}

/// The censuses that are kept of a ring, oldest first.
///
/// # Errors
///
/// As [`keep`].
pub fn kept(config: &Config, main: &KeyRing) -> Result<Vec<Kept>, KeyError> {
    read(config, main, &folder(config).join("census.jsonl")).map(|(kept, _)| kept)
}

fn written(config: &Config, main: &KeyRing, census: &Census, prev: [u8; 32]) -> Result<Vec<u8>, KeyError> {
    let keys = main.audit_keys()?;
    let (kid, key, _) = keys.first().ok_or(KeyError::NoActive(LineName::Audit))?;
    let (format, controller, ring) = (FORMAT.to_owned(), config.controller.to_string(), config.name.to_string());
    let line = Line { format, kid: *kid, controller, ring, census: census.clone(), prev };
    let text = serde_json::to_string(&line).map_err(|error| KeyError::malformed(config.ring.shown(), error.to_string()))?;
    let covered = text.strip_suffix('}').unwrap_or(&text);
    let mac = crypto::base64url(&key.mac(covered.as_bytes()));
    Ok(format!("{covered}{MAC_BEFORE}{mac}{MAC_AFTER}").into_bytes())
}

/// Every whole line, and how many bytes they take.
fn read(config: &Config, main: &KeyRing, path: &Path) -> Result<(Vec<Kept>, u64), KeyError> {
    let bytes = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((Vec::new(), 0)),
        Err(error) => return Err(KeyError::io(path, "read", &error)),
        Ok(found) if found.len() > MAX_BYTES => {
            return Err(KeyError::malformed(path, format!("it is longer than {MAX_BYTES} bytes")));
        }
        Ok(_) => fs::read(path).map_err(|error| KeyError::io(path, "read", &error))?,
    };
    let keys = main.audit_keys()?;
    let (mut kept, mut prev, mut whole) = (Vec::new(), [0; 32], 0);
    for (number, line) in (1_u64..).zip(bytes.split_inclusive(|byte| *byte == b'\n')) {
        // What has no end was never said to be kept.
        let Some(text) = line.strip_suffix(b"\n") else { break };
        let (kid, census) = read_line(config, &keys, text, prev)
            .ok_or_else(|| KeyError::ChangedEvidence { path: path.to_path_buf(), line: number })?;
        prev = crypto::sha256(text);
        kept.push(Kept { doubtful: main.is_compromised(kid), census, hash: prev });
        whole += u64::try_from(line.len()).unwrap_or(u64::MAX);
    }
    Ok((kept, whole))
}

/// None: it was changed, moved, or made without an audit key of the ring.
fn read_line(config: &Config, keys: &[AuditKey], text: &[u8], prev: [u8; 32]) -> Option<(Kid, Census)> {
    let rest = text.strip_suffix(MAC_AFTER.as_bytes())?;
    let (rest, mac) = rest.split_at_checked(rest.len().checked_sub(MAC_CHARS)?)?;
    let covered = rest.strip_suffix(MAC_BEFORE.as_bytes())?;
    let line: Line = serde_json::from_slice(&[covered, b"}"].concat()).ok()?;
    let (kid, key, _) = keys.iter().find(|(kid, ..)| *kid == line.kid)?;
    let authentic = key.verify(covered, &crypto::from_base64url(mac).ok()?);
    let of_this_ring = line.controller == config.controller.as_str() && line.ring == config.name.as_str();
    (authentic && line.format == FORMAT && of_this_ring && line.prev == prev).then_some((*kid, line.census))
}

/// Adds a line after the whole ones; what a crash left behind them goes.
fn append(path: &Path, whole: u64, line: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    if file.metadata()?.len() > whole {
        file.set_len(whole)?;
    }
    let added = file.write_all(line).and_then(|()| file.write_all(b"\n")).and_then(|()| file.sync_all());
    if added.is_err() {
        // Best effort: what stays has no end, or is what the next one takes for kept, which it then is.
        file.set_len(whole).ok();
    }
    added?;
    path.parent().map_or(Ok(()), |folder| File::open(folder).and_then(|folder| folder.sync_all()))
}

/// What names a request or receipt in the folder: the first 8 bytes of its request's hash in hex.
pub(super) fn short(hash: &[u8; 32]) -> String {
    HEXLOWER.encode(hash.first_chunk::<8>().unwrap_or(&[0; 8]))
}
