//! E-mail addresses. No provider's own rules: dots and what follows a plus stay, for elsewhere they tell mailboxes apart.

use super::{NoForm, text};

/// Longest address (RFC 5321, section 4.5.3.1.3), in bytes.
const MAX_BYTES: usize = 254;

/// The address in folded letters: one `@` with something on either side, no white space inside, no quotes, brackets or commas (of
/// `Mei <mei@example.org>` or a list), domain without empty labels; one dot at its end goes.
pub(super) fn email(value: &str) -> Result<String, NoForm> {
    // Dots of other scripts separate labels, too (RFC 3490, section 3.1).
    let folded = text::alike(value.trim()).replace(['\u{3002}', '\u{ff61}'], ".");
    let (local, domain) = folded.split_once('@').ok_or(NoForm::Email)?;
    let domain = domain.strip_suffix('.').unwrap_or(domain);
    let odd = |c: char| c.is_whitespace() || c.is_control() || "@\"<>()[],;:\\".contains(c);
    let labels = domain.split('.').all(|label| !label.is_empty());
    if local.is_empty() || !labels || local.contains(odd) || domain.contains(odd) || local.len() + domain.len() >= MAX_BYTES {
        return Err(NoForm::Email);
    }
    Ok(format!("{local}@{domain}"))
}
