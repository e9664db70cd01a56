//! `sudare caller add NAME`: makes a credential. The secret is printed once and stored nowhere; the file gets its SHA-256.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use super::{Trouble, failed, wrong};
use crate::base::CallerName;
use crate::caller;

/// Makes a credential for `name` and prints it with the lines for the configuration. With `write`, appends them; no
/// credential is shown that did not get there.
///
/// # Errors
///
/// Usage: the name is not a name or is taken, or there is no file to write to. Failed: randomness, the file, the output.
pub(super) fn add(name: &str, path: &Path, write: bool, out: &mut dyn Write) -> Result<(), Trouble> {
    let valid = name.len() <= 64
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    if !valid {
        return Err(wrong(format!(
            "{name:?} is not a caller's name: take small letters, digits and -, starting with a letter, at most 64"
        )));
    }
    let file = path.display();
    let text = match fs::read_to_string(path) {
        Ok(text) => Some(text),
        Err(error) if write => {
            return Err(wrong(format!(
                "{file} cannot be read: {error}. Run `sudare init`, name your file with -c FILE, or leave --write out and paste the lines yourself"
            )));
        }
        Err(_unreadable) => None,
    };
    if let Some(text) = &text {
        match text.parse::<toml::Table>() {
            Ok(table) => {
                if table.get("caller").and_then(|callers| callers.get(name)).is_some() {
                    return Err(wrong(format!(
                        "{file} already has [caller.{name}]; choose another name, or remove that one first"
                    )));
                }
            }
            Err(_mistakes) if write => {
                return Err(wrong(format!("{file} is not TOML as it stands; repair what `sudare check -c {file}` names first")));
            }
            Err(_mistakes) => {}
        }
    }
    let (credential, sha256) = caller::new_credential(&CallerName::new(name)).map_err(failed)?;
    let hash: String = sha256.iter().fold(String::new(), |hash, byte| hash + &format!("{byte:02x}"));
    let lines = format!("[caller.{name}]\ncredential_sha256 = \"{hash}\"\n");
    if let (true, Some(text)) = (write, &text) {
        let separator = if text.ends_with('\n') { "\n" } else { "\n\n" };
        replace(path, &format!("{text}{separator}{lines}")).map_err(|error| {
            failed(format!("{file} cannot be written: {error}. It is as it was; leave --write out and paste the lines yourself"))
        })?;
    }
    let mut print = || {
        writeln!(out, "Sudare-Credential: {credential}")?;
        writeln!(out, "  The application sends this header. It is shown once and stored nowhere.\n")?;
        writeln!(out, "{} {file}:\n{lines}", if write { "Added to" } else { "For" })?;
        writeln!(out, "Next: list {name} in the callers of a purpose of the policy, then reload.")
    };
    print().map_err(|error| failed(format!("cannot print: {error}")))
}

/// Writes the whole file beside and renames it, so that a crash leaves the old one.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(text.as_bytes())?;
    if let Ok(metadata) = fs::metadata(path) {
        fs::set_permissions(file.path(), metadata.permissions())?;
    }
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}
