//! Callers known by a signed JWT: what they see, what the database does not see, and what becomes of them when their issuer rotates its
//! keys, goes away or lies.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use http::Method;
use serde_json::{Value, json};
use sudare::app::{self, Running};
use sudare::config::{self, Endpoint};

use crate::support::issuer::{Signer, key_set};
use crate::support::{
    Answer, CLEAR, Came, Idp, Live, PERSON, Pki, Process, Proxy, Says, Setup, SlowDatabase, Stub, StubReply, exchange_raw, send,
};

/// Long enough for any machine; nothing waits for it that goes well.
const GENEROUS: Duration = Duration::from_mins(2);
const ISS: &str = "https://idp.example/";

/// Seconds since 1970.
fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

fn claims(subject: &str) -> Value {
    json!({"iss": ISS, "aud": "sudare", "sub": subject, "purpose": ["support", "delivery"], "nbf": now() - 60, "exp": now() + 600})
}

fn with(mut claims: Value, changes: &Value) -> Value {
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims
}

/// The files of a proxy whose callers `helpdesk` and `shipping` have tokens. `jwks` and more members stand in `[jwt.idp]`.
fn files(setup: Setup, keys: Option<&Signer>, members: &str) -> (tempfile::TempDir, PathBuf) {
    // Support is a purpose of both, so that shipping has two.
    let policy = setup.policy.replacen("callers = [\"helpdesk\"]", "callers = [\"helpdesk\", \"shipping\"]", 1);
    let (folder, file) = Setup { policy, ..setup }.files();
    if let Some(signer) = keys {
        fs::write(folder.path().join("keys.json"), key_set(&[signer])).unwrap();
    }
    let mut text = fs::read_to_string(&file).unwrap();
    for caller in ["helpdesk", "shipping"] {
        let line =
            text.find(&format!("[caller.{caller}]")).and_then(|at| Some(at + text[at..].find("credential_sha256")?)).unwrap();
        let end = line + text[line..].find('\n').unwrap();
        text = format!("{}jwt = {{ issuer = \"idp\", subject = \"{caller}\" }}{}", &text[..line], &text[end..]);
    }
    write!(text, "[jwt.idp]\nissuer = \"{ISS}\"\naudience = \"sudare\"\nalgorithms = [\"ES256\", \"EdDSA\"]\n{members}\n")
        .unwrap();
    fs::write(&file, text).unwrap();
    (folder, file)
}

struct Front {
    folder: tempfile::TempDir,
    file: PathBuf,
    address: SocketAddr,
    running: Running,
}

impl Front {
    #[expect(clippy::unused_async, reason = "only to be called on a runtime")]
    async fn start(setup: Setup, keys: Option<&Signer>, members: &str) -> Self {
        let (folder, file) = files(setup, keys, members);
        let settings = config::load(&file).unwrap_or_else(|findings| panic!("{findings}"));
        let running = app::start(settings).unwrap_or_else(|error| panic!("{error}"));
        let Endpoint::Tcp(address) = *running.address() else { panic!("TCP expected") };
        Self { folder, file, address, running }
    }

    /// In front of the embedded store, with [`PERSON`] in it.
    async fn stored(keys: Option<&Signer>, members: &str) -> Self {
        let front = Self::start(Setup::embedded(), keys, members).await;
        front.store().await;
        front
    }

    async fn store(&self) {
        let headers = [
            ("sudare-credential", &*Proxy::credential("shop")),
            ("data-purpose", "registration"),
            ("content-type", "application/json"),
        ];
        let stored = send(self.address, Method::POST, "/customers", &headers, PERSON).await.unwrap();
        assert_eq!(stored.status, 201, "{}", stored.text());
    }

    async fn ask(&self, token: &str, purpose: Option<&str>) -> Answer {
        let bearer = format!("Bearer {token}");
        let mut headers = vec![("authorization", bearer.as_str())];
        headers.extend(purpose.map(|purpose| ("data-purpose", purpose)));
        send(self.address, Method::GET, "/customers/c-1", &headers, "").await.unwrap()
    }

    fn printed(&self) -> String {
        self.running.metrics().encode()
    }

    fn counts(&self, line: &str) -> bool {
        self.printed().lines().any(|printed| printed == line)
    }

    async fn until_counted(&self, line: &str) {
        within(&format!("{line} in\n{}", self.printed()), async || self.counts(line)).await;
    }

    async fn ready(&self) -> (u16, String) {
        let Some(Endpoint::Tcp(admin)) = self.running.admin() else { panic!("TCP expected") };
        let answer = send(*admin, Method::GET, "/readyz", &[], "").await.unwrap();
        (answer.status.as_u16(), answer.text())
    }

    async fn stop(self) {
        let _stopped = self.running.stop().await;
    }
}

/// Waits until it is so.
async fn within(what: &str, is_so: impl AsyncFn() -> bool) {
    let started = Instant::now();
    while !is_so().await {
        assert!(started.elapsed() < GENEROUS, "never: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn signer() -> Signer {
    Signer::new("k1", "ES256")
}

const FILE: &str = "jwks = \"keys.json\"";

fn fetched(idp: &Idp) -> String {
    format!("jwks = \"http://{}/jwks\"\nrefresh_s = 5\nstale_s = 5\ntimeout_ms = 500", idp.address)
}

#[tokio::test]
async fn a_token_names_its_caller_and_the_purposes_it_is_for() {
    let signer = signer();
    let front = Front::stored(Some(&signer), FILE).await;
    let helpdesk = signer.token(&with(claims("helpdesk"), &json!({"purpose": "support"})));
    let shipping = signer.token(&claims("shipping"));
    let seen = front.ask(&helpdesk, None).await;
    assert_eq!((seen.status.as_u16(), seen.json()["phone"].as_str()), (200, Some("••••1234")), "one purpose needs no header");
    assert_eq!(front.ask(&helpdesk, Some("support")).await.status, 200);
    let delivery = front.ask(&shipping, Some("delivery")).await;
    assert_eq!((delivery.status.as_u16(), delivery.json()["phone"].as_str()), (200, Some("+81355501234")));
    assert_eq!(front.ask(&shipping, Some("support")).await.json()["phone"], "••••1234");
    assert_eq!(front.ask(&shipping, None).await.outcome(), (403, "purpose-missing".to_owned()));

    // The header selects among the token's purposes, the token among the policy's.
    let narrow = signer.token(&with(claims("shipping"), &json!({"purpose": "support"})));
    assert_eq!(front.ask(&narrow, Some("delivery")).await.outcome(), (403, "purpose-refused".to_owned()));
    assert_eq!(front.ask(&narrow, None).await.json()["phone"], "••••1234");
    let wide = signer.token(&with(claims("helpdesk"), &json!({"purpose": ["support", "delivery", "account"]})));
    assert_eq!(front.ask(&wide, Some("delivery")).await.outcome(), (403, "purpose-refused".to_owned()));
    assert_eq!(front.ask(&wide, None).await.status, 200, "one of them is usable");
    for (changes, purpose, status) in [
        (json!({"purpose": [], "scope": "openid dpv:DeliveryOfGoods"}), None, 200),
        (json!({"purpose": [], "scope": "dpv:DeliveryOfGoods"}), Some("dpv:DeliveryOfGoods"), 200),
        (json!({"purpose": [], "scope": "dpv:DeliveryOfGoods"}), Some("support"), 403),
        (json!({"purpose": [], "scope": "delivery"}), Some("delivery"), 403),
        (json!({"purpose": [], "authorization_details": [{"type": "sudare_purpose", "purposes": ["delivery"]}]}), None, 200),
        (json!({"purpose": [], "authorization_details": [{"type": "sudare_purpose", "purposes": ["marketing"]}]}), None, 403),
        (json!({"purpose": []}), Some("delivery"), 403),
    ] {
        let answer = front.ask(&signer.token(&with(claims("shipping"), &changes)), purpose).await;
        assert_eq!(answer.status, status, "{changes} {purpose:?}: {}", answer.text());
    }
    let mut silent = claims("shipping");
    silent.as_object_mut().unwrap().remove("purpose");
    assert_eq!(front.ask(&signer.token(&silent), Some("delivery")).await.outcome(), (403, "purpose-refused".to_owned()));
    let events =
        crate::support::events(&front.folder.path().join("data/audit"), &keys_of(&front.file), &sudare::audit::Filter::default());
    assert!(events.iter().any(|event| event.kind == "reveal" && event.caller.as_deref() == Some("helpdesk")));
    front.stop().await;

    let lax = Front::stored(Some(&signer), &format!("{FILE}\npurposes = \"from-policy\"")).await;
    assert_eq!(lax.ask(&signer.token(&silent), Some("delivery")).await.status, 200);
    assert_eq!(lax.ask(&narrow, Some("delivery")).await.status, 403, "one that names purposes is still bound to them");
    lax.stop().await;
}

fn keys_of(file: &Path) -> Vec<sudare::audit::Key> {
    let settings = config::load(file).unwrap();
    sudare::keys::KeyRing::open(&settings.keys).unwrap().audit_keys().unwrap()
}

#[tokio::test]
async fn t22_every_token_that_is_not_good_gets_one_answer() {
    let signer = signer();
    let front = Front::stored(Some(&signer), FILE).await;
    let forged = Signer::new("k1", "ES256").token(&claims("helpdesk"));
    let stranger = Signer::new("k9", "ES256").token(&claims("helpdesk"));
    let refused = [
        ("expired", signer.token(&with(claims("helpdesk"), &json!({"exp": now() - 3600})))),
        ("not-yet", signer.token(&with(claims("helpdesk"), &json!({"nbf": now() + 3600})))),
        ("audience", signer.token(&with(claims("helpdesk"), &json!({"aud": "other"})))),
        ("claim-malformed", signer.token(&with(claims("helpdesk"), &json!({"exp": 1.9e9})))),
        ("no-caller", signer.token(&claims("nobody"))),
        ("signature", forged),
        ("unknown-key", stranger),
        ("malformed", signer.sign(r#"{"alg":"none"}"#, &claims("helpdesk").to_string())),
        ("confirmation", signer.token(&with(claims("helpdesk"), &json!({"cnf": {"jkt": "x"}})))),
    ];
    let mut bodies = std::collections::BTreeSet::new();
    for (reason, token) in &refused {
        let answer = front.ask(token, Some("support")).await;
        assert_eq!(answer.outcome(), (401, "token-refused".to_owned()), "{reason}");
        assert_eq!(answer.headers["www-authenticate"], "Bearer error=\"invalid_token\"");
        assert!(front.counts(&format!("sudare_tokens_refused_total{{issuer=\"idp\",reason=\"{reason}\"}} 1")), "{reason}");
        bodies.insert(answer.text());
    }
    assert_eq!(bodies.len(), 1, "{bodies:?}");

    let good = signer.token(&claims("helpdesk"));
    let both = [("authorization", &*format!("Bearer {good}")), ("sudare-credential", &*Proxy::credential("mailer"))];
    let answer = send(front.address, Method::GET, "/customers/c-1", &both, "").await.unwrap();
    assert_eq!(answer.outcome(), (400, "malformed-credential".to_owned()));
    for path in ["/customers/c-1", "/elsewhere"] {
        let twice = format!(
            "GET {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {good}\r\nAuthorization: Basic eDp5\r\nConnection: close\r\n\r\n"
        );
        let answer = exchange_raw(front.address, twice.as_bytes(), GENEROUS).await;
        assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("malformed-request"), "{path}: {answer}");
    }
    let none = send(front.address, Method::GET, "/customers/c-1", &[], "").await.unwrap();
    assert_eq!(none.outcome(), (401, "caller-unknown".to_owned()));
    let offered: Vec<_> = none.headers.get_all("www-authenticate").iter().collect();
    assert_eq!(offered, ["Sudare-Credential", "Bearer"]);
    front.stop().await;
}

#[tokio::test]
async fn a_token_of_ours_never_reaches_the_database_and_any_other_does() {
    let database = Stub::start(|_| StubReply::json(200, r#"{"id":"c-1","tier":"gold"}"#)).await;
    let signer = signer();
    let front = Front::start(Setup::rest(database.address), Some(&signer), FILE).await;
    let good = signer.token(&with(claims("helpdesk"), &json!({"purpose": "support"})));
    let expired = signer.token(&with(claims("helpdesk"), &json!({"exp": 1})));
    assert_eq!(front.ask(&good, None).await.status, 200);
    for token in [&good, &expired] {
        for (method, path) in [(Method::GET, "/elsewhere"), (Method::POST, "/elsewhere"), (Method::OPTIONS, "/customers/c-1")] {
            let bearer = format!("bearer  {token}");
            let answer = send(front.address, method, path, &[("authorization", &bearer)], "").await.unwrap();
            assert_eq!(answer.status, 200, "{path}: nobody is asked for on such a route");
        }
    }
    let seen = database.seen();
    assert_eq!(seen.len(), 7);
    for request in &seen {
        assert!(!format!("{request:?}").contains("eyJ"), "{request:?}");
        assert!(!request.headers.contains_key("authorization"));
    }
    // The database's own, of whatever kind.
    let others = signer.token(&with(claims("helpdesk"), &json!({"iss": "https://other.example/"})));
    for own in ["Basic eDp5", "Bearer opaque", &format!("Bearer {others}")] {
        for path in ["/elsewhere", "/customers/c-1"] {
            let headers =
                [("authorization", own), ("sudare-credential", &*Proxy::credential("mailer")), ("data-purpose", "marketing")];
            assert_eq!(send(front.address, Method::GET, path, &headers, "").await.unwrap().status, 200);
            assert_eq!(database.seen().last().unwrap().headers["authorization"], own);
        }
    }
    assert_eq!(front.ask(&others, Some("support")).await.outcome(), (401, "caller-unknown".to_owned()));
    front.stop().await;
}

#[tokio::test]
async fn the_databases_own_credential_goes_in_place_of_a_token() {
    let database = Stub::start(|_| StubReply::json(200, r#"{"id":"c-1","tier":"gold"}"#)).await;
    let signer = signer();
    // Any variable that is there will do.
    let setup = Setup::rest(database.address).upstream("auth = { bearer = \"env:CARGO_PKG_NAME\" }");
    let front = Front::start(setup, Some(&signer), FILE).await;
    let good = signer.token(&with(claims("helpdesk"), &json!({"purpose": "support"})));
    assert_eq!(front.ask(&good, None).await.status, 200);
    assert_eq!(database.seen().last().unwrap().headers["authorization"], "Bearer sudare");
    front.stop().await;
}

#[tokio::test]
async fn an_issuer_may_be_late_lie_and_rotate_its_keys() {
    let (one, two) = (signer(), Signer::new("k2", "EdDSA"));
    let idp = Idp::start(Says::Status(500)).await;
    let front = Front::stored(None, &fetched(&idp)).await;
    let (by_one, by_two) = (one.token(&claims("helpdesk")), two.token(&claims("helpdesk")));
    let answer = front.ask(&by_one, Some("support")).await;
    assert_eq!(answer.outcome(), (503, "issuer-unavailable".to_owned()));
    assert!(answer.headers.contains_key("retry-after"));
    let (status, text) = front.ready().await;
    assert!(status == 503 && text.contains("issuers") && text.contains("idp"), "{text}");
    // Others are served meanwhile.
    let mailer = [("sudare-credential", &*Proxy::credential("mailer")), ("data-purpose", "marketing")];
    assert_eq!(send(front.address, Method::GET, "/customers/c-1", &mailer, "").await.unwrap().status, 200);
    front.until_counted("sudare_issuer_key_fetches_total{issuer=\"idp\",outcome=\"status\"} 1").await;

    let elsewhere = Idp::start(Says::Text(key_set(&[&one]))).await;
    for (lie, outcome) in [
        (Says::Text("<html>Welcome</html>".to_owned()), "not-keys"),
        (Says::Text("{\"keys\":[]}".to_owned()), "not-keys"),
        (Says::Text(format!("{{\"keys\":[{}\"\"]}}", " ".repeat(300 << 10))), "too-large"),
        (Says::To(format!("http://{}/jwks", elsewhere.address)), "status"),
        (Says::Nothing, "timeout"),
    ] {
        idp.say(lie);
        let counted = || {
            let of = format!("sudare_issuer_key_fetches_total{{issuer=\"idp\",outcome=\"{outcome}\"}} ");
            let printed = front.printed();
            printed.lines().find_map(|line| line.strip_prefix(&*of)?.parse::<u64>().ok()).unwrap_or(0)
        };
        let before = counted();
        within(outcome, async || counted() > before).await;
        assert_eq!(front.ask(&by_one, Some("support")).await.status, 503);
    }
    assert_eq!(elsewhere.asked(), 0, "redirects are not followed");

    idp.say(Says::Text(key_set(&[&one])));
    within("the keys are there", async || front.ask(&by_one, Some("support")).await.status == 200).await;
    let (status, text) = front.ready().await;
    assert_eq!(status, 200, "{text}");
    assert!(front.counts("sudare_issuer_keys{issuer=\"idp\"} 1"));
    assert_eq!(front.ask(&by_two, Some("support")).await.outcome(), (401, "token-refused".to_owned()));

    idp.say(Says::Text(key_set(&[&one, &two])));
    within("both keys are there", async || front.ask(&by_two, Some("support")).await.status == 200).await;
    assert_eq!(front.ask(&by_one, Some("support")).await.status, 200);
    idp.say(Says::Text(key_set(&[&two])));
    within("the old key is withdrawn", async || front.ask(&by_one, Some("support")).await.status == 401).await;
    assert_eq!(front.ask(&by_two, Some("support")).await.status, 200);
    front.stop().await;
}

#[tokio::test]
async fn keys_serve_for_a_bounded_time_while_they_cannot_be_fetched() {
    let signer = signer();
    let idp = Idp::start(Says::Text(key_set(&[&signer]))).await;
    let front = Front::stored(None, &fetched(&idp)).await;
    let token = signer.token(&claims("helpdesk"));
    within("the keys are there", async || front.ask(&token, Some("support")).await.status == 200).await;
    idp.say(Says::Status(503));
    let gone = Instant::now();
    // A reload while the issuer is away loses nothing.
    front.running.reload(&front.file).unwrap();
    let status = front.ask(&token, Some("support")).await.status;
    assert!(status == 200 || gone.elapsed() > Duration::from_secs(4), "they serve for a while");
    within("the keys are too old", async || match front.ask(&token, Some("support")).await.outcome() {
        (200, _) => false,
        other => {
            assert_eq!(other, (503, "issuer-unavailable".to_owned()));
            true
        }
    })
    .await;
    assert!(front.counts("sudare_issuer_keys{issuer=\"idp\"} 0"));
    let (status, text) = front.ready().await;
    assert_eq!(status, 200, "the others can still be served: {text}");
    idp.say(Says::Text(key_set(&[&signer])));
    within("and they are there again", async || front.ask(&token, Some("support")).await.status == 200).await;
    front.stop().await;
}

#[tokio::test]
async fn t20_clients_cannot_make_the_proxy_hammer_an_issuer() {
    let signer = signer();
    let idp = Idp::start(Says::Text(key_set(&[&signer]))).await;
    let members = format!("jwks = \"http://{}/jwks\"\nrefresh_s = 3600\nstale_s = 3600", idp.address);
    let front = Front::stored(None, &members).await;
    let token = signer.token(&claims("helpdesk"));
    within("the keys are there", async || front.ask(&token, Some("support")).await.status == 200).await;
    assert_eq!(idp.asked(), 1);
    let next = Signer::new("k2", "ES256");
    idp.say(Says::Text(key_set(&[&signer, &next])));
    let (by_next, started) = (next.token(&claims("helpdesk")), Instant::now());
    let mut refused = 0;
    while front.ask(&by_next, Some("support")).await.status != 200 {
        refused += 1;
        assert!(started.elapsed() < GENEROUS);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // Within an hour's refresh only an unknown key can have brought it; once every ten seconds, however many there are.
    let most = 2 + usize::try_from(started.elapsed().as_secs() / 10).unwrap();
    assert!(refused > 0 && idp.asked() <= most, "{refused} refused, {} fetched in {:?}", idp.asked(), started.elapsed());
    front.stop().await;
}

#[tokio::test]
async fn t21_keys_come_from_a_server_that_is_verified() {
    let folder = tempfile::tempdir().unwrap();
    let (pki, other) = (Pki::new(folder.path(), "idp"), Pki::new(folder.path(), "other"));
    let signer = signer();
    let token = signer.token(&claims("helpdesk"));
    let right = pki.server("right", &["localhost"]);
    let wrong_name = pki.server("wrong-name", &["elsewhere.example"]);
    let wrong_authority = other.server("wrong-authority", &["localhost"]);
    for (files, good) in [(right, true), (wrong_name, false), (wrong_authority, false)] {
        let idp = Idp::behind(Says::Text(key_set(&[&signer])), Some(&files)).await;
        let ca = folder.path().join("idp-ca.pem");
        let members = format!("jwks = \"https://localhost:{}/jwks\"\nca = \"{}\"", idp.address.port(), ca.display());
        let front = Front::stored(None, &members).await;
        if good {
            within("the keys are there", async || front.ask(&token, Some("support")).await.status == 200).await;
        } else {
            front.until_counted("sudare_issuer_key_fetches_total{issuer=\"idp\",outcome=\"tls\"} 1").await;
            assert_eq!(front.ask(&token, Some("support")).await.status, 503);
            assert_eq!(idp.asked(), 0);
        }
        front.stop().await;
    }
}

#[tokio::test]
async fn keys_in_a_file_are_read_again_on_reload_or_nothing_is() {
    let (one, two) = (signer(), Signer::new("k1", "EdDSA"));
    let front = Front::stored(Some(&one), FILE).await;
    let (by_one, by_two) = (one.token(&claims("helpdesk")), two.token(&claims("helpdesk")));
    assert_eq!(front.ask(&by_one, Some("support")).await.status, 200);
    let keys = front.folder.path().join("keys.json");
    fs::write(&keys, "{}").unwrap();
    assert!(front.running.reload(&front.file).is_err());
    assert_eq!(front.ask(&by_one, Some("support")).await.status, 200);
    fs::write(&keys, key_set(&[&two])).unwrap();
    front.running.reload(&front.file).unwrap();
    assert_eq!(front.ask(&by_one, Some("support")).await.status, 401);
    assert_eq!(front.ask(&by_two, Some("support")).await.status, 200);
    assert!(config::load(&front.file).unwrap().files().contains(&keys), "a change of it is noticed");
    front.stop().await;
}

#[tokio::test]
async fn t33_a_feed_ends_with_the_token_even_if_it_is_silent() {
    let database = SlowDatabase::start().await;
    let signer = signer();
    let front = Front::start(Setup::couchdb(database.address), Some(&signer), &format!("{FILE}\nleeway_s = 0")).await;
    for rows in [false, true] {
        let ends = now() + 4;
        let token = signer.token(&with(claims("helpdesk"), &json!({"purpose": "support", "exp": ends})));
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_str())];
        let begin = async {
            let mut waiting = database.asked().await;
            waiting.begin("application/json").await;
            waiting
        };
        let path = "/customers/_changes?feed=continuous&include_docs=true&heartbeat=1000";
        let (mut live, mut waiting) = tokio::join!(Live::open(front.address, &headers, Method::GET, path, ""), begin);
        assert_eq!(live.status, 200);
        waiting.say("{\"seq\":1,\"id\":\"c-1\",\"doc\":{\"_id\":\"c-1\",\"tier\":\"gold\"}}\n").await;
        let Came::Text(row) = live.next(GENEROUS).await else { panic!("a row") };
        assert!(row.contains("gold"));
        let came = loop {
            if rows {
                waiting.say("{\"seq\":2,\"id\":\"c-2\",\"doc\":{\"_id\":\"c-2\",\"tier\":\"tin\"}}\n").await;
            }
            match live.next(if rows { Duration::from_millis(100) } else { GENEROUS }).await {
                Came::Text(_) | Came::Nothing => assert!(now() <= ends + 60, "it never ends"),
                other @ (Came::End | Came::Broken) => break other,
            }
        };
        assert_eq!(came, Came::Broken, "it is reset, not ended as if it were whole");
        assert!(now() >= ends, "it lasted as long as the token");
    }
    front.stop().await;
}

#[tokio::test]
async fn t13_no_token_in_logs_audit_metrics_or_answers() {
    let signer = signer();
    let (folder, file) = files(Setup::embedded(), Some(&signer), FILE);
    let log = folder.path().join("log");
    let process = Process::logging(&file, &log);
    let address: SocketAddr = process.address.parse().unwrap();
    let canary = "kanarie-7f3a";
    let mut tokens = Vec::new();
    let mut answers = String::new();
    for (subject, changes) in [
        ("helpdesk", json!({"jti": canary})),
        (canary, json!({"jti": canary})),
        ("helpdesk", json!({"jti": canary, "exp": 1})),
        ("helpdesk", json!({"purpose": canary})),
        ("helpdesk", json!({"aud": canary})),
        ("helpdesk", json!({"cnf": {"jkt": canary}})),
    ] {
        let token = signer.token(&with(claims(subject), &changes));
        let headers = [("authorization", &*format!("Bearer {token}")), ("data-purpose", "support")];
        for path in ["/customers/c-1", "/elsewhere"] {
            let answer = send(address, Method::GET, path, &headers, "").await.unwrap();
            write!(answers, "{:?} {}", answer.headers, answer.text()).unwrap();
        }
        tokens.push(token);
    }
    let stranger = Signer::new("kanarie-7f3a", "ES256").token(&claims("helpdesk"));
    let headers = [("authorization", &*format!("Bearer {stranger}"))];
    answers += &send(address, Method::GET, "/customers/c-1", &headers, "").await.unwrap().text();
    tokens.push(stranger);
    let written = || fs::read_to_string(&log).unwrap();
    within("the refusals are logged", async || written().contains("unknown-key")).await;
    drop(process);
    let mut all = answers + &written();
    for entry in fs::read_dir(folder.path().join("data/audit")).unwrap() {
        all += &String::from_utf8_lossy(&fs::read(entry.unwrap().path()).unwrap_or_default());
    }
    assert!(all.contains("a token was refused") && all.contains("no-caller"), "the log was really collected: {all}");
    assert!(!all.contains(canary), "{all}");
    for token in &tokens {
        for part in token.split('.') {
            assert!(!all.contains(part), "{all}");
        }
    }
    assert!(CLEAR.iter().all(|value| !all.contains(value)));
}
