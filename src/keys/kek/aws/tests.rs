//! What KMS and STS may answer, and what is asked of them: a script of replies on a loopback port. Real signatures and policies:
//! `tests/interop/providers/run`.

use std::collections::VecDeque;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Mutex;
use std::time::Duration;

use super::*;
use crate::base::FixedClock;

const NOON: u64 = 1_795_348_800_000; // 2026-11-22T12:00:00Z
const ARN: &str = "arn:aws:kms:eu-central-1:111122223333:key/1234abcd";

type Script = Arc<Mutex<(VecDeque<(u16, String)>, Vec<String>)>>;

/// Answers one connection after the other as the script says, and remembers what was asked.
fn server(replies: &[(u16, &str)]) -> (SocketAddr, Script) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let replies = replies.iter().map(|(status, body)| (*status, (*body).to_owned())).collect();
    let script: Script = Arc::new(Mutex::new((replies, Vec::new())));
    let told = Arc::clone(&script);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, mut asked) = (stream.unwrap(), Vec::new());
            stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
            let mut piece = [0; 4096];
            while let Ok(read @ 1..) = stream.read(&mut piece) {
                asked.extend_from_slice(&piece[..read]);
                if asked.ends_with(b"}") || asked.windows(16).any(|part| part == b"WebIdentityToken") {
                    break;
                }
            }
            let mut script = told.lock().unwrap();
            script.1.push(String::from_utf8(asked).unwrap());
            let (status, body) = script.0.pop_front().unwrap_or((500, String::new()));
            let date = "Sun, 22 Nov 2026 12:00:30 GMT";
            let head =
                format!("HTTP/1.1 {status} X\r\ndate: {date}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            drop(stream.write_all(format!("{head}{body}").as_bytes()));
        }
    });
    (address, script)
}

fn service(address: SocketAddr) -> Service {
    Service::new(&format!("http://{address}").parse().unwrap(), None, Duration::from_secs(5)).unwrap()
}

fn kms(kms: SocketAddr, sts: SocketAddr, environment: &[(&str, &str)], now_ms: u64) -> Kms {
    let environment: BTreeMap<String, String> =
        environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let who = WhoWeAre {
        profile: None,
        credentials_file: None,
        sts: service(sts),
        environment: Arc::new(move |name| environment.get(name).cloned()),
    };
    let (region, key) = ("eu-central-1".to_owned(), ARN.to_owned());
    Kms::new(Config { service: service(kms), scheme: "http", region, key, who }, Arc::new(FixedClock::at(now_ms)))
}

const STATIC: [(&str, &str); 3] =
    [("AWS_ACCESS_KEY_ID", "AKIACANARY"), ("AWS_SECRET_ACCESS_KEY", "canary/secret"), ("AWS_SESSION_TOKEN", "canary-session")];

fn binding() -> Binding {
    Binding { controller: "shop".into(), ring: "main".into() }
}

fn wrapped() -> Wrapped {
    Wrapped { key: ARN.into(), root: crypto::base64url(b"blob") }
}

fn good() -> String {
    format!("{{\"KeyId\":\"{ARN}\",\"Plaintext\":\"{}\",\"EncryptionAlgorithm\":\"SYMMETRIC_DEFAULT\"}}", BASE64.encode(&[7; 32]))
}

#[test]
fn a_root_is_unwrapped_under_the_key_and_context_that_it_was_wrapped_with() {
    let (address, script) = server(&[(200, &good())]);
    let root = kms(address, address, &STATIC, NOON).unwrap(&binding(), &wrapped()).unwrap();
    assert_eq!(root.expose(), &[7; 32]);
    let asked = script.lock().unwrap().1[0].clone();
    assert!(asked.contains("x-amz-target: TrentService.Decrypt\r\n"), "{asked}");
    assert!(
        asked.contains("authorization: AWS4-HMAC-SHA256 Credential=AKIACANARY/20261122/eu-central-1/kms/aws4_request"),
        "{asked}"
    );
    assert!(asked.contains("x-amz-security-token: canary-session\r\n"), "{asked}");
    let body: serde_json::Value = serde_json::from_str(asked.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    let expected = serde_json::json!({
        "KeyId": ARN,
        "CiphertextBlob": BASE64.encode(b"blob"),
        "EncryptionContext": { "controller": "shop", "ring": "main" },
    });
    assert_eq!(body, expected);
}

#[test]
fn what_the_service_says_is_told_as_what_it_is() {
    let exception = |name: &str| format!("{{\"__type\":\"{name}\",\"message\":\"canary message\"}}");
    for (status, body, now, kind, says) in [
        (400, exception("com.amazonaws.kms#DisabledException"), NOON, "denied", "it is disabled"),
        (400, exception("KMSInvalidStateException"), NOON, "denied", "pending deletion"),
        (400, exception("AccessDeniedException"), NOON, "denied", "kms:Encrypt and kms:Decrypt"),
        (400, exception("NotFoundException"), NOON, "denied", "no such key"),
        (400, exception("InvalidCiphertextException"), NOON, "not-ours", "cannot unwrap"),
        (400, exception("IncorrectKeyException"), NOON, "not-ours", "cannot unwrap"),
        (400, exception("ThrottlingException"), NOON, "outage", "Throttling"),
        (500, exception("KMSInternalException"), NOON, "outage", "500"),
        (503, "<html>canary message</html>".to_owned(), NOON, "outage", "503"),
        (400, exception("InvalidSignatureException"), NOON + 3_600_000, "clock", "ours is 59 minutes ahead of the service's"),
        (400, exception("InvalidSignatureException"), NOON - 3_600_000, "clock", "ours is 60 minutes behind the service's"),
        (200, "<html>canary message</html>".to_owned(), NOON, "lied", "not what the API of KMS answers"),
        (200, good().replace("1234abcd", "5678efgh"), NOON, "lied", "under another key than the one that wrapped it"),
        (200, good().replace(&BASE64.encode(&[7; 32]), &BASE64.encode(&[7; 31])), NOON, "lied", "not 32 bytes"),
        (403, "<E><Error><Code>AccessDenied</Code></Error></E>".to_owned(), NOON, "denied", "AccessDenied"),
        (403, "<E><Code>canary message</Code></E>".to_owned(), NOON, "denied", "without a reason"),
        (302, String::new(), NOON, "outage", "redirects"),
    ] {
        let (address, _script) = server(&[(status, &body)]);
        let error = kms(address, address, &STATIC, now).unwrap(&binding(), &wrapped()).unwrap_err();
        assert!(error.as_str() == kind && error.to_string().contains(says), "{body}: {error:?}");
        assert!(!format!("{error:?}{error}").contains("canary"), "{error:?}");
    }
}

#[test]
fn a_session_that_ends_in_between_is_replaced_once_and_the_question_asked_again() {
    let expired = "{\"__type\":\"ExpiredTokenException\",\"message\":\"The security token included in the request is expired\"}";
    let session = |number: u32, until: &str| {
        format!(
            "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials><SessionToken>canary-session-{number}</SessionToken>\
             <SecretAccessKey>canary/secret</SecretAccessKey><Expiration>{until}</Expiration><AccessKeyId>ASIA{number}</AccessKeyId>\
             </Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"
        )
    };
    let dir = tempfile::tempdir().unwrap();
    let token = dir.path().join("token");
    std::fs::write(&token, "eyJ.canary.token\n").unwrap();
    std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o644)).unwrap();
    let web =
        [("AWS_WEB_IDENTITY_TOKEN_FILE", token.to_str().unwrap()), ("AWS_ROLE_ARN", "arn:aws:iam::111122223333:role/sudare")];
    let hour = "2026-11-22T13:00:00Z";

    let (asked, script) = server(&[(200, &good()), (400, expired), (200, &good()), (400, expired), (400, expired)]);
    let (sts, logins) = server(&[(200, &session(1, hour)), (200, &session(2, hour)), (200, &session(3, hour)), (500, "")]);
    let provider = kms(asked, sts, &web, NOON);
    provider.unwrap(&binding(), &wrapped()).unwrap();
    provider.unwrap(&binding(), &wrapped()).unwrap();
    let sessions = |script: &Script| {
        let asked = script.lock().unwrap().1.clone();
        asked.iter().map(|asked| asked.split("canary-session-").nth(1).unwrap().chars().next().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(sessions(&script), ['1', '1', '2'], "kept, found to have ended, replaced");
    assert!(logins.lock().unwrap().1[0].contains("Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleArn=arn%3Aaws%3Aiam"));
    // Not for ever: a service that takes none of them is not asked again and again.
    let error = provider.unwrap(&binding(), &wrapped()).unwrap_err();
    assert_eq!(error.as_str(), "credentials");
    assert_eq!(sessions(&script), ['1', '1', '2', '2', '3']);

    // One that is about to end is not used again, and STS that gives nothing is told.
    let (asked, script) = server(&[(200, &good())]);
    let (sts, _) = server(&[(200, &session(1, "2026-11-22T12:04:00Z")), (200, &session(2, hour)), (403, "<canary/>")]);
    let provider = kms(asked, sts, &web, NOON);
    provider.unwrap(&binding(), &wrapped()).unwrap();
    provider.unwrap(&binding(), &wrapped()).unwrap_err();
    assert_eq!(sessions(&script), ['1', '2']);
    provider.forget();
    let error = provider.unwrap(&binding(), &wrapped()).unwrap_err();
    assert!(error.as_str() == "credentials" && error.to_string().contains("STS answered 403"), "{error}");
    std::fs::remove_file(&token).unwrap();
    assert_eq!(kms(asked, sts, &web, NOON).unwrap(&binding(), &wrapped()).unwrap_err().as_str(), "local");
}
