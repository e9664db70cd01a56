//! The files of the log, as little of them as the writer needs, behind a trait so that tests can let a disk fill up or fail.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::chain::HEAD_BYTES;
use super::{AuditError, note};

/// What the writer asks of a disk.
pub(super) trait Disk: Send + 'static {
    /// Makes a segment with its header, durably, and appends to it from now on. On an error the former one stays.
    fn create(&mut self, segment: u64, header: &[u8]) -> io::Result<()>;
    /// Appends to the segment; after an error any part of `bytes` may be there.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Makes what was appended durable (fdatasync).
    fn sync(&mut self) -> io::Result<()>;
    /// Takes the segment back to its first `len` bytes.
    fn cut(&mut self, len: u64) -> io::Result<()>;
    /// Replaces the head. Not synced: a head that is lost in a power failure leaves an older one, and the lines after it
    /// are believed by their own MACs. It is written after [`Self::sync`], so it never vouches for what is not there. Only a
    /// log's very first head is synced: events without any head are taken for tampered with.
    fn write_head(&mut self, head: &[u8; HEAD_BYTES]) -> io::Result<()>;
    /// Adds a checkpoint to those stored, durably; an unfinished one that a crash or an error left is taken away first.
    fn add_checkpoint(&mut self, note: &str) -> io::Result<()>;
}

/// The log's folder, locked for this process.
pub(super) struct Folder {
    dir: PathBuf,
    segment: Option<File>,
    head: Option<File>,
    /// The stored checkpoints, and how long the file is without an unfinished one.
    checkpoints: Option<(File, u64)>,
    /// Held until the writer ends.
    #[expect(dead_code, reason = "the lock goes when the file is closed")]
    lock: File,
}

impl Folder {
    /// Makes the folder (mode 0700) where it is absent, and locks it.
    pub(super) fn open(dir: &Path) -> Result<Self, AuditError> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|error| AuditError::io(dir, "made", &error))?;
        let name = dir.join(".lock");
        let lock = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&name);
        let lock = lock.map_err(|error| AuditError::io(&name, "opened", &error))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { dir: dir.to_path_buf(), segment: None, head: None, checkpoints: None, lock }),
            Err(TryLockError::WouldBlock) => Err(AuditError::InUse(dir.to_path_buf())),
            Err(TryLockError::Error(error)) => Err(AuditError::io(&name, "locked", &error)),
        }
    }

    /// Goes on appending to a segment that is there.
    pub(super) fn resume(&mut self, segment: u64) -> io::Result<()> {
        self.segment = Some(OpenOptions::new().append(true).open(segment_path(&self.dir, segment))?);
        Ok(())
    }

    /// Removes a segment of which not even the header was finished.
    pub(super) fn remove(&mut self, segment: u64) -> io::Result<()> {
        fs::remove_file(segment_path(&self.dir, segment))?;
        self.sync_folder()
    }

    fn sync_folder(&self) -> io::Result<()> {
        File::open(&self.dir)?.sync_all()
    }

    fn segment(&mut self) -> io::Result<&mut File> {
        self.segment.as_mut().ok_or_else(|| io::Error::other("no segment is open"))
    }
}

impl Disk for Folder {
    fn create(&mut self, segment: u64, header: &[u8]) -> io::Result<()> {
        let path = segment_path(&self.dir, segment);
        // One that is there was left by an attempt of ours that failed before its header was durable: `recover` has looked.
        let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(&path)?;
        let written = file.set_len(0).and_then(|()| file.write_all(header)).and_then(|()| file.sync_all());
        if let Err(error) = written.and_then(|()| self.sync_folder()) {
            // Best effort; if it stays, the next attempt empties it, and a restart removes or continues it.
            fs::remove_file(&path).ok();
            return Err(error);
        }
        self.segment = Some(file);
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.segment()?.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.segment()?.sync_data()
    }

    fn cut(&mut self, len: u64) -> io::Result<()> {
        self.segment()?.set_len(len)
    }

    fn write_head(&mut self, head: &[u8; HEAD_BYTES]) -> io::Result<()> {
        if let Some(file) = &self.head {
            return file.write_all_at(head, 0);
        }
        let path = head_path(&self.dir);
        let file = match OpenOptions::new().write(true).open(&path) {
            Ok(file) => {
                file.write_all_at(head, 0)?;
                file.sync_all()?;
                file
            }
            // A new head appears whole and durable or not at all: half of one would be taken for a forgery at the next start.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let fresh = self.dir.join("head.json.new");
                let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
                file.write_all_at(head, 0)?;
                file.sync_all()?;
                fs::rename(&fresh, &path)?;
                self.sync_folder()?;
                file
            }
            Err(error) => return Err(error),
        };
        self.head = Some(file);
        Ok(())
    }

    fn add_checkpoint(&mut self, checkpoint: &str) -> io::Result<()> {
        let (mut file, len) = if let Some(known) = self.checkpoints.take() {
            known
        } else {
            let path = checkpoints_path(&self.dir);
            let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
            let mut there = Vec::new();
            file.read_to_end(&mut there)?;
            self.sync_folder()?;
            let (_, whole) = note::stored(&there);
            (file, bytes(there.get(..whole).unwrap_or_default()))
        };
        if file.metadata()?.len() > len {
            file.set_len(len)?;
        }
        let text = format!("{checkpoint}\n");
        let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_data());
        // After an error the length stays what it was, so that the next one begins where this one did.
        self.checkpoints = Some((file, if written.is_ok() { len + bytes(text.as_bytes()) } else { len }));
        written
    }
}

/// `00000001.jsonl` in `dir`.
pub(super) fn segment_path(dir: &Path, segment: u64) -> PathBuf {
    dir.join(segment_name(segment))
}

/// `00000001.jsonl`.
pub(super) fn segment_name(segment: u64) -> String {
    format!("{segment:08}.jsonl")
}

/// `head.json` in `dir`.
pub(super) fn head_path(dir: &Path) -> PathBuf {
    dir.join("head.json")
}

/// `checkpoints` in `dir`.
fn checkpoints_path(dir: &Path) -> PathBuf {
    dir.join("checkpoints")
}

/// The bytes of the head; `None` if there is none.
pub(super) fn read_head(dir: &Path) -> Result<Option<Vec<u8>>, AuditError> {
    read(&head_path(dir))
}

/// The stored checkpoints, as the file has them.
pub(super) fn read_checkpoints(dir: &Path) -> Result<Vec<u8>, AuditError> {
    read(&checkpoints_path(dir)).map(Option::unwrap_or_default)
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, AuditError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(AuditError::io(path, "read", &error)),
    }
}

/// How many bytes these are.
pub(super) fn bytes(buffer: &[u8]) -> u64 {
    u64::try_from(buffer.len()).unwrap_or(u64::MAX)
}

/// The numbers of the segments in `dir`, in order. Other files are not looked at. No folder is [`AuditError::NoLog`].
pub(super) fn segments(dir: &Path) -> Result<Vec<u64>, AuditError> {
    let failed = |error: io::Error| AuditError::io(dir, "read", &error);
    let mut found = Vec::new();
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(AuditError::NoLog(dir.to_path_buf())),
        entries => entries.map_err(failed)?,
    };
    for entry in entries {
        let name = entry.map_err(failed)?.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(".jsonl")).and_then(|number| number.parse().ok());
        found.extend(number.filter(|number| name.to_str() == Some(&segment_name(*number))));
    }
    found.sort_unstable();
    Ok(found)
}
