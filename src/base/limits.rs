//! Fixed limits, with the reason for each. What an operator may change stands in `config` with these as the defaults.

/// Longest id that is bound into a value, in bytes (`formats.md`: ids are at most 512 bytes).
pub const MAX_ID_BYTES: usize = 512;
/// Deepest nesting of arrays and objects that is read; the same bound as serde_json's, our oracle.
pub const MAX_JSON_DEPTH: usize = 127;
/// Largest request body on a protected collection, in bytes; it is checked whole before its first byte goes upstream (T27).
pub const MAX_REQUEST_BODY_BYTES: usize = 16 << 20;
/// Most documents in one request body: each costs memory, an id and a data subject in the audit log, however small it is (T24).
pub const MAX_ROWS: usize = 16_384;
/// Most members that are protected or read in one request body or window.
pub const MAX_VALUES: usize = 262_144;
/// A window of a reply is sent once it holds this many rows ...
pub const WINDOW_ROWS: usize = 256;
/// ... or this many bytes.
pub const WINDOW_BYTES: usize = 1 << 20;
/// Largest single row of a reply, in bytes. With [`WINDOW_BYTES`] it bounds what one reply holds in memory.
pub const MAX_ROW_BYTES: usize = 4 << 20;
/// Longest value of one protected member, in bytes of JSON text, before padding.
pub const MAX_PLAINTEXT_BYTES: usize = 1 << 20;
/// Longest value that is stored as a token, in bytes of JSON text: a token is short however long its value is, so that without a bound of
/// its own a window of tokens could stand for gigabytes (T24).
pub const MAX_TOKENISED_BYTES: usize = 64 << 10;
/// How long a grant may be used after it was decided, in milliseconds (T33).
pub const GRANT_LIFETIME_MS: u64 = 5_000;
/// Stack of a thread, in bytes. Nothing of ours recurses deeper than [`MAX_JSON_DEPTH`]; a limit of a process's private memory counts the
/// stack of every thread whole.
pub const STACK_BYTES: usize = 1 << 20;
/// Longest JWT that is looked at, in bytes. Those of identity providers have 1 to 3 KiB.
pub const MAX_TOKEN_BYTES: usize = 8 << 10;
/// Largest key set of an issuer that is read, in bytes ...
pub const MAX_JWKS_BYTES: usize = 256 << 10;
/// ... with at most so many keys.
pub const MAX_JWKS_KEYS: usize = 100;
