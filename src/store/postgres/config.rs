//! Where a PostgreSQL server is, who we are there, and the bounds on waiting for it.

use std::path::PathBuf;
use std::time::Duration;

use tokio_postgres::config::Host;
use zeroize::Zeroizing;

use crate::net::tls::client::Client;

/// What a connection needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Server, account and database.
    pub address: Address,
    /// Of the account; none where the server asks for none, or for a certificate.
    pub password: Option<Password>,
    /// None: in clear.
    pub tls: Option<Client>,
    /// Connections at most, at least 1; one more listens once somebody waits for announcements.
    pub pool: usize,
    /// For a connection: from asking to its being ready.
    pub connect_timeout: Duration,
    /// For one statement, in the server and out of it.
    pub statement_timeout: Duration,
    /// For a connection that others have.
    pub wait_timeout: Duration,
    /// How often announcements are looked for beside being listened for.
    pub poll: Duration,
    /// Announcements are listened for. Off: the server has no LISTEN, or something stands before it that does not keep sessions.
    pub listen: Listening,
    /// What password and certificates were read from, for whoever watches them.
    pub files: Vec<PathBuf>,
}

/// How announcements are learned of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listening {
    /// By LISTEN, and by looking.
    Used,
    /// By looking only.
    Off,
}

/// A password; printed nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(Zeroizing<String>);

impl Password {
    /// Takes it.
    pub fn new(password: Zeroizing<String>) -> Self {
        Self(password)
    }
}

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password")
    }
}

/// What a URL says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// A name, an IP address, or the folder of a Unix socket.
    pub place: Place,
    /// 5432 where none is given.
    pub port: u16,
    /// The account.
    pub user: String,
    /// The database.
    pub database: String,
}

/// Where it listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A name or an IP address.
    Host(String),
    /// The folder of a Unix socket.
    Folder(PathBuf),
}

/// What is wrong with a URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// A password stands in it.
    #[error("a password stands in the URL")]
    Password,
    /// It is no such URL, or an incomplete one.
    #[error("this is not the URL of a PostgreSQL database: it needs one user, one host and one database")]
    Malformed,
    /// It has parameters that mean nothing here.
    #[error("the URL has parameters other than host and port")]
    Parameters,
}

impl Address {
    /// Reads `postgres://USER@HOST[:PORT]/DATABASE` or `postgres://USER@/DATABASE?host=/FOLDER[&port=PORT]`.
    ///
    /// # Errors
    ///
    /// [`AddressError`], without anything of the URL.
    pub fn parse(url: &str) -> Result<Self, AddressError> {
        let parsed: tokio_postgres::Config = url.parse().map_err(|_why| {
            // What the library refuses may be refused for its parameters only, and a password is told first.
            if has_password(url) { AddressError::Password } else { AddressError::Malformed }
        })?;
        if parsed.get_password().is_some() || has_password(url) {
            return Err(AddressError::Password);
        }
        let parameters = url.split_once('?').map_or("", |(_, parameters)| parameters).split('&');
        if parameters.filter(|one| !one.is_empty()).any(|one| !one.starts_with("host=") && !one.starts_with("port=")) {
            return Err(AddressError::Parameters);
        }
        let [host] = parsed.get_hosts() else { return Err(AddressError::Malformed) };
        let place = match host {
            Host::Tcp(name) if name.is_empty() => return Err(AddressError::Malformed),
            Host::Tcp(name) => Place::Host(name.clone()),
            Host::Unix(folder) => Place::Folder(folder.clone()),
        };
        let port = match parsed.get_ports() {
            [] => 5432,
            [port] => *port,
            _ => return Err(AddressError::Malformed),
        };
        let named = |name: Option<&str>| name.filter(|name| !name.is_empty()).map(str::to_owned);
        let (Some(user), Some(database)) = (named(parsed.get_user()), named(parsed.get_dbname())) else {
            return Err(AddressError::Malformed);
        };
        Ok(Self { place, port, user, database })
    }

    /// True if nothing leaves this machine on the way there.
    pub fn is_local(&self) -> bool {
        match &self.place {
            Place::Folder(_) => true,
            Place::Host(name) => name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback()),
        }
    }

    /// The name that its certificate must be for, unless the configuration says another.
    pub fn host(&self) -> &str {
        match &self.place {
            Place::Host(name) => name,
            Place::Folder(_) => "localhost",
        }
    }
}

fn has_password(url: &str) -> bool {
    let authority = url.split_once("://").map_or("", |(_, rest)| rest.split(['/', '?']).next().unwrap_or(""));
    let in_front = authority.rsplit_once('@').is_some_and(|(user, _)| user.contains(':'));
    in_front || url.split_once('?').is_some_and(|(_, parameters)| parameters.split('&').any(|one| one.starts_with("password=")))
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { place, port, user, database } = self;
        match place {
            Place::Host(name) if name.contains(':') => write!(f, "postgres://{user}@[{name}]:{port}/{database}"),
            Place::Host(name) => write!(f, "postgres://{user}@{name}:{port}/{database}"),
            Place::Folder(folder) => write!(f, "postgres://{user}@/{database}?host={}&port={port}", folder.display()),
        }
    }
}

impl Config {
    /// With the defaults of `docs/configuration.md`: no password, in clear.
    pub fn new(address: Address) -> Self {
        Self {
            address,
            password: None,
            tls: None,
            pool: 8,
            connect_timeout: Duration::from_secs(2),
            statement_timeout: Duration::from_secs(2),
            wait_timeout: Duration::from_secs(1),
            poll: Duration::from_secs(1),
            listen: Listening::Used,
            files: Vec::new(),
        }
    }

    /// As the library wants it.
    pub(super) fn driver(&self) -> tokio_postgres::Config {
        use tokio_postgres::config::SslMode;
        let mut driver = tokio_postgres::Config::new();
        match &self.address.place {
            Place::Host(name) => driver.host(name),
            Place::Folder(folder) => driver.host_path(folder),
        };
        driver
            .port(self.address.port)
            .user(&self.address.user)
            .dbname(&self.address.database)
            .application_name("sudare")
            .connect_timeout(self.connect_timeout)
            .keepalives_idle(Duration::from_secs(30))
            .ssl_mode(if self.tls.is_some() { SslMode::Require } else { SslMode::Disable });
        if let Some(Password(password)) = &self.password {
            driver.password(password.as_bytes());
        }
        driver
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_and_told_without_their_password() {
        for (url, told) in [
            ("postgres://sudare@db.internal/tokens", "postgres://sudare@db.internal:5432/tokens"),
            ("postgresql://sudare@db.internal:5433/tokens", "postgres://sudare@db.internal:5433/tokens"),
            ("postgres://sudare@[::1]:5433/tokens", "postgres://sudare@[::1]:5433/tokens"),
            ("postgres://s%40x@localhost/t", "postgres://s@x@localhost:5432/t"),
            ("postgres://sudare@/tokens?host=/run/postgresql", "postgres://sudare@/tokens?host=/run/postgresql&port=5432"),
        ] {
            assert_eq!(Address::parse(url).map(|address| address.to_string()), Ok(told.to_owned()), "{url}");
        }
        let local = |url: &str| Address::parse(url).unwrap().is_local();
        assert!(local("postgres://a@localhost/b") && local("postgres://a@127.0.0.2/b") && local("postgres://a@/b?host=/run"));
        assert!(!local("postgres://a@db/b") && !local("postgres://a@10.0.0.1/b"));
    }

    #[test]
    fn what_is_wrong_with_a_url_is_told() {
        for (url, wrong) in [
            ("postgres://sudare:hunter2@db/tokens", AddressError::Password),
            ("postgres://sudare@db/tokens?password=hunter2", AddressError::Password),
            ("postgres://sudare:hunter2@db/tokens?unknown=1", AddressError::Password),
            ("postgres://sudare@db/tokens?sslmode=disable", AddressError::Parameters),
            ("postgres://sudare@db/tokens?unknown=1", AddressError::Malformed),
            ("postgres://db/tokens", AddressError::Malformed),
            ("postgres://sudare@db", AddressError::Malformed),
            ("postgres://sudare@db/", AddressError::Malformed),
            ("postgres://sudare@/tokens", AddressError::Malformed),
            ("postgres://sudare@a,b/tokens", AddressError::Malformed),
            ("postgres://sudare@db:99999/tokens", AddressError::Malformed),
            ("postgres:", AddressError::Malformed),
        ] {
            assert_eq!(Address::parse(url), Err(wrong), "{url}");
        }
        assert_eq!(format!("{:?}", Password::new(Zeroizing::new("hunter2".to_owned()))), "Password");
    }
}
