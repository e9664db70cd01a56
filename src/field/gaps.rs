//! Members that a write leaves out and that are put back into its objects. `carry` fills, `protect` splices.

use std::ops::Range;

use crate::document::{members, write_string};

/// Members to put into objects of the write: (offset span of the object, what goes into it).
#[derive(Default)]
pub(super) struct Gaps(Vec<(Range<usize>, Filling)>);

type Filling = Vec<(String, Fill)>;

enum Fill {
    Text(Vec<u8>),
    Object(Filling),
}

impl Gaps {
    /// Puts `text` into an object below these names; objects on the way are made.
    pub(super) fn fill(&mut self, object: Range<usize>, names: Vec<String>, text: Vec<u8>) {
        let known = self.0.iter().position(|(other, _)| *other == object);
        let at = known.unwrap_or_else(|| {
            self.0.push((object, Vec::new()));
            self.0.len() - 1
        });
        if let Some((_, filling)) = self.0.get_mut(at) {
            put(filling, names.into_iter(), text);
        }
    }

    /// As inserts behind the opening brace of each object.
    pub(super) fn render(self, bytes: &[u8], inserts: &mut Vec<(usize, Vec<u8>)>) {
        for (object, filling) in self.0 {
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
