//! What an error of PostgreSQL means: try the whole transaction again, or tell the caller.
//!
//! Always holds: of an error that a statement had only the code is told, for its sentences may quote values (T13).

use deadpool_postgres::{PoolError, TimeoutType};
use tokio_postgres::Error;
use tokio_postgres::error::SqlState;

use super::super::{StoreError, Table};
use super::Inner;
use super::sql::rows_of;
use crate::net::tls::client::Refused;

/// What a call may do after an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repeat {
    /// It changes nothing, or nothing more the second time: also after a connection broke.
    Always,
    /// Only where the server says that nothing took place.
    NothingDone,
    /// So, and where another caller made the same row first.
    LostRace,
    /// Only where the server says that nothing took place, or another caller made a row of the same key meanwhile, which the next
    /// attempt replaces. A mark that is taken stays taken.
    Overwritten,
    /// So, and where another node makes the same tables.
    Tables,
}

impl Repeat {
    /// True if the whole transaction is to be tried again.
    pub(super) fn applies(self, error: &Error) -> bool {
        let Some(code) = error.code() else { return self == Self::Always && error.is_closed() };
        let conflict = [SqlState::T_R_SERIALIZATION_FAILURE, SqlState::T_R_DEADLOCK_DETECTED].contains(code);
        let twice = *code == SqlState::UNIQUE_VIOLATION;
        match self {
            Self::Always => conflict || [SqlState::ADMIN_SHUTDOWN, SqlState::CRASH_SHUTDOWN].contains(code),
            Self::NothingDone => conflict,
            Self::LostRace => conflict || twice,
            Self::Overwritten => {
                let table = error.as_db_error().and_then(tokio_postgres::error::DbError::table);
                conflict || (twice && table.is_some_and(|table| Table::ALL.iter().any(|of| rows_of(*of) == table)))
            }
            // The last: "tuple concurrently updated", of the catalogue.
            Self::Tables => {
                conflict
                    || twice
                    || [SqlState::DUPLICATE_TABLE, SqlState::DUPLICATE_OBJECT, SqlState::INTERNAL_ERROR].contains(code)
            }
        }
    }
}

impl Inner {
    pub(super) fn fault(&self, error: &Error) -> StoreError {
        let at = self.at.clone();
        let Some(code) = error.code() else {
            return match Refused::of(error) {
                Some(refused) => StoreError::Refused(
                    at,
                    refused.to_string().replace("[upstream]", "[store]").replace("HTTP/1.1", "PostgreSQL"),
                ),
                None if error.is_closed() => StoreError::Unreachable(at, "the connection broke".to_owned()),
                None => match io_error(error) {
                    Some(io) => StoreError::Unreachable(at, io.to_string()),
                    None => StoreError::Refused(at, format!("{error}: see [store] tls and password")),
                },
            };
        };
        let refused = |why: String| StoreError::Refused(self.at.clone(), format!("{why} ({})", code.code()));
        let user = &self.config.address.user;
        match code {
            code if *code == SqlState::QUERY_CANCELED => StoreError::Slow(at, self.config.statement_timeout),
            code if *code == SqlState::DISK_FULL => StoreError::Full(at),
            // After a claim, or of a row, `run` has told of the race.
            code if *code == SqlState::UNIQUE_VIOLATION => StoreError::MarkTaken,
            code if *code == SqlState::TOO_MANY_CONNECTIONS => {
                refused("it takes no more connections: lower [store] pool, or raise its max_connections".to_owned())
            }
            code if *code == SqlState::INVALID_CATALOG_NAME => {
                refused(format!("it has no database {}: create it, or name another in [store] url", self.config.address.database))
            }
            code if *code == SqlState::INSUFFICIENT_PRIVILEGE => refused(format!(
                "the account {user} may not do this: grant it the tables sudare_*, and for `sudare store migrate` the right to create them"
            )),
            code if *code == SqlState::READ_ONLY_SQL_TRANSACTION => {
                refused("it only reads: name the server that writes in [store] url".to_owned())
            }
            code if *code == SqlState::UNDEFINED_TABLE => {
                StoreError::Failed(at, "its tables are missing: run `sudare store migrate`".to_owned())
            }
            code if code.code().starts_with("28") => {
                refused(format!("it refuses the account {user}: see [store] password, and pg_hba.conf there (it may want TLS)"))
            }
            code if code.code().starts_with("57P") || code.code().starts_with("08") => {
                StoreError::Unreachable(at, format!("it is starting, stopping or cut off ({})", code.code()))
            }
            code => StoreError::Failed(at, format!("PostgreSQL answered {}", code.code())),
        }
    }

    /// Why there is no connection.
    pub(super) fn no_connection(&self, error: PoolError) -> StoreError {
        let at = self.at.clone();
        match error {
            PoolError::Timeout(TimeoutType::Wait) => StoreError::Busy(at, self.config.wait_timeout),
            PoolError::Timeout(TimeoutType::Create | TimeoutType::Recycle) => StoreError::Slow(at, self.config.connect_timeout),
            // The library's own bound, for each address of a name.
            PoolError::Backend(error) if timed_out(&error) => StoreError::Slow(at, self.config.connect_timeout),
            PoolError::Backend(error) => self.fault(&error),
            PoolError::Closed | PoolError::NoRuntimeSpecified | PoolError::PostCreateHook(_) => {
                StoreError::Failed(at, "it was closed".to_owned())
            }
        }
    }
}

fn io_error(error: &Error) -> Option<&std::io::Error> {
    let mut next = std::error::Error::source(error);
    while let Some(error) = next {
        if let Some(io) = error.downcast_ref() {
            return Some(io);
        }
        next = error.source();
    }
    None
}

fn timed_out(error: &Error) -> bool {
    io_error(error).is_some_and(|io| io.kind() == std::io::ErrorKind::TimedOut)
}
