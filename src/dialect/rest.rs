//! JSON over plain HTTP: a collection at one path, its documents one segment below.
//!
//! `match = "/customers/{id}"` protects the collection `/customers` and every `/customers/…`. GET and HEAD read, POST to the
//! collection creates, PUT to a document replaces it (creates it with `If-None-Match: *`), PATCH changes it (RFC 7396,
//! RFC 6902), DELETE removes it, OPTIONS asks about methods. All else on or below these paths, or on a path that some server might take for them, is refused.
//! What lies elsewhere is passed or refused, as `outside` says. `docs/rest.md` is the operator's account of the same.

mod lookup;
mod sweep;

use http::Method;
use http::header::{HeaderMap, HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH};

use self::lookup::Lookups;
use super::head::{self, Parameter, Untyped, refused};
use super::names::Names;
use super::sweep::Sweep;
use super::target::{check_path, decode_segment, fold_case, loose_segments};
use super::{
    Ask, Dialect, Documents, Flow, Guard, Head, Reading, Refused, RefusedCode, RequestBody, Revision, Route, RowIntent, Search,
    Shape, Wanted,
};
use crate::base::{Intent, PatchFormat, RecordId};
use crate::document::{self, BodyFacts, RowSet, Selector};

/// What becomes of requests that touch no protected collection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outside {
    /// They pass untouched.
    Pass,
    /// They are refused: the proxy serves the protected collections only.
    Refuse,
}

/// The dialect `rest`.
#[derive(Debug)]
pub struct Rest {
    routes: Vec<RestRoute>,
    outside: Outside,
    /// Names by which a request elsewhere could ask for protected documents to be put into its reply.
    embeddable: Names,
}

#[derive(Debug)]
struct RestRoute {
    /// Where the collection stands; none if `{id}` is not the last segment.
    collection: Option<Pattern>,
    /// Where its documents stand; none without `{id}`.
    document: Option<Pattern>,
    names: Names,
    lookups: Lookups,
    query: Option<Vec<String>>,
    revision: Option<Revision>,
    row_sets: [RowSet; 3],
}

/// Row sets of every collection: wherever the configuration says that documents stand, in replies and new documents ...
const ALL: usize = 0;
/// ... where one document stands in a body that replaces it ...
const ONE: usize = 1;
/// ... and nothing, for a question without a body.
const NOTHING: usize = 2;

#[derive(Debug, Clone, PartialEq, Eq)]
struct Pattern(Vec<Segment>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    Literal { exact: String, loose: String },
    Id,
}

/// What a path is to one route.
enum Hit<'a> {
    Collection,
    Document(&'a str),
}

impl Rest {
    /// Checks the routes and compiles them.
    ///
    /// # Errors
    ///
    /// All mistakes: index of the route and what is wrong with it.
    pub fn new(routes: Vec<Route>, outside: Outside) -> Result<Self, Vec<(usize, String)>> {
        let mut errors = Vec::new();
        let mut compiled: Vec<RestRoute> = Vec::new();
        let mut embeddable: Vec<String> = Vec::new();
        let constants = (Selector::parse("$"), Selector::parse("$[*]"));
        let (Ok(root), Ok(elements)) = constants else {
            return Err(vec![(0, "the selectors $ and $[*] are not understood".into())]);
        };
        for (at, route) in routes.into_iter().enumerate() {
            match Pattern::parse(&route.matches) {
                Ok(pattern) => {
                    embeddable.extend(pattern.collection_names(route.collection.as_str()));
                    let names = Names::new(route.protected_names.iter().map(String::as_str));
                    for parameter in route.query.iter().flatten() {
                        if let Some(name) = names.is(parameter) {
                            errors.push((at, format!("the query parameter {parameter:?} would search by the protected member {name:?}, whose values are sealed; take it out of the list")));
                        }
                    }
                    let lookups = Lookups::new(&route);
                    let revision = route.revision;
                    compiled.push(RestRoute::new(pattern, names, lookups, route.query, revision, route.rows, &root, &elements));
                }
                Err(error) => {
                    errors.push((at, error));
                    // Keeps the indexes of the others.
                    compiled.push(RestRoute::new(
                        Pattern(Vec::new()),
                        Names::default(),
                        Lookups::default(),
                        None,
                        None,
                        Vec::new(),
                        &root,
                        &elements,
                    ));
                }
            }
        }
        for (at, route) in compiled.iter().enumerate() {
            for (before, earlier) in compiled.iter().enumerate().take(at) {
                if route.patterns().any(|pattern| earlier.patterns().any(|other| pattern.overlaps(other))) {
                    errors.push((
                        at,
                        format!(
                            "a path can belong to this collection and to collection number {}; give them paths of their own",
                            before + 1
                        ),
                    ));
                }
            }
        }
        if errors.is_empty() {
            Ok(Self { routes: compiled, outside, embeddable: Names::new(embeddable.iter().map(String::as_str)) })
        } else {
            Err(errors)
        }
    }

    fn find<'p>(&self, path: &'p str) -> Option<(usize, &RestRoute, Hit<'p>)> {
        self.routes.iter().enumerate().find_map(|(at, route)| {
            let document = || Some(Hit::Document(route.document.as_ref()?.matches(path)?));
            let collection = || route.collection.as_ref()?.matches(path).map(|_no_id| Hit::Collection);
            collection().or_else(document).map(|hit| (at, route, hit))
        })
    }

    /// The route that some server might take this path for.
    fn near(&self, path: &str) -> Option<usize> {
        let segments = loose_segments(path);
        self.routes.iter().position(|route| route.patterns().any(|pattern| pattern.is_near(&segments)))
    }

    fn outside(&self, head: Head<'_>) -> Shape {
        if let Some(at) = self.near(head.path) {
            let detail = "the path differs from a protected collection only in spelling (letter case, escapes, a slash at the end, a suffix) or lies below it without being mapped; use the path exactly as configured";
            return Shape::Refused(refused(Some(at), RefusedCode::Route, detail));
        }
        if let Some((header, at)) = rewritten_targets(head.headers).find_map(|(header, path)| Some((header, self.near(&path)?))) {
            let detail = format!("the header {header} names a protected collection; send the request to that path itself");
            return Shape::Refused(refused(Some(at), RefusedCode::Route, detail));
        }
        if let Some(name) = head::parameters(head.query).iter().find_map(|parameter| self.embeddable.embedded_by(parameter)) {
            let detail = format!(
                "the query asks to put documents of the protected collection {name:?} into this reply, where they cannot be found; read them at their own path"
            );
            return Shape::Refused(refused(None, RefusedCode::Route, detail));
        }
        match self.outside {
            Outside::Pass => Shape::Outside,
            Outside::Refuse => Shape::Refused(refused(
                None,
                RefusedCode::Route,
                "only protected collections are served here (outside = \"refuse\")",
            )),
        }
    }

    fn documents(&self, at: usize, route: &RestRoute, hit: &Hit<'_>, head: Head<'_>) -> Result<Shape, Refused> {
        let refuse = |code, detail: String| refused(Some(at), code, detail);
        let parameters = head::parameters(head.query);
        head::check_method_override(head.headers, &parameters).map_err(|detail| refuse(RefusedCode::Route, detail))?;
        if let Some((header, _)) = rewritten_targets(head.headers).find(|(_, path)| path != head.path) {
            return Err(refuse(
                RefusedCode::Route,
                format!("the header {header} names another path than the request; leave it out"),
            ));
        }
        if head.method == Method::OPTIONS {
            return Ok(Shape::Neutral { collection: at });
        }
        let (name, intent, request) = how(hit, head).map_err(|detail| refuse(RefusedCode::Route, detail.into()))?;
        let lookup = match route.lookups.read(head.query).map_err(|(code, detail)| refuse(code, detail))? {
            Some(lookup) if intent == Intent::Read && head.method == Method::GET && matches!(hit, Hit::Collection) => {
                Some(lookup)
            }
            Some(_elsewhere) => {
                let detail = "a collection is searched with GET; of HEAD, a single document and a write the answer could not be compared with what was searched";
                return Err(refuse(RefusedCode::NotSearchable, detail.into()));
            }
            None => None,
        };
        let others: Vec<Parameter> =
            parameters.iter().filter(|parameter| !route.lookups.is_one(&parameter.name)).cloned().collect();
        self.check_parameters(route, &others).map_err(|(code, detail)| refuse(code, detail))?;
        if intent != Intent::Read {
            head::check_merge(head.headers, &parameters).map_err(|detail| refuse(RefusedCode::Route, detail))?;
        }
        match (intent, request) {
            (Intent::Read, _) => head::check_range(head.headers).map_err(|detail| refuse(RefusedCode::Route, detail))?,
            (_, RequestBody::Documents { .. }) => {
                head::check_json_body(head.headers, Untyped::Refuse).map_err(|detail| refuse(RefusedCode::NotJson, detail))?;
            }
            (_, RequestBody::Patch { .. }) => {
                head::check_patch_body(head.headers).map_err(|detail| refuse(RefusedCode::NotJson, detail))?;
            }
            _ => {}
        }
        let url_id = match hit {
            Hit::Collection => None,
            Hit::Document(segment) => {
                Some(document_id(segment, head.path).map_err(|detail| refuse(RefusedCode::Malformed, detail))?)
            }
        };
        let set_headers: Vec<(HeaderName, HeaderValue)> = head::ask_for_json(head.headers).into_iter().collect();
        let (flow, needs_whole_view) = (Flow::Whole, false);
        Ok(Shape::Documents(Documents {
            collection: at,
            route: name,
            intent,
            url_id,
            request,
            reply: ALL,
            set_headers,
            flow,
            needs_whole_view,
            view: None,
            search: Search::default(),
            lookup: lookup.map(Box::new),
        }))
    }

    fn check_parameters(&self, route: &RestRoute, parameters: &[Parameter]) -> Result<(), (RefusedCode, String)> {
        for (number, parameter) in (1..).zip(parameters) {
            let listed = match &route.query {
                Some(list) if !list.contains(&parameter.name) => {
                    let detail = format!(
                        "the query parameter number {number} is not allowed on this collection; allowed: {}",
                        listing(list)
                    );
                    return Err((RefusedCode::NotSearchable, detail));
                }
                list => list.is_some(),
            };
            if let Some(name) = route.names.searched_by(parameter, listed) {
                let detail = format!(
                    "the query parameter number {number} refers to the protected member {name:?}; its values are stored protected, so searching, sorting and selecting by it would mislead; \
                     leave it out, or read documents by id"
                );
                return Err((RefusedCode::NotSearchable, detail));
            }
            if let Some(name) = self.embeddable.embedded_by(parameter) {
                let detail = format!(
                    "the query parameter number {number} asks to put documents of the protected collection {name:?} into this reply; read them at their own path"
                );
                return Err((RefusedCode::Route, detail));
            }
        }
        Ok(())
    }
}

impl Dialect for Rest {
    fn name(&self) -> &'static str {
        "rest"
    }

    fn row_sets(&self, collection: usize) -> &[RowSet] {
        self.routes.get(collection).map_or(&[], |route| route.row_sets.as_slice())
    }

    fn classify(&self, head: Head<'_>) -> Shape {
        if head.path == "*" {
            return about_the_server(head.method);
        }
        match self.find(head.path) {
            Some((at, route, hit)) => self.documents(at, route, &hit, head).unwrap_or_else(Shape::Refused),
            None => self.outside(head),
        }
    }

    fn judge(&self, documents: &Documents, facts: &BodyFacts<'_>) -> Result<Vec<RowIntent>, Refused> {
        Ok(facts
            .rows
            .iter()
            .map(|_| RowIntent { intent: documents.intent, assign_id: false, made_elsewhere: false, defines: false })
            .collect())
    }

    fn reading(&self, documents: &Documents, head: Head<'_>, facts: &BodyFacts<'_>, rows: &[usize]) -> Result<Reading, Refused> {
        let refuse = |detail: &str| refused(Some(documents.collection), RefusedCode::WouldErase, detail);
        let revision = self.routes.get(documents.collection).and_then(|route| route.revision.as_ref());
        let patch = matches!(documents.request, RequestBody::Patch { .. });
        let Some(revision) = revision else {
            return Err(refuse(if patch {
                "PUT the whole document; or, if the database tells one state of a document from the next, set `revision` for the collection, so that it can be read there"
            } else {
                "use a purpose that sees and writes all of its fields; or, if the database tells one state of a document from the next, set `revision` for the collection"
            }));
        };
        let (id, row, document) = match (&documents.url_id, rows, facts.rows.as_slice()) {
            (Some(id), [row], [fact]) => (id, row, fact.whole),
            // Operations are no document.
            (Some(id), [row], _) if patch => (id, row, &b""[..]),
            _ => return Err(refuse("send one document to its own path, so that what is stored there can be kept")),
        };
        if head.query.is_some_and(|query| !query.is_empty()) {
            return Err(refuse("send it without query parameters, so that what is stored at the path can be read and kept"));
        }
        let revision = match revision {
            Revision::Etag => None,
            Revision::Member(selector) => match member_text(document, selector) {
                Some(text) => Some(text),
                None if patch => {
                    return Err(refuse(&format!(
                        "send {selector} as it was read in a merge patch, so that the database can compare it"
                    )));
                }
                None => return Err(refuse(&format!("send {selector} as it was read, so that the database can compare it"))),
            },
        };
        Ok(Reading {
            collection: documents.collection,
            ask: Ask { method: Method::GET, target: head.path.to_owned(), set_headers: Vec::new(), body: Vec::new() },
            row_set: ONE,
            no_rows: NOTHING,
            guard: if revision.is_some() { Guard::Revision } else { Guard::Etag },
            wanted: vec![Wanted { row: *row, id: id.clone(), revision }],
        })
    }

    fn answers(&self, reading: &Reading, answer: &BodyFacts<'_>) -> Vec<Option<usize>> {
        let member = self.routes.get(reading.collection).and_then(|route| match &route.revision {
            Some(Revision::Member(selector)) => Some(selector),
            Some(Revision::Etag) | None => None,
        });
        let one = |wanted: &Wanted| match answer.rows.as_slice() {
            [row] if member.and_then(|member| member_text(row.whole, member)) == wanted.revision => Some(0),
            _ => None,
        };
        reading.wanted.iter().map(one).collect()
    }

    fn conflict(&self, _documents: &Documents, _id: &str) -> Option<Vec<u8>> {
        None
    }

    fn sweep(&self, collection: usize) -> Option<Box<dyn Sweep>> {
        let path = self.routes.get(collection)?.collection.as_ref()?.literal()?;
        Some(Box::new(sweep::Collection::new(path)?))
    }

    fn id_member(&self) -> &'static str {
        "id"
    }

    /// RFC 9457, `application/problem+json`; `type` is a relative reference to the list of errors.
    fn error(&self, status: u16, code: &str, sentence: &str) -> (&'static str, Vec<u8>) {
        let problem = serde_json::json!({
            "type": format!("docs/errors.md#{code}"),
            "title": title(code),
            "status": status,
            "detail": sentence,
        });
        ("application/problem+json", problem.to_string().into_bytes())
    }
}

impl RestRoute {
    #[expect(clippy::too_many_arguments, reason = "each is one member of the configuration")]
    fn new(
        pattern: Pattern,
        names: Names,
        lookups: Lookups,
        query: Option<Vec<String>>,
        revision: Option<Revision>,
        rows: Vec<Selector>,
        root: &Selector,
        elements: &Selector,
    ) -> Self {
        let rows = if rows.is_empty() { vec![root.clone(), elements.clone()] } else { rows };
        let mut one: Vec<Selector> = rows.iter().filter(|selector| !has_wildcard(selector)).cloned().collect();
        if one.is_empty() {
            one.push(root.clone());
        }
        let row_sets = [rows, one, Vec::new()].map(|rows| RowSet { rows, ..RowSet::default() });
        let (collection, document) = pattern.split();
        Self { collection, document, names, lookups, query, revision, row_sets }
    }

    fn patterns(&self) -> impl Iterator<Item = &Pattern> {
        self.collection.iter().chain(&self.document)
    }
}

impl Pattern {
    /// Reads `/customers/{id}`: literal segments in canonical spelling and at most one `{id}`.
    fn parse(text: &str) -> Result<Self, String> {
        let segments: Vec<&str> = text.strip_prefix('/').unwrap_or_default().split('/').collect();
        let ids = segments.iter().filter(|segment| **segment == "{id}").count();
        if !text.starts_with('/') || text.ends_with('/') {
            return Err("a match starts with a slash and does not end with one, e.g. \"/customers/{id}\"".into());
        }
        if ids > 1 {
            return Err("a match holds {id} at most once".into());
        }
        if segments.first() == Some(&"{id}") {
            return Err("a match starts with a fixed segment, e.g. \"/customers/{id}\"".into());
        }
        let segment = |segment: &&str| match *segment {
            "{id}" => Ok(Segment::Id),
            literal => {
                check_path(&format!("/{literal}"))
                    .map_err(|error| format!("{error} (in the match; its only placeholder is {{id}})"))?;
                let decoded = decode_segment(literal).ok_or("the match holds escapes that are not UTF-8")?;
                Ok(Segment::Literal { exact: literal.to_string(), loose: fold_case(&decoded) })
            }
        };
        if segments.iter().any(|segment| segment.is_empty()) {
            return Err("a match has no empty segments".into());
        }
        segments.iter().map(segment).collect::<Result<_, String>>().map(Self)
    }

    /// Where the collection stands, and where its documents do.
    fn split(mut self) -> (Option<Self>, Option<Self>) {
        if self.0.is_empty() {
            (None, None)
        } else if self.0.last() == Some(&Segment::Id) {
            let document = self.clone();
            self.0.pop();
            (Some(self), Some(document))
        } else if self.0.contains(&Segment::Id) {
            (None, Some(self))
        } else {
            (Some(self), None)
        }
    }

    /// The path, where nothing in it is `{id}`.
    fn literal(&self) -> Option<String> {
        let segments = self.0.iter().map(|segment| match segment {
            Segment::Literal { exact, .. } => Some(format!("/{exact}")),
            Segment::Id => None,
        });
        segments.collect()
    }

    /// Does the path match segment by segment? Then what stands at `{id}`; the empty text if the pattern has none.
    fn matches<'p>(&self, path: &'p str) -> Option<&'p str> {
        let mut given = path.strip_prefix('/')?.split('/');
        let mut id = "";
        for segment in &self.0 {
            let given = given.next()?;
            match segment {
                Segment::Literal { exact, .. } if exact == given => {}
                Segment::Id if !given.is_empty() => id = given,
                Segment::Literal { .. } | Segment::Id => return None,
            }
        }
        given.next().is_none().then_some(id)
    }

    /// Might some server read these loose segments as this path, or as one below it? Also sees `customers.json`,
    /// `customers:batchCreate` and `customers(17)`.
    fn is_near(&self, segments: &[String]) -> bool {
        let last = self.0.len().saturating_sub(1);
        segments.len() >= self.0.len()
            && self.0.iter().zip(segments).enumerate().all(|(at, (segment, given))| match segment {
                Segment::Id => true,
                Segment::Literal { loose, .. } => given
                    .strip_prefix(loose.as_str())
                    .is_some_and(|tail| tail.is_empty() || (at == last && tail.starts_with(is_no_part_of_a_name))),
            })
    }

    fn overlaps(&self, other: &Self) -> bool {
        self.0.len() == other.0.len()
            && self.0.iter().zip(&other.0).all(|pair| match pair {
                (Segment::Literal { loose: one, .. }, Segment::Literal { loose: two, .. }) => one == two,
                _ => true,
            })
    }

    /// How queries elsewhere call the collection: its logical name, its last fixed segment, both also without a final `s`.
    fn collection_names(&self, logical: &str) -> Vec<String> {
        let last = self.0.iter().rev().find_map(|segment| match segment {
            Segment::Literal { loose, .. } => Some(loose.clone()),
            Segment::Id => None,
        });
        let plural: Vec<String> = last.into_iter().chain([logical.to_string()]).collect();
        let singular = plural
            .iter()
            .filter_map(|name| name.strip_suffix('s').filter(|name| !name.is_empty()).map(str::to_string))
            .collect::<Vec<_>>();
        plural.into_iter().chain(singular).collect()
    }
}

/// `/customers-archive` and `/customers2` are other collections; what stands behind any other character is said of this one.
fn is_no_part_of_a_name(c: char) -> bool {
    !(c.is_alphanumeric() || matches!(c, '-' | '_' | '~'))
}

/// What a method does at a path; or what to do instead.
fn how(hit: &Hit<'_>, head: Head<'_>) -> Result<(&'static str, Intent, RequestBody), &'static str> {
    // Of two conditions, or of one that stands twice, a database may heed the other, and replace (T26).
    let mut conditions = head.headers.get_all(IF_NONE_MATCH).iter();
    let star = conditions.next().is_some_and(|value| value.as_bytes().trim_ascii() == b"*");
    let create_only = star && conditions.next().is_none() && !head.headers.contains_key(IF_MATCH);
    let replace = if create_only { Intent::Create } else { Intent::Replace };
    Ok(match (hit, head.method) {
        (Hit::Collection, &Method::GET) => ("GET /{collection}", Intent::Read, RequestBody::None),
        (Hit::Collection, &Method::HEAD) => ("HEAD /{collection}", Intent::Read, RequestBody::None),
        (Hit::Collection, &Method::POST) => ("POST /{collection}", Intent::Create, RequestBody::Documents { row_set: ALL }),
        (Hit::Document(_), &Method::GET) => ("GET /{collection}/{id}", Intent::Read, RequestBody::None),
        (Hit::Document(_), &Method::HEAD) => ("HEAD /{collection}/{id}", Intent::Read, RequestBody::None),
        (Hit::Document(_), &Method::PUT) => ("PUT /{collection}/{id}", replace, RequestBody::Documents { row_set: ONE }),
        (Hit::Document(_), &Method::DELETE) => ("DELETE /{collection}/{id}", Intent::Delete, RequestBody::None),
        (Hit::Document(_), &Method::PATCH) => {
            let format = head::patch_format(head.headers).unwrap_or(PatchFormat::Merge);
            ("PATCH /{collection}/{id}", Intent::Replace, RequestBody::Patch { row_set: ONE, format })
        }
        (Hit::Collection, &Method::PATCH) => {
            return Err("PATCH is not mapped on the whole collection; PATCH each document at its own path");
        }
        (Hit::Collection, &Method::PUT) => {
            return Err("PUT is not mapped on the whole collection; PUT each document at its own path");
        }
        (Hit::Collection, &Method::DELETE) => {
            return Err("DELETE is not mapped on the whole collection; DELETE each document at its own path");
        }
        (Hit::Document(_), &Method::POST) => {
            return Err("POST is not mapped on a document; POST to the collection to create, PUT to replace");
        }
        _ => {
            return Err(
                "this method is not mapped on a protected collection; GET, HEAD, POST, PUT, PATCH, DELETE and OPTIONS are",
            );
        }
    })
}

/// The unescaped id. Refused where servers would see other segments than we do.
fn document_id(segment: &str, path: &str) -> Result<String, String> {
    let id = decode_segment(segment).ok_or("the id in the path is not UTF-8; percent-encode its UTF-8 bytes")?;
    if loose_segments(path).len() != path.split('/').skip(1).count() {
        return Err("the id in the path holds an escaped slash, backslash or dot segment, which servers read differently; use ids without them".into());
    }
    RecordId::from_text(&id).map_err(|error| format!("the id in the path: {error}"))?;
    Ok(id)
}

/// The other targets that headers of gateways name.
fn rewritten_targets(headers: &HeaderMap) -> impl Iterator<Item = (&'static str, String)> {
    head::REWRITES.into_iter().flat_map(|name| {
        head::all_spelled(headers, name).map(move |value| {
            let text = String::from_utf8_lossy(value.as_bytes());
            let target = text.split(['?', '#']).next().unwrap_or_default().trim();
            // A path may hold `://`, too; then no scheme stands before it.
            let is_scheme = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
            let path = match target.split_once("://").filter(|(scheme, _)| is_scheme(scheme)) {
                Some((_scheme, rest)) => rest.find('/').and_then(|at| rest.get(at..)).unwrap_or("/"),
                None => target,
            };
            (name, path.to_string())
        })
    })
}

/// The member of a document, in the spelling that two equal values share.
fn member_text(document: &[u8], selector: &Selector) -> Option<String> {
    let value = document::at(document, 0..document.len(), selector.steps())?;
    let value: serde_json::Value = serde_json::from_slice(document.get(value)?).ok()?;
    (value.is_string() || value.is_number()).then(|| value.to_string())
}

/// `*` is about the server as a whole, and only OPTIONS may ask (RFC 9110 7.1).
pub(super) fn about_the_server(method: &Method) -> Shape {
    if method == Method::OPTIONS {
        return Shape::Outside;
    }
    Shape::Refused(refused(None, RefusedCode::Malformed, "the target * goes with the method OPTIONS only; send a path"))
}

/// Does it hold `[*]` or `.*`? A star stands bare in a selector's text for nothing else.
fn has_wildcard(selector: &Selector) -> bool {
    let (mut quoted, mut escaped) = (false, false);
    selector.to_string().chars().any(|c| {
        if c == '"' && !escaped {
            quoted = !quoted;
        }
        escaped = c == '\\' && !escaped;
        c == '*' && !quoted
    })
}

fn listing(list: &[String]) -> String {
    if list.is_empty() { "none".into() } else { list.join(", ") }
}

/// `route-refused` as `Route refused`.
fn title(code: &str) -> String {
    let words = code.replace('-', " ");
    let mut chars = words.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

#[cfg(test)]
mod tests;
