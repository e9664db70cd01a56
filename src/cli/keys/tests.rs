//! What each command prints, to the letter.

use super::*;
use crate::base::{Controller, FixedClock, Kid, RingName};
use crate::keys::{Change, LineName, Onto, Scope, Successor};

const NOON: u64 = 1_795_348_800_000; // 2026-11-22T12:00:00Z

fn config(dir: &Path) -> Config {
    Config {
        controller: Controller::new("shop"),
        name: RingName::main(),
        ring: dir.join("ring.json").into(),
        kek: Kek::File(dir.join("kek")),
        min_revision: 0,
    }
}

fn change<'a>(config: &'a Config, clock: &'a FixedClock) -> Change<'a> {
    Change { config, clock, at_revision: None }
}

/// What a command prints, with the folder taken out and each key id named after its place in `versions`.
fn printed(dir: &Path, run: impl FnOnce(&Config, &mut dyn Write)) -> String {
    let mut out = Vec::new();
    run(&config(dir), &mut out);
    let mut text = String::from_utf8(out).unwrap().replace(&format!("{}/", dir.display()), "");
    for (number, (version, _)) in keys::verify(&config(dir)).unwrap().versions.iter().enumerate() {
        text = text.replace(version.kid.as_str(), &format!("kid0000{number}"));
    }
    text
}

#[test]
fn an_operator_reads_what_was_done() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let clock = FixedClock::at(NOON);
    let first = printed(dir, |config, out| init(config, &["marketing".to_string()], &clock, Format::Table, out).unwrap());
    assert_eq!(
        first,
        "made kek: the key-encryption key. Back it up, apart from the ring: without it no value can be opened.\n\
         made ring.json, revision 1:\n  kid00000  seal\n  kid00001  lookup\n  kid00002  token\n  kid00003  audit\n  kid00004  pseudonym/marketing\n"
    );
    let second = printed(dir, |config, out| init(config, &[], &clock, Format::Table, out).unwrap());
    assert_eq!(second, "ring.json has every line already; revision 1 stays.\n");
    clock.set(NOON + 90_500);
    let rotated = printed(dir, |config, out| rotate(&change(config, &clock), "seal", Format::Table, out).unwrap());
    assert_eq!(
        rotated,
        "seal: kid00001 is active; ring.json revision 2\nseal: kid00000 is deactivated and still opens what it protected\n\
         A running `sudare serve` takes it at SIGHUP, or by itself within seconds (unless [reload] poll_ms is 0).\n"
    );
    let listed = printed(dir, |config, out| list(config, Versions::Live, Format::Table, out).unwrap());
    let lines: Vec<&str> = listed.lines().collect();
    assert_eq!(lines.first(), Some(&"ring.json: controller shop, ring main, revision 2, written 2026-11-22T12:01:30.5Z"));
    assert_eq!(
        lines.get(1..4).unwrap(),
        [
            "line                 kid       state        may            created                 activated               deactivated",
            "seal                 kid00000  deactivated  open           2026-11-22T12:00:00Z    2026-11-22T12:00:00Z    2026-11-22T12:01:30.5Z",
            "seal                 kid00001  active       protect, open  2026-11-22T12:01:30.5Z  2026-11-22T12:01:30.5Z  –",
        ]
    );
    let verified = printed(dir, |config, out| assert!(verify(config, Format::Table, out).unwrap()));
    assert!(
        verified.ends_with("sound: the manifest is authentic, 6 of 6 versions unwrap and match their commitments\n"),
        "{verified}"
    );
    assert_eq!(verified.matches("  ok\n").count(), 6);
}

#[test]
fn json_says_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let clock = FixedClock::at(NOON);
    let json = |text: String| serde_json::from_str::<Value>(&text).unwrap();
    let made = json(printed(dir, |config, out| init(config, &[], &clock, Format::Json, out).unwrap()));
    assert_eq!((&made["kek_made"], &made["revision"], &made["added"][3]["line"]), (&true.into(), &1.into(), &"audit".into()));
    let rotated = json(printed(dir, |config, out| rotate(&change(config, &clock), "audit", Format::Json, out).unwrap()));
    assert_eq!(rotated, json!({ "line": "audit", "active": "kid00004", "deactivated": "kid00003", "revision": 2 }));
    let listed = json(printed(dir, |config, out| list(config, Versions::Live, Format::Json, out).unwrap()));
    assert_eq!((&listed["versions"][4]["state"], &listed["versions"][4]["destroyed"]), (&"active".into(), &Value::Null));
    assert!(listed.get("sound").is_none());
    let verified = json(printed(dir, |config, out| assert!(verify(config, Format::Json, out).unwrap())));
    assert_eq!((&verified["sound"], &verified["versions"][0]["found"]), (&true.into(), &"ok".into()));
}

#[test]
fn a_word_that_is_no_line_is_a_mistake_of_usage() {
    let dir = tempfile::tempdir().unwrap();
    let error = rotate(&change(&config(dir.path()), &FixedClock::at(NOON)), "seals", Format::Table, &mut Vec::new()).unwrap_err();
    assert_eq!(error.to_string(), "\"seals\" is not a line of a key ring: use seal, lookup, token, audit or pseudonym/<scope>");
    assert!(matches!(error, KeysCommandError::Line { .. }));
}

/// The id of the nth version, in the manifest's order.
fn nth(dir: &Path, number: usize) -> Kid {
    keys::verify(&config(dir)).unwrap().versions[number].0.kid
}

const SERVE: &str = "A running `sudare serve` takes it at SIGHUP, or by itself within seconds (unless [reload] poll_ms is 0).\n";

#[test]
fn publishing_and_activating_say_what_holds_and_what_comes_next() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let clock = FixedClock::at(NOON);
    init(&config(dir), &["marketing".to_string()], &clock, Format::Table, &mut Vec::new()).unwrap();
    let publish_seal = || printed(dir, |config, out| publish(&change(config, &clock), "seal", Format::Table, out).unwrap());
    assert_eq!(
        publish_seal(),
        format!(
            "seal: kid00001 is published (pre-active): it opens, and protects nothing yet; ring.json revision 2\n{SERVE}Once every node has it: `sudare keys activate kid00001`\n"
        )
    );
    assert_eq!(
        publish_seal(),
        "seal: kid00001 is published already (pre-active); revision 2 stays.\nOnce every node has it: `sudare keys activate kid00001`\n"
    );
    let verified = printed(dir, |config, out| assert!(verify(config, Format::Table, out).unwrap()));
    assert!(verified.ends_with("commitments\nnote: published and not active yet: kid00001 (seal)\n"), "{verified}");
    let kid = nth(dir, 1);
    let activate_it = || printed(dir, |config, out| activate(&change(config, &clock), kid, Format::Table, out).unwrap());
    assert_eq!(
        activate_it(),
        format!(
            "seal: kid00000 is deactivated and still opens what it protected\nseal: kid00001 is active\nring.json revision 3\n{SERVE}"
        )
    );
    assert_eq!(activate_it(), "seal: kid00001 is active already\nring.json revision 3 stays: there was nothing to do.\n");
    let old = nth(dir, 0);
    assert_eq!(
        printed(dir, |config, out| deactivate(&change(config, &clock), old, Scope::Keep, Format::Table, out).unwrap()),
        "seal: kid00000 is deactivated already\nring.json revision 3 stays: there was nothing to do.\n"
    );
    let scope = nth(dir, 5);
    assert_eq!(
        printed(dir, |config, out| deactivate(&change(config, &clock), scope, Scope::End, Format::Table, out).unwrap()),
        format!(
            "pseudonym/marketing: kid00005 is deactivated and still opens what it protected\nring.json revision 4\n\
             pseudonym/marketing: the scope has ended: reads that would show a pseudonym of it answer 503 keys-unavailable. `sudare keys rotate --line pseudonym/marketing` begins it anew, with other pseudonyms.\n{SERVE}"
        )
    );
    publish(&change(&config(dir), &clock), "audit", Format::Table, &mut Vec::new()).unwrap();
    let rotated = printed(dir, |config, out| rotate(&change(config, &clock), "audit", Format::Table, out).unwrap());
    assert!(
        rotated.contains("\naudit: kid00005, published before, goes on waiting: `sudare keys activate kid00005`\n"),
        "{rotated}"
    );
}

#[test]
fn compromising_says_what_nobody_sees_any_more_and_what_is_left_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let clock = FixedClock::at(NOON);
    init(&config(dir), &["marketing".to_string()], &clock, Format::Table, &mut Vec::new()).unwrap();
    let kids: Vec<Kid> = (0..5).map(|number| nth(dir, number)).collect();
    let compromise_all =
        || printed(dir, |config, out| compromise(&change(config, &clock), &kids, Successor::Make, Format::Table, out).unwrap());
    assert_eq!(
        compromise_all(),
        format!(
            "seal: kid00000 is compromised\nlookup: kid00002 is compromised\ntoken: kid00004 is compromised\n\
             audit: kid00006 is compromised\npseudonym/marketing: kid00008 is compromised\n\
             seal: kid00001 is active in its place\nlookup: kid00003 is active in its place\n\
             token: kid00005 is active in its place\naudit: kid00007 is active in its place\n\
             pseudonym/marketing: kid00009 is active in its place\nring.json revision 2\n\
             seal: what it protects is shown to nobody until it is sealed anew (`sudare keys rewrap --names FILE`): a read answers 500 key-compromised, and the audit log has an alarm.\n\
             lookup: what it protects is shown to nobody, and no search finds it, until it is sealed anew (`sudare keys rewrap --names FILE`): a read answers 500 key-compromised, and the audit log has an alarm.\n\
             token: what stands under it in the vault is shown to nobody until it is sealed anew (`sudare keys rewrap --names FILE`): a read answers 500 key-compromised, and the audit log has an alarm.\n\
             audit: restart `sudare serve` now, for until then it goes on writing under the old version. Against whoever knows that, only checkpoints kept elsewhere prove what stands in the log.\n\
             Pseudonyms of marketing change: those given out from now on do not link to those given out before, against which whoever knows the old key can test guesses.\n\
             Was more in the same hands? Every version of a ring that leaked with its KEK is compromised: name all of them.\n{SERVE}"
        )
    );
    let again = compromise_all();
    assert!(again.ends_with("ring.json revision 2 stays: there was nothing to do.\n") && again.lines().count() == 6, "{again}");
    let listed = printed(dir, |config, out| list(config, Versions::Live, Format::Table, out).unwrap());
    let lines: Vec<&str> = listed.lines().skip(1).take(3).collect();
    assert_eq!(
        lines,
        [
            "line                 kid       state        may            created               activated             deactivated  compromised",
            "seal                 kid00000  compromised  upkeep only    2026-11-22T12:00:00Z  2026-11-22T12:00:00Z  –            2026-11-22T12:00:00Z",
            "seal                 kid00001  active       protect, open  2026-11-22T12:00:00Z  2026-11-22T12:00:00Z  –            –",
        ]
    );
    let verified = printed(dir, |config, out| assert!(verify(config, Format::Table, out).unwrap()));
    assert!(
        verified.ends_with(
            "note: compromised: kid00000 (seal), kid00002 (lookup), kid00004 (token), kid00006 (audit), kid00008 (pseudonym/marketing); what they protect is shown to nobody until it is written anew\n"
        ),
        "{verified}"
    );
}

#[test]
fn json_of_every_change() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let clock = FixedClock::at(NOON);
    let json = |text: String| serde_json::from_str::<Value>(&text).unwrap();
    init(&config(dir), &[], &clock, Format::Table, &mut Vec::new()).unwrap();
    let published = json(printed(dir, |config, out| publish(&change(config, &clock), "seal", Format::Json, out).unwrap()));
    assert_eq!(published, json!({ "line": "seal", "pre_active": "kid00001", "made": true, "revision": 2 }));
    let kid = nth(dir, 1);
    let activated = json(printed(dir, |config, out| activate(&change(config, &clock), kid, Format::Json, out).unwrap()));
    assert_eq!(
        activated,
        json!({
            "moved": [
                { "line": "seal", "kid": "kid00000", "from": "active", "to": "deactivated" },
                { "line": "seal", "kid": "kid00001", "from": "pre-active", "to": "active" },
            ],
            "made": [],
            "revision": 3,
        })
    );
    let replaced = json(printed(dir, |config, out| {
        compromise(&change(config, &clock), &[kid], Successor::Make, Format::Json, out).unwrap();
    }));
    assert_eq!(
        (&replaced["moved"][0]["to"], &replaced["made"]),
        (&"compromised".into(), &json!([{ "line": "seal", "kid": "kid00002" }]))
    );
    let listed = json(printed(dir, |config, out| list(config, Versions::Live, Format::Json, out).unwrap()));
    let may = |number: usize| {
        let version = &listed["versions"][number];
        ["protects", "opens", "opens_for_upkeep"].map(|member| version[member].as_bool().unwrap())
    };
    assert_eq!([may(0), may(1), may(2)], [[false, true, true], [false, false, true], [true, true, true]]);
}

/// A ring that has been rotated for decades: one line a version, in columns, nothing wrapped.
#[test]
fn a_ring_of_a_thousand_versions_is_readable() {
    let info = |number: u64| VersionInfo {
        line: crate::keys::LineName::Seal,
        kid: Kid::from_random([0, 0, 0, u8::try_from(number / 256).unwrap(), u8::try_from(number % 256).unwrap()]),
        state: if number == 999 { State::Active } else { State::Deactivated },
        created_ms: NOON + number,
        activated_ms: Some(NOON + number),
        deactivated_ms: (number < 999).then_some(NOON + number + 1),
        compromised_ms: None,
        destroyed_ms: None,
    };
    let report = VerifyReport {
        controller: "shop".to_owned(),
        ring: "main".to_owned(),
        revision: 1000,
        written_ms: NOON,
        versions: (0..1000).map(|number| (info(number), Ok(()))).collect(),
    };
    let mut out = Vec::new();
    table(&report, Versions::Live, false, &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 1001);
    let column = lines[0].find("created").unwrap();
    for line in &lines[1..] {
        let created = line.get(column..).is_some_and(|rest| rest.starts_with("2026-11-22T12:00:0"));
        assert!(line.len() <= 130 && created, "{line}");
    }
    assert!(lines[1000].starts_with("seal  000000z7  active       protect, open  "), "{}", lines[1000]);
}

#[test]
fn the_kek_is_changed_in_words_and_in_json() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let clock = FixedClock::at(NOON);
    let said = |config: &Config, onto: Onto, format: Format| {
        let mut out = Vec::new();
        let done = change_kek(&change(config, &clock), onto, format, &mut out);
        done.map(|()| String::from_utf8(out).unwrap().replace(&format!("{}/", dir.display()), ""))
    };
    let alone = config(dir);
    keys::init(&alone, &[], &clock).unwrap();
    let error = said(&alone, Onto::Next, Format::Table).unwrap_err().to_string();
    assert!(error.contains("write `next_kek = { provider = …}` beside `kek` in [keys] of every node"), "{error}");
    let error = said(&alone, Onto::Same, Format::Table).unwrap_err().to_string();
    assert!(error.contains("provider \"file\", which cannot be wrapped anew under itself"), "{error}");
    let to = Box::new(Kek::File(dir.join("kek-2")));
    let both = Config { kek: Kek::Changing { from: Box::new(alone.kek.clone()), to }, ..alone };
    let changed: Value = serde_json::from_str(&said(&both, Onto::Next, Format::Json).unwrap()).unwrap();
    let (from, to) = ("file kek", "file kek-2");
    assert_eq!(changed, json!({ "from": from, "to": to, "changed": true, "kek_made": true, "revision": 2 }));
    let again: Value = serde_json::from_str(&said(&both, Onto::Next, Format::Json).unwrap()).unwrap();
    assert_eq!(again, json!({ "from": to, "to": to, "changed": false, "kek_made": false, "revision": 2 }));
    let in_words = said(&both, Onto::Next, Format::Table).unwrap();
    assert!(
        in_words.starts_with(
            "ring.json hangs on file kek-2 already; revision 2 stays: there was nothing to do.\nThen, on every node"
        )
    );
}

/// A report of versions in these states; each number is an id.
fn report_of(versions: impl Iterator<Item = (u64, State)>) -> VerifyReport {
    let version = |(number, state): (u64, State)| {
        let [.., high, low] = number.to_be_bytes();
        let at = NOON + number * 1000;
        let after = |is: bool| is.then_some(at + 500);
        VersionInfo {
            line: if number.is_multiple_of(2) { LineName::Seal } else { LineName::Lookup },
            kid: Kid::from_random([0, 0, 0, high, low]),
            state,
            created_ms: at,
            activated_ms: (state != State::PreActive).then_some(at),
            deactivated_ms: after(matches!(state, State::Deactivated | State::Destroyed)),
            compromised_ms: after(state == State::Compromised),
            destroyed_ms: after(state == State::Destroyed),
        }
    };
    VerifyReport {
        controller: "shop".to_owned(),
        ring: "main".to_owned(),
        revision: 7,
        written_ms: NOON,
        versions: versions.map(|version_of| (version(version_of), Ok(()))).collect(),
    }
}

#[test]
fn destroyed_versions_are_summed_up_unless_all_are_asked_for() {
    let report = report_of((0..1000).map(|number| {
        let state = match number {
            0..=995 => State::Destroyed,
            996 | 997 => State::Deactivated,
            _ => State::Active,
        };
        (number, state)
    }));
    let printed = |which, checked| {
        let mut out = Vec::new();
        table(&report, which, checked, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    };
    assert_eq!(
        printed(Versions::Live, false),
        "line    kid       state        may            created               activated             deactivated\n\
         seal    000000z4  deactivated  open           2026-11-22T12:16:36Z  2026-11-22T12:16:36Z  2026-11-22T12:16:36.5Z\n\
         lookup  000000z5  deactivated  open           2026-11-22T12:16:37Z  2026-11-22T12:16:37Z  2026-11-22T12:16:37.5Z\n\
         seal    000000z6  active       protect, open  2026-11-22T12:16:38Z  2026-11-22T12:16:38Z  –\n\
         lookup  000000z7  active       protect, open  2026-11-22T12:16:39Z  2026-11-22T12:16:39Z  –\n\
         destroyed, not shown: seal 498, lookup 498 (the last one 2026-11-22T12:16:35.5Z); --all shows them\n"
    );
    let all = printed(Versions::All, true);
    assert_eq!((all.lines().count(), all.matches("  destroyed    nothing ").count()), (1001, 996));
    assert!(!all.contains("not shown"));
    // One that is not sound is shown, whatever its state.
    let mut unsound = report_of([(0, State::Destroyed), (1, State::Active)].into_iter());
    unsound.versions[0].1 = Err("a reason");
    let mut out = Vec::new();
    table(&unsound, Versions::Live, true, &mut out).unwrap();
    assert!(String::from_utf8(out).unwrap().contains("a reason"));
}

/// What scripts read, to the letter: members may be added, none changes its name or meaning (`docs/rotation.md`).
#[test]
fn the_json_of_a_list_is_stable() {
    let all = [State::PreActive, State::Active, State::Deactivated, State::Compromised, State::Destroyed];
    let report = report_of((0..).zip(all));
    let text = format!("{:#}", as_json(&report, true));
    insta::assert_snapshot!("keys-list-json", text);
    let listed = as_json(&report, false);
    assert!(listed.get("sound").is_none() && listed["versions"][0].get("found").is_none());
    assert_eq!(listed["versions"].as_array().unwrap().len(), 5, "destroyed ones, too");
}
