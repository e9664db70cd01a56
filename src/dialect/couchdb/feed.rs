//! `_changes`: what happened, in one answer or as it happens.
//!
//! Without `include_docs` a feed carries ids and revisions only; with it, documents, which are revealed row by row. Filters run
//! in the database, on documents as they are stored: they choose rows and show nothing, so that functions of design documents
//! pass; what a request itself would compare with (a selector, parameters for a function) may name no protected member.

use http::Method;
use serde_json::Value;

use super::Inside;
use super::tables::{CHANGES, FEED, FILTER};
use crate::base::Intent;
use crate::dialect::{Documents, Flow, Refused, RefusedCode, RequestBody, Shape};
use crate::document::Framing;

impl Inside<'_> {
    /// `/{db}/_changes`
    pub(super) fn changes(&self) -> Result<Shape, Refused> {
        let (route, request) = match *self.head.method {
            Method::GET => ("GET /{db}/_changes", RequestBody::None),
            Method::POST => ("POST /{db}/_changes", RequestBody::Plain { row_set: FILTER }),
            _ => return Err(self.not_mapped("_changes", "GET, POST")),
        };
        let by_function = match self.parameter("filter") {
            None | Some("_doc_ids" | "_design") => false,
            Some("_selector") => {
                let detail = "filter=_selector is not mapped yet; filter with _doc_ids, with a function, or in the application";
                return Err(self.refuse(RefusedCode::Route, detail.into()));
            }
            Some("_view") => true,
            Some(function) if function.split_once('/').is_some_and(|(design, name)| !design.is_empty() && !name.is_empty()) => {
                true
            }
            Some(_) => {
                let detail = "the query parameter filter must be _doc_ids, _design, _view, or {design document}/{function}";
                return Err(self.refuse(RefusedCode::Malformed, detail.into()));
            }
        };
        self.check_feed_parameters(by_function)?;
        let flow = match self.parameter("feed") {
            None | Some("normal") => Flow::Whole,
            Some("longpoll") => Flow::Feed(Framing::Document),
            Some("continuous") => Flow::Feed(Framing::Lines),
            Some("eventsource") => Flow::Feed(Framing::Events),
            Some(_) => {
                let detail = "the query parameter feed must be normal, longpoll, continuous or eventsource";
                return Err(self.refuse(RefusedCode::Malformed, detail.into()));
            }
        };
        let documents = self.carrying(route, Intent::Read, None, request, FEED)?;
        Ok(Shape::Documents(Documents { flow, ..documents }))
    }

    /// A function reads whatever parameters it likes. Those that name a protected member would carry its clear value (T14).
    fn check_feed_parameters(&self, by_function: bool) -> Result<(), Refused> {
        if !by_function {
            return self.check_parameters(CHANGES);
        }
        let mut allowed = CHANGES.to_vec();
        for (number, parameter) in
            (1..).zip(&self.parameters).filter(|(_, parameter)| !CHANGES.contains(&parameter.name.as_str()))
        {
            if let Some(name) = self.database.names.searched_by(parameter, false) {
                let detail = format!(
                    "the query parameter number {number} refers to {name}, which is protected: the database holds it sealed and cannot compare it; filter by other members"
                );
                return Err(self.refuse(RefusedCode::NotSearchable, detail));
            }
            allowed.push(&parameter.name);
        }
        self.check_parameters(&allowed)
    }
}

/// The body of a feed: the ids it is filtered by, or nothing.
pub(super) fn check_filter(body: &[u8]) -> Result<(), &'static str> {
    let Ok(members) = serde_json::from_slice::<serde_json::Map<String, Value>>(body) else {
        return Err("_changes takes an object, such as {\"doc_ids\": [...]}");
    };
    let fits = |(name, value): (&String, &Value)| match (name.as_str(), value) {
        ("doc_ids", Value::Array(ids)) => ids.iter().all(Value::is_string),
        _ => false,
    };
    if members.iter().all(fits) {
        Ok(())
    } else {
        Err("the body of _changes may hold doc_ids, a list of ids; leave everything else out")
    }
}
