//! File descriptors: enough for the connections that are accepted, for the database's and for our own files.
//!
//! A process that has used up its descriptors can neither accept nor reach the database, and cannot open the next file of its audit
//! log. So the soft limit is raised to the hard one at start, and no more connections are accepted than it allows.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// For files, the runtime, admin connections, and connections to the database that rest.
const OWN: u64 = 128;
/// A client's connection, and one to the database for the request on it.
const FOR_EACH: u64 = 2;

/// How many of `wanted` connections the limit of this process suffices for; says so where it is fewer.
pub(super) fn suffice_for(wanted: usize) -> usize {
    let limit = raised();
    let most = limit.map_or(wanted, connections_within);
    if most < wanted {
        tracing::warn!(
            wanted,
            accepted = most,
            descriptors = limit,
            "[limits] connections is more than the limit of file descriptors allows; raise it (LimitNOFILE, ulimit -n), or lower connections"
        );
    }
    most.min(wanted)
}

/// The soft limit after it was raised to the hard one; `None` if there is no limit.
fn raised() -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let soft = current?;
    match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => maximum,
        Err(_refused) => Some(soft),
    }
}

fn connections_within(descriptors: u64) -> usize {
    usize::try_from(descriptors.saturating_sub(OWN) / FOR_EACH).unwrap_or(usize::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_connection_may_need_one_to_the_database() {
        assert_eq!(connections_within(1024), 448);
        assert_eq!(connections_within(20), 1);
        assert!(suffice_for(1) == 1 && suffice_for(usize::MAX) <= usize::MAX / 2 + 1);
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        assert_eq!(current, maximum, "raised");
    }
}
