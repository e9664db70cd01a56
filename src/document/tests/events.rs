//! Event streams: the framing of `feed=eventsource`.

use super::super::*;
use super::{joined, map, windows};

const STREAM: &str = concat!(
    ": hello\n",
    "retry: 5000\r\n",
    "\n",
    "data: {\"seq\":1,\"doc\":{\"_id\":\"a\",\"name\":\"A\"}}\n",
    "id: 1-g1AAA\n",
    "\n",
    "event: heartbeat\ndata: \n\n",
    "data:{\"seq\":2,\"id\":\"b\",\"deleted\":true}\r\n",
    "id\r\n",
    "data\n",
    "\r\n",
    "data:  {\"doc\":{\"na\\u006de\":\"B\"}} \n",
    "\n",
);

fn events(rules: Rules) -> Rules {
    Rules { framing: Framing::Events, ..rules }
}

#[test]
fn the_data_of_each_event_is_a_text_of_its_own() {
    let map = map(&["$.doc"], &["value $.name"]);
    let layout = walk(&map, events(Rules::reply()), STREAM.as_bytes()).unwrap();
    assert_eq!(layout.found.iter().map(|found| &STREAM[found.value.clone()]).collect::<Vec<_>>(), ["\"A\"", "\"B\""]);
    assert_eq!((layout.rows.len(), layout.odd_rows), (2, 0));
    assert_eq!(walk(&map, events(Rules::reply()), b"").unwrap(), Layout::default());
    assert_eq!(walk(&map, events(Rules::reply()), b"\n\n").unwrap(), Layout::default());
}

#[test]
fn t10_what_a_reader_could_take_for_other_lines_is_refused() {
    let map = map(&["$.doc"], &["value $.name"]);
    for (bad, at) in [
        // A CR alone ends a line for the reader.
        ("id: 1\rdata: {\"doc\":{\"name\":\"A\"}}\n", 5),
        (": x\r: y\n", 3),
        ("data: \r{}\n", 6),
        ("\r\r\n", 0),
        ("{\"doc\":{\"name\":\"A\"}}\n", 0),
        ("Data: {}\n", 0),
        (" data: {}\n", 0),
        ("secret: Mei\n", 0),
        ("datas\n", 0),
        ("\u{feff}data: {}\n", 0),
        ("id: é\n", 4),
        ("id: \0\n", 4),
        ("data: {\"a\":\n", 11),
        ("data: {} {}\n", 9),
        ("data: Mei\n", 6),
    ] {
        let outcome = walk(&map, events(Rules::reply()), bad.as_bytes());
        assert!(matches!(outcome, Err(WalkError::Syntax { at: place, .. }) if place == at), "{bad:?}: {outcome:?}");
    }
    for cut_short in ["d", "data", "data:", "data: ", "data: {", "id: 1", ": x", "id: 1\r", "\r"] {
        let ended = WalkError::Ended { at: u64::try_from(cut_short.len()).unwrap() };
        assert_eq!(walk(&map, events(Rules::reply()), cut_short.as_bytes()), Err(ended), "{cut_short:?}");
    }
    let twice = "data: {\"doc\":{\"name\":\"A\",\"name\":\"B\"}}\n";
    assert!(matches!(walk(&map, events(Rules::reply()), twice.as_bytes()), Err(WalkError::DuplicateName { .. })));
}

#[test]
fn t27_every_cut_of_an_event_stream_gives_the_same() {
    let map = map(&["$.doc"], &["value $.name", "peek $._id"]);
    let body = STREAM.as_bytes();
    let whole = walk(&map, events(Rules::reply()), body).unwrap();
    assert_eq!((whole.rows.len(), whole.found.len()), (2, 3));
    for window_bytes in [1, 30, 1 << 20] {
        let rules = events(Rules { window_bytes, ..Rules::reply() });
        for first in 0..=body.len() {
            for second in [first, first + 1, first + 7, body.len()].map(|at| at.min(body.len())) {
                let pieces = [&body[..first], &body[first..second], &body[second..]];
                let (bytes, layout) = joined(&windows(&map, rules, pieces).unwrap());
                // The texts of lines come after one another, so their containers are numbered anew by no one.
                assert_eq!((&bytes[..], &layout), (body, &whole), "cut at {first} and {second}");
            }
        }
        for size in 1..12 {
            assert_eq!(joined(&windows(&map, rules, body.chunks(size)).unwrap()).1, whole, "pieces of {size}");
        }
    }
}

#[test]
fn a_feed_of_events_is_flushed_as_it_comes() {
    let mut walker = Walker::new(map(&["$.doc"], &["value $.name"]), events(Rules::reply()));
    let mut flushed = |piece: &str| {
        walker.feed(piece.as_bytes()).unwrap();
        walker.flush().map(|window| (String::from_utf8(window.bytes).unwrap(), window.layout.rows.len()))
    };
    assert_eq!(flushed("event: heart"), Some(("event: heart".to_owned(), 0)));
    assert_eq!(flushed("beat\ndata: \n\n"), Some(("beat\ndata: \n\n".to_owned(), 0)));
    assert_eq!(flushed("dat"), None);
    // What stands around a document may leave before it, the document only whole.
    assert_eq!(flushed("a: {\"seq\":1,\"doc\":{\"name\":\"A"), Some(("data: {\"seq\":1".to_owned(), 0)));
    assert_eq!(flushed("\"}"), Some((",\"doc\":{\"name\":\"A\"}".to_owned(), 1)));
    assert_eq!(flushed("}\n\n"), Some(("}\n\n".to_owned(), 0)));
    walker.finish().unwrap();
    assert!(walker.window().is_none());
}

#[test]
fn a_feed_in_one_text_is_flushed_before_its_first_row_and_between_rows() {
    let mut walker = Walker::new(map(&["$.results[*].doc"], &["value $.name"]), Rules::reply());
    let mut flushed = |piece: &str| {
        walker.feed(piece.as_bytes()).unwrap();
        walker.flush().map(|window| String::from_utf8(window.bytes).unwrap())
    };
    assert_eq!(flushed("\n").as_deref(), Some("\n"));
    assert_eq!(flushed("{\"results\":[\n").as_deref(), Some("{\"results\":[\n"));
    for _ in 0..3 {
        assert_eq!(flushed("\n").as_deref(), Some("\n"));
    }
    assert_eq!(flushed("{\"seq\":1,\"doc\":{\"name\":\"A\"}}").as_deref(), Some("{\"seq\":1,\"doc\":{\"name\":\"A\"}}"));
    assert_eq!(flushed("\n").as_deref(), Some("\n"));
    assert_eq!(flushed(",\r\n{\"doc\":{\"name\":").as_deref(), Some(",\r\n{"));
    assert_eq!(flushed("\"B\"}}").as_deref(), Some("\"doc\":{\"name\":\"B\"}}"));
    assert_eq!(flushed("\n],\n\"last_seq\":2,\"pending\":0}\n").as_deref(), Some("\n],\n\"last_seq\":2,\"pending\":0}\n"));
    walker.finish().unwrap();
    assert!(walker.window().is_none());
}
