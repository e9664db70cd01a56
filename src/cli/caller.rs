//! `sudare caller add NAME`: makes a credential. The secret is printed once and stored nowhere; the file gets its SHA-256.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use crate::base::CallerName;
use crate::caller;

/// Makes a credential for `name` and prints it with the lines for the configuration. With `write`, appends them.
///
/// # Errors
///
/// A sentence for the operator: the name is not a name, is taken, or the file cannot be written.
pub(super) fn add(name: &str, path: &Path, write: bool, out: &mut dyn Write) -> Result<(), String> {
    let valid = name.len() <= 64
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    if !valid {
        return Err(format!(
            "{name:?} is not a caller's name: lower-case letters, digits and -, starting with a letter, at most 64"
        ));
    }
    let text = fs::read_to_string(path).ok();
    if text.as_deref().is_some_and(|text| text.lines().any(|line| line.trim() == format!("[caller.{name}]"))) {
        return Err(format!("{} already has [caller.{name}]; choose another name, or remove that one first", path.display()));
    }
    let (credential, sha256) = caller::new_credential(&CallerName::new(name)).map_err(|error| error.to_string())?;
    let hash: String = sha256.iter().fold(String::new(), |hash, byte| hash + &format!("{byte:02x}"));
    let lines = format!("[caller.{name}]\ncredential_sha256 = \"{hash}\"\n");
    let print = |result: io::Result<()>| result.map_err(|error| format!("cannot print: {error}"));
    print(writeln!(out, "Sudare-Credential: {credential}"))?;
    print(writeln!(out, "  The application sends this header. It is shown once and stored nowhere.\n"))?;
    if write {
        let Some(text) = text else {
            return Err(format!(
                "{} cannot be read; run sudare init, or leave --write out and paste the lines yourself:\n{lines}",
                path.display()
            ));
        };
        let separator = if text.ends_with('\n') { "\n" } else { "\n\n" };
        replace(path, &format!("{text}{separator}{lines}"))
            .map_err(|error| format!("{} cannot be written: {error}", path.display()))?;
        print(writeln!(out, "Added to {}:\n{lines}", path.display()))?;
        print(writeln!(out, "Next: list {name} in a purpose of the policy, then reload."))
    } else {
        print(writeln!(out, "For {}:\n{lines}", path.display()))
    }
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
