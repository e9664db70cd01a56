//! JSON Pointers (RFC 6901) and merge patches (RFC 7396) held against selectors: which protected places does a patch reach?
//!
//! A patch names places, not documents, so what it reaches is decided by the shape of the paths alone, for every document the
//! database may hold. `field` asks before it lets a patch through.

use serde_json::Value;

use super::selector::{Selector, Step};
use super::text::write_string;

/// A place in a document, as JSON Patch names it.
#[derive(Clone, PartialEq, Eq)]
pub struct Pointer(Vec<String>);

/// Without the names, which a client sent.
impl std::fmt::Debug for Pointer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pointer({} steps)", self.0.len())
    }
}

/// How a pointer and a selector lie to one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meeting {
    /// They never name the same place, nor one inside the other.
    Apart,
    /// The pointer names a value that the selector selects.
    At,
    /// What the selector selects lies inside of what the pointer names.
    Above,
    /// The pointer goes into a value that the selector selects.
    Below,
    /// They may meet in some documents, or before some servers, and in others not: a name where the selector needs an element, or
    /// the end of an array or an index in another spelling where it needs a certain one.
    Unclear,
}

impl Pointer {
    /// Reads a pointer; `None` if it is not one.
    pub fn parse(text: &str) -> Option<Self> {
        if text.is_empty() {
            return Some(Self(Vec::new()));
        }
        text.strip_prefix('/')?.split('/').map(unescape).collect::<Option<Vec<_>>>().map(Self)
    }

    /// How a member below the place of a selector without wildcards is written as a pointer: `/data/email_ix`.
    pub fn text_of(place: &Selector, member: &str) -> String {
        let mut text = String::new();
        let mut push = |token: &str| {
            text.push('/');
            text.push_str(&token.replace('~', "~0").replace('/', "~1"));
        };
        for step in place.steps() {
            match step {
                Step::Member(name) => push(name),
                Step::Element(n) => push(&n.to_string()),
                Step::AnyMember | Step::AnyElement => push("-"),
            }
        }
        push(member);
        text
    }

    /// True for the pointer to the whole document.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// True if the last step names the place behind an array's last element.
    pub fn is_append(&self) -> bool {
        self.0.last().is_some_and(|last| last == "-")
    }

    /// How this pointer and a selector from the root lie to one another.
    pub fn meets(&self, selector: &Selector) -> Meeting {
        let steps = selector.steps();
        let mut unclear = false;
        for (token, step) in self.0.iter().zip(steps) {
            match (step, is_index(token)) {
                (Step::Member(name), _) if **name == **token => {}
                (Step::Element(n), true) if *token == n.to_string() => {}
                (Step::Element(_), true) if !is_plain_index(token) => unclear = true,
                (Step::Member(_), _) | (Step::Element(_), true) => return Meeting::Apart,
                (Step::AnyMember, _) | (Step::AnyElement, true) => {}
                (Step::Element(_) | Step::AnyElement, false) => unclear = true,
            }
        }
        match self.0.len().cmp(&steps.len()) {
            _ if unclear => Meeting::Unclear,
            std::cmp::Ordering::Less => Meeting::Above,
            std::cmp::Ordering::Equal => Meeting::At,
            std::cmp::Ordering::Greater => Meeting::Below,
        }
    }

    /// True if adding or removing an element here moves others to or from a place that the selector names by its position.
    pub fn shifts(&self, selector: &Selector) -> bool {
        let Some((_, before)) = self.0.split_last() else { return false };
        matches!(selector.steps().get(before.len()), Some(Step::Element(_)))
            && !matches!(Self(before.to_vec()).meets(selector), Meeting::Apart | Meeting::Below)
    }

    /// True if the last step goes into an array by this selector, so that `add` inserts rather than replaces.
    pub fn ends_in_array(&self, selector: &Selector) -> bool {
        let last = self.0.len().checked_sub(1).and_then(|last| selector.steps().get(last));
        last.is_some_and(|step| !step.is_into_object())
    }

    /// A document in which `value` stands at this place and nothing else, and how many bytes stand before and behind it. The
    /// selectors, which must meet the pointer, say where arrays are. `None` if they contradict one another.
    pub fn around(&self, selectors: &[Selector], value: &[u8]) -> Option<Scaffold> {
        let (mut head, mut tail) = (Vec::new(), Vec::new());
        for (depth, token) in self.0.iter().enumerate() {
            let mut steps = selectors.iter().filter_map(|selector| selector.steps().get(depth));
            let first = steps.next()?;
            if steps.any(|step| step.is_into_object() != first.is_into_object()) {
                return None;
            }
            if first.is_into_object() {
                head.push(b'{');
                write_string(token, &mut head);
                head.push(b':');
                tail.push(b'}');
            } else {
                head.push(b'[');
                if let Step::Element(n) = first {
                    (0..*n).for_each(|_| head.extend_from_slice(b"null,"));
                }
                tail.push(b']');
            }
        }
        tail.reverse();
        Some(Scaffold { before: head.len(), behind: tail.len(), text: [&head, value, &tail].concat() })
    }
}

/// A value with the containers around it that its place needs.
pub struct Scaffold {
    /// The document.
    pub text: Vec<u8>,
    /// Bytes before the value.
    pub before: usize,
    /// Bytes behind the value.
    pub behind: usize,
}

/// What a merge patch does to the places of a selector.
#[expect(clippy::struct_excessive_bools, reason = "each may hold beside each of the others")]
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Touched {
    /// A new value is given.
    pub set: bool,
    /// A member is removed, itself or one around it.
    pub removed: bool,
    /// An array on the way is replaced whole, and with it whatever stands in it.
    pub replaced: bool,
    /// An object is given, which a merge patch puts into an object that is there, member by member.
    pub merged: bool,
}

impl Touched {
    /// Anything at all?
    pub fn any(self) -> bool {
        self.set || self.removed || self.replaced
    }
}

/// What a merge patch does to the places of `selector`, which starts where the patch does.
pub fn touched(patch: &Value, selector: &Selector) -> Touched {
    let mut touched = Touched::default();
    touch(patch, selector.steps(), &mut touched);
    touched
}

fn touch(patch: &Value, steps: &[Step], touched: &mut Touched) {
    match (steps.split_first(), patch) {
        (_, Value::Null) => touched.removed = true,
        (None, value) => {
            touched.set = true;
            touched.merged |= value.is_object();
        }
        (Some((Step::Member(name), below)), Value::Object(members)) => {
            if let Some(member) = members.get(&**name) {
                touch(member, below, touched);
            }
        }
        (Some((Step::AnyMember, below)), Value::Object(members)) => {
            members.values().for_each(|member| touch(member, below, touched));
        }
        // An array is replaced whole; another type in its place replaces it as well.
        (Some(_), _) => touched.replaced = true,
    }
}

/// `~0` and `~1`; any other tilde is not a pointer's.
fn unescape(token: &str) -> Option<String> {
    let mut out = String::with_capacity(token.len());
    let mut chars = token.chars();
    while let Some(c) = chars.next() {
        match c {
            '~' => match chars.next()? {
                '0' => out.push('~'),
                '1' => out.push('/'),
                _ => return None,
            },
            c => out.push(c),
        }
    }
    Some(out)
}

/// As RFC 6901 writes an index, so that no server reads it as another one.
fn is_plain_index(token: &str) -> bool {
    token == "0" || (!token.starts_with('0') && token.bytes().all(|b| b.is_ascii_digit()))
}

/// Liberal: servers differ in which texts they take as an index (`01`, `+1`).
fn is_index(token: &str) -> bool {
    token == "-" || (!token.is_empty() && token.strip_prefix(['+', '-']).unwrap_or(token).bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meets(pointer: &str, selector: &str) -> Meeting {
        Pointer::parse(pointer).unwrap().meets(&Selector::parse(selector).unwrap())
    }

    #[test]
    fn pointers_are_read_as_rfc_6901_says() {
        let tokens = |text: &str| Pointer::parse(text).map(|pointer| pointer.0);
        assert_eq!(tokens(""), Some(vec![]));
        assert_eq!(tokens("/"), Some(vec![String::new()]));
        assert_eq!(tokens("/a~1b/m~0n"), Some(vec!["a/b".into(), "m~n".into()]));
        assert_eq!(tokens("/~01"), Some(vec!["~1".into()]));
        for wrong in ["a", "#/a", "/~", "/~2", " /a"] {
            assert_eq!(tokens(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn meetings_are_decided_by_shape() {
        for (pointer, selector, expected) in [
            ("/name", "$.name", Meeting::At),
            ("/name/first", "$.name", Meeting::Below),
            ("/address", "$.address.street", Meeting::Above),
            ("", "$.name", Meeting::Above),
            ("/other", "$.name", Meeting::Apart),
            ("/Name", "$.name", Meeting::Apart),
            ("/phones/0", "$.phones[*]", Meeting::At),
            ("/phones/-", "$.phones[*]", Meeting::At),
            ("/phones/x", "$.phones[*]", Meeting::Unclear),
            ("/phones", "$.phones[*]", Meeting::Above),
            ("/lines/1", "$.lines[1]", Meeting::At),
            ("/lines/0", "$.lines[1]", Meeting::Apart),
            ("/lines/-", "$.lines[1]", Meeting::Unclear),
            // Some servers read these as 1, or count from the end.
            ("/lines/01", "$.lines[1]", Meeting::Unclear),
            ("/lines/+1", "$.lines[1]", Meeting::Unclear),
            ("/lines/-1", "$.lines[1]", Meeting::Unclear),
            ("/lines/10", "$.lines[1]", Meeting::Apart),
            ("/guests/3/name", "$.guests[*].name", Meeting::At),
            ("/guests/3", "$.guests[*].name", Meeting::Above),
            ("/guests/3/id", "$.guests[*].name", Meeting::Apart),
            ("/people/x/name", "$.people.*.name", Meeting::At),
            ("/a~1b", "$[\"a/b\"]", Meeting::At),
        ] {
            assert_eq!(meets(pointer, selector), expected, "{pointer} {selector}");
        }
    }

    #[test]
    fn positions_shift_when_an_element_comes_or_goes_before_them() {
        let shifts = |pointer: &str, selector: &str| Pointer::parse(pointer).unwrap().shifts(&Selector::parse(selector).unwrap());
        assert!(shifts("/lines/0", "$.lines[1]"));
        assert!(shifts("/lines/1", "$.lines[1].street"));
        assert!(!shifts("/lines/0/x", "$.lines[1]"));
        assert!(!shifts("/phones/0", "$.phones[*]"));
        assert!(!shifts("/other/0", "$.lines[1]"));
    }

    #[test]
    fn a_scaffold_puts_the_value_in_its_place() {
        let around = |pointer: &str, selectors: &[&str]| {
            let selectors: Vec<Selector> = selectors.iter().map(|text| Selector::parse(text).unwrap()).collect();
            let scaffold = Pointer::parse(pointer).unwrap().around(&selectors, b"V")?;
            assert_eq!(scaffold.text.get(scaffold.before..scaffold.text.len() - scaffold.behind), Some(&b"V"[..]));
            Some(String::from_utf8(scaffold.text).unwrap())
        };
        assert_eq!(around("/a~1b/0", &["$[\"a/b\"][*]"]).unwrap(), "{\"a/b\":[V]}");
        assert_eq!(around("/a", &["$.a.b", "$.a[*]"]).unwrap(), "{\"a\":V}");
        assert_eq!(around("/lines/2", &["$.lines[2]"]).unwrap(), "{\"lines\":[null,null,V]}");
        assert_eq!(around("/a/0", &["$.a[*]", "$.a.b"]), None);
    }

    #[test]
    fn merge_patches_touch_what_they_name() {
        let of = |patch: &str, selector: &str| {
            let touched = touched(&serde_json::from_str(patch).unwrap(), &Selector::parse(selector).unwrap());
            (touched.set, touched.removed, touched.replaced)
        };
        assert_eq!(of(r#"{"other": 1}"#, "$.name"), (false, false, false));
        assert_eq!(of(r#"{"name": 1}"#, "$.name"), (true, false, false));
        assert_eq!(of(r#"{"name": null}"#, "$.name"), (false, true, false));
        assert_eq!(of(r#"{"address": null}"#, "$.address.street"), (false, true, false));
        assert_eq!(of(r#"{"address": {}}"#, "$.address.street"), (false, false, false));
        assert_eq!(of(r#"{"address": 7}"#, "$.address.street"), (false, false, true));
        assert_eq!(of(r#"{"phones": []}"#, "$.phones[*]"), (false, false, true));
        assert_eq!(of(r#"{"phones": null}"#, "$.phones[*]"), (false, true, false));
        assert_eq!(of(r#"{"people": {"a": {"name": 1}, "b": {"name": null}}}"#, "$.people.*.name"), (true, true, false));
    }
}
