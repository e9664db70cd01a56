//! File descriptors: enough for the connections that are accepted, for the database's and for our own files.
//!
//! A process that has used up its descriptors can neither accept nor reach the database, and cannot open the next file of its audit
//! log. So the soft limit is raised to the hard one at start, and no more connections are accepted than it allows.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// For files, the runtime and admin connections.
const OWN: u64 = 128;

/// How many of `wanted` connections the limit of this process suffices for, with `requests` under way at most; says so where it is fewer.
pub(super) fn suffice_for(wanted: usize, requests: usize) -> usize {
    let limit = raised();
    let most = limit.map_or(wanted, |limit| connections_within(limit, requests));
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

/// Each connection needs one, and each request one towards the database; there is at most one request on a connection.
fn connections_within(descriptors: u64, requests: usize) -> usize {
    let free = usize::try_from(descriptors.saturating_sub(OWN)).unwrap_or(usize::MAX);
    free.saturating_sub(requests).max(free / 2).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_request_may_need_one_to_the_database() {
        assert_eq!(connections_within(1_024, 1_024), 448);
        assert_eq!(connections_within(20_000, 1_024), 18_848);
        assert_eq!(connections_within(20, 1), 1);
        assert_eq!(suffice_for(1, 1), 1);
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        assert_eq!(current, maximum, "raised");
    }
}
