//! Mistakes in the two files: where each stands, what was found, what was expected, how to repair it.
//!
//! Always holds: a finding has a place (file, line, column) and a remedy, and neither its text nor the line shown with it
//! holds a secret (T13): what may be one is covered with `*` before it comes here. Made by the readers of this module,
//! printed by `sudare check` and by every command that loads the configuration.

use std::fmt;
use std::fmt::Write as _;
use std::ops::Range;

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

/// Whether a finding keeps Sudare from starting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// Nothing starts until it is repaired.
    Error,
    /// Allowed, but probably not what is wanted.
    Warning,
}

impl Severity {
    /// The word used in output.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Whether it keeps Sudare from starting.
    pub severity: Severity,
    /// The file, as the operator named it.
    pub file: String,
    /// 1-based line.
    pub line: u32,
    /// 1-based column, in characters.
    pub column: u32,
    /// What is wrong, with what was found. One sentence without a full stop.
    pub message: String,
    /// What was expected instead; may be empty where the remedy says it all.
    pub expected: String,
    /// How to repair it.
    pub remedy: String,
    /// The valid name that was probably meant.
    pub nearest: Option<String>,
    /// The line of the file, without what may be secret. Empty if the file could not be read.
    pub(super) excerpt: String,
    /// What of `excerpt` is meant, in bytes.
    pub(super) caret: Range<usize>,
}

/// Everything that was found, in the order of the files: `sudare.toml` first, each from top to bottom.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    list: Vec<Finding>,
}

impl Findings {
    pub(super) fn new(list: Vec<Finding>) -> Self {
        Self { list }
    }

    /// All findings, warnings included.
    pub fn iter(&self) -> std::slice::Iter<'_, Finding> {
        self.list.iter()
    }

    /// Number of findings, warnings included.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// True if nothing was found.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Number of findings that keep Sudare from starting.
    pub fn errors(&self) -> usize {
        self.list.iter().filter(|finding| finding.severity == Severity::Error).count()
    }

    /// Number of warnings.
    pub fn warnings(&self) -> usize {
        self.list.len() - self.errors()
    }

    /// A JSON array with one object per finding: `severity`, `file`, `line`, `column`, `message`, `expected`, `remedy` and
    /// `nearest` (a string or null).
    pub fn to_json(&self) -> serde_json::Value {
        self.list
            .iter()
            .map(|finding| {
                serde_json::json!({
                    "severity": finding.severity.as_str(),
                    "file": finding.file,
                    "line": finding.line,
                    "column": finding.column,
                    "message": finding.message,
                    "expected": finding.expected,
                    "remedy": finding.remedy,
                    "nearest": finding.nearest,
                })
            })
            .collect()
    }
}

impl<'a> IntoIterator for &'a Findings {
    type Item = &'a Finding;
    type IntoIter = std::slice::Iter<'a, Finding>;
    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl std::error::Error for Findings {}

/// All findings with the line and a caret, then one line that counts them. Plain text, no colours.
impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.list {
            writeln!(f, "{finding}\n")?;
        }
        f.write_str(&self.summary())
    }
}

impl Findings {
    fn summary(&self) -> String {
        let mut out = String::new();
        let counted = [(self.errors(), "mistake"), (self.warnings(), "warning")];
        for (count, word) in counted.into_iter().filter(|(count, _)| *count > 0) {
            let comma = if out.is_empty() { "" } else { ", " };
            let plural = if count == 1 { "" } else { "s" };
            // Writing into a String does not fail.
            write!(out, "{comma}{count} {word}{plural}").unwrap_or_default();
        }
        if out.is_empty() { "no mistakes".to_owned() } else { out }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let help = match &self.nearest {
            Some(name) => format!("did you mean `{name}`? Otherwise: {}", self.remedy),
            None => self.remedy.clone(),
        };
        let mut annotation = AnnotationKind::Primary.span(self.caret.clone());
        if !self.expected.is_empty() {
            annotation = annotation.label(format!("expected {}", self.expected));
        }
        let group: Group<'_> = if self.excerpt.is_empty() {
            let mut group = level.primary_title(self.message.as_str()).element(
                annotate_snippets::Origin::path(self.file.as_str()).line(usize::try_from(self.line).unwrap_or(1)).char_column(1),
            );
            if !self.expected.is_empty() {
                group = group.element(Level::NOTE.message(format!("expected {}", self.expected)));
            }
            group
        } else {
            let snippet = Snippet::source(self.excerpt.as_str())
                .line_start(usize::try_from(self.line).unwrap_or(1))
                .path(self.file.as_str())
                .annotation(annotation);
            level.primary_title(self.message.as_str()).element(snippet)
        };
        let group = group.element(Level::HELP.message(help));
        let renderer = Renderer::plain().decor_style(DecorStyle::Ascii).term_width(160);
        f.write_str(&renderer.render(&[group]))
    }
}
