//! Unix sockets: who may connect is what the file says, at every moment.

use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crate::support::{Process, Setup};

/// Files whose listeners are both Unix sockets.
fn files(mode: &str) -> (tempfile::TempDir, PathBuf) {
    let (folder, file) = Setup::embedded().files();
    let text = std::fs::read_to_string(&file).unwrap();
    let (before, after) =
        ("address = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n", "address = \"unix:proxy.sock\"\nadmin = \"unix:admin.sock\"\n");
    assert!(text.contains(before));
    std::fs::write(&file, text.replacen(before, &format!("{after}{mode}"), 1)).unwrap();
    (folder, file)
}

fn mode(path: &Path) -> u32 {
    let there = path.symlink_metadata().unwrap();
    assert!(there.file_type().is_socket());
    there.mode() & 0o7777
}

#[test]
fn sockets_have_the_mode_of_the_file_whatever_the_umask() {
    for (line, expected) in [("", 0o660), ("socket_mode = \"0600\"\n", 0o600), ("socket_mode = \"666\"\n", 0o666)] {
        for umask in ["000", "022", "077", "177"] {
            let (folder, file) = files(line);
            let _process = Process::start(&file, &format!("umask {umask};"));
            for socket in ["proxy.sock", "admin.sock"] {
                assert_eq!(mode(&folder.path().join(socket)), expected, "{socket}, {line:?} under umask {umask}");
            }
        }
    }
}

#[test]
fn a_socket_is_never_more_open_than_it_should_be() {
    let (folder, file) = files("socket_mode = \"0600\"\n");
    let sockets = ["proxy.sock", "admin.sock"].map(|name| folder.path().join(name));
    let (stop, widest, looks) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let watching = {
        let (stop, widest, looks) = (Arc::clone(&stop), Arc::clone(&widest), Arc::clone(&looks));
        std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                for socket in &sockets {
                    if let Ok(there) = socket.symlink_metadata() {
                        widest.fetch_or(there.mode() & 0o7777, Ordering::Relaxed);
                        looks.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
        })
    };
    for _ in 0..5 {
        // Without its own care the sockets would be open to everybody under this umask, until their mode is set.
        drop(Process::start(&file, "umask 000;"));
    }
    stop.store(true, Ordering::Relaxed);
    watching.join().unwrap();
    assert!(looks.load(Ordering::Relaxed) > 0, "the watch saw the sockets");
    assert_eq!(widest.load(Ordering::Relaxed), 0o600, "every mode that was seen, together");
}
