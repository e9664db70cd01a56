//! What a request is: `rest` and `couchdb` by its head, then by its body.

use std::sync::LazyLock;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use sudare::base::{CollectionName, FieldName};
use sudare::dialect::{
    Attachments, CouchDb, Dialect, Documents, Head, Outside, ProtectedMember, RequestBody, Rest, Route, Shape, TermSpelling,
    Views, canonical_target,
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
        let mut scene = Scene::read("f=$.name f=$.phones[*]").unwrap();
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

fn protected((name, equality): (&str, bool)) -> ProtectedMember {
    let at = Selector::parse(&format!("$.{name}")).unwrap();
    ProtectedMember { field: FieldName::new(name), at, equality, subject: None, indexes: Vec::new() }
}

fn route(matches: &str, id: &str) -> Route {
    Route {
        collection: CollectionName::new(&matches.replace("/{id}", "").replace('/', "")),
        matches: matches.to_owned(),
        rows: Vec::new(),
        id: Selector::parse(id).unwrap(),
        protected_names: ["name", "phone", "id_card"].map(str::to_owned).into(),
        query: None,
        protected: [("name", true), ("phone", false), ("id_card", false)].map(protected).into(),
        subject: None,
        views: Views::Checked,
        attachments: Attachments::Refuse,
        revision: None,
        terms: TermSpelling::Repeat,
    }
}

static REST: LazyLock<Stage> = LazyLock::new(|| {
    let routes = ["/customers/{id}", "/api/v1/guests", "/orders/{id}/address"].map(|matches| route(matches, "$.id"));
    let rest = Rest::new(routes.into(), Outside::Pass).unwrap();
    Stage::new(Box::new(rest), "$.id", vec![vec!["customers"], vec!["api", "v1", "guests"], vec!["orders", "*", "address"]], 3)
});

static COUCHDB: LazyLock<Stage> = LazyLock::new(|| {
    let couchdb = CouchDb::new(vec![route("customers", "$._id"), route("eu/guests", "$._id")]).unwrap();
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
        Shape::Documents(documents) => check_documents(stage, &documents, request.body),
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

fn check_documents(stage: &Stage, documents: &Documents, body: &[u8]) {
    let plans = &stage.plans[documents.collection];
    assert!(documents.reply < plans.len());
    if let Some(id) = &documents.url_id {
        assert!((1..=512).contains(&id.len()));
    }
    let row_set = match documents.request {
        RequestBody::None => return,
        RequestBody::Query { row_set } => {
            // As the exchange does it: only what the walker accepts is rewritten.
            if walk(&plans[row_set].map, Rules::request(), body).is_ok()
                && let Err(refused) = stage.dialect.query(documents, body)
            {
                assert!(!refused.detail.to_lowercase().contains("canary"), "a refusal shows what was sent");
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

/// Input: a request to a `rest` database, as [`Request`] reads it.
pub fn rest(input: &[u8]) {
    check(&REST, input);
}

/// Input: a request to a `couchdb` database, as [`Request`] reads it.
pub fn couchdb(input: &[u8]) {
    check(&COUCHDB, input);
}
