//! Brings the two files together: categories of fields, callers of purposes, routes, plans; then [`Settings`].
//!
//! Always holds: nothing is built from a file with a mistake, and a mistake in one file does not hide those of the other.
//! Names that a broken statement may have held are not reported as missing. Called by [`super::load`].

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::collections::WrittenField;
use super::findings::{Finding, Findings, Severity};
use super::index::WrittenIndex;
use super::methods::default_pad;
use super::report::{Draft, Report};
use super::source::Source;
use super::tree::{Section, Text, shorten};
use super::upstream::{DialectName, Upstream};
use super::{Admin, Collection, Environment, Fingerprint, Limits, Listen, Log, Otlp, Settings};
use super::{
    callers, collections, destruction, files, jwt, keys, limits, listen, operator, otlp, policy, register, service, store,
    upstream,
};
use crate::base::{CallerName, CategoryName, CollectionName, Controller, FieldName, FieldPlace, RingName};
use crate::caller::{Callers, Means};
use crate::dialect::{CouchDb, Dialect, MemberIndex, Outside, ProtectedMember, Rest, Revision, Route};
use crate::document::RowSet;
use crate::exchange::CallerLimits;
use crate::field::{self, Subject};
use crate::purpose::{CategoryId, Level, Nature, Policy, PolicyError, PolicySpec, Register, dpv};

/// `sudare.toml` as read.
struct Service {
    controller: Controller,
    listen: Option<Listen>,
    upstream: Option<Upstream>,
    keys: keys::Rings,
    store: Option<(crate::store::Config, Range<usize>)>,
    audit: Option<crate::audit::Config>,
    limits: Option<Limits>,
    admin: Option<Admin>,
    poll: Option<Duration>,
    log: Option<Log>,
    otlp: Result<Option<Otlp>, ()>,
    leak_guard_per_mille: Option<u16>,
    backups_kept: Option<Duration>,
    operators: Option<Vec<crate::keys::Operator>>,
    purpose_header: Option<http::HeaderName>,
    issuers: jwt::Written,
    callers: callers::Written,
    collections: Vec<collections::Written>,
    policy: Option<Text>,
}

/// Whether the policy is only looked at, or also kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Policies {
    /// Explained, tested, compared.
    LookedAt,
    /// Kept: a rule that this release cannot keep is refused.
    Kept,
}

/// What was read.
pub(super) struct Both {
    pub(super) settings: Settings,
    pub(super) spec: PolicySpec,
    /// The register of the published text, if it stands beside the policy.
    pub(super) register: Option<Register>,
}

/// Reads both files, and the register of the published text if there is one.
pub(super) fn both(path: &Path, environment: Environment<'_>, policies: Policies) -> Result<Both, Findings> {
    let source = Source::read(path).map_err(|why| Findings::new(vec![unreadable(path, &why)]))?;
    let report = Report::new(&source);
    let tree = source.tree();
    let service = read_service(&Section::root(&tree, &report), &source.folder, environment);

    let policy_file = service.policy.as_ref().map(|text| source.folder.join(&text.value));
    let policy_source = policy_file.as_deref().and_then(|file| match Source::read(file) {
        Ok(source) => Some(source),
        Err(why) => {
            let span = service.policy.as_ref().map(|text| text.span.clone()).unwrap_or_default();
            report.push(Draft::error(&span, format!("the policy {} cannot be read: {why}", file.display())).remedy(
                "name the policy file, relative to this file; `sudare init` in an empty folder writes one to start from",
            ));
            None
        }
    });
    let policy_report = policy_source.as_ref().map(Report::new);
    let policy_tree = policy_source.as_ref().map(Source::tree);
    let mut written =
        policy_tree.as_ref().zip(policy_report.as_ref()).map(|(tree, report)| policy::read(&Section::root(tree, report)));

    keys::check_named(&report, &service.keys, &service.collections);
    let register_file = policy_file.as_ref().map(|file| file.with_file_name(register::FILE)).filter(|file| file.exists());
    let register_source = register_file.as_deref().and_then(|file| match Source::read(file) {
        Ok(source) => Some(source),
        Err(why) => {
            let span = service.policy.as_ref().map(|text| text.span.clone()).unwrap_or_default();
            let message = format!("the register {} cannot be read: {why}", file.display());
            report.push(Draft::error(&span, message).remedy("make it readable, or move it away"));
            None
        }
    });
    let register_report = register_source.as_ref().map(Report::new);
    let register_tree = register_source.as_ref().map(Source::tree);
    let register =
        register_tree.as_ref().zip(register_report.as_ref()).map(|(tree, report)| register::read(&Section::root(tree, report)));

    let mut policy = None;
    if let (Some(written), Some(policy_report)) = (&written, &policy_report) {
        policy::kept::check_always(policy_report, &tree, &service.collections, written);
        let clauses = register.iter().flat_map(|register| written.clauses.iter().map(move |clause| (register, clause)));
        for (register, clause) in clauses {
            register::known_clause(policy_report, clause, register);
        }
    }
    if let (Some(written), Some(policy_report)) = (&mut written, &policy_report) {
        written.callers_unsure |= !check_callers(&report, policy_report, &service.callers, written);
        check_records(&report, policy_report, &service.callers, written);
        check_categories(&report, policy_report, &service.collections, written);
        check_deterministic(&report, &service.collections, written);
        check_generalised(policy_report, &service.collections, written);
        policy = compile_policy(policy_report, written);
    }
    let parts = build_collections(&report, &service, written.as_ref(), policy.as_deref());
    check_files(&report, &service);
    if !report.has_errors() && policy_report.as_ref().is_some_and(|report| !report.has_errors()) {
        warn_of_loose_ends(&report, &service, written.as_ref());
        if let (Policies::Kept, Some(written), Some(policy_report)) = (policies, &written, &policy_report) {
            policy::kept::warn_of_operators(policy_report, service.operators.as_ref().map_or(0, Vec::len), written);
        }
    }

    let mut list = report.finish();
    list.extend(policy_report.iter().flat_map(Report::finish));
    list.extend(register_report.iter().flat_map(Report::finish));
    let findings = Findings::new(list);
    if findings.errors() > 0 {
        return Err(findings);
    }
    let purposes = written.as_ref().map_or(0, |written| written.spec.purposes.len());
    let short_hash = files::short_hash([source.text(), policy_source.as_ref().map_or("", Source::text)]);
    let settings = settings(service, policy, policy_file, parts, findings.clone()).map(|settings| {
        let mut settings = Settings { file: path.to_owned(), short_hash, purposes, ..settings };
        let policy_text = policy_source.as_ref().map_or("", Source::text);
        let read = [(path, source.text()), (settings.policy_file.as_path(), policy_text)];
        settings.fingerprint = Fingerprint::with(&settings.files(), &read);
        settings
    });
    let both = settings.zip(written).map(|(settings, written)| Both { settings, spec: written.spec, register });
    both.ok_or_else(|| Findings::new(findings.iter().cloned().chain([unexplained(path)]).collect()))
}

/// Reads a policy that no configuration goes with.
pub(super) fn policy_alone(path: &Path) -> Result<Arc<Policy>, Findings> {
    let no_file = |why: &str| {
        let shown = path.display().to_string();
        bare(shown.clone(), format!("the policy {shown} cannot be read: {why}"), "name a policy.toml")
    };
    let source = Source::read(path).map_err(|why| Findings::new(vec![no_file(&why)]))?;
    let report = Report::new(&source);
    let tree = source.tree();
    let written = policy::read(&Section::root(&tree, &report));
    let compiled = compile_policy(&report, &written);
    let findings = Findings::new(report.finish());
    if findings.errors() > 0 {
        return Err(findings);
    }
    compiled.ok_or_else(|| Findings::new(findings.iter().cloned().chain([unexplained(path)]).collect()))
}

fn read_service(root: &Section<'_>, folder: &Path, environment: Environment<'_>) -> Service {
    let controller = service::controller(root);
    // Goes on with a stand-in, so that the rest is checked too; with a finding nothing is built.
    let controller = controller.unwrap_or_else(|| Controller::new("controller"));
    let policy = root.required("policy", "policy = \"policy.toml\": who may see what").and_then(|node| node.text());
    let (listen, sees) = listen::listen(root, folder, environment);
    let upstream = upstream::upstream(root, folder, environment);
    let store = store::store(root, folder, environment);
    let keys = keys::read(root, folder, &controller, store.as_ref().map(|(store, _)| store));
    let audit = service::audit(root, folder, &controller);
    let limits = limits::limits(root);
    let (admin, poll, log) = (operator::admin(root), operator::reload(root), operator::log(root));
    let otlp = otlp::otlp(root);
    let leak_guard_per_mille = operator::leak_guard(root);
    let (backups_kept, operators) = (destruction::backups(root), destruction::operators(root));
    let purpose_header = service::purpose_header(root);
    let issuers = jwt::read(root, folder);
    let of_callers = limits.as_ref().map_or_else(CallerLimits::default, |limits| limits.caller);
    let callers = callers::read(root, sees, &issuers.names, of_callers);
    let dialect = upstream.as_ref().and_then(|upstream| upstream.dialect);
    let collections = collections::read(root, dialect);
    root.refuse_later(&[("tls", "TLS stands in [listen] and in [upstream]")]);
    root.finish();
    Service {
        controller,
        listen,
        upstream,
        keys,
        store,
        audit,
        limits,
        admin,
        poll,
        log,
        otlp,
        leak_guard_per_mille,
        backups_kept,
        operators,
        purpose_header,
        issuers,
        callers,
        collections,
        policy,
    }
}

/// Every caller the policy names stands in `sudare.toml`. False if one does not.
fn check_callers(service: &Report<'_>, report: &Report<'_>, callers: &callers::Written, policy: &policy::Written) -> bool {
    if !callers.known {
        return false;
    }
    let before = report.errors();
    let names: Vec<&str> = callers.names.iter().map(|name| name.value.as_str()).collect();
    let known: HashSet<&str> = names.iter().copied().collect();
    for caller in &policy.callers {
        if !known.contains(caller.value.as_str()) && !service.source.has_lost(&caller.value) {
            let remedy = format!(
                "add [caller.{}] to {}, or use one of: {}",
                shorten(&caller.value),
                service.source.shown,
                names.join(", ")
            );
            report.push(
                Draft::error(&caller.span, format!("there is no caller \"{}\"", shorten(&caller.value)))
                    .near(&caller.value, names.iter().copied())
                    .remedy(remedy),
            );
        }
    }
    report.errors() == before
}

/// Every fact that callers may record is one that the policy declares, or one of the words for what Sudare knows by itself.
fn check_records(report: &Report<'_>, policy_report: &Report<'_>, callers: &callers::Written, policy: &policy::Written) {
    let declared = policy.spec.facts.iter().map(|fact| fact.name.as_str());
    let names: Vec<&str> = crate::subject::RECORDS.into_iter().chain(declared).collect();
    for record in callers.records.iter().flat_map(|(_, records)| records) {
        if !names.contains(&record.value.as_str()) && !policy_report.source.has_lost(&record.value) {
            report.push(
                Draft::error(&record.span, format!("there is no fact \"{}\" to record", shorten(&record.value)))
                    .near(&record.value, names.iter().copied())
                    .remedy(format!("declare it in [fact] of the policy, or use one of: {}", names.join(", "))),
            );
        }
    }
}

/// Every field's category stands in the policy.
fn check_categories(
    report: &Report<'_>,
    policy_report: &Report<'_>,
    collections: &[collections::Written],
    policy: &policy::Written,
) {
    if !policy.categories_known {
        return;
    }
    let names: Vec<&str> = policy.categories.keys().map(String::as_str).collect();
    for field in collections.iter().flat_map(|collection| &collection.fields) {
        let category = &field.category;
        if names.contains(&category.value.as_str()) || policy_report.source.has_lost(&category.value) {
            continue;
        }
        let message = if category.span == field.name.span {
            format!("field \"{0}\" needs a category: the policy has none called \"{0}\"", shorten(&field.name.value))
        } else {
            format!("the policy has no category \"{}\"", shorten(&category.value))
        };
        let remedy = format!(
            "write {{ at = \"…\", category = \"…\" }} with one of: {}; or define \"{}\" under [category] in {}",
            names.join(", "),
            shorten(&category.value),
            policy_report.source.shown
        );
        report.push(Draft::error(&category.span, message).near(&category.value, names.iter().copied()).remedy(remedy));
    }
}

/// What has few values is not stored so that equal ones show, neither itself nor by its terms.
fn check_deterministic(report: &Report<'_>, collections: &[collections::Written], policy: &policy::Written) {
    let fields = collections.iter().flat_map(|collection| &collection.fields);
    let shows = |field: &&WrittenField| field.protection.shows_equality() || !field.indexes.is_empty();
    for field in fields.filter(shows) {
        let category = policy.spec.categories.iter().find(|category| category.name.as_str() == field.category.value);
        let Some(category) = category.filter(|category| dpv::has_few_values(&category.dpv)) else { continue };
        let name = shorten(&field.name.value);
        report.push(
            Draft::error(
                &field.category.span,
                format!(
                    "field \"{name}\" holds {}, which has so few values that which documents are equal tells them",
                    category.dpv
                ),
            )
            .remedy(match field.protection {
                field::Protection::Token(_) => "write consistent = false; what has few values cannot be searched safely",
                field::Protection::Seal | field::Protection::Deterministic => {
                    "write protect = \"seal\", without an index; what has few values cannot be searched safely"
                }
            }),
        );
    }
}

/// Whoever shows a category generalised must say how.
fn check_generalised(report: &Report<'_>, collections: &[collections::Written], policy: &policy::Written) {
    for reveal in policy.reveals.iter().chain(&policy.caps).filter(|reveal| reveal.level == Level::Generalised) {
        let Some(category) = policy.categories.get(&reveal.category) else { continue };
        let fields = || {
            collections.iter().flat_map(|collection| &collection.fields).filter(|field| field.category.value == reveal.category)
        };
        let every_field_says = fields().next().is_some() && fields().all(|field| field.generalise.is_some());
        if !category.says_generalise && !every_field_says {
            report.push(
                Draft::error(&reveal.span, format!("{} shows \"{}\" generalised, but nothing says how", reveal.by, shorten(&reveal.category)))
                    .remedy(format!("add generalise = \"postcode-prefix:3\" (or year, age-band:10, ip-prefix, grid:0.1, band:1000) to category \"{}\"", shorten(&reveal.category))),
            );
        }
    }
}

/// Compiles the policy. A compile error that only repeats a finding is left out: names that do not exist or have a wrong form
/// were found by the readers, with their exact place. Should that ever hide the only finding, [`unexplained`] says so.
fn compile_policy(report: &Report<'_>, written: &policy::Written) -> Option<Arc<Policy>> {
    let place = |error: &PolicyError| {
        let about = written.ids.iter().find(|(line, id)| *line == error.line && error.message.contains(&id.value));
        about.map_or_else(|| report.source.span_of_line(error.line), |(_, id)| id.span.clone())
    };
    match Policy::compile(written.spec.clone()) {
        Ok(policy) => {
            // Where something was left out for a mistake, a warning may only be about what is left.
            let warnings = if report.has_errors() { &[] } else { policy.warnings() };
            for warning in warnings {
                report.push(Draft::warning(&place(warning), warning.message.clone()).remedy(warning.remedy.clone()));
            }
            Some(Arc::new(policy))
        }
        Err(errors) => {
            let said = |error: &PolicyError| {
                let callers_unsure = written.callers_unsure && error.message.contains("a caller of no purpose");
                let wrong_test = written.tests.iter().any(|(line, extent)| *line == error.line && report.has_error_in(extent));
                let checked_here =
                    ["which is not there", "which [category] does not have", "which [fact] does not have", " name \""]
                        .iter()
                        .any(|part| error.message.contains(part));
                checked_here
                    || callers_unsure
                    || wrong_test
                    || written.said.contains(&error.line)
                    || report.has_error_in(&place(error))
            };
            let fresh: Vec<PolicyError> = errors.into_iter().filter(|error| !said(error)).collect();
            for error in fresh {
                report.push(Draft::error(&place(&error), error.message.clone()).remedy(error.remedy));
            }
            None
        }
    }
}

/// The dialect with its routes, and the collections with their plans.
fn build_collections(
    report: &Report<'_>,
    service: &Service,
    written: Option<&policy::Written>,
    policy: Option<&Policy>,
) -> Option<(Arc<dyn Dialect>, Vec<Collection>)> {
    let upstream = service.upstream.as_ref()?;
    let name = upstream.dialect?;
    // What already has a finding is left out, so that it is not reported twice.
    let sound: Vec<&collections::Written> = service.collections.iter().filter(|collection| collection.complete).collect();
    if sound.is_empty() {
        return None;
    }
    let embedded =
        upstream.config.as_ref().is_some_and(|config| matches!(config.endpoint, crate::upstream::Endpoint::Embedded(_)));
    // What the proxy brings along is known to have entity tags.
    let revision = embedded.then_some(Revision::Etag);
    let dialect = dialect(report, name, upstream.outside, revision.as_ref(), &sound)?;
    let mut built = Vec::new();
    for (index, collection) in sound.iter().enumerate() {
        let field_map = field_map(&service.controller, collection, written, policy);
        let sets: &[RowSet] = dialect.row_sets(index);
        let mut plans = Vec::new();
        let mut said: Vec<String> = Vec::new();
        for set in sets {
            match field::Plan::compile(&field_map, set) {
                Ok(plan) => plans.push(plan),
                Err(errors) => said.extend(errors),
            }
        }
        said.sort();
        said.dedup();
        for message in said {
            let named = |field: &&WrittenField| {
                message.contains(&format!("field {} ", field.name.value))
                    || message.contains(&format!("field {}:", field.name.value))
            };
            // Where two fields are named, the later one is the newcomer.
            let span = match collection.fields.iter().rev().find(named) {
                Some(field) => {
                    field.subject.as_ref().filter(|_| message.contains("subject")).map_or(&field.at.span, |subject| &subject.span)
                }
                None if message.starts_with("the id") => &collection.id.span,
                None => collection.subject_span.as_ref().filter(|_| message.contains("subject")).unwrap_or(&collection.span),
            };
            let (what, remedy) = message.split_once("; ").unwrap_or((&message, "change the selector"));
            report.push(Draft::error(span, what).remedy(remedy));
        }
        built.push(Collection { field_map, plans });
    }
    Some((dialect, built))
}

fn dialect(
    report: &Report<'_>,
    name: DialectName,
    outside: Outside,
    revision: Option<&Revision>,
    sound: &[&collections::Written],
) -> Option<Arc<dyn Dialect>> {
    let routes: Vec<Route> = sound
        .iter()
        .map(|collection| Route {
            collection: CollectionName::new(&collection.name.value),
            matches: collection.matches.as_ref().map(|text| text.value.clone()).unwrap_or_default(),
            rows: collection.rows.iter().map(|row| row.selector.clone()).collect(),
            id: collection.id.selector.clone(),
            protected_names: collection.protected_names(),
            attachments: collection.attachments,
            protected: collection.fields.iter().map(protected_member).collect(),
            subject: match &collection.subject {
                Subject::At(subject) => Some(subject.clone()),
                Subject::None | Subject::DocumentId => None,
            },
            views: collection.views,
            query: collection.query.as_ref().map(|names| names.iter().map(|name| name.value.clone()).collect()),
            revision: collection.revision.as_ref().or(revision).cloned(),
            terms: collection.terms,
        })
        .collect();
    let made: Result<Arc<dyn Dialect>, Vec<(usize, String)>> = match name {
        DialectName::Rest => Rest::new(routes, outside).map(|rest| -> Arc<dyn Dialect> { Arc::new(rest) }),
        DialectName::CouchDb => CouchDb::new(routes).map(|couchdb| -> Arc<dyn Dialect> { Arc::new(couchdb) }),
    };
    let errors = match made {
        Ok(dialect) => return Some(dialect),
        Err(errors) => errors,
    };
    for (index, message) in errors {
        let Some(collection) = sound.get(index) else { continue };
        let asked = collection
            .query
            .iter()
            .flatten()
            .find(|name| message.contains("query parameter") && message.contains(&format!("{:?}", name.value)));
        let span = asked.or(collection.matches.as_ref()).map_or(&collection.span, |text| &text.span);
        // The dialect counts collections; people name them.
        let message = sound.iter().enumerate().rev().fold(message, |message, (index, other)| {
            message.replace(&format!("collection number {}", index + 1), &format!("collection \"{}\"", other.name.value))
        });
        let example = match name {
            DialectName::Rest => "write it like \"/customers/{id}\"",
            DialectName::CouchDb => "write the name of one database, like \"customers\"",
        };
        let (what, remedy) = message.split_once("; ").unwrap_or((&message, example));
        report.push(Draft::error(span, what).remedy(remedy));
    }
    None
}

fn protected_member(field: &WrittenField) -> ProtectedMember {
    ProtectedMember {
        field: FieldName::new(&field.name.value),
        at: field.at.selector.clone(),
        equality: field.protection.shows_equality(),
        subject: field.subject.as_ref().map(|subject| subject.selector.clone()),
        indexes: field.indexes.iter().map(|index| member_index(field, index)).collect(),
    }
}

fn member_index(field: &WrittenField, index: &WrittenIndex) -> MemberIndex {
    MemberIndex {
        member: index.at.selector.last_member().unwrap_or_default().to_owned(),
        param: index.param.value.clone(),
        named: index.named,
        list: field.at.selector.before_wildcard().is_some(),
    }
}

fn field_map(
    controller: &Controller,
    collection: &collections::Written,
    written: Option<&policy::Written>,
    policy: Option<&Policy>,
) -> field::Collection {
    let name = CollectionName::new(&collection.name.value);
    let field = |field: &WrittenField| {
        let category = written.and_then(|written| written.categories.get(&field.category.value));
        let inherited_mask = category.and_then(|category| category.mask.clone());
        field::Field {
            name: FieldName::new(&field.name.value),
            at: field.at.selector.clone(),
            place: FieldPlace {
                controller: controller.clone(),
                collection: name.clone(),
                field: FieldName::new(&field.name.value),
            },
            ring: field.ring.as_ref().map_or_else(RingName::main, |ring| RingName::new(&ring.value)),
            // Only a policy with a mistake has no such category, and then nothing is built from this.
            category: policy.and_then(|policy| policy.category(&field.category.value)).unwrap_or(CategoryId(0)),
            category_name: CategoryName::new(&field.category.value),
            protection: field.protection.clone(),
            // Without a word about it, masked shows nothing of the value.
            mask: field.mask.clone().or(inherited_mask).unwrap_or(field::Mask::All),
            generalise: field.generalise.clone().or_else(|| category.and_then(|category| category.generalise.clone())),
            pad: match field.protection {
                field::Protection::Seal => {
                    field.pad.unwrap_or_else(|| default_pad(category.map_or(Nature::Identifying, |category| category.nature)))
                }
                field::Protection::Deterministic | field::Protection::Token(_) => 0,
            },
            seal_null: field.seal_null,
            subject: field.subject.as_ref().map(|subject| subject.selector.clone()),
            // What cannot be an index was found by the reader.
            indexes: field
                .indexes
                .iter()
                .filter_map(|index| field::Index::new(index.at.selector.clone(), index.normaliser.clone(), index.bits).ok())
                .collect(),
        }
    };
    field::Collection {
        bind: collection.bind,
        strict: collection.strict,
        on_bad_value: collection.on_bad_value,
        id: collection.id.selector.clone(),
        subject: collection.subject.clone(),
        fields: collection.fields.iter().map(field).collect(),
        name,
    }
}

/// The embedded database and the store are two files.
fn check_files(report: &Report<'_>, service: &Service) {
    let embedded = service.upstream.as_ref().and_then(|upstream| upstream.config.as_ref()).map(|config| &config.endpoint);
    if let (Some((store, span)), Some(crate::upstream::Endpoint::Embedded(documents))) = (&service.store, embedded)
        && matches!(store, crate::store::Config::Embedded(path) if path == documents)
    {
        report.push(
            Draft::error(span, "the store and the embedded database name the same file").remedy("give each a file of its own"),
        );
    }
}

/// What is allowed, but has no effect.
fn warn_of_loose_ends(report: &Report<'_>, service: &Service, written: Option<&policy::Written>) {
    let Some(written) = written else { return };
    keys::warn(report, &service.keys, &service.collections, written);
    let of_purposes = written.spec.purposes.iter().flat_map(|purpose| &purpose.callers);
    let of_exceptions = written.spec.exceptions.iter().flat_map(|exception| &exception.callers);
    let of_use: HashSet<&str> = of_purposes.chain(of_exceptions).map(CallerName::as_str).collect();
    for caller in &service.callers.names {
        if !of_use.contains(caller.value.as_str()) {
            report.push(
                Draft::warning(
                    &caller.span,
                    format!("caller \"{}\" may use no purpose, so all its requests for documents are refused", caller.value),
                )
                .remedy("add it to the callers of a purpose in the policy, or remove it"),
            );
        }
    }
    for issuer in &service.issuers.names {
        let names_it = |means: &Means| matches!(means, Means::Token { issuer: name, .. } if name.as_str() == issuer.value);
        if !service.callers.entries.iter().any(|(_, means)| names_it(means)) {
            report.push(
                Draft::warning(
                    &issuer.span,
                    format!("nobody is known by the tokens of \"{}\", so they are all refused", issuer.value),
                )
                .remedy("add jwt = { issuer = …, subject = … } to a caller, or remove the table"),
            );
        }
    }
    for field in service.collections.iter().flat_map(|collection| &collection.fields) {
        let shown = |reveal: &policy::Reveal| reveal.category == field.category.value && reveal.level != Level::Absent;
        if !written.reveals.iter().any(shown) {
            report.push(
                Draft::warning(
                    &field.category.span,
                    format!(
                        "no purpose reveals category \"{}\", so nobody can see field \"{}\"",
                        field.category.value, field.name.value
                    ),
                )
                .remedy("that is fine for values kept only to be stored; otherwise add it to reveal of a purpose"),
            );
        }
    }
}

fn settings(
    service: Service,
    policy: Option<Arc<Policy>>,
    policy_file: Option<PathBuf>,
    parts: Option<(Arc<dyn Dialect>, Vec<Collection>)>,
    warnings: Findings,
) -> Option<Settings> {
    let (dialect, collections) = parts?;
    let limits = service.limits?;
    let own: HashMap<&CallerName, CallerLimits> = service.callers.limits.iter().map(|(name, limits)| (name, *limits)).collect();
    let limits_of = |name: &CallerName| (name.clone(), own.get(name).copied().unwrap_or(limits.caller));
    let caller_limits = service.callers.entries.iter().map(|(name, _)| limits_of(name)).collect();
    Some(Settings {
        // The caller fills in what was read, and from where.
        file: PathBuf::new(),
        fingerprint: Fingerprint::of(&[]),
        short_hash: String::new(),
        controller: service.controller,
        listen: service.listen?,
        upstream: service.upstream?.config?,
        dialect,
        keys: service.keys.main?,
        other_rings: service.keys.others.into_iter().map(|(_, other)| other).collect::<Option<_>>()?,
        store: service.store?.0,
        audit: service.audit?,
        records: service
            .callers
            .records
            .into_iter()
            .map(|(name, records)| (name, records.into_iter().map(|record| record.value).collect()))
            .collect(),
        callers: Callers::with_issuers(service.callers.entries, service.issuers.issuers).ok()?,
        fetched_keys: service.issuers.fetched,
        issuer_files: service.issuers.files,
        policy: policy?,
        policy_file: policy_file?,
        purposes: 0,
        collections,
        limits,
        caller_limits,
        admin: service.admin?,
        poll: service.poll?,
        log: service.log?,
        otlp: service.otlp.ok()?,
        leak_guard_per_mille: service.leak_guard_per_mille?,
        backups_kept: service.backups_kept?,
        operators: service.operators?,
        purpose_header: service.purpose_header?,
        warnings,
    })
}

fn unreadable(path: &Path, why: &str) -> Finding {
    let shown = path.display().to_string();
    let (message, remedy) = if path.exists() {
        (format!("{shown} cannot be read: {why}"), "name the configuration file with -c FILE")
    } else {
        (format!("there is no file {shown}"), "run `sudare init` to make one with a policy and keys, or name yours with -c FILE")
    };
    bare(shown, message, remedy)
}

/// A reader refused something without a finding: a mistake of ours, and better said than hidden.
fn unexplained(path: &Path) -> Finding {
    bare(
        path.display().to_string(),
        "the configuration cannot be used, and Sudare failed to say why".to_owned(),
        "this is a mistake in Sudare: please report it with both files, without their secrets",
    )
}

fn bare(file: String, message: String, remedy: &str) -> Finding {
    Finding {
        severity: Severity::Error,
        file,
        line: 1,
        column: 1,
        message,
        expected: String::new(),
        remedy: remedy.to_owned(),
        nearest: None,
        excerpt: String::new(),
        caret: 0..0,
    }
}
