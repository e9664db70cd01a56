//! Tests of the walker and the splicer: cases by hand here, properties against serde_json and a slow model beside it.

#![expect(clippy::string_slice, clippy::format_collect, reason = "tests: short and sure of their texts")]

mod cases;
mod events;
mod model;
mod parts;
mod properties;

use std::sync::Arc;

use super::*;

/// A map from texts: row positions, and targets as `value $.a`, `peek $.b`, `body-value $.c`, `body-peek $.d`.
pub(super) fn map(rows: &[&str], targets: &[&str]) -> Arc<Map> {
    let rows: Vec<_> = rows.iter().map(|text| Selector::parse(text).unwrap()).collect();
    let targets: Vec<_> = targets.iter().map(|text| target(text)).collect();
    Arc::new(Map::compile(&rows, &targets).unwrap())
}

pub(super) fn target(text: &str) -> Target {
    let (what, selector) = text.split_once(' ').unwrap();
    let (role, scope) = match what {
        "value" => (Role::Value, Scope::Row),
        "peek" => (Role::Peek, Scope::Row),
        "body-value" => (Role::Value, Scope::Body),
        "body-peek" => (Role::Peek, Scope::Body),
        _ => panic!("{what}"),
    };
    Target { selector: Selector::parse(selector).unwrap(), role, scope }
}

pub(super) fn lines(rules: Rules) -> Rules {
    Rules { framing: Framing::Lines, ..rules }
}

/// Feeds the pieces and gives the windows.
pub(super) fn windows<'a>(
    map: &Arc<Map>,
    rules: Rules,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> Result<Vec<Window>, WalkError> {
    let mut walker = Walker::new(Arc::clone(map), rules);
    let mut windows = Vec::new();
    for piece in pieces {
        walker.feed(piece)?;
        windows.extend(std::iter::from_fn(|| walker.window()));
    }
    walker.finish()?;
    windows.extend(std::iter::from_fn(|| walker.window()));
    Ok(windows)
}

/// The layouts of all windows as one, with offsets and ordinals as [`walk`] gives them; and the joined bytes.
pub(super) fn joined(windows: &[Window]) -> (Vec<u8>, Layout) {
    let (mut bytes, mut all) = (Vec::new(), Layout::default());
    for Window { bytes: more, layout } in windows {
        let (offset, rows) = (bytes.len(), u32::try_from(all.rows.len()).unwrap());
        all.rows
            .extend(layout.rows.iter().map(|row| Row { range: row.range.start + offset..row.range.end + offset, ..row.clone() }));
        all.found.extend(layout.found.iter().map(|found| Found {
            row: found.row.map(|row| row + rows),
            value: found.value.start + offset..found.value.end + offset,
            member_start: found.member_start + offset,
            ..found.clone()
        }));
        all.odd_rows += layout.odd_rows;
        bytes.extend_from_slice(more);
    }
    (bytes, all)
}
