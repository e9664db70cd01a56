use super::super::super::fixtures::{member, route, selector};
use super::*;
use crate::dialect::MemberIndex;

/// `name`, `phones[*]`, `address.city`, `guests[*].name` are sealed; `id_card`, `cards[*]`, `guests[*].card`, `ids.*` deterministic.
fn searches() -> Searches {
    let at = |field: &str, at: &str, equality| ProtectedMember { at: selector(at), equality, ..member(field) };
    let mut protected = vec![
        at("name", "$.name", false),
        at("phone", "$.phones[*]", false),
        at("city", "$.address.city", false),
        at("guest", "$.guests[*].name", false),
        at("id-card", "$.id_card", true),
        at("cards", "$.cards[*]", true),
        at("guest-card", "$.guests[*].card", true),
        at("ids", "$.ids.*", true),
        at("dotted", "$[\"a.b\"]", true),
        at("host", "$.host", false),
    ];
    protected[3].subject = Some(selector("$.guests[*].id"));
    protected[9].subject = Some(selector("$.host_id"));
    Searches::new(&Route { protected, subject: Some(selector("$.customer")), ..route("customers", "$._id") })
}

fn shown(query: &Query) -> String {
    let texts = query.pieces.iter().map(|piece| match piece {
        Piece::Bytes(bytes) => String::from_utf8(bytes.clone()).unwrap(),
        Piece::Terms(terms) => {
            let values: Vec<String> = terms.values.iter().map(|value| String::from_utf8_lossy(value).into_owned()).collect();
            format!(
                "<{}:{}{}{}{}>",
                terms.member,
                terms.alone.map_or("-".to_owned(), |before| format!("{before}|")),
                terms.list.0,
                values.join(","),
                terms.list.1
            )
        }
    });
    texts.collect()
}

fn find(selector: &str) -> Result<Query, Refusal> {
    searches().query(format!(r#"{{"selector":{selector}}}"#).as_bytes())
}

#[test]
fn searches_by_what_is_not_protected_leave_as_they_came() {
    for selector in [
        "{}",
        r#"{"tier":"gold"}"#,
        r#"{ "tier" : { "$gt" : 1.0 , "$lt":1e3 } }"#,
        r#"{"_id":{"$gt":null}}"#,
        r#"{"$and":[{"tier":"gold"},{"$or":[{"a":1},{"b":{"$in":[1,2]}}]}]}"#,
        r#"{"$nor":[{"tier":"x"}],"x":{"$not":{"$eq":1}}}"#,
        r#"{"address.zip":"101"}"#,
        r#"{"address":{"zip":"101"}}"#,
        r#"{"tags":{"$elemMatch":{"$eq":"a"}},"all":{"$all":["a","b"]},"n":{"$size":2}}"#,
        r#"{"guests":{"$elemMatch":{"age":{"$gte":18}}}}"#,
        r#"{"note":{"$regex":"^x"},"t":{"$type":"string"},"m":{"$mod":[2,1]},"b":{"$beginsWith":"x"}}"#,
        r#"{"names":"x","name2":1,"Name":"x","guest":{"name":"x"}}"#,
        r#"{"name\\.x":1}"#,
        r#"{"a":{"b":2}}"#,
        r#"{"x":{"name":"y"}}"#,
        r#"{"big":123456789012345678901234567890}"#,
        r#"{"x":[{"name":1}]}"#,
        r#"{"x":{}}"#,
    ] {
        let query = find(selector).unwrap_or_else(|(_, detail)| panic!("{selector}: {detail}"));
        assert_eq!(shown(&query), format!(r#"{{"selector":{selector}}}"#));
        assert!(query.search.searched.is_empty() && query.presence.is_empty());
    }
}

#[test]
fn equality_with_deterministic_members_is_rewritten() {
    let implicit = |member: usize, value: &str| format!(r#"<{member}:|{{"$in":[{value}]}}>"#);
    for (selector, expected, member) in [
        (r#"{"id_card":"a"}"#, format!(r#"{{"id_card":{}}}"#, implicit(4, "\"a\"")), 4),
        (r#"{"id_card":7}"#, format!(r#"{{"id_card":{}}}"#, implicit(4, "7")), 4),
        (r#"{"id_card":null}"#, format!(r#"{{"id_card":{}}}"#, implicit(4, "null")), 4),
        (r#"{"id\u005fcard":"a"}"#, format!(r#"{{"id_card":{}}}"#, implicit(4, "\"a\"")), 4),
        (r#"{"id_card":{"$eq":"a"}}"#, r#"{"id_card":{<4:"$eq":|"$in":["a"]>}}"#.to_owned(), 4),
        (
            r#"{"tier":1,"id_card":{"$exists":true,"$eq":"a"}}"#,
            r#"{"tier":1,"id_card":{"$exists":true,<4:"$eq":|"$in":["a"]>}}"#.to_owned(),
            4,
        ),
        (r#"{"id_card":{"$in":["a",2,null]}}"#, r#"{"id_card":{"$in":<4:-["a",2,null]>}}"#.to_owned(), 4),
        (
            r#"{"$and":[{"tier":1},{"id_card":"a"}]}"#,
            format!(r#"{{"$and":[{{"tier":1}},{{"id_card":{}}}]}}"#, implicit(4, "\"a\"")),
            4,
        ),
        (
            r#"{"id_card":{"$or":[{"$eq":"a"},"b"]}}"#,
            format!(r#"{{"id_card":{{"$or":[{{<4:"$eq":|"$in":["a"]>}},{}]}}}}"#, implicit(4, "\"b\"")),
            4,
        ),
        (r#"{"cards":{"$elemMatch":{"$eq":"a"}}}"#, r#"{"cards":{"$elemMatch":{<5:"$eq":|"$in":["a"]>}}}"#.to_owned(), 5),
        (r#"{"cards":{"$in":["a","b"]}}"#, r#"{"cards":{"$in":<5:-["a","b"]>}}"#.to_owned(), 5),
        (
            r#"{"guests":{"$elemMatch":{"card":"a","age":1}}}"#,
            format!(r#"{{"guests":{{"$elemMatch":{{"card":{},"age":1}}}}}}"#, implicit(6, "\"a\"")),
            6,
        ),
        (r#"{"ids.passport":"a"}"#, format!(r#"{{"ids.passport":{}}}"#, implicit(7, "\"a\"")), 7),
        (r#"{"ids":{"passport":"a"}}"#, format!(r#"{{"ids":{{"passport":{}}}}}"#, implicit(7, "\"a\"")), 7),
        (r#"{"a\\.b":"a"}"#, format!(r#"{{"a\\.b":{}}}"#, implicit(8, "\"a\"")), 8),
    ] {
        let query = find(selector).unwrap_or_else(|(_, detail)| panic!("{selector}: {detail}"));
        assert_eq!(shown(&query), format!(r#"{{"selector":{expected}}}"#), "{selector}");
        assert_eq!(query.search.searched, [member], "{selector}");
    }
}

#[test]
fn everything_else_about_protected_members_is_refused() {
    for (selector, operator, field) in [
        (r#"{"name":"Mei"}"#, "equality", "name"),
        (r#"{"n\u0061me":"Mei"}"#, "equality", "name"),
        (r#"{"name":{"$eq":"Mei"}}"#, "$eq", "name"),
        (r#"{"name":{"$in":["Mei"]}}"#, "$in", "name"),
        (r#"{"name":{"$gt":null}}"#, "$gt", "name"),
        (r#"{"name":{"$regex":"^Mei"}}"#, "$regex", "name"),
        (r#"{"name":{"first":"Mei"}}"#, "equality", "name"),
        (r#"{"name.first":"Mei"}"#, "equality", "name"),
        (r#"{"name.length":10}"#, "equality", "name"),
        (r#"{"name.0":"M"}"#, "equality", "name"),
        (r#"{"name":["Mei"]}"#, "equality", "name"),
        (r#"{"name":{}}"#, "equality", "name"),
        (r#"{"\\$x":1,"$and":[{"$or":[{"$and":[{"name":"Mei"}]}]}]}"#, "equality", "name"),
        (r#"{"name":{"$not":{"$eq":"Mei"}}}"#, "$eq", "name"),
        (r#"{"id_card":{"$lt":"a"}}"#, "$lt", "id-card"),
        (r#"{"id_card":{"$lte":"a"}}"#, "$lte", "id-card"),
        (r#"{"id_card":{"$gte":"a"}}"#, "$gte", "id-card"),
        (r#"{"id_card":{"$ne":"a"}}"#, "$ne", "id-card"),
        (r#"{"id_card":{"$nin":["a"]}}"#, "$nin", "id-card"),
        (r#"{"id_card":{"$type":"string"}}"#, "$type", "id-card"),
        (r#"{"id_card":{"$size":1}}"#, "$size", "id-card"),
        (r#"{"id_card":{"$mod":[2,1]}}"#, "$mod", "id-card"),
        (r#"{"id_card":{"$beginsWith":"a"}}"#, "$beginsWith", "id-card"),
        (r#"{"id_card":{"$all":["a"]}}"#, "$all", "id-card"),
        (r#"{"id_card":{"$keyMapMatch":{"$eq":"a"}}}"#, "$keyMapMatch", "id-card"),
        (r#"{"id_card":{"$not":{"$eq":"a"}}}"#, "$eq", "id-card"),
        (r#"{"id_card":{"$not":"a"}}"#, "equality", "id-card"),
        (r#"{"$not":{"id_card":"a"}}"#, "equality", "id-card"),
        (r#"{"$not":{"$not":{"id_card":"a"}}}"#, "equality", "id-card"),
        (r#"{"$nor":[{"id_card":"a"}]}"#, "equality", "id-card"),
        (r#"{"$nor":[{"$and":[{"id_card":{"$in":["a"]}}]}]}"#, "$in", "id-card"),
        (r#"{"id_card":{"$eq":"a","$in":["b"]}}"#, "$eq beside $in", "id-card"),
        (r#"{"id_card":{"$eq":{"$gt":"a"}}}"#, "$eq", "id-card"),
        (r#"{"id_card":{"$eq":true}}"#, "$eq", "id-card"),
        (r#"{"id_card":["a"]}"#, "equality", "id-card"),
        (r#"{"id_card":{"$in":[["a"]]}}"#, "$in", "id-card"),
        (r#"{"id_card":{"x":"a"}}"#, "equality", "id-card"),
        (r#"{"id_card.x":{"$exists":true}}"#, "$exists", "id-card"),
        (r#"{"id_card":{"$elemMatch":{"$eq":"a"}}}"#, "$eq", "id-card"),
        (r#"{"address":{"$eq":{"zip":"1"}}}"#, "$eq", "city"),
        (r#"{"address":["x"]}"#, "equality", "city"),
        (r#"{"address.city":"x"}"#, "equality", "city"),
        (r#"{"address":{"city":{"$gt":"x"}}}"#, "$gt", "city"),
        (r#"{"address":{"$gt":{}}}"#, "$gt", "city"),
        (r#"{"address":{"$elemMatch":{"city":"x"}}}"#, "equality", "city"),
        (r#"{"phones":{"$elemMatch":{"$eq":"1"}}}"#, "$eq", "phone"),
        (r#"{"phones":{"$elemMatch":{"$regex":"1"}}}"#, "$regex", "phone"),
        (r#"{"phones":{"$allMatch":{"$gt":"1"}}}"#, "$gt", "phone"),
        (r#"{"phones":{"$size":2}}"#, "$size", "phone"),
        (r#"{"phones":"1"}"#, "equality", "phone"),
        (r#"{"phones.0":"1"}"#, "equality", "phone"),
        (r#"{"phones.length":1}"#, "equality", "phone"),
        (r#"{"cards":{"$all":["1"]}}"#, "$all", "cards"),
        (r#"{"cards":["1"]}"#, "equality", "cards"),
        (r#"{"cards":{"$eq":["1"]}}"#, "$eq", "cards"),
        (r#"{"cards":"1"}"#, "equality", "cards"),
        (r#"{"cards.0":"1"}"#, "equality", "cards"),
        (r#"{"cards":{"$elemMatch":{"$ne":"1"}}}"#, "$ne", "cards"),
        (r#"{"guests.name":"x"}"#, "equality", "guest"),
        (r#"{"guests.0.name":"x"}"#, "equality", "guest"),
        (r#"{"guests":{"name":"x"}}"#, "equality", "guest"),
        (r#"{"guests":{"$elemMatch":{"name":"x"}}}"#, "equality", "guest"),
        (r#"{"guests":{"$elemMatch":{"$elemMatch":{"name":"x"}}}}"#, "equality", "guest"),
        (r#"{"guests":{"$elemMatch":{"name":{"$exists":true,"$ne":"x"}}}}"#, "$ne", "guest"),
        (r#"{"guests.card":"x"}"#, "equality", "guest-card"),
        (r#"{"guests":[]}"#, "equality", "guest"),
        (r#"{"$eq":{"tier":1}}"#, "$eq", "name"),
        (r#"{"$gt":null}"#, "$gt", "name"),
        (r#"{"$elemMatch":{"name":"x"}}"#, "equality", "name"),
        (r#"{"ids":{"$gt":{}}}"#, "$gt", "ids"),
        (r#"{"ids.a.b":"x"}"#, "equality", "ids"),
        (r#"{"a\\.b":{"$gt":1}}"#, "$gt", "dotted"),
    ] {
        let (code, detail) = find(selector).map(|query| shown(&query)).expect_err(selector);
        assert_eq!(code, RefusedCode::NotSearchable, "{selector}: {detail}");
        assert!(detail.starts_with(operator) && detail.contains(&format!("field {field},")), "{selector}: {detail}");
        assert!(!detail.contains("Mei") && !detail.contains("first"), "{selector}: {detail}");
    }
    let (code, _) = find(r#"{"$text":"Mei"}"#).unwrap_err();
    assert_eq!(code, RefusedCode::NotSearchable);
}

#[test]
fn whether_a_member_is_there_may_be_asked_and_is_noted() {
    for (selector, presence) in [
        (r#"{"name":{"$exists":true}}"#, vec![0]),
        (r#"{"name":{"$exists":false},"id_card":{"$exists":true}}"#, vec![0, 4]),
        (r#"{"address":{"$exists":true}}"#, vec![2]),
        (r#"{"$not":{"address.city":{"$exists":true}}}"#, vec![2]),
        (r#"{"guests":{"$elemMatch":{"name":{"$exists":true}}}}"#, vec![3]),
        (r#"{"tier":{"$exists":true}}"#, vec![]),
    ] {
        let query = find(selector).unwrap();
        assert_eq!(query.presence, presence, "{selector}");
        assert_eq!(shown(&query), format!(r#"{{"selector":{selector}}}"#));
    }
    assert_eq!(find(r#"{"name":{"$exists":"x"}}"#).unwrap_err().0, RefusedCode::Malformed);
}

#[test]
fn t7_names_that_databases_read_differently_are_refused() {
    for selector in [
        r#"{"na\\me":1}"#,
        r#"{"\\name":1}"#,
        r#"{"name\\":1}"#,
        r#"{"a\\\\.name":1}"#,
        r#"{"":1}"#,
        r#"{".name":1}"#,
        r#"{"name.":1}"#,
        r#"{"address..city":1}"#,
        r#"{"$where":"x"}"#,
        r#"{"name":{"$Eq":"x"}}"#,
        r#"{"$and":{"name":1}}"#,
        r#"{"$and":["name"]}"#,
        r#"{"x":{"$in":"y"}}"#,
        r#"["name"]"#,
        r#""name""#,
        "null",
    ] {
        let (code, detail) = find(selector).map(|query| shown(&query)).expect_err(selector);
        assert_eq!(code, RefusedCode::Malformed, "{selector}: {detail}");
    }
    let deep = format!("{}1{}", r#"{"$not":"#.repeat(60), "}".repeat(60));
    assert_eq!(find(&deep).unwrap_err().0, RefusedCode::Malformed);
}

#[test]
fn t5_a_search_has_known_members_only() {
    let whole = |body: &str| searches().query(body.as_bytes()).map(|query| shown(&query)).map_err(|(code, _)| code);
    let all = r#"{"selector":{},"limit":5,"skip":0,"r":1,"bookmark":"nil","use_index":["_design/x","y"],"update":true,"stable":false,"stale":"ok","execution_stats":true,"conflicts":false,"allow_fallback":true,"sort":["tier",{"x":"desc"}],"fields":["tier","_id"]}"#;
    assert_eq!(whole(all).as_deref(), Ok(all));
    for body in [
        r#"{"limit":5}"#,
        r#"{"selector":{},"partitioned":true}"#,
        r#"{"selector":{},"docs":[{"name":"Mei"}]}"#,
        r#"{"selector":{},"limit":"5"}"#,
        r#"{"selector":{},"bookmark":{"name":"Mei"}}"#,
        r#"{"selector":{},"use_index":[{"name":"Mei"}]}"#,
        r#"{"selector":{},"sort":"tier"}"#,
        r#"{"selector":{},"sort":[{"tier":"up"}]}"#,
        r#"{"selector":{},"fields":"tier"}"#,
        r#"{"selector":{},"fields":[1]}"#,
        "[]",
        "7",
    ] {
        assert_eq!(whole(body), Err(RefusedCode::Malformed), "{body}");
    }
    for sort in [
        r#"["name"]"#,
        r#"[{"name":"asc"}]"#,
        r#"["address"]"#,
        r#"["address.city"]"#,
        r#"["guests.name"]"#,
        r#"["phones.0"]"#,
        r#"["id_card"]"#,
        r#"["-name:string"]"#,
        r#"["tier","n\u0061me"]"#,
        r#"{"name":"asc"}"#,
    ] {
        assert_eq!(whole(&format!(r#"{{"selector":{{}},"sort":{sort}}}"#)), Err(RefusedCode::NotSearchable), "{sort}");
    }
}

#[test]
fn t34_projections_are_completed_and_what_was_added_is_stripped() {
    let id = 0;
    let customer = 1;
    let host = 2;
    for (fields, selector, expected, strip) in [
        (r#"["tier"]"#, "{}", r#"["tier"]"#, vec![]),
        ("[]", "{}", "[]", vec![]),
        (r#"["name"]"#, "{}", r#"["name","customer","_id"]"#, vec![customer, id]),
        (r#"["name","_id"]"#, "{}", r#"["name","_id","customer"]"#, vec![customer]),
        (r#"["_id","customer","name"]"#, "{}", r#"["_id","customer","name"]"#, vec![]),
        (r#"["address.city"]"#, "{}", r#"["address.city","customer","_id"]"#, vec![customer, id]),
        (r#"["address"]"#, "{}", r#"["address","customer","_id"]"#, vec![customer, id]),
        (r#"["guests"]"#, "{}", r#"["guests","customer","_id"]"#, vec![customer, id]),
        (r#"["host"]"#, "{}", r#"["host","host_id","customer","_id"]"#, vec![host, customer, id]),
        (r#"["ids.passport"]"#, "{}", r#"["ids.passport","customer","_id"]"#, vec![customer, id]),
        (r#"["a\\.b"]"#, "{}", r#"["a\\.b","customer","_id"]"#, vec![customer, id]),
        // A search tells who has the value, so who it is must be known for the record.
        (r#"["tier"]"#, r#"{"id_card":"a"}"#, r#"["tier","customer","_id"]"#, vec![customer, id]),
    ] {
        for body in
            [format!(r#"{{"fields":{fields},"selector":{selector}}}"#), format!(r#"{{"selector":{selector},"fields":{fields}}}"#)]
        {
            let query = searches().query(body.as_bytes()).unwrap_or_else(|(_, detail)| panic!("{body}: {detail}"));
            let text = shown(&query);
            assert!(text.contains(&format!(r#""fields":{expected}"#)), "{body}: {text}");
            assert_eq!(query.search.strip, strip, "{body}");
        }
    }
    for fields in [
        r#"["name.first"]"#,
        r#"["phones.0"]"#,
        r#"["guests.0.name"]"#,
        r#"["guests.name"]"#,
        r#"["name","customer.x"]"#,
        r#"["name","_id.x"]"#,
        r#"["ids.a.b"]"#,
    ] {
        let outcome = searches().query(format!(r#"{{"selector":{{}},"fields":{fields}}}"#).as_bytes());
        if fields.contains("_id.x") {
            assert!(outcome.unwrap().search.strip.iter().all(|added| *added != id), "{fields}");
        } else {
            assert_eq!(outcome.unwrap_err().0, RefusedCode::NotSearchable, "{fields}");
        }
    }
    let nested =
        Route { subject: Some(selector("$.customer.id")), protected: vec![member("name")], ..route("customers", "$._id") };
    let nested = Searches::new(&nested);
    let (code, detail) = nested.query(br#"{"selector":{},"fields":["name"]}"#).unwrap_err();
    assert_eq!((code, detail.contains("$.customer.id")), (RefusedCode::NotSearchable, true), "{detail}");
    assert!(nested.query(br#"{"selector":{},"fields":["name","customer"]}"#).is_ok());
}

#[test]
fn indexes_are_judged_by_their_members() {
    let index = |body: &str| searches().index(body.as_bytes()).map_err(|(code, _)| code);
    for body in [
        r#"{"index":{"fields":["tier"]},"ddoc":"x","name":"y","type":"json","partitioned":false}"#,
        r#"{"index":{"fields":[{"tier":"asc"},{"address.zip":"desc"}]}}"#,
        r#"{"index":{"fields":["id_card"]}}"#,
        r#"{"index":{"fields":["tier"],"partial_filter_selector":{"tier":{"$gt":1}}}}"#,
    ] {
        assert_eq!(index(body), Ok(()), "{body}");
    }
    for body in [
        r#"{"index":{"fields":["name"]}}"#,
        r#"{"index":{"fields":["tier",{"n\u0061me":"asc"}]}}"#,
        r#"{"index":{"fields":["address"]}}"#,
        r#"{"index":{"fields":["address.city"]}}"#,
        r#"{"index":{"fields":["guests.name"]}}"#,
        r#"{"index":{"fields":["cards"]}}"#,
        r#"{"index":{"fields":["phones.0"]}}"#,
        r#"{"index":{"fields":["tier"],"partial_filter_selector":{"name":"x"}}}"#,
        r#"{"index":{"fields":["tier"],"partial_filter_selector":{"id_card":"x"}}}"#,
        r#"{"index":{"fields":["tier"],"partial_filter_selector":{"id_card":{"$exists":true}}}}"#,
        r#"{"index":{"fields":["tier"],"selector":{"$or":[{"phones":{"$size":1}}]}}}"#,
        r#"{"index":{},"type":"text"}"#,
    ] {
        assert_eq!(index(body), Err(RefusedCode::NotSearchable), "{body}");
    }
    for body in [
        "{}",
        r#"{"index":{}}"#,
        r#"{"index":{"fields":"name"}}"#,
        r#"{"index":{"fields":["a"],"analyzer":"x"}}"#,
        r#"{"fields":["name"]}"#,
        r#"{"index":{"fields":["a"]},"docs":[]}"#,
    ] {
        assert_eq!(index(body), Err(RefusedCode::Malformed), "{body}");
    }
}

#[test]
fn a_search_that_would_keep_the_proxy_busy_is_refused() {
    let list = |many: usize| vec!["1"; many].join(",");
    let code = |selector: &str| find(selector).err().map(|(code, _)| code);
    assert_eq!(code(&format!(r#"{{"id_card":{{"$in":[{}]}}}}"#, list(1024))), None);
    assert_eq!(code(&format!(r#"{{"id_card":{{"$in":[{}]}}}}"#, list(1025))), Some(RefusedCode::NotSearchable));
    let many = vec![r#"{"id_card":1}"#; 1025].join(",");
    assert_eq!(code(&format!(r#"{{"$or":[{many}]}}"#)), Some(RefusedCode::NotSearchable));
    assert_eq!(code(&format!(r#"{{"tier":{{"$in":[{}]}}}}"#, list(9999))), None, "what is not protected costs nothing");
    // A long path is copied for each member below it.
    let long = vec!["a"; 100_000].join(".");
    let below: Vec<String> = (0..50_000).map(|n| format!("\"m{n}\":1")).collect();
    assert_eq!(code(&format!(r#"{{"{long}":{{{}}}}}"#, below.join(","))), Some(RefusedCode::Malformed));
    assert_eq!(code(&format!(r#"{{"{}":1}}"#, vec!["a"; 32].join("."))), None);
}

/// `email` and `contact.phone` with an index each, `phones[*]` with a list, `name` with a second one by the name of `name-prefix`.
fn indexed() -> Searches {
    let index = |field: &str, list, named: Option<&str>| MemberIndex {
        member: format!("{}_ix", named.unwrap_or(field)),
        param: named.unwrap_or(field).to_owned(),
        named: named.is_some(),
        list,
    };
    let at = |field: &str, at: &str, indexes| ProtectedMember { at: selector(at), indexes, ..member(field) };
    let protected = vec![
        at("email", "$.email", vec![index("email", false, None)]),
        at("home", "$.contact.phone", vec![index("home", false, None)]),
        at("phones", "$.phones[*]", vec![index("phones", true, None)]),
        at("name", "$.name", vec![index("name", false, None), index("name", false, Some("name-prefix"))]),
        member("id_card"),
    ];
    Searches::new(&Route { protected, ..route("customers", "$._id") })
}

fn sought(selector: &str) -> (String, Option<Condition>, Vec<usize>) {
    let query = indexed().query(format!(r#"{{"selector":{selector}}}"#).as_bytes()).unwrap();
    let text = shown(&query);
    (
        text.strip_prefix("{\"selector\":").and_then(|text| text.strip_suffix('}')).unwrap().to_owned(),
        query.search.condition,
        query.search.searched,
    )
}

#[test]
fn equality_with_an_indexed_member_asks_its_index() {
    use Condition::{All, Any, Term};
    for (selector, expected, condition) in [
        (r#"{"email":"a"}"#, r#"{"email_ix":<0:|{"$in":["a"]}>}"#, All(vec![Term(0)])),
        (r#"{"email":{"$eq":"a"}}"#, r#"{"email_ix":<0:|{"$in":["a"]}>}"#, All(vec![Term(0)])),
        (r#"{"email":{"$in":["a",7]},"tier":1}"#, r#"{"email_ix":<0:|{"$in":["a",7]}>,"tier":1}"#, All(vec![Term(0)])),
        (r#"{"contact.phone":"a"}"#, r#"{"home_ix":<1:|{"$in":["a"]}>}"#, All(vec![Term(0)])),
        (r#"{"phones":{"$elemMatch":{"$eq":"a"}}}"#, r#"{"phones_ix":<2:-{"$elemMatch":{"$in":["a"]}}>}"#, All(vec![Term(0)])),
        (r#"{"phones":{"$in":["a"]}}"#, r#"{"phones_ix":<2:-{"$elemMatch":{"$in":["a"]}}>}"#, All(vec![Term(0)])),
        (
            r#"{"name":"a","name-prefix":"b"}"#,
            r#"{"name_ix":<3:|{"$in":["a"]}>,"name-prefix_ix":<3:|{"$in":["b"]}>}"#,
            All(vec![Term(0), Term(1)]),
        ),
        (
            r#"{"$or":[{"email":"a"},{"$and":[{"name":"b"},{"tier":1}]}],"phones":{"$in":["c"]}}"#,
            r#"{"$or":[{"email_ix":<0:|{"$in":["a"]}>},{"$and":[{"name_ix":<3:|{"$in":["b"]}>},{"tier":1}]}],"phones_ix":<2:-{"$elemMatch":{"$in":["c"]}}>}"#,
            All(vec![Any(vec![All(vec![Term(0)]), All(vec![Term(1)])]), Term(2)]),
        ),
    ] {
        let (text, found, searched) = sought(selector);
        assert_eq!((text.as_str(), found), (expected, Some(condition)), "{selector}");
        assert!(!searched.is_empty());
    }
    let (text, condition, searched) = sought(r#"{"id_card":"1"}"#);
    assert_eq!(
        (text.as_str(), condition, searched),
        (r#"{"id_card":<4:|{"$in":["1"]}>}"#, None, vec![4]),
        "a deterministic member is no probe"
    );
}

#[test]
fn what_would_lead_past_the_comparison_is_refused() {
    for selector in [
        r#"{"email":{"$gt":"a"}}"#,
        r#"{"email":{"$eq":"a","$gt":"b"}}"#,
        r#"{"email":null}"#,
        r#"{"email":{}}"#,
        r#"{"email":[]}"#,
        r#"{"email":true}"#,
        r#"{"email":{"$in":[null]}}"#,
        r#"{"email":{"$elemMatch":{"$eq":"a"}}}"#,
        r#"{"contact":{"phone":"a"}}"#,
        r#"{"contact":{"phone":{"$eq":"a"}}}"#,
        r#"{"$nor":[{"email":"a"}]}"#,
        r#"{"$not":{"email":"a"}}"#,
        r#"{"$or":[{"email":"a"},{}]}"#,
        r#"{"$or":[{"email":"a"},{"id_card":"1"}]}"#,
        r#"{"$or":[{"$and":[{"tier":1}]},{"email":"a"}]}"#,
        r#"{"phones":{"$all":["a"]}}"#,
        r#"{"phones.0":"a"}"#,
        r#"{"email_ix":"ix1.a.b"}"#,
        r#"{"phones_ix":{"$elemMatch":{"$eq":"ix1.a.b"}}}"#,
        r#"{"phones_ix.0":"ix1.a.b"}"#,
        r#"{"name-prefix":{"$exists":true}}"#,
    ] {
        let (code, detail) = indexed().query(format!(r#"{{"selector":{selector}}}"#).as_bytes()).unwrap_err();
        assert!(matches!(code, RefusedCode::NotSearchable), "{selector}: {code:?}");
        assert!(!detail.contains("ix1."), "{detail}");
    }
    for query in [
        r#"{"selector":{},"sort":["email_ix"]}"#,
        r#"{"selector":{},"fields":["email_ix"]}"#,
        r#"{"selector":{},"fields":["email_ix.x"]}"#,
    ] {
        assert!(matches!(indexed().query(query.as_bytes()), Err((RefusedCode::NotSearchable, _))), "{query}");
    }
    // A filter that is stored cannot follow the keys; an index may hold terms.
    assert!(indexed().index(br#"{"index":{"fields":["tier"],"partial_filter_selector":{"email":"a"}}}"#).is_err());
    assert!(indexed().index(br#"{"index":{"fields":["email_ix"]}}"#).is_ok());
    assert!(indexed().index(br#"{"index":{"fields":["email"]}}"#).is_err());
}

#[test]
fn t34_projections_get_what_is_compared() {
    let of = |query: &str| {
        indexed().query(query.as_bytes()).map(|query| (shown(&query), query.search.strip, query.search.strip_members))
    };
    let (text, strip, members) = of(r#"{"selector":{"email":"a"},"fields":["tier"]}"#).unwrap();
    assert!(text.ends_with(r#""fields":["tier","_id","email"]}"#), "{text}");
    assert_eq!((strip, members), (vec![0], vec![0]));
    let (text, strip, members) = of(r#"{"selector":{"email":"a"},"fields":["_id","email","tier"]}"#).unwrap();
    assert!(text.ends_with(r#""fields":["_id","email","tier"]}"#), "{text}");
    assert_eq!((strip, members), (vec![], vec![]));
    let (_, _, members) = of(r#"{"selector":{"contact.phone":"a"},"fields":["_id","contact"]}"#).unwrap();
    assert_eq!(members, Vec::<usize>::new());
    for without in
        [r#"{"selector":{"contact.phone":"a"},"fields":["_id"]}"#, r#"{"selector":{"phones":{"$in":["a"]}},"fields":["_id"]}"#]
    {
        assert!(matches!(of(without), Err((RefusedCode::NotSearchable, _))), "{without}");
    }
}
