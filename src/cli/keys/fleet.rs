//! `sudare keys nodes`, and what `rotate`, `activate` and `compromise` do beyond changing the ring where several nodes share a store: wait
//! until each has it, or say which has not.
//!
//! Always holds: nothing is activated while a node that is there does not have the version, unless the operator names that node; a
//! compromise is written first and waited for then; what is not done is said with the command that does it.

use std::io::Write;
use std::time::Duration;

use serde_json::{Value, json};

use super::change::{self, line_name};
use super::{Format, KeysCommandError};
use crate::base::Kid;
use crate::keys::fleet::{self, Holds, Node, Patience, Roll, Summary};
use crate::keys::{self, Change, Config, Successor};

/// Lists the nodes that share the store, with the revision each holds.
///
/// # Errors
///
/// The ring or the store cannot be read; output that cannot be written.
pub fn nodes(config: &Config, format: Format, out: &mut dyn Write) -> Result<(), KeysCommandError> {
    let wanted = fleet::newest(config)?;
    let nodes = fleet::nodes(config)?;
    if format == Format::Json {
        let node = |node: &Node| {
            let held = node.about.rings.get(config.ring_name());
            json!({
                "node": node.id,
                "host": node.about.host,
                "address": node.about.address,
                "pid": node.about.pid,
                "started_s_ago": node.started_ago.as_secs(),
                "seen_s_ago": node.seen_ago.as_secs(),
                "gone": node.is_gone(),
                "revision": held.map(|held| held.revision),
                "digest": held.map(|held| held.digest.as_str()),
                "has_newest": node.holds(config.ring_name(), &wanted) == Holds::It,
            })
        };
        let list: Vec<Value> = nodes.iter().flatten().map(node).collect();
        let all = json!({ "ring": config.ring_name(), "revision": wanted.revision, "digest": wanted.digest, "shared": nodes.is_some(), "nodes": list });
        writeln!(out, "{all:#}")?;
        return Ok(());
    }
    writeln!(out, "{}: revision {}", config.ring, wanted.revision)?;
    let Some(nodes) = nodes else {
        writeln!(out, "The store is a file, which one node holds: no node registers, and none is waited for.")?;
        return Ok(());
    };
    if nodes.is_empty() {
        writeln!(out, "no node is registered")?;
        return Ok(());
    }
    let row = |node: &Node| {
        let seen = if node.is_gone() {
            format!("{} ago: gone", seconds(node.seen_ago))
        } else {
            format!("{} ago", seconds(node.seen_ago))
        };
        let held = node.about.rings.get(config.ring_name()).map_or_else(|| "–".to_owned(), |held| held.revision.to_string());
        let found = match node.holds(config.ring_name(), &wanted) {
            Holds::It => "",
            Holds::Older(_) => "older",
            Holds::Another => "another revision of this number",
            Holds::Nothing => "starting",
        };
        [
            node.id.clone(),
            node.about.host.clone(),
            node.about.address.clone(),
            seconds(node.started_ago),
            seen,
            held,
            found.to_owned(),
        ]
    };
    let head = ["node", "host", "address", "up for", "seen", "revision", ""].map(str::to_owned);
    let rows: Vec<[String; 7]> = std::iter::once(head).chain(nodes.iter().map(row)).collect();
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..7).map(width).collect();
    for row in &rows {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        writeln!(out, "{}", cells.join("  ").trim_end())?;
    }
    Ok(())
}

/// As [`change::rotate`] where there is one node, or none; else publishes, waits for every node, and activates.
///
/// # Errors
///
/// As there; [`KeysCommandError::NotEverywhere`]: the version is left pre-active.
pub fn rotate_everywhere(
    change: &Change<'_>,
    line: &str,
    patience: &Patience,
    format: Format,
    out: &mut dyn Write,
) -> Result<(), KeysCommandError> {
    let config = change.config;
    // Those that are gone count: they may come back.
    if fleet::nodes(config)?.unwrap_or_default().len() <= 1 {
        return change::rotate(change, line, format, out);
    }
    let name = line_name(line)?;
    let published = change.publish_anew(&name)?;
    let (kid, revision) = (published.kid, published.revision);
    if format == Format::Table {
        let ring = &config.ring;
        writeln!(out, "{name}: {kid} is published (pre-active): it opens, and protects nothing yet; {ring} revision {revision}")?;
        out.flush()?;
    }
    if let Err(error) = wait_to_activate(config, kid, patience, format, out) {
        if format == Format::Json {
            let all = json!({ "line": name.to_string(), "pre_active": kid.to_string(), "made": true, "revision": revision });
            writeln!(out, "{all:#}")?;
        }
        return Err(error);
    }
    // Whoever asked for a revision means that nobody else comes in between.
    let next = Change { at_revision: change.at_revision.map(|_asked| revision), ..*change };
    if format == Format::Table {
        return change::activate(&next, kid, format, out);
    }
    let report = next.activate(kid)?;
    let deactivated = report.moved.iter().find(|moved| moved.kid != kid).map(|moved| moved.kid.to_string());
    let all =
        json!({ "line": name.to_string(), "active": kid.to_string(), "deactivated": deactivated, "revision": report.revision });
    writeln!(out, "{all:#}")?;
    Ok(())
}

/// As [`change::activate`], once every node that is there has the version.
///
/// # Errors
///
/// As there; [`KeysCommandError::NotEverywhere`]: nothing was changed.
pub fn activate_everywhere(
    change: &Change<'_>,
    kid: Kid,
    patience: &Patience,
    format: Format,
    out: &mut dyn Write,
) -> Result<(), KeysCommandError> {
    let versions = keys::verify(change.config)?.versions;
    let waits = versions.iter().any(|(version, _)| version.kid == kid && version.state == keys::State::PreActive);
    // What is refused, or done already, is said without waiting.
    if waits && change.config.ring.shared().is_some() {
        wait_to_activate(change.config, kid, patience, format, out)?;
    }
    change::activate(change, kid, format, out)
}

/// As [`change::compromise`], which is done at once; then waits for every node to take it.
///
/// # Errors
///
/// As there; [`KeysCommandError::NotInForce`]: it is done, and some node does not have it.
pub fn compromise_everywhere(
    change: &Change<'_>,
    kids: &[Kid],
    successor: Successor,
    limit: Duration,
    format: Format,
    out: &mut dyn Write,
) -> Result<(), KeysCommandError> {
    change::compromise(change, kids, successor, format, out)?;
    let config = change.config;
    if config.ring.shared().is_none() {
        return Ok(());
    }
    out.flush()?;
    let untold = |error: keys::KeyError| {
        KeysCommandError::NotInForce(format!(
            "The ring is changed, but which nodes have it cannot be told: {error}. Look at each: sudare_key_ring_revision in its /metrics"
        ))
    };
    let wanted = fleet::newest(config).map_err(untold)?;
    let patience = Patience { limit, without: Vec::new() };
    let roll = fleet::await_all(config, &wanted, &patience, &mut |roll| waiting(roll, &wanted)).map_err(untold)?;
    gone(&roll);
    if roll.missing.is_empty() {
        if format == Format::Table {
            writeln!(out, "{}", have(&roll, &wanted))?;
        }
        return Ok(());
    }
    let ids: Vec<&str> = roll.missing.iter().map(|(node, _)| node.id.as_str()).collect();
    Err(KeysCommandError::NotInForce(format!(
        "The ring is changed, but {} {} after {}:\n{}\nUntil it takes it, a node goes on showing what hangs on these versions: stop {} if you cannot make it. Look again with `sudare keys nodes`",
        of_nodes(&roll),
        if ids.len() == 1 { "does not have it" } else { "do not have it" },
        seconds(limit),
        missing(&roll),
        ids.join(", "),
    )))
}

/// Waits until every node has what the ring is at.
fn wait_to_activate(
    config: &Config,
    kid: Kid,
    patience: &Patience,
    format: Format,
    out: &mut dyn Write,
) -> Result<(), KeysCommandError> {
    let wanted = fleet::newest(config)?;
    let roll = fleet::await_all(config, &wanted, patience, &mut |roll| waiting(roll, &wanted))?;
    gone(&roll);
    for node in &roll.passed_over {
        crate::cli::complain(&format!(
            "note: without {}, as you asked: what is sealed from now on it cannot open until it has the ring",
            named(node)
        ));
    }
    if !roll.missing.is_empty() {
        let without: Vec<String> = roll.missing.iter().map(|(node, _)| format!("--without {}", node.id)).collect();
        let one = roll.missing.len() == 1;
        return Err(KeysCommandError::NotEverywhere(format!(
            "{kid} stays pre-active, and nothing protects under it: {} {} revision {} after {}:\n{}\nOnce {}: `sudare keys activate {kid}`\nTo go on without, where what others then seal cannot be opened: `sudare keys activate {kid} {}`",
            of_nodes(&roll),
            if one { "does not have" } else { "do not have" },
            wanted.revision,
            seconds(patience.limit),
            missing(&roll),
            if one { "it has it, or is stopped" } else { "they have it, or are stopped" },
            without.join(" "),
        )));
    }
    if format == Format::Table {
        writeln!(out, "{}", have(&roll, &wanted))?;
        out.flush()?;
    }
    Ok(())
}

fn have(roll: &Roll, wanted: &Summary) -> String {
    match roll.have.len() {
        0 => "No node is there.".to_owned(),
        1 => format!("The one node that is there has revision {}.", wanted.revision),
        nodes => format!("All {nodes} nodes have revision {}.", wanted.revision),
    }
}

/// Progress, for whoever looks on.
fn waiting(roll: &Roll, wanted: &Summary) {
    let names = roll.missing.iter().map(|(node, _)| named(node));
    let gone = roll.gone.iter().map(|node| format!("{}, not seen for {}", named(node), seconds(node.seen_ago)));
    let names: Vec<String> = names.chain(gone).collect();
    crate::cli::complain(&format!("waiting for revision {} on {}", wanted.revision, names.join("; ")));
}

/// Who vanished is told, though nobody waits for it.
fn gone(roll: &Roll) {
    for node in &roll.gone {
        crate::cli::complain(&format!(
            "note: {} has not been seen for {}, and is taken for gone; one that comes back looks at the ring before it writes",
            named(node),
            seconds(node.seen_ago)
        ));
    }
}

/// `1 of 3 nodes`.
fn of_nodes(roll: &Roll) -> String {
    let all = roll.missing.len() + roll.have.len() + roll.passed_over.len();
    format!("{} of {all} nodes", roll.missing.len())
}

/// A line for each node that does not have it.
fn missing(roll: &Roll) -> String {
    let line = |(node, holds): &(Node, Holds)| {
        let what = match holds {
            Holds::It => "has it".to_owned(),
            Holds::Older(revision) => format!("holds revision {revision}"),
            Holds::Another => {
                "holds another revision of the same number: its copy of the ring was changed apart from this one".to_owned()
            }
            Holds::Nothing => "holds none yet".to_owned(),
        };
        format!("  {} {what}, seen {} ago", named(node), seconds(node.seen_ago))
    };
    roll.missing.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// `k3m9qpa7 (proxy-2, 10.0.0.2:8080)`.
fn named(node: &Node) -> String {
    let Node { id, about, .. } = node;
    let place: Vec<&str> = [about.host.as_str(), about.address.as_str()].into_iter().filter(|part| !part.is_empty()).collect();
    if place.is_empty() { id.clone() } else { format!("{id} ({})", place.join(", ")) }
}

fn seconds(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7_200 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3_600),
    }
}
