//! Errors to answers: the only file that chooses a status code and the client's sentence for an error of ours.
//!
//! Each code is an anchor in `docs/errors.md`. No sentence holds a value. Permanent refusals never use a status that
//! client libraries retry (408, 425, 429, 500, 502, 503, 504 are for what may pass or needs an operator).

use std::sync::atomic::{AtomicU64, Ordering};

use http::{Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};

use crate::exchange::{
    AuditError, CODINGS, CallerUnknown, Conflict, Error, KeyError, PolicyRefusal, RefusedCode, ReplyBody, RevealError, State,
    TermError, TokenFault, UpstreamError, VaultError, WalkError, WriteError,
};

/// An answer of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) status: StatusCode,
    /// Anchor in `docs/errors.md`.
    pub(super) code: &'static str,
    pub(super) sentence: String,
    /// A stored value is not what was stored: recorded before the answer leaves.
    pub(super) alarm: bool,
    /// Seconds after which the same request may be answered.
    pub(super) retry_after: Option<u64>,
}

/// The answer to an error.
pub(super) fn problem(error: &Error) -> Problem {
    let (status, code) = status_and_code(error);
    let retry_after = retry_after(status, error);
    Problem {
        status,
        code,
        sentence: sentence(error),
        alarm: matches!(code, "value-not-authentic" | "key-compromised"),
        retry_after,
    }
}

/// Spread out for those that were turned away together, or they would come back together.
fn retry_after(status: StatusCode, error: &Error) -> Option<u64> {
    /// Counts up, so that neighbours get different times.
    static TURNED_AWAY: AtomicU64 = AtomicU64::new(0);
    if let Error::RateLimited { wait, .. } = error {
        return Some(wait.as_secs() + 1);
    }
    if let Error::Overloaded(_) = error {
        return Some(1 + TURNED_AWAY.fetch_add(1, Ordering::Relaxed) % 4);
    }
    // Rounded up, so that who heeds it is not refused again.
    if let Error::Upstream(UpstreamError::CircuitOpen(left)) = error {
        return Some(left.as_secs() + 1);
    }
    (status == StatusCode::SERVICE_UNAVAILABLE).then_some(1)
}

fn status_and_code(error: &Error) -> (StatusCode, &'static str) {
    use StatusCode as S;
    match error {
        Error::Head(_) | Error::BodyBroken | Error::BodyUnexpected => (S::BAD_REQUEST, "malformed-request"),
        Error::Expectation => (S::EXPECTATION_FAILED, "expectation-unknown"),
        Error::Target(_) => (S::BAD_REQUEST, "target-not-canonical"),

        Error::Dialect(refused) => (dialect_status(refused.code), refused.code.as_str()),
        Error::Caller(CallerUnknown::Malformed | CallerUnknown::Both) => (S::BAD_REQUEST, "malformed-credential"),
        Error::Caller(CallerUnknown::None | CallerUnknown::Refused | CallerUnknown::Certificate) => {
            (S::UNAUTHORIZED, "caller-unknown")
        }
        Error::Caller(CallerUnknown::Token { fault: TokenFault::NoKeys, .. }) => (S::SERVICE_UNAVAILABLE, "issuer-unavailable"),
        Error::Caller(CallerUnknown::Token { .. }) => (S::UNAUTHORIZED, "token-refused"),
        Error::Purpose(PolicyRefusal::Missing { .. }) => (S::FORBIDDEN, "purpose-missing"),
        Error::Purpose(PolicyRefusal::NotAllowed { .. } | PolicyRefusal::NoneNamed { .. }) => (S::FORBIDDEN, "purpose-refused"),
        Error::Exception(_) => (S::FORBIDDEN, "exception-closed"),
        Error::ViewNotWhole { .. } | Error::CopyNotWhole => (S::FORBIDDEN, "view-not-whole"),
        Error::NothingWritable { .. } => (S::FORBIDDEN, "not-writable"),
        Error::AttachmentWithheld { .. } => (S::FORBIDDEN, "attachment-withheld"),
        Error::FeedEnded => (S::SERVICE_UNAVAILABLE, "feed-ended"),
        Error::SearchRefused { .. } => (S::FORBIDDEN, "search-refused"),
        Error::Term(error) => (term_status(error), error.code()),
        Error::GrantEnded => (S::FORBIDDEN, "grant-ended"),
        Error::CodingUnknown => (S::UNSUPPORTED_MEDIA_TYPE, "encoding-unknown"),
        Error::Coding(error) if error.is_size() => (S::PAYLOAD_TOO_LARGE, "too-large"),
        Error::Coding(_) => (S::BAD_REQUEST, "malformed-encoding"),
        Error::BodyTooLarge { .. } | Error::RequestJson(WalkError::RowTooLarge { .. } | WalkError::TooMany) => {
            (S::PAYLOAD_TOO_LARGE, "too-large")
        }
        Error::RequestJson(_) => (S::BAD_REQUEST, "malformed-json"),
        Error::BodyTimeout { .. } => (S::REQUEST_TIMEOUT, "body-timeout"),
        Error::Overloaded(_) => (S::SERVICE_UNAVAILABLE, "overloaded"),
        Error::RateLimited { .. } => (S::TOO_MANY_REQUESTS, "rate-limited"),
        Error::Write(error) => (write_status(error), error.code()),
        Error::Conflict(Conflict::Condition) => (S::PRECONDITION_FAILED, "write-conflict"),
        Error::Conflict(Conflict::Revision | Conflict::Contended) => (S::CONFLICT, "write-conflict"),
        // The database refuses the client, not us.
        Error::NotRead { status: status @ 400..500 } => (S::from_u16(*status).unwrap_or(S::BAD_GATEWAY), "not-read"),
        Error::NotRead { .. } => (S::BAD_GATEWAY, "not-read"),
        Error::Upstream(UpstreamError::Timeout(_)) => (S::GATEWAY_TIMEOUT, "database-timeout"),
        Error::Upstream(UpstreamError::CircuitOpen(_)) => (S::SERVICE_UNAVAILABLE, "database-unavailable"),
        Error::Upstream(UpstreamError::Busy(_)) => (S::SERVICE_UNAVAILABLE, "database-busy"),
        Error::Upstream(_) => (S::BAD_GATEWAY, "database-unavailable"),
        // An error of the database stays one, without its text.
        Error::ReplyUnreadable { status, .. } if *status >= 400 => {
            (S::from_u16(*status).unwrap_or(S::BAD_GATEWAY), "reply-unreadable")
        }
        Error::ReplyUnreadable { .. } => (S::BAD_GATEWAY, "reply-unreadable"),
        Error::Reveal(error) => (reveal_status(error), error.code()),
        Error::Vault(error) => vault_status_and_code(error),
        Error::Outdated(_) => (S::SERVICE_UNAVAILABLE, "keys-outdated"),
        Error::FactsStale => (S::SERVICE_UNAVAILABLE, "facts-stale"),
        Error::Keys(error) => (key_status(error), error.code()),
        Error::Audit(_) => (S::SERVICE_UNAVAILABLE, "audit-unavailable"),
        Error::Internal(_) => (S::INTERNAL_SERVER_ERROR, "internal-error"),
    }
}

fn dialect_status(code: RefusedCode) -> StatusCode {
    match code {
        RefusedCode::Route | RefusedCode::ViewUnsafe => StatusCode::FORBIDDEN,
        RefusedCode::NotSearchable | RefusedCode::Malformed => StatusCode::BAD_REQUEST,
        RefusedCode::WouldErase => StatusCode::UNPROCESSABLE_ENTITY,
        RefusedCode::NotJson => StatusCode::UNSUPPORTED_MEDIA_TYPE,
    }
}

fn write_status(error: &WriteError) -> StatusCode {
    match error {
        WriteError::NotWritable { .. } | WriteError::DeleteRefused { .. } | WriteError::RingNotHeld { .. } => {
            StatusCode::FORBIDDEN
        }
        WriteError::TooLong { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        WriteError::CategoryRequired { .. }
        | WriteError::WouldErase { .. }
        | WriteError::MaskedValue { .. }
        | WriteError::ForeignEnvelope { .. }
        | WriteError::SubjectMissing { .. }
        | WriteError::SubjectChanged { .. }
        | WriteError::BadId { .. }
        | WriteError::IdMismatch { .. }
        | WriteError::NoRows { .. }
        | WriteError::Misfit { .. }
        | WriteError::PatchRefused { .. }
        | WriteError::Operation { .. }
        | WriteError::NotCanonical { .. }
        | WriteError::ForeignToken { .. }
        | WriteError::TokenFormat { .. }
        | WriteError::IndexMember { .. }
        | WriteError::UnexpectedDocument => StatusCode::UNPROCESSABLE_ENTITY,
        WriteError::Stored(error) => reveal_status(error),
        WriteError::Keys(error) => key_status(error),
        WriteError::Random(_) => StatusCode::SERVICE_UNAVAILABLE,
        WriteError::TokensWanted | WriteError::Layout => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

fn vault_status_and_code(error: &VaultError) -> (StatusCode, &'static str) {
    match error {
        VaultError::Store(_) => (StatusCode::SERVICE_UNAVAILABLE, "store-unavailable"),
        VaultError::Exhausted { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "tokens-exhausted"),
        VaultError::NotAuthentic { .. } => (StatusCode::INTERNAL_SERVER_ERROR, "value-not-authentic"),
        VaultError::Keys(error) => (key_status(error), error.code()),
        VaultError::Random(_) => (StatusCode::SERVICE_UNAVAILABLE, "keys-unavailable"),
        VaultError::Misfit { .. } | VaultError::Answer => (StatusCode::INTERNAL_SERVER_ERROR, "internal-error"),
    }
}

fn term_status(error: &TermError) -> StatusCode {
    match error {
        TermError::Sealed { .. } | TermError::NotCanonical { .. } | TermError::NoForm { .. } => StatusCode::BAD_REQUEST,
        TermError::RingNotHeld { .. } => StatusCode::FORBIDDEN,
        TermError::Keys(error) => key_status(error),
        TermError::NoField => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

fn reveal_status(error: &RevealError) -> StatusCode {
    match error {
        RevealError::RingNotHeld { .. } => StatusCode::FORBIDDEN,
        RevealError::Keys(error) => key_status(error),
        RevealError::Stray => StatusCode::NOT_FOUND,
        RevealError::Unsifted => StatusCode::BAD_GATEWAY,
        RevealError::NotAuthentic { .. }
        | RevealError::ClearFound { .. }
        | RevealError::KeyCompromised { .. }
        | RevealError::Layout => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// What a node is not given it will not have in a moment either; what it is given and cannot have may come back.
fn key_status(error: &KeyError) -> StatusCode {
    if error.is_not_held() { StatusCode::FORBIDDEN } else { StatusCode::SERVICE_UNAVAILABLE }
}

/// The client's sentence. What only the operator may know (paths, addresses, counts of disks) stays in the log.
fn sentence(error: &Error) -> String {
    match error {
        Error::Upstream(UpstreamError::Timeout(_)) => "the database did not answer in time".to_owned(),
        Error::Upstream(UpstreamError::Broken(_)) => "the database broke off its reply".to_owned(),
        Error::Upstream(UpstreamError::Busy(_)) => "the database has as much to do as it may be asked at once".to_owned(),
        Error::Upstream(_) => "the database cannot be reached".to_owned(),
        Error::Reveal(error) | Error::Write(WriteError::Stored(error)) => stored_sentence(error),
        Error::Outdated(_) => {
            "this node's keys are older than those of the others, so it stores nothing; ask another one, or again in a moment"
                .to_owned()
        }
        Error::Keys(error)
        | Error::Term(TermError::Keys(error))
        | Error::Vault(VaultError::Keys(error))
        | Error::Write(WriteError::Keys(error)) => no_key(error),
        Error::Vault(VaultError::Random(_)) | Error::Write(WriteError::Random(_)) => unavailable(),
        Error::Caller(CallerUnknown::Token { fault: TokenFault::NoKeys, .. }) => {
            "the keys of the token's issuer are not at hand, so it cannot be verified".to_owned()
        }
        Error::Audit(AuditError::Timeout(_)) => {
            "the audit log did not become durable in time, so nothing is revealed or stored".to_owned()
        }
        Error::Audit(_) => "the audit log is unavailable, so nothing is revealed or stored".to_owned(),
        Error::Vault(VaultError::Store(_)) => {
            "the store of the token vault is unavailable, so nothing is revealed or stored".to_owned()
        }
        Error::Vault(VaultError::Exhausted { .. }) => {
            "a value has a shape of which no free token was found; the operator's log names the field's scope".to_owned()
        }
        Error::Vault(VaultError::NotAuthentic { .. }) => not_authentic(),
        Error::Vault(_)
        | Error::Internal(_)
        | Error::Term(TermError::NoField)
        | Error::Write(WriteError::TokensWanted | WriteError::Layout) => failed_check(),
        // The rest names only what the client itself sent or was told: routes, purposes, fields, places, never a value.
        Error::Head(_)
        | Error::Expectation
        | Error::Target(_)
        | Error::Dialect(_)
        | Error::Caller(_)
        | Error::Purpose(_)
        | Error::Exception(_)
        | Error::ViewNotWhole { .. }
        | Error::CopyNotWhole
        | Error::NothingWritable { .. }
        | Error::AttachmentWithheld { .. }
        | Error::FeedEnded
        | Error::SearchRefused { .. }
        | Error::Term(_)
        | Error::BodyTooLarge { .. }
        | Error::CodingUnknown
        | Error::Coding(_)
        | Error::BodyTimeout { .. }
        | Error::Overloaded(_)
        | Error::RateLimited { .. }
        | Error::BodyBroken
        | Error::BodyUnexpected
        | Error::RequestJson(_)
        | Error::Write(_)
        | Error::Conflict(_)
        | Error::NotRead { .. }
        | Error::ReplyUnreadable { .. }
        | Error::FactsStale
        | Error::GrantEnded => error.to_string(),
    }
}

fn stored_sentence(error: &RevealError) -> String {
    match error {
        RevealError::Keys(error) => no_key(error),
        RevealError::NotAuthentic { .. } | RevealError::ClearFound { .. } => not_authentic(),
        RevealError::KeyCompromised { .. } => {
            "a stored value is sealed under a key that is no longer trusted; it is neither shown nor replaced until it is written anew, and an alarm is raised"
                .to_owned()
        }
        RevealError::RingNotHeld { .. } | RevealError::Stray | RevealError::Unsifted => error.to_string(),
        RevealError::Layout => failed_check(),
    }
}

fn not_authentic() -> String {
    "a stored value did not authenticate in its place; it is neither shown nor replaced, and an alarm is raised".to_owned()
}

fn no_key(error: &KeyError) -> String {
    if error.is_not_held() {
        return "this proxy is not given the key ring of a field that the request is about; ask one that is".to_owned();
    }
    unavailable()
}

fn unavailable() -> String {
    "a key is unavailable, so nothing is revealed or stored".to_owned()
}

fn failed_check() -> String {
    "an internal check failed; the operator's log has the exchange".to_owned()
}

/// The answer in the dialect's own error shape, so that the database's client library reports it.
pub(super) fn response(state: &State, problem: &Problem) -> Response<ReplyBody> {
    let (media_type, body) = state.dialect.error(problem.status.as_u16(), problem.code, &problem.sentence);
    let body = Full::new(bytes::Bytes::from(body)).map_err(|never| match never {}).boxed_unsync();
    let mut response = Response::new(ReplyBody::from(body));
    *response.status_mut() = problem.status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, http::HeaderValue::from_static(media_type));
    headers.insert(header::CACHE_CONTROL, http::HeaderValue::from_static("no-store"));
    if problem.code == "encoding-unknown" {
        headers.insert(header::ACCEPT_ENCODING, http::HeaderValue::from_static(CODINGS));
    }
    if problem.status == StatusCode::UNAUTHORIZED {
        if problem.code == "token-refused" {
            // RFC 6750, section 3.1.
            headers.insert(header::WWW_AUTHENTICATE, http::HeaderValue::from_static("Bearer error=\"invalid_token\""));
        } else {
            headers.insert(header::WWW_AUTHENTICATE, http::HeaderValue::from_static("Sudare-Credential"));
            if state.callers.take_tokens() {
                headers.append(header::WWW_AUTHENTICATE, http::HeaderValue::from_static("Bearer"));
            }
        }
    }
    if let Some(seconds) = problem.retry_after {
        headers.insert(header::RETRY_AFTER, seconds.into());
    }
    response
}
