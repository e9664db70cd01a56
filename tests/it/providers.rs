//! A ring whose KEK Vault keeps, end to end: what it may cost a request that the provider is slow, away, lying, or says no; who we are to
//! it; and what becomes of keys that nobody confirms. The provider is a stub of the published API (`support/keeper.rs`).

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use http::Method;
use sudare::app::{self, Running};
use sudare::base::{Controller, SystemClock};
use sudare::config::{self, Endpoint, Settings};
use sudare::keys::{self, Change, CustodyLimits, Denied, Kek, KeyRing, LineName, Onto};

use crate::support::keeper::{Keeper, Mood, TOKEN};
use crate::support::{Answer, PERSON, Pki, Proxy, Setup, send};

/// Long enough for any machine; nothing waits for it that goes well.
const GENEROUS: Duration = Duration::from_mins(2);

const WITH_TOKEN: &str = "token = \"file:keys/vault-token\"";
const WITH_ROLE: &str = "approle = { role_id = \"file:keys/role-id\", secret_id = \"file:keys/secret-id\" }";

fn secret_file(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// The files of a proxy whose KEK the keeper has, without a ring.
fn files(kek: &str) -> (tempfile::TempDir, PathBuf) {
    let (folder, file) = Setup::embedded().files();
    fs::remove_dir_all(folder.path().join("keys")).unwrap();
    let text = fs::read_to_string(&file).unwrap();
    let old = "kek = { provider = \"file\", path = \"keys/kek\" }";
    assert!(text.contains(old));
    fs::write(&file, text.replace(old, kek)).unwrap();
    secret_file(&folder.path().join("keys/vault-token"), &format!("{TOKEN}\n"));
    secret_file(&folder.path().join("keys/role-id"), "db02de05-fa39");
    secret_file(&folder.path().join("keys/secret-id"), "841771dc-canary-secret-id");
    (folder, file)
}

/// `more` may end in `#slow`: then a question may take long.
fn table(keeper: &Keeper, more: &str) -> String {
    let (more, timeout) = more.strip_suffix("#slow").map_or((more, 300), |more| (more, 8_000));
    format!(
        "kek = {{ provider = \"vault-transit\", url = \"http://{}\", key = \"sudare\", timeout_ms = {timeout}, {more} }}",
        keeper.address
    )
}

fn settings(file: &Path) -> Settings {
    config::load(file).unwrap_or_else(|findings| panic!("{findings}"))
}

fn init(file: &Path) -> Result<keys::InitReport, keys::KeyError> {
    let settings = settings(file);
    keys::init(&settings.keys, &settings.policy.pseudonym_scopes(), &SystemClock)
}

fn limited(settings: &mut Settings, soft: u64, hard: u64, on_denied: Denied) {
    let Kek::Provider { limits, .. } = &mut settings.keys.kek else { panic!("a provider expected") };
    *limits = CustodyLimits { soft: Duration::from_millis(soft), hard: Duration::from_millis(hard), denied: on_denied };
}

struct Front {
    folder: tempfile::TempDir,
    file: PathBuf,
    address: std::net::SocketAddr,
    running: Running,
}

impl Front {
    /// With [`PERSON`] stored.
    async fn start(keeper: &Keeper, more: &str, change: impl FnOnce(&mut Settings)) -> Self {
        let (folder, file) = files(&table(keeper, more));
        init(&file).unwrap();
        let mut settings = settings(&file);
        change(&mut settings);
        let running = app::start(settings).unwrap_or_else(|error| panic!("{error}"));
        let Endpoint::Tcp(address) = *running.address() else { panic!("TCP expected") };
        let front = Self { folder, file, address, running };
        let stored = front.ask("shop", "registration", Method::POST, "/customers", PERSON).await;
        assert_eq!(stored.status, 201, "{}", stored.text());
        front
    }

    async fn ask(&self, caller: &str, purpose: &str, method: Method, path: &str, body: &'static str) -> Answer {
        let credential = Proxy::credential(caller);
        let headers =
            [("sudare-credential", credential.as_str()), ("data-purpose", purpose), ("content-type", "application/json")];
        send(self.address, method, path, &headers, body).await.unwrap()
    }

    async fn read(&self) -> Answer {
        self.ask("shop", "account", Method::GET, "/customers/c-1", "").await
    }

    async fn ready(&self) -> (u16, String) {
        let Some(Endpoint::Tcp(admin)) = self.running.admin() else { panic!("TCP expected") };
        let answer = send(*admin, Method::GET, "/readyz", &[], "").await.unwrap();
        (answer.status.as_u16(), answer.text())
    }

    fn counts(&self, begin: &str) -> bool {
        self.running.metrics().encode().lines().any(|line| line.starts_with(begin))
    }

    /// Everything that it wrote or says, for what must not be there.
    fn leaks_no_credential(&self) {
        let mut all = self.running.metrics().encode();
        for folder in ["data/audit", "keys"] {
            for entry in fs::read_dir(self.folder.path().join(folder)).unwrap() {
                let path = entry.unwrap().path();
                if path.is_file() && !["vault-token", "secret-id", "role-id"].iter().any(|name| path.ends_with(name)) {
                    all.push_str(&String::from_utf8_lossy(&fs::read(path).unwrap()));
                }
            }
        }
        assert!(all.contains("sudare_kek_calls"), "the control");
        assert!(!all.contains("canary"), "a credential leaked");
    }
}

async fn within(what: &str, is_so: impl AsyncFn() -> bool) {
    let started = Instant::now();
    while !is_so().await {
        assert!(started.elapsed() < GENEROUS, "never: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_ring_under_vault_serves_and_asks_once_to_open() {
    let keeper = Keeper::start(None);
    let front = Front::start(&keeper, &format!("namespace = \"team/a\", {WITH_TOKEN}"), |_| {}).await;
    let seen = front.read().await;
    assert_eq!((seen.status.as_u16(), seen.json()["name"].as_str()), (200, Some("Mei Tanaka")), "{}", seen.text());
    assert_eq!(keeper.asked("/v1/transit/encrypt/sudare"), 1);
    assert_eq!(keeper.asked("/v1/transit/decrypt/sudare"), 2, "init proves the root, the start opens the ring");
    let asked = keeper.state().asked.clone();
    for asked in asked.iter().filter(|asked| asked.path.contains("transit")) {
        assert_eq!((asked.token.as_str(), asked.namespace.as_str()), (TOKEN, "team/a"));
        assert_eq!(asked.body["associated_data"], asked.body["context"]);
        let bound = data_encoding::BASE64.decode(asked.body["associated_data"].as_str().unwrap().as_bytes()).unwrap();
        assert_eq!(
            bound,
            keys::kek::provider::Binding { controller: "marketplace-hk".into(), ring: "main".into() }.aad(),
            "bound to controller and ring"
        );
    }
    assert_eq!(front.ready().await.0, 200);
    assert!(front.counts("sudare_keys_held{ring=\"main\"} 1"));
    let ring = fs::read_to_string(front.folder.path().join("keys/ring.json")).unwrap();
    assert!(
        ring.contains("\"provider\": \"vault-transit\",\n    \"key\": \"transit/sudare\",\n    \"root\": \"vault:v1:"),
        "{ring}"
    );
    front.leaks_no_credential();
    front.running.stop().await;
}

#[test]
fn what_a_provider_does_wrong_is_told_as_what_it_is() {
    let keeper = Keeper::start(None);
    let (folder, file) = files(&table(&keeper, WITH_TOKEN));
    init(&file).unwrap();
    let said = || KeyRing::open(&settings(&file).keys).unwrap_err().to_string();
    let about = "its KEK is the key \"transit/sudare\" of vault-transit, and ";
    let begun = Instant::now();
    for (mood, says) in [
        (Mood::Sealed, "it is not in service: it answered 503 (Vault is sealed)"),
        (Mood::Silent, "it cannot be asked: its server did not answer within 300ms"),
        (Mood::Huge, "it cannot be asked: it is larger than 65536 bytes"),
        (Mood::Redirects, "it redirects (HTTP 307), which is never followed: write the address that serves"),
        (Mood::Denied, "it refuses to use this key: permission denied"),
        (Mood::Text("<html>captive portal</html>".into()), "its answer cannot be true: it is not what the API of Vault answers"),
        (
            Mood::Text("{\"data\":{\"plaintext\":\"bm90IDMyIGJ5dGVz\"}}".into()),
            "its answer cannot be true: what it unwrapped is not 32 bytes",
        ),
        (Mood::Text("{\"data\":{\"plaintext\":\"***\"}}".into()), "its answer cannot be true: what it unwrapped is not 32 bytes"),
        (Mood::Text("{\"errors\":[]}".into()), "its answer cannot be true"),
        (Mood::Gives(vec![7; 32]), "its answer cannot be true: what it unwrapped does not open the rest of the ring"),
    ] {
        keeper.feels(mood.clone());
        let error = said();
        assert!(error.contains(about) && error.contains(says), "{mood:?}: {error}");
        assert!(!error.contains("canary") && !error.contains("portal"), "{error}");
    }
    assert!(begun.elapsed() < Duration::from_secs(20), "a slow provider is given up");
    keeper.feels(Mood::Serves);
    keeper.state().tokens.clear();
    assert!(said().contains("it does not accept our credentials: the token is not valid (any more)"), "{}", said());
    secret_file(&folder.path().join("keys/vault-token"), "two\nlines");
    assert!(said().contains("keys/vault-token holds no credential: one line of text is expected"), "{}", said());
    fs::remove_file(folder.path().join("keys/vault-token")).unwrap();
    assert!(said().ends_with("keys/vault-token: not there"), "{}", said());

    let text = fs::read_to_string(&file).unwrap();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    fs::write(&file, text.replace(&keeper.address.to_string(), &closed.to_string())).unwrap();
    secret_file(&folder.path().join("keys/vault-token"), TOKEN);
    assert!(said().contains("it cannot be asked: no connection to its server"), "{}", said());
}

#[test]
fn a_manifest_of_another_controller_or_half_of_one_opens_nothing() {
    let keeper = Keeper::start(None);
    let (folder, file) = files(&table(&keeper, WITH_TOKEN));
    init(&file).unwrap();
    let ours = settings(&file).keys;
    let theirs =
        keys::Config { controller: Controller::new("rival"), ring: folder.path().join("rival/ring.json").into(), ..ours.clone() };
    keys::init(&theirs, &[], &SystemClock).unwrap();
    let text = |path: &Path| fs::read_to_string(path).unwrap();
    let root = |text: &str| text.split("\"root\": \"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let sound = text(ours.ring.shown());
    fs::write(ours.ring.shown(), sound.replace(&root(&sound), &root(&text(theirs.ring.shown())))).unwrap();
    let error = KeyRing::open(&ours).unwrap_err().to_string();
    assert!(error.contains("it cannot unwrap what stands in the ring"), "{error}");
    fs::write(ours.ring.shown(), text(theirs.ring.shown()).replace("\"rival\"", "\"marketplace-hk\"")).unwrap();
    assert!(KeyRing::open(&ours).is_err(), "their ring under our name");
    let asked = keeper.asked("decrypt/sudare");
    for part in [0, sound.len() / 3, sound.len() / 2, sound.len() - 1] {
        fs::write(ours.ring.shown(), &sound[..part]).unwrap();
        let error = KeyRing::open(&ours).unwrap_err().to_string();
        assert!(error.contains("not a key ring as `sudare keys` writes it"), "{error}");
    }
    assert_eq!(keeper.asked("decrypt/sudare"), asked, "nobody is asked about half a file");
    fs::write(ours.ring.shown(), sound).unwrap();
    assert!(KeyRing::open(&ours).is_ok());
}

#[test]
fn t21_the_provider_is_verified() {
    let keys = tempfile::tempdir().unwrap();
    let (pki, rival) = (Pki::new(keys.path(), "vault"), Pki::new(keys.path(), "rival"));
    let right = Keeper::start(Some(&pki.server("right", &["127.0.0.1"])));
    let other_name = Keeper::start(Some(&pki.server("other", &["elsewhere.example"])));
    let unknown = Keeper::start(Some(&rival.server("unknown", &["127.0.0.1"])));
    let ca = keys.path().join("vault-ca.pem");
    let made = |keeper: &Keeper| {
        let kek = table(keeper, &format!("ca = \"{}\", {WITH_TOKEN}", ca.display())).replace("http://", "https://");
        let (folder, file) = files(&kek);
        let made = init(&file).map(|_report| ());
        drop(folder);
        made
    };
    made(&right).unwrap();
    for keeper in [&other_name, &unknown] {
        let error = made(keeper).unwrap_err().to_string();
        assert!(error.contains("it cannot be asked: TLS with its server failed"), "{error}");
        assert_eq!(keeper.state().asked.len(), 0, "no token went there");
    }
}

#[tokio::test]
async fn t20_an_outage_is_served_through_until_the_hard_limit_and_no_restart_is_needed_after_it() {
    let keeper = Keeper::start(None);
    let front = Front::start(&keeper, WITH_TOKEN, |settings| limited(settings, 300, 3_000, Denied::Drops)).await;
    keeper.feels(Mood::Sealed);
    within("a warning", async || front.ready().await.1.contains("their KEK has not been confirmed for")).await;
    assert_eq!(front.ready().await.0, 200);
    assert_eq!(front.read().await.status, 200, "an outage is served through");
    within("dropped", async || front.ready().await.0 == 503).await;
    let (_, text) = front.ready().await;
    assert!(text.contains("keys") && text.contains("dropped: their KEK could not be confirmed"), "{text}");
    for answer in [front.read().await, front.ask("shop", "registration", Method::POST, "/customers", PERSON).await] {
        assert_eq!(answer.status, 503, "{}", answer.text());
        assert!(answer.text().contains("keys-unavailable") && !answer.text().contains("vault"), "{}", answer.text());
    }
    assert!(front.counts("sudare_keys_held{ring=\"main\"} 0"));
    assert!(front.counts("sudare_kek_calls_total{ring=\"main\",outcome=\"outage\"} "));
    keeper.feels(Mood::Serves);
    within("served again", async || front.read().await.status == 200).await;
    within("ready again", async || front.ready().await.0 == 200).await;
    assert!(front.counts("sudare_keys_held{ring=\"main\"} 1"));
    front.leaks_no_credential();
    let audit = fs::read_to_string(front.folder.path().join("data/audit/00000001.jsonl")).unwrap();
    let alarm = |line: &str| line.contains("\"kind\":\"alarm\"") && line.contains("\"code\":\"keys-unavailable\"");
    assert_eq!(audit.lines().filter(|line| alarm(line)).count(), 1, "{audit}");
    front.running.stop().await;
}

#[tokio::test]
async fn a_provider_that_hangs_does_not_keep_the_keys_beyond_the_hard_limit() {
    let keeper = Keeper::start(None);
    let slow = |settings: &mut Settings| limited(settings, 200, 1_000, Denied::Drops);
    let front = Front::start(&keeper, &format!("{WITH_TOKEN}#slow"), slow).await;
    keeper.feels(Mood::Silent);
    let asked = Instant::now();
    within("dropped", async || front.counts("sudare_keys_held{ring=\"main\"} 0")).await;
    assert!(asked.elapsed() < Duration::from_secs(6), "the question alone takes longer");
    keeper.feels(Mood::Serves);
    within("served again", async || front.read().await.status == 200).await;
    front.running.stop().await;
}

#[tokio::test]
async fn t19_a_key_that_is_taken_away_is_dropped_at_the_soft_limit_unless_told_to_wait() {
    let keeper = Keeper::start(None);
    let hour = 3_600_000;
    let dropping = Front::start(&keeper, WITH_TOKEN, |settings| limited(settings, 300, hour, Denied::Drops)).await;
    let waiting = Front::start(&keeper, WITH_TOKEN, |settings| limited(settings, 300, hour, Denied::Waits)).await;
    keeper.feels(Mood::Denied);
    within("dropped", async || dropping.ready().await.1.contains("dropped: their KEK is refused by its provider")).await;
    assert_eq!(dropping.read().await.status, 503);
    within("told", async || waiting.ready().await.1.contains("(denied)")).await;
    assert_eq!(waiting.read().await.status, 200);
    keeper.feels(Mood::Serves);
    within("served again", async || dropping.read().await.status == 200).await;
    dropping.running.stop().await;
    waiting.running.stop().await;
}

#[tokio::test]
async fn a_provider_that_lies_at_the_soft_limit_confirms_nothing() {
    let keeper = Keeper::start(None);
    let front = Front::start(&keeper, WITH_TOKEN, |settings| limited(settings, 300, 2_000, Denied::Drops)).await;
    keeper.feels(Mood::Gives(vec![7; 32]));
    within("told", async || front.counts("sudare_kek_calls_total{ring=\"main\",outcome=\"lied\"} ")).await;
    within("dropped", async || front.counts("sudare_keys_held{ring=\"main\"} 0")).await;
    // What it gives is not taken for the root either when the ring is opened anew.
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(front.read().await.status, 503);
    front.running.stop().await;
}

#[tokio::test]
async fn a_login_with_approle_is_made_anew_when_its_token_ends_in_between() {
    let keeper = Keeper::start(None);
    let front = Front::start(&keeper, WITH_ROLE, |settings| limited(settings, 300, 3_600_000, Denied::Drops)).await;
    let logins = keeper.asked("approle/login");
    // Its token is taken away behind its back: one refusal, one login, and the question again.
    keeper.state().tokens.clear();
    within("a new login", async || keeper.asked("approle/login") > logins).await;
    let good = |front: &Front| {
        let text = front.running.metrics().encode();
        let line = text.lines().find_map(|line| line.strip_prefix("sudare_kek_calls_total{ring=\"main\",outcome=\"ok\"} "));
        line.map_or(0, |count| count.parse::<u64>().unwrap())
    };
    let before = good(&front);
    within("confirmed", async || good(&front) > before).await;
    assert!(front.ready().await.1.starts_with("ready"), "{:?}", front.ready().await);
    // The secret id is used up: not a refusal of the key, so the keys stay until the hard limit.
    keeper.state().secret_id = "another".to_owned();
    keeper.state().tokens.clear();
    within("told", async || front.ready().await.1.contains("(credentials)")).await;
    assert_eq!(front.read().await.status, 200);
    // Servers lock out who goes on trying what was refused.
    let logins = keeper.asked("approle/login");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(keeper.asked("approle/login"), logins);
    // A new one in its file is enough.
    secret_file(&front.folder.path().join("keys/secret-id"), "another");
    within("confirmed again", async || front.ready().await.1.starts_with("ready") && !front.ready().await.1.contains("KEK"))
        .await;
    front.leaks_no_credential();
    front.running.stop().await;
}

#[tokio::test]
async fn a_token_is_renewed_before_it_ends_and_read_anew_when_it_was_replaced() {
    let keeper = Keeper::start(None);
    keeper.state().tokens.insert(TOKEN.to_owned(), 2);
    let front = Front::start(&keeper, WITH_TOKEN, |settings| limited(settings, 600, 3_600_000, Denied::Drops)).await;
    within("renewed", async || keeper.asked("renew-self") >= 2).await;
    let next = "hvs.another-canary-token";
    {
        let mut state = keeper.state();
        state.tokens.clear();
        state.tokens.insert(next.to_owned(), 0);
    }
    secret_file(&front.folder.path().join("keys/vault-token"), next);
    let used = || keeper.state().asked.iter().any(|asked| asked.token == next && asked.path.ends_with("decrypt/sudare"));
    within("the new token is used", async || used()).await;
    assert_eq!(front.read().await.status, 200);
    front.leaks_no_credential();
    front.running.stop().await;
}

#[tokio::test]
async fn a_reload_that_finds_the_provider_away_changes_nothing() {
    let keeper = Keeper::start(None);
    let front = Front::start(&keeper, WITH_TOKEN, |_| {}).await;
    let config = settings(&front.file).keys;
    keys::rotate(&config, &LineName::Seal, &SystemClock).unwrap();
    keeper.feels(Mood::Sealed);
    let error = front.running.reload(&front.file).unwrap_err().to_string();
    assert!(error.contains("Vault is sealed"), "{error}");
    assert_eq!(front.read().await.status, 200);
    keeper.feels(Mood::Serves);
    front.running.reload(&front.file).unwrap();
    assert_eq!(front.read().await.status, 200);
    front.running.stop().await;
}

/// From the file to Vault while a proxy serves: no request fails, and the node needs no restart.
#[tokio::test]
async fn a_ring_moves_to_a_provider_under_a_running_proxy() {
    let keeper = Keeper::start(None);
    let proxy = Setup::embedded().start().await;
    let running = proxy.running.as_ref().unwrap();
    secret_file(&proxy.folder.path().join("keys/vault-token"), TOKEN);
    let ask = async || proxy.ask("shop", "account", Method::GET, "/customers/c-1", "").await.status.as_u16();
    assert_eq!(proxy.ask("shop", "registration", Method::POST, "/customers", PERSON).await.status, 201);
    let text = fs::read_to_string(&proxy.file).unwrap();
    let old = "kek = { provider = \"file\", path = \"keys/kek\" }";
    let next = table(&keeper, WITH_TOKEN);
    fs::write(&proxy.file, text.replace(old, &format!("{old}\nnext_{next}"))).unwrap();
    running.reload(&proxy.file).unwrap();
    assert_eq!(ask().await, 200);
    let config = settings(&proxy.file).keys;
    let report = Change { config: &config, clock: &SystemClock, at_revision: None }.change_kek(Onto::Next).unwrap();
    assert_eq!((report.to.as_str(), report.revision), ("vault-transit transit/sudare", 2));
    running.reload(&proxy.file).unwrap();
    assert_eq!(ask().await, 200);
    fs::write(&proxy.file, text.replace(old, &next)).unwrap();
    fs::remove_file(proxy.folder.path().join("keys/kek")).unwrap();
    running.reload(&proxy.file).unwrap();
    assert_eq!(ask().await, 200);
    assert!(running.metrics().encode().contains("sudare_keys_held{ring=\"main\"} 1"));
    let rotated = keys::rotate(&settings(&proxy.file).keys, &LineName::Seal, &SystemClock).unwrap();
    assert_eq!(rotated.revision, 3);
}
