//! Judges the functions of design documents: can one carry a protected member, sealed as it is stored, into a view, an error or a filter?
//!
//! A view's rows are what its function emits, not documents, so a sealed value in them would reach every caller, whatever its purpose
//! allows (T40). Nobody can tell in general what a program emits. So a function passes only if it is written in a way that leaves no
//! doubt: of the document it takes members by name (`doc.tier`), none of them protected, or emits it whole as a value
//! (`emit(doc._id, doc)`), which is revealed like any document. Everything by which a program could reach the document otherwise is
//! refused: `doc[...]`, `for (... in doc)`, `this`, `arguments`, `eval`, members named at run time. A collection with `views = "reviewed"`
//! is not judged: somebody has read its views.

mod script;
mod terms;

use std::collections::HashSet;

use serde_json::{Map, Value};

use self::script::{Sort, Token, tokens};
use self::terms::TermUse;
use super::super::Views;
use crate::document::{Selector, Step};

/// What functions must leave alone.
#[derive(Debug, Default)]
pub(super) struct Guarded {
    /// First member of a protected path, and the field's logical name.
    members: Vec<(String, String)>,
    /// A protected path that begins with a wildcard: every member may be one.
    anything: Option<String>,
    /// Members that hold one term each, and whose they are: a view may have them as keys, and as nothing else.
    terms: Vec<(String, (usize, usize))>,
}

/// Why a function is refused. Names the view's part, the configured field and words of JavaScript; nothing of the function's own.
pub(super) type Unsafe = String;

/// What the rows of a view hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Emits {
    /// Keys and values that hold nothing protected.
    Plain,
    /// Values that are whole documents.
    Documents,
    /// Keys that are terms of this protected member and index; values that hold nothing protected.
    Terms((usize, usize)),
}

/// Longest function: the judgement goes through it once for each of its declarations.
const MAX_FUNCTION_BYTES: usize = 16 << 10;
/// Members with code that makes or changes documents, answers requests with what it likes, or fills indexes for text searches.
const RUNNING: &[&str] = &["updates", "shows", "lists", "rewrites", "indexes", "nouveau", "fulltext", "st_indexes"];
/// Reductions that say nothing of the values.
const COUNTING: &[&str] = &["_count", "_approx_count_distinct"];
/// Reductions of the database's own.
const BUILT_IN: &[&str] = &["_count", "_approx_count_distinct", "_sum", "_stats"];

impl Guarded {
    pub(super) fn new<'a>(fields: impl Iterator<Item = (&'a str, &'a Selector)>) -> Self {
        let mut guarded = Self::default();
        for (field, at) in fields {
            match at.steps().first() {
                Some(Step::Member(member)) => guarded.members.push((member.to_string(), field.to_owned())),
                Some(Step::AnyMember | Step::Element(_) | Step::AnyElement) | None => guarded.anything = Some(field.to_owned()),
            }
        }
        guarded
    }

    /// Members with terms: the field, and the member, whether it holds one term, and which index it is.
    pub(super) fn and_terms<'a>(mut self, terms: impl Iterator<Item = (&'a str, (String, bool, (usize, usize)))>) -> Self {
        for (field, (member, single, index)) in terms {
            self.members.push((member.clone(), field.to_owned()));
            self.terms.extend(single.then_some((member, index)));
        }
        self
    }

    fn field_at(&self, member: &str) -> Option<&str> {
        let named = self.members.iter().find(|(guarded, _)| guarded == member).map(|(_, field)| field);
        named.or(self.anything.as_ref()).map(String::as_str)
    }

    /// Judges a design document that is to be stored. `index` judges the definition of a Mango index.
    ///
    /// # Errors
    ///
    /// The first thing in it that is not known to be safe.
    pub(super) fn design(
        &self,
        design: &Map<String, Value>,
        views: Views,
        index: impl Fn(&Value) -> Result<(), Unsafe>,
    ) -> Result<(), Unsafe> {
        if let Some((_, field)) = self.members.iter().find(|(member, _)| design.contains_key(member)) {
            return Err(format!("the design document has a member where documents hold field {field}; call it otherwise"));
        }
        for (name, value) in design {
            match name.as_str() {
                name if RUNNING.contains(&name) => {
                    let known = RUNNING.iter().find(|running| **running == name).copied().unwrap_or_default();
                    return Err(format!(
                        "{known}: functions that answer requests, write documents or fill indexes for text searches run behind the proxy; do it in the application"
                    ));
                }
                _ if views == Views::Reviewed && design.get("language").and_then(Value::as_str) != Some("query") => {}
                "views" => {
                    for view in value.as_object().ok_or("views must be an object")?.values() {
                        self.view(design, view, &index)?;
                    }
                }
                "validate_doc_update" => self.function(value, 2, "validate_doc_update").map(|_emits| ())?,
                "filters" => {
                    for filter in value.as_object().ok_or("filters must be an object")?.values() {
                        self.function(filter, 1, "a filter").map(|_emits| ())?;
                    }
                }
                // What the database does not run.
                _ => {}
            }
        }
        Ok(())
    }

    /// Judges one view of a design document that is stored.
    pub(super) fn stored_view(&self, design: &Map<String, Value>, name: &str) -> Result<Emits, Unsafe> {
        let Some(view) = design.get("views").and_then(|views| views.get(name)) else { return Ok(Emits::Plain) };
        let of_mango = || Err("the view belongs to a Mango index, whose keys may be sealed values; search with _find".to_owned());
        self.view(design, view, &|_definition| of_mango().map(|_emits: Emits| ()))
    }

    fn view(
        &self,
        design: &Map<String, Value>,
        view: &Value,
        index: &impl Fn(&Value) -> Result<(), Unsafe>,
    ) -> Result<Emits, Unsafe> {
        let local = |name: &str| matches!(name, "local_seq" | "partitioned");
        if design.get("options").is_some_and(|options| !options.as_object().is_some_and(|all| all.keys().all(|name| local(name))))
        {
            return Err("options: only local_seq and partitioned are known".to_owned());
        }
        let view = view.as_object().ok_or("a view must be an object with map and, perhaps, reduce")?;
        let map = view.get("map").ok_or("a view has no map")?;
        match design.get("language").map_or(Some("javascript"), Value::as_str) {
            Some("javascript") => {}
            Some("query") => return index(map).map(|()| Emits::Plain),
            _ => return Err("language: only functions in javascript, and Mango indexes, are read".to_owned()),
        }
        if view.keys().any(|name| !matches!(name.as_str(), "map" | "reduce")) {
            return Err("a view has a member besides map and reduce".to_owned());
        }
        let emits = self.function(map, 1, "map")?;
        match view.get("reduce") {
            None => {}
            Some(Value::String(name)) if name.starts_with('_') => {
                if !BUILT_IN.contains(&name.as_str()) {
                    return Err("reduce: built in are _count, _sum, _stats and _approx_count_distinct".to_owned());
                }
                if emits != Emits::Plain && !COUNTING.contains(&name.as_str()) {
                    return Err("reduce: whole documents or terms are emitted, so they may only be counted".to_owned());
                }
            }
            Some(_) if emits != Emits::Plain => {
                return Err("reduce: whole documents or terms are emitted, so they may only be counted (_count)".to_owned());
            }
            Some(reduce) => self.function(reduce, 0, "reduce").map(|_emits| ())?,
        }
        Ok(emits)
    }

    /// Judges one function, whose first `documents` parameters are documents.
    fn function(&self, function: &Value, documents: usize, part: &str) -> Result<Emits, Unsafe> {
        let in_part = |why: &str| format!("{part}: {why}");
        let text = function.as_str().ok_or_else(|| in_part("must be the text of a function"))?;
        if text.len() > MAX_FUNCTION_BYTES {
            return Err(in_part("is longer than 16 KiB"));
        }
        let tokens = tokens(text).map_err(in_part)?;
        let (keys, asked) = (Vec::new(), Vec::new());
        let code = Code { guarded: self, tokens: &tokens, documents, counting: HashSet::new(), emits: Emits::Plain, keys, asked };
        code.judge().map_err(|why| in_part(&why))
    }
}

/// Names by which a program reaches what is not passed to it by name, or names members at run time.
#[rustfmt::skip] // one name a line would hide the rest
const FORBIDDEN: &[&str] = &[
    "arguments", "callee", "caller", "eval", "Function", "constructor", "prototype", "this", "with", "require", "class", "import",
    "export", "async", "await", "yield", "delete", "super", "globalThis", "getOwnPropertyDescriptor", "defineProperty", "debugger",
];
/// What every object inherits, and what gives it whole: itself, or as text (SpiderMonkey).
const WHOLE: &[&str] = &["valueOf", "toSource"];
const KEYWORDS: &[&str] = &[
    "if",
    "else",
    "for",
    "while",
    "do",
    "return",
    "var",
    "let",
    "const",
    "function",
    "new",
    "typeof",
    "in",
    "of",
    "instanceof",
    "switch",
    "case",
    "default",
    "break",
    "continue",
    "try",
    "catch",
    "finally",
    "throw",
    "void",
    "null",
    "true",
    "false",
    "each",
];
/// Of what an engine offers: called, or a member of it is.
const OFFERED: &[&str] = &[
    "Math",
    "Date",
    "Number",
    "String",
    "Boolean",
    "Array",
    "RegExp",
    "JSON",
    "Error",
    "parseInt",
    "parseFloat",
    "isNaN",
    "isFinite",
    "isArray",
    "sum",
    "toJSON",
    "log",
];
const CONSTANTS: &[&str] = &["undefined", "NaN", "Infinity"];
const ASSIGNING: &[&str] =
    &["=", "+=", "-=", "*=", "/=", "%=", "&=", "|=", "^=", "**=", "<<=", ">>=", ">>>=", "&&=", "||=", "??=", "++", "--"];
/// Words that stand before a bracket and its block.
const BEFORE_BLOCK: &[&str] = &["if", "for", "while", "switch", "catch", "function", "each"];

/// A function on its way through the judgement.
struct Code<'a> {
    guarded: &'a Guarded,
    tokens: &'a [Token<'a>],
    documents: usize,
    /// Variables that are known to count only.
    counting: HashSet<&'a str>,
    emits: Emits,
    /// Of every key that is a term, which index it is of.
    keys: Vec<(usize, usize)>,
    /// The indexes whose terms it asks for: are they there?
    asked: Vec<(usize, usize)>,
}

/// An open bracket.
#[derive(Clone, Copy)]
struct Open {
    sign: &'static str,
    /// Where it stands.
    at: usize,
    /// It opens the arguments of `emit`.
    emit: bool,
    commas: usize,
}

type Judged<T = ()> = Result<T, String>;

impl<'a> Code<'a> {
    fn judge(mut self) -> Judged<Emits> {
        let parameters = self.parameters()?;
        let documents: Vec<&str> = parameters.iter().take(self.documents).copied().collect();
        let declared: HashSet<&str> = self.declared(&parameters)?.into_iter().collect();
        let mut open: Vec<Open> = Vec::new();
        for (at, token) in self.tokens.iter().enumerate() {
            match token.sort {
                Sort::Text => self.check_member(token.text)?,
                Sort::Name => self.name(at, token.text, &documents, &declared, &open)?,
                Sort::Sign => self.sign(at, token.text, &declared, &mut open)?,
                Sort::Number | Sort::Pattern => {}
            }
        }
        if open.is_empty() { self.emitted() } else { Err("its brackets do not match".to_owned()) }
    }

    /// The text at a place, for signs and names; nothing for texts and numbers.
    fn word(&self, at: usize) -> &'a str {
        self.tokens.get(at).filter(|token| matches!(token.sort, Sort::Name | Sort::Sign)).map_or("", |token| token.text)
    }

    fn before(&self, at: usize, back: usize) -> &'a str {
        at.checked_sub(back).map_or("", |at| self.word(at))
    }

    /// The word so far back is the name of a member (`x.if`), whatever it means elsewhere.
    fn is_member(&self, at: usize, back: usize) -> bool {
        matches!(self.before(at, back + 1), "." | "?.")
    }

    fn sort(&self, at: usize) -> Option<Sort> {
        self.tokens.get(at).map(|token| token.sort)
    }

    /// A plain name stands there, no keyword.
    fn is_name(&self, at: usize) -> bool {
        self.sort(at) == Some(Sort::Name) && !KEYWORDS.contains(&self.word(at))
    }

    fn check_member(&self, name: &str) -> Judged {
        match self.guarded.members.iter().find(|(member, _)| member == name) {
            Some((_, field)) => Err(format!("it names the member of field {field}, which is stored sealed")),
            None => Ok(()),
        }
    }

    /// The parameters of the function, which must be all there is: `function (doc) { ... }` or `(doc) => ...`.
    fn parameters(&self) -> Judged<Vec<&'a str>> {
        let odd = || "it must be one function and nothing else: function (doc) { ... } or (doc) => { ... }".to_owned();
        let (list, arrow) = match (self.word(0), self.word(1)) {
            ("function", "(") => (1, false),
            ("function", _) if self.is_name(1) && self.word(2) == "(" => (2, false),
            ("(", _) => (0, true),
            (name, "=>") if self.is_name(0) => return self.whole(2).map(|()| vec![name]).ok_or_else(odd),
            _ => return Err(odd()),
        };
        let (parameters, end) = self.list(list).ok_or_else(odd)?;
        let body = if arrow { (self.word(end) == "=>").then_some(end + 1) } else { Some(end).filter(|at| self.word(*at) == "{") };
        body.and_then(|body| self.whole(body)).map(|()| parameters).ok_or_else(odd)
    }

    /// The body that starts there is the rest of the text.
    fn whole(&self, body: usize) -> Option<()> {
        if self.word(body) != "{" {
            // An expression: nothing may end it, so that it is the whole.
            return (body < self.tokens.len() && !(body..self.tokens.len()).any(|at| self.word(at) == ";")).then_some(());
        }
        let mut depth = 0_usize;
        for at in body..self.tokens.len() {
            match self.word(at) {
                "{" => depth += 1,
                "}" => depth = depth.checked_sub(1)?,
                _ => {}
            }
            if depth == 0 {
                return (at + 1..self.tokens.len()).all(|at| self.word(at) == ";").then_some(());
            }
        }
        None
    }

    /// A list of plain names in round brackets, and the place behind it.
    fn list(&self, at: usize) -> Option<(Vec<&'a str>, usize)> {
        let (mut names, mut at) = (Vec::new(), at + 1);
        if self.word(at) == ")" {
            return Some((names, at + 1));
        }
        loop {
            if !self.is_name(at) {
                return None;
            }
            names.push(self.word(at));
            match self.word(at + 1) {
                "," => at += 2,
                ")" => return Some((names, at + 2)),
                _ => return None,
            }
        }
    }

    /// Every name that is declared: parameters, variables, functions, caught errors.
    fn declared(&self, parameters: &[&'a str]) -> Judged<Vec<&'a str>> {
        let mut declared = parameters.to_vec();
        let plain = |what: &str| format!("the {what} of a function or a catch must be plain names");
        for at in 0..self.tokens.len() {
            if self.before(at, 1) == "." {
                continue;
            }
            match self.word(at) {
                "var" | "let" | "const" => declared.extend(self.variables(at + 1)?),
                "function" => {
                    let named = self.is_name(at + 1);
                    declared.extend(named.then(|| self.word(at + 1)));
                    let list = at + 1 + usize::from(named);
                    let fits = self.word(list) == "(";
                    declared.extend(fits.then(|| self.list(list)).flatten().ok_or_else(|| plain("parameters"))?.0);
                }
                "catch" if self.word(at + 1) == "(" => {
                    declared.extend(self.list(at + 1).ok_or_else(|| plain("parameters"))?.0);
                }
                "=>" if self.before(at, 1) == ")" => {
                    let start = (0..at).rev().find(|start| self.word(*start) == "(");
                    let list = start.and_then(|start| self.list(start)).filter(|(_, end)| *end == at);
                    declared.extend(list.ok_or_else(|| plain("parameters"))?.0);
                }
                "=>" => {
                    let name = at.checked_sub(1).filter(|before| self.is_name(*before)).ok_or_else(|| plain("parameters"))?;
                    declared.push(self.word(name));
                }
                _ => {}
            }
        }
        Ok(declared)
    }

    /// The variables of one declaration. It ends with the line, unless a comma does.
    fn variables(&self, from: usize) -> Judged<Vec<&'a str>> {
        let (mut names, mut depth, mut expected) = (Vec::new(), 0_usize, true);
        for at in from..self.tokens.len() {
            let word = self.word(at);
            if expected {
                if !self.is_name(at) {
                    return Err("a variable must be declared by a plain name".to_owned());
                }
                names.push(word);
                expected = false;
                continue;
            }
            let ends_line = self.tokens.get(at).is_some_and(|token| token.new_line);
            match word {
                _ if depth == 0 && ends_line => break,
                "(" | "[" | "{" => depth += 1,
                ")" | "]" | "}" if depth > 0 => depth -= 1,
                ";" | ")" | "]" | "}" | "in" | "of" if depth == 0 => break,
                "," if depth == 0 => expected = true,
                _ => {}
            }
        }
        Ok(names)
    }

    fn name(&mut self, at: usize, name: &str, documents: &[&str], declared: &HashSet<&str>, open: &[Open]) -> Judged {
        if let Some(word) = FORBIDDEN.iter().find(|word| **word == name) {
            return Err(format!("it uses {word}, by which a function may reach what is not passed to it by name"));
        }
        if name.starts_with("__") {
            return Err("it uses a name that begins with two underscores".to_owned());
        }
        match self.term(at, documents) {
            Some(TermUse::Key(index)) => {
                self.keys.push(index);
                return Ok(());
            }
            Some(TermUse::Asked(index)) => {
                self.asked.push(index);
                return Ok(());
            }
            None => {}
        }
        self.check_member(name)?;
        let (before, next) = (self.before(at, 1), self.word(at + 1));
        if matches!(before, "." | "?.") {
            return if name == "emit" { Err("emit must be called by itself".to_owned()) } else { Ok(()) };
        }
        if KEYWORDS.contains(&name) {
            return Ok(());
        }
        if name == "emit" {
            let called = next == "(" && before != "function" && before != "new" && !declared.contains(&"emit");
            return if called { Ok(()) } else { Err("emit may only be called".to_owned()) };
        }
        if documents.contains(&name) {
            return if self.term(at + 2, documents).is_some() { Ok(()) } else { self.document(at, open) };
        }
        // A member of an object that is written out; in `a ? b : c` the name is judged like any other.
        let labels = next == ":" && matches!(before, "{" | ",") && open.last().is_some_and(|open| open.sign == "{");
        if declared.contains(&name) || labels || CONSTANTS.contains(&name) {
            return Ok(());
        }
        let of_object = name == "Object" && next == "." && self.word(at + 2) == "keys" && self.word(at + 3) == "(";
        if of_object || (OFFERED.contains(&name) && next == "(") {
            return Ok(());
        }
        if OFFERED.contains(&name) && next == "." {
            return self.only_read(at).map(|_end| ());
        }
        Err("it uses a name that is neither declared in it (with var, let or const, one line each) nor one of the few that are known".to_owned())
    }

    /// `x.a.b` is not assigned to. Returns the place behind it.
    fn only_read(&self, at: usize) -> Judged<usize> {
        let mut end = at + 1;
        while matches!(self.word(end), "." | "?.") {
            end += 2;
        }
        if ASSIGNING.contains(&self.word(end)) || matches!(self.before(at, 1), "++" | "--") {
            return Err("it assigns to a member of the document or of the engine".to_owned());
        }
        Ok(end)
    }

    /// One use of a parameter that is a document.
    fn document(&mut self, at: usize, open: &[Open]) -> Judged {
        let (before, next) = (self.before(at, 1), self.word(at + 1));
        if matches!(next, "." | "?.") {
            if self.sort(at + 2) != Some(Sort::Name) {
                return Err("it takes a member of the document whose name is not written out".to_owned());
            }
            let member = self.word(at + 2);
            if WHOLE.contains(&member) {
                return Err("it calls what gives the document whole; name the members, or write emit(key, doc)".to_owned());
            }
            if let Some(field) = self.guarded.field_at(member).filter(|_| !member.starts_with('_')) {
                return Err(format!("it takes a member of the document that field {field} protects"));
            }
            return self.only_read(at).map(|_end| ());
        }
        let in_emit = open.last().is_some_and(|open| open.emit && open.commas == 1) && before == "," && next == ")";
        let declares = matches!(before, "(" | ",") && matches!(next, "," | ")") && self.is_own_list(at);
        let compared = matches!(next, "==" | "===" | "!=" | "!==" | "&&") && before != ".";
        let asked = (before == "!" || before == "typeof") && !matches!(next, "[" | "(" | "=>")
            || (before == "(" && next == ")" && self.before(at, 2) == "if" && !self.is_member(at, 2));
        let arrow = next == "=>" && at == 0;
        if in_emit {
            self.emits = Emits::Documents;
        }
        if in_emit || declares || compared || asked || arrow {
            return Ok(());
        }
        Err("it uses the document otherwise than by members written out (doc.tier) or as the value of emit (emit(key, doc))"
            .to_owned())
    }

    /// In the parameters of the function itself.
    fn is_own_list(&self, at: usize) -> bool {
        let list = match (self.word(0), self.word(1)) {
            ("function", "(") => 1,
            ("function", _) => 2,
            _ => 0,
        };
        self.list(list).is_some_and(|(_, end)| at < end && self.word(list) == "(")
    }

    fn sign(&mut self, at: usize, sign: &str, declared: &HashSet<&str>, open: &mut Vec<Open>) -> Judged {
        let (before, next) = (self.before(at, 1), self.word(at + 1));
        match sign {
            "(" => open.push(Open { sign: "(", at, emit: before == "emit", commas: 0 }),
            "{" => open.push(Open { sign: "{", at, emit: false, commas: 0 }),
            "[" => {
                if self.is_computed(at) {
                    self.index(at, declared)?;
                }
                open.push(Open { sign: "[", at, emit: false, commas: 0 });
            }
            ")" | "}" | "]" => {
                let opened = open.pop().ok_or("its brackets do not match")?;
                if !matches!((opened.sign, sign), ("(", ")") | ("{", "}") | ("[", "]")) {
                    return Err("its brackets do not match".to_owned());
                }
                if sign != ")" && matches!(next, "=" | "of" | "in") {
                    return Err("it takes values apart, or assigns to a member named at run time".to_owned());
                }
                if sign == ")" && ASSIGNING.contains(&next) && !matches!(next, "++" | "--") {
                    return Err("it assigns to something in brackets".to_owned());
                }
                if sign == ")" && next == "{" && !self.opens_block(opened.at) {
                    return Err("it defines a method; write functions as function (...) { ... }".to_owned());
                }
            }
            "," => {
                if let Some(open) = open.last_mut() {
                    open.commas += 1;
                }
            }
            "..." => return Err("it spreads values".to_owned()),
            _ => {}
        }
        Ok(())
    }

    /// Does the bracket belong to `if (...) {`, `function (...) {` and the like?
    fn opens_block(&self, at: usize) -> bool {
        BEFORE_BLOCK.contains(&self.before(at, 1))
            || (self.before(at, 2) == "function" && at.checked_sub(1).is_some_and(|name| self.is_name(name)))
    }

    /// `x[...]`, not the array `[...]`.
    fn is_computed(&self, at: usize) -> bool {
        let Some(before) = at.checked_sub(1).and_then(|at| self.tokens.get(at)) else { return false };
        match before.sort {
            Sort::Text | Sort::Number | Sort::Pattern => true,
            Sort::Name => !KEYWORDS.contains(&before.text) || matches!(self.before(at, 2), "." | "?."),
            Sort::Sign => matches!(before.text, ")" | "]" | "}" | "?."),
        }
    }

    /// `x[0]`, or `x[i]` where `i` only ever counts.
    fn index(&mut self, at: usize, declared: &HashSet<&str>) -> Judged {
        let alone = self.word(at + 2) == "]";
        let name = self.word(at + 1);
        if alone && self.sort(at + 1) == Some(Sort::Number) {
            return Ok(());
        }
        let known = self.counting.contains(name);
        if alone && (known || (self.is_name(at + 1) && declared.contains(name) && self.only_counts(name))) {
            self.counting.insert(name);
            return Ok(());
        }
        Err("it takes a member named at run time (x[...]); a number, or a variable that only counts, may stand there".to_owned())
    }

    fn only_counts(&self, name: &str) -> bool {
        let number = |at| self.sort(at) == Some(Sort::Number);
        (0..self.tokens.len()).filter(|at| self.word(*at) == name && !matches!(self.before(*at, 1), "." | "?.")).all(|at| {
            match self.word(at + 1) {
                "=" => number(at + 2) && matches!(self.word(at + 3), ";" | "," | ")"),
                "+=" | "-=" => number(at + 2) && matches!(self.word(at + 3), ";" | "," | ")"),
                "++" | "--" | "<" | "<=" | ">" | ">=" | "==" | "===" | "!=" | "!==" | "+" | "-" | "*" | "%" | "]" | ";" => true,
                "," | ")" => self.is_argument(at),
                _ => false,
            }
        })
    }

    /// The name before a comma or bracket is a value there, not a parameter.
    fn is_argument(&self, at: usize) -> bool {
        let start = (0..at).rev().find(|start| self.word(*start) == "(");
        let list = start.and_then(|start| Some((start, self.list(start)?.1)));
        match list {
            None => true,
            // The nearest brackets are closed before it.
            Some((_, end)) if end <= at => true,
            Some((start, end)) => {
                let before = self.before(start, 1);
                before != "catch" && before != "function" && self.before(start, 2) != "function" && self.word(end) != "=>"
            }
        }
    }
}

#[cfg(test)]
mod tests;
