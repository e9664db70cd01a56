//! What tokens cost: made and looked up on both kinds of store, one by one and by the body; and what a store of millions of them is like.
//!
//! `cargo bench --bench vault -- --redb DIR [--postgres URL] [--many N]`; `benches/vault/run` makes the folder and the server. Everything is durable
//! before it counts, as in the proxy: an fsync for each call of a lone caller.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::as_conversions,
    clippy::cast_precision_loss,
    clippy::disallowed_methods,
    reason = "a benchmark that cannot be set up is of no use, and it is there to be read"
)]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sudare::base::Controller;
use sudare::keys::{KeyRing, Rings};
use sudare::purpose::{Permit, Upkeep};
use sudare::store::{Address, Config, PostgresConfig, Rows, Store};
use sudare::vault::{Format, Kind, Scope, Vault, Wish};

const BATCHES: [usize; 3] = [1, 10, 100];
/// How long each figure is measured for.
const ROUND: Duration = Duration::from_secs(3);
/// Callers at once, where the store may put their calls together.
const CALLERS: usize = 16;

struct Arguments {
    redb: PathBuf,
    postgres: Option<String>,
    many: u64,
}

fn arguments() -> Arguments {
    let mut arguments = Arguments { redb: std::env::temp_dir(), postgres: None, many: 0 };
    let mut words = std::env::args().skip(1).filter(|word| word != "--bench");
    while let Some(word) = words.next() {
        let value = words.next().unwrap_or_default();
        match word.as_str() {
            "--redb" => arguments.redb = value.into(),
            "--postgres" => arguments.postgres = Some(value),
            "--many" => arguments.many = value.parse().unwrap(),
            other => println!("{other}: not known; see the top of benches/vault.rs"),
        }
    }
    arguments
}

fn main() {
    let arguments = arguments();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let keys: Arc<Rings> = KeyRing::ephemeral(Controller::new("shop"), &[]).unwrap().into();
    let file = arguments.redb.join("vault.redb");
    let store = Arc::new(Store::open(&Config::Embedded(file.clone()), None).unwrap());
    let postgres = arguments.postgres.map(|url| Arc::new(open_postgres(&url)));
    println!(
        "| store | batch | tokenise, values/s | calls/s | median ms | p99 ms | detokenise, values/s | calls/s | median ms | p99 ms |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    for (name, store) in [("redb", Some(&store)), ("PostgreSQL", postgres.as_ref())] {
        let Some(store) = store else { continue };
        let vault = Vault::new(Arc::clone(store) as Arc<dyn Rows>, Arc::clone(&keys));
        for batch in BATCHES {
            runtime.block_on(by_batch(name, &vault, batch, 1));
        }
        for batch in BATCHES {
            runtime.block_on(by_batch(name, &vault, batch, CALLERS));
        }
    }
    if arguments.many > 0 {
        println!();
        let stores = [("redb", Some(store), Some(file), arguments.many), ("PostgreSQL", postgres, None, arguments.many / 10)];
        for (name, store, file, many) in stores {
            let Some(store) = store else { continue };
            let vault = Vault::new(store as Arc<dyn Rows>, Arc::clone(&keys));
            runtime.block_on(fill(name, &vault, many, file));
        }
    }
}

fn open_postgres(url: &str) -> Store {
    let config = Config::Postgres(Box::new(PostgresConfig::new(Address::parse(url).unwrap())));
    Store::open(&config, None).unwrap()
}

/// Values that look like those of a shop, each once.
fn wishes(round: &str, from: u64, count: usize) -> Vec<Wish> {
    let kind = Kind { scope: Scope::named("bench"), format: Format::Opaque, consistent: true };
    let text = |number: u64| format!("customer.{round}.{number}@shop.example");
    let wish = |number| Wish {
        kind: kind.clone(),
        json: format!("\"{}\"", text(number)).into_bytes(),
        text: text(number),
        subject: None,
    };
    (from..).take(count).map(wish).collect()
}

fn asked(tokens: &[String]) -> Vec<(Scope, String)> {
    tokens.iter().map(|token| (Scope::named("bench"), token.clone())).collect()
}

/// Times of single calls, sorted.
struct Times(Vec<Duration>);

impl Times {
    fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        Self(times)
    }

    fn at(&self, share: f64) -> f64 {
        let last = self.0.len().saturating_sub(1);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index between 0 and the last one")]
        let at = (last as f64 * share) as usize;
        self.0.get(at).map_or(0.0, |time| time.as_secs_f64() * 1e3)
    }
}

async fn by_batch(name: &str, vault: &Vault, batch: usize, callers: usize) {
    let mut made = Vec::new();
    let began = Instant::now();
    let workers: Vec<_> = (0..callers)
        .map(|caller| {
            let vault = vault.clone();
            tokio::spawn(async move {
                let (round, mut times, mut made) = (format!("{batch}-{callers}-{caller}"), Vec::new(), Vec::new());
                let (began, mut next) = (Instant::now(), 0);
                while began.elapsed() < ROUND {
                    let wishes = wishes(&round, next, batch);
                    next += batch as u64;
                    let call = Instant::now();
                    made.push(vault.tokenise(&wishes).await.unwrap());
                    times.push(call.elapsed());
                }
                (times, made)
            })
        })
        .collect();
    let mut times = Vec::new();
    for worker in workers {
        let (of_one, tokens) = worker.await.unwrap();
        times.extend(of_one);
        made.push(tokens);
    }
    let (took, calls, tokenised) = (began.elapsed().as_secs_f64(), times.len() as f64, Times::of(times));
    let began = Instant::now();
    let workers: Vec<_> = made
        .into_iter()
        .map(|bodies| {
            let vault = vault.clone();
            tokio::spawn(async move {
                let upkeep = Upkeep::dangerous_for("a benchmark looks at values of its own");
                let (began, mut times) = (Instant::now(), Vec::new());
                for body in bodies.iter().cycle() {
                    if began.elapsed() >= ROUND {
                        break;
                    }
                    let asked = asked(body);
                    let call = Instant::now();
                    let known = vault.detokenise(&asked, Permit::Upkeep(&upkeep)).await.unwrap();
                    times.push(call.elapsed());
                    assert_eq!(known.len(), body.len());
                }
                times
            })
        })
        .collect();
    let mut times = Vec::new();
    for worker in workers {
        times.extend(worker.await.unwrap());
    }
    let (read_took, read_calls, read) = (began.elapsed().as_secs_f64(), times.len() as f64, Times::of(times));
    let (rate, read_rate) = (calls / took, read_calls / read_took);
    let many = if callers == 1 { String::new() } else { format!(", {callers} callers") };
    println!(
        "| {name}{many} | {batch} | {:.0} | {rate:.0} | {:.2} | {:.2} | {:.0} | {read_rate:.0} | {:.2} | {:.2} |",
        rate * batch as f64,
        tokenised.at(0.5),
        tokenised.at(0.99),
        read_rate * batch as f64,
        read.at(0.5),
        read.at(0.99)
    );
}

/// Makes many tokens and says what the store is like then.
async fn fill(name: &str, vault: &Vault, many: u64, file: Option<PathBuf>) {
    const BODY: u64 = 1_000;
    const SIZE: usize = 1_000;
    let (began, mut sample) = (Instant::now(), Vec::new());
    let mut step = Instant::now();
    for body in 0..many / BODY {
        let tokens = vault.tokenise(&wishes("many", body * BODY, SIZE)).await.unwrap();
        // One of each body is asked for later.
        sample.extend(tokens.into_iter().nth(usize::try_from(body).unwrap() % SIZE));
        let done = (body + 1) * BODY;
        if done.is_multiple_of((many / 5).max(BODY)) {
            println!(
                "{name}: {done} tokens, the last fifth at {:.0} a second",
                (many as f64 / 5.0) / step.elapsed().as_secs_f64()
            );
            step = Instant::now();
        }
    }
    let took = began.elapsed().as_secs_f64();
    let upkeep = Upkeep::dangerous_for("a benchmark looks at values of its own");
    let mut times = Vec::new();
    for token in sample.iter().step_by((sample.len() / 10_000).max(1)) {
        let asked = asked(std::slice::from_ref(token));
        let call = Instant::now();
        let known = vault.detokenise(&asked, Permit::Upkeep(&upkeep)).await.unwrap();
        times.push(call.elapsed());
        assert!(matches!(known.as_slice(), [sudare::vault::Known::Value(_)]));
    }
    let (count, times) = (times.len(), Times::of(times));
    let bytes = file.map(|file| std::fs::metadata(file).unwrap().len());
    let size = bytes.map_or(String::new(), |bytes| format!("; file {} MiB, {} bytes a token", bytes >> 20, bytes / many.max(1)));
    println!(
        "{name}: {many} tokens in {took:.0} s, {:.0} a second{size}; {count} look-ups: median {:.3} ms, p99 {:.3} ms",
        many as f64 / took,
        times.at(0.5),
        times.at(0.99)
    );
}
