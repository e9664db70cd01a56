//! One file as text: lines and columns, syntax errors one by one, and what must not be shown.
//!
//! Always holds: spans are byte offsets into the text as it stands in the file. A statement with a syntax error is blanked
//! out (same length, so that offsets stay true) and the rest is read on; its words are remembered as lost, so that nothing
//! in it is reported as missing. Called by [`super::load`].

use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::de::DeTable;

use super::findings::{Finding, Severity};
use super::report::Draft;

/// Largest file that is read, in bytes: 100,000 callers with their credentials are half of that.
const MAX_FILE_BYTES: u64 = 16 << 20;
/// So many syntax errors are reported one by one; what follows is then taken as lost.
const MAX_SYNTAX_ERRORS: usize = 50;

/// A file, read and made parseable.
#[derive(Debug)]
pub(super) struct Source {
    /// The file as the operator named it.
    pub(super) shown: String,
    /// The folder it stands in; paths in it are relative to this.
    pub(super) folder: PathBuf,
    /// As it stands in the file.
    text: String,
    /// With every statement that has a syntax error blanked out.
    readable: String,
    /// The statements that were blanked out.
    lost: String,
    line_starts: Vec<usize>,
    /// Syntax errors.
    pub(super) syntax: Vec<Draft>,
}

impl Source {
    /// Reads a file. The error says why it cannot be read, in words for an operator.
    pub(super) fn read(path: &Path) -> Result<Self, String> {
        let text = read_text(path)?;
        Ok(Self::from_text(path, text))
    }

    /// A file with this text.
    pub(super) fn from_text(path: &Path, text: String) -> Self {
        let folder = path.parent().map(Path::to_owned).unwrap_or_default();
        let line_starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        let readable = text.clone();
        let mut source = Self {
            shown: path.display().to_string(),
            folder,
            text,
            readable,
            lost: String::new(),
            line_starts,
            syntax: Vec::new(),
        };
        source.take_out_syntax_errors();
        source
    }

    /// All of it, as it stands in the file.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The tree of what could be read.
    pub(super) fn tree(&self) -> DeTable<'_> {
        DeTable::parse_recoverable(&self.readable).0.into_inner()
    }

    /// The text of a span, or nothing if it is not one.
    pub(super) fn readable_at(&self, span: &Range<usize>) -> &str {
        self.readable.get(span.clone()).unwrap_or("")
    }

    /// True if `name` stands in a statement that could not be read: then nobody can say that it is missing.
    pub(super) fn has_lost(&self, name: &str) -> bool {
        let part_of_name = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '-' || c == '_');
        !name.is_empty()
            && self.lost.match_indices(name).any(|(at, _)| {
                let before = self.lost.get(..at).and_then(|text| text.chars().next_back());
                let after = self.lost.get(at + name.len()..).and_then(|text| text.chars().next());
                !part_of_name(before) && !part_of_name(after)
            })
    }

    /// 1-based number of the line that holds the byte.
    pub(super) fn line_of(&self, at: usize) -> u32 {
        u32::try_from(self.line_index(at) + 1).unwrap_or(u32::MAX)
    }

    /// Span of a 1-based line without the white space around its text.
    pub(super) fn span_of_line(&self, line: u32) -> Range<usize> {
        let index = usize::try_from(line).unwrap_or(usize::MAX).saturating_sub(1).min(self.line_starts.len() - 1);
        let range = self.line_range(index);
        let text = self.text.get(range.clone()).unwrap_or("");
        let start = range.start + (text.len() - text.trim_start().len());
        start..(start + text.trim().len())
    }

    /// Finishes a finding: adds the place and the line, with secrets covered.
    pub(super) fn finish(&self, draft: &Draft, hidden: &[Range<usize>]) -> Finding {
        let start = self.floor(draft.span.start);
        let index = self.line_index(start);
        let line = self.line_range(index);
        let text = self.text.get(line.clone()).unwrap_or("");
        let end = self.floor(draft.span.end).clamp(start, line.end.max(start));
        let hidden: Vec<Range<usize>> = hidden
            .iter()
            .filter(|range| range.start < line.end && range.end > line.start)
            .map(|range| range.start.saturating_sub(line.start)..range.end.min(line.end) - line.start)
            .collect();
        // What is about the whole file has no line to show.
        let text = if draft.span.is_empty() && draft.span.start == 0 { "" } else { text };
        let (excerpt, caret) = cover(text, &hidden, start - line.start..end - line.start);
        let column = text.get(..start - line.start).map_or(0, |before| before.chars().count()) + 1;
        Finding {
            severity: draft.severity,
            file: self.shown.clone(),
            line: u32::try_from(index + 1).unwrap_or(u32::MAX),
            column: u32::try_from(column).unwrap_or(u32::MAX),
            message: draft.message.clone(),
            expected: draft.expected.clone(),
            remedy: draft.remedy.clone(),
            nearest: draft.nearest.clone(),
            excerpt,
            caret,
        }
    }

    fn line_index(&self, at: usize) -> usize {
        self.line_starts.partition_point(|start| *start <= at).saturating_sub(1)
    }

    /// Bytes of a line without its line end.
    fn line_range(&self, index: usize) -> Range<usize> {
        let start = self.line_starts.get(index).copied().unwrap_or(self.text.len());
        let end = self.line_starts.get(index + 1).copied().unwrap_or(self.text.len());
        let text = self.text.get(start..end).unwrap_or("");
        start..start + text.trim_end_matches(['\n', '\r']).len()
    }

    /// The nearest character boundary at or before `at`.
    fn floor(&self, at: usize) -> usize {
        self.text.floor_char_boundary(at.min(self.text.len()))
    }

    fn take_out_syntax_errors(&mut self) {
        for round in 0.. {
            let (_, errors) = DeTable::parse_recoverable(&self.readable);
            let unclosed = errors
                .iter()
                .any(|error| ["unclosed array", "unclosed inline table"].iter().any(|what| error.message().contains(what)));
            let first = errors.into_iter().min_by_key(|error| error.span().map_or(0, |span| span.start));
            let Some(error) = first else { return };
            let span = error.span().unwrap_or(0..0);
            let statements = Statements::of(self);
            let line = self.line_index(self.floor(span.start));
            // What stands behind an open bracket looks wrong in many ways; the bracket is what to repair.
            let text_left_open =
                error.message().contains("invalid basic string") || error.message().contains("invalid literal string");
            let open = (unclosed && !text_left_open).then(|| statements.open_above(line + 1)).flatten();
            let culprit = open.unwrap_or_else(|| statements.culprit(line, error.message()));
            let draft = self.explain(&span, error.message(), &culprit, round);
            self.syntax.push(draft);
            let lines = if round < MAX_SYNTAX_ERRORS { culprit.lines } else { 0..self.line_starts.len() };
            self.blank(lines);
        }
    }

    /// Replaces lines by spaces and remembers them as lost.
    fn blank(&mut self, lines: Range<usize>) {
        let start = self.line_starts.get(lines.start).copied().unwrap_or(0);
        let end = self.line_starts.get(lines.end).copied().unwrap_or(self.readable.len());
        let gone = self.readable.get(start..end).unwrap_or("");
        self.lost.push_str(gone);
        self.lost.push('\n');
        let spaces: String = gone.bytes().map(|byte| if byte == b'\n' { '\n' } else { ' ' }).collect();
        if start < end {
            self.readable.replace_range(start..end, &spaces);
        }
    }

    fn explain(&self, span: &Range<usize>, message: &str, culprit: &Culprit, round: usize) -> Draft {
        if round >= MAX_SYNTAX_ERRORS {
            return Draft::new(
                Severity::Error,
                0..0,
                format!("more than {MAX_SYNTAX_ERRORS} lines are not TOML; the rest was not read"),
            )
            .remedy("is this the right file? Repair the lines above and check again");
        }
        if let Some((at, bracket)) = culprit.open {
            let close = if bracket == '{' { '}' } else { ']' };
            return Draft::new(Severity::Error, at..at + 1, format!("this `{bracket}` is never closed"))
                .remedy(format!("add `{close}` where the list or table ends"));
        }
        let (what, expected) = message.split_once(", expected ").unwrap_or((message, ""));
        let name = self.text.get(span.clone()).unwrap_or("");
        let rest_of_line = self.text.get(span.start..self.line_range(self.line_index(self.floor(span.start))).end).unwrap_or("");
        let new = |message: String, remedy: &str| Draft::new(Severity::Error, span.clone(), message).remedy(remedy);
        if what.contains("duplicate key") {
            let message = format!("`{name}` stands here a second time");
            return new(message, "keep one of the two; if both are tables, put their members under one header");
        }
        if what.contains("must be quoted") && rest_of_line.trim_start().is_empty() {
            return new("the value is missing after `=`".to_owned(), "write a value, or remove the line");
        }
        if what.contains("must be quoted")
            || what.contains("invalid float")
            || what.contains("invalid integer")
            || what.contains("invalid datetime")
        {
            return new(
                "this is neither a number nor text in quotation marks".to_owned(),
                "put text in quotation marks: name = \"text\"",
            );
        }
        if what.contains("invalid basic string") || what.contains("invalid literal string") {
            return new(
                "the text in quotation marks is not closed on this line, or holds a character that must be escaped".to_owned(),
                "close it with the same quotation mark it was opened with",
            );
        }
        if what.contains("extra comma") {
            return new("there is nothing before this comma".to_owned(), "write a value, or remove the comma");
        }
        if what.contains("missing comma") {
            return new("a comma is missing here".to_owned(), "separate entries by commas");
        }
        if what.contains("key with no value") {
            return new(
                "there is no `=` after the name".to_owned(),
                "write name = value, or put # before the line to make it a comment",
            );
        }
        if what.contains("unclosed table") {
            return new(
                "the header is not closed".to_owned(),
                "close it with `]`, as in [listen]; what stands below it was not read",
            );
        }
        new(format!("this is not TOML: {what}"), "repair the line; the format is described on https://toml.io").expected(expected)
    }
}

/// Reads a regular file of at most [`MAX_FILE_BYTES`] as UTF-8.
fn read_text(path: &Path) -> Result<String, String> {
    let meta = std::fs::metadata(path).map_err(|error| error.to_string())?;
    if meta.is_dir() {
        return Err("it is a folder".to_owned());
    }
    if meta.len() > MAX_FILE_BYTES {
        return Err(format!("it is larger than {MAX_FILE_BYTES} bytes"));
    }
    let bytes = std::fs::read(path).map_err(|error| error.to_string())?;
    String::from_utf8(bytes)
        .map_err(|error| format!("it is not UTF-8 text: byte {} belongs to no character", error.utf8_error().valid_up_to()))
}

/// Where statements begin, guessed line by line, so that one broken statement does not spoil the next.
struct Statements<'a> {
    source: &'a Source,
    /// Per line: what begins there.
    begins: Vec<Begin>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Begin {
    Header,
    Pair,
    /// Blank, a comment, or the continuation of what stands above.
    Nothing,
}

struct Culprit {
    /// Indices of the lines to take out.
    lines: Range<usize>,
    /// The bracket that is never closed, if that is the mistake.
    open: Option<(usize, char)>,
}

impl<'a> Statements<'a> {
    fn of(source: &'a Source) -> Self {
        let lines = 0..source.line_starts.len();
        Self {
            source,
            begins: lines.map(|index| begin_of(source.readable.get(source.line_range(index)).unwrap_or(""))).collect(),
        }
    }

    fn begin(&self, line: usize) -> Begin {
        self.begins.get(line).copied().unwrap_or(Begin::Nothing)
    }

    /// The statement that is to blame for a syntax error seen in `line`.
    fn culprit(&self, line: usize, message: &str) -> Culprit {
        let own = (0..=line).rev().find(|line| self.begin(*line) != Begin::Nothing).unwrap_or(line);
        let stumbles = ["inline table", "array", "comma"].iter().any(|word| message.contains(word));
        if self.begin(own) == Begin::Header && own == line {
            let end = (own + 1..self.begins.len()).find(|line| self.begin(*line) == Begin::Header).unwrap_or(self.begins.len());
            // A bracket left open above makes the parser stumble over this header.
            if let Some(open) = stumbles.then(|| self.open_above(own)).flatten() {
                return open;
            }
            return Culprit { lines: own..end, open: None };
        }
        if let Some(open) = stumbles.then(|| self.open_above(own + 1)).flatten() {
            return open;
        }
        // A line inside a table or list that spans several lines belongs to the whole of it.
        let around =
            (0..own).rev().filter(|start| self.begin(*start) == Begin::Pair).take(40).find(|start| self.extent(*start).0 > own);
        let start = around.unwrap_or(own);
        Culprit { lines: start..self.extent(start).0.max(line + 1), open: None }
    }

    /// The nearest statement above `line` that opens a bracket and never closes it.
    fn open_above(&self, line: usize) -> Option<Culprit> {
        let own = (0..line).rev().filter(|line| self.begin(*line) == Begin::Pair).take(40);
        own.into_iter().find_map(|start| {
            let (end, open) = self.extent(start);
            open.map(|open| Culprit { lines: start..end, open: Some(open) })
        })
    }

    /// The line behind the statement that begins in `start`, and the bracket it leaves open.
    fn extent(&self, start: usize) -> (usize, Option<(usize, char)>) {
        let mut open: Vec<(usize, char)> = Vec::new();
        let mut short_end = None;
        let mut open_at_short_end = None;
        for line in start..self.begins.len() {
            if line > start {
                let begin = self.begin(line);
                if begin == Begin::Header {
                    return short_end.map_or((line, open.last().copied()), |end| (end, open_at_short_end));
                }
                if begin == Begin::Pair {
                    if open.is_empty() {
                        return (line, None);
                    }
                    if short_end.is_none() {
                        short_end = Some(line);
                        open_at_short_end = open.last().copied();
                    }
                }
            }
            let range = self.source.line_range(line);
            brackets(self.source.readable.get(range.clone()).unwrap_or(""), range.start, &mut open);
            if open.is_empty() && short_end.is_some() {
                return (line + 1, None);
            }
        }
        short_end.map_or((self.begins.len(), open.last().copied()), |end| (end, open_at_short_end))
    }
}

fn begin_of(line: &str) -> Begin {
    let text = line.trim_start();
    if let Some(rest) = text.strip_prefix('[') {
        let rest = rest.strip_prefix('[').unwrap_or(rest).trim_start();
        let name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        return if rest.starts_with(name) { Begin::Header } else { Begin::Nothing };
    }
    let Some((name, _)) = text.split_once('=') else {
        // A name alone on its line: the `=` is missing.
        let bare = text.split_whitespace().next().unwrap_or("");
        let named = !bare.is_empty() && bare.starts_with(|c: char| c.is_ascii_alphabetic());
        return if named { Begin::Pair } else { Begin::Nothing };
    };
    let inside = name.trim();
    let fits = |c: char| c.is_ascii_alphanumeric() || "_-.\"'* ".contains(c);
    if inside.chars().all(fits) { Begin::Pair } else { Begin::Nothing }
}

/// Follows the brackets of a line, outside of strings and comments.
fn brackets(line: &str, offset: usize, open: &mut Vec<(usize, char)>) {
    let mut quote = None;
    let mut escaped = false;
    for (at, c) in line.char_indices() {
        match (quote, c) {
            (Some('"'), '\\') if !escaped => {
                escaped = true;
                continue;
            }
            (Some(mark), _) => quote = Some(mark).filter(|_| mark != c || escaped),
            (None, '"' | '\'') => quote = Some(c),
            (None, '#') => return,
            (None, '{' | '[') => open.push((offset + at, c)),
            (None, '}' | ']') => {
                open.pop();
            }
            (None, _) => {}
        }
        escaped = false;
    }
}

/// Names behind which a secret may stand.
const SECRET_NAMES: &[&str] = &[
    "api_key",
    "auth",
    "authorization",
    "basic",
    "bearer",
    "credential",
    "credential_sha256",
    "jwt",
    "kek",
    "key",
    "passphrase",
    "password",
    "pwd",
    "secret",
    "token",
];

/// The line with everything covered that is, or may be, a secret: `hidden`, values behind [`SECRET_NAMES`] that are not a
/// reference (`env:…`) or a whole hash, and names and passwords in URLs. The caret moves along.
fn cover(line: &str, hidden: &[Range<usize>], caret: Range<usize>) -> (String, Range<usize>) {
    let mut ranges = hidden.to_vec();
    for name in SECRET_NAMES {
        ranges.extend(line.match_indices(name).filter_map(|(at, _)| secret_behind(line, at, name)));
    }
    for (at, mark) in line.match_indices("://") {
        let rest = line.get(at + mark.len()..).unwrap_or("");
        let host = rest.split(['/', '"', '\'', ' ']).next().unwrap_or("");
        if let Some(end) = host.rfind('@') {
            ranges.push(at + mark.len()..at + mark.len() + end);
        }
    }
    let mut out = String::with_capacity(line.len());
    let (mut start, mut end) = (None, None);
    for (at, c) in line.char_indices() {
        if at >= caret.start {
            start.get_or_insert(out.len());
        }
        if at >= caret.end {
            end.get_or_insert(out.len());
        }
        let covered = ranges.iter().any(|range| range.contains(&at)) && !matches!(c, '"' | '\'');
        out.push(if covered { '*' } else { c });
    }
    let start = start.unwrap_or(out.len());
    let end = end.unwrap_or(out.len()).max(start);
    (out, start..end)
}

/// What stands behind the secret name at `at`, as a value to cover.
fn secret_behind(line: &str, at: usize, name: &str) -> Option<Range<usize>> {
    let part_of_name = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    if line.get(..at)?.ends_with(part_of_name) {
        return None;
    }
    let after = at + name.len();
    let value = line.get(after..)?.trim_start().strip_prefix('=')?.trim_start();
    let start = line.len() - value.len();
    let (start, value, end_mark) = match value.chars().next()? {
        // The members of an inline table have names of their own.
        '{' => return None,
        mark @ ('"' | '\'') => (start + 1, value.get(1..)?, Some(mark)),
        _ => (start, value, None),
    };
    let end = end_mark.and_then(|mark| value.find(mark)).unwrap_or(value.len());
    let value = value.get(..end)?;
    let whole_hash = name == "credential_sha256" && value.len() == 64 && value.bytes().all(|byte| byte.is_ascii_hexdigit());
    (!value.starts_with("env:") && !whole_hash).then_some(start..start + end)
}
