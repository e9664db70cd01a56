//! `sudare serve`: runs the proxy until SIGTERM.

use std::io::{self, Write};
use std::path::Path;

use super::{FAILED, USAGE};
use crate::app::{self, Drained, StartError};
use crate::config;

/// Runs; prints `listening on ADDRESS` per listener once it is ready.
pub(super) fn run(path: &Path, out: &mut dyn Write) -> u8 {
    app::settle_allocator();
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
    let log = app::log::to_stderr(settings.log);
    if log.is_none() {
        super::complain(&"logging was already set up by the program that runs us");
    }
    let served = runtime.block_on(async {
        let signals = app::Signals::catch()?;
        let running = app::start(settings)?;
        announce(&running, out).map_err(|error| StartError::Listen("standard output".to_owned(), error))?;
        Ok::<Drained, StartError>(running.until_signalled(path, signals).await)
    });
    match served {
        Ok(Drained::Whole) => 0,
        // The log has said what.
        Ok(Drained::BrokenOff) => FAILED,
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
