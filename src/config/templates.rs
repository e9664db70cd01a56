//! The two files that `sudare init` and `sudare demo` begin with.
//!
//! Always holds: filled in, they pass `sudare check` without a finding, and they name only the SHA-256 of credentials.

use crate::base::CallerName;

/// The policy: five purposes and five callers around one customer record.
pub const POLICY: &str = include_str!("templates/policy.toml");

const SERVICE: &str = include_str!("templates/sudare.toml");

/// The callers of the templates.
pub const CALLERS: [&str; 5] = ["shop", "shipping", "helpdesk", "mailer", "analyst"];

/// `sudare.toml` with these listeners and these callers' credential hashes.
///
/// `credentials` should have one entry for each of [`CALLERS`]; a caller without one keeps its placeholder, which
/// `sudare check` refuses.
pub fn service(address: &str, admin: &str, credentials: &[(CallerName, [u8; 32])]) -> String {
    let mut text = SERVICE.replace("@ADDRESS@", address).replace("@ADMIN@", admin);
    for (name, sha256) in credentials {
        let placeholder = format!("@{}@", name.as_str().to_uppercase());
        text = text.replace(&placeholder, &data_encoding::HEXLOWER.encode(sha256));
    }
    text
}
