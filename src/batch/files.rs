//! The result as a file that appears under its name only when it is whole, and a run that a crash does not undo.
//!
//! `OUT.part` holds the result so far, `OUT.progress` how much of it is on disk and from what; a run that is continued cuts the one back
//! to what the other says. Always holds: `OUT.progress` never says more than what was synced; a run is continued only with the same
//! input (size, and hash of its head) under the same configuration; nothing is overwritten.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::{BatchError, Done, Sink, Work};
use crate::crypto;

/// How much of the input says which one it is.
const HEAD_BYTES: u64 = 64 << 10;
/// How often progress is made durable.
const EVERY: Duration = Duration::from_secs(2);

/// The files of one run.
#[derive(Debug)]
pub struct Files {
    out: PathBuf,
    part: PathBuf,
    progress: PathBuf,
    file: File,
    /// `None` where the input is a stream, so that there is nothing to continue.
    run: Option<Run>,
    /// The report of bad lines, which is cut back like the result.
    report: Option<File>,
    /// Which file that is.
    report_name: Option<String>,
    every: Duration,
    saved: Instant,
}

/// Which run this is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Run {
    format: String,
    /// Size of the input.
    input_bytes: u64,
    /// SHA-256 of its first bytes.
    input_head: String,
    /// Of the collection, its fields and what is done to them.
    configuration: String,
}

/// `OUT.progress`.
#[derive(Debug, Serialize, Deserialize)]
struct Progress {
    run: Run,
    done: Done,
    /// The report of bad lines, by its full name; `done` says how much of it is whole.
    report: Option<String>,
}

/// A run that can go on.
#[derive(Debug)]
pub struct Begun {
    /// Where its lines go.
    pub files: Files,
    /// Where it stands. The input is there.
    pub done: Done,
}

impl Files {
    /// Begins a run, or with `resume` continues one. `input` is the opened input where that is a file; it is left at the first line to read.
    ///
    /// # Errors
    ///
    /// A result that is there already, a run that did not end and is not to be continued, or cannot be; what the system refuses.
    pub fn begin(
        out: &Path,
        input: Option<(&Path, &mut BufReader<File>)>,
        report: Option<&Path>,
        work: &Work,
        resume: bool,
    ) -> Result<Begun, BatchError> {
        let (part, progress) = (beside(out, ".part"), beside(out, ".progress"));
        if out.symlink_metadata().is_ok() {
            return Err(BatchError::Exists(out.to_path_buf()));
        }
        if resume {
            let (name, input) = input.ok_or(BatchError::Stream)?;
            return Self::resume(out, &part, &progress, (name, input), report, work);
        }
        let run = match input {
            Some((name, input)) => Some(Run::of(name, input, work)?),
            None => None,
        };
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        let file = options.open(&part).map_err(|error| {
            if error.kind() == io::ErrorKind::AlreadyExists {
                BatchError::Unfinished { part: part.clone(), progress: progress.clone() }
            } else {
                BatchError::io(&part, "made")(error)
            }
        })?;
        lock(&file, &part)?;
        let (report_path, opened) = (report, report.map(new_report).transpose());
        let report = opened.inspect_err(|_error| {
            // Nothing is in it, and it would only be in the way of the next try.
            fs::remove_file(&part).ok();
        })?;
        let mut files = Self {
            out: out.to_path_buf(),
            part,
            progress,
            file,
            run,
            report,
            report_name: report_path.map(full_name),
            every: EVERY,
            saved: Instant::now(),
        };
        files.save(&Done::default())?;
        Ok(Begun { files, done: Done::default() })
    }

    fn resume(
        out: &Path,
        part: &Path,
        progress: &Path,
        (name, input): (&Path, &mut BufReader<File>),
        report: Option<&Path>,
        work: &Work,
    ) -> Result<Begun, BatchError> {
        let changed = |what| BatchError::Changed { what, progress: progress.to_path_buf(), part: part.to_path_buf() };
        let text = match fs::read(progress) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(BatchError::NothingToResume(progress.to_path_buf()));
            }
            Err(error) => return Err(BatchError::io(progress, "read")(error)),
        };
        let there: Progress = serde_json::from_slice(&text).map_err(|_not_ours| changed("note of progress"))?;
        let run = Run::of(name, input, work)?;
        if there.run.configuration != run.configuration {
            return Err(changed("command, collection or configuration"));
        }
        if there.run != run {
            return Err(changed("input"));
        }
        let mut done = there.done;
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        let open = |path: &Path, len: u64, what| {
            let mut file = options.open(path).map_err(BatchError::io(path, "opened"))?;
            lock(&file, path)?;
            let size = file.metadata().map_err(BatchError::io(path, "read"))?.len();
            if size < len {
                return Err(changed(what));
            }
            let cut = file.set_len(len).and_then(|()| file.seek(SeekFrom::End(0)).map(|_end| ()));
            cut.map_err(BatchError::io(path, "cut back"))?;
            Ok(file)
        };
        let file = open(part, done.bytes_out, "result so far")?;
        let (report, report_name) = match report {
            Some(path) if path.exists() && there.report == Some(full_name(path)) => {
                (Some(open(path, done.bytes_reported, "report of bad lines")?), there.report)
            }
            // One that is there and not ours is refused, not cut.
            Some(path) => {
                done.bytes_reported = 0;
                (Some(new_report(path)?), Some(full_name(path)))
            }
            None => (None, there.report),
        };
        input.seek(SeekFrom::Start(done.bytes_in)).map_err(BatchError::io(name, "read"))?;
        let mut files = Self {
            out: out.to_path_buf(),
            part: part.to_path_buf(),
            progress: progress.to_path_buf(),
            file,
            run: Some(run),
            report,
            report_name,
            every: EVERY,
            saved: Instant::now(),
        };
        files.save(&done)?;
        Ok(Begun { files, done })
    }

    /// Makes progress durable after every window.
    #[cfg(test)]
    pub(super) fn save_always(&mut self) {
        self.every = Duration::ZERO;
    }

    /// The report of bad lines, where it is a file.
    ///
    /// # Errors
    ///
    /// What the system refuses.
    pub fn report(&self) -> Result<Option<File>, BatchError> {
        self.report.as_ref().map(File::try_clone).transpose().map_err(BatchError::io(&self.out, "reported on"))
    }

    /// Leaves what there is for `--resume`: the run ended, but the result is not wanted as it is.
    ///
    /// # Errors
    ///
    /// What the system refuses.
    pub fn keep(mut self, done: &Done) -> Result<PathBuf, BatchError> {
        self.save(done)?;
        if self.run.is_none() {
            // What came from a stream cannot be continued.
            fs::remove_file(&self.part).map_err(BatchError::io(&self.part, "removed"))?;
        }
        Ok(self.part)
    }

    /// Gives the result its name.
    ///
    /// # Errors
    ///
    /// What the system refuses.
    pub fn finish(mut self, done: &Done) -> Result<(), BatchError> {
        self.save(done)?;
        if self.out.symlink_metadata().is_ok() {
            return Err(BatchError::Exists(self.out));
        }
        fs::rename(&self.part, &self.out).map_err(BatchError::io(&self.out, "given its name"))?;
        if self.run.is_some() {
            fs::remove_file(&self.progress).map_err(BatchError::io(&self.progress, "removed"))?;
        }
        sync_folder(&self.out).map_err(BatchError::io(&self.out, "made durable"))
    }

    /// Syncs what was written, then says so.
    fn save(&mut self, done: &Done) -> Result<(), BatchError> {
        self.file.sync_data().map_err(BatchError::io(&self.part, "made durable"))?;
        if let Some(report) = &self.report {
            report.sync_data().map_err(BatchError::io(&self.out, "reported on"))?;
        }
        if let Some(run) = &self.run {
            let progress = Progress { run: run.clone(), done: *done, report: self.report_name.clone() };
            let write = || {
                let fresh = beside(&self.progress, ".new");
                let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
                file.write_all(&serde_json::to_vec(&progress)?)?;
                file.sync_all()?;
                fs::rename(&fresh, &self.progress)?;
                sync_folder(&self.progress)
            };
            write().map_err(BatchError::io(&self.progress, "written"))?;
        }
        self.saved = Instant::now();
        Ok(())
    }
}

impl Sink for Files {
    fn write(&mut self, lines: &[u8]) -> Result<(), BatchError> {
        self.file.write_all(lines).map_err(BatchError::io(&self.part, "written"))
    }

    fn reached(&mut self, done: &Done) -> Result<(), BatchError> {
        if self.saved.elapsed() >= self.every { self.save(done) } else { Ok(()) }
    }
}

impl Run {
    fn of(name: &Path, input: &mut BufReader<File>, work: &Work) -> Result<Self, BatchError> {
        let mut read = || {
            let input_bytes = input.get_ref().metadata()?.len();
            input.seek(SeekFrom::Start(0))?;
            let mut head = Vec::new();
            input.by_ref().take(HEAD_BYTES).read_to_end(&mut head)?;
            input.seek(SeekFrom::Start(0))?;
            Ok((input_bytes, head))
        };
        let (input_bytes, head) = read().map_err(BatchError::io(name, "read"))?;
        let input_head = crypto::sha256(&head).iter().fold(String::with_capacity(64), |text, byte| text + &format!("{byte:02x}"));
        Ok(Self { format: "sudare-progress/1".to_owned(), input_bytes, input_head, configuration: work.fingerprint() })
    }
}

/// A report of bad lines that is not there yet.
///
/// # Errors
///
/// What the system refuses; one that is there.
pub fn new_report(path: &Path) -> Result<File, BatchError> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(file) => Ok(file),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(BatchError::Exists(path.to_path_buf())),
        Err(error) => Err(BatchError::io(path, "made")(error)),
    }
}

/// The name of a file that is there, whichever way it was written.
fn full_name(path: &Path) -> String {
    fs::canonicalize(path).unwrap_or_else(|_gone| path.to_path_buf()).display().to_string()
}

fn lock(file: &File, path: &Path) -> Result<(), BatchError> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(BatchError::Busy(path.to_path_buf())),
        Err(TryLockError::Error(error)) => Err(BatchError::io(path, "locked")(error)),
    }
}

/// `OUT` and more letters.
fn beside(path: &Path, more: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(more);
    PathBuf::from(name)
}

fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}
