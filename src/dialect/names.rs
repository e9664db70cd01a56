//! Finds protected members named in a query string (T14): what a client searches, sorts or selects by.
//!
//! A search for a clear value would carry it past us in the URL, and finds nothing among sealed values; sorting and ranges
//! would mislead without an error. APIs spell member names in many ways (`name_like`, `filter[name]`, `$orderby=Name desc`,
//! `customerName`), so texts are cut into words and runs of words are compared, without case and punctuation.

use super::head::Parameter;
use super::target::{fold_case, percent_decode};

/// Words in the names of parameters whose values name members.
#[rustfmt::skip] // one name a line would hide the rest
const SELECTING: &[&str] = &[
    "aggregate", "and", "attributes", "columns", "column", "cond", "condition", "conditions", "criteria", "distinct", "embed",
    "exclude", "expand", "expr", "expression", "field", "fields", "filter", "filters", "find", "group", "groupby", "having",
    "include", "jsonpath", "match", "not", "omit", "on", "only", "or", "order", "orderby", "ordering", "pick", "populate",
    "predicate", "project", "projection", "q", "query", "search", "searchby", "select", "sort", "sortby", "where",
];
/// Words in the names of parameters whose values name collections to be put into a reply (T32).
const EMBEDDING: &[&str] =
    &["embed", "expand", "include", "includes", "join", "joins", "populate", "relations", "select", "with"];

/// The names by which a query could refer to protected members.
#[derive(Debug, Default)]
pub(super) struct Names(Vec<Name>);

#[derive(Debug)]
struct Name {
    shown: String,
    squashed: String,
}

impl Names {
    pub(super) fn new<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let squash = |shown: &str| Name { shown: shown.to_string(), squashed: words(shown).concat() };
        Self(names.into_iter().map(squash).filter(|name| !name.squashed.is_empty()).collect())
    }

    /// The configured name that `text` refers to.
    pub(super) fn named_in(&self, text: &str) -> Option<&str> {
        spellings(text).iter().find_map(|spelling| self.in_words(&words(spelling)))
    }

    /// The configured name that `text` is, whole.
    pub(super) fn is(&self, text: &str) -> Option<&str> {
        let squashed = words(text).concat();
        self.0.iter().find(|name| name.squashed == squashed).map(|name| name.shown.as_str())
    }

    /// The configured name that a query parameter refers to: by its own name, or in the value where values name members.
    /// `listed`: the operator allows this parameter, so only its value is looked at.
    pub(super) fn searched_by(&self, parameter: &Parameter, listed: bool) -> Option<&str> {
        if !listed && let Some(name) = self.named_in(&parameter.name) {
            return Some(name);
        }
        let structured = parameter.value.contains(|c: char| ":=<>(){}[]\"'".contains(c));
        (structured || names_any(&parameter.name, SELECTING)).then(|| self.named_in(&parameter.value)).flatten()
    }

    /// The configured name of a collection that a query parameter asks to embed.
    pub(super) fn embedded_by(&self, parameter: &Parameter) -> Option<&str> {
        names_any(&parameter.name, EMBEDDING).then(|| self.named_in(&parameter.value)).flatten()
    }

    fn in_words(&self, words: &[String]) -> Option<&str> {
        self.0.iter().find(|name| has_run(words, &name.squashed)).map(|name| name.shown.as_str())
    }
}

/// Is one of the words of a parameter's name, or all of them together, in the list?
pub(super) fn names_any(parameter: &str, list: &[&str]) -> bool {
    spellings(parameter).iter().any(|spelling| {
        let words = words(spelling);
        words.iter().any(|word| list.contains(&word.as_str())) || list.contains(&words.concat().as_str())
    })
}

/// Do some neighbouring words, written together, make `squashed`?
fn has_run(words: &[String], squashed: &str) -> bool {
    (0..words.len()).any(|start| {
        let mut rest = squashed;
        for word in words.iter().skip(start) {
            match rest.strip_prefix(word.as_str()) {
                Some("") => return true,
                Some(tail) => rest = tail,
                None => return false,
            }
        }
        false
    })
}

/// The text as it is, decoded once and twice more, and with the escapes of JSON strings undone.
fn spellings(text: &str) -> Vec<String> {
    let mut all = vec![text.to_string()];
    for _round in 0..2 {
        let Some(last) = all.last().filter(|last| last.contains('%')) else { break };
        let decoded = String::from_utf8_lossy(&percent_decode(last)).into_owned();
        all.push(decoded);
    }
    let unescaped: Vec<String> = all.iter().filter(|text| text.contains("\\u")).map(|text| undo_unicode_escapes(text)).collect();
    all.extend(unescaped);
    all
}

/// `na\u006de` as `name`. Escapes that are no character stay.
fn undo_unicode_escapes(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut pieces = text.split("\\u");
    out.push_str(pieces.next().unwrap_or_default());
    for piece in pieces {
        let escape = piece.split_at_checked(4);
        let character = escape.and_then(|(hex, rest)| Some((char::from_u32(u32::from_str_radix(hex, 16).ok()?)?, rest)));
        if let Some((c, rest)) = character {
            out.push(c);
            out.push_str(rest);
        } else {
            out.push_str("\\u");
            out.push_str(piece);
        }
    }
    out
}

/// Cuts a text into words, in lower case: at everything that is no letter or digit, between a lower- and an upper-case letter, before the
/// last of several capitals (`IDCard`), and between letters and digits.
fn words(text: &str) -> Vec<String> {
    #[derive(Clone, Copy, PartialEq)]
    enum Sort {
        None,
        Upper,
        Other,
        Digit,
    }
    let sort_of = |c: char| match c {
        c if !c.is_alphanumeric() => Sort::None,
        c if c.is_uppercase() => Sort::Upper,
        c if c.is_numeric() => Sort::Digit,
        _ => Sort::Other,
    };
    let mut words = Vec::new();
    let mut word = String::new();
    let mut before = Sort::None;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let sort = sort_of(c);
        let next = chars.peek().map_or(Sort::None, |next| sort_of(*next));
        let cut = match (before, sort) {
            (Sort::Upper, Sort::Upper) => next == Sort::Other,
            (Sort::Upper, Sort::Other) => false,
            (before, sort) => before != sort,
        };
        if cut && !word.is_empty() {
            words.push(fold_case(&std::mem::take(&mut word)));
        }
        if sort != Sort::None {
            word.push(c);
        }
        before = sort;
    }
    if !word.is_empty() {
        words.push(fold_case(&word));
    }
    words
}

#[cfg(test)]
mod tests {
    use super::super::head::parameters;
    use super::*;

    #[test]
    fn texts_are_cut_into_words() {
        for (text, expected) in [
            ("name_like", "name like"),
            ("name.first", "name first"),
            ("filter[name]", "filter name"),
            ("customerName", "customer name"),
            ("IDCard", "id card"),
            ("ID_CARD", "id card"),
            ("address1", "address 1"),
            ("$orderby", "orderby"),
            ("X-Name", "x name"),
            ("氏名_like", "氏名 like"),
            ("", ""),
        ] {
            assert_eq!(words(text).join(" "), expected, "{text}");
        }
    }

    fn found(query: &str) -> Option<String> {
        let names = Names::new(["name", "id_card", "phones", "氏名"]);
        parameters(Some(query)).iter().find_map(|parameter| names.searched_by(parameter, false).map(str::to_string))
    }

    #[test]
    fn t14_protected_members_are_found_in_every_spelling() {
        for query in [
            "name=Mei",
            "NAME=Mei",
            "name_like=M",
            "name.first=M",
            "name[]=M",
            "filter[name]=M",
            "name%5Blike%5D=M",
            "n%61me=M",
            "%6E%61%6D%65=M",
            "n%2561me=M",
            "x=1;name=2",
            "customerName=x",
            "name__startswith=x",
            "_sort=name",
            "_sort=-name,id",
            "sort=Name",
            "order_by=tier,name",
            "orderBy=name",
            "orderby=name",
            "$orderby=Name%20desc",
            "$filter=name%20eq%20'Mei'",
            "fields=id,name",
            "select=id,name",
            "select=id,n:name",
            "q=name:Mei",
            "where=%7B%22name%22%3A%22Mei%22%7D",
            "where=%7B%22na%5Cu006de%22%3A1%7D",
            "filter=%2522name%2522",
            "or=(name.eq.Mei,tier.eq.gold)",
            "x={%22name%22:1}",
            "name",
        ] {
            assert_eq!(found(query).as_deref(), Some("name"), "{query}");
        }
        for query in ["idCard=1", "id_card=1", "ID-CARD=1", "idcard=1", "id.card=1", "sort=idCard", "id%20card=1"] {
            assert_eq!(found(query).as_deref(), Some("id_card"), "{query}");
        }
        assert_eq!(found("%E6%B0%8F%E5%90%8D=x").as_deref(), Some("氏名"));
    }

    #[test]
    fn other_parameters_pass() {
        for query in [
            "",
            "limit=10",
            "_page=2&_limit=5",
            "tier=gold",
            "sort=tier",
            "names=1",
            "rename=x",
            "fields=id,tier",
            "note=my name",
            "q=Mei",
            "id=5",
        ] {
            assert_eq!(found(query), None, "{query}");
        }
    }

    #[test]
    fn t32_embedding_a_protected_collection_is_found() {
        let names = Names::new(["customers", "customer"]);
        let embeds = |query| parameters(Some(query)).iter().any(|parameter| names.embedded_by(parameter).is_some());
        for query in [
            "_expand=customer",
            "_embed=customers",
            "include=items,customer.phone",
            "select=*,customers(*)",
            "$expand=Customers",
            "populate[]=customer",
        ] {
            assert!(embeds(query), "{query}");
        }
        for query in ["_expand=product", "customer=c-1", "sort=customer", "include=items"] {
            assert!(!embeds(query), "{query}");
        }
    }
}
