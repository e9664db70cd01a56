//! The token vault: a value goes into the store, sealed, and a token that says nothing of it goes into the database in its place.
//!
//! [`Vault::tokenise`] makes or finds the tokens of one body, [`Vault::detokenise`] what the tokens of one body or window stand for; each is
//! one call of the store, however many there are.
//!
//! Always holds: a token that was given out is durable; equal values of a scope have one token, whoever asks at the same time (where the
//! scope is consistent); a row opens only under the very token and scope it was made for, against a permit; a token is never a valid real
//! value of its kind; nothing here prints a value (T13). Formats: `docs/format.md`.
//!
//! Where to look: `format` what tokens look like · `shape` digits that are no real number · `row` what the store keeps · `verify` whether it still does · `rewrap` rows under a newer key
//! · `census` how much hangs on which key. `exchange` calls
//! the vault, `field` says what is wanted of it.

mod census;
mod format;
mod rewrap;
mod row;
mod shape;
mod verify;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::base::{CollectionName, FieldName, Kid, RecordId, RingName};
use crate::crypto::RandomError;
use crate::keys::{KeyError, Rings};
use crate::purpose::{Permit, Upkeep};
use crate::store::{Change, Claim, Claimed, Row, Rows, StoreError, Table};

use format::Dice;
use row::{Opened, Sealer};

pub use census::RowsCounted;
pub use format::{Format, Misfit};
pub use rewrap::{Renewal, Rewrapped, Told, Trouble, Which};
pub use verify::{Unsound, Verifier};

/// How often new tokens are drawn for those that were taken before a format counts as exhausted.
const ATTEMPTS: u32 = 16;
/// Rows of a list that are asked for at once.
const PAGE: usize = 1_000;

/// Among which values a token stands for one: by default those of one field; a name in the configuration shares it. All of them have their
/// keys in one ring, which is not part of the name.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Scope {
    name: Arc<str>,
    ring: RingName,
}

impl Scope {
    /// The values of one field. A name given by the configuration has no dot, so that the two never meet.
    pub fn of_field(collection: &CollectionName, field: &FieldName) -> Self {
        Self::named(&format!("{collection}.{field}"))
    }

    /// The values of all fields that say this name.
    pub fn named(name: &str) -> Self {
        Self { name: Arc::from(name), ring: RingName::main() }
    }

    /// The same with keys of another ring than the main one.
    #[must_use]
    pub fn in_ring(self, ring: RingName) -> Self {
        Self { ring, ..self }
    }

    /// Is it that of one field?
    pub fn is_of_a_field(&self) -> bool {
        self.name.contains('.')
    }

    /// Its name, as bound into rows.
    pub fn as_str(&self) -> &str {
        &self.name
    }

    /// Where its keys are.
    pub fn ring(&self) -> &RingName {
        &self.ring
    }
}

/// Of the main ring nothing is said: fingerprints of batch runs are made of this text, and outlive releases.
impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_tuple("Scope");
        shown.field(&self.name);
        if !self.ring.is_main() {
            shown.field(&self.ring);
        }
        shown.finish()
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// The tokens of one field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kind {
    /// Which values share them.
    pub scope: Scope,
    /// How they look.
    pub format: Format,
    /// Equal values have equal tokens.
    pub consistent: bool,
}

/// A value that wants a token.
#[derive(Clone, PartialEq, Eq)]
pub struct Wish {
    /// Of which kind.
    pub kind: Kind,
    /// The value's JSON text, as it will be shown again. Where tokens are consistent, the one text of all equal values.
    pub json: Vec<u8>,
    /// The text of a JSON string, of which a token takes its shape; empty for other values, and not looked at for opaque tokens.
    pub text: String,
    /// Whom the value is about, if that is known.
    pub subject: Option<RecordId>,
}

/// Without the value (T13).
impl fmt::Debug for Wish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wish").field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// What the vault knows of a token.
#[derive(Clone, PartialEq, Eq)]
pub enum Known {
    /// No such token in this scope.
    Not,
    /// There is a row, but it does not open: changed, moved, or under a key that is not there.
    Bad,
    /// There is a row, under a version that somebody else may know: it is not tried. Never under [`Permit::Upkeep`].
    Compromised(Kid),
    /// There is a row, in a ring that this node does not hold: nothing more is known of it.
    NotHeld,
    /// The JSON text that it stands for.
    Value(Zeroizing<Vec<u8>>),
}

/// Without the value (T13).
impl fmt::Debug for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Not => "Not",
            Self::Bad => "Bad",
            Self::Compromised(_) => "Compromised",
            Self::NotHeld => "NotHeld",
            Self::Value(_) => "Value(..)",
        })
    }
}

/// A data subject in the store: the pseudonym that the audit log names it by, without its prefix and as bytes.
pub type Reference = [u8; 16];

/// Why the vault cannot serve. Names scopes, never a value.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VaultError {
    /// The store did not answer, or did not take it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No free token was found in as many attempts as are made.
    #[error(
        "the tokens of scope {scope} are used up: {ATTEMPTS} new ones in a row were taken; give new values a scope or a format with more room"
    )]
    Exhausted {
        /// Whose.
        scope: Scope,
    },
    /// A value that its format has no token for.
    #[error("a value does not fit the tokens of scope {scope}: {why}")]
    Misfit {
        /// Whose.
        scope: Scope,
        /// What it lacks.
        why: Misfit,
    },
    /// A row that a known value leads to is not the row of that value.
    #[error("a row of scope {scope} in the store is not what was stored: it was changed, or moved from another value")]
    NotAuthentic {
        /// Whose.
        scope: Scope,
    },
    /// A key is not to be had.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// No randomness.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// The store answered something else than it was asked; a mistake of ours.
    #[error("the store's answer does not fit the question")]
    Answer,
}

impl VaultError {
    /// In one word, for metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Store(error) => error.kind(),
            Self::Exhausted { .. } => "exhausted",
            Self::NotAuthentic { .. } => "not-authentic",
            Self::Keys(_) | Self::Random(_) => "keys",
            Self::Misfit { .. } | Self::Answer => "internal",
        }
    }
}

/// Keeps values in the store, and gives tokens for them. Cheap to make: one for each set of key rings that is put in force.
#[derive(Debug, Clone)]
pub struct Vault {
    rows: Arc<dyn Rows>,
    keys: Arc<Rings>,
}

impl Vault {
    /// A vault of the rings' controller in a store.
    pub fn new(rows: Arc<dyn Rows>, keys: Arc<Rings>) -> Self {
        Self { rows, keys }
    }

    /// The same rows with other keys.
    #[must_use]
    pub fn with(&self, keys: Arc<Rings>) -> Self {
        Self { rows: Arc::clone(&self.rows), keys }
    }

    /// Makes or finds a token for each wish, in their order; all in one call. It says on whose behalf nobody has to: a token shows nothing.
    ///
    /// # Errors
    ///
    /// [`VaultError`]. Rows that were made by then stay, unused; nothing refers to them.
    pub async fn tokenise(&self, wishes: &[Wish]) -> Result<Vec<String>, VaultError> {
        let mut batch = Batch::new(self, wishes)?;
        for _ in 0..ATTEMPTS {
            let (numbers, claims) = batch.claims()?;
            if claims.is_empty() {
                break;
            }
            let answers = self.rows.claim(Table::Token, claims).await?;
            if answers.len() != numbers.len() {
                return Err(VaultError::Answer);
            }
            for (number, answer) in numbers.into_iter().zip(answers) {
                match answer {
                    Claimed::Made => batch.made(number),
                    Claimed::Found { key, value } => self.check(&mut batch, number, &key, &value)?,
                    Claimed::Taken => {}
                }
            }
        }
        if let Some(scope) = batch.unserved() {
            return Err(VaultError::Exhausted { scope: scope.clone() });
        }
        let links = batch.links();
        if !links.is_empty() {
            self.rows.change(Table::TokenRef, links).await?;
        }
        batch.tokens().ok_or(VaultError::Answer)
    }

    /// Looks at the row that was found for a known value of a wish.
    fn check(&self, batch: &mut Batch<'_>, number: usize, key: &[u8], value: &[u8]) -> Result<(), VaultError> {
        let wish = batch.wish(number).ok_or(VaultError::Answer)?;
        let token = self.token_of(&wish.kind.scope, &wish.json, key, value)?;
        batch.found(number, token);
        Ok(())
    }

    /// The token of the row that was found for a known value: it must hold that very value, or somebody has led it astray.
    fn token_of(&self, scope: &Scope, json: &[u8], key: &[u8], value: &[u8]) -> Result<String, VaultError> {
        let upkeep = Upkeep::dangerous_for("a known value's row is compared with the value; its content is dropped at once");
        let led_astray = || VaultError::NotAuthentic { scope: scope.clone() };
        let (_, of, token) = row::read_key(key).ok_or_else(led_astray)?;
        let at_home = key == row::key(self.keys.controller(), scope, &token) && of == scope.as_str();
        match row::open(&self.keys, scope, &token, value, Permit::Upkeep(&upkeep))? {
            Some(opened) if at_home && *opened.json == json => Ok(token),
            _ => Err(led_astray()),
        }
    }

    /// What the tokens stand for, in their order; all in one call.
    ///
    /// # Errors
    ///
    /// [`VaultError::Store`], [`VaultError::Keys`]. A token that is not there, or does not open, is an answer.
    pub async fn detokenise(&self, tokens: &[(Scope, String)], permit: Permit<'_>) -> Result<Vec<Known>, VaultError> {
        if tokens.is_empty() {
            return Ok(Vec::new());
        }
        let keys = tokens.iter().map(|(scope, token)| row::key(self.keys.controller(), scope, token)).collect();
        let values = self.rows.read(Table::Token, keys).await?;
        if values.len() != tokens.len() {
            return Err(VaultError::Answer);
        }
        let known = |((scope, token), value): (&(Scope, String), Option<Vec<u8>>)| {
            let Some(value) = value else { return Ok(Known::Not) };
            match row::open(&self.keys, scope, token, &value, permit) {
                Ok(Some(Opened { json, .. })) => Ok(Known::Value(json)),
                Ok(None) => Ok(Known::Bad),
                Err(KeyError::Compromised(kid)) => Ok(Known::Compromised(kid)),
                Err(KeyError::RingNotHeld(_)) => Ok(Known::NotHeld),
                Err(error) => Err(error.into()),
            }
        };
        tokens.iter().zip(values).map(known).collect()
    }

    /// Which of these are sound tokens of their scopes. What they stand for is not in the answer: a [`Known::Value`] is empty.
    ///
    /// # Errors
    ///
    /// Those of [`Self::detokenise`].
    pub async fn recognise(&self, tokens: &[(Scope, String)]) -> Result<Vec<Known>, VaultError> {
        let upkeep = Upkeep::dangerous_for("is a stored text a token of its scope? Its content is dropped at once");
        let known = self.detokenise(tokens, Permit::Upkeep(&upkeep)).await?;
        let without_value = |known| match known {
            Known::Value(_) => Known::Value(Zeroizing::default()),
            Known::Not | Known::Bad | Known::Compromised(_) | Known::NotHeld => known,
        };
        Ok(known.into_iter().map(without_value).collect())
    }

    /// The tokens of values that are known, in the order asked; None is made. One call, and one more where something is found: what stands
    /// behind a mark is looked at, or whoever can write to the store could lead a search to the documents of others, or put into a query
    /// whatever they like. Only consistent tokens can be found.
    ///
    /// # Errors
    ///
    /// [`VaultError`].
    pub async fn find(&self, values: &[(Scope, Vec<u8>)]) -> Result<Vec<Option<String>>, VaultError> {
        let (mut marks, mut owners) = (Vec::new(), Vec::new());
        for (number, (scope, json)) in values.iter().enumerate() {
            for mark in row::marks(&self.keys.of(scope.ring())?.fingerprint_keys(scope.as_str())?, json) {
                marks.push(mark);
                owners.push(number);
            }
        }
        let mut tokens = vec![None; values.len()];
        if marks.is_empty() {
            return Ok(tokens);
        }
        // Of each value the row that its first mark names.
        let mut named: BTreeMap<usize, Vec<u8>> = BTreeMap::new();
        for (owner, key) in owners.into_iter().zip(self.rows.find(Table::Token, marks).await?) {
            if let Some(key) = key {
                named.entry(owner).or_insert(key);
            }
        }
        if named.is_empty() {
            return Ok(tokens);
        }
        let held = self.rows.read(Table::Token, named.values().cloned().collect()).await?;
        if held.len() != named.len() {
            return Err(VaultError::Answer);
        }
        for ((owner, key), value) in named.into_iter().zip(held) {
            let (Some((scope, json)), Some(slot)) = (values.get(owner), tokens.get_mut(owner)) else {
                return Err(VaultError::Answer);
            };
            *slot = Some(self.token_of(scope, json, &key, &value.unwrap_or_default())?);
        }
        Ok(tokens)
    }

    /// Whom a token is used for. A subject that does not use it any more may still be among them: what a document held before is not
    /// looked at when it changes.
    ///
    /// # Errors
    ///
    /// [`VaultError::Store`].
    pub async fn references(&self, scope: &Scope, token: &str) -> Result<Vec<Reference>, VaultError> {
        let key = row::key(self.keys.controller(), scope, token);
        let prefix = row::reference_prefix(&key);
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let page = self.rows.list(Table::TokenRef, prefix.clone(), after.take(), PAGE).await?;
            all.extend(page.iter().filter_map(|row| row.key.last_chunk::<16>()));
            match page.last() {
                Some(last) if page.len() == PAGE => after = Some(last.key.clone()),
                _ => return Ok(all),
            }
        }
    }

    /// By what names a data subject may stand in [`Self::references`]: one for each version of the audit line that is there.
    ///
    /// # Errors
    ///
    /// [`VaultError::Keys`].
    pub fn names_of(&self, subject: &RecordId) -> Result<Vec<Reference>, VaultError> {
        Ok(self.keys.main().subject_keys()?.iter().map(|key| row::reference(key, subject)).collect())
    }
}

/// The wishes of one body on their way.
struct Batch<'a> {
    vault: &'a Vault,
    wishes: &'a [Wish],
    /// Wishes that get a token of their own; the others share that of an equal one before them.
    own: Vec<Own>,
    /// Of each wish, which of `own` it gets.
    of_wish: Vec<usize>,
    sealers: HashMap<&'a Scope, Sealer>,
    dice: Dice,
    subjects: Option<Arc<crate::crypto::MacKey>>,
}

/// A token that is to be.
struct Own {
    /// Its wish, the first one of equal ones.
    wish: usize,
    /// What was drawn last.
    drawn: String,
    /// What it is, once that is certain.
    token: Option<String>,
    /// The subject that is linked with it in the claim itself.
    linked: Option<Reference>,
    /// Those of equal wishes after it.
    others: HashSet<Reference>,
}

impl<'a> Batch<'a> {
    fn new(vault: &'a Vault, wishes: &'a [Wish]) -> Result<Self, VaultError> {
        let any_subject = wishes.iter().any(|wish| wish.subject.is_some());
        let subjects = if any_subject { vault.keys.main().subject_keys()?.into_iter().next() } else { None };
        let mut batch = Self {
            vault,
            wishes,
            own: Vec::with_capacity(wishes.len()),
            of_wish: Vec::with_capacity(wishes.len()),
            sealers: HashMap::new(),
            dice: Dice::default(),
            subjects,
        };
        let mut equal: HashMap<(&Scope, &[u8]), usize> = HashMap::new();
        for (number, wish) in wishes.iter().enumerate() {
            let scope = &wish.kind.scope;
            wish.kind.format.check(&wish.text).map_err(|why| VaultError::Misfit { scope: scope.clone(), why })?;
            let reference = wish.subject.as_ref().zip(batch.subjects.as_ref()).map(|(subject, key)| row::reference(key, subject));
            let known = equal.get(&(scope, wish.json.as_slice())).copied().filter(|_| wish.kind.consistent);
            let own = if let Some((known, own)) = known.and_then(|known| batch.own.get_mut(known).map(|own| (known, own))) {
                own.others.extend(reference.filter(|reference| own.linked != Some(*reference)));
                known
            } else {
                let own = batch.own.len();
                batch.own.push(Own {
                    wish: number,
                    drawn: String::new(),
                    token: None,
                    linked: reference,
                    others: HashSet::new(),
                });
                if wish.kind.consistent {
                    equal.insert((scope, &wish.json), own);
                }
                own
            };
            batch.of_wish.push(own);
        }
        Ok(batch)
    }

    /// A claim for each token that there is none for yet, with its number.
    fn claims(&mut self) -> Result<(Vec<usize>, Vec<Claim>), VaultError> {
        let (mut numbers, mut claims) = (Vec::new(), Vec::new());
        for (number, own) in self.own.iter_mut().enumerate().filter(|(_, own)| own.token.is_none()) {
            let wish = self.wishes.get(own.wish).ok_or(VaultError::Answer)?;
            let Kind { scope, format, consistent } = &wish.kind;
            let sealer = match self.sealers.entry(scope) {
                std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
                std::collections::hash_map::Entry::Vacant(entry) => entry.insert(Sealer::new(&self.vault.keys, scope)?),
            };
            own.drawn = format.draw(&wish.text, &mut self.dice)?.ok_or_else(|| VaultError::Exhausted { scope: scope.clone() })?;
            let marks = if *consistent { sealer.marks(&self.vault.keys, &wish.json)? } else { Vec::new() };
            claims.push(Claim {
                key: row::key(self.vault.keys.controller(), scope, &own.drawn),
                value: sealer.seal(self.vault.keys.controller(), &own.drawn, *consistent, &wish.json, self.dice.bytes()?)?,
                marks,
                link: own.linked.map(|reference| (Table::TokenRef, reference.to_vec())),
            });
            numbers.push(number);
        }
        Ok((numbers, claims))
    }

    fn wish(&self, number: usize) -> Option<&'a Wish> {
        self.wishes.get(self.own.get(number)?.wish)
    }

    fn made(&mut self, number: usize) {
        if let Some(own) = self.own.get_mut(number) {
            own.token = Some(std::mem::take(&mut own.drawn));
        }
    }

    fn found(&mut self, number: usize, token: String) {
        if let Some(own) = self.own.get_mut(number) {
            own.token = Some(token);
        }
    }

    /// The scope of a wish without a token.
    fn unserved(&self) -> Option<&'a Scope> {
        let own = self.own.iter().find(|own| own.token.is_none())?;
        self.wishes.get(own.wish).map(|wish| &wish.kind.scope)
    }

    /// What a claim, which has room for one link, could not say.
    fn links(&self) -> Vec<Change> {
        let mut links = Vec::new();
        for own in &self.own {
            let (Some(wish), Some(token)) = (self.wishes.get(own.wish), &own.token) else { continue };
            let key = row::key(self.vault.keys.controller(), &wish.kind.scope, token);
            links.extend(own.others.iter().map(|reference| {
                Change::Put(Row { key: row::reference_key(&key, reference), value: Vec::new(), marks: Vec::new() })
            }));
        }
        links
    }

    fn tokens(self) -> Option<Vec<String>> {
        self.of_wish.iter().map(|own| self.own.get(*own)?.token.clone()).collect()
    }
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
