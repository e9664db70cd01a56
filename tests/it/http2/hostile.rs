//! Clients that flood, dribble, take back and break the rules: each is ended, and the next is served.

use std::time::Duration;

use super::{proxy, refused, still_serves};
use crate::support::http2::{
    ACK, CANCEL, COMPRESSION_ERROR, CONTINUATION, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, End, HEADERS, NO_ERROR, PING,
    PRIORITY, PUSH_PROMISE, RST_STREAM, SETTINGS, WINDOW_UPDATE, Wire, frame, get, hpack,
};

/// A frame that is wrong, for a stream.
type Mistake = Box<dyn Fn(u32) -> Vec<u8>>;

#[tokio::test]
async fn t24_heads_over_the_limits_are_431_or_the_end() {
    let (proxy, stub) = proxy("[limits]\nheader_bytes = 8192\nheaders = 20\n").await;
    let many: Vec<_> = (0..21).map(|_| ("x", "1")).collect();
    let mut wire = Wire::open(proxy.address).await;
    wire.request(1, &get("/orders", &many)).await;
    assert_eq!(wire.end_of(1).await, End::Answered(431));
    assert_eq!(refused(&proxy, "too-many-header-fields"), 1);
    let long = "a".repeat(9000);
    let mut wire = Wire::open(proxy.address).await;
    wire.request(1, &get("/orders", &[("x", &long)])).await;
    assert_eq!(wire.end_of(1).await, End::Answered(431));
    // Far over it: not even worth an answer.
    let long = "a".repeat(16_000);
    let mut wire = Wire::open(proxy.address).await;
    let block = hpack(&get("/orders", &[("x", &long), ("y", &long), ("z", &long)]));
    let (first, rest) = block.split_at(16_000);
    wire.write(&frame(HEADERS, END_STREAM, 1, first)).await;
    for piece in rest.chunks(16_000) {
        wire.write(&frame(CONTINUATION, 0, 1, piece)).await;
    }
    let end = wire.end().await;
    assert!(matches!(end, End::GoneAway(ENHANCE_YOUR_CALM | COMPRESSION_ERROR)), "{end:?}");
    // An HPACK bomb: a large entry of the table, named by one byte again and again.
    let mut wire = Wire::open(proxy.address).await;
    let mut block = hpack(&get("/orders", &[]));
    block.extend([0x40, 1, b'x', 127, 0xa1, 0x1e]);
    block.extend([b'a'; 127 + 0x21 + 0x1e * 128]);
    block.extend([0xbe; 10_000]);
    wire.write(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &block)).await;
    let end = wire.end().await;
    assert_eq!(end, End::GoneAway(ENHANCE_YOUR_CALM));
    assert!(stub.seen().is_empty());
    still_serves(&proxy).await;
}

#[tokio::test]
async fn t24_a_head_or_a_beginning_that_never_ends_is_given_up() {
    let (proxy, stub) = proxy("[limits]\nheader_timeout_ms = 300\n").await;
    let started = std::time::Instant::now();
    let preface: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    for begun in [&preface[..3], &preface[..20], preface, &[preface, &frame(SETTINGS, 0, 0, &[0; 6])[..10]].concat()] {
        let mut wire = Wire::silent(proxy.address).await;
        wire.write(begun).await;
        assert_eq!(wire.end().await, End::Closed, "{begun:?}");
    }
    let block = hpack(&get("/orders", &[]));
    for begun in [
        frame(HEADERS, END_STREAM, 1, &block),
        frame(HEADERS, END_HEADERS | END_STREAM, 1, &block)[..20].to_vec(),
        [frame(HEADERS, END_STREAM, 1, &block), frame(CONTINUATION, 0, 1, b"")].concat(),
    ] {
        let mut wire = Wire::open(proxy.address).await;
        wire.write(&begun).await;
        assert_eq!(wire.end().await, End::Closed);
    }
    // A byte at a time does not help.
    let mut wire = Wire::open(proxy.address).await;
    let dribble = async {
        for byte in frame(HEADERS, 0, 1, &block) {
            if !wire.write(&[byte]).await {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        wire.end().await
    };
    assert_eq!(dribble.await, End::Closed);
    assert!(started.elapsed() < Duration::from_secs(25), "{:?}", started.elapsed());
    assert!(stub.seen().is_empty());
    still_serves(&proxy).await;
}

#[tokio::test]
async fn t38_frames_that_carry_nothing_end_the_connection() {
    let (proxy, _stub) = proxy("").await;
    let open = hpack(&[(":method", "POST"), (":scheme", "http"), (":path", "/orders"), (":authority", "a")]);
    let floods: [(&str, Vec<u8>, Vec<u8>); 9] = [
        ("SETTINGS", vec![], frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 1])),
        ("empty SETTINGS", vec![], frame(SETTINGS, 0, 0, b"")),
        ("PING", vec![], frame(PING, 0, 0, b"12345678")),
        ("PING that answer nothing", vec![], frame(PING, ACK, 0, b"12345678")),
        ("PRIORITY", vec![], frame(PRIORITY, 0, 3, &[0, 0, 0, 0, 1])),
        ("WINDOW_UPDATE", vec![], frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])),
        ("unknown frames", vec![], frame(0xbe, 0, 0, b"")),
        ("empty DATA", frame(HEADERS, END_HEADERS, 1, &open), frame(DATA, 0, 1, b"")),
        ("CONTINUATION (CVE-2024-27316)", frame(HEADERS, 0, 1, &open), frame(CONTINUATION, 0, 1, b"")),
    ];
    for (what, first, again) in floods {
        let mut wire = Wire::open(proxy.address).await;
        wire.write(&first).await;
        let end = wire.flood(|_| again.clone(), 20_000).await;
        assert!(end.is_some(), "{what}: endured");
        still_serves(&proxy).await;
    }
    assert!(refused(&proxy, "http2-flood") >= 6, "{}", refused(&proxy, "http2-flood"));
}

#[tokio::test]
async fn t38_rapid_reset_ends_the_connection() {
    // CVE-2023-44487, in one packet and one by one.
    let (proxy, stub) = proxy("").await;
    let block = hpack(&get("/orders", &[]));
    let rapid = move |n: u32| {
        let stream = 2 * n + 1;
        [frame(HEADERS, END_HEADERS | END_STREAM, stream, &block), frame(RST_STREAM, 0, stream, &CANCEL.to_be_bytes())].concat()
    };
    let end = Wire::open(proxy.address).await.flood(rapid.clone(), 20_000).await;
    assert!(end.is_some(), "endured");
    still_serves(&proxy).await;
    let mut wire = Wire::open(proxy.address).await;
    let mut sent = 0;
    while wire.write(&rapid(sent)).await && sent < 2_000 {
        sent += 1;
        tokio::task::yield_now().await;
    }
    wire.end().await;
    assert!(refused(&proxy, "http2-resets") + refused(&proxy, "http2-protocol") >= 1);
    still_serves(&proxy).await;
    // At most so many of a connection came as far as the database.
    let reached = stub.seen().len();
    assert!(reached < 400, "{reached}");
}

#[tokio::test]
async fn t38_a_client_that_makes_us_reset_is_ended_too() {
    // CVE-2025-8671: mistakes within a stream, for which the server resets it.
    let (proxy, _stub) = proxy("").await;
    let block = hpack(&[(":method", "POST"), (":scheme", "http"), (":path", "/orders"), (":authority", "a")]);
    let mistakes: [(&str, Mistake); 4] = [
        ("a window opened by nothing", Box::new(|stream| frame(WINDOW_UPDATE, 0, stream, &[0; 4]))),
        ("a window opened too far", Box::new(|stream| frame(WINDOW_UPDATE, 0, stream, &[0x7f, 0xff, 0xff, 0xff]))),
        (
            "a stream that depends on itself",
            Box::new(|stream| frame(PRIORITY, 0, stream, &[&stream.to_be_bytes()[..], &[1]].concat())),
        ),
        ("a length that does not hold", Box::new(|stream| frame(DATA, END_STREAM, stream, b"x"))),
    ];
    for (what, mistake) in mistakes {
        let wire = Wire::open(proxy.address).await;
        let with_length = [block.clone(), hpack(&[("content-length", "5")])].concat();
        let end = wire
            .flood(
                |n| {
                    let stream = 2 * n + 1;
                    [frame(HEADERS, END_HEADERS, stream, &with_length), mistake(stream)].concat()
                },
                5_000,
            )
            .await;
        assert!(end.is_some(), "{what}: endured");
        still_serves(&proxy).await;
    }
}

#[tokio::test]
async fn t38_frames_out_of_place_end_the_connection() {
    let (proxy, stub) = proxy("").await;
    let block = hpack(&get("/orders", &[]));
    let whole = END_HEADERS | END_STREAM;
    for (what, bytes) in [
        ("a window opened by nothing", frame(WINDOW_UPDATE, 0, 0, &[0; 4])),
        ("a window opened too far", frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff])),
        ("a stream of ours", frame(HEADERS, whole, 2, &block)),
        ("stream 0", frame(HEADERS, whole, 0, &block)),
        ("a body without a request", frame(DATA, END_STREAM, 1, b"x")),
        ("a reset without a request", frame(RST_STREAM, 0, 1, &[0; 4])),
        ("a promise", frame(PUSH_PROMISE, END_HEADERS, 1, &[&[0, 0, 0, 2], block.as_slice()].concat())),
        ("CONTINUATION of nothing", frame(CONTINUATION, END_HEADERS, 1, &block)),
        ("something between the parts of a head", [frame(HEADERS, END_STREAM, 1, &block), frame(PING, 0, 0, &[0; 8])].concat()),
        ("a frame that is too large", frame(DATA, 0, 1, &vec![0; 20_000])),
        ("PING of the wrong size", frame(PING, 0, 0, b"1234567")),
        ("SETTINGS of the wrong size", frame(SETTINGS, 0, 0, &[0; 5])),
        ("SETTINGS of a stream", frame(SETTINGS, 0, 1, &[])),
        ("a window larger than there is", frame(SETTINGS, 0, 0, &[0, 4, 0xff, 0xff, 0xff, 0xff])),
        ("padding longer than the frame", frame(HEADERS, whole | 0x8, 1, &[255, 0])),
        ("a table larger than ours", frame(HEADERS, whole, 1, &[0x3f, 0xe1, 0xff, 0x03])),
        ("a field that the table does not have", frame(HEADERS, whole, 1, &[0xff, 0xff, 0x03])),
        ("Huffman codes that end badly", frame(HEADERS, whole, 1, &[0x00, 0x81, 0x00, 0x01, b'a'])),
        ("a number without end", frame(HEADERS, whole, 1, &[0x00, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff])),
    ] {
        let mut wire = Wire::open(proxy.address).await;
        wire.write(&bytes).await;
        let end = wire.end().await;
        assert!(matches!(end, End::GoneAway(error) if error != NO_ERROR), "{what}: {end:?}");
    }
    // Streams do not go backwards.
    let mut wire = Wire::open(proxy.address).await;
    wire.request(5, &get("/orders/forward", &[])).await;
    assert_eq!(wire.end_of(5).await, End::Answered(200));
    wire.request(3, &get("/orders/backward", &[])).await;
    assert!(matches!(wire.end().await, End::GoneAway(_)));
    assert!(stub.seen().iter().all(|seen| seen.target == "/orders/forward"), "{:?}", stub.seen());
    assert!(refused(&proxy, "http2-protocol") > 10);
    still_serves(&proxy).await;
}
