//! What a request does to a document, said by the dialect and obeyed by `field` and `exchange`.

/// What a request, or one row of it, does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Intent {
    /// Reads; nothing is stored.
    Read,
    /// Stores a document that must not be there yet.
    Create,
    /// Stores a document in place of the one that may be there.
    Replace,
    /// Removes a document.
    Delete,
    /// Several rows, each with an intent of its own.
    PerRow,
}

/// How a change of a document is written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PatchFormat {
    /// `application/merge-patch+json` (RFC 7396): a piece of the document; `null` removes.
    Merge,
    /// `application/json-patch+json` (RFC 6902): a list of operations at JSON Pointers.
    Json,
}
