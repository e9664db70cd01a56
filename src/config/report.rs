//! Collects the findings of one file while its readers go on.
//!
//! Always holds: a [`Draft`] has a remedy before it becomes a finding. Used by every reader of this module.

use std::cell::RefCell;
use std::ops::Range;

use super::findings::{Finding, Severity};
use super::source::Source;
use crate::base::nearest;

/// A finding in the making.
#[derive(Debug, Clone)]
pub(super) struct Draft {
    pub(super) severity: Severity,
    /// What is meant, as bytes of the file.
    pub(super) span: Range<usize>,
    pub(super) message: String,
    pub(super) expected: String,
    pub(super) remedy: String,
    pub(super) nearest: Option<String>,
}

impl Draft {
    pub(super) fn new(severity: Severity, span: Range<usize>, message: impl Into<String>) -> Self {
        Self { severity, span, message: message.into(), expected: String::new(), remedy: String::new(), nearest: None }
    }

    pub(super) fn error(span: &Range<usize>, message: impl Into<String>) -> Self {
        Self::new(Severity::Error, span.clone(), message)
    }

    pub(super) fn warning(span: &Range<usize>, message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, span.clone(), message)
    }

    pub(super) fn expected(mut self, expected: impl Into<String>) -> Self {
        self.expected = expected.into();
        self
    }

    pub(super) fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = remedy.into();
        self
    }

    /// Adds the valid name that was probably meant.
    pub(super) fn near<'a>(mut self, written: &str, valid: impl IntoIterator<Item = &'a str>) -> Self {
        self.nearest = nearest(written, valid).map(str::to_owned);
        self
    }
}

/// The findings of one file.
#[derive(Debug)]
pub(super) struct Report<'s> {
    pub(super) source: &'s Source,
    drafts: RefCell<Vec<Draft>>,
    hidden: RefCell<Vec<Range<usize>>>,
}

impl<'s> Report<'s> {
    /// A report that begins with the file's syntax errors.
    pub(super) fn new(source: &'s Source) -> Self {
        Self { source, drafts: RefCell::new(source.syntax.clone()), hidden: RefCell::new(Vec::new()) }
    }

    pub(super) fn push(&self, draft: Draft) {
        self.drafts.borrow_mut().push(draft);
    }

    /// Covers a value that may be a secret in every line that is shown.
    pub(super) fn hide(&self, span: &Range<usize>) {
        self.hidden.borrow_mut().push(span.clone());
    }

    /// True if there is any error so far.
    pub(super) fn has_errors(&self) -> bool {
        self.errors() > 0
    }

    /// Number of errors so far, to see whether a step added one.
    pub(super) fn errors(&self) -> usize {
        self.drafts.borrow().iter().filter(|draft| draft.severity == Severity::Error).count()
    }

    /// True if an error points into `span`.
    pub(super) fn has_error_in(&self, span: &Range<usize>) -> bool {
        self.drafts
            .borrow()
            .iter()
            .any(|draft| draft.severity == Severity::Error && draft.span.start >= span.start && draft.span.start <= span.end)
    }

    /// The findings from top to bottom.
    pub(super) fn finish(&self) -> Vec<Finding> {
        let hidden = self.hidden.borrow();
        let mut drafts = self.drafts.borrow().clone();
        drafts.sort_by_key(|draft| (draft.span.start, draft.span.end));
        drafts.iter().map(|draft| self.source.finish(draft, &hidden)).collect()
    }
}
