//! The rows of the token vault, page by page, as `rewrap` goes through documents.
//!
//! Always holds: as in `rewrap`: the newest ring for each page, names of what may be forged are kept before it is written.

use std::num::NonZeroU32;
use std::sync::Arc;

use super::pages::most;
use super::rewrap::{Counts, Ended, Name, Names, NewestRings, Progress, ends, keep, newest};
use super::{Pace, SweepError};
use crate::base::FieldName;
use crate::vault::{Rewrapped, Scope, Told, Trouble, Vault, Which};

/// What is to be done with the vault.
pub struct VaultRewrap {
    /// The vault, with any ring.
    pub vault: Vault,
    /// Rows of these scopes; None for all of the controller's.
    pub scopes: Option<Vec<Scope>>,
    /// What they are sealed with.
    pub rings: NewestRings,
    /// Of which lines.
    pub which: Which,
    /// Keeps names; without, what hangs on a compromised version ends the sweep.
    pub names: Option<Arc<dyn Names>>,
    /// Rows written a second at most.
    pub rate: Option<NonZeroU32>,
    /// Only counts.
    pub dry_run: bool,
}

/// Rewraps the rows of the vault, pass after pass.
///
/// # Errors
///
/// [`SweepError`]; what was made anew by then stays so.
pub async fn rewrap_vault(rewrap: VaultRewrap, progress: &mut dyn Progress) -> Result<Ended, SweepError> {
    let pace = Pace::new(rewrap.rate);
    let (mut passes, mut total) = (0, Counts::default());
    loop {
        passes += 1;
        progress.begins(passes, None);
        let mut last = Counts::default();
        match &rewrap.scopes {
            None => each(&rewrap, None, &pace, &mut last, progress).await?,
            Some(scopes) => {
                for scope in scopes {
                    each(&rewrap, Some(scope), &pace, &mut last, progress).await?;
                }
            }
        }
        total.gather(&last);
        if ends(&last, passes, rewrap.dry_run) {
            return Ok(Ended { passes, total, last });
        }
    }
}

async fn each(
    rewrap: &VaultRewrap,
    scope: Option<&Scope>,
    pace: &Pace,
    last: &mut Counts,
    progress: &mut dyn Progress,
) -> Result<(), SweepError> {
    let mut after = None;
    loop {
        let mut ring = newest(&rewrap.rings).await?;
        let mut vault = rewrap.vault.with(Arc::clone(&ring));
        let mut renewal = vault.rewrap(scope, after.clone(), most(rewrap.rate), rewrap.which).await?;
        let next = renewal.next();
        let done = if rewrap.dry_run {
            renewal.count()
        } else {
            pace.wait(renewal.writes()).await;
            let now = newest(&rewrap.rings).await?;
            if !Arc::ptr_eq(&ring, &now) {
                drop(renewal);
                ring = now;
                vault = rewrap.vault.with(ring);
                renewal = vault.rewrap(scope, after, most(rewrap.rate), rewrap.which).await?;
            }
            let forged = renewal.told().iter().filter(|told| matches!(told.trouble, Trouble::Compromised(_)));
            keep(rewrap.names.as_ref(), forged.map(named).collect()).await?;
            renewal.write().await?
        };
        add(last, done, rewrap.dry_run, progress);
        if next.is_none() {
            return Ok(());
        }
        after = next;
    }
}

fn add(last: &mut Counts, done: Rewrapped, dry_run: bool, progress: &mut dyn Progress) {
    let compromised = |told: &&Told| matches!(told.trouble, Trouble::Compromised(_));
    let mut page = Counts { looked: done.rows, conflicts: done.changed, hung: done.hung, ..Counts::default() };
    if !dry_run {
        page.written = done.anew;
        page.anew = done.anew;
        page.compromised = done.told.iter().filter(compromised).map(|_| 1).sum();
    }
    for told in &done.told {
        match told.trouble {
            Trouble::NotAuthentic | Trouble::Mark => page.bad += 1,
            // Its name is kept already.
            Trouble::Compromised(_) if !dry_run => continue,
            Trouble::Second | Trouble::Compromised(_) => {}
        }
        progress.told(named(told));
    }
    last.add(&page);
    progress.moved(last);
}

fn named(told: &Told) -> Name {
    let (code, kid) = match told.trouble {
        Trouble::NotAuthentic | Trouble::Mark => ("value-not-authentic", None),
        Trouble::Compromised(kid) => ("key-compromised", Some(kid)),
        Trouble::Second => ("second-token", None),
    };
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    Name { id: some(&told.token), field: some(&told.scope).map(|scope| FieldName::new(&scope)), code, kid }
}
