use super::*;
use crate::document::Rules;
use crate::document::walk;
use crate::field::testing::*;
use crate::purpose::Grant;

/// What goes to the database for a patch of `c-1`, opened again so that tests can read it, and how many values were sealed.
fn patched_as(collection: &Collection, grant: &Grant, format: PatchFormat, body: &str) -> Result<String, WriteError> {
    let (plan, ring) = (plan_with(collection, &["$"]), ring());
    let bytes = Bytes::copy_from_slice(body.as_bytes());
    let layout = walk(&plan.map, Rules::request(), &bytes).unwrap();
    let of = Patched { id: &id("c-1"), subject: None, tokens: None };
    let protected = protect_patch(collection, &plan, &ring, grant, format, &bytes, &layout, of)?;
    assert_eq!(protected.subjects, [id("c-1")]);
    Ok(String::from_utf8(protected.body.into_bytes().to_vec()).unwrap())
}

fn merged(grant: &Grant, body: &str) -> Result<String, WriteError> {
    patched_as(&customers(), grant, PatchFormat::Merge, body)
}

fn operated(grant: &Grant, body: &str) -> Result<String, WriteError> {
    patched_as(&customers(), grant, PatchFormat::Json, body)
}

fn code(outcome: Result<String, WriteError>) -> &'static str {
    outcome.err().map_or("none", |error| error.code())
}

fn all() -> Grant {
    all_at(Level::Clear)
}

/// The text with every envelope as `E`.
fn blank(text: &str) -> String {
    let mut parts = text.split("\"sdr1.");
    let first = parts.next().unwrap().to_string();
    parts.fold(first, |out, part| out + "E" + part.split_once('"').unwrap().1)
}

#[test]
fn a_merge_patch_is_sealed_where_it_gives_values_and_only_there() {
    let sent = r#"{"name": "Mei Chan" ,"note":1.0, "phones": ["+852 1", null], "address": null}"#;
    assert_eq!(blank(&merged(&all(), sent).unwrap()), r#"{"name": E ,"note":1.0, "phones": [E, null], "address": null}"#);
    assert_eq!(merged(&all(), r#"{ "note" : 2 }"#).unwrap(), r#"{ "note" : 2 }"#);
    // What reaches the store opens under the document of the URL.
    let stored = merged(&all(), r#"{"name": "Mei Chan"}"#).unwrap().replacen('{', r#"{"id":"c-1","#, 1);
    assert_eq!(shown(&customers(), &ring(), &all(), &stored), r#"{"id":"c-1","name": "Mei Chan"}"#);
}

#[test]
fn t26_a_patch_gives_only_what_is_right_whatever_is_stored() {
    let reads = grant(&[("name", Level::Clear)], Some(&[]));
    assert_eq!(code(merged(&reads, r#"{"name": "x"}"#)), "not-writable");
    assert_eq!(code(merged(&reads, r#"{"name": null}"#)), "not-writable");
    assert_eq!(code(merged(&reads, r#"{"phones": []}"#)), "not-writable");
    assert_eq!(code(merged(&reads, r#"{"phones": null}"#)), "not-writable");
    assert_eq!(code(merged(&reads, r#"{"note": 1}"#)), "none");
    for level in [Level::Masked, Level::Generalised, Level::Pseudonym] {
        let stand_in = grant(&[("address", level), ("phone", level)], Some(&["address", "phone"]));
        assert_eq!(code(merged(&stand_in, r#"{"address": "999"}"#)), "would-erase", "{level:?}");
        assert_eq!(code(merged(&stand_in, r#"{"phones": ["1"]}"#)), "would-erase", "{level:?}");
        assert_eq!(code(merged(&stand_in, r#"{"address": null}"#)), "none", "{level:?}");
    }
    let unseen = grant(&[], Some(&["address", "phone"]));
    assert_eq!(code(merged(&unseen, r#"{"address": "Queen's Road 1"}"#)), "none");
    assert_eq!(code(merged(&unseen, r#"{"phones": ["1"]}"#)), "would-erase");
    assert_eq!(code(merged(&all(), r#"{"name": "M•"}"#)), "masked-value");
    assert_eq!(code(merged(&all(), r#"{"name": "sdr1.x.7k3m9qpa.AAAA"}"#)), "foreign-envelope");
}

#[test]
fn t26_an_object_that_would_be_merged_into_a_sealed_one_does_not_replace_it() {
    for body in [r#"{"address": {"city": "Tokyo"}}"#, r#"{"address": {"city": null}}"#, r#"{"address": {}}"#] {
        assert_eq!(code(merged(&all(), body)), "patch-refused", "{body}");
    }
    let contacts = collection(vec![field("phone", "$.contacts.*", "phone")]);
    let merge = |body| code(patched_as(&contacts, &all(), PatchFormat::Merge, body));
    assert_eq!(merge(r#"{"contacts": {"home": {"number": "1"}}}"#), "patch-refused");
    assert_eq!(merge(r#"{"contacts": {"home": "1"}}"#), "none");
    // An array is replaced whole, and so is a value that an operation gives.
    assert_eq!(code(merged(&all(), r#"{"phones": [{"number": "1"}]}"#)), "none");
    assert_eq!(code(operated(&all(), r#"[{"op":"add","path":"/address","value":{"city":"Tokyo"}}]"#)), "none");
}

#[test]
fn t9_another_type_on_the_way_is_refused() {
    assert_eq!(code(merged(&all(), r#"{"phones": "+852 1"}"#)), "misfit");
    assert_eq!(code(merged(&all(), r#"{"phones": {"a": "+852 1"}}"#)), "misfit");
    assert_eq!(code(merged(&all(), r#"["name"]"#)), "no-document");
    assert_eq!(code(operated(&all(), r#"[{"op":"add","path":"/phones","value":"+852 1"}]"#)), "misfit");
    assert_eq!(code(operated(&all(), r#"[{"op":"add","path":"/phones/first","value":"+852 1"}]"#)), "patch-refused");
}

#[test]
fn t35_a_patch_does_not_move_values_to_another_subject() {
    assert_eq!(code(merged(&all(), r#"{"id": "c-2"}"#)), "id-mismatch");
    assert_eq!(code(merged(&all(), r#"{"id": null}"#)), "id-mismatch");
    assert_eq!(code(merged(&all(), r#"{"id": "c-1", "name": "x"}"#)), "none");
    assert_eq!(code(operated(&all(), r#"[{"op":"replace","path":"/id","value":"c-2"}]"#)), "id-mismatch");
    let guests = collection(vec![Field { subject: Some(selector("$.host.id")), ..field("name", "$.host.name", "name") }]);
    let merge = |body| code(patched_as(&guests, &all(), PatchFormat::Merge, body));
    assert_eq!(merge(r#"{"host": {"id": "h-2"}}"#), "subject-changed");
    assert_eq!(merge(r#"{"host": {"name": "x"}}"#), "subject-missing");
    let plan = plan_with(&guests, &["$"]);
    let bytes = Bytes::from_static(br#"{"host": {"id": "h-2", "name": "x"}}"#);
    let layout = walk(&plan.map, Rules::request(), &bytes).unwrap();
    let of = Patched { id: &id("c-1"), subject: None, tokens: None };
    let protected = protect_patch(&guests, &plan, &ring(), &all(), PatchFormat::Merge, &bytes, &layout, of).unwrap();
    assert_eq!(protected.subjects, [id("c-1"), id("h-2")]);
    let operate = |body| code(patched_as(&guests, &all(), PatchFormat::Json, body));
    assert_eq!(operate(r#"[{"op":"replace","path":"/host/id","value":"h-2"}]"#), "subject-changed");
    assert_eq!(operate(r#"[{"op":"move","from":"/host/id","path":"/x"}]"#), "subject-changed");
    assert_eq!(operate(r#"[{"op":"remove","path":"/host"}]"#), "none");
}

#[test]
fn operations_are_sealed_where_they_give_values_and_only_there() {
    let sent = r#"[ {"op":"replace", "path":"/name","value": "Mei" },{"op":"add","path":"/phones/-","value":"+852 1"},
        {"value":["+852 2",null],"op":"add","path":"/phones"},{"op":"add","path":"/note","value":1.0},{"op":"remove","path":"/address"}]"#;
    let expected = r#"[ {"op":"replace", "path":"/name","value": E },{"op":"add","path":"/phones/-","value":E},
        {"value":[E,null],"op":"add","path":"/phones"},{"op":"add","path":"/note","value":1.0},{"op":"remove","path":"/address"}]"#;
    assert_eq!(blank(&operated(&all(), sent).unwrap()), expected);
    assert_eq!(operated(&all(), "[]").unwrap(), "[]");
}

#[test]
fn t5_operations_that_look_at_or_move_protected_values_are_refused() {
    for body in [
        r#"[{"op":"test","path":"/name","value":"Mei"}]"#,
        r#"[{"op":"test","path":"/phones","value":["Mei"]}]"#,
        r#"[{"op":"test","path":"/name/0","value":"M"}]"#,
        r#"[{"op":"copy","from":"/name","path":"/note"}]"#,
        r#"[{"op":"move","from":"/phones/0","path":"/note"}]"#,
        r#"[{"op":"copy","from":"/note","path":"/name"}]"#,
        r#"[{"op":"move","from":"/note","path":"/phones/0"}]"#,
        r#"[{"op":"copy","from":"/phones","path":"/note"}]"#,
        r#"[{"op":"add","path":"/name/first","value":"M"}]"#,
        r#"[{"op":"replace","path":"","value":{"name":"M"}}]"#,
        r#"[{"op":"add","path":"/note","value":1,"name":"Mei Chan"}]"#,
        r#"[{"op":"add","path":"note","value":1}]"#,
        r#"[{"op":"add","path":"/note"}]"#,
        r#"[{"op":"merge","path":"/note","value":1}]"#,
        r#"[{"op":"remove","path":"/note","value":"Mei Chan"}]"#,
        r#"[{"path":"/note","value":1}]"#,
        "[7]",
        r#"{"op":"add","path":"/note","value":1}"#,
    ] {
        assert_eq!(code(operated(&all(), body)), "patch-refused", "{body}");
    }
    assert_eq!(
        code(operated(&all(), r#"[{"op":"test","path":"/note","value":1},{"op":"move","from":"/note","path":"/n"}]"#)),
        "none"
    );
}

#[test]
fn t5_a_pointer_that_leaves_the_wrapping_out_is_no_way_around() {
    let (plan, ring) = (plan_with(&customers(), &["$.data"]), ring());
    let operate = |body: &'static str| {
        let bytes = Bytes::from_static(body.as_bytes());
        let layout = walk(&plan.map, Rules::request(), &bytes).unwrap();
        let of = Patched { id: &id("c-1"), subject: None, tokens: None };
        let protected = protect_patch(&customers(), &plan, &ring, &all(), PatchFormat::Json, &bytes, &layout, of);
        protected.map(|protected| blank(std::str::from_utf8(&protected.body.into_bytes()).unwrap()))
    };
    let wrapped = operate(r#"[{"op":"add","path":"/data/name","value":"Mei"}]"#);
    assert_eq!(wrapped.unwrap(), r#"[{"op":"add","path":"/data/name","value":E}]"#);
    // Servers that wrap what they answer mostly do not wrap what they patch.
    assert_eq!(code(operate(r#"[{"op":"add","path":"/name","value":"Mei"}]"#)), "no-document");
    assert_eq!(code(operate(r#"[{"op":"test","path":"/name","value":"Mei"}]"#)), "patch-refused");
    assert_eq!(code(operate(r#"[{"op":"copy","from":"/name","path":"/data/note"}]"#)), "patch-refused");
    assert_eq!(code(operate(r#"[{"op":"replace","path":"/id","value":"c-2"}]"#)), "id-mismatch");
    assert_eq!(code(operate(r#"[{"op":"add","path":"/note","value":"Mei"}]"#)), "none");
}

#[test]
fn t26_operations_take_nothing_unseen_along() {
    let street = || collection(vec![field("address", "$.address.street", "address"), field("name", "$.address.name", "name")]);
    let operate = |grant: &Grant, body| code(patched_as(&street(), grant, PatchFormat::Json, body));
    let one = grant(&[("address", Level::Clear)], None);
    assert_eq!(operate(&one, r#"[{"op":"replace","path":"/address/street","value":"x"}]"#), "none");
    assert_eq!(operate(&one, r#"[{"op":"replace","path":"/address","value":{"street":"x"}}]"#), "not-writable");
    assert_eq!(operate(&one, r#"[{"op":"remove","path":"/address"}]"#), "not-writable");
    let blind = grant(&[("address", Level::Clear)], Some(&["address", "name"]));
    assert_eq!(operate(&blind, r#"[{"op":"replace","path":"/address","value":{"street":"x"}}]"#), "would-erase");
    assert_eq!(operate(&blind, r#"[{"op":"add","path":"/address/name","value":"x"}]"#), "none");
    let unseen = grant(&[], Some(&["phone"]));
    assert_eq!(code(operated(&unseen, r#"[{"op":"add","path":"/phones/-","value":"1"}]"#)), "none");
    assert_eq!(code(operated(&unseen, r#"[{"op":"remove","path":"/phones/0"}]"#)), "patch-refused");
    let lines = collection(vec![field("address", "$.lines[1]", "address")]);
    let operate = |body| code(patched_as(&lines, &all(), PatchFormat::Json, body));
    assert_eq!(operate(r#"[{"op":"add","path":"/lines/0","value":"x"}]"#), "patch-refused");
    assert_eq!(operate(r#"[{"op":"remove","path":"/lines/0"}]"#), "patch-refused");
    assert_eq!(operate(r#"[{"op":"add","path":"/lines/-","value":"x"}]"#), "patch-refused");
    assert_eq!(operate(r#"[{"op":"replace","path":"/lines/0","value":"x"}]"#), "none");
    let sealed = patched_as(&lines, &all(), PatchFormat::Json, r#"[{"op":"replace","path":"/lines/1","value":"x"}]"#).unwrap();
    assert_eq!(blank(&sealed), r#"[{"op":"replace","path":"/lines/1","value":E}]"#);
}
