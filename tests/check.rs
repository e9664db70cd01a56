//! `sudare check` and `sudare init` as an operator meets them: what is printed, read as a newcomer would, and the exit code.
//!
//! Outputs are snapshots in `tests/check/snapshots/`. Every case changes the files that `sudare init` writes in one place.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::fs;
use std::path::{Path, PathBuf};

use sudare::base::{CallerName, FixedClock};
use sudare::cli::check::{self, Format};
use sudare::cli::init;
use sudare::config::{self, Environment, Findings, templates};
use zeroize::Zeroizing;

/// Environment of the tests: `DATABASE_AUTH` and `DATABASE_TOKEN` are good, `NO_COLON` and `LINE_END` are not.
fn environment(name: &str) -> Option<Zeroizing<String>> {
    let value = match name {
        "DATABASE_AUTH" => "sudare:correct horse",
        "DATABASE_TOKEN" => "abc",
        "NO_COLON" => "sudare",
        "LINE_END" => "sudare:horse\n",
        _ => return None,
    };
    Some(Zeroizing::new(value.to_owned()))
}

/// The template's `sudare.toml` with credentials that are hashes of nothing.
fn service() -> String {
    let credentials: Vec<_> = (1_u8..).zip(templates::CALLERS).map(|(byte, name)| (CallerName::new(name), [byte; 32])).collect();
    templates::service("127.0.0.1:8080", "127.0.0.1:8081", &credentials)
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn with(service: &str, policy: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("sudare.toml"), service).unwrap();
        fs::write(folder.path().join("policy.toml"), policy).unwrap();
        Self(folder)
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("sudare.toml")
    }

    /// Output without the name of the temporary folder.
    fn clean(&self, text: &str) -> String {
        text.replace(&format!("{}/", self.0.path().display()), "").replace(&self.0.path().display().to_string(), "DIR")
    }

    fn check(&self, format: Format) -> (String, u8) {
        let mut out = Vec::new();
        let code = check::run_with(&self.file(), Environment::Read(&environment), format, &mut out).unwrap();
        let out = self.clean(&String::from_utf8(out).unwrap());
        // What fields tell has a snapshot of its own.
        let out = out.split_once("\n\nWhat each field tells").map_or(out.as_str(), |(good, _)| good);
        (out.trim_end().to_owned() + "\n", code)
    }

    fn load(&self) -> Result<config::Settings, Findings> {
        config::load_with(&self.file(), Environment::Read(&environment))
    }
}

/// Where a case changes the template.
#[derive(Clone, Copy)]
enum In {
    Service,
    Policy,
}

/// Title, file, what is replaced (once), by what, findings expected.
type Case<'a> = (&'a str, In, &'a str, &'a str, usize);

/// Runs the cases; gives one text with every output under its title.
fn outputs(cases: &[Case<'_>]) -> String {
    let mut all = String::new();
    let mut wrong = Vec::new();
    for (title, place, from, to, expected) in cases {
        let (mut service, mut policy) = (service(), templates::POLICY.to_owned());
        let text = match place {
            In::Service => &mut service,
            In::Policy => &mut policy,
        };
        assert!(text.contains(from), "{title}: the template does not contain {from}");
        *text = text.replacen(from, to, 1);
        let folder = Folder::with(&service, &policy);
        let (out, code) = folder.check(Format::Text);
        let (errors, count) = match folder.load() {
            Ok(settings) => (0, settings.warnings.len()),
            Err(findings) => (findings.errors(), findings.len()),
        };
        assert_eq!(code, if errors > 0 { 2 } else { 0 }, "{title}");
        if count != *expected {
            wrong.push(format!("{title}: {count} findings instead of {expected}"));
        }
        all = format!("{all}==== {title}\n{}\n\n", out.trim_end());
    }
    assert!(wrong.is_empty(), "{all}\n{}", wrong.join("\n"));
    all
}

fn snapshot(name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("check/snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, text));
}

#[test]
fn the_templates_are_good() {
    let folder = Folder::with(&service(), templates::POLICY);
    let (out, code) = folder.check(Format::Text);
    assert_eq!(
        (out.as_str(), code),
        ("sudare.toml and policy.toml are good: 1 collection with 4 protected fields, 5 callers, 5 purposes.\n", 0)
    );
    let (out, code) = folder.check(Format::Json);
    assert_eq!((out.as_str(), code), ("[]\n", 0));
}

#[test]
fn rings_of_field_groups() {
    let ring = "ring = \"keys/identity.json\"\nkek = { provider = \"file\", path = \"keys/identity.kek\" }";
    let table = |name: &str, lines: &str| format!("[keys.{name}]\n{lines}\n\n[store]");
    let fields = |table: &str, fields: &str| format!("{table}\n[collection.customers.field]\n{fields}");
    let (no_kek, sound) = (table("identity", "ring = \"keys/identity.json\""), table("identity", ring));
    let kek_of_none = table("identity", "held = false\nkek = { provider = \"file\", path = \"keys/identity.kek\" }");
    let (by_a_word, main_again, capital) = (table("identity", "held = \"no\""), table("main", ring), table("Identity", ring));
    let one_file = table("identity", &ring.replace("identity.json", "ring.json"));
    let one_kek = table("identity", &ring.replace("identity.kek", "kek"));
    let in_store = table("identity", &ring.replace("keys/identity.json", "store"));
    let moving = fields(
        &format!("[keys.identity]\n{ring}\nnext_kek = {{ provider = \"file\", path = \"keys/identity.new\" }}"),
        "alias = { at = \"$.alias\", category = \"name\", ring = \"identity\" }",
    );
    let limit = table("identity", &format!("{ring}\nhard_limit_s = 7200"));
    let marks = table("identity", &format!("{ring}\nmarks = \"keys/identity.marks\""));
    let kek_as_ring = table("identity", &ring.replace("identity.json", "kek"));
    let not_held =
        fields("[keys.identity]\nheld = false", "alias = { at = \"$.alias\", category = \"name\", ring = \"identity\" }");
    let held =
        fields(&format!("[keys.identity]\n{ring}"), "alias = { at = \"$.alias\", category = \"name\", ring = \"identity\" }");
    let scope = |more: &str| format!("{{ at = \"$.AT\", category = \"name\", protect = \"token\", scope = \"people\"{more} }}");
    let (alias, nick) = (scope(", ring = \"identity\"").replace("AT", "alias"), scope("").replace("AT", "nick"));
    let one_scope = fields(&format!("[keys.identity]\n{ring}"), &format!("alias = {alias}\nnick = {nick}"));
    let cases: [Case<'_>; 18] = [
        ("a ring of its own", In::Service, "[collection.customers.field]", &held, 0),
        ("a ring that this node does not hold", In::Service, "[collection.customers.field]", &not_held, 1),
        ("a field of a ring that is not there", In::Service, "\"$.phone\"", "{ at = \"$.phone\", ring = \"identity\" }", 1),
        ("a slip in the name of a ring", In::Service, "\"$.phone\"", "{ at = \"$.phone\", ring = \"mian\" }", 1),
        ("a ring without its KEK", In::Service, "[store]", &no_kek, 1),
        ("a ring of no field", In::Service, "[store]", &sound, 1),
        ("what opens a ring that is not held", In::Service, "[store]", &kek_of_none, 1),
        ("held by a word", In::Service, "[store]", &by_a_word, 1),
        ("the main ring again", In::Service, "[store]", &main_again, 1),
        ("a ring with a capital letter", In::Service, "[store]", &capital, 1),
        ("two rings in one file", In::Service, "[store]", &one_file, 1),
        ("two rings under one KEK", In::Service, "[store]", &one_kek, 2),
        ("a ring in the file of a KEK", In::Service, "[store]", &kek_as_ring, 1),
        ("one scope of tokens in two rings", In::Service, "[collection.customers.field]", &one_scope, 3),
        ("a ring of a group in the store", In::Service, "[store]", &in_store, 1),
        ("a ring that moves to another KEK", In::Service, "[collection.customers.field]", &moving, 0),
        ("a limit for a KEK in a file", In::Service, "[store]", &limit, 1),
        ("marks of a ring in a file", In::Service, "[store]", &marks, 1),
    ];
    snapshot("rings", &outputs(&cases));
}

#[test]
fn what_fields_tell_whoever_holds_the_database() {
    let fields = "name    = { at = \"$.name\", protect = \"deterministic\" }
gender  = { at = \"$.gender\", category = \"gender\" }
note    = { at = \"$.note\", category = \"hidden\", protect = \"deterministic\" }
parcel  = { at = \"$.parcel\", category = \"address\", pad = \"none\", seal_null = true }
bank    = { at = \"$.bank\", category = \"address\", pad = 128 }
phone   = { at = \"$.phone\", seal_null = true, index = { at = \"$.phone_ix\", normalise = \"phone:HK\" } }
city    = { at = \"$.city\", category = \"city\", index = [{ at = \"$.city_ix\", normalise = \"text\" }, { at = \"$.city_px\", normalise = [\"text\", \"prefix:3\"], param = \"city-prefix\" }] }
born    = { at = \"$.born\", category = \"born\", index = { at = \"$.born_ix\", normalise = \"date\" } }
number  = { at = \"$.number\", category = \"number\", protect = \"token\", format = \"digits\" }";
    let service = service().replacen("name    = \"$.name\"", fields, 1).replacen("phone   = \"$.phone\"\nid-card", "id-card", 1);
    let service = service.replacen("strict  = true", "bind = \"field\"", 1);
    let more = "[category]\ngender = { dpv = \"pd:Gender\", nature = \"linkable\" }\nhidden = { dpv = \"pd:Preference\", nature = \"linkable\" }\ncity = { dpv = \"pd:City\", nature = \"linkable\" }\nborn = { dpv = \"pd:BirthDate\", nature = \"linkable\" }\nnumber = { dpv = \"pd:BankAccount\", nature = \"linkable\" }";
    let policy = templates::POLICY.replacen("[category]", more, 1);
    // Nobody sees a birth date, but the helpdesk finds by it.
    let policy = policy.replacen("search  = [\"email\"]", "search  = [\"email\", \"born\"]", 1);
    let (good, better) = (Folder::with(&service, &policy), Folder::with(&self::service(), templates::POLICY));
    let leakage = |folder: &Folder, format| {
        let mut out = Vec::new();
        let code = check::leakage(&folder.file(), Environment::Read(&environment), format, &mut out).unwrap();
        (folder.clean(&String::from_utf8(out).unwrap()), code)
    };
    // On couchdb deterministic fields can be searched.
    let rest = "url     = \"embedded:data/documents.redb\"\ndialect = \"rest\"";
    assert!(service.contains(rest));
    let couchdb = service.replacen(rest, "url = \"http://127.0.0.1:5984\"\ndialect = \"couchdb\"", 1);
    let couchdb = couchdb.replacen("match   = \"/customers/{id}\"", "match = \"customers\"", 1);
    let couchdb = couchdb.lines().filter(|line| !line.starts_with("rows ")).collect::<Vec<_>>().join("\n");
    let couchdb = leakage(&Folder::with(&couchdb, &policy), Format::Text).0;
    let (_, couchdb) = couchdb.split_once("\n\n").unwrap().1.split_once("\n\n").unwrap();
    let (text, code) = leakage(&good, Format::Text);
    assert_eq!(code, 0, "{text}");
    let (json, _) = leakage(&good, Format::Json);
    let template = leakage(&better, Format::Text).0;
    assert!(!template.contains(": "), "the template is told to do better: {template}");
    snapshot(
        "leakage",
        &format!(
            "==== the template\n{template}\n==== others\n{text}\n==== the notes on couchdb\n{couchdb}\n==== as JSON\n{json}"
        ),
    );
    let wrong = Folder::with("controller = 1", templates::POLICY);
    assert_eq!(leakage(&wrong, Format::Text), wrong.check(Format::Text));
    assert_eq!(leakage(&wrong, Format::Json), wrong.check(Format::Json));
}

#[test]
fn ten_mistakes_are_ten_findings() {
    let ten = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/check/ten");
    let folder = Folder::with(
        &fs::read_to_string(ten.join("sudare.toml")).unwrap(),
        &fs::read_to_string(ten.join("policy.toml")).unwrap(),
    );
    let (out, code) = folder.check(Format::Text);
    assert_eq!(code, 2);
    snapshot("ten", &out);
    let findings = folder.load().unwrap_err();
    assert_eq!(findings.len(), 10, "{findings}");
    for finding in &findings {
        assert!(!finding.message.is_empty() && !finding.remedy.is_empty(), "{finding}");
        assert!(finding.line > 0 && finding.column > 0, "{finding}");
    }
    let (json, code) = folder.check(Format::Json);
    assert_eq!(code, 2);
    snapshot("ten_json", &json);
}

#[test]
fn mistakes_in_the_tables_of_places() {
    #[rustfmt::skip]
    let cases: &[Case<'_>] = &[
        ("controller is missing", In::Service, "controller = \"example-shop\"", "", 1),
        ("controller has a capital letter and a space", In::Service, "\"example-shop\"", "\"Example Shop\"", 1),
        ("the policy is not there", In::Service, "\"policy.toml\"", "\"polcy.toml\"", 1),
        ("a table is misspelled", In::Service, "[listen]", "[listn]", 1),
        ("a key of a later release", In::Service, "[listen]", "[tls]\ncertificate = \"x\"\n[listen]", 1),
        ("an address is a name", In::Service, "\"127.0.0.1:8080\"", "\"localhost:8080\"", 1),
        ("an address has no port", In::Service, "\"127.0.0.1:8080\"", "\"127.0.0.1\"", 1),
        ("an address is a number", In::Service, "\"127.0.0.1:8080\"", "8080", 1),
        ("an address is empty", In::Service, "\"127.0.0.1:8080\"", "\"\"", 1),
        ("a Unix socket has no path", In::Service, "\"127.0.0.1:8080\"", "\"unix:\"", 1),
        ("two listeners on one port", In::Service, "\"127.0.0.1:8081\"", "\"127.0.0.1:8080\"", 1),
        ("open to other machines", In::Service, "\"127.0.0.1:8080\"", "\"0.0.0.0:8080\"", 1),
        ("metrics open to other machines", In::Service, "\"127.0.0.1:8081\"", "\"[::]:8081\"", 1),
        ("a database on another machine", In::Service, "\"embedded:data/documents.redb\"", "\"http://db.example.com:5984\"", 1),
        ("a database of another kind", In::Service, "\"embedded:data/documents.redb\"", "\"mongodb://127.0.0.1\"", 1),
        ("a password in the URL", In::Service, "\"embedded:data/documents.redb\"", "\"http://admin:hunter2@127.0.0.1:5984\"", 1),
        ("a URL without a host", In::Service, "\"embedded:data/documents.redb\"", "\"http://:5984\"", 1),
        ("a URL with a bad port", In::Service, "\"embedded:data/documents.redb\"", "\"http://127.0.0.1:99999\"", 1),
        ("a URL with a query", In::Service, "\"embedded:data/documents.redb\"", "\"http://127.0.0.1/?a=b\"", 1),
        ("a dialect nobody speaks", In::Service, "\ndialect = \"rest\"", "\ndialect = \"mongo\"", 1),
        ("the dialect is missing", In::Service, "\ndialect = \"rest\"", "\n", 1),
        ("auth in clear", In::Service, "\ndialect = \"rest\"", "\ndialect = \"rest\"\nauth = { basic = \"admin:hunter2\" }", 1),
        ("auth in clear, not even a table", In::Service, "\ndialect = \"rest\"", "\ndialect = \"rest\"\nauth = \"admin:hunter2\"", 1),
        ("auth from a variable that is not set", In::Service, "\ndialect = \"rest\"", "\ndialect = \"rest\"\nauth = { basic = \"env:NOT_SET\" }", 1),
        ("auth without a colon", In::Service, "\ndialect = \"rest\"", "\ndialect = \"rest\"\nauth = { basic = \"env:NO_COLON\" }", 1),
        ("auth with a line end", In::Service, "\ndialect = \"rest\"", "\ndialect = \"rest\"\nauth = { basic = \"env:LINE_END\" }", 1),
        ("auth of both kinds", In::Service, "\ndialect = \"rest\"", "\ndialect = \"rest\"\nauth = { basic = \"env:DATABASE_AUTH\", bearer = \"env:DATABASE_TOKEN\" }", 1),
        ("auth of no kind", In::Service, "\ndialect = \"rest\"", "\ndialect = \"rest\"\nauth = {}", 1),
        ("auth of an unknown kind", In::Service, "\ndialect = \"rest\"", "\ndialect = \"rest\"\nauth = { beerer = \"env:DATABASE_TOKEN\" }", 1),
        ("outside is neither", In::Service, "\ndialect = \"rest\"", "\ndialect = \"rest\"\noutside = \"block\"", 1),
        ("a timeout with a unit", In::Service, "\ndialect = \"rest\"", "\ndialect = \"rest\"\nreply_timeout_ms = \"30s\"", 1),
        ("no key-encryption key", In::Service, "kek  = {", "#", 1),
        ("a key provider of another build", In::Service, "{ provider = \"file\", path = \"keys/kek\" }", "{ provider = \"aws-kms\", arn = \"x\" }", 1),
        ("a credential in the file", In::Service, "{ provider = \"file\", path = \"keys/kek\" }", "{ provider = \"vault-transit\", url = \"https://127.0.0.1:8200\", key = \"sudare\", token = \"hvs.CAESIJsecret\" }", 1),
        ("nobody to be at a provider", In::Service, "{ provider = \"file\", path = \"keys/kek\" }", "{ provider = \"vault-transit\", url = \"https://127.0.0.1:8200\", key = \"sudare\"}", 1),
        ("two to be at a provider", In::Service, "{ provider = \"file\", path = \"keys/kek\" }", "{ provider = \"vault-transit\", url = \"https://127.0.0.1:8200\", key = \"sudare\", token = \"env:T\", approle = { role_id = \"env:R\" } }", 1),
        ("a provider in clear", In::Service, "{ provider = \"file\", path = \"keys/kek\" }", "{ provider = \"vault-transit\", url = \"http://vault.internal:8200\", key = \"sudare\", token = \"env:T\" }", 1),
        ("a provider with a path and a key with a slash too many", In::Service, "{ provider = \"file\", path = \"keys/kek\" }", "{ provider = \"vault-transit\", url = \"https://127.0.0.1:8200/v1\", key = \"a//b\", token = \"env:T\" }", 2),
        ("limits of a file", In::Service, "{ provider = \"file\", path = \"keys/kek\" }", "{ provider = \"file\", path = \"keys/kek\" }\nhard_limit_s = 7200", 1),
        ("limits the wrong way round", In::Service, "{ provider = \"file\", path = \"keys/kek\" }", "{ provider = \"vault-transit\", url = \"https://127.0.0.1:8200\", key = \"sudare\", token = \"env:T\" }\nsoft_limit_s = 4000", 1),
        ("the same file twice", In::Service, "{ provider = \"file\", path = \"keys/kek\" }", "{ provider = \"file\", path = \"keys/kek\" }\nnext_kek = { provider = \"file\", path = \"keys/kek\" }", 1),
        ("an unknown key provider", In::Service, "provider = \"file\"", "provider = \"fil\"", 1),
        ("a passphrase in the file", In::Service, "{ provider = \"file\", path = \"keys/kek\" }", "{ provider = \"passphrase\", env = \"correct horse\" }", 1),
        ("ring and key-encryption key in one file", In::Service, "path = \"keys/kek\"", "path = \"keys/ring.json\"", 1),
        ("the store without its kind", In::Service, "\"redb:data/sudare.redb\"", "\"data/sudare.redb\"", 1),
        ("the store in the database's file", In::Service, "\"redb:data/sudare.redb\"", "\"redb:data/documents.redb\"", 1),
        ("no audit log", In::Service, "[audit]\ndir = \"data/audit\"", "", 1),
        ("a wait that is too long", In::Service, "dir = \"data/audit\"", "dir = \"data/audit\"\ndurable_timeout_ms = 60_000", 1),
        ("a limit with a decimal point", In::Service, "[audit]", "[limits]\nconnections = 1.5\n[audit]", 1),
        ("a limit below zero", In::Service, "[audit]", "[limits]\nconnections = -1\n[audit]", 1),
        ("a ratio that lets nothing through", In::Service, "[audit]", "[limits]\ndecompress_ratio = 0\n[audit]", 1),
        ("a window that HTTP/2 does not allow", In::Service, "[audit]", "[limits.http2]\nstream_window_bytes = 1024\n[audit]", 1),
        ("no streams", In::Service, "[audit]", "[limits.http2]\nstreams = 0\n[audit]", 1),
        ("an unknown limit of HTTP/2", In::Service, "[audit]", "[limits.http2]\nstream = 5\n[audit]", 1),
        ("HTTP/2 by a word", In::Service, "[listen]", "[listen]\nhttp2 = \"on\"", 1),
        ("the purpose in a taken header", In::Service, "controller =", "purpose_header = \"Authorization\"\ncontroller =", 1),
    ];
    snapshot("places", &outputs(cases));
}

#[test]
fn mistakes_in_the_store() {
    const URL: &str = "url = \"redb:data/sudare.redb\"";
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &str, mode: u32| {
        use std::os::unix::fs::PermissionsExt as _;
        let path = folder.path().join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    };
    let (good, open, empty) = (file("good", "hunter2\n", 0o600), file("open", "hunter2", 0o644), file("empty", "\n", 0o600));
    let lines = |more: &str| format!("url = \"postgres://sudare@127.0.0.1/sudare\"\n{more}");
    let password = |path: &Path| lines(&format!("password = \"file:{}\"", path.display()));
    let texts = [
        ("a password in the URL", "url = \"postgres://sudare:hunter2@127.0.0.1/sudare\"".to_owned(), 1),
        ("a password behind the URL", "url = \"postgres://sudare@127.0.0.1/sudare?password=hunter2\"".to_owned(), 1),
        ("no account", "url = \"postgres://127.0.0.1/sudare\"".to_owned(), 1),
        ("no database", "url = \"postgres://sudare@127.0.0.1\"".to_owned(), 1),
        ("two hosts", "url = \"postgres://sudare@one,two/sudare\"".to_owned(), 1),
        ("parameters", "url = \"postgres://sudare@127.0.0.1/sudare?sslmode=disable\"".to_owned(), 1),
        ("another kind", "url = \"mysql://sudare@127.0.0.1/sudare\"".to_owned(), 1),
        ("the password itself", lines("password = \"hunter2\""), 1),
        ("the password as a number", lines("password = 4711"), 1),
        ("a variable that is not set", lines("password = \"env:NOT_SET\""), 1),
        ("a variable with a line end", lines("password = \"env:LINE_END\""), 1),
        ("a password file", password(&good), 0),
        ("a password file that others read", password(&open), 1),
        ("a password file with nothing in it", password(&empty), 1),
        ("a password file that is not there", lines("password = \"file:absent\""), 1),
        (
            "numbers out of range",
            lines("pool = 0\nconnect_timeout_ms = 5\nstatement_timeout_ms = 90_000\nwait_timeout_ms = \"1s\"\npoll_ms = 1"),
            5,
        ),
        ("listening by a word", lines("listen = \"no\""), 1),
        ("a slip", lines("pols = 5"), 1),
        ("TLS by another word", lines("tls = \"on\""), 1),
        ("TLS off on another machine", "url = \"postgres://sudare@db.internal/sudare\"\ntls = \"off\"".to_owned(), 1),
        (
            "an authority that is not there",
            "url = \"postgres://sudare@db.internal/sudare\"\ntls = { ca = \"absent.pem\" }".to_owned(),
            1,
        ),
        ("an unknown member of tls", lines("tls = { cert = \"x\" }"), 1),
        (
            "TLS over a Unix socket",
            "url = \"postgres://sudare@/sudare?host=/run/postgresql\"\ntls = { ca = \"x\" }".to_owned(),
            1,
        ),
        ("what a file has no use for", format!("{URL}\npool = 5\ntls = \"off\""), 2),
        ("a store on a socket as it should be", "url = \"postgres://sudare@/sudare?host=/run/postgresql\"".to_owned(), 0),
        ("a store as it should be", lines("pool = 20\npassword = \"env:DATABASE_TOKEN\"\nlisten = false"), 0),
    ];
    let cases: Vec<Case<'_>> =
        texts.iter().map(|(what, text, mistakes)| (*what, In::Service, URL, text.as_str(), *mistakes)).collect();
    let shown = outputs(&cases);
    assert!(!shown.contains("hunter2") && !shown.contains("4711"), "{shown}");
    snapshot("store", &shown.replace(&folder.path().display().to_string(), "FOLDER"));
}

#[test]
fn mistakes_in_where_the_ring_is() {
    const RING: &str = "ring = \"keys/ring.json\"";
    let cases: &[Case<'_>] = &[
        ("a ring in a store of one node", In::Service, RING, "ring = \"store\"", 1),
        ("marks beside a file", In::Service, RING, "ring = \"keys/ring.json\"\nmarks = \"keys/ring.marks\"", 1),
        ("marks nowhere", In::Service, RING, "ring = \"store\"\nmarks = \"\"", 2),
        ("a ring that is a number", In::Service, RING, "ring = 1", 1),
        ("a file that is called store", In::Service, RING, "ring = \"./store\"", 0),
        ("the ring is the KEK", In::Service, RING, "ring = \"keys/kek\"", 1),
    ];
    snapshot("ring", &outputs(cases));
    let shared = |ring: &str| {
        let text =
            service().replace(RING, ring).replace("redb:data/sudare.redb", "postgres://sudare@/sudare?host=/run/postgresql");
        Folder::with(&text, templates::POLICY).load().unwrap_or_else(|findings| panic!("{findings}")).keys.ring
    };
    let (stored, file) = (shared("ring = \"store\"\nmarks = \"data/marks\""), shared(RING));
    assert!(stored.is_store() && stored.shared().is_some() && stored.as_file().is_none());
    assert_eq!(stored.to_string(), "ring main in postgres://sudare@/sudare?host=/run/postgresql&port=5432");
    assert!(!file.is_store() && file.shared().is_some(), "nodes with files share a store all the same");
}

#[test]
fn mistakes_in_the_tables_for_operators() {
    const ADMIN: &str = "[upstream]";
    let hash = format!("[admin]\ncredential_sha256 = [\"{}\"]\nuid = [1000]\n[upstream]", "0a".repeat(32));
    let cases: &[Case<'_>] = &[
        ("nobody may see", In::Service, ADMIN, "[admin]\n[upstream]", 1),
        ("an empty list", In::Service, ADMIN, "[admin]\ncredential_sha256 = []\n[upstream]", 1),
        ("the secret itself", In::Service, ADMIN, "[admin]\ncredential_sha256 = [\"hunter2\"]\n[upstream]", 1),
        ("a secret that is no list", In::Service, ADMIN, "[admin]\ncredential_sha256 = \"hunter2\"\n[upstream]", 1),
        ("a user id in words", In::Service, ADMIN, "[admin]\nuid = [\"root\"]\n[upstream]", 1),
        ("operators as they should be", In::Service, ADMIN, &hash, 0),
        ("looked at too often", In::Service, ADMIN, "[reload]\npoll_ms = 50\n[upstream]", 1),
        ("never looked at", In::Service, ADMIN, "[reload]\npoll_ms = 0\n[upstream]", 0),
        ("a level nobody knows", In::Service, ADMIN, "[log]\nlevel = \"loud\"\n[upstream]", 1),
        ("a format nobody knows", In::Service, ADMIN, "[log]\nformat = \"xml\"\n[upstream]", 1),
        ("requests nobody knows", In::Service, ADMIN, "[log]\nrequests = \"some\"\npeer = 1\n[upstream]", 2),
        ("a guard that looks at more than all", In::Service, ADMIN, "[leak_guard]\nsample_per_mille = 1001\n[upstream]", 1),
        ("a guard with a share", In::Service, ADMIN, "[leak_guard]\nsample_per_mille = 0.01\n[upstream]", 1),
        ("a guard with another word", In::Service, ADMIN, "[leak_guard]\nsample = 10\n[upstream]", 1),
        ("a guard that is off", In::Service, ADMIN, "[leak_guard]\nsample_per_mille = 0\n[upstream]", 0),
        ("a drain that never ends", In::Service, ADMIN, "drain_delay_ms = 600001\n[upstream]", 1),
    ];
    snapshot("operators", &outputs(cases));
    let text = "drain_delay_ms = 10\n[reload]\npoll_ms = 200\n[log]\nlevel = \"warn\"\nformat = \"text\"\nrequests = \"all\"\npeer = true\n[upstream]";
    let settings = Folder::with(&service().replacen(ADMIN, text, 1), templates::POLICY).load().unwrap();
    assert_eq!((settings.poll.as_millis(), settings.listen.drain_delay.as_millis()), (200, 10));
    assert!(settings.log.requests.peer && settings.log.level == config::LogLevel::Warn);
    assert!(settings.files().len() >= 4 && !settings.admin.asks());
}

#[test]
fn mistakes_in_how_listeners_are_opened() {
    const ADDRESS: &str = "\"127.0.0.1:8080\"";
    let with = |line: &str| format!("{ADDRESS}\n{line}");
    let unix = |line: &str| format!("\"unix:run/sudare.sock\"\n{line}");
    let (prefix, alone, host, many, none) = (
        with("proxy_protocol = [\"10.0.0.0\"]"),
        with("proxy_protocol = [\"10.0.0.7/8\", \"192.0.2.0/24\"]"),
        with("proxy_protocol = [\"balancer.example\", \"::1/129\", 7]"),
        with("proxy_protocol = [\"0.0.0.0/0\"]"),
        with("proxy_protocol = []"),
    );
    let (not_list, good) = (with("proxy_protocol = true"), with("proxy_protocol = [\"10.0.0.0/8\", \"2001:db8::/32\"]"));
    let over_unix = unix("proxy_protocol = [\"10.0.0.0/8\"]");
    let (no_socket, word, execute, deaf, open, number) = (
        with("socket_mode = \"0660\""),
        unix("socket_mode = \"rw-rw----\""),
        unix("socket_mode = \"0770\""),
        unix("socket_mode = \"0060\""),
        unix("socket_mode = \"0666\""),
        unix("socket_mode = 660"),
    );
    #[rustfmt::skip]
    let cases: &[Case<'_>] = &[
        ("a load balancer without its prefix", In::Service, ADDRESS, &prefix, 1),
        ("a network with bits of a host", In::Service, ADDRESS, &alone, 1),
        ("networks that are none", In::Service, ADDRESS, &host, 3),
        ("anybody is a load balancer", In::Service, ADDRESS, &many, 1),
        ("no load balancer", In::Service, ADDRESS, &none, 1),
        ("load balancers are no list", In::Service, ADDRESS, &not_list, 1),
        ("load balancers as they should be", In::Service, ADDRESS, &good, 0),
        ("a load balancer on a Unix socket", In::Service, ADDRESS, &over_unix, 1),
        ("a mode without a socket", In::Service, ADDRESS, &no_socket, 1),
        ("a mode in words", In::Service, ADDRESS, &word, 1),
        ("a mode with x bits", In::Service, ADDRESS, &execute, 1),
        ("a mode without the owner", In::Service, ADDRESS, &deaf, 1),
        ("a mode for everybody", In::Service, ADDRESS, &open, 1),
        ("a mode as a number", In::Service, ADDRESS, &number, 1),
    ];
    snapshot("listeners", &outputs(cases));
    let folder = Folder::with(&service().replacen(ADDRESS, &good, 1), templates::POLICY);
    let settings = folder.load().unwrap();
    assert_eq!(
        settings.listen.proxy_protocol.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["10.0.0.0/8", "2001:db8::/32"]
    );
    assert_eq!(settings.listen.socket_mode, 0o660);
    let folder = Folder::with(&service().replacen(ADDRESS, &unix("socket_mode = \"600\""), 1), templates::POLICY);
    assert_eq!(folder.load().unwrap().listen.socket_mode, 0o600);
}

#[test]
fn mistakes_in_callers() {
    const SHOP: &str = "credential_sha256 = \"0101010101010101010101010101010101010101010101010101010101010101\"";
    let (table, both) = (format!("[caller.shop]\n{SHOP}"), format!("{SHOP}\nuid = 1000"));
    #[rustfmt::skip]
    let cases: &[Case<'_>] = &[
        ("a hash that is too short", In::Service, SHOP, "credential_sha256 = \"0101\"", 1),
        ("the secret instead of its hash", In::Service, SHOP, "credential_sha256 = \"shop.dGhpcyBpcyB0aGUgc2VjcmV0IG9mIHRoZSBzaG9wLi4\"", 1),
        ("the secret under another name", In::Service, SHOP, "credential = \"shop.dGhpcyBpcyB0aGUgc2VjcmV0IG9mIHRoZSBzaG9wLi4\"", 1),
        ("the secret where the table should be", In::Service, &table, "[caller]\nshop = \"dGhpcyBpcyB0aGUgc2VjcmV0IG9mIHRoZSBzaG9wLi4\"", 1),
        ("known by nothing", In::Service, SHOP, "", 1),
        ("known by two things", In::Service, SHOP, &both, 1),
        ("known by a SPIFFE id", In::Service, SHOP, "spiffe = \"spiffe://shop.example/shop\"", 1),
        ("known by uid, over TCP", In::Service, SHOP, "uid = 1000", 1),
        ("a uid in quotation marks", In::Service, SHOP, "uid = \"1000\"", 1),
        ("two with one credential", In::Service, SHOP, "credential_sha256 = \"0202020202020202020202020202020202020202020202020202020202020202\"", 1),
        ("a caller nobody planned for", In::Service, "[caller.shop]", "[caller.spare]\nuid = 4000000000\n[caller.shop]", 2),
        ("a name with a capital letter", In::Service, "[caller.shop]", "[caller.Spare]\nuid = 12\n[caller.shop]", 2),
    ];
    snapshot("callers", &outputs(cases));
}

#[cfg(not(feature = "otlp"))]
#[test]
fn otlp_without_the_feature() {
    let cases: &[Case<'_>] = &[("[otlp]", In::Service, "[audit]", "[otlp]\nendpoint = \"http://127.0.0.1:4318\"\n[audit]", 1)];
    snapshot("otlp", &outputs(cases));
}

#[cfg(feature = "otlp")]
#[test]
fn otlp_with_the_feature() {
    #[rustfmt::skip]
    let cases: &[Case<'_>] = &[
        ("no endpoint", In::Service, "[audit]", "[otlp]\n[audit]", 1),
        ("TLS", In::Service, "[audit]", "[otlp]\nendpoint = \"https://collector:4318\"\n[audit]", 1),
        ("a share over all", In::Service, "[audit]", "[otlp]\nendpoint = \"http://c:4318\"\nsample_per_mille = 1001\n[audit]", 1),
        ("an unknown member", In::Service, "[audit]", "[otlp]\nendpoint = \"http://c:4318\"\nheaders = \"x\"\n[audit]", 1),
    ];
    let told = outputs(cases);
    for part in ["`endpoint` is missing", "expected http://HOST:PORT", "from 0 to 1000", "service_name"] {
        assert!(told.contains(part), "{part}\n{told}");
    }
}

#[test]
fn mistakes_in_collections() {
    #[rustfmt::skip]
    let cases: &[Case<'_>] = &[
        ("no collection at all", In::Service, "[collection.customers]", "[colection.customers]", 3),
        ("match is missing", In::Service, "match   = ", "matches = ", 1),
        ("revision is no member", In::Service, "strict  = true", "revision = \"version\"", 1),
        ("revision is a list of members", In::Service, "strict  = true", "revision = \"$.versions[*]\"", 1),
        ("revision is protected", In::Service, "strict  = true", "revision = \"$.name\"", 1),
        ("match is no path", In::Service, "\"/customers/{id}\"", "\"customers\"", 1),
        ("match has a doubled slash", In::Service, "\"/customers/{id}\"", "\"//customers/{id}\"", 1),
        ("match has two ids", In::Service, "\"/customers/{id}\"", "\"/customers/{id}/{id}\"", 1),
        ("no rows", In::Service, "rows    = [", "# rows = [", 1),
        ("empty rows", In::Service, "[\"$\", \"$[*]\", \"$.items[*]\"]", "[]", 1),
        ("a row is a number", In::Service, "\"$.items[*]\"", "7", 1),
        ("a row is no selector", In::Service, "\"$.items[*]\"", "\"items\"", 1),
        ("a row position inside a field", In::Service, "name    = \"$.name\"", "name    = \"$.items\"", 1),
        ("subject without braces", In::Service, "\"{id}\"", "\"id\"", 1),
        ("subject is a protected member", In::Service, "\"{id}\"", "\"$.phone\"", 1),
        ("bound to a subject that nobody names", In::Service, "subject = \"{id}\"", "bind = \"subject\"", 1),
        ("bound to the field only", In::Service, "subject = \"{id}\"", "bind = \"field\"", 1),
        ("bound to something unknown", In::Service, "subject = \"{id}\"", "bind = \"row\"", 1),
        ("not strict", In::Service, "strict  = true", "strict  = false", 1),
        ("strict in quotation marks", In::Service, "strict  = true", "strict  = \"yes\"", 1),
        ("what to do with a bad value", In::Service, "strict  = true", "on_bad_value = \"ignore\"", 1),
        ("a search by a protected member", In::Service, "strict  = true", "query = [\"page\", \"phone\"]", 1),
        ("the id is protected", In::Service, "name    = \"$.name\"", "name    = \"$.id\"", 1),
        ("a path without $", In::Service, "\"$.phone\"", "\"phone\"", 1),
        ("a bracket left open", In::Service, "\"$.phone\"", "\"$.phones[*\"", 1),
        ("the whole document as a field", In::Service, "\"$.phone\"", "\"$\"", 1),
        ("a field is a number", In::Service, "\"$.phone\"", "7", 1),
        ("two fields in one place", In::Service, "\"$.phone\"", "\"$.name\"", 1),
        ("a field inside another", In::Service, "\"$.phone\"", "\"$.address.phone\"", 1),
        ("a field without a place", In::Service, "\"$.phone\"", "{ category = \"phone\" }", 1),
        ("a field nobody classified", In::Service, "phone   = \"$.phone\"", "mobile  = \"$.phone\"", 1),
        ("a category that does not exist", In::Service, "\"$.phone\"", "{ at = \"$.phone\", category = \"phones\" }", 1),
        ("a mask that does not exist", In::Service, "\"$.phone\"", "{ at = \"$.phone\", mask = \"keep-lst:4\" }", 1),
        ("a mask without its number", In::Service, "\"$.phone\"", "{ at = \"$.phone\", mask = \"keep-last\" }", 1),
        ("a generalisation that does not exist", In::Service, "\"$.phone\"", "{ at = \"$.phone\", generalise = \"country\" }", 1),
        ("an odd bucket", In::Service, "\"$.phone\"", "{ at = \"$.phone\", pad = 48 }", 1),
        ("a protection to come", In::Service, "\"$.phone\"", "{ at = \"$.phone\", protect = \"format-preserving\" }", 1),
        ("tokens: equality shows", In::Service, "\"$.phone\"", "{ at = \"$.phone\", protect = \"token\", format = \"digits\", scope = \"phones\", pad = \"none\" }", 1),
        ("tokens, padded", In::Service, "\"$.phone\"", "{ at = \"$.phone\", protect = \"token\", consistent = false, pad = 32 }", 1),
        ("tokens for null", In::Service, "\"$.phone\"", "{ at = \"$.phone\", protect = \"token\", consistent = false, seal_null = true }", 1),
        ("tokens of an unknown look", In::Service, "\"$.phone\"", "{ at = \"$.phone\", protect = \"token\", consistent = false, format = \"phone\" }", 1),
        ("a scope with a dot", In::Service, "\"$.phone\"", "{ at = \"$.phone\", protect = \"token\", consistent = false, scope = \"customers.name\" }", 1),
        ("a scope without tokens", In::Service, "\"$.phone\"", "{ at = \"$.phone\", scope = \"phones\", consistent = true, format = \"digits\" }", 3),
        ("a scope that two fields see otherwise", In::Service, "phone   = \"$.phone\"", "phone   = { at = \"$.phone\", protect = \"token\", consistent = false, scope = \"x\" }\nother   = { at = \"$.other\", category = \"phone\", protect = \"token\", consistent = false, scope = \"x\", format = \"uuid\" }", 1),
        ("deterministic: equality shows", In::Service, "\"$.phone\"", "{ at = \"$.phone\", protect = \"deterministic\", pad = \"none\", seal_null = false }", 1),
        ("deterministic and padded", In::Service, "\"$.phone\"", "{ at = \"$.phone\", protect = \"deterministic\", pad = 32 }", 2),
        ("deterministic with sealed nulls", In::Service, "\"$.phone\"", "{ at = \"$.phone\", protect = \"deterministic\", seal_null = true }", 2),
        ("an unknown protection", In::Service, "\"$.phone\"", "{ at = \"$.phone\", protect = \"seel\" }", 1),
        ("an index that is text", In::Service, "\"$.phone\"", "{ at = \"$.phone\", index = \"$.phone_ix\" }", 1),
        ("an index: equality shows", In::Service, "\"$.phone\"", "{ at = \"$.phone\", index = { at = \"$.phone_ix\", normalise = \"phone:HK\", bits = 96 } }", 1),
        ("an index without a normaliser", In::Service, "\"$.phone\"", "{ at = \"$.phone\", index = { at = \"$.phone_ix\" } }", 1),
        ("an unknown normaliser", In::Service, "\"$.phone\"", "{ at = \"$.phone\", index = { at = \"$.phone_ix\", normalise = \"phon\" } }", 1),
        ("a number of no region", In::Service, "\"$.phone\"", "{ at = \"$.phone\", index = { at = \"$.phone_ix\", normalise = \"phone:hk\" } }", 1),
        ("a chain with a wrong step", In::Service, "\"$.phone\"", "{ at = \"$.phone\", index = { at = \"$.phone_ix\", normalise = [\"nfkc\", \"prefix:0\"] } }", 1),
        ("an index that is not at the top", In::Service, "\"$.phone\"", "{ at = \"$.phone\", index = { at = \"$.ix.phone\", normalise = \"phone\" } }", 1),
        ("an index of odd length", In::Service, "\"$.phone\"", "{ at = \"$.phone\", index = { at = \"$.phone_ix\", normalise = \"phone\", bits = 60 } }", 1),
        ("an index that is too short", In::Service, "\"$.phone\"", "{ at = \"$.phone\", index = { at = \"$.phone_ix\", normalise = \"phone\", bits = 8 } }", 1),
        ("a second index without a name", In::Service, "\"$.phone\"", "{ at = \"$.phone\", index = [{ at = \"$.a\", normalise = \"phone\" }, { at = \"$.b\", normalise = \"digits\" }] }", 1),
        ("two indexes of one name", In::Service, "\"$.phone\"", "{ at = \"$.phone\", index = [{ at = \"$.a\", normalise = \"phone\" }, { at = \"$.b\", normalise = \"digits\", param = \"phone\" }] }", 2),
        ("two indexes in one member", In::Service, "\"$.phone\"", "{ at = \"$.phone\", index = [{ at = \"$.a\", normalise = \"phone\" }, { at = \"$.a\", normalise = \"digits\", param = \"digits\" }] }", 2),
        ("an index in the member of a field", In::Service, "\"$.phone\"", "{ at = \"$.phone\", index = { at = \"$.name\", normalise = \"phone\" } }", 2),
        ("an index in the id", In::Service, "\"$.phone\"", "{ at = \"$.phone\", index = { at = \"$.id\", normalise = \"phone\" } }", 2),
        ("a parameter that is listed and searched", In::Service, "[collection.customers.field]", "query = [\"tel\"]\n[collection.customers.field]\nphone2 = { at = \"$.phone2\", category = \"phone\", index = { at = \"$.p2\", normalise = \"phone\", param = \"tel\" } }", 2),
        ("an index of a deterministic field", In::Service, "\"$.phone\"", "{ at = \"$.phone\", protect = \"deterministic\", index = { at = \"$.phone_ix\", normalise = \"phone\" } }", 2),
        ("an unknown spelling of terms", In::Service, "[collection.customers.field]", "terms = \"or\"\n[collection.customers.field]", 1),
        ("a subject that does not go with its field", In::Service, "\"$.phone\"", "{ at = \"$.phones[*]\", subject = \"$.guests[*].id\" }", 1),
        ("a field name with an underscore", In::Service, "id-card = \"$.id_card\"", "id_card = { at = \"$.id_card\", category = \"id-card\" }", 1),
        ("two collections in one place", In::Service, "[collection.customers]", "[collection.people]\nmatch = \"/customers/{id}\"\nrows = [\"$\"]\nfield = { name = \"$.name\" }\n[collection.customers]", 1),
        ("one collection inside another", In::Service, "[collection.customers]", "[collection.vips]\nmatch = \"/customers/vip\"\nrows = [\"$\"]\nfield = { name = \"$.name\" }\n[collection.customers]", 1),
        ("a collection without fields", In::Service, "[collection.customers]", "[collection.vips]\nmatch = \"/vips/{id}\"\nrows = [\"$\"]\n[collection.customers]", 1),
    ];
    snapshot("collections", &outputs(cases));
}

/// What has few values is told by which ones are equal. Sealed, the same category is fine.
#[test]
fn t16_what_has_few_values_is_not_protected_deterministically() {
    let policy = templates::POLICY.replacen("pd:TelephoneNumber", "pd:Gender", 1);
    let deterministic = service().replacen("\"$.phone\"", "{ at = \"$.phone\", protect = \"deterministic\" }", 1);
    let indexed = service().replacen("\"$.phone\"", "{ at = \"$.phone\", index = { at = \"$.ix\", normalise = \"text\" } }", 1);
    let (out, code) = Folder::with(&indexed, &policy).check(Format::Text);
    assert!(code == 2 && out.contains("so few values"), "{out}");
    assert!(policy != templates::POLICY && deterministic != service());
    let (out, code) = Folder::with(&deterministic, &policy).check(Format::Text);
    assert_eq!(code, 2);
    assert!(out.contains("field \"phone\" holds pd:Gender, which has so few values"), "{out}");
    assert!(out.contains("sudare.toml:59:1"), "it points at the field: {out}");
    assert_eq!(Folder::with(&service(), &policy).check(Format::Text).1, 0);
    assert_eq!(Folder::with(&deterministic, templates::POLICY).check(Format::Text).1, 0);
}

#[test]
fn mistakes_in_the_policy() {
    #[rustfmt::skip]
    let cases: &[Case<'_>] = &[
        ("no version", In::Policy, "version = 1", "revision = 1", 2),
        ("a category without nature", In::Policy, "\"pd:Name\", nature = \"identifying\"", "\"pd:Name\"", 1),
        ("an unknown nature", In::Policy, "nature = \"identifying\"", "nature = \"identifyng\"", 1),
        ("an id that is none", In::Policy, "\"pd:Name\"", "\"name\"", 1),
        ("an unknown mask", In::Policy, "mask = \"initials\"", "mask = \"initial\"", 1),
        ("generalised, but how", In::Policy, ", generalise = \"postcode-prefix:3\"", "", 1),
        ("an unknown level", In::Policy, "reveal  = { name = \"masked\" }", "reveal  = { name = \"hidden\" }", 1),
        ("a level that is a number", In::Policy, "reveal  = { name = \"masked\" }", "reveal  = { name = 3 }", 1),
        ("an unknown category", In::Policy, "reveal  = { name = \"masked\" }", "reveal  = { nmae = \"masked\" }", 1),
        ("a category to write that does not exist", In::Policy, "writes  = []", "writes  = [\"adress\"]", 1),
        ("an unknown caller", In::Policy, "callers = [\"mailer\"]", "callers = [\"mailerr\"]", 1),
        ("a caller twice", In::Policy, "callers = [\"mailer\"]", "callers = [\"mailer\", \"mailer\"]", 1),
        ("callers that are no list", In::Policy, "callers = [\"mailer\"]", "callers = \"mailer\"", 1),
        ("a caller left without a purpose", In::Policy, "callers = [\"shipping\", \"shop\"]", "callers = [\"shop\"]", 1),
        ("a category nobody sees", In::Policy, "address = { dpv", "spare = { dpv = \"pd:Age\", nature = \"linkable\" }\naddress = { dpv", 0),
        ("a purpose of a kind that is forbidden", In::Policy, "\"dpv:Marketing\"", "\"dpv:SellDataToThirdParties\"", 1),
        ("a purpose the vocabulary does not have", In::Policy, "\"dpv:Marketing\"", "\"dpv:Marketting\"", 1),
        ("a purpose without an id of the vocabulary", In::Policy, "dpv     = \"dpv:Marketing\"\n", "", 1),
        ("consent", In::Policy, "writes  = []", "consent = \"opt-in\"\nwrites  = []", 0),
        ("facts that must hold", In::Policy, "writes  = []", "needs = [\"acceptance\"]\nwrites  = []", 0),
        ("a fact that is not declared", In::Policy, "writes  = []", "needs = [\"aceptance\"]\nwrites  = []", 1),
        ("a purpose of a later version", In::Policy, "writes  = []", "since = 9\nwrites  = []", 1),
        ("what must be given", In::Policy, "writes  = []", "required = [\"name\"]\nwrites  = []", 1),
        ("a limit with a condition", In::Policy, "[never]", "[age]\nminor = { under = 18 }\n[limit.minors]\nwhen = \"minor\"\nat_most = { \"*\" = \"absent\" }\n[never]", 0),
        ("a limit that is never reached", In::Policy, "[never]", "[limit.lost]\nwhen = \"consent\"\nunless = [\"consent\"]\nat_most = { \"*\" = \"absent\" }\n[never]", 1),
        ("a limit that always applies", In::Policy, "[never]", "[limit.cards]\npurposes = [\"delivery\"]\nat_most = { id-card = \"sealed\" }\n[never]", 0),
        ("a limit on a purpose that is not there", In::Policy, "[never]", "[limit.cards]\npurposes = [\"deliver\"]\nat_most = { id-card = \"sealed\" }\n[never]", 1),
        ("an exception", In::Policy, "[never]", "[exception.demand]\ndpv = \"dpv:LegalCompliance\"\ncallers = [\"shop\"]\nreveal = { name = \"clear\" }\nevidence = [\"law\"]\napprovers = 2\nttl = \"72h\"\ntell_subject = \"after\"\n[never]", 1),
        ("an exception that is not whole", In::Policy, "[never]", "[exception]\nauthority-demand = { approvers = 2, ttl = \"3 weeks\" }\n[never]", 5),
        ("a promise that the other file does not keep", In::Policy, "[never]", "[always]\ntls = {}\n[never]", 1),
        ("a promise nobody knows", In::Policy, "[never]", "[always]\ntsl = {}\n[never]", 1),
        ("a category shown that is never", In::Policy, "[never]", "[never]\ncards = { categories = [\"id-card\"] }", 2),
        ("a clause that is none", In::Policy, "writes  = []", "clauses = [\"003-21\", \"3.22\"]\nwrites  = []", 1),
        ("a recipient that is no caller", In::Policy, "[never]", "[recipient]\ncarrier = { kind = \"processor\" }\n[never]", 1),
        ("a recipient of an unknown kind", In::Policy, "[never]", "[recipient]\nshipping = { kind = \"proccessor\" }\n[never]", 1),
        ("a never that forbids nothing", In::Policy, "sale = { purposes = [\"dpv:SellDataToThirdParties\"] }", "sale = { purposes = [] }", 1),
        ("a test for an unknown purpose", In::Policy, "purpose = \"marketing\", facts", "purpose = \"marketeering\", facts", 1),
        ("a test with a fact", In::Policy, "purpose = \"marketing\", facts = []", "purpose = \"marketing\", facts = [\"minor\"]", 1),
        ("a test that expects nothing", In::Policy, "expect = { name = \"masked\", \"*\" = \"absent\" }", "expect = {}", 1),
        ("delete in quotation marks", In::Policy, "delete  = true", "delete  = \"true\"", 1),
    ];
    snapshot("policy", &outputs(cases));
}

#[test]
fn files_that_are_not_toml() {
    #[rustfmt::skip]
    let cases: &[Case<'_>] = &[
        ("no quotation marks", In::Service, "\"127.0.0.1:8080\"", "127.0.0.1:8080", 1),
        ("a word without quotation marks", In::Service, "\ndialect = \"rest\"", "\ndialect = rest", 1),
        ("no value", In::Service, "\ndialect = \"rest\"", "\ndialect =", 1),
        ("no equals sign", In::Service, "\ndialect = \"rest\"", "\ndialect \"rest\"", 1),
        ("a quotation mark left open", In::Service, "\ndialect = \"rest\"", "\ndialect = \"rest", 1),
        ("a header left open", In::Service, "[store]", "[store", 1),
        ("a header twice", In::Service, "[store]", "[listen]\nadmin = \"127.0.0.1:1\"\n[store]", 1),
        ("a key twice", In::Service, "\ndialect = \"rest\"", "\ndialect = \"rest\"\ndialect = \"couchdb\"", 1),
        ("a table left open", In::Service, "path = \"keys/kek\" }", "path = \"keys/kek\"", 1),
        ("a comma is missing", In::Service, "\"file\", path", "\"file\" path", 1),
        ("a list left open", In::Service, "\"$.items[*]\"]", "\"$.items[*]\"", 1),
        ("a secret on a line that is not TOML", In::Service, "\ndialect = \"rest\"", "\ndialect = \"rest\"\nauth = { basic = \"admin:hunter2 }", 1),
        ("a header of the policy left open", In::Policy, "[category]", "[category", 1),
        ("a line of prose", In::Policy, "[never]", "and never do this:\n[never]", 1),
        ("two mistakes of the kind", In::Policy, "policy = { id = \"example-shop\", version = 1 }", "policy = { id = example-shop, version = 1 }\nother = ", 2),
        ("not text at all", In::Policy, "policy = ", "\0\u{1}\u{feff}\u{202e} = ", 2),
    ];
    snapshot("syntax", &outputs(cases));
}

/// The template in front of CouchDB.
fn couchdb(service: &str) -> String {
    let mut text = service.to_owned();
    for (from, to) in [
        ("\"embedded:data/documents.redb\"", "\"http://127.0.0.1:5984\""),
        ("\ndialect = \"rest\"", "\ndialect = \"couchdb\""),
        ("match   = \"/customers/{id}\"", "match   = \"customers\""),
        ("rows    = [", "# rows = ["),
    ] {
        assert!(text.contains(from), "{from}");
        text = text.replacen(from, to, 1);
    }
    text
}

#[test]
fn mistakes_in_front_of_couchdb() {
    let base = couchdb(&service());
    let (good, code) = Folder::with(&base, templates::POLICY).check(Format::Text);
    assert_eq!(code, 0, "{good}");
    let mut all = String::new();
    for (title, from, to) in [
        ("the embedded store speaks rest", "url     = \"http://127.0.0.1:5984\"", "url = \"embedded:data/documents.redb\""),
        ("outside", "\ndialect = \"couchdb\"", "\ndialect = \"couchdb\"\noutside = \"pass\""),
        ("views", "strict  = true", "views = \"trusted\""),
        ("rows", "# rows = [", "rows = ["),
        ("id", "subject = \"{id}\"", "id = \"$.id\""),
        ("query", "subject = \"{id}\"", "query = [\"page\"]"),
        ("revision", "subject = \"{id}\"", "revision = \"etag\""),
        ("a path", "\"customers\"", "\"/customers/{id}\""),
        ("a database of CouchDB itself", "\"customers\"", "\"_users\""),
        ("a member of CouchDB itself", "\"$.name\"", "\"$._rev\""),
    ] {
        assert!(base.contains(from), "{from}");
        let folder = Folder::with(&base.replacen(from, to, 1), templates::POLICY);
        let (out, code) = folder.check(Format::Text);
        assert_eq!(code, 2, "{title}: {out}");
        assert_eq!(folder.load().unwrap_err().len(), 1, "{title}: {out}");
        all = format!("{all}==== {title}\n{}\n\n", out.trim_end());
    }
    snapshot("couchdb", &all);
}

#[test]
fn t40_attachments_pass_by_a_word_and_with_a_warning() {
    let with = |service: &str, word: &str| {
        let line = format!("subject = \"{{id}}\"\nattachments = \"{word}\"");
        Folder::with(&service.replacen("subject = \"{id}\"", &line, 1), templates::POLICY).check(Format::Text)
    };
    let couchdb = couchdb(&service());
    let (out, code) = with(&couchdb, "pass");
    assert!(code == 0 && out.contains("warning") && out.contains("stored and served as they are, unprotected"), "{code} {out}");
    assert_eq!(with(&couchdb, "refuse").1, 0);
    assert_eq!(with(&couchdb, "yes").1, 2);
    let (out, code) = with(&service(), "pass");
    assert!(code == 2 && out.contains("for the dialect couchdb only"), "{code} {out}");
}

#[test]
fn files_that_cannot_be_read() {
    let folder = Folder::with(&service(), templates::POLICY);
    fs::remove_file(folder.file()).unwrap();
    let (missing, code) = folder.check(Format::Text);
    assert_eq!(code, 2);
    fs::create_dir(folder.file()).unwrap();
    let (is_folder, code) = folder.check(Format::Text);
    assert_eq!(code, 2);
    fs::remove_dir(folder.file()).unwrap();
    fs::write(folder.file(), b"controller = \"\xff\"\n").unwrap();
    let (not_text, code) = folder.check(Format::Text);
    assert_eq!(code, 2);
    fs::write(folder.file(), vec![b'#'; (16 << 20) + 1]).unwrap();
    let (large, code) = folder.check(Format::Text);
    assert_eq!(code, 2);
    fs::write(folder.file(), b"").unwrap();
    let (empty, code) = folder.check(Format::Text);
    assert_eq!(code, 2);
    snapshot("unreadable", &[missing, is_folder, not_text, large, empty].join("\n====\n"));
}

#[test]
fn a_syntax_error_in_one_file_does_not_hide_findings_of_the_other() {
    let service = service().replacen("[listen]", "[listen", 1).replacen("dir = ", "dri = ", 1);
    let policy = templates::POLICY.replacen("nature = \"identifying\"", "nature = \"identifing\"", 1).replacen(
        "id = \"example-shop\"",
        "id = ",
        1,
    );
    let findings = Folder::with(&service, &policy).load().unwrap_err();
    let said: Vec<String> = findings.iter().map(|finding| finding.message.clone()).collect();
    assert_eq!(said.len(), 4, "{findings}");
    for part in ["header is not closed", "`dri`", "nothing before this comma", "identifing"] {
        assert!(said.iter().any(|message| message.contains(part)), "{part}: {findings}");
    }
}

#[test]
fn settings_are_as_the_files_say() {
    use sudare::base::Bind;
    use sudare::field::{Generalise, Mask, OnBadValue, Subject};
    let service = service()
        .replacen(
            "\ndialect = \"rest\"",
            "\ndialect = \"rest\"\nauth = { basic = \"env:DATABASE_AUTH\" }\nreply_timeout_ms = 1_000",
            1,
        )
        .replacen("\"127.0.0.1:8080\"", "\"unix:run/sudare.sock\"", 1)
        .replacen(
            "phone   = \"$.phone\"",
            "phone = { at = \"$.phones[*]\", mask = \"phone\", pad = \"none\", seal_null = true }",
            1,
        );
    let folder = Folder::with(&service, templates::POLICY);
    let settings = folder.load().unwrap();
    let dir = folder.file().parent().unwrap().to_owned();
    assert_eq!(settings.controller.as_str(), "example-shop");
    assert_eq!(settings.listen.address, config::Endpoint::Unix(dir.join("run/sudare.sock")));
    assert_eq!(settings.store, sudare::store::Config::Embedded(dir.join("data/sudare.redb")));
    assert_eq!(settings.audit.dir, dir.join("data/audit"));
    assert_eq!(settings.audit.durable_timeout.as_millis(), 2_000);
    assert_eq!(settings.keys.ring.as_file(), Some(dir.join("keys/ring.json").as_path()));
    assert_eq!(settings.upstream.endpoint, sudare::upstream::Endpoint::Embedded(dir.join("data/documents.redb")));
    assert_eq!(settings.upstream.reply_timeout.as_millis(), 1_000);
    let authorization = settings.upstream.authorization.as_ref().unwrap();
    assert!(authorization.is_sensitive());
    assert_eq!(authorization, "Basic c3VkYXJlOmNvcnJlY3QgaG9yc2U=");
    assert_eq!(settings.purpose_header, "data-purpose");
    assert!(settings.warnings.is_empty(), "{}", settings.warnings);
    assert_eq!(settings.dialect.name(), "rest");
    assert_eq!(settings.callers.names().len(), 5);

    let [collection] = settings.collections.as_slice() else { panic!("{} collections", settings.collections.len()) };
    assert_eq!(collection.plans.len(), settings.dialect.row_sets(0).len());
    let map = &collection.field_map;
    assert_eq!(
        (map.bind, map.strict, map.on_bad_value, &map.subject),
        (Bind::Subject, true, OnBadValue::Refuse, &Subject::DocumentId)
    );
    let field = |name: &str| map.fields.iter().find(|field| field.name.as_str() == name).unwrap();
    assert_eq!(field("name").mask, Mask::Initials);
    assert_eq!((field("phone").mask.clone(), field("phone").pad, field("phone").seal_null), (Mask::Phone, 0, true));
    assert_eq!((field("address").generalise.clone(), field("address").pad), (Some(Generalise::PostcodePrefix(3)), 32));
    assert_eq!(field("address").mask, Mask::All);
    assert_eq!(field("id-card").category_name.as_str(), "id-card");
    let categories = settings.policy.categories();
    let ids: Vec<usize> = ["name", "id-card"].iter().map(|name| usize::from(field(name).category.0)).collect();
    assert_eq!(categories[ids[0]].name.as_str(), "name");
    assert_eq!(categories[ids[1]].name.as_str(), "id-card");
}

#[test]
fn bound_to_the_document_without_a_subject() {
    let folder = Folder::with(&service().replacen("subject = ", "# subject = ", 1), templates::POLICY);
    let settings = folder.load().unwrap();
    assert_eq!(settings.collections[0].field_map.bind, sudare::base::Bind::Document);
}

#[test]
fn the_policy_alone_needs_no_environment() {
    let service = service().replacen("\ndialect = \"rest\"", "\ndialect = \"rest\"\nauth = { basic = \"env:NOT_SET\" }", 1);
    let folder = Folder::with(&service, templates::POLICY);
    assert!(folder.load().is_err());
    let policy = config::load_policy_only(&folder.file()).unwrap();
    assert_eq!(policy.spec.tests.len(), 4);
    assert_eq!(policy.policy_file, folder.file().with_file_name("policy.toml"));
    assert_eq!(policy.policy.pseudonym_scopes(), ["statistics"]);
}

#[test]
fn t13_nothing_secret_is_printed() {
    const SECRET: &str = "dGhpcyBpcyB0aGUgc2VjcmV0";
    for (from, to) in [
        ("\ndialect = \"rest\"", format!("\ndialect = \"rest\"\nauth = {{ basic = \"{SECRET}\" }}")),
        ("\ndialect = \"rest\"", format!("\ndialect = \"rest\"\nauth = {{ bearer = \"{SECRET}\", more = 1 }}")),
        ("\ndialect = \"rest\"", format!("\ndialect = \"rest\"\nauth = \"{SECRET}\"")),
        ("\ndialect = \"rest\"", format!("\ndialect = \"rest\"\nauth = [\"{SECRET}\"]")),
        ("\"embedded:data/documents.redb\"", format!("\"http://a:{SECRET}@127.0.0.1/?x\"")),
        ("\"embedded:data/documents.redb\"", format!("\"mongodb://a:{SECRET}@127.0.0.1/\"")),
        ("\"redb:data/sudare.redb\"", format!("\"postgres://a:{SECRET}@127.0.0.1/\"")),
        ("kek  = {", format!("kek = {{ passphrase = \"{SECRET}\",")),
        ("kek  = {", format!("kek = \"{SECRET}\" #")),
        ("[caller.shop]\n", format!("[caller.shop]\ncredential = \"{SECRET}\"\n")),
        ("[caller.shop]\ncredential_sha256 = \"", format!("[caller.shop]\ncredential_sha256 = \"{SECRET}")),
        ("[caller.shop]\ncredential_sha256 = \"", format!("[caller.shop]\ncredential_sha256 = {SECRET} \"")),
    ] {
        let text = service();
        assert!(text.contains(from), "{from}");
        let folder = Folder::with(&text.replacen(from, &to, 1), templates::POLICY);
        for format in [Format::Text, Format::Json] {
            let (out, code) = folder.check(format);
            assert_eq!(code, 2, "{to}");
            assert!(!out.contains(SECRET), "{to}\n{out}");
        }
    }
}

#[path = "check/init.rs"]
mod init_command;

#[path = "check/tls.rs"]
mod tls;

#[path = "check/jwt.rs"]
mod jwt;

#[path = "check/mutations.rs"]
mod mutations;

#[path = "check/upstream_tls.rs"]
mod upstream_tls;

/// Files of ours that people copy from.
#[test]
fn example_files_are_good() {
    let interop = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/couchdb");
    let (Ok(mut text), Ok(policy)) =
        (fs::read_to_string(interop.join("sudare.toml")), fs::read_to_string(interop.join("policy.toml")))
    else {
        return;
    };
    text = text.replace("@UPSTREAM@", "http://127.0.0.1:5984");
    for (byte, name) in (1_u8..).zip(templates::CALLERS.into_iter().chain(["keeper"])) {
        text = text.replace(&format!("@{}@", name.to_uppercase()), &format!("{byte:02x}").repeat(32));
    }
    let (out, code) = Folder::with(&text, &policy).check(Format::Text);
    assert_eq!(code, 0, "{out}");
}

#[test]
fn a_wrong_name_is_said_once() {
    let policy = templates::POLICY.replace("purpose.marketing", "purpose.Marketing").replace("\"marketing\"", "\"Marketing\"");
    let findings = Folder::with(&service(), &policy).load().unwrap_err();
    assert_eq!(findings.len(), 1, "{findings}");
    let policy = templates::POLICY.replace("phone ", "Phone ");
    let service = service().replace("phone   = \"$.phone\"", "phone = { at = \"$.phone\", category = \"Phone\" }");
    let findings = Folder::with(&service, &policy).load().unwrap_err();
    assert!(findings.iter().all(|finding| finding.message.contains("\"Phone\"")), "{findings}");
    let service = self::service().replace("caller.mailer", "caller.Mailer");
    let policy = templates::POLICY.replace("\"mailer\"", "\"Mailer\"");
    let findings = Folder::with(&service, &policy).load().unwrap_err();
    assert_eq!(findings.len(), 1, "{findings}");
}

#[test]
fn nothing_is_refused_in_silence() {
    for (from, to) in [
        ("kek  = { provider = \"file\", path = \"keys/kek\" }", "kek = {}"),
        ("kek  = { provider = \"file\", path = \"keys/kek\" }", "kek = { path = \"keys/kek\" }"),
        ("[audit]\n", "[audit]\n[limits]\n"),
        ("controller = \"example-shop\"", "controller = 1979-05-27"),
    ] {
        let text = service();
        assert!(text.contains(from), "{from}");
        match Folder::with(&text.replacen(from, to, 1), templates::POLICY).load() {
            Ok(_) => panic!("{to} passed"),
            Err(findings) => assert!(
                !findings.to_string().contains("failed to say why") && findings.errors() == findings.len(),
                "{to}: {findings}"
            ),
        }
    }
    let none = service().split("[caller.shop]").next().unwrap().to_owned() + "[caller]\n[collection]\n";
    let findings = Folder::with(&none, "policy = { id = \"p\", version = 1 }\n[category]\n[purpose]\n").load().unwrap_err();
    assert_eq!(findings.errors(), 2, "{findings}");
}
