//! What `sudare keys rewrap` says at its end: what was done, what is left on which version, and what comes next.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::base::{Kid, RingName};
use crate::cli::meter::thousands;
use crate::keys::{LineName, Rings, State};
use crate::sweep::Ended;

/// A collection, or the vault.
pub(super) struct Part {
    pub(super) name: String,
    /// `documents` or `rows`.
    pub(super) of: &'static str,
    pub(super) pace: String,
    pub(super) ended: Ended,
}

/// A version that is not the active one, and what hangs on it in what was looked at.
struct Left {
    ring: RingName,
    line: LineName,
    kid: Kid,
    state: State,
    /// None if nobody looked.
    values: Option<u64>,
}

/// Whether what hangs on a line was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Looked {
    /// The line is not meant.
    Never,
    /// It is, but what hangs on it could not be looked at.
    NotThisTime,
    /// It was.
    Through,
}

/// All of it.
pub(super) struct Summary {
    parts: Vec<Part>,
    undone: Vec<String>,
    left: Vec<Left>,
    /// The only collections that were meant, if not all were.
    only: Vec<String>,
    dry_run: bool,
}

impl Summary {
    pub(super) fn of(
        parts: Vec<Part>,
        undone: Vec<String>,
        rings: &Rings,
        looked: &dyn Fn(&LineName) -> Looked,
        only: &[String],
        dry_run: bool,
    ) -> Self {
        let mut values: BTreeMap<(LineName, Kid), u64> = BTreeMap::new();
        for (hangs, count) in parts.iter().flat_map(|part| &part.ended.last.hung) {
            *values.entry(hangs.clone()).or_default() += count;
        }
        let waits = |state: State| !matches!(state, State::Active | State::Destroyed);
        let versions = rings.held().flat_map(|ring| ring.versions().into_iter().map(|version| (ring.name().clone(), version)));
        let left = versions.filter(|(_, version)| looked(&version.line) != Looked::Never).filter_map(|(ring, version)| {
            let found = values.get(&(version.line.clone(), version.kid)).copied().unwrap_or(0);
            let values = (looked(&version.line) == Looked::Through || found > 0).then_some(found);
            let (line, kid, state) = (version.line, version.kid, version.state);
            (waits(state) || found > 0).then_some(Left { ring, line, kid, state, values })
        });
        Self { left: left.collect(), parts, undone, only: only.to_vec(), dry_run }
    }

    pub(super) fn is_complete(&self) -> bool {
        self.undone.is_empty()
            && self.parts.iter().all(|part| part.ended.is_complete())
            && self.left.iter().all(|left| left.values.unwrap_or(0) == 0)
    }

    pub(super) fn text(&self, codes: &BTreeMap<&'static str, u64>) -> String {
        let mut lines = Vec::new();
        for one in &self.parts {
            part(one, self.dry_run, &mut lines);
        }
        lines.extend(self.undone.iter().cloned());
        self.told(codes, &mut lines);
        if self.left.is_empty() {
            lines.push("no version but the active ones is there to hang on".to_owned());
        } else {
            lines.push(format!("{:8}  {:6}  {:11}  values left", "version", "line", "state"));
            for Left { ring, line, kid, state, values } in &self.left {
                let values = values.map_or_else(|| "not looked at".to_owned(), thousands);
                let of = if ring.is_main() { String::new() } else { format!(" (ring {ring})") };
                lines.push(format!("{kid:8}  {line:6}  {state:11}  {values}{of}"));
            }
        }
        if !self.only.is_empty() {
            lines.push(format!("only {} was looked at; others may hang on these versions, too", self.only.join(", ")));
        }
        self.next(&mut lines);
        lines.join("\n") + "\n"
    }

    fn told(&self, codes: &BTreeMap<&'static str, u64>, lines: &mut Vec<String>) {
        for (code, count) in codes {
            let what = match *code {
                "second-token" => {
                    "tokens whose value has another token, too, by which a search finds it: write their documents again"
                }
                "key-compromised" if self.dry_run => {
                    "hang on a compromised version and may be forged: without --names FILE they are not sealed anew"
                }
                "key-compromised" => continue,
                "route-refused" => "documents that the database does not take, or design documents",
                "reply-unreadable" => "documents that cannot be read",
                _ => "values that do not open where they stand; they are left as they are",
            };
            lines.push(format!("{code}: {} {what}; --names FILE names them", thousands(*count)));
        }
    }

    fn next(&self, lines: &mut Vec<String>) {
        if self.dry_run {
            lines.push("next: the same without --dry-run".to_owned());
        } else if self.is_complete() && self.left.is_empty() {
            // Nothing waits.
        } else if self.is_complete() {
            lines.push(
                "next: `sudare keys census` counts again, in everything; when it says 0 and the backup window is over: `sudare keys destroy`"
                    .to_owned(),
            );
        } else {
            lines.push("not all is done: what is sealed anew stays so, and the same command goes on from there".to_owned());
        }
    }

    pub(super) fn json(&self) -> String {
        let part = |Part { name, of, ended, .. }: &Part| {
            let (total, last) = (&ended.total, &ended.last);
            json!({
                "part": name, "of": of, "looked": last.looked, "written": total.written, "anew": total.anew,
                "hung": last.hung.values().sum::<u64>(), "compromised": total.compromised, "conflicts": total.conflicts,
                "clear": last.clear, "bad": last.bad, "refused": last.refused, "passes": ended.passes,
                "complete": ended.is_complete(),
            })
        };
        let left = |left: &Left| {
            json!({
                "ring": left.ring.as_str(), "line": left.line.to_string(), "kid": left.kid.to_string(), "state": left.state.to_string(), "left": left.values,
            })
        };
        let all = json!({
            "dry_run": self.dry_run,
            "parts": self.parts.iter().map(part).collect::<Vec<Value>>(),
            "not_looked_at": self.undone,
            "versions": self.left.iter().map(left).collect::<Vec<Value>>(),
            "complete": self.is_complete(),
        });
        format!("{all:#}\n")
    }
}

/// What the parts of a run came to that did not come to its end.
pub(super) fn parts(parts: &[Part], dry_run: bool) -> String {
    let mut lines = Vec::new();
    for one in parts {
        part(one, dry_run, &mut lines);
    }
    lines.into_iter().map(|line| line + "\n").collect()
}

fn part(Part { name, of, pace, ended }: &Part, dry_run: bool, lines: &mut Vec<String>) {
    let (total, last) = (&ended.total, &ended.last);
    let all = counted(last.looked, of);
    if dry_run {
        let hung: u64 = last.hung.values().sum();
        lines.push(format!("{name}: {all}, {} hang on versions that are not active; nothing was written", values(hung)));
    } else {
        let passes = if ended.passes == 1 { "1 pass".to_owned() } else { format!("{} passes", ended.passes) };
        let [written, conflicts] = [total.written, total.conflicts].map(thousands);
        let anew =
            if *of == "rows" { "made anew".to_owned() } else { format!("written with {} sealed anew", values(total.anew)) };
        lines.push(format!("{name}: {all}, {written} {anew}, {conflicts} conflicts tried again, {passes}{pace}"));
    }
    if last.clear > 0 {
        lines.push(format!("{name}: {} not sealed at all, and left so: see `sudare sweep migrate`", values(last.clear)));
    }
    if last.conflicted > 0 {
        lines.push(format!(
            "{name}: {} with conflicting revisions beside the current one, which are not looked at: resolve the conflicts",
            counted(last.conflicted, "documents")
        ));
    }
    if total.compromised > 0 {
        lines.push(format!(
            "ALARM {name}: {} hung on a compromised version and may be forged; from now on they are like any other: compare those in --names FILE with another source",
            values(total.compromised)
        ));
    }
}

/// `of` is a word for many.
fn counted(count: u64, of: &str) -> String {
    if count == 1 { format!("1 {}", of.trim_end_matches('s')) } else { format!("{} {of}", thousands(count)) }
}

fn values(count: u64) -> String {
    if count == 1 { "1 value".to_owned() } else { format!("{} values", thousands(count)) }
}
