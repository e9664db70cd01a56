//! Tests of tampering: each byte, each kind of change at each event, segments and heads; and any history at all.

use proptest::prelude::*;

use super::*;

#[test]
fn every_changed_byte_of_every_file_is_found() {
    let (_dir, config) = closed_log_of(1, 600);
    let sound = files(&config.dir);
    assert_eq!(sound.len(), 3, "two segments and the head");
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), &sound);
    let fails = |name: &str, bytes: &[u8], how: &str| {
        fs::write(dir.path().join(name), bytes).unwrap();
        assert!(verify(dir.path(), &[key(1)], &Given::default()).is_err(), "{name} {how}");
    };
    for (name, bytes) in &sound {
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1 << (at % 8);
            fails(name, &changed, &format!("byte {at} flipped"));
            if at % 3 == 0 && bytes[at] != b'\n' {
                changed[at] = b'\n';
                fails(name, &changed, &format!("byte {at} made a line end"));
                fails(name, &bytes[..at], &format!("cut at {at}"));
            }
        }
        fails(name, &[], "emptied");
        fs::write(dir.path().join(name), bytes).unwrap();
    }
    assert!(verify(dir.path(), &[key(1)], &Given::default()).is_ok());
}

/// Every segment's lines, to be changed and put together again.
type Book = Vec<(String, Vec<Vec<u8>>)>;

fn book(files: &Files) -> Book {
    files.iter().filter(|(name, _)| *name != "head.json").map(|(name, bytes)| (name.clone(), lines(bytes))).collect()
}

fn bound(book: &Book, head: &[u8]) -> Files {
    let mut files: Files = book.iter().map(|(name, lines)| (name.clone(), lines.concat())).collect();
    files.insert("head.json".into(), head.to_vec());
    files
}

/// What somebody can do who may write the files and knows the format, but not the key: hashes and numbers made right again.
fn rechained(book: &mut Book) {
    let (mut prev, mut seq) = ([0; 32], 0_u64);
    for (_, lines) in book {
        for line in lines {
            let mut json: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(line).unwrap();
            json["prev"] = HEXLOWER.encode(&prev).into();
            if json.contains_key("seq") {
                seq += 1;
                json["seq"] = seq.into();
            } else {
                json["after"] = seq.into();
            }
            let text = serde_json::to_string(&json).unwrap();
            // serde_json sorts members; the MAC must stand last to be found at all.
            let mac = format!(",\"mac\":{}", json["mac"]);
            let text = format!("{}{mac}}}", text.replace(&mac, "").strip_suffix('}').unwrap());
            prev = sha256(text.as_bytes());
            *line = format!("{text}\n").into_bytes();
        }
    }
}

#[test]
fn every_tampering_at_every_event_is_found_and_named() {
    let (_dir, config) = closed_log(6);
    let sound = files(&config.dir);
    let head = sound["head.json"].clone();
    let sound_book = book(&sound);
    let places: Vec<(usize, usize)> =
        sound_book.iter().enumerate().flat_map(|(s, (_, lines))| (1..lines.len()).map(move |l| (s, l))).collect();
    assert_eq!(places.len(), 8);
    for (s, l) in places {
        let tampered = |change: &dyn Fn(&mut Book)| {
            let mut book = sound_book.clone();
            change(&mut book);
            found(&bound(&book, &head)).unwrap_err()
        };
        let segment = u64::try_from(s).unwrap() + 1;
        let line = u64::try_from(l).unwrap() + 1;
        let last = s == sound_book.len() - 1 && l == sound_book[s].1.len() - 1;
        let at_end = l == sound_book[s].1.len() - 1;

        let edited = tampered(&|book| {
            let text = String::from_utf8(book[s].1[l].clone()).unwrap();
            book[s].1[l] = text.replace("\"kind\":\"", "\"kind\":\"x").into_bytes();
        });
        assert_eq!((edited.segment, edited.line, &edited.what), (Some(segment), Some(line), &What::Changed));

        let removed = tampered(&|book| drop(book[s].1.remove(l)));
        let (place, there) = ((removed.segment, removed.line), (Some(segment), Some(line)));
        if last {
            assert!(matches!(removed.what, What::CutOff { .. }), "{removed}");
        } else if at_end {
            assert_eq!((removed.segment, &removed.what), (Some(segment + 1), &What::HeaderMisplaced));
        } else {
            assert!(matches!(removed.what, What::Misplaced { .. }) && place == there, "{removed}");
        }

        let repeated = tampered(&|book| {
            let copy = book[s].1[l].clone();
            book[s].1.insert(l, copy);
        });
        assert!(matches!(repeated.what, What::Misplaced { .. }), "{repeated}");
        assert_eq!((repeated.segment, repeated.line), (Some(segment), Some(line + 1)));

        if !at_end {
            let swapped = tampered(&|book| book[s].1.swap(l, l + 1));
            assert!(matches!(swapped.what, What::Misplaced { .. }), "{swapped}");
            assert_eq!((swapped.segment, swapped.line), (Some(segment), Some(line)));
        }

        let cut = tampered(&|book| {
            book[s].1.truncate(l);
            book.truncate(s + 1);
        });
        assert!(matches!(cut.what, What::CutOff { .. } | What::SegmentMissing), "{cut}");

        for forged in [
            tampered(&|book| {
                let text = String::from_utf8(book[s].1[l].clone()).unwrap();
                book[s].1[l] =
                    text.replace("shipping", "helpdesk").replace("stop", "start").replace("\"count\":", "").into_bytes();
                let text = String::from_utf8(book[s].1[l].clone()).unwrap();
                book[s].1[l] = text.replace("\"kind\":\"start\"", "\"kind\":\"alarm\"").into_bytes();
                rechained(book);
            }),
            tampered(&|book| {
                let copy = book[s].1[l].clone();
                book[s].1.insert(l, copy);
                rechained(book);
            }),
            tampered(&|book| {
                book[s].1.remove(l);
                rechained(book);
            }),
        ] {
            assert_eq!(forged.what, What::Changed, "without the key, right hashes and numbers do not help: {forged}");
        }
    }
}

#[test]
fn removed_and_renamed_segments_and_heads_are_found() {
    let (_dir, config) = closed_log(9);
    let sound = files(&config.dir);
    let segments: Vec<String> = sound.keys().filter(|name| *name != "head.json").cloned().collect();
    assert!(segments.len() >= 3);
    for (number, name) in (1..).zip(&segments) {
        let mut files = sound.clone();
        files.remove(name);
        let finding = found(&files).unwrap_err();
        assert_eq!((finding.segment, &finding.what), (Some(number), &What::SegmentMissing), "{name}");
        put(&config.dir, &files);
        assert!(matches!(open(&config), Err(AuditError::Damaged { .. })), "a log without {name} is not continued");
    }
    let mut renamed = sound.clone();
    let (a, b) = (renamed.remove(&segments[0]).unwrap(), renamed.remove(&segments[1]).unwrap());
    renamed.extend([(segments[0].clone(), b), (segments[1].clone(), a)]);
    assert_eq!(found(&renamed).unwrap_err().what, What::HeaderMisplaced);
    let mut renumbered = sound.clone();
    renumbered.remove(&segments[0]);
    let shifted: Vec<_> =
        segments[1..].iter().zip(&segments).map(|(from, to)| (to.clone(), renumbered.remove(from).unwrap())).collect();
    renumbered.extend(shifted);
    assert_eq!(found(&renumbered).unwrap_err().what, What::HeaderMisplaced);

    let mut headless = sound.clone();
    headless.remove("head.json");
    assert_eq!(found(&headless).unwrap_err().what, What::HeadMissing);
    put(&config.dir, &headless);
    assert!(matches!(open(&config), Err(AuditError::Damaged { found: Finding { what: What::HeadMissing, .. }, .. })));

    let mut beheaded = sound.clone();
    let head = String::from_utf8(sound["head.json"].clone()).unwrap().replace("\"seq\":11", "\"seq\":10");
    beheaded.insert("head.json".into(), head.into_bytes());
    assert_eq!(found(&beheaded).unwrap_err().what, What::HeadForged);
    let nothing = tempfile::tempdir().unwrap();
    for dir in [nothing.path().to_path_buf(), nothing.path().join("absent")] {
        assert!(
            matches!(verify(&dir, &[key(1)], &Given::default()), Err(VerifyError::Unreadable(AuditError::NoLog(_)))),
            "{}",
            dir.display()
        );
        assert!(matches!(crate::audit::tail(&dir, 1), Err(AuditError::NoLog(_))), "{}", dir.display());
    }

    // A head, or whole segments, of another log under the same key.
    let (_other_dir, other) = closed_log(9);
    let mut config_late = other.clone();
    config_late.dir = other.dir.parent().unwrap().join("late");
    block(async {
        let log = Log::open(&config_late, vec![key(1)], Arc::new(FixedClock::at(NOON + 1))).unwrap();
        for exchange in 1..=9 {
            log.record(reveal(exchange)).await.unwrap();
        }
        log.close().await;
    });
    let late = files_of(&config_late);
    let mut spliced = sound.clone();
    spliced.insert("head.json".into(), late["head.json"].clone());
    assert_eq!(found(&spliced).unwrap_err().what, What::NotAsVouched);
    let mut spliced = sound.clone();
    spliced.insert(segments[1].clone(), late[&segments[1]].clone());
    assert_eq!(found(&spliced).unwrap_err().what, What::ChainBroken);
}

fn files_of(config: &Config) -> Files {
    files(&config.dir)
}

#[test]
fn a_log_that_was_tampered_with_is_not_continued() {
    let (_dir, config) = closed_log(4);
    let sound = files(&config.dir);
    let last = sound.keys().rfind(|name| *name != "head.json").unwrap().clone();
    let start = sound[&last].len() - lines(&sound[&last]).pop().unwrap().len();
    for at in (start..sound[&last].len()).step_by(7) {
        let mut changed = sound.clone();
        changed.get_mut(&last).unwrap()[at] ^= 1;
        put(&config.dir, &changed);
        let error = open(&config).unwrap_err();
        assert!(matches!(&error, AuditError::Damaged { .. }), "{error}");
        assert_eq!(files(&config.dir), changed, "the evidence stays as it was");
    }
}

/// A segment that names a key nobody has is not checked by MACs of its own, so it counts only if something authentic follows.
#[test]
fn a_segment_under_a_key_that_nobody_has_is_not_believed_at_the_end() {
    let (_dir, config) = closed_log(3);
    let sound = files(&config.dir);
    let segment = u64::try_from(sound.len()).unwrap();
    let last = lines(&sound[&disk::segment_name(segment - 1)]).pop().unwrap();
    let seq = serde_json::from_slice::<serde_json::Value>(&last).unwrap()["seq"].as_u64().unwrap();
    let mut link = chain::Link { seq, hash: chain::hash(last.strip_suffix(b"\n").unwrap()) };
    let mut tree = tree(&sound);
    // Everything right but for the key: the number, the chain, the form.
    let mut forged = chain::header(segment, "shop", &mut link, &tree, &key(9), "2026-11-22T13:00:00Z");
    let header = forged.len();
    chain::push_event(&mut forged, &mut link, &mut tree, &key(9).1, "2026-11-22T13:00:00Z", "\"kind\":\"close\"");
    for bytes in [&forged[..header], &forged[..]] {
        let mut changed = sound.clone();
        changed.insert(disk::segment_name(segment), bytes.to_vec());
        assert_eq!(found(&changed).unwrap_err().what, What::Unvouched);
        put(&config.dir, &changed);
        let error = open(&config).unwrap_err();
        assert!(matches!(&error, AuditError::Damaged { found: Finding { what: What::Unvouched, .. }, .. }), "{error}");
        assert_eq!(files(&config.dir), changed, "the evidence stays as it was");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// However it is written, stopped, crashed and continued, a log verifies with every event in it; and after any one change
    /// to its lines it does not.
    #[test]
    fn any_history_verifies_and_any_change_is_found(
        sessions in prop::collection::vec((0_u64..6, any::<bool>(), 0_usize..200), 1..4),
        segment_bytes in 300_u64..3000,
        tamper in (any::<prop::sample::Index>(), 0_usize..5),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let config = Config { segment_bytes, ..config(dir.path()) };
        let mut events = 0;
        for (count, by_note, torn) in sessions {
            block(async {
                let log = open(&config).unwrap();
                for exchange in 0..count {
                    if by_note { log.note(reveal(exchange)) } else { log.record(reveal(exchange)).await.map(|_| ()).unwrap() }
                }
                log.close().await;
            });
            events += count + 2;
            let report = verify(&config.dir, &[key(1)], &Given::default()).unwrap();
            prop_assert!(report.events == events);
            if torn > 0 {
                let last = files(&config.dir).into_keys().rfind(|name| name != "head.json").unwrap();
                let mut bytes = fs::read(config.dir.join(&last)).unwrap();
                bytes.extend(std::iter::repeat_n(b'{', torn));
                fs::write(config.dir.join(&last), bytes).unwrap();
                events += 1; // the next start records it
            }
        }
        block(async { open(&config).unwrap().close().await });
        let sound = files(&config.dir);
        let head = sound["head.json"].clone();
        let mut book = book(&sound);
        let places: Vec<(usize, usize)> = book.iter().enumerate().flat_map(|(s, (_, lines))| (0..lines.len()).map(move |l| (s, l))).collect();
        let (s, l) = places[tamper.0.index(places.len())];
        match tamper.1 {
            0 => drop(book[s].1.remove(l)),
            1 => { let copy = book[s].1[l].clone(); book[s].1.insert(l, copy); }
            2 => { let at = tamper.0.index(book[s].1[l].len()); book[s].1[l][at] ^= 0x10; }
            3 if book[s].1.len() > l + 1 => book[s].1.swap(l, l + 1),
            _ => { book[s].1.truncate(l); book.truncate(s + 1); }
        }
        prop_assert!(found(&bound(&book, &head)).is_err());
        prop_assert!(found(&sound).is_ok());
    }
}
