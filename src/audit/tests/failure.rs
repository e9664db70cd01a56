//! Tests of durability: one sync for all who wait, no answer before it, and a disk that is slow, full or broken.

use std::io;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::{Condvar, Mutex};

use super::super::chain::HEAD_BYTES;
use super::super::disk::{Disk, Folder, segment_path};
use super::*;

/// A disk that can be made slow, full or broken.
struct Faulty {
    folder: Folder,
    faults: Arc<Faults>,
    len: u64,
}

struct Faults {
    syncs: AtomicUsize,
    /// Bytes of the current segment that are durable.
    durable: AtomicU64,
    /// Bytes that may still be appended.
    room: AtomicU64,
    sync_fails: AtomicBool,
    head_fails: AtomicBool,
    cut_fails: AtomicBool,
    checkpoint_fails: AtomicBool,
    /// A sync has come to a closed gate.
    hanging: AtomicBool,
    pause: Duration,
    /// Closed: a sync hangs.
    gate: (Mutex<bool>, Condvar),
}

impl Faults {
    fn new(pause: Duration) -> Arc<Self> {
        Arc::new(Self {
            syncs: AtomicUsize::new(0),
            durable: AtomicU64::new(0),
            room: AtomicU64::new(u64::MAX),
            sync_fails: AtomicBool::new(false),
            head_fails: AtomicBool::new(false),
            cut_fails: AtomicBool::new(false),
            checkpoint_fails: AtomicBool::new(false),
            hanging: AtomicBool::new(false),
            pause,
            gate: (Mutex::new(true), Condvar::new()),
        })
    }

    fn gate(&self, open: bool) {
        *self.gate.0.lock().unwrap() = open;
        self.gate.1.notify_all();
    }
}

fn fails(flag: &AtomicBool) -> io::Result<()> {
    if flag.load(Ordering::SeqCst) { Err(io::Error::other("injected")) } else { Ok(()) }
}

impl Disk for Faulty {
    fn create(&mut self, segment: u64, header: &[u8]) -> io::Result<()> {
        if self.faults.room.load(Ordering::SeqCst) < 1000 {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        self.folder.create(segment, header)?;
        self.len = u64::try_from(header.len()).unwrap();
        self.faults.durable.store(self.len, Ordering::SeqCst);
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let room = self.faults.room.load(Ordering::SeqCst);
        let fits = usize::try_from(room).unwrap_or(usize::MAX).min(bytes.len());
        self.folder.append(&bytes[..fits])?;
        self.len += u64::try_from(fits).unwrap();
        if fits < bytes.len() {
            self.faults.room.store(0, Ordering::SeqCst);
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        if room != u64::MAX {
            self.faults.room.fetch_sub(u64::try_from(fits).unwrap(), Ordering::SeqCst);
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let open = self.faults.gate.0.lock().unwrap();
        self.faults.hanging.store(!*open, Ordering::SeqCst);
        drop(self.faults.gate.1.wait_while(open, |open| !*open).unwrap());
        std::thread::sleep(self.faults.pause);
        fails(&self.faults.sync_fails)?;
        self.folder.sync()?;
        self.faults.syncs.fetch_add(1, Ordering::SeqCst);
        self.faults.durable.store(self.len, Ordering::SeqCst);
        Ok(())
    }

    fn cut(&mut self, len: u64) -> io::Result<()> {
        fails(&self.faults.cut_fails)?;
        self.len = len;
        self.folder.cut(len)
    }

    fn write_head(&mut self, head: &[u8; HEAD_BYTES]) -> io::Result<()> {
        fails(&self.faults.head_fails)?;
        self.folder.write_head(head)
    }

    fn add_checkpoint(&mut self, note: &str) -> io::Result<()> {
        fails(&self.faults.checkpoint_fails)?;
        self.folder.add_checkpoint(note)
    }
}

fn open_faulty(config: &Config, faults: &Arc<Faults>) -> Log {
    try_open_faulty(config, faults).unwrap()
}

fn try_open_faulty(config: &Config, faults: &Arc<Faults>) -> Result<Log, AuditError> {
    let disk = Faulty { folder: Folder::open(&config.dir).unwrap(), faults: Arc::clone(faults), len: 0 };
    Log::start(config, vec![key(1)], Arc::new(FixedClock::at(NOON)), disk, None)
}

/// A very first start that fails between any two of its steps must not look like tampering to the next one.
#[test]
fn a_first_start_that_fails_at_any_step_leaves_a_folder_that_opens() {
    let rooms = [0, 999, 1_000, 1_001, u64::MAX].map(|room| (room, false, false));
    for (room, head_fails, sync_fails) in rooms.into_iter().chain([(u64::MAX, true, false), (u64::MAX, false, true)]) {
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path());
        let faults = Faults::new(Duration::ZERO);
        // `create` wants 1000 bytes of room and takes none, so 1000 lets the header in and half an event at most.
        faults.room.store(if room > 1_000 { room } else { room.saturating_sub(1) }, Ordering::SeqCst);
        faults.head_fails.store(head_fails, Ordering::SeqCst);
        faults.sync_fails.store(sync_fails, Ordering::SeqCst);
        block(async {
            match try_open_faulty(&config, &faults) {
                Ok(log) => log.close().await,
                Err(error) => assert!(matches!(error, AuditError::Write(_)), "{error}"),
            }
            open(&config).unwrap_or_else(|error| panic!("room {room}, {head_fails}, {sync_fails}: {error}")).close().await;
        });
        verify(&config.dir, &[key(1)], &Given::default()).unwrap();
    }
}

/// The head is there, whole, before the first event is: whatever a crash leaves of the steps of a first start, the next one
/// goes on.
#[test]
fn a_first_start_that_is_killed_at_any_step_leaves_a_folder_that_opens() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let faults = Faults::new(Duration::ZERO);
    faults.sync_fails.store(true, Ordering::SeqCst);
    faults.cut_fails.store(true, Ordering::SeqCst);
    // Killed in the first event's sync: header, head and the event's bytes are there.
    assert!(try_open_faulty(&config, &faults).is_err());
    let last = files(&config.dir);
    let (segment, head) = (&last["00000001.jsonl"], &last["head.json"]);
    assert_eq!((lines(segment).len(), head.len(), last.len()), (2, HEAD_BYTES, 2));
    let header = lines(segment)[0].clone();
    let steps = [
        Files::from([("00000001.jsonl".into(), header.clone()), ("head.json.new".into(), head[..100].to_vec())]),
        Files::from([("00000001.jsonl".into(), header.clone()), ("head.json.new".into(), head.clone())]),
        Files::from([("00000001.jsonl".into(), header), ("head.json".into(), head.clone())]),
        last,
    ];
    for (step, there) in steps.iter().enumerate() {
        put(&config.dir, there);
        block(async { open(&config).unwrap_or_else(|error| panic!("step {step}: {error}")).close().await });
        verify(&config.dir, &[key(1)], &Given::default()).unwrap();
        assert!(!config.dir.join("head.json.new").exists());
    }
}

#[test]
fn t25_one_sync_serves_all_who_wait() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let faults = Faults::new(Duration::ZERO);
    block(async {
        let log = open_faulty(&config, &faults);
        let before = faults.syncs.load(Ordering::SeqCst);
        faults.gate(false);
        let mut tasks = tokio::task::JoinSet::new();
        // The writer takes the first one and hangs in its sync ...
        let first = log.clone();
        tasks.spawn(async move { first.record(reveal(0)).await.map(|_| ()) });
        wait_until(|| faults.hanging.load(Ordering::SeqCst)).await;
        // ... while 400 more come, from several threads.
        for exchange in 1..=400 {
            let log = log.clone();
            tasks.spawn(async move { log.record(reveal(exchange)).await.map(|_| ()) });
        }
        wait_until(|| log.waiting() == 400).await;
        faults.gate(true);
        while let Some(task) = tasks.join_next().await {
            task.unwrap().unwrap();
        }
        assert_eq!(faults.syncs.load(Ordering::SeqCst) - before, 2, "one for the first, one for the 400");
        let Lag { events, commits, .. } = log.lag();
        assert_eq!((events, commits), (401, 2));
        log.close().await;
    });
    assert_eq!(verify(&config.dir, &[key(1)], &Given::default()).unwrap().events, 403);
}

/// What is ready at one time on a thread becomes durable at one time, also if whoever had undertaken to call the writer goes away.
#[test]
fn t25_events_of_one_turn_of_the_runtime_share_a_sync() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let faults = Faults::new(Duration::ZERO);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let log = open_faulty(&config, &faults);
        for leaves in [false, true] {
            // Until the writer sleeps, and is woken by being called only.
            wait_until(|| log.sleeps()).await;
            let before = faults.syncs.load(Ordering::SeqCst);
            let mut tasks = tokio::task::JoinSet::new();
            if leaves {
                let mut first = Box::pin(log.record(reveal(99)));
                let polled = std::future::poll_fn(|cx| std::task::Poll::Ready(first.as_mut().poll(cx).is_ready())).await;
                assert!(!polled, "it waits for the others");
                let other = log.clone();
                tasks.spawn(async move { other.record(reveal(100)).await.map(|_| ()) });
                tokio::task::yield_now().await;
                drop(first);
            } else {
                for exchange in 0..16 {
                    let log = log.clone();
                    tasks.spawn(async move { log.record(reveal(exchange)).await.map(|_| ()) });
                }
            }
            while let Some(task) = tasks.join_next().await {
                task.unwrap().unwrap();
            }
            assert_eq!(faults.syncs.load(Ordering::SeqCst) - before, 1);
        }
        log.close().await;
    });
    // 16 and one, with a start and a stop; whoever left is not written, unless the writer was quicker.
    let events = verify(&config.dir, &[key(1)], &Given::default()).unwrap().events;
    assert!((19..=20).contains(&events), "{events}");
}

/// A note alone becomes durable by itself; one that is soon followed by an event that somebody waits for becomes durable with that one.
#[test]
fn notes_wait_for_company_and_not_for_long() {
    const ROUNDS: usize = 50;
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let faults = Faults::new(Duration::ZERO);
    block(async {
        let log = open_faulty(&config, &faults);
        let syncs = || faults.syncs.load(Ordering::SeqCst);
        for alone in 0..3 {
            let before = syncs();
            log.note(reveal(alone));
            wait_until(|| syncs() > before && log.waiting() == 0).await;
        }
        let before = syncs();
        for exchange in 0..ROUNDS {
            log.record(reveal(u64::try_from(exchange).unwrap())).await.unwrap();
            log.note(reveal(1000));
            // Far shorter than the wait; on a busy machine some of these are longer, but not all.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert!(syncs() - before < 2 * ROUNDS - 1, "{} syncs for {ROUNDS} of each", syncs() - before);
        log.close().await;
    });
    // With a start and a stop.
    assert_eq!(verify(&config.dir, &[key(1)], &Given::default()).unwrap().events, u64::try_from(3 + 2 * ROUNDS + 2).unwrap());
}

async fn wait_until(condition: impl Fn() -> bool) {
    let asked = Instant::now();
    while !condition() {
        assert!(asked.elapsed() < Duration::from_secs(20), "waited in vain");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[test]
fn t25_nobody_is_answered_before_the_sync() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let faults = Faults::new(Duration::from_millis(1));
    block(async {
        let log = open_faulty(&config, &faults);
        let mut tasks = tokio::task::JoinSet::new();
        for task in 0..16_u64 {
            let (log, faults, path) = (log.clone(), Arc::clone(&faults), segment_path(&config.dir, 1));
            tasks.spawn(async move {
                for turn in 0..8 {
                    let exchange = task * 100 + turn;
                    log.record(reveal(exchange)).await.unwrap();
                    let durable = usize::try_from(faults.durable.load(Ordering::SeqCst)).unwrap();
                    let there = fs::read(&path).unwrap();
                    let event = format!("\"exchange\":\"{exchange:016x}\"");
                    let at = there.windows(event.len()).position(|window| window == event.as_bytes()).unwrap();
                    assert!(at < durable, "answered at byte {at} when {durable} were durable");
                }
            });
        }
        while let Some(task) = tasks.join_next().await {
            task.unwrap();
        }
        log.close().await;
    });
    assert_eq!(verify(&config.dir, &[key(1)], &Given::default()).unwrap().events, 16 * 8 + 2);
}

#[test]
fn t25_a_disk_that_hangs_means_no_answer_and_unhealthy() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config { durable_timeout: Duration::from_millis(700), ..config(dir.path()) };
    let faults = Faults::new(Duration::ZERO);
    block(async {
        let log = open_faulty(&config, &faults);
        assert!(log.healthy());
        faults.gate(false);
        let (a, b) = tokio::join!(log.record(reveal(1)), async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            log.record(reveal(2)).await
        });
        assert!(matches!((&a, &b), (Err(AuditError::Timeout(_)), Err(AuditError::Timeout(_)))), "{a:?} {b:?}");
        assert!(!log.healthy());
        faults.gate(true);
        wait_until(|| log.healthy()).await;
        log.record(reveal(3)).await.unwrap();
        assert!(log.healthy());
        log.close().await;
    });
    let exchanges: Vec<_> = tail(&config.dir, 10).unwrap().into_iter().filter_map(|entry| entry.body.exchange).collect();
    // 1 was being written when its caller gave up; 2 had not begun, and nobody waited for it any more.
    assert_eq!(exchanges, ["0000000000000001", "0000000000000003"]);
}

#[test]
fn t25_a_full_disk_refuses_leaves_no_half_line_and_recovers_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let faults = Faults::new(Duration::ZERO);
    let path = segment_path(&config.dir, 1);
    block(async {
        let log = open_faulty(&config, &faults);
        log.record(reveal(1)).await.unwrap();
        let sound = fs::read(&path).unwrap();
        for room in [0, 1, 100, 300] {
            faults.room.store(room, Ordering::SeqCst);
            let error = log.record(reveal(2)).await.unwrap_err();
            assert!(matches!(&error, AuditError::Write(_)), "{error}");
            assert!(!log.healthy());
            assert_eq!(fs::read(&path).unwrap(), sound, "nothing of the batch is left");
        }
        log.note(reveal(3));
        faults.room.store(u64::MAX, Ordering::SeqCst);
        let asked = Instant::now();
        while !log.healthy() && asked.elapsed() < Duration::from_secs(10) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(log.healthy(), "it tries again without being asked");
        log.record(reveal(4)).await.unwrap();
        log.close().await;
    });
    assert_eq!(verify(&config.dir, &[key(1)], &Given::default()).unwrap().events, 6);
    let told: Vec<_> = tail(&config.dir, 10).unwrap();
    let alarm = told.iter().find(|entry| entry.code.as_deref() == Some("log-interrupted")).unwrap();
    assert_eq!(alarm.count, Some(4), "{alarm}");
    let exchanges: Vec<_> =
        told.iter().filter_map(|entry| entry.exchange.as_deref()).map(|text| text.trim_start_matches('0')).collect();
    assert_eq!(exchanges, ["1", "3", "4"], "the note was kept, the refused event was not");
}

#[test]
fn t25_a_failed_sync_or_head_is_no_answer_and_what_it_left_is_taken_back() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let faults = Faults::new(Duration::ZERO);
    block(async {
        let log = open_faulty(&config, &faults);
        faults.sync_fails.store(true, Ordering::SeqCst);
        faults.cut_fails.store(true, Ordering::SeqCst);
        assert!(log.record(reveal(1)).await.is_err());
        faults.sync_fails.store(false, Ordering::SeqCst);
        assert!(log.record(reveal(2)).await.is_err(), "while the failed batch cannot be taken back, nothing is written");
        faults.cut_fails.store(false, Ordering::SeqCst);
        log.record(reveal(3)).await.unwrap();
        faults.head_fails.store(true, Ordering::SeqCst);
        assert!(log.record(reveal(4)).await.is_err());
        assert!(!log.healthy());
        faults.head_fails.store(false, Ordering::SeqCst);
        log.record(reveal(5)).await.unwrap();
        log.close().await;
    });
    verify(&config.dir, &[key(1)], &Given::default()).unwrap();
    let exchanges: Vec<_> = tail(&config.dir, 20).unwrap().into_iter().filter_map(|entry| entry.body.exchange).collect();
    assert_eq!(exchanges, ["0000000000000003", "0000000000000004", "0000000000000005"], "4 is durable though nobody was told");
}

/// Neither a client that leaves nor a disk that stalls or fails keeps an alarm from the log.
#[test]
fn t25_an_alarm_is_written_though_nobody_waits_for_it_any_more() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let faults = Faults::new(Duration::ZERO);
    let alarm = |exchange| Event { code: Some("value-not-authentic".to_string()), ..Event::new(Kind::Alarm, exchange) };
    block(async {
        let log = open_faulty(&config, &faults);
        faults.gate(false);
        log.note(Event::new(Kind::Close, 1));
        wait_until(|| faults.hanging.load(Ordering::SeqCst)).await;
        for event in [alarm(2), reveal(3)] {
            let gone = tokio::time::timeout(Duration::from_millis(20), log.record(event)).await;
            assert!(gone.is_err(), "the gate is closed");
        }
        faults.sync_fails.store(true, Ordering::SeqCst);
        faults.gate(true);
        wait_until(|| !log.healthy()).await;
        assert!(matches!(log.record(alarm(4)).await, Err(AuditError::Write(_))), "its caller must not go on");
        faults.sync_fails.store(false, Ordering::SeqCst);
        wait_until(|| log.healthy()).await;
        log.close().await;
    });
    verify(&config.dir, &[key(1)], &Given::default()).unwrap();
    let told = tail(&config.dir, 20).unwrap();
    let mut exchanges: Vec<_> = told.iter().filter_map(|entry| entry.exchange.as_deref()).collect();
    exchanges.sort_unstable();
    assert_eq!(exchanges, ["0000000000000001", "0000000000000002", "0000000000000004"]);
    let interrupted = told.iter().find(|entry| entry.code.as_deref() == Some("log-interrupted")).unwrap();
    assert_eq!(interrupted.count, Some(0), "no event was refused for good");
}

#[test]
fn a_full_disk_at_the_turn_of_a_segment_is_survived() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config { segment_bytes: 600, ..config(dir.path()) };
    let faults = Faults::new(Duration::ZERO);
    block(async {
        let log = open_faulty(&config, &faults);
        for exchange in 1..=2 {
            log.record(reveal(exchange)).await.unwrap();
        }
        faults.room.store(900, Ordering::SeqCst);
        assert!(log.record(reveal(8)).await.is_err(), "no room for another segment");
        faults.room.store(u64::MAX, Ordering::SeqCst);
        log.record(reveal(9)).await.unwrap();
        log.close().await;
    });
    let report = verify(&config.dir, &[key(1)], &Given::default()).unwrap();
    assert_eq!((report.events, report.segments > 1), (6, true), "start, 1, 2, alarm, 9, stop");
}

#[test]
fn notes_are_bounded_and_the_lost_ones_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config { segment_bytes: 1 << 30, ..config(dir.path()) };
    let faults = Faults::new(Duration::ZERO);
    block(async {
        let log = open_faulty(&config, &faults);
        faults.gate(false);
        log.note(Event::new(Kind::Close, 0));
        wait_until(|| faults.hanging.load(Ordering::SeqCst)).await; // in its sync, with the first one
        for exchange in 0..5_000 {
            log.note(Event::new(Kind::Close, exchange));
        }
        faults.gate(true);
        log.close().await;
    });
    let all = tail(&config.dir, 10_000).unwrap();
    assert_eq!(all.iter().filter(|entry| entry.kind == "close").count(), 1 + 4096);
    let lost = all.iter().find(|entry| entry.code.as_deref() == Some("notes-dropped")).unwrap();
    assert_eq!(lost.count, Some(5_000 - 4_096));
    verify(&config.dir, &[key(1)], &Given::default()).unwrap();
}

/// A checkpoint is evidence, not the record: one that cannot be written is told once, and nobody is kept from working.
#[test]
fn a_checkpoint_that_cannot_be_written_is_an_alarm_and_no_outage() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config { checkpoint_every: Duration::from_millis(20), ..config(dir.path()) };
    let faults = Faults::new(Duration::ZERO);
    let alarms = || {
        let events = tail(&config.dir, 1000).unwrap();
        events.iter().filter(|entry| entry.code.as_deref() == Some("checkpoint-not-written")).count()
    };
    block(async {
        let log = open_faulty(&config, &faults);
        for round in 1..=2 {
            faults.checkpoint_fails.store(true, Ordering::SeqCst);
            let patience = Instant::now();
            while alarms() < round {
                assert!(patience.elapsed() < Duration::from_secs(20));
                log.record(reveal(1)).await.unwrap();
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            // It goes on failing, and is not told again.
            for exchange in 0..10 {
                log.record(reveal(exchange)).await.unwrap();
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            assert!(log.healthy());
            assert_eq!(alarms(), round);
            faults.checkpoint_fails.store(false, Ordering::SeqCst);
            let (before, patience) = (checkpoints(&config), Instant::now());
            while checkpoints(&config) == before {
                assert!(patience.elapsed() < Duration::from_secs(20));
                log.record(reveal(1)).await.unwrap();
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        log.close().await;
    });
    let report = verify(&config.dir, &[key(1)], &Given::default()).unwrap();
    assert_eq!(report.checkpoints.newest.map(|(event, _)| event), Some(report.events));
}

fn checkpoints(config: &Config) -> u64 {
    verify(&config.dir, &[key(1)], &Given::default()).unwrap().checkpoints.stored
}
