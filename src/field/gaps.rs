//! Members that a write leaves out and that are put back into its objects. `carry` fills, `protect` splices.

use std::collections::HashMap;
use std::ops::Range;

use crate::document::{members, write_string};

/// Members to put into objects of the write: (offset span of the object, what goes into it).
#[derive(Default)]
pub(super) struct Gaps {
    list: Vec<(Range<usize>, Filling)>,
    /// Where in the list an object stands, by its offset.
    places: HashMap<usize, usize>,
}

type Filling = Vec<(String, Fill)>;

enum Fill {
    Text(Vec<u8>),
    Object(Filling),
}

impl Gaps {
    /// Puts `text` into an object below these names; objects on the way are made.
    pub(super) fn fill(&mut self, object: Range<usize>, names: Vec<String>, text: Vec<u8>) {
        let at = *self.places.entry(object.start).or_insert_with(|| {
            self.list.push((object, Vec::new()));
            self.list.len() - 1
        });
        if let Some((_, filling)) = self.list.get_mut(at) {
            put(filling, names.into_iter(), text);
        }
    }

    /// As inserts behind the opening brace of each object.
    pub(super) fn render(self, bytes: &[u8], inserts: &mut Vec<(usize, Vec<u8>)>) {
        for (object, filling) in self.list {
            let mut text = Vec::new();
            write_members(&filling, &mut text);
            if members(bytes, object.clone()).next().is_some() {
                text.push(b',');
            }
            inserts.push((object.start + 1, text));
        }
    }
}

fn put(filling: &mut Filling, mut names: std::vec::IntoIter<String>, text: Vec<u8>) {
    let Some(name) = names.next() else { return };
    if names.len() == 0 {
        filling.push((name, Fill::Text(text)));
        return;
    }
    let known = filling.iter().position(|(other, _)| *other == name);
    let at = known.unwrap_or_else(|| {
        filling.push((name, Fill::Object(Vec::new())));
        filling.len() - 1
    });
    if let Some((_, Fill::Object(below))) = filling.get_mut(at) {
        put(below, names, text);
    }
}

fn write_members(filling: &Filling, out: &mut Vec<u8>) {
    for (at, (name, fill)) in filling.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write_string(name, out);
        out.push(b':');
        match fill {
            Fill::Text(text) => out.extend_from_slice(text),
            Fill::Object(below) => {
                out.push(b'{');
                write_members(below, out);
                out.push(b'}');
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As many as a body may hold; each looked for among all others, they took minutes.
    #[test]
    fn very_many_objects_are_filled_in_time() {
        let count = crate::base::limits::MAX_VALUES;
        let body = "{}".repeat(count);
        let (mut gaps, mut inserts) = (Gaps::default(), Vec::new());
        let started = std::time::Instant::now();
        for name in ["a", "b"] {
            (0..count).for_each(|at| gaps.fill(2 * at..2 * at + 2, vec![name.to_owned()], b"1".to_vec()));
        }
        gaps.render(body.as_bytes(), &mut inserts);
        assert_eq!((inserts.len(), inserts.last()), (count, Some(&(2 * count - 1, br#""a":1,"b":1"#.to_vec()))));
        assert!(started.elapsed() < std::time::Duration::from_secs(30), "{:?}", started.elapsed());
    }
}
