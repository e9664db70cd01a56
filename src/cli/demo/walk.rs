//! The walk: each line printed is the outcome of a real request or file read, compared with what it promises.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt as _, Full};
use serde_json::{Value, json};

use super::client::{Answer, As, ask};
use super::{Demo, PERSON};
use crate::app::Running;
use crate::upstream::Outgoing;
use crate::{audit, cli, crypto};

/// Who may see what of the one customer, as `policy.toml` says it; `•` in a text means masked.
pub(super) const VIEWS: [(&str, &str, [&str; 4]); 4] = [
    ("shipping", "delivery", ["Mei Tanaka", "101-0047 Uchikanda", "+81355501234", "••••9018"]),
    ("helpdesk", "support", ["Mei Tanaka", "–", "••••1234", "–"]),
    ("mailer", "marketing", ["M••• T•••", "–", "–", "–"]),
    ("analyst", "statistics", ["psn1_", "101", "–", "–"]),
];

const FIELDS: [&str; 4] = ["name", "address", "phone", "id_card"];

/// Counts promises and says which were not kept.
#[derive(Debug, Default)]
pub(super) struct Promises {
    pub(super) made: usize,
    pub(super) broken: Vec<String>,
}

impl Promises {
    fn that(&mut self, what: impl Into<String>, kept: bool) {
        self.made += 1;
        if !kept {
            self.broken.push(what.into());
        }
    }
}

/// One run through the whole idea.
pub(super) struct Walk<'a> {
    pub(super) demo: &'a Demo,
    pub(super) proxy: &'a Running,
    pub(super) address: SocketAddr,
    pub(super) out: &'a mut dyn Write,
    pub(super) promises: Promises,
}

type Step = Result<(), String>;

fn printed(result: io::Result<()>) -> Step {
    result.map_err(|error| format!("cannot print: {error}"))
}

macro_rules! say {
    ($walk:expr, $($text:tt)*) => { printed(writeln!($walk.out, $($text)*))? };
}

impl Walk<'_> {
    /// All steps in order. An `Err` is a step that could not be taken at all.
    pub(super) async fn run(&mut self) -> Step {
        self.write().await?;
        let stored = self.stored().await?;
        self.read().await?;
        let stored = self.saved(&stored).await?;
        self.refused(&stored).await?;
        self.record().await?;
        self.why()
    }

    async fn ask(
        &self,
        caller: &str,
        purpose: Option<&str>,
        method: Method,
        path: &str,
        body: Option<&str>,
    ) -> Result<Answer, String> {
        ask(self.address, As { credential: self.demo.credential(caller), purpose }, method, path, body).await
    }

    async fn write(&mut self) -> Step {
        say!(self, "1 WRITE   The shop saves a customer as always, plus one header.");
        say!(self, "  POST /customers   Data-Purpose: registration");
        say!(self, "  {PERSON}");
        let answer = self.ask("shop", Some("registration"), Method::POST, "/customers", Some(PERSON)).await?;
        say!(self, "  {} {}\n", answer.status.as_u16(), answer.status.canonical_reason().unwrap_or_default());
        self.promises
            .that(format!("the customer is created (201, got {} {})", answer.status, answer.detail()), answer.status == 201);
        Ok(())
    }

    /// Asks the database itself, not through the proxy.
    async fn database(&self, method: Method, body: Option<&[u8]>) -> Result<Bytes, String> {
        let (parts, ()) = Request::builder()
            .method(method)
            .uri("/customers/c-1")
            .header("content-type", "application/json")
            .body(())
            .map_err(|error| error.to_string())?
            .into_parts();
        let outgoing = body.map_or(Outgoing::Empty, |bytes| {
            Outgoing::Passed(Full::new(Bytes::copy_from_slice(bytes)).map_err(|never| match never {}).boxed_unsync())
        });
        let reply = self.proxy.upstream().send(parts, outgoing).await.map_err(|error| error.to_string())?;
        reply.into_body().collect().await.map(http_body_util::Collected::to_bytes).map_err(|error| error.to_string())
    }

    async fn stored(&mut self) -> Result<Bytes, String> {
        printed(writeln!(self.out, "2 STORED  Read from the database file, not through Sudare."))?;
        let stored = self.database(Method::GET, None).await?;
        let file = std::fs::read(&self.demo.database).map_err(|error| format!("cannot read the database file: {error}"))?;
        printed(writeln!(self.out, "  {}", shortened(&String::from_utf8_lossy(&stored))))?;
        self.promises.that("the document stands in the database file", contains(&file, &stored));
        let document: Value = serde_json::from_slice(&stored).unwrap_or_default();
        for field in FIELDS {
            let sealed = document.get(field).and_then(Value::as_str).is_some_and(|text| text.starts_with("sdr1.x."));
            self.promises.that(format!("{field} is stored sealed"), sealed);
        }
        let person: Value = serde_json::from_str(PERSON).unwrap_or_default();
        let values: Vec<&str> = FIELDS.iter().filter_map(|field| person.get(field)?.as_str()).collect();
        let found = values.iter().filter(|value| spellings(value).iter().any(|form| contains(&file, form))).count();
        let control = spellings("gold").iter().any(|form| contains(&file, form));
        let word = if control { "found" } else { "not found" };
        printed(writeln!(
            self.out,
            "  Searched the file for the {} values (text, base64, hex): {found} found. For unprotected \"gold\": {word}.\n",
            values.len()
        ))?;
        self.promises.that("no protected value stands in the database file", found == 0 && values.len() == 4);
        self.promises.that("the search finds the unprotected control value", control);
        Ok(stored)
    }

    async fn read(&mut self) -> Step {
        say!(self, "3 READ    One record, one URL, four purposes.");
        say!(self, "  {:<10}{:<12}{:<28}{:<20}{:<15}id_card", "caller", "purpose", "name", "address", "phone");
        for (caller, purpose, expected) in VIEWS {
            let answer = self.ask(caller, Some(purpose), Method::GET, "/customers/c-1", None).await?;
            let document = answer.json();
            let shown = FIELDS.map(|field| document.get(field).and_then(Value::as_str).unwrap_or("–").to_owned());
            let [name, address, phone, id_card] = &shown;
            let name_shown = name
                .strip_prefix("psn1_")
                .map_or(name.clone(), |rest| format!("psn1_{}…", rest.chars().take(8).collect::<String>()));
            say!(self, "  {caller:<10}{purpose:<12}{name_shown:<28}{address:<20}{phone:<15}{id_card}");
            for ((field, got), want) in FIELDS.iter().zip(&shown).zip(expected) {
                let kept = if want == "psn1_" { got.len() == 31 && got.starts_with(want) } else { got == want };
                self.promises.that(format!("{caller} for {purpose} sees {field} as {want}, got {got}"), kept);
            }
            let tier = document.get("tier").and_then(Value::as_str) == Some("gold");
            let view = answer.headers.get("data-view").and_then(|view| view.to_str().ok()).unwrap_or_default();
            let no_store = answer.headers.get("cache-control").is_some_and(|value| value == "no-store");
            self.promises
                .that(format!("{caller} sees tier, a Data-View and no-store"), tier && view.contains(purpose) && no_store);
        }
        say!(self, "");
        Ok(())
    }

    /// Returns what is stored then.
    async fn saved(&mut self, stored: &Bytes) -> Result<Bytes, String> {
        printed(writeln!(self.out, "4 SAVED   helpdesk sees half the record and saves it back with one change."))?;
        let mut view = self.ask("helpdesk", Some("support"), Method::GET, "/customers/c-1", None).await?.json();
        if let Some(view) = view.as_object_mut() {
            view.insert("tier".to_owned(), json!("silver"));
        }
        let body = view.to_string();
        printed(writeln!(self.out, "  PUT /customers/c-1   {body}"))?;
        let answer = self.ask("helpdesk", Some("support"), Method::PUT, "/customers/c-1", Some(&body)).await?;
        self.promises
            .that(format!("the partial view is saved (200, got {} {})", answer.status, answer.detail()), answer.status == 200);
        let after = self.database(Method::GET, None).await?;
        let (old, new): (Value, Value) =
            (serde_json::from_slice(stored).unwrap_or_default(), serde_json::from_slice(&after).unwrap_or_default());
        let tier = new.get("tier").and_then(Value::as_str).unwrap_or_default();
        let same: Vec<&str> =
            FIELDS.into_iter().filter(|field| new.get(field).is_some_and(|value| old.get(field) == Some(value))).collect();
        printed(writeln!(self.out, "  stored: tier {tier}; {} exactly as before\n", same.join(", ")))?;
        self.promises.that("the change is stored", tier == "silver");
        self.promises.that("every protected value is stored exactly as before", same == FIELDS);
        Ok(after)
    }

    async fn refused(&mut self, stored: &Bytes) -> Step {
        say!(self, "5 REFUSED Nothing stored, nothing shown.");
        let answer = self.ask("helpdesk", Some("delivery"), Method::GET, "/customers/c-1", None).await?;
        self.refusal("helpdesk asks for \"delivery\"", &answer, 403, "purpose-refused")?;
        let nobody = As { credential: None, purpose: Some("delivery") };
        let answer = ask(self.address, nobody, Method::GET, "/customers/c-1", None).await?;
        self.refusal("nobody known asks for \"delivery\"", &answer, 401, "caller-unknown")?;
        let answer = self.ask("shop", None, Method::GET, "/customers/c-1", None).await?;
        self.refusal("shop has two purposes, declares none", &answer, 403, "purpose-missing")?;
        let body = r#"{"id":"c-1","phone":"+81355509999","tier":"gold"}"#;
        let answer = self.ask("helpdesk", Some("support"), Method::PUT, "/customers/c-1", Some(body)).await?;
        self.refusal("helpdesk writes a new phone", &answer, 403, "not-writable")?;
        let answer = self.ask("shop", Some("registration"), Method::PATCH, "/customers", Some(r#"{"name":"M"}"#)).await?;
        self.refusal("a write nobody mapped (PATCH of a list)", &answer, 403, "route-refused")?;
        let unchanged = self.database(Method::GET, None).await?;
        self.promises.that("the refused writes changed nothing", unchanged == *stored);

        let flipped = flip_one_bit_of_the_name(stored).ok_or("the stored name is no envelope")?;
        self.database(Method::PUT, Some(&flipped)).await?;
        let answer = self.ask("shipping", Some("delivery"), Method::GET, "/customers/c-1", None).await?;
        self.refusal("one bit of the stored name flips", &answer, 500, "value-not-authentic")?;
        self.database(Method::PUT, Some(stored)).await?;
        let answer = self.ask("shipping", Some("delivery"), Method::GET, "/customers/c-1", None).await?;
        self.promises
            .that("the bit flipped back, the name is shown again", answer.json().get("name") == Some(&json!("Mei Tanaka")));
        say!(self, "");
        Ok(())
    }

    fn refusal(&mut self, what: &str, answer: &Answer, status: u16, code: &str) -> Step {
        say!(self, "  {what:<40}{} {}: {}", answer.status.as_u16(), answer.code(), answer.detail());
        let silent = !String::from_utf8_lossy(&answer.body).contains("Tanaka");
        self.promises.that(format!("{what}: {status} {code}, got {} {}", answer.status, answer.code()), {
            answer.status == status && answer.code() == code && silent
        });
        Ok(())
    }

    async fn record(&mut self) -> Step {
        say!(self, "6 RECORD  On disk before each answer left; never a value.");
        // Closing events are not waited for; one more durable event means they are on disk too.
        let _last = self.ask("shipping", Some("delivery"), Method::GET, "/customers/c-1", None).await?;
        let dir = self.demo.audit_dir.as_path();
        let keys = self.demo.audit_keys.as_slice();
        let filter = audit::Filter {
            subject: Some(crate::base::RecordId::from_text("c-1").map_err(|error| error.to_string())?),
            ..Default::default()
        };
        let mut reveals = Vec::new();
        audit::report(dir, keys, &filter, &mut |entry| {
            let reader = VIEWS.iter().any(|(caller, ..)| entry.caller.as_deref() == Some(caller));
            if entry.kind == audit::Kind::Reveal.as_str() && reader {
                reveals.push(entry.clone());
            }
        })
        .map_err(|error| error.to_string())?;
        reveals.truncate(4);
        for event in &reveals {
            say!(self, "  {event}");
        }
        for ((caller, purpose, _), event) in VIEWS.iter().zip(&reveals) {
            self.promises.that(
                format!("the read of {caller} for {purpose} is recorded"),
                event.caller.as_deref() == Some(caller) && event.purpose.as_deref() == Some(purpose),
            );
        }
        self.promises.that("the four reads are recorded", reveals.len() == 4);
        let verified = audit::verify(dir, keys, &audit::Given::default());
        let intact = verified.is_ok();
        let count = verified.map_or(0, |report| report.events);
        let detected = tampering_is_detected(dir, keys).map_err(|error| format!("cannot copy the audit log: {error}"))?;
        let chain = if intact { "chain intact" } else { "CHAIN BROKEN" };
        let flipped = if detected { "detected" } else { "NOT DETECTED" };
        say!(self, "  {count} events, {chain}. One byte of event 3 flipped in a copy: {flipped}.\n");
        self.promises.that("the audit log verifies", intact && count >= 9);
        self.promises.that("one flipped byte is detected", detected);
        let mut log = Vec::new();
        for entry in std::fs::read_dir(dir).map_err(|error| error.to_string())?.flatten() {
            log.extend(std::fs::read(entry.path()).unwrap_or_default());
        }
        let silent = ["Tanaka", "Uchikanda", "+81355501234", "123456789018"]
            .iter()
            .all(|value| spellings(value).iter().all(|form| !contains(&log, form)));
        self.promises.that("no value stands in the audit log", silent && contains(&log, b"shipping"));
        Ok(())
    }

    fn why(&mut self) -> Step {
        say!(self, "7 WHY     $ sudare policy explain --caller helpdesk --purpose support");
        let mut text = Vec::new();
        let policy = Arc::clone(&self.demo.policy);
        let options = cli::policy::ExplainOptions {
            file: "policy.toml",
            caller: Some("helpdesk"),
            purpose: Some("support"),
            facts: &[],
            age: None,
            holds: &[],
            format: cli::policy::Format::Table,
        };
        cli::policy::explain(&policy, &options, &mut text).map_err(|error| error.to_string())?;
        let text = String::from_utf8_lossy(&text).into_owned();
        for line in text.lines() {
            say!(self, "  {line}");
        }
        say!(self, "");
        self.promises
            .that("the explanation names the rule and its line", text.contains("policy.toml:") && text.contains("phone"));
        Ok(())
    }
}

/// Text, base64 (three alignments) and hex of a value.
fn spellings(value: &str) -> Vec<Vec<u8>> {
    let bytes = value.as_bytes();
    let mut forms = vec![bytes.to_vec(), hex(bytes, false), hex(bytes, true)];
    for shift in 0..3 {
        let mut padded = vec![0; shift];
        padded.extend_from_slice(bytes);
        // Only the characters that depend on nothing but the value.
        let text = crypto::base64url(&padded);
        let from = (shift * 8).div_ceil(6);
        let to = padded.len() * 8 / 6;
        forms.extend(text.get(from..to).map(|inner| inner.as_bytes().to_vec()));
    }
    forms.retain(|form| form.len() >= 4);
    forms
}

fn hex(bytes: &[u8], upper: bool) -> Vec<u8> {
    bytes.iter().flat_map(|byte| if upper { format!("{byte:02X}") } else { format!("{byte:02x}") }.into_bytes()).collect()
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    memchr::memmem::find(bytes, wanted).is_some()
}

/// Envelopes cut to their first characters, so that a line stays readable.
fn shortened(document: &str) -> String {
    let mut out = String::new();
    for (at, part) in document.split("\"sdr1.").enumerate() {
        if at == 0 {
            out.push_str(part);
            continue;
        }
        let (envelope, rest) = part.split_once('"').unwrap_or((part, ""));
        out.push_str("\"sdr1.");
        out.extend(envelope.chars().take(15));
        out.push_str("…\"");
        out.push_str(rest);
    }
    out
}

/// The stored document with one bit of the name's payload flipped.
fn flip_one_bit_of_the_name(stored: &Bytes) -> Option<Vec<u8>> {
    let marker = b"\"name\":\"sdr1.x.";
    let at = memchr::memmem::find(stored, marker)? + marker.len() + 60;
    let mut flipped = stored.to_vec();
    let digit = flipped.get_mut(at)?;
    // Neighbours in the base64url alphabet differ in one bit.
    *digit = if *digit == b'A' { b'B' } else { b'A' };
    Some(flipped)
}

/// Copies the log, flips one byte of its third event, and tells whether the proof fails.
fn tampering_is_detected(dir: &Path, keys: &[audit::Key]) -> io::Result<bool> {
    let copy = tempfile::tempdir()?;
    for entry in std::fs::read_dir(dir)?.flatten() {
        if entry.path().is_file() {
            std::fs::copy(entry.path(), copy.path().join(entry.file_name()))?;
        }
    }
    let segment = std::fs::read_dir(copy.path())?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|ext| ext == "jsonl"))
        .min()
        .ok_or(io::ErrorKind::NotFound)?;
    let mut bytes = std::fs::read(&segment)?;
    let third = memchr::memchr_iter(b'\n', &bytes).nth(2).unwrap_or(0);
    if let Some(byte) = bytes.get_mut(third + 20) {
        *byte ^= 1;
    }
    std::fs::write(&segment, bytes)?;
    Ok(audit::verify(copy.path(), keys, &audit::Given::default()).is_err())
}
