//! One record, one URL: what each purpose shows, and what is recorded of it.

use http::Method;
use serde_json::{Value, json};
use sudare::audit;
use sudare::base::RecordId;

use crate::support::{CLEAR, PERSON, Proxy, Setup};

async fn with_customer() -> Proxy {
    let proxy = Setup::embedded().start().await;
    let answer = proxy.ask("shop", "registration", Method::POST, "/customers", PERSON).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    proxy
}

fn view(answer: &Value) -> [Value; 4] {
    ["name", "address", "phone", "id_card"].map(|member| answer.get(member).cloned().unwrap_or(json!("absent")))
}

#[tokio::test]
async fn four_purposes_give_four_views_and_no_purpose_none() {
    let proxy = with_customer().await;
    let mut views = Vec::new();
    for (caller, purpose) in
        [("shipping", "delivery"), ("helpdesk", "support"), ("mailer", "marketing"), ("analyst", "statistics")]
    {
        let answer = proxy.ask(caller, purpose, Method::GET, "/customers/c-1", "").await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.json()["tier"], "gold", "unprotected members are shown to all");
        assert_eq!(answer.headers["cache-control"], "no-store");
        views.push(view(&answer.json()));
    }
    assert_eq!(views[0], [json!("Mei Tanaka"), json!("101-0047 Uchikanda"), json!("+81355501234"), json!("••••9018")]);
    assert_eq!(views[1], [json!("Mei Tanaka"), json!("absent"), json!("••••1234"), json!("absent")]);
    assert_eq!(views[2], [json!("M••• T•••"), json!("absent"), json!("absent"), json!("absent")]);
    assert!(views[3][0].as_str().unwrap().starts_with("psn1_"), "{:?}", views[3]);
    assert_eq!(views[3][1..], [json!("101"), json!("absent"), json!("absent")]);

    let nobody = crate::support::send(proxy.address, Method::GET, "/customers/c-1", &[], "").await.unwrap();
    assert_eq!(nobody.outcome(), (401, "caller-unknown".to_owned()));
    let credential = Proxy::credential("shop");
    let undeclared =
        crate::support::send(proxy.address, Method::GET, "/customers/c-1", &[("sudare-credential", &credential)], "")
            .await
            .unwrap();
    assert_eq!(undeclared.outcome(), (403, "purpose-missing".to_owned()));
    for refused in [&nobody, &undeclared] {
        assert!(CLEAR.iter().all(|value| !refused.text().contains(value)));
    }
}

#[tokio::test]
async fn the_four_reads_stand_in_the_report_of_the_data_subject() {
    let mut proxy = with_customer().await;
    for (caller, purpose) in
        [("shipping", "delivery"), ("helpdesk", "support"), ("mailer", "marketing"), ("analyst", "statistics")]
    {
        proxy.ask(caller, purpose, Method::GET, "/customers/c-1", "").await;
    }
    proxy.stop().await;
    let report =
        |id: &str| proxy.events(&audit::Filter { subject: Some(RecordId::from_text(id).unwrap()), ..Default::default() });
    let reads: Vec<_> = report("c-1").into_iter().filter(|event| event.kind == "reveal").collect();
    let who: Vec<_> = reads.iter().map(|event| (event.caller.as_deref().unwrap(), event.purpose.as_deref().unwrap())).collect();
    assert_eq!(who, [("shipping", "delivery"), ("helpdesk", "support"), ("mailer", "marketing"), ("analyst", "statistics")]);
    assert!(report("c-2").is_empty(), "nobody read c-2");
    let log = proxy.audit_text();
    assert!(
        !log.contains("\"c-1\"") && CLEAR.iter().all(|value| !log.contains(value)),
        "the log names data subjects by pseudonym only"
    );
}

#[tokio::test]
async fn a_caller_with_one_purpose_need_not_declare_it_and_a_recipient_is_capped() {
    let proxy = with_customer().await;
    let credential = Proxy::credential("helpdesk");
    let answer = crate::support::send(proxy.address, Method::GET, "/customers/c-1", &[("sudare-credential", &credential)], "")
        .await
        .unwrap();
    assert_eq!(answer.status, 200);
    assert_eq!(answer.headers["data-view"], "purpose=support, clear=(name), masked=(phone)");
    let carrier = proxy.ask("carrier", "delivery", Method::GET, "/customers/c-1", "").await;
    assert_eq!(view(&carrier.json())[3], json!("absent"), "recipient.carrier allows id-card at most absent");
}

#[tokio::test]
async fn pseudonyms_are_stable_within_a_purpose_and_lists_are_rewritten_row_by_row() {
    let proxy = with_customer().await;
    let second = PERSON.replace("c-1", "c-2");
    proxy.ask("shop", "registration", Method::POST, "/customers", second).await;
    let list = proxy.ask("analyst", "statistics", Method::GET, "/customers", "").await.json();
    let names: Vec<_> = list.as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap().to_owned()).collect();
    assert_eq!(names.len(), 2);
    assert_eq!(names[0], names[1], "equal names, equal pseudonyms within statistics");
    let stored: Vec<String> = {
        let raw = proxy.database(Method::GET, "/customers", "").await.json();
        raw.as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_ne!(stored[0], stored[1], "equal names, different envelopes");
    let sealed = proxy.ask("auditor", "custody", Method::GET, "/customers", "").await.json();
    assert_eq!(sealed[0]["name"], stored[0].as_str(), "level sealed shows the stored envelope");
}

#[tokio::test]
async fn t12_a_purpose_sees_its_own_view_also_through_a_shared_cache() {
    let proxy = with_customer().await;
    let answer = proxy.ask("shipping", "delivery", Method::GET, "/customers/c-1", "").await;
    assert_eq!(answer.headers["cache-control"], "no-store");
    let vary: Vec<_> = answer.headers.get_all("vary").iter().map(|value| value.to_str().unwrap()).collect();
    assert!(vary.join(",").contains("sudare-credential") && vary.join(",").contains("data-purpose"), "{vary:?}");
}
