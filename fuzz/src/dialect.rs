//! What a request is: `rest` and `couchdb` by its head, then by its body.

use std::sync::LazyLock;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use sudare::base::{CollectionName, Condition, FieldName};
use sudare::dialect::{
    Attachments, CouchDb, Dialect, Documents, Head, MemberIndex, Outside, Piece, ProtectedMember, Query, Quote, RequestBody,
    Rest, Route, Shape, TermSpelling, Terms, Views, canonical_target,
};
use sudare::document::{Rules, Selector, walk};
use sudare::field::{Plan, facts};

use super::scene::Scene;
use super::{LONGEST, liberal};

/// A dialect with its protected paths, and a plan for each of its row sets.
struct Stage {
    dialect: Box<dyn Dialect>,
    /// As the most liberal server reads them; `*` is any one segment.
    protected: Vec<Vec<&'static str>>,
    plans: Vec<Vec<Plan>>,
}

impl Stage {
    fn new(dialect: Box<dyn Dialect>, id: &str, protected: Vec<Vec<&'static str>>, collections: usize) -> Self {
        let fields = "f=$.name f=$.phones[*] f=$.contact.mail f=$.mobiles[*] x=2,email,64 x=3,phone:HK,64";
        let mut scene = Scene::read(fields).unwrap();
        scene.collection.id = Selector::parse(id).unwrap();
        let plans =
            |collection| dialect.row_sets(collection).iter().map(|set| Plan::compile(&scene.collection, set).unwrap()).collect();
        let plans = (0..collections).map(plans).collect();
        Self { dialect, protected, plans }
    }

    /// Could some server take the path for a protected one, or for one below it?
    fn reaches(&self, path: &str) -> bool {
        let segments = liberal::segments(path);
        self.protected.iter().any(|protected| {
            segments.len() >= protected.len()
                && protected.iter().zip(&segments).all(|(wanted, given)| *wanted == "*" || wanted == given)
        })
    }
}

/// What is found by the terms in `$.mail_ix`, `$.mobiles_ix` and `$.call_px`.
const INDEXED: [(&str, &str, &str); 3] =
    [("mail", "$.contact.mail", "mail"), ("mobiles", "$.mobiles[*]", "mobiles"), ("call", "$.call", "begins")];

fn protected((name, equality): (&str, bool)) -> ProtectedMember {
    let at = Selector::parse(&format!("$.{name}")).unwrap();
    ProtectedMember { field: FieldName::new(name), at, equality, subject: None, indexes: Vec::new() }
}

fn indexed((name, at, param): (&str, &str, &str)) -> ProtectedMember {
    let (member, named) = if param == name { (format!("{name}_ix"), false) } else { (format!("{name}_px"), true) };
    let index = MemberIndex { member, param: param.to_owned(), named, list: at.contains("[*]") };
    let (field, at) = (FieldName::new(name), Selector::parse(at).unwrap());
    ProtectedMember { field, at, equality: false, subject: None, indexes: vec![index] }
}

fn route(matches: &str, id: &str, terms: TermSpelling) -> Route {
    let names = ["name", "phone", "id_card", "mail", "mail_ix", "mobiles", "mobiles_ix", "call", "call_px"];
    let by_itself = [("name", true), ("phone", false), ("id_card", false)].map(protected);
    Route {
        collection: CollectionName::new(&matches.replace("/{id}", "").replace('/', "")),
        matches: matches.to_owned(),
        rows: Vec::new(),
        id: Selector::parse(id).unwrap(),
        protected_names: names.map(str::to_owned).into(),
        query: None,
        protected: by_itself.into_iter().chain(INDEXED.map(indexed)).collect(),
        subject: None,
        views: Views::Checked,
        attachments: Attachments::Refuse,
        revision: None,
        terms,
    }
}

static REST: LazyLock<Stage> = LazyLock::new(|| {
    let routes = [
        ("/customers/{id}", TermSpelling::Repeat),
        ("/api/v1/guests", TermSpelling::PostgRest),
        ("/orders/{id}/address", TermSpelling::Comma),
        ("/buckets/{id}", TermSpelling::Kinto),
    ];
    let rest = Rest::new(routes.map(|(matches, terms)| route(matches, "$.id", terms)).into(), Outside::Pass).unwrap();
    let protected = vec![vec!["customers"], vec!["api", "v1", "guests"], vec!["orders", "*", "address"], vec!["buckets"]];
    Stage::new(Box::new(rest), "$.id", protected, 4)
});

static COUCHDB: LazyLock<Stage> = LazyLock::new(|| {
    let routes = ["customers", "eu/guests"].map(|matches| route(matches, "$._id", TermSpelling::default()));
    let couchdb = CouchDb::new(routes.into()).unwrap();
    let protected = vec![vec!["customers"], vec!["eu", "guests"], vec!["_replicate"]];
    Stage::new(Box::new(couchdb), "$._id", protected, 2)
});

/// A request as written down: `METHOD target`, lines of headers, an empty line, the body.
struct Request<'a> {
    method: Method,
    uri: http::Uri,
    headers: HeaderMap,
    body: &'a [u8],
}

impl<'a> Request<'a> {
    fn read(input: &'a [u8]) -> Option<Self> {
        let (head, body) = match input.windows(2).position(|pair| pair == b"\n\n") {
            Some(at) => (&input[..at], &input[at + 2..]),
            None => (input, &b""[..]),
        };
        let mut lines = head.split(|byte| *byte == b'\n');
        let first = lines.next()?;
        let space = first.iter().position(|byte| *byte == b' ')?;
        let method = Method::from_bytes(&first[..space]).ok()?;
        let uri = http::Uri::try_from(&first[space + 1..]).ok()?;
        let mut headers = HeaderMap::new();
        for line in lines.take(8) {
            let colon = line.iter().position(|byte| *byte == b':')?;
            let name = HeaderName::from_bytes(&line[..colon]).ok()?;
            headers.append(name, HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).ok()?);
        }
        Some(Self { method, uri, headers, body })
    }
}

fn check(stage: &Stage, input: &[u8]) {
    if input.len() > LONGEST {
        return;
    }
    let Some(request) = Request::read(input) else { return };
    // As the front does it: only a canonical target is classified at all.
    let Ok(target) = canonical_target(&request.method, &request.uri) else { return };
    let shape = stage.dialect.classify(Head {
        method: &request.method,
        path: target.path,
        query: target.query,
        headers: &request.headers,
    });
    match shape {
        Shape::Outside => {
            assert!(!stage.reaches(target.path), "a request could reach what is protected: {}", target.path);
            check_headers(stage, &request);
            let first = target.path.split('/').nth(1).unwrap_or_default();
            let shard = liberal::segments(first).first().is_some_and(|name| name == "shards") && first.contains('%');
            assert!(stage.dialect.name() != "couchdb" || !shard, "a shard could be reached");
        }
        Shape::Neutral { collection } => assert!(collection < stage.plans.len()),
        Shape::Refused(refused) => {
            assert!(
                !refused.detail.is_empty() && !refused.detail.to_lowercase().contains("canary"),
                "a refusal shows what was sent"
            );
            assert!(refused.collection.is_none_or(|collection| collection < stage.plans.len()));
        }
        Shape::Attachment(_) => panic!("attachments are not configured to pass"),
        Shape::Documents(documents) => check_documents(stage, &documents, target.query, request.body),
    }
}

/// Headers by which gateways name another target lead nowhere that is protected (T31); `couchdb` never sits behind such a gateway.
fn check_headers(stage: &Stage, request: &Request<'_>) {
    for name in ["x-original-url", "x-rewrite-url", "x-original-uri", "x-override-url"] {
        for value in request.headers.get_all(name) {
            let target = String::from_utf8_lossy(value.as_bytes()).into_owned();
            let target = target.split(['?', '#']).next().unwrap_or_default();
            // With a host before it, or a path as it stands.
            let path = target.strip_prefix("http://host").filter(|path| path.starts_with('/')).unwrap_or(target);
            assert!(stage.dialect.name() != "rest" || !stage.reaches(path), "a header could lead to what is protected");
        }
    }
}

fn check_documents(stage: &Stage, documents: &Documents, target_query: Option<&str>, body: &[u8]) {
    let plans = &stage.plans[documents.collection];
    assert!(documents.reply < plans.len());
    if let Some(id) = &documents.url_id {
        assert!((1..=512).contains(&id.len()));
    }
    if let Some(lookup) = &documents.lookup {
        check_lookup(lookup);
    }
    if let Some(view) = &documents.view {
        // What is sent stands for the stored definition.
        let definition = Some(body).filter(|body| walk(&plans[view.row_set].map, Rules::request(), body).is_ok());
        if let Ok(reply) = stage.dialect.judge_view(documents, definition) {
            assert!(reply < plans.len());
            if let Ok(Some(lookup)) = stage.dialect.view_lookup(documents, definition, target_query) {
                check_lookup(&lookup);
            }
        }
    }
    let row_set = match documents.request {
        RequestBody::None => return,
        RequestBody::Query { row_set } => {
            // As the exchange does it: only what the walker accepts is rewritten.
            if walk(&plans[row_set].map, Rules::request(), body).is_ok() {
                match stage.dialect.query(documents, body) {
                    Ok(query) => check_query(&plans[row_set], &query),
                    Err(refused) => {
                        assert!(!refused.detail.to_lowercase().contains("canary"), "a refusal shows what was sent");
                    }
                }
            }
            return;
        }
        RequestBody::Plain { row_set } | RequestBody::Documents { row_set } | RequestBody::Patch { row_set, .. } => row_set,
    };
    let Ok(layout) = walk(&plans[row_set].map, Rules::request(), body) else { return };
    match stage.dialect.judge(documents, &facts(&plans[row_set], body, &layout)) {
        Ok(intents) => {
            let counts = matches!(documents.request, RequestBody::Documents { .. } | RequestBody::Patch { .. });
            let expected = if counts { layout.rows.len() } else { 0 };
            let defines = !counts && intents.iter().all(|row| row.defines) && intents.len() == 1;
            assert!(intents.len() == expected || defines, "an intent for every row");
        }
        Err(refused) => assert!(
            !refused.detail.is_empty() && !refused.detail.to_lowercase().contains("canary"),
            "a refusal shows what was sent"
        ),
    }
}

/// What is asked of the database, every value with this many stored forms.
fn written(query: &Query, forms: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for piece in &query.pieces {
        match piece {
            Piece::Bytes(bytes) => out.extend_from_slice(bytes),
            Piece::Terms(terms) => write_terms(terms, forms, &mut out),
        }
    }
    out
}

fn write_terms(terms: &Terms, forms: usize, out: &mut Vec<u8>) {
    let form = |value: &Vec<u8>| match (&terms.quote, &value[..]) {
        (_, b"null") => "null".to_owned(),
        (Quote::Json, _) => "\"ix1.100k0000.00\"".to_owned(),
        (Quote::Bare { .. }, _) => "ix1.100k0000.00".to_owned(),
    };
    let forms: Vec<String> = terms.values.iter().flat_map(|value| std::iter::repeat_n(form(value), forms)).collect();
    let between = match &terms.quote {
        Quote::Json => ",",
        Quote::Bare { between } => between,
    };
    match (&forms[..], terms.alone) {
        ([form], Some(before)) => out.extend([before, form].concat().bytes()),
        _ => out.extend([terms.list.0, &forms.join(between), terms.list.1].concat().bytes()),
    }
}

/// What must be so of every search: each value is JSON of a member that is found by it, and what was found can be compared.
fn check_terms(query: &Query) {
    let mut probes = 0;
    for piece in &query.pieces {
        let Piece::Terms(terms) = piece else { continue };
        let at = terms.member.checked_sub(3);
        assert_eq!(terms.index, at.map(|_| 0), "a search by an index that is none");
        assert!(at.map_or(terms.member == 0, |at| at < INDEXED.len()) && !terms.values.is_empty());
        assert!(terms.values.iter().all(|value| serde_json::from_slice::<serde_json::Value>(value).is_ok()));
        assert!(query.search.searched.contains(&terms.member), "a search that nobody needs a right for");
        probes += usize::from(terms.index.is_some());
    }
    assert_eq!(query.search.condition.is_some(), probes > 0, "a search by an index, and nothing is compared");
    if let Some(condition) = &query.search.condition {
        let mut numbers = Vec::new();
        leaves(condition, &mut numbers);
        numbers.sort_unstable();
        assert_eq!(numbers, (0..probes).collect::<Vec<_>>(), "each is compared once");
    }
}

fn leaves(condition: &Condition, numbers: &mut Vec<usize>) {
    match condition {
        Condition::Term(number) => numbers.push(*number),
        Condition::All(list) | Condition::Any(list) => list.iter().for_each(|condition| leaves(condition, numbers)),
    }
}

/// A search in a query: no parameter by which clients search goes out, and terms stand in those of index members only.
fn check_lookup(query: &Query) {
    check_terms(query);
    assert!(query.search.condition.is_some());
    for forms in [1, 2] {
        let text = String::from_utf8(written(query, forms)).expect("a query is text");
        assert!(format!("/customers?{text}").parse::<http::Uri>().is_ok(), "a search makes a target that is none");
        for parameter in text.split(['&', ';']).filter(|parameter| !parameter.is_empty()) {
            let name = liberal::decode(parameter.split('=').next().unwrap_or_default().replace('+', " ").as_bytes());
            assert!(!INDEXED.iter().any(|(_, _, param)| name == param.as_bytes()), "the value of a search goes out");
        }
    }
}

/// A search in a body, rewritten: still what the walker takes, and no protected member stands in it.
fn check_query(plan: &Plan, query: &Query) {
    check_terms(query);
    for forms in [1, 2] {
        let text = written(query, forms);
        let layout = walk(&plan.map, Rules::request(), &text).expect("a search was rewritten to something else");
        assert!(layout.rows.is_empty());
        let tree: serde_json::Value = serde_json::from_slice(&text).unwrap();
        let selector = tree.get("selector").and_then(serde_json::Value::as_object);
        for (name, value) in
            selector.into_iter().flatten().filter(|(name, _)| ["mobiles", "contact.mail", "begins"].contains(&&***name))
        {
            let asks_whether = |value: &serde_json::Map<_, _>| value.keys().all(|operator| operator == "$exists");
            assert!(value.as_object().is_some_and(asks_whether), "the value of a search by {name} goes out");
        }
    }
}

/// Input: a request to a `rest` database, as [`Request`] reads it.
pub fn rest(input: &[u8]) {
    check(&REST, input);
}

/// Input: a request to a `couchdb` database, as [`Request`] reads it.
pub fn couchdb(input: &[u8]) {
    check(&COUCHDB, input);
}
