//! `kill -9` of processes that make tokens through the vault, again and again, until there are enough: what was said to be made opens to
//! its value, every value has one token, and every row is sound. In PostgreSQL two processes make the same tokens at the same time.
//!
//! `SUDARE_TOKENS` sets how many (some thousands if not set); the long form is
//! `SUDARE_TOKENS=1000000 cargo test --release --test it store::makers`. The counts are printed.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use sudare::base::{RecordId, enc};
use sudare::config;
use sudare::keys::KeyRing;
use sudare::purpose::{Permit, Upkeep};
use sudare::store::{Change, Rows as _, Store, Table};
use sudare::vault::{Format, Kind, Known, Scope, Vault, Wish};

use super::{Place, by_chance, checked_by_command, tell};
use crate::support::Setup;

/// Tokens of one call.
const BATCH: usize = 200;

/// How many tokens are wanted, and for how long their makers live at most, in milliseconds: as long that some are made, and as short that
/// there are many kills.
fn wanted(few: usize, briefly: u64) -> (usize, u64) {
    let many = std::env::var("SUDARE_TOKENS").map(|count| count.parse::<usize>().unwrap());
    many.map_or((few, briefly), |many| (many.next_multiple_of(BATCH), briefly.max(u64::try_from(many / 400).unwrap())))
}

/// Value `n`: half of them are telephone numbers, whose tokens have their shape.
fn wish(n: usize) -> Wish {
    let (text, scope, format) = if n.is_multiple_of(2) {
        (format!("+81-90-{:04}-{:04}", n / 10_000, n % 10_000), "phones", Format::Digits)
    } else {
        (format!("customer {n} of the marketplace"), "names", Format::Opaque)
    };
    let kind = Kind { scope: Scope::named(scope), format, consistent: true };
    let subject = Some(RecordId::from_text(&format!("c-{n}")).unwrap());
    Wish { kind, json: format!("\"{text}\"").into_bytes(), text, subject }
}

fn wishes(batch: usize) -> Vec<Wish> {
    (batch * BATCH..(batch + 1) * BATCH).map(wish).collect()
}

/// Store and vault as a configuration has them.
fn open(file: &Path) -> (Arc<Store>, Vault) {
    let settings = config::load(file).unwrap();
    let store = Arc::new(Store::open(&settings.store, None).unwrap());
    let keys = KeyRing::open(&settings.keys).unwrap();
    (Arc::clone(&store), Vault::new(store, keys.into()))
}

/// No test of its own: the process that `kill -9` hits. Makes batches until then, and says what was made.
#[test]
fn token_maker_of_redb_and_postgres() {
    let Ok(given) = std::env::var("SUDARE_TEST_TOKEN_MAKER") else { return };
    let mut given = given.split('|');
    let (_store, vault) = open(Path::new(given.next().unwrap()));
    let [from, to] = [(); 2].map(|()| given.next().unwrap().parse().unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut out = std::io::stdout();
    writeln!(out, "\nready").unwrap();
    for batch in from..to {
        let tokens = runtime.block_on(vault.tokenise(&wishes(batch))).unwrap();
        // The last word tells a whole line from one that was cut.
        writeln!(out, "made {batch} {} whole", tokens.join(" ")).unwrap();
        out.flush().unwrap();
    }
}

/// A maker under way, and what it says.
struct Maker {
    child: Child,
    said: JoinHandle<Vec<(usize, Vec<String>)>>,
}

impl Maker {
    /// Returns once it begins.
    fn start(file: &Path, from: usize, to: usize) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "store::makers::token_maker_of_redb_and_postgres", "--nocapture", "--test-threads=1"])
            .env("SUDARE_TEST_TOKEN_MAKER", format!("{}|{from}|{to}", file.display()))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.by_ref().any(|line| line.unwrap() == "ready"), "the maker did not start");
        // Read at once: one that waits for its reader is not killed in the middle of its work.
        let said = std::thread::spawn(move || lines.map_while(Result::ok).filter_map(|line| made(&line)).collect());
        Self { child, said }
    }

    fn kill(mut self) -> Vec<(usize, Vec<String>)> {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.said.join().unwrap()
    }
}

fn made(line: &str) -> Option<(usize, Vec<String>)> {
    let mut words = line.strip_prefix("made ")?.strip_suffix(" whole")?.split(' ');
    let batch = words.next()?.parse().unwrap();
    Some((batch, words.map(str::to_owned).collect()))
}

/// How many of a batch's tokens do not open to their values.
async fn lost(vault: &Vault, batch: usize, tokens: &[String]) -> usize {
    let wishes = wishes(batch);
    assert_eq!(tokens.len(), wishes.len());
    let asked: Vec<_> = wishes.iter().zip(tokens).map(|(wish, token)| (wish.kind.scope.clone(), token.clone())).collect();
    let upkeep = Upkeep::dangerous_for("a test");
    let known = vault.detokenise(&asked, Permit::Upkeep(&upkeep)).await.unwrap();
    let opens = |(known, wish): (&Known, &Wish)| matches!(known, Known::Value(json) if **json == wish.json);
    known.iter().zip(&wishes).filter(|pair| !opens(*pair)).count()
}

/// How many of a batch's values get another token than before.
async fn double(vault: &Vault, batch: usize, tokens: &[String]) -> usize {
    let again = vault.tokenise(&wishes(batch)).await.unwrap();
    again.iter().zip(tokens).filter(|(again, token)| again != token).count()
}

/// Kills makers until all tokens are there, looking after every kill at what was said to be made since the one before.
async fn until_there_are_enough(place: &Place, makers: usize, (total, mut longest): (usize, u64)) {
    let setup = Setup::embedded().store(&format!("url = \"{}\"", place.url()));
    let (_folder, file) = setup.files();
    drop(place.open());
    let (batches, begun) = (total / BATCH, Instant::now());
    let mut tokens: Vec<Vec<String>> = Vec::new();
    let (mut kills, mut twice) = (0, 0);
    while tokens.len() < batches {
        let before = tokens.len();
        // The last one is made again, and found.
        let running: Vec<Maker> = (0..makers).map(|_| Maker::start(&file, before.saturating_sub(1), batches)).collect();
        for maker in running {
            tokio::time::sleep(Duration::from_millis(10 + by_chance(longest))).await;
            for (batch, made) in maker.kill() {
                if let Some(known) = tokens.get(batch) {
                    assert_eq!(*known, made, "batch {batch} has other tokens");
                    twice += 1;
                } else {
                    assert_eq!(batch, tokens.len(), "a maker goes on where it began");
                    tokens.push(made);
                }
            }
            kills += 1;
        }
        place.quiet().await;
        let (_store, vault) = open(&file);
        for (batch, made) in tokens.iter().enumerate().skip(before) {
            assert_eq!(lost(&vault, batch, made).await, 0, "after kill {kills}: batch {batch}");
        }
        if tokens.len() == before {
            // A machine that is busy gives them no time; one that is not makes them all before the first is killed, if they live for long.
            longest *= 2;
        }
    }
    let took = begun.elapsed();
    all_are_there_once(&file, &tokens).await;
    let rows = thousands(total);
    let (code, out, said) = checked_by_command(&file);
    let counts = [format!("token      {rows} rows, {rows} marks\n"), format!("token-ref  {rows} rows, 0 marks\n")];
    assert!(code == Some(0) && counts.iter().all(|line| out.contains(line)) && out.contains("everything fits\n"), "{out}{said}");
    tell(&format!(
        "{}: {rows} tokens by {makers} at a time, killed {kills} times in {took:.1?}: none lost, none double, {twice} batches made \
         again with the tokens they had; all checked after {:.1?}",
        place.kind(),
        begun.elapsed()
    ));
    assert!(kills > makers, "nobody was killed in the middle");
    a_lost_one_would_be_seen(&file, &tokens[0]).await;
}

async fn all_are_there_once(file: &Path, tokens: &[Vec<String>]) {
    let (_store, vault) = open(file);
    for (batch, made) in tokens.iter().enumerate() {
        assert_eq!((lost(&vault, batch, made).await, double(&vault, batch, made).await), (0, 0), "batch {batch}");
    }
}

/// The control: of one row that goes by hand, every look above tells.
async fn a_lost_one_would_be_seen(file: &Path, tokens: &[String]) {
    let (store, vault) = open(file);
    let gone = enc(&[config::load(file).unwrap().controller.as_str().as_bytes(), b"names", tokens[1].as_bytes()]);
    store.change(Table::Token, vec![Change::Remove(gone)]).await.unwrap();
    assert_eq!(lost(&vault, 0, tokens).await, 1);
    drop((store, vault));
    let (code, _, said) = checked_by_command(file);
    assert!(code == Some(1) && said.contains("the row that it links to is not there"), "{said}");
    let (_store, vault) = open(file);
    assert_eq!(double(&vault, 0, tokens).await, 1);
}

/// As the command writes numbers.
fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let grouped: Vec<&str> = digits.as_bytes().rchunks(3).rev().map(|group| std::str::from_utf8(group).unwrap()).collect();
    grouped.join(",")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_in_redb_outlive_their_killed_makers() {
    // One process holds the file.
    until_there_are_enough(&Place::redb().unwrap(), 1, wanted(4_000, 40)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_in_postgres_outlive_their_killed_makers() {
    if let Some(place) = Place::postgres() {
        until_there_are_enough(&place, 2, wanted(10_000, 40)).await;
    }
}
