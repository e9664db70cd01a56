//! Whatever happens to the two files: settings or findings, never a panic.

use super::*;
use proptest::prelude::*;

/// Pieces that TOML and our readers care about.
const PIECES: &[&str] = &[
    "",
    "\"",
    "'",
    "[",
    "]",
    "{",
    "}",
    "=",
    ".",
    ",",
    "#",
    "\n",
    "\r",
    "\\",
    "$",
    "*",
    "\"\"\"",
    "[[",
    "]]",
    " ",
    "-1",
    "1e9",
    "true",
    "{id}",
    "🦊",
    "\u{0}",
    "\u{feff}",
    "\u{202e}",
    "name",
    "[caller.x]\n",
    "a = 1\n",
    "999999999999999999999",
    "1979-05-27",
    "nan",
];

fn mutate(text: &str, changes: &[(prop::sample::Index, usize, prop::sample::Index)]) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    for (at, cut, piece) in changes {
        let at = at.index(chars.len() + 1);
        let end = (at + cut).min(chars.len());
        chars.splice(at..end, PIECES[piece.index(PIECES.len())].chars());
    }
    chars.into_iter().collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn any_change_gives_settings_or_findings(
        first in prop::collection::vec((any::<prop::sample::Index>(), 0_usize..12, any::<prop::sample::Index>()), 0..6),
        second in prop::collection::vec((any::<prop::sample::Index>(), 0_usize..12, any::<prop::sample::Index>()), 0..6),
    ) {
        let folder = Folder::with(&mutate(&service(), &first), &mutate(templates::POLICY, &second));
        for format in [Format::Text, Format::Json] {
            let (out, code) = folder.check(format);
            prop_assert!(!out.is_empty() && (code == 0 || code == 2));
            prop_assert!(!out.contains("failed to say why"), "{}", out);
        }
        if let Err(findings) = folder.load() {
            prop_assert!(findings.errors() > 0);
            for finding in &findings {
                prop_assert!(!finding.remedy.is_empty() && finding.line > 0 && finding.column > 0, "{}", finding);
            }
        }
    }
}
