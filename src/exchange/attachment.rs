//! Attachments, where the operator lets them pass: not protected, but nobody's without a purpose, and recorded.

use http::{Method, Response};
use http_body::Body as _;

use super::request::Allowed;
use super::{Asker, Context, Error, Exchange, State, exception, headers, view};
use crate::audit::Kind;
use crate::base::{Intent, RecordId};
use crate::dialect::Attachment;
use crate::field;
use crate::metrics::RouteClass;
use crate::upstream::{Outgoing, PassBody};

impl Exchange {
    /// Streams an attachment in or out as it is.
    pub(super) async fn attachment(
        &self,
        state: &State,
        context: &mut Context,
        attachment: &Attachment,
        mut parts: http::request::Parts,
        body: PassBody,
        asker: &Asker,
    ) -> Result<Response<PassBody>, Error> {
        context.collection = state.collection_name(attachment.collection);
        context.route = Some(attachment.route);
        context.class = Some(RouteClass::Documents);
        context.intent = Some(attachment.intent);
        let grant = self.grant(state, context, &parts.headers, asker)?.grant;
        let allowed = Allowed::now(state, grant.clone(), self.clock.now_ms())?;
        exception::refuse_attachment(&grant)?;
        let collection = state.collections.get(attachment.collection).ok_or(Error::Internal("no such collection"))?;
        let document = RecordId::from_text(&attachment.document).ok();
        if let Some(why) = field::stays_closed(&collection.field_map, allowed.rights(), document.as_ref()) {
            return Err(Error::AttachmentWithheld { purpose: grant.purpose().clone(), why });
        }
        let reads = attachment.intent == Intent::Read;
        if !reads {
            view::check_writer(collection, &grant, "attachments")?;
        }
        let outgoing = match parts.method {
            Method::PUT => Outgoing::Attachment(body),
            _ if !body.is_end_stream() => return Err(Error::BodyUnexpected),
            _ => Outgoing::Empty,
        };
        headers::prepare_pass(&mut parts.headers, parts.version, &state.purpose_header);
        let host = parts.headers.get(http::header::HOST).cloned();
        if !reads {
            self.record_attachment(context, attachment, Kind::Write).await?;
        }
        let mut response = self.forward(state, parts, outgoing).await?;
        headers::check_redirect(response.status(), response.headers(), host.as_ref())?;
        if reads && response.status().is_success() {
            self.record_attachment(context, attachment, Kind::Reveal).await?;
        }
        headers::finish_attachment(response.headers_mut(), &state.purpose_header);
        Ok(response)
    }

    async fn record_attachment(&self, context: &Context, attachment: &Attachment, kind: Kind) -> Result<(), Error> {
        let mut event = context.event(kind);
        event.subjects.extend(RecordId::from_text(&attachment.document));
        let _recorded = self.record(event).await?;
        Ok(())
    }
}
