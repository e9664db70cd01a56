//! What the tests of both dialects share.

use std::fmt::Write as _;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use proptest::prelude::*;

use super::*;
use crate::document::{self, Map, Role, RowFacts, Rules, Scope};

pub(super) fn selector(text: &str) -> Selector {
    Selector::parse(text).unwrap()
}

pub(super) fn route(matches: &str, id: &str) -> Route {
    Route {
        collection: CollectionName::new(&matches.replace("/{id}", "").replace('/', "")),
        matches: matches.to_string(),
        rows: Vec::new(),
        id: selector(id),
        protected_names: ["name", "phone", "id_card"].map(str::to_string).into(),
        protected: ["name", "phone", "id_card"].map(member).into(),
        subject: None,
        views: Views::Checked,
        query: None,
        attachments: Attachments::Refuse,
        revision: None,
        terms: TermSpelling::default(),
    }
}

/// A protected member of that name; `id_card` is deterministic.
pub(super) fn member(name: &str) -> ProtectedMember {
    let at = selector(&format!("$.{name}"));
    let equality = name == "id_card";
    ProtectedMember { field: FieldName::new(&name.replace('_', "-")), at, equality, subject: None, indexes: Vec::new() }
}

pub(super) fn headers(list: &[(&'static str, &str)]) -> HeaderMap {
    list.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())).collect()
}

/// Classifies `"METHOD /path?query"`.
pub(super) fn ask(dialect: &dyn Dialect, request: &str, list: &[(&'static str, &str)]) -> Shape {
    let (method, target) = request.split_once(' ').unwrap();
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    dialect.classify(Head { method: &Method::from_bytes(method.as_bytes()).unwrap(), path, query, headers: &headers(list) })
}

/// The shape in a few words, for tables: `outside`, `neutral`, `refused route-refused`, or the route, intent and id.
pub(super) fn brief(shape: &Shape) -> String {
    match shape {
        Shape::Outside => "outside".into(),
        Shape::Neutral { .. } => "neutral".into(),
        Shape::Refused(refused) => format!("refused {}", refused.code.as_str()),
        Shape::Documents(documents) => {
            let id = documents.url_id.as_deref().map(|id| format!(" {id}")).unwrap_or_default();
            let whole = if documents.needs_whole_view { " whole" } else { "" };
            format!("{} {:?}{id}{whole}", documents.route, documents.intent)
        }
        Shape::Attachment(attachment) => format!("{} {:?} {}", attachment.route, attachment.intent, attachment.document),
    }
}

pub(super) fn refusal(shape: Shape) -> Refused {
    match shape {
        Shape::Refused(refused) => refused,
        other @ (Shape::Outside | Shape::Neutral { .. } | Shape::Documents(_) | Shape::Attachment(_)) => {
            panic!("not refused: {other:?}")
        }
    }
}

pub(super) fn documents(shape: Shape) -> Documents {
    match shape {
        Shape::Documents(documents) => documents,
        other @ (Shape::Outside | Shape::Neutral { .. } | Shape::Attachment(_) | Shape::Refused(_)) => {
            panic!("no documents: {other:?}")
        }
    }
}

/// Other spellings of a path: letter case, escapes once and twice, slashes, dot segments, path parameters, what lies below.
pub(super) fn disguised(path: &'static str) -> impl Strategy<Value = String> {
    let spelled = proptest::collection::vec(0_u8..28, path.len()).prop_map(move |choices| {
        let mut out = String::new();
        for (c, choice) in path.chars().zip(choices) {
            match (c, choice) {
                (c, 1) => out.extend(c.to_uppercase()),
                (c, 2) => write!(out, "%{:02X}", u32::from(c)).unwrap(),
                (c, 3) => write!(out, "%25{:02X}", u32::from(c)).unwrap(),
                (c, 4) => write!(out, "%{:02x}", u32::from(c)).unwrap(),
                ('/', 5) => out.push_str("//"),
                ('/', 6) => out.push_str("/x/../"),
                ('/', 7) => out.push('\\'),
                (c, _) => out.push(c),
            }
        }
        out
    });
    let tail = prop_oneof![
        4 => Just(String::new()),
        1 => Just("/".to_string()),
        1 => Just("//".to_string()),
        1 => Just(";v=1".to_string()),
        1 => Just("%2F".to_string()),
        1 => "/[a-zA-Z0-9_%./;\\\\-]{0,12}",
    ];
    (spelled, tail).prop_map(|(path, tail)| path + &tail)
}

/// As the front does it: only a canonical target is classified at all. `None`: refused there.
pub(super) fn classified(dialect: &dyn Dialect, method: &str, target: &str) -> Option<Shape> {
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    let uri: http::Uri = target.parse().ok()?;
    let target = canonical_target(&method, &uri).ok()?;
    Some(dialect.classify(Head { method: &method, path: target.path, query: target.query, headers: &HeaderMap::new() }))
}

/// Walks a body by a row set as `field` does: what the dialect peeks at, the `id` of each row, and how many values of `$.name` it has.
pub(super) fn walked<'b>(set: &RowSet, id: &str, body: &'b str) -> (BodyFacts<'b>, usize) {
    let target = |selector: &Selector, role, scope| document::Target { selector: selector.clone(), role, scope };
    let peeks = set.row_peeks.len();
    let mut targets: Vec<_> = set.row_peeks.iter().map(|peek| target(peek, Role::Peek, Scope::Row)).collect();
    targets.extend(set.body_peeks.iter().map(|peek| target(peek, Role::Peek, Scope::Body)));
    let with_bodies = targets.len();
    targets.push(target(&selector(id), Role::Peek, Scope::Row));
    targets.push(target(&selector("$.name"), Role::Value, Scope::Row));
    let map = Map::compile(&set.rows, &targets).unwrap();
    let layout = document::walk(&map, Rules::request(), body.as_bytes()).unwrap();
    let mut facts = BodyFacts::default();
    let whole = |row: &document::Row| RowFacts { whole: &body.as_bytes()[row.range.clone()], ..RowFacts::default() };
    facts.rows.extend(layout.rows.iter().map(whole));
    let mut names = 0;
    for found in layout.found.iter().filter(|found| !found.misfit) {
        let text = &body.as_bytes()[found.value.clone()];
        let at = usize::from(found.target);
        let row = found.row.map(|row| &mut facts.rows[usize::try_from(row).unwrap()]);
        match row {
            Some(row) if at < peeks => row.peeks.push((at, text)),
            Some(row) if at == with_bodies => row.id = Some(text),
            Some(_) => names += 1,
            None => facts.body.push((at - peeks, text)),
        }
    }
    (facts, names)
}
