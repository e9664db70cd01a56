//! What commands of operators share: the account that runs them, files that are read and new ones that are made, and the audit log of what
//! operators did.
//!
//! Always holds: nothing is overwritten; the operators' log is apart from that of the proxy, which a running `sudare serve` holds. Called by
//! `keys`, `exception`, `subject` and `seal`.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::{Trouble, failed};
use crate::audit::{self, AuditError, Log};
use crate::base::SystemClock;
use crate::config::Settings;

/// An operator's command can wait for a slow disk; a request cannot.
pub(super) const DURABLE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long another command may hold the operators' log.
const LOG_TRIES: u32 = 100;
const LOG_PAUSE: Duration = Duration::from_millis(100);

/// Who runs the command, as the audit log names them.
pub(super) fn account() -> String {
    format!("uid {}", rustix::process::getuid().as_raw())
}

/// The audit log of operators; another command may be recording.
pub(super) fn log(settings: &Settings, keys: &[audit::Key]) -> Result<Log, Trouble> {
    let config = audit::Config {
        durable_timeout: DURABLE_TIMEOUT,
        dir: audit::operators_dir(&settings.audit.dir),
        ..settings.audit.clone()
    };
    // Log::open starts a thread of its own, and needs no runtime.
    for _ in 0..LOG_TRIES {
        match Log::open(&config, keys.to_vec(), Arc::new(SystemClock)) {
            Err(AuditError::InUse(_)) => std::thread::sleep(LOG_PAUSE),
            other => return other.map_err(failed),
        }
    }
    Err(failed(AuditError::InUse(config.dir)))
}

/// A file, whole.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, Trouble> {
    fs::read(path).map_err(|error| failed(format!("{}: cannot be read: {error}", path.display())))
}

/// A new file; nothing is overwritten.
pub(super) fn make(path: &Path, bytes: &[u8]) -> Result<(), Trouble> {
    let mut options = fs::OpenOptions::new();
    let made =
        options.write(true).create_new(true).open(path).and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()));
    made.map_err(|error| {
        if error.kind() == std::io::ErrorKind::AlreadyExists {
            failed(format!("{}: is there already, and nothing is overwritten: name another file", path.display()))
        } else {
            failed(format!("{}: cannot be written: {error}", path.display()))
        }
    })
}

/// Where a signature of a request goes if nobody says: beside it, with the key's name in it.
pub(super) fn signature_beside(request: &Path, key: &Path) -> PathBuf {
    let name = key.file_name().and_then(|name| name.to_str()).unwrap_or("operator");
    let name = name.strip_suffix(".operator.pem").or_else(|| name.strip_suffix(".pem")).unwrap_or(name);
    let mut beside = request.to_path_buf().into_os_string();
    beside.push(format!(".{name}.sig"));
    PathBuf::from(beside)
}
