//! Attachments: refused, unless the operator lets them pass as they are (T40).

use http::Method;

use super::tables::ATTACHMENT;
use super::{Inside, RecordId};
use crate::base::Intent;
use crate::dialect::{Attachment, Attachments, Refused, RefusedCode, Shape};

impl Inside<'_> {
    /// `/{db}/{docid}/{attachment}`
    pub(super) fn attachment(&self, id: &str) -> Result<Shape, Refused> {
        if self.database.attachments == Attachments::Refuse {
            let detail = "attachments are not protected, so they are neither stored in nor served from a protected database; keep them in another one, or let them pass as they are with attachments = \"pass\"";
            return Err(self.refuse(RefusedCode::Route, detail.into()));
        }
        if self.head.path.contains('+') {
            let detail = "the path holds a plus sign, which CouchDB reads as a space and others do not; write %2B or %20";
            return Err(self.refuse(RefusedCode::Malformed, detail.into()));
        }
        RecordId::from_text(id).map_err(|error| self.refuse(RefusedCode::Malformed, format!("the id in the path: {error}")))?;
        self.check_parameters(ATTACHMENT)?;
        let (route, intent) = match *self.head.method {
            Method::GET => ("GET /{db}/{docid}/{attachment}", Intent::Read),
            Method::HEAD => ("HEAD /{db}/{docid}/{attachment}", Intent::Read),
            Method::PUT => ("PUT /{db}/{docid}/{attachment}", Intent::Replace),
            Method::DELETE => ("DELETE /{db}/{docid}/{attachment}", Intent::Replace),
            _ => return Err(self.not_mapped("an attachment", "GET, HEAD, PUT, DELETE")),
        };
        Ok(Shape::Attachment(Attachment { collection: self.at, route, intent, document: id.to_string() }))
    }
}
