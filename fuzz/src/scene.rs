//! A protected collection with its keys and rights: as an input's first line describes it, or the usual one.

use std::sync::Arc;

use bytes::Bytes;
use sudare::base::{
    Bind, CallerName, CategoryName, CollectionName, Controller, FieldName, FieldPlace, Intent, PurposeName, RecordId, RingName,
};
use sudare::document::{Layout, RowSet, Rules, Selector, Step, walk};
use sudare::field::{
    Before, Collection, Field, Found, Generalise, Index, Mask, OnBadValue, Plan, Protected, Protection, RevealError, Revealed,
    RowWrite, Subject, Tokens, WriteError, index_terms, protect_over, reveal_found, tokens_of_write, tokens_shown,
};
use sudare::keys::{KeyRing, LineName, Rings, State};
use sudare::normalise::Normaliser;
use sudare::purpose::{CategoryId, CategorySpec, Collects, Grant, Level, Nature, Permit, Policy, PolicySpec, PurposeSpec, Terms};
use sudare::vault::{Format, Kind, Scope};

use super::oracle::Path;
use super::vault::Vault;

pub const CONTROLLER: &str = "shop";
pub const COLLECTION: &str = "customers";
pub const KID: &str = "7k3m9qpa";
pub const SEAL_SECRET: [u8; 32] = [1; 32];
const CATEGORIES: [&str; 6] = ["name", "address", "phone", "id-card", "birth", "note"];
/// 2026-11-22T00:00:00Z
const NOW_MS: u64 = 1_795_305_600_000;

/// What an input's first line says.
pub struct Scene {
    pub collection: Collection,
    pub rows: Vec<Path>,
    pub fields: Vec<Path>,
    set: RowSet,
    /// How each category is shown, in the order of [`CATEGORIES`].
    pub levels: Vec<Level>,
    pub intent: Intent,
    pub url_id: Option<RecordId>,
    /// Every row gets an id from the proxy.
    pub assign: bool,
    /// Which envelope is changed, and how.
    pub damage: Option<(usize, usize)>,
    pub ring: Rings,
    pub indexes: Vec<IndexMember>,
    pub vault: Arc<Vault>,
}

/// A search index of a field.
pub struct IndexMember {
    pub field: usize,
    /// Which of the field's indexes.
    pub number: usize,
    pub member: String,
    pub at: Path,
}

impl Scene {
    /// Reads words such as `r=$.items[*] f=$.name b=document i=replace u=c-1 assign seal-null lax withhold s=$.owner
    /// o=$.guests[*].id l=cmgpsa d=0,7 x=0,text,64 x=0,text+prefix:3,32 t=1,opaque,consistent`. Without rows or fields those of an ordinary
    /// customer. `x` is an index of the field with that number, whose terms stand in `$.ix_0`, `$.ix_1` …; `t` stores it as a token.
    ///
    /// None if a word is not one of these.
    pub fn read(line: &str) -> Option<Self> {
        let (mut rows, mut fields) = (Vec::new(), Vec::new());
        let mut scene = Self {
            collection: Collection {
                name: CollectionName::new(COLLECTION),
                bind: Bind::Subject,
                strict: true,
                on_bad_value: OnBadValue::Refuse,
                id: Selector::parse("$.id").unwrap(),
                subject: Subject::DocumentId,
                fields: Vec::new(),
            },
            rows: Vec::new(),
            fields: Vec::new(),
            set: RowSet::default(),
            levels: vec![Level::Clear; CATEGORIES.len()],
            intent: Intent::Create,
            url_id: None,
            assign: false,
            damage: None,
            ring: ring(),
            indexes: Vec::new(),
            vault: Arc::default(),
        };
        let (mut indexes, mut tokens) = (Vec::new(), Vec::new());
        let (mut seal_null, mut own_subject) = (false, None);
        for word in line.split_ascii_whitespace() {
            match word.split_once('=').unwrap_or((word, "")) {
                ("r", row) => rows.push(Selector::parse(row).ok()?),
                ("f", field) => fields.push(Selector::parse(field).ok()?),
                ("b", bind) => {
                    scene.collection.bind =
                        [Bind::Field, Bind::Subject, Bind::Document].into_iter().find(|known| known.as_str() == bind)?
                }
                ("i", "create") => scene.intent = Intent::Create,
                ("i", "replace") => scene.intent = Intent::Replace,
                ("i", "delete") => scene.intent = Intent::Delete,
                ("u", id) => scene.url_id = Some(RecordId::from_text(id).ok()?),
                ("s", subject) => scene.collection.subject = Subject::At(Selector::parse(subject).ok()?),
                // Who the values of the last field are about.
                ("o", subject) => own_subject = Some(Selector::parse(subject).ok()?),
                ("l", levels) => scene.levels = levels.chars().map(level).collect::<Option<Vec<_>>>()?,
                ("d", damage) => {
                    let (which, where_) = damage.split_once(',')?;
                    scene.damage = Some((which.parse().ok()?, where_.parse().ok()?));
                }
                ("x", index) => indexes.push(index),
                ("t", token) => tokens.push(token),
                ("assign", "") => scene.assign = true,
                ("seal-null", "") => seal_null = true,
                ("lax", "") => scene.collection.strict = false,
                ("withhold", "") => scene.collection.on_bad_value = OnBadValue::Withhold,
                _ => return None,
            }
        }
        scene.levels.resize(CATEGORIES.len(), Level::Clear);
        let or = |given: Vec<Selector>, usual: &[&str]| {
            if given.is_empty() { usual.iter().map(|text| Selector::parse(text).unwrap()).collect() } else { given }
        };
        let (rows, fields) = (or(rows, &["$", "$[*]", "$.items[*]"]), or(fields, &["$.name", "$.address", "$.phones[*]"]));
        if rows.len() > 4 || fields.len() > 8 || indexes.len() > 6 || tokens.len() > 4 {
            return None;
        }
        scene.rows = rows.iter().map(|row| Path::parse(&row.to_string())).collect();
        scene.fields = fields.iter().map(|field| Path::parse(&field.to_string())).collect();
        scene.collection.fields = fields.into_iter().enumerate().map(|(n, at)| field(n, at, seal_null)).collect();
        scene.collection.fields.last_mut()?.subject = own_subject;
        tokens.into_iter().try_for_each(|token| scene.tokenise(token))?;
        indexes.into_iter().try_for_each(|index| scene.index(index))?;
        scene.set = RowSet { rows, ..RowSet::default() };
        Some(scene)
    }

    /// `1,digits,fresh`
    fn tokenise(&mut self, word: &str) -> Option<()> {
        let [field, format, consistent] = word.split(',').collect::<Vec<_>>().try_into().ok()?;
        let field = self.collection.fields.get_mut(field.parse::<usize>().ok()?)?;
        let (_, format) = Format::WORDS.into_iter().find(|(word, _)| *word == format)?;
        let consistent = ["fresh", "consistent"].iter().position(|known| *known == consistent)? == 1;
        // Fields of one format and kind share their tokens.
        let scope = Scope::named(&format!("{}-{consistent}", format.as_str()));
        field.protection = Protection::Token(Kind { scope, format, consistent });
        Some(())
    }

    /// `0,text+prefix:3,32`. As in the configuration, no field has both tokens and an index.
    fn index(&mut self, word: &str) -> Option<()> {
        let [number, steps, bits] = word.split(',').collect::<Vec<_>>().try_into().ok()?;
        let number: usize = number.parse().ok()?;
        let member = format!("ix_{}", self.indexes.len());
        let field = self.collection.fields.get_mut(number).filter(|field| field.protection == Protection::Seal)?;
        let steps = steps.split('+').map(str::parse).collect::<Result<_, _>>().ok()?;
        let at = Selector::parse(&format!("$.{member}")).unwrap();
        let index = Index::new(at, Normaliser::new(steps).ok()?, bits.parse().ok()?).ok()?;
        field.indexes.push(index);
        let at = Path::parse(&format!("$.{member}"));
        self.indexes.push(IndexMember { field: number, number: field.indexes.len() - 1, member, at });
        Some(())
    }

    /// The same, in another collection under the same keys, with the same vault.
    pub fn moved(mut self, vault: &Arc<Vault>) -> Self {
        for field in &mut self.collection.fields {
            field.place.collection = CollectionName::new("suppliers");
        }
        self.vault = Arc::clone(vault);
        self
    }

    /// How a field's tokens are, if it is stored as such.
    pub fn tokens_of(&self, field: usize) -> Option<&Kind> {
        let Protection::Token(kind) = &self.collection.fields[field].protection else { return None };
        Some(kind)
    }

    /// A field may stand more than once in a row.
    pub fn repeats(&self, field: usize) -> bool {
        let steps = self.collection.fields[field].at.steps();
        steps.iter().any(|step| matches!(step, Step::AnyElement | Step::AnyMember))
    }

    /// The terms of a value, which has none where it has no normalised form.
    pub fn terms(&self, index: &IndexMember, json: &[u8]) -> Vec<String> {
        let grant = grant(&[Level::Clear; CATEGORIES.len()]);
        let at = (index.field, index.number);
        let found = index_terms(&self.collection, &self.ring, at, &[json.to_vec()], Permit::Reveal(&grant));
        found.map(|probe| probe.terms).unwrap_or_default()
    }

    /// None if the selectors do not go together.
    pub fn plan(&self) -> Option<Plan> {
        Plan::compile(&self.collection, &self.set).ok()
    }

    pub fn level(&self, field: usize) -> Level {
        self.levels[field % CATEGORIES.len()]
    }

    pub fn seals_null(&self) -> bool {
        self.collection.fields[0].seal_null
    }

    /// Protects as somebody who sees and may write everything.
    pub fn protect(&self, plan: &Plan, body: &[u8], layout: &Layout) -> Result<Protected, WriteError> {
        let row = |n| RowWrite { intent: self.intent, assigned_id: self.assign.then(|| assigned_id(n)) };
        let rows: Vec<RowWrite> = (0..layout.rows.len()).map(row).collect();
        let (grant, bytes) = (grant(&[Level::Clear; CATEGORIES.len()]), Bytes::copy_from_slice(body));
        // As the exchange does: what might be a token is looked up, and the write is judged until it has all its tokens.
        let mut asked = tokens_of_write(&self.collection, plan, &grant, &bytes, layout, &Before::default());
        let mut tokens = Tokens::default();
        for _ in 0..4 {
            let known = self.vault.known(&asked);
            tokens.learn(std::mem::take(&mut asked), known);
            let before = Before { tokens: Some(&tokens), ..Before::default() };
            let (collection, url_id) = (&self.collection, self.url_id.as_ref());
            match protect_over(collection, plan, &self.ring, &grant, &bytes, layout, &rows, url_id, "id", &before) {
                Err(WriteError::TokensWanted) => {}
                done => return done,
            }
            asked = tokens.looks();
            let wishes = tokens.wishes();
            if asked.is_empty() {
                let made = self.vault.make(&wishes);
                tokens.give(wishes, made);
            }
        }
        panic!("a write that never has all its tokens")
    }

    /// Reveals a whole reply at these levels. None if it is no JSON that may be revealed at all.
    pub fn reveal(&self, plan: &Plan, body: &[u8], levels: &[Level]) -> Option<Result<Revealed, RevealError>> {
        let layout = walk(&plan.map, Rules::reply(), body).ok()?;
        let grant = grant(levels);
        let asked = tokens_shown(&self.collection, plan, &grant, body, &layout);
        let (mut tokens, known) = (Tokens::default(), self.vault.known(&asked));
        tokens.learn(asked, known);
        let how = Found { tokens: Some(&tokens), ..Found::default() };
        let url_id = self.url_id.as_ref();
        Some(reveal_found(&self.collection, plan, &self.ring, &grant, body, &layout, url_id, NOW_MS, how))
    }
}

pub fn assigned_id(row: usize) -> String {
    format!("assigned-{row}")
}

fn level(letter: char) -> Option<Level> {
    Some(match letter {
        'c' => Level::Clear,
        'm' => Level::Masked,
        'g' => Level::Generalised,
        'p' => Level::Pseudonym,
        's' => Level::Sealed,
        'a' => Level::Absent,
        _ => return None,
    })
}

/// Field `n`; its category repeats with every sixth, each has its own mask, form to generalise to, and padding.
fn field(n: usize, at: Selector, seal_null: bool) -> Field {
    let name = format!("field-{n}");
    let category = n % CATEGORIES.len();
    let generalise = ["postcode-prefix:3", "year", "age-band:10", "ip-prefix", "grid:0.1", "band:1000"][category];
    Field {
        name: FieldName::new(&name),
        at,
        place: place(&name),
        ring: RingName::main(),
        category: CategoryId(category as u16),
        category_name: CategoryName::new(CATEGORIES[category]),
        mask: Mask::parse(["keep-last:4", "initials", "all", "keep-first:1", "email", "keep-last:2"][category]).unwrap(),
        generalise: (n != 3).then(|| Generalise::parse(generalise).unwrap()),
        pad: [32, 0, 64, 128, 1, 32][category],
        seal_null,
        protection: Protection::Seal,
        subject: None,
        indexes: Vec::new(),
    }
}

pub fn place(field: &str) -> FieldPlace {
    FieldPlace {
        controller: Controller::new(CONTROLLER),
        collection: CollectionName::new(COLLECTION),
        field: FieldName::new(field),
    }
}

fn ring() -> Rings {
    let versions = vec![
        (LineName::Seal, KID.parse().unwrap(), State::Active, SEAL_SECRET),
        (LineName::Lookup, "100k0000".parse().unwrap(), State::Active, [3; 32]),
        (LineName::pseudonym("support").unwrap(), "spprt000".parse().unwrap(), State::Active, [2; 32]),
    ];
    KeyRing::with_versions(Controller::new(CONTROLLER), versions).into()
}

/// A grant of these levels from a real policy; everything may be written and deleted.
fn grant(levels: &[Level]) -> Grant {
    let names = || CATEGORIES.iter().map(|name| CategoryName::new(name));
    let category = |name| CategorySpec {
        name,
        line: 1,
        dpv: "pd:Name".to_owned(),
        nature: Nature::Identifying,
        mask: None,
        generalise: None,
        clauses: vec![],
    };
    let purpose = PurposeSpec {
        name: PurposeName::new("support"),
        line: 1,
        dpv: None,
        basis: None,
        callers: vec![CallerName::new("helpdesk")],
        reveal: names().zip(levels).map(|(name, level)| (name, *level, 1)).collect(),
        reveal_line: 1,
        writes: Some(names().collect()),
        writes_line: 1,
        search: Vec::new(),
        search_line: 0,
        delete: true,
        terms: Terms::default(),
        collects: Collects::default(),
        clauses: vec![],
    };
    let spec = PolicySpec {
        id: "fuzz".to_owned(),
        version: 1,
        categories: names().map(category).collect(),
        purposes: vec![purpose],
        ..PolicySpec::default()
    };
    Policy::compile(spec).unwrap().decide(&CallerName::new("helpdesk"), None, NOW_MS).unwrap()
}
