//! `sudare serve`: runs the proxy until SIGTERM.

use std::io::{self, Write};
use std::path::Path;

use super::{FAILED, USAGE};
use crate::app::{self, StartError};
use crate::config;

/// Runs; prints `listening on ADDRESS` per listener once it is ready.
pub(super) fn run(path: &Path, out: &mut dyn Write) -> u8 {
    let settings = match config::load(path) {
        Ok(settings) => settings,
        Err(findings) => {
            super::complain(&findings);
            return USAGE;
        }
    };
    let runtime = match super::runtime() {
        Ok(runtime) => runtime,
        Err(error) => {
            super::complain(&error);
            return FAILED;
        }
    };
    super::log_to_stderr();
    let served = runtime.block_on(async {
        let signals = app::Signals::catch()?;
        let running = app::start(settings)?;
        announce(&running, out).map_err(|error| StartError::Listen("standard output".to_owned(), error))?;
        running.until_signalled(path, signals).await;
        Ok::<(), StartError>(())
    });
    match served {
        Ok(()) => 0,
        Err(error) => {
            super::complain(&error);
            FAILED
        }
    }
}

fn announce(running: &app::Running, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "listening on {}", running.address())?;
    if let Some(admin) = running.admin() {
        writeln!(out, "listening on {admin} (admin)")?;
    }
    out.flush()
}
