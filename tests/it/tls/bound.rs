//! Tokens that are bound to a certificate (RFC 8705), over TLS.

use serde_json::json;

use super::*;
use crate::support::issuer::{Signer, b64, key_set};

#[tokio::test]
async fn a_token_is_good_on_connections_of_its_certificate_only() {
    let ready = write(OPTIONAL, "");
    let signer = Signer::new("k1", "ES256");
    fs::write(ready.folder.path().join("keys.json"), key_set(&[&signer])).unwrap();
    let text = fs::read_to_string(&ready.file).unwrap();
    let text = known_by(&text, "mailer", "jwt = { issuer = \"idp\", subject = \"mailer\" }");
    let issuer = "[jwt.idp]\nissuer = \"https://idp\"\naudience = \"sudare\"\nalgorithms = [\"ES256\"]\njwks = \"keys.json\"\n";
    fs::write(&ready.file, text + issuer).unwrap();
    let own = ready.clients.client("mailer", &[], "Shop", "mailer");
    let other = ready.clients.client("shipping", &[SHIPPING], "Shop", "shipping");
    let front = ready.start().await;
    front.store(None).await;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let claims = json!({"iss": "https://idp", "aud": "sudare", "sub": "mailer", "purpose": "marketing", "nbf": now - 60, "exp": now + 600});
    let mut bound = claims.clone();
    let der = pem::certificates(&own.certificate).unwrap();
    bound["cnf"] = json!({"x5t#S256": b64(&sudare::crypto::sha256(&der[0]))});
    let (bound, unbound) = (signer.token(&bound), signer.token(&claims));

    let ask = async |files: Option<&Files>, token: &str| {
        let mut client = Client::over(front.connect(files).await.unwrap()).await.unwrap();
        let mut request = request(Method::GET, "/customers/c-1", "marketing", None, "");
        request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        client.send(request).await.unwrap()
    };
    let answer = ask(Some(&own), &bound).await;
    assert_eq!((answer.status.as_u16(), answer.json()["name"].as_str()), (200, Some("M••• T•••")), "{}", answer.text());
    assert_eq!(ask(Some(&other), &bound).await.outcome(), (401, "token-refused".to_owned()), "stolen");
    assert_eq!(ask(None, &bound).await.outcome(), (401, "token-refused".to_owned()), "stolen, without any certificate");
    // One that is not bound is taken here, and decides before the certificate does: it is mailer that asks, not shipping.
    assert_eq!(ask(Some(&other), &unbound).await.json()["name"], "M••• T•••");
    let _stopped = front.running.stop().await;
}
