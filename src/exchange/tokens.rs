//! Tokens of bodies and windows: the vault is asked once for all of them, before `field` judges, which waits for nothing.
//!
//! Always holds: a token that a body carries is durable before the body leaves; without an answer of the store nothing is stored and
//! nothing revealed. A collection without token fields never comes here.

use std::future::Future;
use std::time::{Duration, Instant};

use super::admission::Growing;
use super::request::{Allowed, Draft};
use super::{Error, Exchange, State};
use crate::dialect::Documents;
use crate::document::Layout;
use crate::field::{self, Before, Plan, Protected, TermError, Tokens, WriteError};
use crate::purpose::{Grant, Permit};
use crate::store::StoreError;
use crate::vault::{Scope, VaultError};

/// The store has so long to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Tokens that the store is asked for, or to keep, in one call.
const AT_ONCE: usize = 4_096;
/// Values of tokens that one window, or what one write builds on, may show. A list that shows more is asked for in smaller pages.
pub(super) const MOST_BYTES: usize = 64 << 20;
/// What a wish takes beside its value: itself, the claim of its row, and what keeps account of it.
const WISH_BYTES: usize = 1 << 10;
/// How often a write is judged: with what is stored, with what its own texts turned out to be, with its tokens.
const ROUNDS: usize = 4;

impl Exchange {
    /// Protects a draft, beside the documents it replaces; the tokens that it wants are made on the way.
    pub(super) async fn seal(
        &self,
        state: &State,
        documents: &Documents,
        allowed: &Allowed,
        draft: &Draft<'_>,
        before: Before<'_>,
    ) -> Result<Protected, Error> {
        let (collection, length) = (&draft.collection.field_map, draft.bytes.len());
        if !collection.has_tokens() {
            return self.heavy.work(length, || draft.seal(state, documents, allowed.rights(), &before)).await;
        }
        let grant = &allowed.grant;
        let mut tokens = Tokens::default();
        let mut room = Growing::new(1);
        let list = || field::tokens_of_write(collection, draft.plan, grant, &draft.bytes, &draft.layout, &before);
        let mut unknown = self.heavy.work(length, list).await;
        for _ in 0..ROUNDS {
            self.look(state, grant, std::mem::take(&mut unknown), &mut tokens).await?;
            let round = Before { rows: before.rows.clone(), now_ms: before.now_ms, tokens: Some(&tokens) };
            match self.heavy.work(length, || draft.seal(state, documents, allowed.rights(), &round)).await {
                Err(Error::Write(WriteError::TokensWanted)) => {}
                done => return done,
            }
            unknown = tokens.looks();
            let wishes = tokens.wishes();
            // With something unknown there may be fewer.
            if unknown.is_empty() {
                // A body of many short values takes more for their tokens than for itself.
                let values = wishes.iter().fold(0, |bytes: usize, wish| bytes.saturating_add(3 * wish.json.len() + WISH_BYTES));
                room.grow_exactly(values, &self.budget).await?;
                let mut made = Vec::with_capacity(wishes.len());
                for wishes in wishes.chunks(AT_ONCE) {
                    made.extend(self.vault_answers("tokenise", state.vault().tokenise(wishes)).await?);
                }
                tokens.give(wishes, made);
            }
        }
        Err(Error::Internal("a write that never has all its tokens"))
    }

    /// What the vault knows of the tokens of a window that is about to be revealed.
    pub(super) async fn tokens_shown(
        &self,
        state: &State,
        collection: &field::Collection,
        plan: &Plan,
        grant: &Grant,
        bytes: &[u8],
        layout: &Layout,
    ) -> Result<Tokens, Error> {
        let mut tokens = Tokens::default();
        self.look(state, grant, field::tokens_shown(collection, plan, grant, bytes, layout), &mut tokens).await?;
        Ok(tokens)
    }

    /// The tokens of values that are searched for, where they are known.
    pub(super) async fn tokens_found(&self, state: &State, values: &[Term]) -> Result<Vec<Option<String>>, Error> {
        if values.is_empty() {
            return Ok(Vec::new());
        }
        self.vault_answers("find", state.vault().find(values)).await
    }

    async fn look(&self, state: &State, grant: &Grant, asked: Vec<(Scope, String)>, tokens: &mut Tokens) -> Result<(), Error> {
        if asked.is_empty() {
            return Ok(());
        }
        for asked in asked.chunks(AT_ONCE) {
            let known = self.vault_answers("detokenise", state.vault().detokenise(asked, Permit::Reveal(grant))).await?;
            tokens.learn(asked.to_vec(), known);
            if tokens.bytes() > MOST_BYTES {
                return Err(too_much());
            }
        }
        Ok(())
    }

    /// Waits for the vault, not for ever, and counts how it went.
    async fn vault_answers<T>(
        &self,
        call: &'static str,
        answer: impl Future<Output = Result<T, VaultError>>,
    ) -> Result<T, Error> {
        let started = Instant::now();
        let answer = match tokio::time::timeout(PATIENCE, answer).await {
            Ok(answer) => answer,
            Err(_elapsed) => Err(VaultError::Store(StoreError::Slow("the store".to_owned(), PATIENCE))),
        };
        match &answer {
            Ok(_) => self.metrics.vault_answered(call, started.elapsed()),
            Err(error) => self.metrics.vault_failed(call, error.kind()),
        }
        answer.map_err(Error::Vault)
    }
}

/// What tokens stand for is too much to be held at once.
pub(super) fn too_much() -> Error {
    let why = "the values that its tokens stand for are too large to be shown at once; ask for fewer documents".to_owned();
    Error::ReplyUnreadable { status: 200, why }
}

/// A value that is searched for, in its canonical text, and among which.
pub(super) type Term = (Scope, Vec<u8>);

/// What a search for values of a token field asks the vault; None if the field is none.
pub(super) fn searched(
    collection: &field::Collection,
    member: usize,
    values: &[Vec<u8>],
) -> Result<Option<Vec<Term>>, TermError> {
    let mut asked = Vec::new();
    for value in values.iter().filter(|value| *value != b"null") {
        match field::token_term(collection, member, value)? {
            Some(term) => asked.push(term),
            None => return Ok(None),
        }
    }
    Ok((!asked.is_empty()).then_some(asked))
}
