//! Who we are to AWS: the places that its tools look in, in their order.
//!
//! A profile that is configured; or else the variables `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY` (with `AWS_SESSION_TOKEN`); a web
//! identity (`AWS_WEB_IDENTITY_TOKEN_FILE` and `AWS_ROLE_ARN`, as Kubernetes sets them), for which STS gives credentials for an hour; the
//! shared credentials file. The instance metadata service is not asked.
//!
//! Always holds: what is found is kept until shortly before it ends, or until the service says that it has ended; no value of it stands in
//! an error.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_credential_types::Credentials;
use aws_smithy_runtime_api::client::identity::Identity;
use bytes::Bytes;
use http::{Request, StatusCode, header};
use zeroize::Zeroizing;

use super::super::provider::ProviderError;
use super::super::remote;
use super::super::source::Source;
use crate::keys::files;
use crate::net::fetch::Service;

/// What ends sooner than this is replaced before it is used, in milliseconds.
const BEFORE_IT_ENDS: u64 = 5 * 60 * 1000;
/// More of a token of a web identity is none.
const MAX_TOKEN_BYTES: u64 = 64 << 10;

/// Where credentials are looked for.
#[derive(Clone)]
pub struct WhoWeAre {
    /// Only this profile of the shared credentials file.
    pub profile: Option<String>,
    /// That file, if it is not where AWS's tools have it.
    pub credentials_file: Option<PathBuf>,
    /// Where a web identity is exchanged.
    pub sts: Service,
    /// The environment.
    pub environment: Environment,
}

/// What a variable of the environment holds.
pub type Environment = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

impl fmt::Debug for WhoWeAre {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WhoWeAre").field("profile", &self.profile).field("sts", &self.sts).finish_non_exhaustive()
    }
}

/// Credentials that were found.
#[derive(Clone)]
pub struct Known {
    credentials: Credentials,
    /// When they end, since 1970; none: nobody said.
    until_ms: Option<u64>,
}

impl Known {
    fn new(id: &str, secret: &str, session: Option<&str>, until_ms: Option<u64>) -> Self {
        Self { credentials: Credentials::new(id, secret, session.map(str::to_owned), None, "sudare"), until_ms }
    }

    /// Are they worth a try?
    pub(super) fn holds_at(&self, now_ms: u64) -> bool {
        self.until_ms.is_none_or(|until| now_ms.saturating_add(BEFORE_IT_ENDS) < until)
    }

    pub(super) fn identity(&self) -> Identity {
        self.credentials.clone().into()
    }
}

impl WhoWeAre {
    /// Looks for them.
    pub(super) fn find(&self, now_ms: u64) -> Result<Known, ProviderError> {
        let variable = |name: &str| (self.environment)(name).filter(|value| !value.is_empty());
        if self.profile.is_none() {
            if let (Some(id), Some(secret)) =
                (variable("AWS_ACCESS_KEY_ID"), variable("AWS_SECRET_ACCESS_KEY").map(Zeroizing::new))
            {
                let session = variable("AWS_SESSION_TOKEN").map(Zeroizing::new);
                return Ok(Known::new(&id, &secret, session.as_deref().map(String::as_str), None));
            }
            if let (Some(file), Some(role)) = (variable("AWS_WEB_IDENTITY_TOKEN_FILE"), variable("AWS_ROLE_ARN")) {
                let name = variable("AWS_ROLE_SESSION_NAME").unwrap_or_else(|| "sudare".to_owned());
                return self.web_identity(&PathBuf::from(file), &role, &name, now_ms);
            }
        }
        let file = self.credentials_file.clone().or_else(|| variable("AWS_SHARED_CREDENTIALS_FILE").map(PathBuf::from));
        let file = file.or_else(|| variable("HOME").map(|home| PathBuf::from(home).join(".aws/credentials")));
        let profile = self.profile.clone().or_else(|| variable("AWS_PROFILE")).unwrap_or_else(|| "default".to_owned());
        let file = file.ok_or_else(|| nothing_found("there is no HOME to look for .aws/credentials in"))?;
        if self.profile.is_none() && !file.exists() {
            return Err(nothing_found(
                "neither AWS_ACCESS_KEY_ID, nor AWS_WEB_IDENTITY_TOKEN_FILE, nor a shared credentials file is there",
            ));
        }
        of_profile(&file, &profile)
    }

    fn web_identity(&self, file: &Path, role: &str, name: &str, now_ms: u64) -> Result<Known, ProviderError> {
        // Others may read it: Kubernetes mounts it so, and it is good for this role only.
        let token = files::read_other(file, MAX_TOKEN_BYTES);
        let token = token.map_err(|error| ProviderError::Local(error.to_string()))?;
        let token =
            std::str::from_utf8(&token).map_err(|_bytes| ProviderError::Local(format!("{}: is not text", file.display())))?;
        let form = Zeroizing::new(form_of(&[
            ("Action", "AssumeRoleWithWebIdentity"),
            ("Version", "2011-06-15"),
            ("RoleArn", role),
            ("RoleSessionName", name),
            ("WebIdentityToken", token.trim_end()),
        ]));
        let request = Request::post("/")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded; charset=utf-8")
            .header(header::ACCEPT, "text/xml")
            .body(remote::secret_body(form));
        let request: Request<Bytes> =
            request.map_err(|_invalid| ProviderError::Local("the question to STS cannot be sent".to_owned()))?;
        let reply = remote::ask(&self.sts, request)?;
        match reply.status {
            StatusCode::OK => {}
            status if status.is_client_error() => {
                return Err(ProviderError::Credentials(format!(
                    "STS answered {} to our web identity: see that the role trusts its issuer and audience, and that the token in {} is not expired",
                    status.as_u16(),
                    file.display()
                )));
            }
            status => return Err(remote::outage(status, "STS")),
        }
        let text = std::str::from_utf8(&reply.body).unwrap_or_default();
        let part = |name: &str| between(text, &format!("<{name}>"), &format!("</{name}>"));
        let (id, secret, session) = (part("AccessKeyId"), part("SecretAccessKey"), part("SessionToken"));
        let until = part("Expiration").and_then(|time| time.parse::<jiff::Timestamp>().ok());
        let until_ms = until.and_then(|time| u64::try_from(time.as_millisecond()).ok());
        match (id, secret, session, until_ms) {
            (Some(id), Some(secret), Some(session), Some(until)) if until > now_ms => {
                Ok(Known::new(id, secret, Some(session), Some(until)))
            }
            _ => Err(ProviderError::Lied("STS answered to our web identity with something that holds no credentials for now")),
        }
    }
}

fn nothing_found(why: &str) -> ProviderError {
    ProviderError::Local(format!("there are no credentials for AWS: {why}; name a `profile`, or set one of them"))
}

/// `[profile]` of an INI file as AWS's tools write it.
fn of_profile(path: &Path, profile: &str) -> Result<Known, ProviderError> {
    let text = Source::text_of(path)?;
    let mut inside = false;
    let (mut id, mut secret, mut session) = (None, None, None);
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';'])) {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            inside = name.trim().trim_start_matches("profile ").trim() == profile;
        } else if let (true, Some((name, value))) = (inside, line.split_once('=')) {
            let value = Some(value.trim()).filter(|value| !value.is_empty());
            match name.trim().to_ascii_lowercase().as_str() {
                "aws_access_key_id" => id = value,
                "aws_secret_access_key" => secret = value,
                "aws_session_token" => session = value,
                _ => {}
            }
        }
    }
    match (id, secret) {
        (Some(id), Some(secret)) => Ok(Known::new(id, secret, session, None)),
        _ => Err(ProviderError::Local(format!(
            "{}: has no profile [{profile}] with aws_access_key_id and aws_secret_access_key",
            path.display()
        ))),
    }
}

/// What stands between two tags, if it is one word.
pub(super) fn between<'a>(text: &'a str, begin: &str, end: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(begin)?;
    let (inside, _) = rest.split_once(end)?;
    let plain = |b: u8| b.is_ascii_graphic() && !matches!(b, b'<' | b'>' | b'&');
    Some(inside.trim()).filter(|inside| !inside.is_empty() && inside.bytes().all(plain))
}

/// `a=b&c=d`, escaped.
fn form_of(parts: &[(&str, &str)]) -> String {
    use std::fmt::Write as _;
    let mut out = String::new();
    for (number, (name, value)) in parts.iter().enumerate() {
        out.push_str(if number == 0 { "" } else { "&" });
        out.push_str(name);
        out.push('=');
        for byte in value.bytes() {
            if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
                out.push(char::from(byte));
            } else {
                // Writing into a String does not fail.
                write!(out, "%{byte:02X}").unwrap_or_default();
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_escaped_and_what_is_read_between_tags() {
        assert_eq!(form_of(&[("A", "arn:aws:iam::1:role/x"), ("B", "a b.~")]), "A=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fx&B=a%20b.~");
        let xml = "<R><AccessKeyId>AKIA</AccessKeyId><Bad>a&amp;b</Bad><Empty></Empty></R>";
        let part = |name: &str| between(xml, &format!("<{name}>"), &format!("</{name}>"));
        assert_eq!((part("AccessKeyId"), part("Bad"), part("Empty"), part("None")), (Some("AKIA"), None, None, None));
    }
}
