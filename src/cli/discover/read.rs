//! Reads sample documents one at a time: JSON Lines, or the elements of one JSON array.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _};
use std::path::Path;
use std::sync::Arc;

use super::{MAX_TOLD, shown};
use crate::base::limits::MAX_ROW_BYTES;
use crate::discover::Paths;
use crate::document::{Map, Rules, Selector, WalkError, Walker};

/// How much of an array is read at a time.
const PIECE: usize = 64 << 10;

/// What was read.
#[derive(Debug, Default)]
pub(super) struct Read {
    /// Lines that are no documents.
    pub(super) bad: u64,
    /// Numbers of the first of them.
    pub(super) bad_lines: Vec<u64>,
    /// `--sample` ended it.
    pub(super) sampled: bool,
}

/// Why there is nothing to propose from.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum ReadError {
    /// The system refused.
    #[error("{file} cannot be read: {why}")]
    Io {
        /// What was asked for.
        file: String,
        /// What the system says.
        why: io::Error,
    },
    /// Nothing in it is a document.
    #[error(
        "{file} holds no document: give JSON Lines (one JSON object a line, as `jq -c .` writes them) or one JSON array of objects; what JSON is accepted: docs/json.md"
    )]
    NoDocument {
        /// What was asked for.
        file: String,
    },
    /// An array that cannot be read to its end.
    #[error("{file} begins as a JSON array, but cannot be read as one: {why}")]
    Array {
        /// What was asked for.
        file: String,
        /// Where, and what was expected; never a value.
        why: WalkError,
    },
    /// The answer cannot be written.
    #[error("cannot print the answer: {0}")]
    Print(io::Error),
}

/// Counts every document of a file, at most `most`.
pub(super) fn documents(file: &Path, most: Option<u64>, paths: &mut Paths) -> Result<Read, ReadError> {
    let name = shown(file);
    let io = |why| ReadError::Io { file: name.clone(), why };
    let mut source: Box<dyn BufRead> = if file.as_os_str() == "-" {
        Box::new(io::stdin().lock())
    } else {
        Box::new(BufReader::with_capacity(PIECE, File::open(file).map_err(io)?))
    };
    let most = most.unwrap_or(u64::MAX);
    let read = if begins_array(&mut source).map_err(io)? {
        array(source, most, paths, &name)?
    } else {
        lines(source, most, paths).map_err(io)?
    };
    if paths.documents == 0 { Err(ReadError::NoDocument { file: name }) } else { Ok(read) }
}

/// Is the first byte that is not white space a `[`? White space before it is taken.
fn begins_array(source: &mut dyn BufRead) -> io::Result<bool> {
    loop {
        let (skipped, first) = {
            let held = source.fill_buf()?;
            // Line ends stay, so that lines are counted from the first.
            let blank = held.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
            (blank, held.get(blank).copied())
        };
        source.consume(skipped);
        match first {
            Some(byte) => return Ok(byte == b'['),
            None if skipped == 0 => return Ok(false),
            None => {}
        }
    }
}

fn lines(mut source: Box<dyn BufRead>, most: u64, paths: &mut Paths) -> io::Result<Read> {
    let mut read = Read::default();
    let longest = u64::try_from(MAX_ROW_BYTES).unwrap_or(u64::MAX).saturating_add(2);
    let mut line = Vec::new();
    for number in 1_u64.. {
        line.clear();
        let length = source.by_ref().take(longest).read_until(b'\n', &mut line)?;
        if length == 0 {
            break;
        }
        if paths.documents == most {
            read.sampled = true;
            break;
        }
        let cut = line.last() != Some(&b'\n') && u64::try_from(length).is_ok_and(|length| length == longest);
        if cut {
            skip_line(&mut source)?;
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        if cut || paths.add(&line).is_err() {
            read.bad += 1;
            if read.bad_lines.len() < MAX_TOLD {
                read.bad_lines.push(number);
            }
        }
    }
    Ok(read)
}

/// To behind the next line end, holding none of it.
fn skip_line(source: &mut dyn BufRead) -> io::Result<()> {
    loop {
        let (used, ended) = {
            let held = source.fill_buf()?;
            match held.iter().position(|byte| *byte == b'\n') {
                Some(at) => (at + 1, true),
                None => (held.len(), held.is_empty()),
            }
        };
        source.consume(used);
        if ended {
            return Ok(());
        }
    }
}

fn array(mut source: Box<dyn BufRead>, most: u64, paths: &mut Paths, name: &str) -> Result<Read, ReadError> {
    let wrong = |why| ReadError::Array { file: name.to_owned(), why };
    let rows: Vec<Selector> = Selector::parse("$[*]").into_iter().collect();
    // One row position overlaps with nothing.
    let Ok(map) = Map::compile(&rows, &[]) else { return Ok(Read::default()) };
    let mut walker = Walker::new(Arc::new(map), Rules::request());
    let mut read = Read::default();
    let mut ended = false;
    while !ended {
        let piece = source.fill_buf().map_err(|why| ReadError::Io { file: name.to_owned(), why })?;
        let length = piece.len();
        if length == 0 {
            walker.finish().map_err(wrong)?;
            ended = true;
        } else {
            walker.feed(piece).map_err(wrong)?;
        }
        source.consume(length);
        while let Some(window) = walker.window() {
            read.bad += u64::from(window.layout.odd_rows);
            for row in &window.layout.rows {
                if paths.documents == most {
                    read.sampled = true;
                    return Ok(read);
                }
                // The walker found it whole.
                let _counted = paths.add(window.bytes.get(row.range.clone()).unwrap_or_default());
            }
        }
    }
    Ok(read)
}
