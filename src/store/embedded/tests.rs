//! Group commits, and disks that are full or hang.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use redb::StorageBackend;

use super::*;

fn claim(key: &str, marks: &[&str]) -> Claim {
    Claim {
        key: key.as_bytes().to_vec(),
        value: vec![7; 1000],
        marks: marks.iter().map(|mark| mark.as_bytes().to_vec()).collect(),
        link: None,
    }
}

/// A disk that can be watched, and made full.
struct Disk {
    room: AtomicU64,
    flushes: AtomicU64,
    /// Flushes never end.
    hangs: AtomicBool,
}

impl Disk {
    const fn new() -> Self {
        Self { room: AtomicU64::new(u64::MAX), flushes: AtomicU64::new(0), hangs: AtomicBool::new(false) }
    }
}

static SMALL: Disk = Disk::new();
static WATCHED: Disk = Disk::new();
static HANGING: Disk = Disk::new();

/// A file on such a disk.
struct On(&'static Disk, FileBackend);

impl std::fmt::Debug for On {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("On")
    }
}

impl StorageBackend for On {
    fn len(&self) -> std::io::Result<u64> {
        self.1.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        self.1.read(offset, out)
    }

    fn set_len(&self, len: u64) -> std::io::Result<()> {
        if len > self.0.room.load(Ordering::SeqCst) { Err(std::io::ErrorKind::StorageFull.into()) } else { self.1.set_len(len) }
    }

    fn sync_data(&self) -> std::io::Result<()> {
        self.0.flushes.fetch_add(1, Ordering::SeqCst);
        while self.0.hangs.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(1));
        }
        self.1.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        self.1.write(offset, data)
    }

    fn close(&self) -> std::io::Result<()> {
        self.1.close()
    }
}

fn open_on(disk: &'static Disk, path: &Path) -> Result<Database, StoreError> {
    let file = private_file(path)?;
    opened(path, FileBackend::new(file).and_then(|backend| builder().create_with_backend(On(disk, backend))))
}

#[tokio::test]
async fn a_full_disk_is_an_error_and_over_when_there_is_room_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.redb");
    let store = Embedded::open_by(&path, Opening::Use, |path| open_on(&SMALL, path)).unwrap();
    store.claim(Table::Token, vec![claim("before", &["m"])]).await.unwrap();
    SMALL.room.store(fs::metadata(&path).unwrap().len(), Ordering::SeqCst);
    let mut stored = Vec::new();
    let error = loop {
        let key = format!("k{}", stored.len());
        match store.claim(Table::Token, (0..500).map(|n| claim(&format!("{key}-{n}"), &[])).collect()).await {
            Ok(_) => stored.push(key),
            Err(error) => break error,
        }
        assert!(stored.len() < 100, "the disk never fills up");
    };
    assert!(matches!(error, StoreError::Full(_)), "{error}");
    // What is there can be read, and nothing of the refused call is.
    let first = stored.first().map_or_else(|| "before".to_owned(), |key| format!("{key}-0"));
    let refused = format!("k{}-0", stored.len());
    let found = store.read(Table::Token, vec![first.into_bytes(), refused.into_bytes()]).await.unwrap();
    assert!(found[0].is_some() && found[1].is_none());
    SMALL.room.store(u64::MAX, Ordering::SeqCst);
    assert_eq!(store.claim(Table::Token, vec![claim("after", &["n"])]).await.unwrap(), [Claimed::Made]);
    drop(store);
    let store = Embedded::open(&path, Opening::Use).unwrap();
    assert_eq!(store.list(Table::Token, Vec::new(), None, 1 << 20).await.unwrap().len(), 2 + 500 * stored.len());
}

#[test]
fn waiting_calls_share_a_commit() {
    let dir = tempfile::tempdir().unwrap();
    let store = Embedded::open_by(&dir.path().join("s.redb"), Opening::Use, |path| open_on(&WATCHED, path)).unwrap();
    let (answer, answers) = std::sync::mpsc::channel();
    // Held, so that everything queues up behind one write.
    let mut held = store.file.database.write().unwrap();
    assert!(held.as_mut().is_some());
    for n in 0..200 {
        let answer = answer.clone();
        let work = Work::Claim(Table::Token, vec![claim(&format!("k{n}"), &[])]);
        store.writer.send(work, None, move |outcome| answer.send(outcome).unwrap()).unwrap();
    }
    let before = WATCHED.flushes.load(Ordering::SeqCst);
    drop(held);
    for _ in 0..200 {
        assert!(matches!(answers.recv().unwrap(), Ok(Done::Claimed(_))));
    }
    let flushes = WATCHED.flushes.load(Ordering::SeqCst) - before;
    assert!((1..20).contains(&flushes), "{flushes} flushes for 200 calls");
}

#[tokio::test]
async fn of_a_commit_only_the_call_that_is_refused_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let store = Embedded::open(&dir.path().join("s.redb"), Opening::Use).unwrap();
    let put = |key: &str, mark: &str| {
        Change::Put(Row { key: key.as_bytes().to_vec(), value: Vec::new(), marks: vec![mark.as_bytes().to_vec()] })
    };
    store.change(Table::Token, vec![put("a", "m")]).await.unwrap();
    let (one, two, three) = tokio::join!(
        store.change(Table::Token, vec![put("b", "n")]),
        store.change(Table::Token, vec![put("c", "o"), put("d", "m")]),
        store.change(Table::Token, vec![put("e", "p")]),
    );
    assert!(one.is_ok() && three.is_ok());
    assert!(matches!(two, Err(StoreError::MarkTaken)));
    let keys: Vec<_> = store.list(Table::Token, Vec::new(), None, 10).await.unwrap().into_iter().map(|row| row.key).collect();
    assert_eq!(keys, [b"a", b"b", b"e"]);
}

#[test]
fn what_is_no_store_stays_what_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let written = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&path).unwrap();
        std::io::Write::write_all(&mut file, bytes).unwrap();
        path
    };
    let empty = written("empty", b"");
    assert!(matches!(Embedded::open(&empty, Opening::Read), Err(StoreError::Absent(_))));
    assert_eq!(fs::metadata(&empty).unwrap().len(), 0);
    let picture = written("picture", &[7; 5000]);
    for opening in [Opening::Read, Opening::Use, Opening::Migrate] {
        assert!(matches!(Embedded::open(&picture, opening), Err(StoreError::Foreign(_))), "{opening:?}");
    }
    assert_eq!(fs::read(&picture).unwrap(), [7; 5000]);
    let documents = folder.path().join("documents.redb");
    {
        let database = open_file(&documents).unwrap();
        let write = database.begin_write().unwrap();
        write.open_table(TableDefinition::<&str, u64>::new("documents")).unwrap();
        write.commit().unwrap();
    }
    for opening in [Opening::Read, Opening::Use, Opening::Migrate] {
        let told = Embedded::open(&documents, opening).unwrap_err();
        assert!(matches!(told, StoreError::Foreign(_)) && told.to_string().contains("name another file"), "{told}");
    }
    // A file of a release without versions is taken over.
    let before = folder.path().join("before.redb");
    {
        let database = open_file(&before).unwrap();
        let write = database.begin_write().unwrap();
        write.open_table(HIGH_WATER).unwrap().insert("ring", 3).unwrap();
        write.commit().unwrap();
    }
    assert_eq!(Embedded::open(&before, Opening::Read).unwrap().high_water("ring").unwrap(), 3);
}

/// T24: callers give up after a while, and what they asked for stays in the queue, which has an end all the same.
#[tokio::test]
async fn t24_a_disk_that_hangs_fills_no_memory() {
    /// Also where the test fails, or the writer would never end.
    struct Hang;
    impl Drop for Hang {
        fn drop(&mut self) {
            HANGING.hangs.store(false, Ordering::SeqCst);
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let store = Embedded::open_by(&dir.path().join("s.redb"), Opening::Use, |path| open_on(&HANGING, path)).unwrap();
    let store = Arc::new(store);
    HANGING.hangs.store(true, Ordering::SeqCst);
    let hang = Hang;
    let mut calls = tokio::task::JoinSet::new();
    for n in 0..400 {
        let store = Arc::clone(&store);
        let large = Claim { value: vec![7; 200_000], ..claim(&format!("k{n}"), &[]) };
        let call = async move { store.writer.apply(Work::Claim(Table::Token, vec![large])).await };
        calls.spawn(tokio::time::timeout(Duration::from_secs(3), call));
    }
    while let Some(call) = calls.join_next().await {
        assert!(call.unwrap().is_err(), "the disk hangs");
    }
    assert_eq!(store.writer.room.available_permits(), 0, "what was given up still has its place");
    drop(hang);
    assert_eq!(store.claim(Table::Token, vec![claim("after", &[])]).await.unwrap(), [Claimed::Made]);
    let rows = store.list(Table::Token, Vec::new(), None, 1_000).await.unwrap();
    assert_eq!(rows.len(), 1024 / 4 + 1, "four places each");
}

#[tokio::test]
async fn t24_readers_of_a_disk_that_hangs_have_an_end() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(Embedded::open(&dir.path().join("s.redb"), Opening::Use).unwrap());
    let reads = Arc::new(AtomicU64::new(0));
    let mut calls = tokio::task::JoinSet::new();
    let file = Arc::clone(&store.file);
    let (release, released) = std::sync::mpsc::channel::<()>();
    let (begun, has_begun) = std::sync::mpsc::channel();
    let held = std::thread::spawn(move || {
        let held = file.database.write().unwrap();
        begun.send(()).unwrap();
        released.recv().unwrap();
        drop(held);
    });
    has_begun.recv().unwrap();
    for _ in 0..1000 {
        let (store, reads) = (Arc::clone(&store), Arc::clone(&reads));
        calls.spawn(async move {
            let count = move |_: &ReadTransaction| Ok(reads.fetch_add(1, Ordering::SeqCst));
            tokio::time::timeout(Duration::from_millis(300), store.reading(count)).await.is_ok()
        });
    }
    while let Some(call) = calls.join_next().await {
        assert!(!call.unwrap());
    }
    release.send(()).unwrap();
    held.join().unwrap();
    // All of them are through.
    drop(store.readers.acquire_many(u32::try_from(READERS).unwrap()).await.unwrap());
    let reads = reads.load(Ordering::SeqCst);
    assert!((1..=u64::try_from(READERS).unwrap()).contains(&reads), "{reads} of 1000 that were given up waited");
}

#[test]
fn a_new_file_is_there_whole_and_nothing_else_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data/s.redb");
    drop(Embedded::open(&path, Opening::Use).unwrap());
    let names: Vec<_> = fs::read_dir(path.parent().unwrap()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["s.redb"]);
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    // What a maker left that died half way is in nobody's way.
    let other = folder.path().join("data/t.redb");
    fs::write(folder.path().join("data/t.redb.00000000.new"), "half").unwrap();
    drop(Embedded::open(&other, Opening::Use).unwrap());
    drop(Embedded::open(&other, Opening::Read).unwrap());
}
