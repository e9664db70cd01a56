//! The body of a list: documents of one collection as a JSON array, from one snapshot, read a piece at a time.
//!
//! Always holds: at most one piece is in memory, and the next is read only when the last was taken; an error of the store in
//! the middle is an error of the body, never a short list.

use std::borrow::Cow;
use std::collections::HashMap;
use std::future::Future;
use std::ops::Bound;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use redb::{ReadOnlyTable, ReadTransaction, ReadableTable, TableError};
use serde_json::value::RawValue;
use tokio::task::JoinHandle;

use super::super::{BodyError, PassBody, UpstreamError};
use super::target::Page;
use super::{DOCUMENTS, Store};

/// A piece ends with the document that brings it to this size ...
const PIECE_BYTES: usize = 64 << 10;
/// ... or when so many documents were looked at, if few of them are what is asked for.
const PIECE_DOCUMENTS: usize = 4_096;

type Table = ReadOnlyTable<(&'static str, &'static str), (u64, &'static [u8])>;

/// The list as a body. Reads its first piece here, so that a store that cannot be read is an error before the head.
/// Blocks on the disk.
pub(super) fn body(
    transaction: &ReadTransaction,
    store: &Arc<Store>,
    collection: String,
    page: Page,
) -> Result<PassBody, UpstreamError> {
    let table = match transaction.open_table(DOCUMENTS) {
        Ok(table) => Some(table),
        Err(TableError::TableDoesNotExist(_)) => None,
        Err(error) => return Err(store.error(error)),
    };
    let mut reader = Box::new(Reader {
        store: Arc::clone(store),
        table,
        collection,
        after: page.after,
        left: page.limit.unwrap_or(u64::MAX),
        members: page.members,
        opened: false,
        begun: false,
        ended: false,
    });
    let first = reader.piece()?;
    Ok(List { state: State::Ready(reader, Some(first)) }.boxed_unsync())
}

/// Where reading stands. A table that was opened for reading keeps its snapshot.
struct Reader {
    store: Arc<Store>,
    table: Option<Table>,
    collection: String,
    after: Option<String>,
    left: u64,
    /// See [`Page::members`].
    members: Vec<(String, Vec<String>)>,
    /// The bracket was written ...
    opened: bool,
    /// ... and a document.
    begun: bool,
    ended: bool,
}

impl Reader {
    /// The next bytes of the array; the last piece carries its closing bracket.
    fn piece(&mut self) -> Result<Bytes, UpstreamError> {
        let mut out = Vec::new();
        if !self.opened {
            out.push(b'[');
            self.opened = true;
        }
        if let Some(table) = &self.table {
            let from = match &self.after {
                Some(id) => Bound::Excluded((self.collection.as_str(), id.as_str())),
                // The empty text comes before every id.
                None => Bound::Included((self.collection.as_str(), "")),
            };
            let range =
                ReadableTable::range::<(&str, &str)>(table, (from, Bound::Unbounded)).map_err(|error| self.store.error(error))?;
            let mut last = None;
            for (looked_at, entry) in range.enumerate() {
                let (key, value) = entry.map_err(|error| self.store.error(error))?;
                let (collection, id) = key.value();
                if self.left == 0 || collection != self.collection {
                    break;
                }
                if out.len() >= PIECE_BYTES || looked_at >= PIECE_DOCUMENTS {
                    self.after = last;
                    return Ok(out.into());
                }
                last = Some(id.to_string());
                if !has(value.value().1, &self.members) {
                    continue;
                }
                if self.begun {
                    out.push(b',');
                }
                self.begun = true;
                out.extend_from_slice(value.value().1);
                self.left -= 1;
            }
        }
        self.ended = true;
        out.push(b']');
        Ok(out.into())
    }
}

/// Has the document, for each member, one of the texts?
fn has(document: &[u8], members: &[(String, Vec<String>)]) -> bool {
    if members.is_empty() {
        return true;
    }
    let Ok(document) = serde_json::from_slice::<HashMap<Cow<'_, str>, &RawValue>>(document) else { return false };
    members.iter().all(|(name, texts)| {
        let Some(value) = document.get(name.as_str()) else { return false };
        let is_one = |text: &str| texts.iter().any(|asked| asked == text);
        if let Ok(text) = serde_json::from_str::<Cow<'_, str>>(value.get()) {
            return is_one(&text);
        }
        serde_json::from_str::<Vec<serde_json::Value>>(value.get())
            .is_ok_and(|list| list.iter().filter_map(serde_json::Value::as_str).any(is_one))
    })
}

struct List {
    state: State,
}

enum State {
    Ready(Box<Reader>, Option<Bytes>),
    Reading(JoinHandle<(Box<Reader>, Result<Bytes, UpstreamError>)>),
    Ended,
}

impl Body for List {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        loop {
            match std::mem::replace(&mut self.state, State::Ended) {
                State::Ready(reader, Some(piece)) => {
                    if !reader.ended {
                        self.state = State::Ready(reader, None);
                    }
                    return Poll::Ready(Some(Ok(Frame::data(piece))));
                }
                State::Ready(mut reader, None) => {
                    self.state = State::Reading(tokio::task::spawn_blocking(move || {
                        let piece = reader.piece();
                        (reader, piece)
                    }));
                }
                State::Reading(mut task) => {
                    let polled = Pin::new(&mut task).poll(cx);
                    if polled.is_pending() {
                        self.state = State::Reading(task);
                        return Poll::Pending;
                    }
                    match ready!(polled) {
                        Ok((reader, Ok(piece))) => self.state = State::Ready(reader, Some(piece)),
                        Ok((_, Err(error))) => return Poll::Ready(Some(Err(error.into()))),
                        Err(error) => return Poll::Ready(Some(Err(error.into()))),
                    }
                }
                State::Ended => return Poll::Ready(None),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.state, State::Ended)
    }
}
