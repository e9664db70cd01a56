//! Reads the `[[test]]` tables of a policy: what is asked, under which facts, and what must come out.

use super::super::names::check_dpv;
use super::super::report::{Draft, Report};
use super::super::tree::{Section, Text, shorten};
use super::rules::{always, known_facts};
use super::{KINDS, SOURCES, Written, categories, known_category, line, read_levels, without_repeats};
use crate::base::{CallerName, CategoryName, PurposeName};
use crate::purpose::{Ask, Forbidden, TestSpec, Under};

/// `[[test]]`.
pub(super) fn read_tests(root: &Section<'_>, written: &mut Written) {
    let Some(node) = root.optional("test") else { return };
    let report = root.report();
    for node in node.items("[[test]] as a header, once for each test").unwrap_or_default() {
        let Some(entry) = node.table_named("[[test]]") else { continue };
        let name = entry.required("name", "name = \"what the test shows\"").and_then(|node| node.text());
        let promises = entry.has("always") || entry.has("forbidden");
        let example = "ask = { caller = \"…\", purpose = \"…\" }";
        let ask = if promises { entry.optional("ask") } else { entry.required("ask", example) };
        let asks = ask.is_some();
        let asked = ask.and_then(|node| node.table()).and_then(|ask| read_ask(&ask, written));
        let others = ["search", "writes", "required", "scope", "source"].iter().any(|key| entry.has(key));
        let expect =
            if promises || others { entry.optional("expect") } else { entry.required("expect", "expect = { name = \"clear\" }") };
        let expect = expect.and_then(|node| node.table());
        let expected = expect.as_ref().map_or(0, |table| table.entries().len());
        let expect = expect.map(|table| read_levels(&table, written)).unwrap_or_default();
        let list = |key, written: &Written| entry.optional(key).map(|node| categories(&node, written));
        let (search, writes, required) = (list("search", written), list("writes", written), list("required", written));
        let scope = entry.optional("scope").and_then(|node| node.text()).map(|text| text.value);
        let source = entry.optional("source").and_then(|node| node.word(SOURCES)).map(str::to_owned);
        let words = entry.optional("always").and_then(|node| node.texts()).unwrap_or_default();
        let always = words.iter().filter_map(|word| always(report, word)).collect();
        let forbidden = entry.optional_table("forbidden").map(|table| read_forbidden(&table, written));
        entry.finish();
        let at = line(report, &entry.span);
        if expect.list.len() < expected {
            written.said.push(at);
        }
        written.tests.push((at, entry.extent()));
        if asks && asked.is_none() {
            continue;
        }
        let ask = asked.map(|(caller, ask)| {
            written.callers.push(caller);
            ask
        });
        if let Some(name) = name {
            let (name, expect) = (name.value, expect.list);
            let test = TestSpec { name, line: at, ask, expect, search, writes, required, scope, source, always, forbidden };
            written.spec.tests.push(test);
        }
    }
}

fn read_ask(ask: &Section<'_>, written: &Written) -> Option<(Text, Ask)> {
    let report = ask.report();
    let caller = ask.required("caller", "caller = \"…\"").and_then(|node| node.text());
    let under = if ask.has("exception") { read_exception(ask, written) } else { read_purpose(ask, written) };
    // The other form's keys are known, and wrong here.
    let others: &[&'static str] =
        if ask.has("exception") { &["purpose", "holds"] } else { &["categories", "evidence", "approvers", "hours"] };
    let mut mixed = false;
    for key in others {
        if let Some(node) = ask.optional(key) {
            let form = if ask.has("exception") { "under an exception" } else { "for a purpose" };
            mixed = true;
            report.push(
                Draft::error(&node.span, format!("`{key}` does not belong to a question {form}")).remedy(
                    "ask for a purpose (with holds), or under an exception (with categories, evidence, approvers, hours)",
                ),
            );
        }
    }
    let facts = ask.optional("facts").map(|node| known_facts(&node, written)).unwrap_or_default();
    let age = ask.optional("age").and_then(|node| node.integer(0..=120, "years")).and_then(|years| u8::try_from(years).ok());
    ask.finish();
    let caller = caller.filter(|_| !mixed)?;
    let ask = Ask { caller: CallerName::new(&caller.value), under: under?, facts, age };
    Some((caller, ask))
}

fn read_purpose(ask: &Section<'_>, written: &Written) -> Option<Under> {
    let purpose = ask.required("purpose", "purpose = \"…\"").and_then(|node| node.text());
    let holds = ask.optional("holds").map(|node| categories(&node, written));
    let purpose = purpose.filter(|purpose| known_purpose(ask.report(), purpose, written))?;
    Some(Under::Purpose { purpose: PurposeName::new(&purpose.value), holds })
}

fn read_exception(ask: &Section<'_>, written: &Written) -> Option<Under> {
    let report = ask.report();
    let exception = ask.optional("exception").and_then(|node| node.text());
    let listed = ask.required("categories", "categories = [\"name\"]").map(|node| categories(&node, written));
    let evidence = ask.optional("evidence").and_then(|node| node.texts()).unwrap_or_default();
    let evidence = without_repeats(report, evidence, "word");
    let approvers = ask.optional("approvers").and_then(|node| node.integer(0..=9, ""));
    let hours = ask.optional("hours").and_then(|node| node.integer(0..=24 * 366, "hours"));
    let exception = exception.filter(|exception| {
        let names: Vec<&str> = written.spec.exceptions.iter().map(|known| known.name.as_str()).collect();
        let known = names.contains(&exception.value.as_str()) || report.source.has_lost(&exception.value);
        if !known {
            let remedy = format!("use one of: {}", names.join(", "));
            report.push(
                Draft::error(&exception.span, format!("there is no exception \"{}\"", shorten(&exception.value)))
                    .near(&exception.value, names)
                    .remedy(remedy),
            );
        }
        known
    })?;
    Some(Under::Exception {
        exception: exception.value,
        categories: listed?,
        evidence: evidence.into_iter().map(|word| word.value).collect(),
        approvers: approvers.and_then(|count| u8::try_from(count).ok()).unwrap_or(0),
        hours: hours.and_then(|hours| u32::try_from(hours).ok()).unwrap_or(0),
    })
}

fn read_forbidden(table: &Section<'_>, written: &Written) -> Forbidden {
    let report = table.report();
    let purpose = table.optional("purpose").and_then(|node| node.text());
    let purpose = purpose.filter(|id| check_dpv(report, id, "dpv:SellDataToThirdParties"));
    let recipient = table.optional("recipient").and_then(|node| node.word(KINDS));
    let category = table.optional("category").and_then(|node| node.text());
    let category = category.filter(|name| known_category(report, name, written));
    table.finish();
    Forbidden {
        purpose: purpose.map(|id| id.value),
        recipient: recipient.map(str::to_owned),
        category: category.map(|name| CategoryName::new(&name.value)),
    }
}

/// Reports a purpose that does not exist.
pub(super) fn known_purpose(report: &Report<'_>, purpose: &Text, written: &Written) -> bool {
    let known = written.purposes.iter().any(|name| name.value == purpose.value);
    if !known && written.purposes_known && !report.source.has_lost(&purpose.value) {
        let names: Vec<&str> = written.purposes.iter().map(|name| name.value.as_str()).collect();
        let remedy = format!("use one of: {}", names.join(", "));
        report.push(
            Draft::error(&purpose.span, format!("there is no purpose \"{}\"", shorten(&purpose.value)))
                .near(&purpose.value, names)
                .remedy(remedy),
        );
    }
    known
}
