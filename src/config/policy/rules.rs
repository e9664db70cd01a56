//! Reads what a policy narrows, forbids, promises and opens: `[fact]`, `[age]`, `[limit]`, `[never]`, `[always]`, `[exception]`, and what
//! purposes and recipients ask of a data subject.

use super::super::names::{check_dpv, check_name};
use super::super::report::{Draft, Report};
use super::super::tree::{Node, Section, Text, shorten};
use super::{KINDS, Written, categories, clauses, line, read_levels, without_repeats};
use crate::base::{CallerName, PurposeName};
use crate::purpose::{
    AgeSpec, Always, AlwaysSpec, Consent, ExceptionSpec, FactSpec, FactTable, LimitSpec, Line, NeverSpec, Opens, Tell, Terms,
    facts,
};

/// `[fact]` and `[age]`.
pub(super) fn read_facts(root: &Section<'_>, written: &mut Written) {
    let report = root.report();
    for (name, node) in root.optional_table("fact").iter().flat_map(Section::entries) {
        check_name(report, &name, "a fact");
        let means = node.text().map(|text| text.value).unwrap_or_default();
        written.spec.facts.push(FactSpec { name: name.value.clone(), line: line(report, &name.span), means });
    }
    for (name, node) in root.optional_table("age").iter().flat_map(Section::entries) {
        check_name(report, &name, "a fact");
        let Some(entry) = node.table_named(format!("age `{}`", shorten(&name.value))) else { continue };
        let under = entry.required("under", "under = 18").and_then(|node| node.integer(1..=120, "years"));
        let clauses = clauses(&entry, written);
        entry.finish();
        let under = under.and_then(|years| u8::try_from(years).ok()).unwrap_or(18);
        written.spec.ages.push(AgeSpec { name: name.value.clone(), line: line(report, &name.span), under, clauses });
    }
}

/// `consent` and `needs`.
pub(super) fn terms(entry: &Section<'_>, written: &mut Written) -> Terms {
    let report = entry.report();
    let words = [("none", Consent::None), ("opt-in", Consent::OptIn), ("opt-out", Consent::OptOut)];
    let consent_node = entry.optional("consent");
    let consent = consent_node.as_ref().and_then(|node| node.word(&words)).unwrap_or_default();
    let needs_node = entry.optional("needs");
    let needs = needs_node.as_ref().map(|node| known_facts(node, written)).unwrap_or_default();
    let consent_line = consent_node.map_or(0, |node| line(report, &node.span));
    Terms { consent, consent_line, needs, since: None }
}

/// `since` of a purpose.
pub(super) fn since(entry: &Section<'_>) -> Option<(u64, Line)> {
    let node = entry.optional("since")?;
    let version = node.integer(2..=u64::MAX >> 1, "")?;
    Some((version, line(entry.report(), &node.span)))
}

/// A list of facts, or one; what is not known is reported and left out.
pub(super) fn known_facts(node: &Node<'_>, written: &Written) -> Vec<(String, Line)> {
    let report = node.report();
    let texts = if node.is_text() { node.text().into_iter().collect() } else { node.texts().unwrap_or_default() };
    let texts = without_repeats(report, texts, "fact");
    let known = texts.into_iter().filter(|text| known_fact(report, text, written));
    known.map(|text| (text.value.clone(), line(report, &text.span))).collect()
}

fn known_fact(report: &Report<'_>, name: &Text, written: &Written) -> bool {
    let told = name.value.strip_prefix(facts::TOLD).is_some_and(|version| version.parse::<u64>().is_ok());
    let table = FactTable::of(&written.spec);
    if told || table.id(&name.value).is_some() || report.source.has_lost(&name.value) {
        return true;
    }
    let names: Vec<&str> = table.names().collect();
    report.push(
        Draft::error(&name.span, format!("there is no fact \"{}\"", shorten(&name.value)))
            .near(&name.value, names.iter().copied())
            .remedy(format!("declare it under [fact], or use one of: {}", names.join(", "))),
    );
    false
}

/// `[limit.*]`.
pub(super) fn read_limits(root: &Section<'_>, written: &mut Written) {
    let report = root.report();
    for (name, node) in root.optional_table("limit").iter().flat_map(Section::entries) {
        let named = check_name(report, &name, "a limit");
        let Some(entry) = node.table_named(format!("[limit.{}]", shorten(&name.value))) else { continue };
        let before = report.errors();
        let facts = |key, written: &Written| entry.optional(key).map(|node| known_facts(&node, written)).unwrap_or_default();
        let (when, unless) = (facts("when", written), facts("unless", written));
        let purposes = entry.optional("purposes").map(|node| purposes(&node, written)).unwrap_or_default();
        let except = entry.optional("except").map(|node| purposes_of(&node, written)).unwrap_or_default();
        let at_most = entry.required("at_most", "at_most = { \"*\" = \"absent\" }").and_then(|node| node.table());
        let at_most = at_most.map(|table| read_levels(&table, written)).unwrap_or_default();
        let clauses = clauses(&entry, written);
        entry.finish();
        let at = line(report, &name.span);
        if report.errors() > before {
            written.said.push(at);
        }
        written.caps.extend(super::reveals(&format!("limit \"{}\"", shorten(&name.value)), at_most.each));
        if named {
            let name = name.value.clone();
            written.spec.limits.push(LimitSpec {
                name,
                line: at,
                when,
                unless,
                purposes,
                except,
                at_most: at_most.list,
                clauses,
            });
        }
    }
}

fn purposes(node: &Node<'_>, written: &Written) -> Vec<(PurposeName, Line)> {
    purposes_of(node, written)
}

fn purposes_of(node: &Node<'_>, written: &Written) -> Vec<(PurposeName, Line)> {
    let report = node.report();
    let names = without_repeats(report, node.texts().unwrap_or_default(), "purpose");
    let known = names.iter().filter(|name| super::asked::known_purpose(report, name, written));
    known.map(|name| (PurposeName::new(&name.value), line(report, &name.span))).collect()
}

/// `[never]`.
pub(super) fn read_nevers(root: &Section<'_>, written: &mut Written) {
    let Some(table) = root.optional_table("never") else { return };
    let report = root.report();
    for (name, node) in table.entries() {
        let named = check_name(report, &name, "a rule");
        let before = report.errors();
        let Some(entry) = node.table_named(format!("never `{}`", shorten(&name.value))) else { continue };
        let others = entry.has("categories") || entry.has("recipients");
        let example = "purposes = [\"dpv:SellDataToThirdParties\"]";
        let purposes = if others { entry.optional("purposes") } else { entry.required("purposes", example) };
        let purposes = purposes.and_then(|node| node.texts()).unwrap_or_default();
        let recipients = entry.optional("recipients").map(|node| kinds(&node)).unwrap_or_default();
        let closed = entry.optional("categories").map(|node| categories(&node, written)).unwrap_or_default();
        let clauses = clauses(&entry, written);
        entry.finish();
        let at = line(report, &name.span);
        written.ids.extend(purposes.iter().map(|id| (at, id.clone())));
        let asked = purposes.len();
        let purposes: Vec<String> =
            purposes.into_iter().filter(|id| check_dpv(report, id, "dpv:SellDataToThirdParties")).map(|id| id.value).collect();
        if (purposes.is_empty() && asked > 0) || report.errors() > before {
            // Why it names nothing has been said.
            written.said.push(at);
        }
        if named {
            let name = name.value.clone();
            written.spec.nevers.push(NeverSpec { name, line: at, purposes, recipients, categories: closed, clauses });
        }
    }
}

fn kinds(node: &Node<'_>) -> Vec<String> {
    let items = node.items("[\"third-party\"]").unwrap_or_default();
    items.iter().filter_map(|item| item.word(KINDS)).map(str::to_owned).collect()
}

/// `[always]`.
pub(super) fn read_always(root: &Section<'_>, written: &mut Written) {
    let report = root.report();
    for (name, node) in root.optional_table("always").iter().flat_map(Section::entries) {
        let what = always(report, &name);
        let Some(entry) = node.table_named(format!("always `{}`", shorten(&name.value))) else { continue };
        let clauses = clauses(&entry, written);
        entry.finish();
        if let Some(what) = what {
            written.always.push((what, name.span.clone()));
            written.spec.always.push(AlwaysSpec { what, line: line(report, &name.span), clauses });
        }
    }
}

/// One of the words that can be promised for everything.
pub(super) fn always(report: &Report<'_>, name: &Text) -> Option<Always> {
    let found = Always::ALL.into_iter().find(|what| what.as_str() == name.value);
    if found.is_none() {
        let words: Vec<&str> = Always::ALL.iter().map(|what| what.as_str()).collect();
        let remedy = format!("use one of: {}", words.join(", "));
        report.push(
            Draft::error(&name.span, format!("\"{}\" is nothing that can always be kept", shorten(&name.value)))
                .near(&name.value, words)
                .remedy(remedy),
        );
    }
    found
}

/// `[exception.*]`.
pub(super) fn read_exceptions(root: &Section<'_>, written: &mut Written) {
    let report = root.report();
    for (name, node) in root.optional_table("exception").iter().flat_map(Section::entries) {
        let named = check_name(report, &name, "an exception");
        let Some(entry) = node.table_named(format!("[exception.{}]", shorten(&name.value))) else { continue };
        let before = report.errors();
        let opens = [("disclosure", Opens::Disclosure), ("collection", Opens::Collection)];
        let opens = entry.optional("opens").and_then(|node| node.word(&opens)).unwrap_or_default();
        let dpv = entry.optional("dpv").and_then(|node| node.text()).filter(|id| check_dpv(report, id, "dpv:LegalCompliance"));
        let callers = entry.required("callers", "callers = [\"legal\"]").and_then(|node| node.texts()).unwrap_or_default();
        let callers = without_repeats(report, callers, "caller");
        let reveal = entry.required("reveal", "reveal = { \"*\" = \"clear\" }").and_then(|node| node.table());
        let reveal = reveal.map(|table| read_levels(&table, written)).unwrap_or_default();
        let evidence = entry.required("evidence", "evidence = [\"case-number\", \"law\"]").and_then(|node| node.texts());
        let approvers = entry.required("approvers", "approvers = 2").and_then(|node| node.integer(1..=9, ""));
        let ttl = entry.required("ttl", "ttl = \"72h\"").and_then(|node| node.text()).and_then(|text| hours(report, &text));
        let tells = [("before", Tell::Before), ("after", Tell::After), ("withheld", Tell::Withheld)];
        let tell = entry.required("tell_subject", "tell_subject = \"after\"").and_then(|node| node.word(&tells));
        let clauses = clauses(&entry, written);
        entry.finish();
        let at = line(report, &name.span);
        if report.errors() > before {
            written.said.push(at);
        }
        written.ids.extend(dpv.iter().map(|id| (at, id.clone())));
        written.caps.extend(super::reveals(&format!("exception \"{}\"", shorten(&name.value)), reveal.each));
        if let Some(approvers) = approvers.and_then(|count| u8::try_from(count).ok()) {
            written.exceptions.push((name.span.clone(), name.value.clone(), approvers));
        }
        if named {
            written.spec.exceptions.push(ExceptionSpec {
                name: name.value.clone(),
                line: at,
                opens,
                dpv: dpv.map(|id| id.value),
                callers: callers.iter().map(|caller| CallerName::new(&caller.value)).collect(),
                reveal: reveal.list,
                evidence: evidence.unwrap_or_default().into_iter().map(|word| word.value).collect(),
                approvers: approvers.and_then(|count| u8::try_from(count).ok()).unwrap_or(1),
                ttl_hours: ttl.unwrap_or(1),
                tell_subject: tell.unwrap_or_default(),
                clauses,
            });
        }
        written.callers.extend(callers);
    }
}

/// `72h` or `30d`, at most a year.
fn hours(report: &Report<'_>, text: &Text) -> Option<u32> {
    let times = |unit, hours: u32| text.value.strip_suffix(unit)?.parse::<u32>().ok()?.checked_mul(hours);
    let found = times('h', 1).or_else(|| times('d', 24)).filter(|hours| (1..=24 * 366).contains(hours));
    if found.is_none() {
        report.push(
            Draft::error(&text.span, format!("\"{}\" is no time for which an exception may be open", shorten(&text.value)))
                .expected("hours or days, 1h to 366d")
                .remedy("write it like \"72h\" or \"30d\""),
        );
    }
    found
}
