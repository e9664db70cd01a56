//! Documents of anybody, one a line, read for personal data: nothing panics, what is proposed can be configured together, and the leak guard
//! shows no name and no value but short plain names.

use sudare::base::ShownPath;
use sudare::discover::{Paths, guard, propose};
use sudare::document::{Map, Role, Scope, Selector, Target, is_one_value};

use super::LONGEST;

/// The input is lines of documents.
pub fn discover(input: &[u8]) {
    if input.len() > LONGEST {
        return;
    }
    let mut paths = Paths::default();
    for line in input.split(|byte| *byte == b'\n') {
        let counted = paths.add(line).is_ok();
        let line = line.trim_ascii();
        assert_eq!(counted, line.first() == Some(&b'{') && is_one_value(line));
        if counted {
            guard::look(line, 0..line.len(), &[], |path, _, _| {
                assert_eq!(ShownPath::new(path).as_str(), path, "a path that is not fit to be shown");
                assert!(path.starts_with('$') && path.len() <= 8 * 33 + 1 && !path.contains('@'));
            });
        }
    }
    paths.settle();
    let found = propose(&paths, 0.0);
    let target = |selector: &Selector| Target { selector: selector.clone(), role: Role::Value, scope: Scope::Row };
    let targets: Vec<Target> = found.proposals.iter().map(|proposal| target(&proposal.at)).collect();
    Map::compile(&[Selector::parse("$").unwrap()], &targets).unwrap();
    for proposal in &found.proposals {
        assert!((0.0..=1.0).contains(&proposal.confidence) && proposal.evidence.matched <= proposal.evidence.seen);
    }
}
