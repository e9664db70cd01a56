//! A protected collection with its keys and rights: as an input's first line describes it, or the usual one.

use bytes::Bytes;
use sudare::base::{
    Bind, CallerName, CategoryName, CollectionName, Controller, FieldName, FieldPlace, Intent, PurposeName, RecordId,
};
use sudare::document::{Layout, RowSet, Rules, Selector, walk};
use sudare::field::{
    Collection, Field, Generalise, Mask, OnBadValue, Plan, Protected, Protection, RevealError, Revealed, RowWrite, Subject,
    WriteError, protect, reveal,
};
use sudare::keys::{KeyRing, LineName, State};
use sudare::purpose::{CategoryId, CategorySpec, Grant, Level, Nature, Policy, PolicySpec, PurposeSpec};

use super::oracle::Path;

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
    pub ring: KeyRing,
}

impl Scene {
    /// Reads words such as `r=$.items[*] f=$.name b=document i=replace u=c-1 assign seal-null lax withhold s=$.owner
    /// o=$.guests[*].id l=cmgpsa d=0,7`. Without rows or fields those of an ordinary customer.
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
        };
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
        if rows.len() > 4 || fields.len() > 8 {
            return None;
        }
        scene.rows = rows.iter().map(|row| Path::parse(&row.to_string())).collect();
        scene.fields = fields.iter().map(|field| Path::parse(&field.to_string())).collect();
        scene.collection.fields = fields.into_iter().enumerate().map(|(n, at)| field(n, at, seal_null)).collect();
        scene.collection.fields.last_mut()?.subject = own_subject;
        scene.set = RowSet { rows, ..RowSet::default() };
        Some(scene)
    }

    /// The same, in another collection under the same keys.
    pub fn moved(mut self) -> Self {
        for field in &mut self.collection.fields {
            field.place.collection = CollectionName::new("suppliers");
        }
        self
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
        protect(&self.collection, plan, &self.ring, &grant, &bytes, layout, &rows, self.url_id.as_ref(), "id")
    }

    /// Reveals a whole reply at these levels. None if it is no JSON that may be revealed at all.
    pub fn reveal(&self, plan: &Plan, body: &[u8], levels: &[Level]) -> Option<Result<Revealed, RevealError>> {
        let layout = walk(&plan.map, Rules::reply(), body).ok()?;
        Some(reveal(&self.collection, plan, &self.ring, &grant(levels), body, &layout, self.url_id.as_ref(), NOW_MS))
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

fn ring() -> KeyRing {
    let versions = vec![
        (LineName::Seal, KID.parse().unwrap(), State::Active, SEAL_SECRET),
        (LineName::pseudonym("support").unwrap(), "spprt000".parse().unwrap(), State::Active, [2; 32]),
    ];
    KeyRing::with_versions(Controller::new(CONTROLLER), versions)
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
