//! Which element of a list that is sent is which element of the list that is stored.
//!
//! Elements have no names. What the caller sends back are the elements it was shown, so one that equals what it was shown of a stored element is that
//! element. Always holds: two elements are paired only if no other pairing would explain what was sent equally well; what is left open is
//! [`Pair::Unclear`], for `carry` to refuse where it matters. `carry` calls it.

use std::cmp::Ordering;
use std::collections::HashMap;

use serde_json::Value;

/// What became of a stored element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pair {
    /// It is the sent element with this index.
    With(usize),
    /// The caller left it out.
    Removed,
    /// There are sent elements that it may be, and no telling which.
    Unclear,
}

/// What elements are compared by, in the order of the elements.
#[derive(Debug, Default)]
pub(super) struct Looks {
    /// As the caller saw it, or sent it.
    pub(super) whole: Vec<String>,
    /// The same without protected members.
    pub(super) rest: Vec<String>,
}

/// Pairs elements by the ids of the people they are about. None: an element without an id.
pub(super) fn by_id(sent: &[Option<String>], stored: &[Option<String>]) -> Vec<Pair> {
    let mut pairing = Pairing::new(sent.len(), stored.len());
    pairing.equal(sent, stored, Alike::Unclear);
    pairing.finish(Pair::Removed)
}

/// Pairs elements by what they look like: by the whole of it, then by what is not protected, then by position.
pub(super) fn by_look(sent: &Looks, stored: &Looks) -> Vec<Pair> {
    let mut pairing = Pairing::new(sent.whole.len(), stored.whole.len());
    pairing.equal(&sent.whole, &stored.whole, Alike::Unclear);
    let same_length = sent.whole.len() == stored.whole.len();
    if same_length {
        pairing.at_same_position(|sent_at, stored_at| sent.rest.get(sent_at) == stored.rest.get(stored_at));
    }
    pairing.unique(&sent.rest, &stored.rest, same_length);
    if same_length {
        pairing.at_same_position(|_, _| true);
    }
    // Where nothing that was sent is left over, what is left over of the stored ones was removed.
    let rest = if pairing.sent_free.contains(&true) { Pair::Unclear } else { Pair::Removed };
    pairing.finish(rest)
}

/// Pairs values that are themselves the elements, by what was shown of them (None: nothing was). `alike`: what equal forms say about the values.
pub(super) fn by_form(sent: &[Option<String>], stored: &[Option<String>], alike: Alike) -> Vec<Pair> {
    let mut pairing = Pairing::new(sent.len(), stored.len());
    pairing.equal(sent, stored, alike);
    pairing.finish(Pair::Removed)
}

/// What it says about two stored elements that they look the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Alike {
    /// They are the same: which of them was left out makes no difference.
    Same,
    /// They may differ in what was not shown.
    Unclear,
}

struct Pairing {
    stored: Vec<Option<Pair>>,
    sent_free: Vec<bool>,
}

impl Pairing {
    fn new(sent: usize, stored: usize) -> Self {
        Self { stored: vec![None; stored], sent_free: vec![true; sent] }
    }

    fn pair(&mut self, sent: usize, stored: usize) {
        if let (Some(free), Some(slot)) = (self.sent_free.get_mut(sent), self.stored.get_mut(stored)) {
            *free = false;
            *slot = Some(Pair::With(sent));
        }
    }

    fn both_free(&self, sent: usize, stored: usize) -> bool {
        self.sent_free.get(sent) == Some(&true) && self.stored.get(stored) == Some(&None)
    }

    /// Elements that look the same, as far as there is only one way to see it.
    fn equal<K: std::hash::Hash + Eq>(&mut self, sent: &[K], stored: &[K], alike: Alike) {
        let same_length = sent.len() == stored.len();
        for (sent, stored) in groups(sent, stored) {
            let stay: Vec<usize> = stored.iter().copied().filter(|at| sent.binary_search(at).is_ok()).collect();
            let clear = match (sent.len().cmp(&stored.len()), alike) {
                (Ordering::Equal, _) | (_, Alike::Same) => true,
                // New ones beside those that were shown: clear if these did not move.
                (Ordering::Greater, Alike::Unclear) => stay.len() == stored.len(),
                // Which one went? Clear if all did.
                (Ordering::Less, Alike::Unclear) => sent.is_empty(),
            };
            if !clear {
                for at in stored {
                    if let Some(slot) = self.stored.get_mut(at) {
                        *slot = Some(Pair::Unclear);
                    }
                }
                continue;
            }
            if same_length || sent.len() != stored.len() {
                for at in stay {
                    self.pair(at, at);
                }
            }
            let sent: Vec<usize> = sent.into_iter().filter(|at| self.sent_free.get(*at) == Some(&true)).collect();
            let stored: Vec<usize> = stored.into_iter().filter(|at| self.stored.get(*at) == Some(&None)).collect();
            sent.into_iter().zip(stored).for_each(|(sent, stored)| self.pair(sent, stored));
        }
    }

    fn at_same_position(&mut self, fits: impl Fn(usize, usize) -> bool) {
        for at in 0..self.stored.len() {
            if self.both_free(at, at) && fits(at, at) {
                self.pair(at, at);
            }
        }
    }

    /// Elements that look the same and stand alone in that: among those left over if the lists are equally long, else among all.
    fn unique(&mut self, sent: &[String], stored: &[String], same_length: bool) {
        for (mut sent, mut stored) in groups(sent, stored) {
            if same_length {
                sent.retain(|at| self.sent_free.get(*at) == Some(&true));
                stored.retain(|at| self.stored.get(*at) == Some(&None));
            }
            if let ([sent], [stored]) = (sent.as_slice(), stored.as_slice())
                && self.both_free(*sent, *stored)
            {
                self.pair(*sent, *stored);
            }
        }
    }

    fn finish(self, rest: Pair) -> Vec<Pair> {
        self.stored.into_iter().map(|pair| pair.unwrap_or(rest)).collect()
    }
}

/// Positions with equal keys, in the sent and in the stored list, both in order.
fn groups<K: std::hash::Hash + Eq>(sent: &[K], stored: &[K]) -> Vec<(Vec<usize>, Vec<usize>)> {
    let mut index: HashMap<&K, usize> = HashMap::new();
    let mut groups: Vec<(Vec<usize>, Vec<usize>)> = Vec::new();
    for (at, key) in sent.iter().enumerate() {
        let group = *index.entry(key).or_insert(groups.len());
        match groups.get_mut(group) {
            Some((sent, _)) => sent.push(at),
            None => groups.push((vec![at], Vec::new())),
        }
    }
    for (at, key) in stored.iter().enumerate() {
        if let Some((_, stored)) = index.get(key).and_then(|group| groups.get_mut(*group)) {
            stored.push(at);
        }
    }
    groups
}

/// A text that two JSON values share exactly if they say the same: strings after unescaping, objects whatever the order of their
/// members, numbers whatever their spelling (a client that reads `1.0` writes `1`). What is no JSON is only equal to itself.
pub(super) fn canonical(json: &[u8]) -> String {
    match serde_json::from_slice::<Value>(json) {
        Ok(value) => numbers(value).to_string(),
        Err(_) => format!("?{}", String::from_utf8_lossy(json)),
    }
}

/// Whole numbers that a double holds exactly, spelled as whole numbers.
fn numbers(value: Value) -> Value {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match value {
        Value::Number(number) if number.is_f64() => match number.as_f64() {
            // Display of a whole double has no fraction and no exponent.
            Some(double) if double.fract() == 0.0 && double.abs() < EXACT => {
                format!("{}", double + 0.0).parse::<i64>().map_or(Value::Number(number), Value::from)
            }
            _ => Value::Number(number),
        },
        Value::Array(list) => list.into_iter().map(numbers).collect(),
        Value::Object(map) => map.into_iter().map(|(name, value)| (name, numbers(value))).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value,
    }
}

#[cfg(test)]
mod tests {
    use super::Pair::{Removed, Unclear, With};
    use super::*;

    fn keys(text: &str) -> Vec<Option<String>> {
        text.split_whitespace().map(|key| (key != "-").then(|| key.to_owned())).collect()
    }

    /// Elements as `shown/rest`.
    fn looks(text: &str) -> Looks {
        let rest = |key: &str| key.split_once('/').map_or(String::new(), |(_, rest)| rest.to_owned());
        Looks { whole: text.split_whitespace().map(str::to_owned).collect(), rest: text.split_whitespace().map(rest).collect() }
    }

    #[test]
    fn people_are_paired_by_their_ids() {
        assert_eq!(by_id(&keys("b a"), &keys("a b")), [With(1), With(0)]);
        assert_eq!(by_id(&keys("b"), &keys("a b")), [Removed, With(0)]);
        assert_eq!(by_id(&keys("a a b"), &keys("a a")), [With(0), With(1)]);
        assert_eq!(by_id(&keys("b a"), &keys("a a")), [Unclear, Unclear], "one of two with one id");
        assert_eq!(by_id(&keys("-"), &keys("- -")), [Unclear, Unclear]);
        assert_eq!(by_id(&keys("x - y"), &keys("a -")), [Removed, With(1)]);
    }

    #[test]
    fn elements_are_what_the_caller_saw_of_them() {
        assert_eq!(by_look(&looks("B/1 A/1"), &looks("A/1 B/1")), [With(1), With(0)], "exchanged");
        assert_eq!(by_look(&looks("C/1 B/1"), &looks("A/1 B/1")), [With(0), With(1)], "one changed in its place");
        assert_eq!(by_look(&looks("A/1 A/1"), &looks("A/1 A/1")), [With(0), With(1)]);
        assert_eq!(by_look(&looks("A/1 A/1 N/2"), &looks("A/1 A/1")), [With(0), With(1)], "one added behind");
        assert_eq!(by_look(&looks("B/2"), &looks("A/1 B/2")), [Removed, With(0)]);
        assert_eq!(by_look(&looks("A/1 B/9 C/3"), &looks("A/1 B/2 C/3")), [With(0), With(1), With(2)], "its rest changed");
        assert_eq!(by_look(&looks("X/2 N/9"), &looks("A/1 B/2 C/3")), [Unclear, With(0), Unclear]);
    }

    #[test]
    fn t26_what_could_be_two_elements_is_none() {
        assert_eq!(by_look(&looks("A/1"), &looks("A/1 A/1")), [Unclear, Unclear]);
        assert_eq!(by_look(&looks("C/1"), &looks("A/1 B/1")), [Unclear, Unclear], "one removed, one changed");
        assert_eq!(by_look(&looks("N/1 A/1 A/1 A/1"), &looks("A/1 A/1")), [Unclear, Unclear], "moved, and doubled");
        assert_eq!(by_look(&looks("N/2 A/1 A/1"), &looks("A/1 A/1")), [With(1), With(2)], "moved");
    }

    #[test]
    fn values_are_paired_by_their_shown_forms() {
        assert_eq!(by_form(&keys("b a"), &keys("a b"), Alike::Unclear), [With(1), With(0)]);
        assert_eq!(by_form(&keys("b a a"), &keys("a b a"), Alike::Unclear), [With(1), With(0), With(2)]);
        assert_eq!(by_form(&keys("a"), &keys("a a"), Alike::Unclear), [Unclear, Unclear]);
        assert_eq!(by_form(&keys("a"), &keys("a a"), Alike::Same), [With(0), Removed]);
        assert_eq!(by_form(&keys("x a a a"), &keys("b a"), Alike::Unclear), [Removed, With(1)]);
    }

    #[test]
    fn canonical_texts_tell_values_apart_and_nothing_else() {
        for (one, two) in [
            (r#""na\u006de\/""#, r#""name/""#),
            ("1.0", "1"),
            ("-0.0", "0"),
            ("1e2", "100"),
            (r#"{"a":1.0,"b":[]}"#, r#"{ "b" : [ ] , "a" : 1 }"#),
        ] {
            assert_eq!(canonical(one.as_bytes()), canonical(two.as_bytes()), "{one} {two}");
        }
        for (one, two) in
            [("1", "\"1\""), ("1.5", "1"), ("9007199254740993", "9007199254740992"), ("[1,2]", "[2,1]"), ("null", "\"\"")]
        {
            assert_ne!(canonical(one.as_bytes()), canonical(two.as_bytes()), "{one} {two}");
        }
    }
}
