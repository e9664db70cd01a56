//! Which of the valid names was probably meant: for "did you mean" in findings.
//!
//! Always holds: the answer is one of the names given, and none is better than a far-fetched one. Called by the readers
//! of both files, and of what is posted to the ledger of facts.

/// The name of `valid` that lies nearest to `written`, if it is near enough to be a slip: at most a third of its
/// characters differ (at least one), or one is the beginning of the other. Case, `_` and `-` do not count.
pub fn nearest<'a>(written: &str, valid: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let plain = fold(written);
    if plain.is_empty() || plain.len() > 200 {
        return None;
    }
    valid
        .into_iter()
        .filter_map(|name| {
            let other = fold(name);
            let far = distance(&plain, &other);
            let allowed = (plain.len().max(other.len()) / 3).max(1);
            let beginning = plain.len() >= 3 && other.len() >= 3 && (other.starts_with(&plain) || plain.starts_with(&other));
            (far <= allowed || beginning).then_some((far, name))
        })
        .min_by_key(|(far, _)| *far)
        .map(|(_, name)| name)
}

fn fold(text: &str) -> Vec<char> {
    text.chars().flat_map(char::to_lowercase).map(|c| if c == '_' { '-' } else { c }).collect()
}

/// Edits between two texts where inserting, removing, changing a character and exchanging two neighbours count 1 each
/// (optimal string alignment).
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    let mut previous_a = None;
    for (row, &ca) in a.iter().enumerate() {
        let mut line = Vec::with_capacity(b.len() + 1);
        let mut left = row + 1;
        line.push(left);
        let mut previous_b = None;
        for (column, &cb) in b.iter().enumerate() {
            let at = |line: &[usize], column: usize| line.get(column).copied().unwrap_or(usize::MAX - 1);
            let mut best = (left + 1).min(at(&last, column + 1) + 1).min(at(&last, column) + usize::from(ca != cb));
            if previous_a == Some(cb) && previous_b == Some(ca) {
                best = best.min(at(&before, column.saturating_sub(1)) + 1);
            }
            line.push(best);
            left = best;
            previous_b = Some(cb);
        }
        previous_a = Some(ca);
        before = std::mem::replace(&mut last, line);
    }
    last.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn far(a: &str, b: &str) -> usize {
        distance(&a.chars().collect::<Vec<_>>(), &b.chars().collect::<Vec<_>>())
    }

    #[test]
    fn distances() {
        for (a, b, expected) in [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("kitten", "sitting", 3),
            ("adress", "address", 1),
            ("nmae", "name", 1),
            ("ab", "ba", 1),
        ] {
            assert_eq!(far(a, b), expected, "{a} {b}");
            assert_eq!(far(b, a), expected, "{b} {a}");
        }
    }

    #[test]
    fn a_slip_is_recognised_and_a_stranger_is_not() {
        let valid = ["address", "admin", "durable_timeout_ms", "segment_bytes"];
        assert_eq!(nearest("adress", valid), Some("address"));
        assert_eq!(nearest("Address", valid), Some("address"));
        assert_eq!(nearest("durable-timeout-ms", valid), Some("durable_timeout_ms"));
        assert_eq!(nearest("durable_timeout", valid), Some("durable_timeout_ms"));
        assert_eq!(nearest("colour", valid), None);
        assert_eq!(nearest("", valid), None);
        assert_eq!(nearest("x", []), None);
    }
}
