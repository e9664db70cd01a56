//! Whole runs: what goes in comes out again, whatever the windows, the threads and the places where a run is broken off.

use std::fs;
use std::io::{BufReader, Cursor, Write as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::base::{Bind, CategoryName, CollectionName, Controller, FieldName, FieldPlace, Kid, RingName};
use crate::document::Selector;
use crate::field::{self, Field, Mask, OnBadValue, Subject};
use crate::keys::{KeyRing, LineName, State};
use crate::purpose::CategoryId;

fn ring() -> KeyRing {
    let kid: Kid = "7k3m9qpa".parse().unwrap();
    KeyRing::with_versions(Controller::new("shop"), vec![(LineName::Seal, kid, State::Active, [1; 32])])
}

fn collection() -> field::Collection {
    let field = |name: &str, at: &str, seal_null| Field {
        name: FieldName::new(name),
        at: Selector::parse(at).unwrap(),
        place: FieldPlace {
            controller: Controller::new("shop"),
            collection: CollectionName::new("customers"),
            field: FieldName::new(name),
        },
        ring: RingName::main(),
        category: CategoryId(0),
        category_name: CategoryName::new(name),
        mask: Mask::All,
        generalise: None,
        protection: field::Protection::Seal,
        pad: 32,
        seal_null,
        subject: None,
        indexes: Vec::new(),
    };
    field::Collection {
        name: CollectionName::new("customers"),
        bind: Bind::Subject,
        strict: true,
        on_bad_value: OnBadValue::Refuse,
        id: Selector::parse("$.id").unwrap(),
        subject: Subject::DocumentId,
        fields: vec![field("name", "$.name", false), field("phone", "$.phones[*]", true)],
    }
}

fn sealing() -> Work {
    Work::seal(collection(), ring()).unwrap()
}

fn opening() -> Work {
    Work::open(collection(), ring()).unwrap()
}

/// Remembers bad lines; records by an audit log in a folder; may break off at a window as a killed process would.
#[derive(Default)]
struct Tester {
    bad: Vec<String>,
    dies_at: Option<u64>,
    report: Option<fs::File>,
    audit: Option<(tempfile::TempDir, crate::audit::Log, tokio::runtime::Runtime)>,
    windows: u64,
}

impl Tester {
    fn recording() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = crate::audit::Config {
            dir: folder.path().join("audit"),
            controller: Controller::new("shop"),
            durable_timeout: std::time::Duration::from_secs(30),
            segment_bytes: 1 << 20,
            checkpoint_every: std::time::Duration::from_mins(1),
        };
        let key = crate::crypto::MacKey::new(&crate::crypto::Secret::from_bytes([7; 32]));
        let signer = crate::crypto::SigningKey::new(&crate::crypto::Secret::from_bytes([8; 32]));
        let keys = vec![("7k3m9qpb".parse().unwrap(), std::sync::Arc::new(key), std::sync::Arc::new(signer))];
        let log = crate::audit::Log::open(&config, keys, std::sync::Arc::new(crate::base::SystemClock)).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { audit: Some((folder, log, runtime)), ..Self::default() }
    }
}

impl Watch for Tester {
    fn bad(&mut self, line: u64, error: &LineError) -> Result<u64, BatchError> {
        let text = format!("{line}: {}\n", error.code());
        self.bad.push(text.trim_end().to_owned());
        if let Some(report) = &mut self.report {
            report.write_all(text.as_bytes()).unwrap();
            return Ok(count(&text));
        }
        Ok(0)
    }

    fn record(&mut self, tally: &Tally, subjects: Vec<RecordId>) -> Result<Recorded, BatchError> {
        let (_, log, runtime) = self.audit.as_ref().expect("only opening is recorded");
        let mut event = crate::audit::Event::new(crate::audit::Kind::Reveal, 1);
        event.subjects = subjects;
        event.shown = tally.shown.iter().map(|(_, level, count)| (CategoryName::new("x"), *level, *count)).collect();
        Ok(runtime.block_on(log.record(event))?)
    }

    fn moved(&mut self, _done: &Done) {
        self.windows += 1;
        assert!(self.dies_at != Some(self.windows), "killed");
    }
}

fn documents(count: u32) -> String {
    (0..count).map(|n| format!("{{\"id\":{n},\"name\":\"N{n}\"}}")).collect::<Vec<_>>().join("\n") + "\n"
}

fn count(bytes: impl AsRef<[u8]>) -> u64 {
    u64::try_from(bytes.as_ref().len()).unwrap()
}

/// A whole run in memory.
fn through(work: &Work, input: &[u8], window: usize, tester: &mut Tester) -> (Vec<u8>, Done) {
    let mut lines = Lines::new(Cursor::new(input), "test".into()).in_windows_of(window);
    let mut out = Vec::new();
    let done = run(work, &mut lines, &mut Stream(&mut out), tester, Done::default()).unwrap();
    (out, done)
}

#[test]
fn lines_go_in_and_come_out_the_same() {
    let input = "{\"id\":\"a\",\"name\":\"Ann\"}\r\n\n  {\"id\": 7, \"phones\":[null, 1.0]} \n{\"id\":\"c\",\"x\":1}";
    let (sealed, done) = through(&sealing(), input.as_bytes(), 4096, &mut Tester::default());
    assert_eq!((done.lines, done.values, done.kept, done.bad), (4, 3, 0, 0));
    assert_eq!((done.bytes_in, done.bytes_out), (count(input), count(&sealed)));
    let text = String::from_utf8(sealed.clone()).unwrap();
    assert!(
        text.contains("\r\n\n  {\"id\": 7, \"phones\":[\"sdr1.x.") && text.ends_with("\"]} \n{\"id\":\"c\",\"x\":1}"),
        "{text}"
    );
    assert!(!text.contains("Ann"));
    let (again, done) = through(&sealing(), &sealed, 4096, &mut Tester::default());
    assert_eq!((again == sealed, done.values, done.kept), (true, 0, 3), "sealing twice changes nothing");
    let (opened, done) = through(&opening(), &sealed, 4096, &mut Tester::recording());
    assert_eq!((String::from_utf8(opened).unwrap(), done.values), (input.to_owned(), 3));
}

#[test]
fn a_bad_line_is_left_out_and_told_by_its_number() {
    let good = "{\"id\":\"a\",\"name\":\"Ann\"}\n";
    let long = format!("{{\"id\":\"l\",\"name\":\"{}\"}}\n", "x".repeat(5 << 20));
    let bad = [
        "{\"id\":\"a\",\"name\":\"Bob\",\"name\":\"Canary\"}\n",
        "not json Canary\n",
        "[{\"id\":\"a\",\"name\":\"Canary\"}]\n",
        "{\"name\":\"Canary\"}\n",
        "{\"id\":\"a\",\"name\":\"sdr1.x.Canary\"}\n",
        "{\"id\":\"a\",\"phones\":\"Canary\"}\n",
        "{\"id\":\"a\",\"name\":\"Can•ary\"}\n",
        "{\"id\":1.5,\"name\":\"Canary\"}\n",
        "\"Canary\"\n",
    ];
    let codes = [
        "malformed-json",
        "malformed-json",
        "no-document",
        "subject-missing",
        "foreign-envelope",
        "misfit",
        "masked-value",
        "id-malformed",
        "no-document",
        "too-large",
    ];
    let mut input = String::new();
    for line in bad.iter().copied().chain([long.as_str()]) {
        input += line;
        input += good;
    }
    for window in [1, 3, 4096] {
        let mut tester = Tester::default();
        let (out, done) = through(&sealing(), input.as_bytes(), window, &mut tester);
        let expected: Vec<String> = (0..).zip(codes).map(|(at, code)| format!("{}: {code}", at * 2 + 1)).collect();
        assert_eq!(tester.bad, expected);
        assert_eq!((done.lines, done.bad, done.values, done.bytes_in), (20, 10, 10, count(&input)));
        let out = String::from_utf8(out).unwrap();
        assert_eq!((out.lines().count(), out.contains("Canary")), (10, false));
    }
    for error in bad.map(|line| {
        let lines = Lines::new(Cursor::new(line), "test".into()).window().unwrap();
        sealing().window(&lines, 1).unwrap().bad.remove(0).1.to_string()
    }) {
        assert!(!error.contains("Canary"), "{error}");
    }
}

#[test]
fn order_is_kept_on_many_threads() {
    let input = documents(5000);
    let lines = Lines::new(Cursor::new(&input), "test".into()).in_windows_of(5000).window().unwrap();
    let sealed = sealing().window(&lines, 7).unwrap();
    let (opened, _) = through(&opening(), &sealed.out, 4096, &mut Tester::recording());
    assert!(opened == input.as_bytes());
}

#[test]
fn opening_without_a_record_passes_nothing_on() {
    let (sealed, _) = through(&sealing(), b"{\"id\":\"a\",\"name\":\"Ann\"}\n", 10, &mut Tester::default());
    let mut lines = Lines::new(Cursor::new(&sealed), "test".into());
    let mut out = Vec::new();
    let mut tester = Tester::recording();
    let (_, log, runtime) = tester.audit.as_ref().unwrap();
    runtime.block_on(log.close());
    let refused = run(&opening(), &mut lines, &mut Stream(&mut out), &mut tester, Done::default());
    assert!(matches!(refused, Err(BatchError::Audit(_))) && out.is_empty());
}

/// One attempt at a run of files; `None` if it was killed.
fn attempt(folder: &Path, work: &Work, resume: bool, window: usize, dies_at: Option<u64>, always: bool) -> Option<Done> {
    let (input, out, report) = (folder.join("in"), folder.join("out"), folder.join("bad"));
    let mut source = BufReader::new(fs::File::open(&input).unwrap());
    let begun = Files::begin(&out, Some((&input, &mut source)), Some(&report), work, resume).unwrap();
    let mut files = begun.files;
    if always {
        files.save_always();
    }
    let mut tester = Tester { dies_at, report: files.report().unwrap(), ..Tester::default() };
    let mut lines = Lines::new(source, "in".into()).in_windows_of(window);
    let ended = catch_unwind(AssertUnwindSafe(|| run(work, &mut lines, &mut files, &mut tester, begun.done).unwrap()));
    let done = ended.ok()?;
    files.finish(&done).unwrap();
    Some(done)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Killed at any windows and continued, a run gives what one run gives: opened, the input without its bad lines.
    #[test]
    fn a_run_that_is_broken_off_anywhere_comes_to_the_same(
        kinds in prop::collection::vec(0..6, 1..40),
        window in 1..7_usize,
        deaths in prop::collection::vec((1..8_u64, any::<bool>(), any::<bool>()), 0..4),
    ) {
        let line = |(number, kind): (usize, &i32)| match kind {
            0 => format!("{{\"id\":{number},\"name\":\"Ann {number}\",\"phones\":[\"{number}\",null]}}\n"),
            1 => "\n".to_owned(),
            2 => format!("{{\"id\":{number},\"nothing\":\"\u{e9}\"}}\r\n"),
            3 => format!("{{\"name\":\"nobody {number}\"}}\n"),
            4 => format!("not json {number}\n"),
            _ => format!(" {{ \"name\" : {{ \"n\" : {number}.0 }}, \"id\" : \"x{number}\" }} \n"),
        };
        let all: Vec<String> = kinds.iter().enumerate().map(line).collect();
        let good: String = all.iter().zip(&kinds).filter(|(_, kind)| !matches!(kind, 3 | 4)).map(|(line, _)| line.as_str()).collect();
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("in"), all.concat()).unwrap();
        let work = sealing();
        let mut done = None;
        for (count, (dies_at, always, tail)) in deaths.into_iter().enumerate() {
            done = attempt(folder.path(), &work, count > 0, window, Some(dies_at), always);
            if done.is_some() {
                break;
            }
            if tail {
                // Written, but not yet vouched for.
                let mut part = fs::OpenOptions::new().append(true).open(folder.path().join("out.part")).unwrap();
                part.write_all(b"{\"id\":\"half a li").unwrap();
            }
        }
        let begun = folder.path().join("out.part").exists();
        let done = done.or_else(|| attempt(folder.path(), &work, begun, window, None, false)).unwrap();
        prop_assert_eq!(done.lines, u64::try_from(kinds.len()).unwrap());
        let sealed = fs::read(folder.path().join("out")).unwrap();
        prop_assert_eq!(done.bytes_out, count(&sealed));
        let (opened, _) = through(&opening(), &sealed, 5, &mut Tester::recording());
        prop_assert_eq!(String::from_utf8(opened).unwrap(), good);
        let report = fs::read_to_string(folder.path().join("bad")).unwrap();
        prop_assert_eq!(u64::try_from(report.lines().count()).unwrap(), done.bad);
        prop_assert!(!folder.path().join("out.progress").exists() && !folder.path().join("out.part").exists());
    }
}

#[test]
fn only_the_report_of_this_very_run_is_cut_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("in"), documents(9)).unwrap();
    assert!(attempt(folder.path(), &sealing(), false, 2, Some(2), true).is_none());
    fs::write(path("notes"), "somebody else's").unwrap();
    let begin = |report: &str| {
        let mut source = BufReader::new(fs::File::open(path("in")).unwrap());
        Files::begin(&path("out"), Some((&path("in"), &mut source)), Some(&path(report)), &sealing(), true).map(drop)
    };
    assert!(matches!(begin("notes"), Err(BatchError::Exists(_))));
    assert_eq!(fs::read_to_string(path("notes")).unwrap(), "somebody else's");
    begin("bad").unwrap();
    begin("another").unwrap();
}

#[test]
fn another_input_or_another_configuration_is_not_continued() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let text = documents(9);
    fs::write(path("in"), &text).unwrap();
    assert!(attempt(folder.path(), &sealing(), false, 2, Some(2), true).is_none());
    let begin = |work: &Work, resume: bool| {
        let mut source = BufReader::new(fs::File::open(path("in")).unwrap());
        let begun = Files::begin(&path("out"), Some((&path("in"), &mut source)), None, work, resume);
        begun.map(|_begun| ()).map_err(|error| error.to_string().replace(&folder.path().display().to_string(), "DIR"))
    };
    assert!(begin(&sealing(), false).unwrap_err().contains("DIR/out.part: a run that did not come to its end left this"));
    assert!(begin(&opening(), true).unwrap_err().contains("command, collection or configuration is not the one"));
    fs::write(path("in"), text.replace("\"N", "\"M")).unwrap();
    assert!(begin(&sealing(), true).unwrap_err().contains("the input is not the one"));
    fs::write(path("in"), &text).unwrap();
    let part = fs::read(path("out.part")).unwrap();
    fs::write(path("out.part"), &part[..10]).unwrap();
    assert!(begin(&sealing(), true).unwrap_err().contains("the result so far is not the one"));
    fs::write(path("out.part"), &part).unwrap();
    begin(&sealing(), true).unwrap();
    fs::write(path("out"), "somebody else's").unwrap();
    assert!(begin(&sealing(), true).unwrap_err().contains("nothing is overwritten"));
}

/// Values that are stored as tokens: all of a window in one call of the store, on as many threads as there are.
#[test]
fn tokens_go_in_and_come_out_the_same() {
    use crate::vault::testing::{Memory, rings as vault_rings};
    use crate::vault::{Format, Kind, Scope, Vault};
    let kind = |scope: &str, format| Kind { scope: Scope::named(scope), format, consistent: true };
    let mut tokens = collection();
    tokens.fields[0].protection = field::Protection::Token(kind("names", Format::Opaque));
    tokens.fields[1].protection = field::Protection::Token(kind("phones", Format::Digits));
    tokens.fields[1].seal_null = false;
    let tokens = || field::Collection { fields: tokens.fields.iter().map(copy).collect(), ..collection() };
    let memory = std::sync::Arc::new(Memory::default());
    let vault = Vault::new(memory.clone(), vault_rings("shop"));
    let runtime = tokio::runtime::Builder::new_multi_thread().build().unwrap();
    let with_vault = |work: Work| work.with_vault(vault.clone(), runtime.handle().clone());
    let sealing = with_vault(Work::seal(tokens(), ring()).unwrap());
    let opening = with_vault(Work::open(tokens(), ring()).unwrap());
    let line = |n: u32| format!("{{\"id\":{n},\"name\":\"N{}\",\"phones\":[null,\"+81 90 0000 {n:04}\"]}}\n", n % 7);
    let input: String = (0..500).map(line).collect();
    let (sealed, done) = through(&sealing, input.as_bytes(), 1 << 20, &mut Tester::default());
    assert_eq!((done.lines, done.values, done.bad), (500, 1000, 0));
    assert_eq!(memory.calls().0, 1);
    assert!(!String::from_utf8_lossy(&sealed).contains("\"N"));
    let (again, done) = through(&sealing, &sealed, 4096, &mut Tester::default());
    assert_eq!((again == sealed, done.values, done.kept), (true, 0, 1000), "sealing twice changes nothing");
    let (opened, done) = through(&opening, &sealed, 4096, &mut Tester::recording());
    assert_eq!((String::from_utf8(opened).unwrap(), done.values), (input, 1000));
    let mut tester = Tester::default();
    let bad = "{\"id\":1,\"name\":\"tok1_00000000000000000000000000\"}\n{\"id\":1,\"phones\":[\"12\"]}\n{\"name\":\"x\"}\n";
    through(&sealing, bad.as_bytes(), 4096, &mut tester);
    assert_eq!(tester.bad, ["1: foreign-token", "2: token-format", "3: subject-missing"]);
    let mut tester = Tester::recording();
    through(&opening, bad.as_bytes(), 4096, &mut tester);
    assert_eq!(tester.bad, ["1: value-not-authentic"]);
}

fn copy(field: &Field) -> Field {
    Field {
        name: field.name.clone(),
        at: field.at.clone(),
        place: field.place.clone(),
        ring: field.ring.clone(),
        category: field.category,
        category_name: field.category_name.clone(),
        protection: field.protection.clone(),
        mask: field.mask.clone(),
        generalise: field.generalise.clone(),
        pad: field.pad,
        seal_null: field.seal_null,
        subject: field.subject.clone(),
        indexes: field.indexes.clone(),
    }
}
