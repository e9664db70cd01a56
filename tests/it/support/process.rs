//! A proxy as a process of its own, which can be killed.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// `sudare serve`. Killed with SIGKILL when dropped.
pub(crate) struct Process {
    pub(crate) child: Child,
    /// Where it listens, as it says itself.
    pub(crate) address: String,
    /// Where its operators look.
    pub(crate) admin: String,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

impl Process {
    /// Starts it through a shell that first runs `before`; returns once it listens.
    pub(crate) fn start(file: &Path, before: &str) -> Self {
        let mut command = Command::new("sh");
        command.arg("-c").arg(format!("{before} exec \"$0\" serve -c \"$1\"")).arg(env!("CARGO_BIN_EXE_sudare")).arg(file);
        Self::listening(command.stderr(Stdio::null()))
    }

    /// Starts it with everything it has to say appended to `log`.
    pub(crate) fn logging(file: &Path, log: &Path) -> Self {
        let log = File::options().append(true).create(true).open(log).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_sudare"));
        command.args(["serve", "-c"]).arg(file).env("SUDARE_LOG", "debug").stderr(log);
        Self::listening(&mut command)
    }

    /// Starts this command.
    pub(crate) fn listening(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut listening = || {
            let line = lines.next().unwrap().unwrap();
            line.strip_prefix("listening on ").unwrap_or_else(|| panic!("{line}")).to_owned()
        };
        let address = listening();
        let admin = listening().strip_suffix(" (admin)").unwrap().to_owned();
        Self { child, address, admin }
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success(), "{name}");
    }

    /// Its exit code, once it has ended.
    pub(crate) async fn ended(&mut self) -> Option<i32> {
        let ended = async {
            loop {
                if let Some(status) = self.child.try_wait().unwrap() {
                    return status.code();
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_mins(1), ended).await.expect("it ends")
    }
}
