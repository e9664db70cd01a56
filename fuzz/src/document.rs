//! The walker and the splicer against serde_json and against themselves in pieces.

use std::sync::{Arc, LazyLock};

use sudare::document::{
    Change, Duplicates, Found, Framing, Layout, Map, Role, Row, Rules, Scope, Selector, Target, WalkError, Walker, Window,
    is_one_value, splice, walk,
};

use super::oracle::{Node, Path, parse, places};
use super::{LONGEST, oracle};

/// What is looked for: where rows stand, values, values of the body, members that are only read.
struct Search {
    map: Arc<Map>,
    rows: Vec<Path>,
    /// Paths of the first targets, which are values of rows, and those of the body behind them.
    values: Vec<Path>,
    body_values: Vec<Path>,
}

impl Search {
    fn new(rows: &[&str], values: &[&str], body_values: &[&str], peeks: &[&str]) -> Self {
        let selector = |text: &&str| Selector::parse(text).unwrap();
        let target = |role, scope| move |text: &&str| Target { selector: Selector::parse(text).unwrap(), role, scope };
        let targets: Vec<Target> = values
            .iter()
            .map(target(Role::Value, Scope::Row))
            .chain(body_values.iter().map(target(Role::Value, Scope::Body)))
            .chain(peeks.iter().map(target(Role::Peek, Scope::Row)))
            .collect();
        let paths = |texts: &[&str]| texts.iter().map(|text| Path::parse(text)).collect();
        let rows_of: Vec<_> = rows.iter().map(selector).collect();
        Search {
            map: Arc::new(Map::compile(&rows_of, &targets).unwrap()),
            rows: paths(rows),
            values: paths(values),
            body_values: paths(body_values),
        }
    }

    /// The places that hold a value to be found, with its target, in order.
    fn expected(&self, root: &Node) -> Vec<(usize, usize, usize)> {
        let rows = self
            .values
            .iter()
            .enumerate()
            .flat_map(|(n, path)| places(root, &self.rows, path).into_iter().map(move |node| (n, node)));
        let body = self
            .body_values
            .iter()
            .enumerate()
            .flat_map(|(n, path)| root.at(path).into_iter().map(move |node| (n + self.values.len(), node)));
        let mut all: Vec<_> = rows.chain(body).map(|(target, node)| (node.span.start, node.span.end, target)).collect();
        all.sort_unstable();
        all
    }

    fn is_value(&self, found: &Found) -> bool {
        usize::from(found.target) < self.values.len() + self.body_values.len()
    }
}

static SEARCHES: LazyLock<Vec<Search>> = LazyLock::new(|| {
    vec![
        Search::new(&[], &[], &[], &[]),
        Search::new(&["$", "$[*]", "$.items[*]"], &["$.name", "$.phones[*]", "$.a.b"], &[], &["$.id", "$.phones"]),
        Search::new(
            &["$.docs[*]", "$.rows[*].doc"],
            &["$.name", "$.x.*", "$.list[0]", "$.list[2].y"],
            &["$.secret"],
            &["$._id", "$._rev"],
        ),
        Search::new(&["$[*].*"], &["$[\"a b\"][*][*]", "$.a"], &["$.a"], &["$"]),
    ]
});

fn rules(framing: Framing, duplicates: Duplicates) -> Rules {
    Rules { framing, duplicates, ..Rules::request() }
}

/// Sizes of pieces that differ from input to input, but never for one input.
fn sizes(input: &[u8]) -> [usize; 4] {
    let hash =
        input.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    [1, 2 + (hash >> 8) as usize % 6, 8 + (hash >> 16) as usize % 57, usize::MAX]
}

/// Feeds the body in pieces and joins what comes out; `flush` takes everything as soon as it can be had.
fn in_pieces(map: &Arc<Map>, rules: Rules, body: &[u8], size: usize, flush: bool) -> Result<(Vec<u8>, Layout), WalkError> {
    let mut walker = Walker::new(Arc::clone(map), rules);
    let (mut bytes, mut all) = (Vec::new(), Layout::default());
    let mut take = |window: Window| {
        assert!(!window.bytes.is_empty(), "a window without bytes");
        let (offset, rows) = (bytes.len(), all.rows.len() as u32);
        all.rows.extend(
            window.layout.rows.iter().map(|row| Row { range: row.range.start + offset..row.range.end + offset, ..row.clone() }),
        );
        all.found.extend(window.layout.found.iter().map(|found| Found {
            row: found.row.map(|row| row + rows),
            value: found.value.start + offset..found.value.end + offset,
            member_start: found.member_start + offset,
            ..found.clone()
        }));
        all.odd_rows += window.layout.odd_rows;
        bytes.extend_from_slice(&window.bytes);
    };
    for piece in body.chunks(size.min(body.len().max(1))) {
        walker.feed(piece)?;
        while let Some(window) = if flush { walker.flush() } else { walker.window() } {
            take(window);
        }
    }
    walker.finish()?;
    while let Some(window) = walker.window() {
        take(window);
    }
    Ok((bytes, all))
}

/// However the body is cut, and however much a window holds, the same comes out.
fn check_pieces(search: &Search, rules: Rules, body: &[u8], whole: &Result<Layout, WalkError>) {
    let windows = [(1, 1), (2, 64), (1, rules.window_bytes), (rules.window_rows, rules.window_bytes)];
    for (size, (window_rows, window_bytes)) in sizes(body).into_iter().zip(windows) {
        let rules = Rules { window_rows, window_bytes, ..rules };
        let pieces = in_pieces(&search.map, rules, body, size, size == 1);
        match (whole, &pieces) {
            (Ok(layout), Ok((bytes, all))) => {
                assert!(bytes == body, "windows joined are not the body");
                assert_eq!(all, layout, "pieces of {size}");
            }
            _ => assert_eq!(pieces.as_ref().err(), whole.as_ref().err(), "pieces of {size}"),
        }
    }
}

/// What was found is what stands at the selectors, and changing it changes nothing else.
fn check_layout(search: &Search, body: &[u8], root: &Node, layout: &Layout) {
    let mut found: Vec<_> = layout
        .found
        .iter()
        .filter(|found| search.is_value(found) && !found.misfit)
        .map(|found| (found.value.start, found.value.end, usize::from(found.target)))
        .collect();
    found.sort_unstable();
    found.dedup();
    assert_eq!(found, search.expected(root), "values found and values there");
    for row in &layout.rows {
        assert!(oracle::parse(&body[row.range.clone()]).is_some_and(|node| node.is_object()), "a row is an object");
    }
    check_splice(search, body, layout);
}

fn check_splice(search: &Search, body: &[u8], layout: &Layout) {
    let with = |change: &Change| {
        let changes: Vec<Change> =
            layout.found.iter().map(|found| if search.is_value(found) { change.clone() } else { Change::Keep }).collect();
        let mut out = Vec::new();
        splice(body, layout, &changes, &[], &mut out);
        out
    };
    assert!(with(&Change::Keep) == body, "what is kept is the body");
    // Values do not overlap, so the new body can be written down at once.
    let mut expected = Vec::new();
    let mut done = 0;
    let mut values: Vec<_> =
        layout.found.iter().filter(|found| search.is_value(found)).map(|found| found.value.clone()).collect();
    values.sort_by_key(|value| (value.start, value.end));
    values.dedup();
    for value in values {
        // A misfit may hide a value of another kind of target.
        if value.start < done {
            continue;
        }
        expected.extend_from_slice(&body[done..value.start]);
        expected.extend_from_slice(b"{\"new\":1}");
        done = value.end;
    }
    expected.extend_from_slice(&body[done..]);
    assert!(with(&Change::Replace(b"{\"new\":1}".to_vec())) == expected, "only the values are replaced");
    let removed = with(&Change::Remove);
    let root = oracle::parse(&removed).expect("what is left is JSON");
    for (start, end, _) in search.expected(&root) {
        assert!(&removed[start..end] == b"null", "a removed value is gone, or null where its place counts");
    }
}

/// A body of one JSON text. Input: the body.
pub fn document(input: &[u8]) {
    if input.len() > LONGEST {
        return;
    }
    let root = parse(input);
    let strict = root.as_ref().is_some_and(|root| !root.has_duplicates());
    assert_eq!(is_one_value(input), strict);
    for (number, search) in SEARCHES.iter().enumerate() {
        for duplicates in [Duplicates::RefuseEverywhere, Duplicates::RefuseWhereItMatters] {
            let rules = rules(Framing::Document, duplicates);
            let whole = walk(&search.map, rules, input);
            match &whole {
                Ok(layout) => {
                    let root = root.as_ref().expect("serde_json refuses what the walker accepts");
                    assert!(strict || duplicates == Duplicates::RefuseWhereItMatters, "a name stands twice");
                    check_layout(search, input, root, layout);
                }
                Err(WalkError::AmbiguousRows { .. }) => assert!(number > 0),
                Err(WalkError::DuplicateName { .. }) => {
                    assert!(number > 0 || duplicates == Duplicates::RefuseEverywhere);
                    assert!(!strict, "no name stands twice");
                }
                Err(_) => assert!(root.is_none(), "the walker refuses what serde_json accepts: {whole:?}"),
            }
            check_pieces(search, rules, input, &whole);
            check_small_rows(search, rules, input);
        }
    }
}

/// Rows may be so small that many an input has one too large: then, too, pieces make no difference.
fn check_small_rows(search: &Search, rules: Rules, body: &[u8]) {
    let rules = Rules { max_row_bytes: sizes(body)[2], ..rules };
    check_pieces(search, rules, body, &walk(&search.map, rules, body));
}

/// A body of JSON texts, one a line. Input: the body.
pub fn lines(input: &[u8]) {
    if input.len() > LONGEST {
        return;
    }
    for search in SEARCHES.iter() {
        for duplicates in [Duplicates::RefuseEverywhere, Duplicates::RefuseWhereItMatters] {
            let rules = rules(Framing::Lines, duplicates);
            let whole = walk(&search.map, rules, input);
            check_pieces(search, rules, input, &whole);
            check_small_rows(search, rules, input);
            check_lines(search, Rules { framing: Framing::Document, ..rules }, input, whole.as_ref());
        }
    }
}

/// The lines are accepted if each is, and what is found in them is what is found in each.
fn check_lines(search: &Search, rules: Rules, body: &[u8], whole: Result<&Layout, &WalkError>) {
    let is_blank = |line: &[u8]| line.iter().all(|byte| matches!(byte, b' ' | b'\t' | b'\r'));
    let mut start = 0;
    let (mut rows, mut found, mut odd_rows) = (Vec::new(), Vec::new(), 0);
    for line in body.split(|byte| *byte == b'\n') {
        if !is_blank(line) {
            match walk(&search.map, rules, line) {
                Ok(layout) => {
                    rows.extend(layout.rows.iter().map(|row| (row.range.start + start, row.range.end + start, row.set)));
                    found.extend(
                        layout.found.iter().map(|found| (found.value.start + start, found.value.end + start, found.target)),
                    );
                    odd_rows += layout.odd_rows;
                }
                Err(_) => return assert!(whole.is_err(), "a line is refused, the whole is not"),
            }
        }
        start += line.len() + 1;
    }
    let layout = whole.expect("every line is accepted, the whole is not");
    assert_eq!(layout.rows.iter().map(|row| (row.range.start, row.range.end, row.set)).collect::<Vec<_>>(), rows);
    assert_eq!(layout.found.iter().map(|found| (found.value.start, found.value.end, found.target)).collect::<Vec<_>>(), found);
    assert_eq!(layout.odd_rows, odd_rows);
}
