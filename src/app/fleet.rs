//! This node among those that share its store: it registers, says which revision of the ring it holds, and learns of newer ones.
//!
//! Always holds: it is registered before it opens its ring, so whoever waits for all nodes waits for it; it says what it holds once that is
//! in force; a ring in the store that differs from the one in force is asked to be taken, by announcement or at the next look; a store that
//! is away stops nothing. It leaves when it has drained. Where the store is a file there is no fleet. Called by [`super::Running`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::StartError;
use crate::config::Settings;
use crate::exchange::Exchange;
use crate::keys::fleet::{About, BEAT, Behind, GONE_AFTER, GRACE, Node, Standing, Summary, new_id};
use crate::keys::{Config, KeyRing};
use crate::metrics::Fleet as Counted;
use crate::store::{Changes, Rows as _, Store, StoreError, Table};

/// Longest time for one look, so that a store that hangs does not keep a node from knowing that it looked.
const LOOK_WITHIN: Duration = Duration::from_secs(5);
/// How often the ring in the store is read though nobody announced that it changed.
const READ_EVERY: Duration = Duration::from_secs(30);
/// First wait before a ring that was refused is tried again; doubled each time, up to [`READ_EVERY`]. What refused it may pass: a
/// provider of its KEK that is away, a mistake in a file.
const TRY_AGAIN: Duration = Duration::from_secs(3);

/// A node that has others.
#[derive(Debug)]
pub(super) struct Fleet {
    id: String,
    host: String,
    address: OnceLock<String>,
    store: Arc<Store>,
    standing: Arc<Standing>,
    /// As configured now.
    ring: ArcSwap<Config>,
    /// A ring waits in the store.
    news: Notify,
    /// A reload took something, or refused it.
    reloaded: Notify,
    seen: Mutex<Seen>,
    tasks: TaskTracker,
    end: CancellationToken,
}

/// What was found at the last look.
#[derive(Debug, Default)]
struct Seen {
    /// Of the ring in use.
    mine: String,
    /// Of the ring in the store.
    digest: Option<String>,
    /// When that was read.
    read: Option<Instant>,
    /// What it says of itself.
    in_store: Option<Summary>,
    /// The ring that was refused.
    refused: Option<Refused>,
    /// Since when others protect under what is lacking here.
    lacking_since: Option<Instant>,
    /// For the metrics; none before the first look that succeeded.
    counted: Option<Counted>,
}

#[derive(Debug)]
struct Refused {
    digest: Option<String>,
    at: Instant,
    wait: Duration,
    why: String,
}

impl Fleet {
    /// Registers this node, before it opens its ring. None where the store is a file. Blocks.
    pub(super) fn join(settings: &Settings, store: &Arc<Store>, end: CancellationToken) -> Result<Option<Arc<Self>>, StartError> {
        if !store.is_shared() {
            return Ok(None);
        }
        let fleet = Self {
            id: new_id()?,
            host: host(),
            address: OnceLock::new(),
            store: Arc::clone(store),
            standing: Arc::new(Standing::alone()),
            ring: ArcSwap::from_pointee(settings.keys.clone()),
            news: Notify::new(),
            reloaded: Notify::new(),
            seen: Mutex::default(),
            tasks: TaskTracker::new(),
            end,
        };
        store.beat_blocking(&fleet.id, fleet.about(None).bytes())?;
        Ok(Some(Arc::new(fleet)))
    }

    /// Says what it holds, and looks whether the others protect under what it lacks: then it begins without writing. Blocks.
    pub(super) fn compare(&self, ring: &KeyRing) -> Result<(), StartError> {
        let begun = Instant::now();
        self.store.beat_blocking(&self.id, self.about(Some(ring)).bytes())?;
        let nodes = Node::all(self.store.nodes_blocking()?, ring.controller().as_str());
        self.judge(ring, &nodes, Duration::ZERO);
        self.standing.looked_at(begun);
        Ok(())
    }

    /// Goes on looking until the end.
    pub(super) fn begin(self: &Arc<Self>, exchange: &Arc<Exchange>, address: String) {
        let _first = self.address.set(address);
        let (fleet, exchange) = (Arc::clone(self), Arc::downgrade(exchange));
        self.tasks.spawn(async move {
            tokio::select! {
                () = fleet.end.cancelled() => {}
                () = fleet.keep(&exchange) => {}
            }
        });
    }

    /// May this node protect?
    pub(super) fn standing(&self) -> Arc<Standing> {
        Arc::clone(&self.standing)
    }

    /// What is missing, for operators: of what is not ready, and of what somebody should look at.
    pub(super) fn complaint(&self) -> (Option<Behind>, Option<String>) {
        (self.standing.behind(), self.seen().refused.as_ref().map(|refused| refused.why.clone()))
    }

    /// For the metrics.
    pub(super) fn counted(&self) -> Option<Counted> {
        let counted = self.seen().counted?;
        Some(Counted { outdated: self.standing.may_protect().is_err(), ..counted })
    }

    /// Waits until there is a ring in the store to be taken.
    pub(super) async fn news(&self) {
        self.news.notified().await;
    }

    /// A reload took what this configuration names.
    pub(super) fn taken(&self, ring: &Config) {
        self.ring.store(Arc::new(ring.clone()));
        self.seen().refused = None;
        self.reloaded.notify_one();
    }

    /// A reload took nothing.
    pub(super) fn refused(&self, why: &str) {
        let mut seen = self.seen();
        let wait = seen.refused.as_ref().map_or(TRY_AGAIN, |before| (before.wait * 2).min(READ_EVERY));
        // Where the ring is in use already, or in a file, the log and the metrics say what was refused.
        if seen.digest.as_ref().is_some_and(|digest| *digest != seen.mine) {
            seen.refused = Some(Refused { digest: seen.digest.clone(), at: Instant::now(), wait, why: why.to_owned() });
        }
        drop(seen);
        self.reloaded.notify_one();
    }

    /// This node has drained.
    pub(super) async fn leave(&self) {
        self.end.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        if !matches!(tokio::time::timeout(LOOK_WITHIN, self.store.leave(&self.id)).await, Ok(Ok(()))) {
            tracing::warn!(
                node = self.id,
                "the store could not be told that this node leaves; it counts as there for {GONE_AFTER:?} more"
            );
        }
    }

    async fn keep(&self, exchange: &Weak<Exchange>) {
        let mut changes = None;
        let mut read = true;
        loop {
            let Some(rings) = exchange.upgrade().map(|exchange| Arc::clone(&exchange.state().keys)) else { return };
            // Of the others nodes tell each other nothing: each is a file that is brought to those which are given it.
            let ring = rings.main();
            let begun = Instant::now();
            read |= self.standing.silent() >= GONE_AFTER;
            let look = tokio::time::timeout(LOOK_WITHIN, self.look(ring, &mut changes, read)).await;
            if begun.elapsed() > LOOK_WITHIN * 2 {
                // This node was frozen meanwhile, or had no time: what it found is what was there then.
                read = true;
                continue;
            }
            // One that was frozen before may have missed everything: it has no grace, and a look that failed is none.
            let frozen = self.standing.silent() >= GONE_AFTER;
            let looked = match look {
                Ok(Ok(nodes)) => {
                    self.judge(ring, &nodes, if frozen { Duration::ZERO } else { GRACE });
                    true
                }
                // Where the store is away nobody else can have changed what is in it, and nobody stops for that.
                Ok(Err(_)) | Err(_) => !frozen,
            };
            if looked {
                self.standing.looked_at(begun);
            } else {
                tracing::warn!("this node stood still, and could not look at the store since: it writes nothing until it has");
            }
            read = tokio::select! {
                () = tokio::time::sleep(BEAT) => changes.is_none(),
                () = changed(&mut changes) => true,
                () = self.reloaded.notified() => false,
            };
        }
    }

    /// Says that this node is there, reads the ring in the store if that may have changed, and who else is there.
    async fn look(&self, ring: &KeyRing, changes: &mut Option<Changes>, read: bool) -> Result<Vec<Node>, StoreError> {
        let config = self.ring.load_full();
        if changes.is_none() {
            *changes = Some(self.store.watch(&config.topic()).await?);
        }
        self.store.beat(&self.id, self.about(Some(ring)).bytes()).await?;
        let due = self.seen().read.is_none_or(|last| last.elapsed() >= READ_EVERY);
        if config.ring.is_store() && (read || due) {
            let row = self.store.read(Table::Ring, vec![config.row_key()]).await?.into_iter().next().flatten();
            let mut seen = self.seen();
            seen.read = Some(Instant::now());
            seen.digest = row.as_deref().map(Summary::digest_of);
            seen.in_store = row.as_deref().and_then(Summary::unproven);
        }
        Ok(Node::all(self.store.nodes().await?, config.controller.as_str()))
    }

    /// Is there something to take, and does this node lack what others protect under?
    fn judge(&self, ring: &KeyRing, nodes: &[Node], grace: Duration) {
        let (mine, config) = (ring.summary(), self.ring.load());
        let mut seen = self.seen();
        seen.mine.clone_from(&mine.digest);
        let others = nodes.iter().filter(|node| node.id != self.id).filter_map(|node| node.about.rings.get(config.ring_name()));
        let newer: Vec<&Summary> = others.chain(&seen.in_store).filter(|other| other.revision > mine.revision).collect();
        let newest = newer.iter().map(|other| other.revision).max().unwrap_or(mine.revision);
        let known: BTreeSet<String> = ring.versions().iter().map(|version| version.kid.to_string()).collect();
        let lacks = newer.iter().filter_map(|other| mine.lacks(&known, other).map(|why| (other.revision, why))).max();
        let there = || nodes.iter().filter(|node| !node.is_gone());
        let is_behind = |node: &&Node| node.about.rings.get(config.ring_name()).is_none_or(|held| held.revision < newest);
        let counted = Counted {
            nodes: there().count(),
            behind: there().filter(is_behind).count(),
            newest_revision: newest,
            outdated: false,
        };
        seen.counted = Some(counted);

        let other = seen.digest.as_ref().is_some_and(|digest| *digest != mine.digest) && config.ring.is_store();
        if !other {
            seen.refused = None;
        }
        let refused = seen.refused.as_ref().filter(|refused| refused.digest == seen.digest);
        if other && refused.is_none_or(|refused| refused.at.elapsed() >= refused.wait) {
            self.news.notify_one();
        }
        let refused = refused.is_some();
        let behind = match lacks {
            None => {
                seen.lacking_since = None;
                None
            }
            Some((newest, why)) => {
                let since = *seen.lacking_since.get_or_insert_with(Instant::now);
                // Grace is for what was not lacking before: who stopped writing goes on with the ring, and not because it has looked again.
                let over = refused || self.standing.behind().is_some() || since.elapsed() >= grace;
                over.then_some(Behind { held: mine.revision, newest, why })
            }
        };
        drop(seen);
        let before = self.standing.behind();
        if before != behind {
            if let Some(Behind { held, newest, why }) = &behind {
                let lacks = "this node lacks a newer revision of the key ring";
                tracing::error!(held, newest, "{lacks}, {why}: until it has it, it reads, and writes nothing");
            } else {
                tracing::info!(held = mine.revision, "this node has the key ring that the others use, and writes again");
            }
            self.standing.set(behind);
        }
    }

    fn about(&self, ring: Option<&KeyRing>) -> About {
        let config = self.ring.load();
        About {
            host: self.host.clone(),
            address: self.address.get().cloned().unwrap_or_default(),
            pid: std::process::id(),
            controller: config.controller.to_string(),
            rings: ring.map(|ring| (config.ring_name().to_owned(), ring.summary())).into_iter().collect::<BTreeMap<_, _>>(),
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Until it is announced; for ever if that is not listened for.
pub(super) async fn changed(changes: &mut Option<Changes>) {
    match changes {
        Some(watched) => {
            if watched.changed().await.is_err() {
                // The store is closed, and so is everything else soon.
                std::future::pending::<()>().await;
            }
        }
        None => std::future::pending().await,
    }
}

/// The machine's name, for people.
fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().chars().filter(|letter| !letter.is_control()).take(64).collect()
}
