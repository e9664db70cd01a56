use serde_json::json;

use super::super::super::fixtures::selector;
use super::*;

fn guarded() -> Guarded {
    let fields = [("name", "$.name"), ("phone", "$.phones[*]"), ("city", "$.address.city"), ("id-card", "$.id_card")];
    let fields: Vec<(&str, Selector)> = fields.iter().map(|(field, at)| (*field, selector(at))).collect();
    Guarded::new(fields.iter().map(|(field, at)| (*field, at)))
}

fn map(text: &str) -> Result<Emits, Unsafe> {
    guarded().function(&json!(text), 1, "map")
}

#[test]
fn views_as_people_write_them_pass() {
    for text in [
        "function (doc) { emit(doc._id, null); }",
        "function(doc){emit(doc.tier,1)}",
        "function map(doc) {\n  if (doc.type === 'order' && doc.date) {\n    var d = new Date(doc.date)\n    emit([d.getFullYear(), d.getMonth() + 1], doc.total)\n  }\n}",
        "function (doc) { for (var i = 0; i < doc.tags.length; i++) { emit(doc.tags[i], 1) } }",
        "function (doc) { var i, n = 3\n for (i = 0; i < n; i += 1) emit(doc.tags[i]) }",
        "function (doc) { doc.tags.forEach(function (tag) { emit(tag.toLowerCase(), 1) }) }",
        "function (doc) { (doc.tags || []).forEach(tag => emit(tag)) }",
        "doc => { emit(doc.tier) }",
        "(doc) => emit(doc.tier, { n: 1, total: doc.total })",
        "doc => emit(doc.tier, doc.total)",
        "function (doc) { if (!doc._id.match(/^c-[0-9]+\\/x/)) return; emit(doc.tier) }",
        "function (doc) { // the tier's \"name\"\n emit(doc.tier) /* doc['name'] */ }",
        "function (doc) { emit(doc.total / 10, Math.round(doc.total / 10)) }",
        "function (doc) { var half = (doc.total + 1) / 2; emit(half) }",
        "function (doc) { try { emit(JSON.parse(doc.note)) } catch (e) { return } }",
        "function (doc) { switch (doc.tier) { case 'gold': emit(1); break; default: emit(0) } }",
        "function (doc) { if (doc) emit(doc.tier ? doc.tier : 'none') }",
        "function (doc) { if (doc && doc.tier && typeof doc.total === 'number') emit(`x`, {_id: doc.friend}) }",
        "function (doc) { var keys = Object.keys(doc.prices); emit(keys.length) }",
        "function (doc) { emit(doc.x?.y) };",
        "function (doc) { emit(doc.names, doc.addresses) }",
    ] {
        assert_eq!(map(text), Ok(Emits::Plain), "{text}");
    }
    for text in [
        "function (doc) { emit(doc._id, doc) }",
        "function (doc) { if (doc.type == 'x') { emit([doc.tier, doc._id], doc); } }",
        "doc => emit(doc.tier, doc)",
    ] {
        assert_eq!(map(text), Ok(Emits::Documents), "{text}");
    }
}

const CARRYING: &[&str] = &[
    // By a method whose name is a keyword.
    "function (doc) { var x = {if: function (v) { emit(v, null) }}; x.if(doc) }",
    "function (doc) { var x = {if: function (v) { emit(null, v) }}; x\n.if(doc) }",
    "function (doc) { var x = {if: function (v) { emit(null, v) }}; x?.if(doc) }",
    "function (doc) { var v; var x = {if(v) { emit(v, null) }}; x.if(doc) }",
    // By its name.
    "function (doc) { emit(doc.name) }",
    "function (doc) { emit(doc . name) }",
    "function (doc) { emit(doc\n.name) }",
    "function (doc) { emit(doc/**/.name) }",
    "function (doc) { emit(doc?.name) }",
    "function (doc) { emit(doc.address.city) }",
    "function (doc) { emit(doc.address) }",
    "function (doc) { emit(1, doc.phones) }",
    "function (doc) { emit(doc.n\\u0061me) }",
    "function (doc) { emit(doc.n\\u{61}me) }",
    "function (d\\u006fc) { emit(1) }",
    "function (doc) { if (doc.name > 'M') emit(1) }",
    // By a name made at run time.
    "function (doc) { emit(doc['name']) }",
    "function (doc) { emit(doc['na' + 'me']) }",
    "function (doc) { emit(doc['n\\x61me']) }",
    "function (doc) { emit(doc[`name`]) }",
    "function (doc) { emit(doc[doc.which]) }",
    "function (doc) { emit(doc[0]) }",
    "function (doc) { emit(doc?.[0]) }",
    "function (doc) { for (var k in doc) emit(k) }",
    "function (doc) { for each (var v in doc) emit(v) }",
    "function (doc) { Object.keys(doc).forEach(function (k) { emit(k) }) }",
    "function (doc) { Object.values(doc.x); emit(1) }",
    "function (doc) { Object.entries(doc).map(emit) }",
    "function (doc) { emit(Reflect.get(doc, 'x')) }",
    // By what every object inherits.
    "function (doc) { emit(doc.valueOf()) }",
    "function (doc) { var all = doc?.valueOf(); emit(1, all) }",
    "function (doc) { emit(doc.toSource()) }",
    "function (doc) { var {tier} = doc; emit(tier) }",
    "function (doc) { var tier; ({tier} = doc); emit(tier) }",
    "function ({tier}) { emit(tier) }",
    "({tier}) => emit(tier)",
    "function (doc, x = doc) { emit(1) }",
    "function (...docs) { emit(docs[0]) }",
    // As a whole.
    "function (doc) { emit(doc) }",
    "function (doc) { emit(doc, 1) }",
    "function (doc) { emit([doc], 1) }",
    "function (doc) { emit(1, [doc]) }",
    "function (doc) { emit(1, {d: doc}) }",
    "function (doc) { emit(1, {...doc}) }",
    "function (doc) { emit(1, (doc)) }",
    "function (doc) { emit(1, doc, 2) }",
    "function (doc) { emit(1, f(2, doc)) }",
    "function (doc) { emit(JSON.stringify(doc)) }",
    "function (doc) { emit(toJSON(doc)) }",
    "function (doc) { emit(String(doc)) }",
    "function (doc) { emit('' + doc) }",
    "function (doc) { emit(`${doc.tier}`) }",
    "function (doc) { log(doc) }",
    "function (doc) { var copy = doc; emit(copy.tier) }",
    "function (doc) { var copy = doc || {}; emit(copy) }",
    "function (doc) { return doc }",
    "function (doc) { throw doc }",
    "function (doc) { with (doc) { emit(tier) } }",
    // By what the engine offers.
    "function (doc) { emit(arguments[0]) }",
    "function f(doc) { emit(f.arguments[0]) }",
    "function f(doc) { emit(f['argu' + 'ments'][0]) }",
    "function (doc) { emit(this.tier) }",
    "function (doc) { eval('emit(doc.x)') }",
    "function (doc) { new Function('return 1')() }",
    "function (doc) { [].map.constructor('x')() }",
    "function (doc) { [].map['const' + 'ructor']('x')() }",
    "function (doc) { emit(doc.tags[doc.k][doc.k]) }",
    "function (doc) { for (var k in doc.tags) emit(doc.tags[k]) }",
    "function (doc) { var i = 'constructor'; emit(doc.tags[i]) }",
    "function (doc) { var i = 0; (i) = 'constructor'; emit(doc.tags[i]) }",
    "function (doc) { var i = 0; [i] = ['constructor']; emit(doc.tags[i]) }",
    "function (doc) { var i = 0; i += 'x'; emit(doc.tags[i]) }",
    "function (doc) { doc.tags.map(function (i) { emit(doc.tags[i]) }) }",
    "function (doc) { doc.tags.map(i => doc.tags[i]) }",
    "function (doc) { try { x() } catch (i) { emit(doc.tags[i]) } }",
    "function (doc) { emit({}.__proto__) }",
    "function (doc) { evalcx('x') }",
    "function (doc) { require('views/lib/x').f(1) }",
    "function (doc) { emit.call(null, 1, 2) }",
    "function (doc) { var e = emit; e(1) }",
    "function (doc) { emit = function (k, v) { log(v) }; emit(1, doc) }",
    "function (doc) { function emit(k, v) { log(v.tier) } emit(1, doc) }",
    "function (doc) { var o = {emit(k, v) { log(v) }}; o.emit(1, doc) }",
    "function (doc) { JSON.stringify = function (x) { return x }; emit(1) }",
    "function (doc) { var j = JSON; j.stringify = 1; emit(1) }",
    "function (doc) { globals = 1 }",
    "function (doc) { doc._id = 'c-2'; emit(doc._id, doc) }",
    "function (doc) { doc.note = 1; emit(1) }",
    "function (doc) { ++doc.n; emit(1) }",
    "function (doc) { delete doc.tier; emit(1, doc) }",
    "function (doc) { class X { } emit(1) }",
    "async function (doc) { emit(1) }",
    "function* (doc) { emit(1) }",
    "function (doc) { var o = {get x() { return 1 }}; emit(o.x) }",
    "function (doc) { var g = function () { }; var {'call\\x65r': c} = g; emit(c) }",
    // Read in two ways.
    "function (doc) { if (1) /\"/.test(1); emit(doc.name) //\"\n }",
    "function (doc) { var a = 1\n/\"/.test(1); emit(doc.name); //\" \n}",
    "function (doc) { <!-- \"\n emit(doc.name) //\"\n }",
    "function (doc) { // \u{2028} emit(doc.name)\n }",
    "function (doc) { var x = <a>\"</a>; emit(doc.name); <b>\"</b> }",
    "function (doc) { /[/]/.test(1); emit(doc.tier) }",
    "function (doc) { [ /[[a]/] , \"/v, emit(doc.name), \"\" ] }",
    "function (doc) { 1..constructor }",
    "function (doc) { emit('a\n') }",
    "function (doc) { emit(`a${doc.tier}b`) }",
    // Not one function.
    "",
    "emit",
    "function (doc) { emit(doc.tier) } function (d) { emit(d) }",
    "var x = 1; function (doc) { emit(x) }",
    "(function (doc) { emit(doc.tier) })",
    "function (doc) { emit(doc.tier) })(1",
    "function (doc) { emit(doc.tier) }, 1",
    "doc => emit(doc.tier); emit(1)",
    "function (doc) { emit(doc.tier",
    "function doc { emit(1) }",
];

#[test]
fn t40_functions_that_could_carry_a_protected_member_are_refused() {
    for text in CARRYING {
        let judged = map(text);
        assert!(judged.is_err(), "{text}: {judged:?}");
        let why = judged.unwrap_err();
        assert!(!why.contains("tier") || why.contains("doc.tier"), "{why}");
    }
}

#[test]
fn t40_where_every_member_may_be_protected_none_may_be_taken() {
    let at = selector("$.*");
    let guarded = Guarded::new([("any", &at)].into_iter());
    let judged = |text: &str| guarded.function(&json!(text), 1, "map");
    assert!(judged("function (doc) { emit(doc.tier) }").is_err());
    assert_eq!(judged("function (doc) { emit(doc._id) }"), Ok(Emits::Plain));
    assert_eq!(judged("function (doc) { emit(doc._id, doc) }"), Ok(Emits::Documents));
}

fn stored(design: &serde_json::Value) -> Result<(), Unsafe> {
    let index = |definition: &Value| match definition.get("fields") {
        Some(fields) if fields.get("name").is_none() => Ok(()),
        _ => Err("an index".to_owned()),
    };
    guarded().design(design.as_object().unwrap(), Views::Checked, index)
}

#[test]
fn design_documents_are_judged_whole() {
    for design in [
        json!({}),
        json!({"_id": "_design/x", "_rev": "1-a", "language": "javascript", "views": {}, "autoupdate": false, "version": 3, "note": "x"}),
        json!({"views": {"v": {"map": "function (doc) { emit(doc.tier, 1) }", "reduce": "_sum"}}}),
        json!({"views": {"v": {"map": "function (doc) { emit(doc.tier, doc) }", "reduce": "_count"}}}),
        json!({"views": {"v": {"map": "function (doc) { emit(doc.tier, 1) }", "reduce": "function (keys, values, rereduce) { return sum(values) }"}}}),
        json!({"options": {"partitioned": false}, "views": {"v": {"map": "function (doc) { emit(doc.tier) }"}}}),
        json!({"language": "query", "views": {"v": {"map": {"fields": {"tier": "asc"}}, "reduce": "_count", "options": {"def": {"fields": ["tier"]}}}}}),
        json!({"validate_doc_update": "function (newDoc, oldDoc, userCtx, secObj) { if (oldDoc && oldDoc.tier !== newDoc.tier && userCtx.roles.indexOf('_admin') === -1) { throw({forbidden: 'no'}) } if (!oldDoc) { return } }"}),
        json!({"filters": {"f": "function (doc, req) { return doc.tier === req.query.tier }"}}),
    ] {
        assert_eq!(stored(&design), Ok(()), "{design}");
    }
    for design in [
        json!({"views": {"v": {"map": "function (doc) { emit(doc.tier) }"}, "w": {"map": "function (doc) { emit(doc.name) }"}}}),
        json!({"views": {"v": {"map": "function (doc) { emit(doc.tier, doc) }", "reduce": "_sum"}}}),
        json!({"views": {"v": {"map": "function (doc) { emit(doc.tier, doc) }", "reduce": "function (k, v) { return v[0] }"}}}),
        json!({"views": {"v": {"map": "function (doc) { emit(doc.tier, 1) }", "reduce": "function (k, v) { emit = function (a, b) { log(b) } }"}}}),
        json!({"views": {"v": {"map": "function (doc) { emit(doc.tier, 1) }", "reduce": "_custom"}}}),
        json!({"views": {"v": {"reduce": "_count"}}}),
        json!({"views": {"v": {"map": {"fields": {"tier": "asc"}}}}}),
        json!({"views": {"lib": {"x": "exports.f = 1"}}}),
        json!({"views": "x"}),
        json!({"language": "query", "views": {"v": {"map": {"fields": {"name": "asc"}}}}}),
        json!({"language": "erlang", "views": {"v": {"map": "fun(_) -> ok end."}}}),
        json!({"language": 7, "views": {"v": {"map": "function (doc) { emit(doc.tier) }"}}}),
        json!({"options": {"include_design": true}, "views": {"v": {"map": "function (doc) { emit(doc.tier) }"}}}),
        json!({"updates": {"u": "function (doc, req) { return [doc, ''] }"}}),
        json!({"shows": {}}),
        json!({"lists": {"l": "x"}}),
        json!({"rewrites": []}),
        json!({"indexes": {"i": {"index": "function (doc) { index('default', doc._id) }"}}}),
        json!({"st_indexes": {}}),
        json!({"name": "Mei"}),
        json!({"address": {"city": "x"}}),
        json!({"nouveau": {}}),
        json!({"validate_doc_update": "function (newDoc) { if (newDoc.name.length > 50) throw({forbidden: newDoc.name}) }"}),
        json!({"validate_doc_update": "function (newDoc, oldDoc) { throw({forbidden: toJSON(oldDoc)}) }"}),
        json!({"filters": {"f": "function (doc) { return doc.name == 'Mei' }"}}),
    ] {
        assert!(stored(&design).is_err(), "{design}");
    }
}

#[test]
fn reviewed_functions_pass_but_none_that_answers_or_writes() {
    let reviewed = |design: serde_json::Value| {
        guarded().design(design.as_object().unwrap(), Views::Reviewed, |_| Err("an index".to_owned()))
    };
    assert_eq!(reviewed(json!({"views": {"v": {"map": "function (doc) { emit(doc.name) }"}}})), Ok(()));
    for design in
        [json!({"updates": {}}), json!({"lists": {}}), json!({"shows": {}}), json!({"rewrites": []}), json!({"name": 1})]
    {
        assert!(reviewed(design.clone()).is_err(), "{design}");
    }
    assert!(reviewed(json!({"language": "query", "views": {"v": {"map": {"fields": {"name": "asc"}}}}})).is_err());
}

#[test]
fn a_function_that_would_keep_the_proxy_busy_is_refused() {
    let started = std::time::Instant::now();
    let names = |many: usize| (0..many).map(|n| format!("a{n}")).collect::<Vec<_>>();
    let declared = format!("function (doc) {{ var {};\n {};\n }}", names(30_000).join(","), vec!["a29999"; 30_000].join(";"));
    assert!(map(&declared).unwrap_err().contains("longer than"));
    let counting = format!("function (doc) {{ var i=0;\n {}; {} }}", "x[i];".repeat(800), "f((i,".repeat(5));
    assert!(map(&counting).is_err());
    let fits = format!("function (doc) {{ var {};\n {};\n }}", names(1_000).join(","), vec!["a999"; 1_000].join(";"));
    assert_eq!(map(&fits), Ok(Emits::Plain));
    let indexes = format!("function (doc) {{ var i=0, x=[];\n {} [i{}]; emit(i) }}", "x[i];".repeat(900), ",i".repeat(1_500));
    assert_eq!(map(&indexes), Ok(Emits::Plain));
    assert!(started.elapsed().as_secs() < 3, "{:?}", started.elapsed());
}
