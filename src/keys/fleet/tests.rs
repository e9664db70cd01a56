//! Who has what, who is behind, who is gone.

use super::*;

fn summary(revision: u64, active: &[(&str, &str)], compromised: &[&str]) -> Summary {
    Summary {
        revision,
        digest: format!("{revision:016x}"),
        active: active.iter().map(|(line, kid)| ((*line).to_owned(), (*kid).to_owned())).collect(),
        compromised: compromised.iter().map(|kid| (*kid).to_owned()).collect(),
    }
}

fn known(kids: &[&str]) -> BTreeSet<String> {
    kids.iter().map(|kid| (*kid).to_owned()).collect()
}

fn row(id: &str, seen_s: u64, about: &About) -> NodeRow {
    let seen_ago = Duration::from_secs(seen_s);
    NodeRow { id: id.to_owned(), started_ago: Duration::from_mins(1), seen_ago, about: about.bytes() }
}

fn about(held: Option<Summary>) -> About {
    let rings = held.map(|held| ("main".to_owned(), held)).into_iter().collect();
    About { controller: "shop".to_owned(), host: "proxy".to_owned(), rings, ..About::default() }
}

#[test]
fn a_node_is_behind_once_others_protect_under_what_it_lacks() {
    let held = summary(3, &[("seal", "k2")], &[]);
    let have = known(&["k1", "k2", "k3"]);
    let lacks = |newer: &Summary| held.lacks(&have, newer);
    // Published elsewhere, or activated: it opens all of that.
    assert_eq!(lacks(&summary(4, &[("seal", "k2")], &[])), None);
    assert_eq!(lacks(&summary(5, &[("seal", "k3")], &["k1"])), None);
    // The same, but it is not newer.
    assert_eq!(lacks(&summary(3, &[("seal", "k9")], &["k2"])), None);
    assert!(lacks(&summary(4, &[("seal", "k9")], &[])).unwrap().contains("k9 of line seal"));
    assert!(lacks(&summary(4, &[("seal", "k2"), ("lookup", "k8")], &[])).unwrap().contains("k8 of line lookup"));
    assert!(lacks(&summary(4, &[("seal", "k3")], &["k2"])).unwrap().contains("compromised"));
}

#[test]
fn a_roll_is_called_by_revision_and_content() {
    let wanted = summary(4, &[("seal", "k2")], &[]);
    let another = Summary { digest: "another".to_owned(), ..wanted.clone() };
    let rows = vec![
        row("has", 1, &about(Some(wanted.clone()))),
        row("later", 1, &about(Some(summary(7, &[], &[])))),
        row("older", 1, &about(Some(summary(3, &[], &[])))),
        row("another", 1, &about(Some(another))),
        row("starts", 0, &about(None)),
        row("silent", 15, &about(Some(summary(3, &[], &[])))),
        row("was-there", 15, &about(Some(wanted.clone()))),
        row("waived", 14, &about(Some(summary(3, &[], &[])))),
        row("elsewhere", 1, &About { controller: "other".to_owned(), ..about(None) }),
        NodeRow { about: b"{".to_vec(), ..row("garbled", 1, &about(None)) },
    ];
    let roll = Roll::call(Node::all(rows, "shop"), "main", &wanted, &["waived".to_owned()]);
    let ids = |nodes: &[Node]| nodes.iter().map(|node| node.id.clone()).collect::<Vec<_>>();
    assert_eq!(ids(&roll.have), ["has", "later"]);
    let missing: Vec<(String, Holds)> = roll.missing.iter().map(|(node, holds)| (node.id.clone(), *holds)).collect();
    let expected =
        [("older", Holds::Older(3)), ("another", Holds::Another), ("starts", Holds::Nothing), ("garbled", Holds::Nothing)];
    assert_eq!(missing, expected.map(|(id, holds)| (id.to_owned(), holds)));
    assert_eq!((ids(&roll.gone), ids(&roll.passed_over)), (vec!["silent".to_owned()], vec!["waived".to_owned()]));
}

#[test]
fn what_a_later_release_says_of_itself_is_read_as_far_as_it_is_known() {
    let text = br#"{"host":"h","more":[1],"rings":{"main":{"revision":2,"digest":"d","active":{},"compromised":[],"new":1}}}"#;
    let read = About::read(text);
    assert_eq!((read.host.as_str(), read.rings["main"].revision), ("h", 2));
    assert_eq!(About::read(&vec![b' '; MAX_ABOUT_BYTES + 1]), About::default());
}

#[test]
fn a_node_that_lacks_something_does_not_protect_until_it_has_it() {
    let standing = Standing::alone();
    assert!(standing.may_protect().is_ok() && standing.silent().is_zero());
    standing.set(Some(Behind { held: 3, newest: 4, why: "in which k9 is active".to_owned() }));
    let said = standing.may_protect().unwrap_err().to_string();
    assert!(said.contains("revision 3") && said.contains("revision 4, in which k9 is active"), "{said}");
    standing.set(None);
    assert!(standing.may_protect().is_ok());
    // It looked at the beginning, and not for a while.
    let standing = Standing {
        begun: Instant::now().checked_sub(GONE_AFTER).unwrap(),
        looked: AtomicU64::new(0),
        behind: ArcSwapOption::empty(),
    };
    assert!(matches!(standing.may_protect(), Err(KeyError::NotLooked)));
    // What it found is as old as its question.
    standing.looked_at(standing.begun);
    assert!(matches!(standing.may_protect(), Err(KeyError::NotLooked)));
    standing.looked_at(Instant::now());
    assert!(standing.may_protect().is_ok());
}
