//! A PostgreSQL server of the tests' own: started once for the test binary, on a free port of 127.0.0.1 and a socket in its folder.
//!
//! It ends with the test binary, however that ends: a shell beside it waits for its input to close, and then ends the server by its id
//! and removes the folder. A test that stops a server, or lets it hang, starts one of its own.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use sudare::store::{Address, PostgresConfig};

use crate::support::Pki;

/// Of the account `secured`.
pub(super) const PASSWORD: &str = "correct horse";

/// The server.
pub(crate) struct Server {
    pub(super) folder: PathBuf,
    pub(super) port: u16,
    pub(super) version: String,
    /// The shell that holds it, which is told to stop and start it.
    keeper: Child,
}

/// An empty database, dropped with the server.
pub(crate) struct Database {
    pub(super) name: String,
    pub(super) server: &'static Server,
}

impl Database {
    /// None if there is no PostgreSQL and none is required.
    pub(super) fn new() -> Option<Self> {
        server().map(Self::on)
    }

    /// On a server that nobody else uses.
    pub(super) fn alone() -> Option<Self> {
        let server = programs_or_skip().map(|programs| start(&programs).unwrap_or_else(|why| panic!("{why}")))?;
        // As long as the test binary, like the other one.
        Some(Self::on(Box::leak(Box::new(server))))
    }

    fn on(server: &'static Server) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("it_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        run_sql(server, "postgres", &format!("create database {name}"));
        Self { name, server }
    }

    /// The account that may do everything, in clear over loopback.
    pub(super) fn config(&self) -> PostgresConfig {
        self.config_at(&format!("sudare@127.0.0.1:{}", self.server.port))
    }

    /// As a user at a host.
    pub(super) fn config_at(&self, user_at_host: &str) -> PostgresConfig {
        let mut config = PostgresConfig::new(Address::parse(&format!("postgres://{user_at_host}/{}", self.name)).unwrap());
        // The machine may be busy with other tests.
        config.statement_timeout = Duration::from_secs(20);
        config.connect_timeout = Duration::from_secs(20);
        config.wait_timeout = Duration::from_secs(20);
        config
    }

    /// Runs statements by hand.
    pub(super) fn sql(&self, script: &str) {
        run_sql(self.server, &self.name, script);
    }

    /// One text, by hand.
    pub(super) fn text(&self, query: &str) -> String {
        ask(self.server, &self.name, query, |client, query| {
            Box::pin(async move { client.query_one(query, &[]).await.unwrap().get(0) })
        })
    }

    /// One number, by hand.
    pub(super) fn number(&self, query: &str) -> i64 {
        ask(self.server, &self.name, query, |client, query| {
            Box::pin(async move { client.query_one(query, &[]).await.unwrap().get(0) })
        })
    }
}

impl Server {
    /// Ends it, as an operator does who does not wait for clients; returns when it is gone.
    pub(super) fn stop(&self) {
        self.order("stop");
        let begun = Instant::now();
        while self.folder.join("data/postmaster.pid").exists() {
            assert!(begun.elapsed() < Duration::from_mins(1), "PostgreSQL does not stop");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Starts it again where it was; returns when it answers.
    pub(super) fn start(&self) {
        self.order("start");
        wait_for(self).unwrap();
    }

    fn order(&self, word: &str) {
        writeln!(self.keeper.stdin.as_ref().unwrap(), "{word}").unwrap();
    }

    /// It neither answers nor goes away (SIGSTOP), with every process of its.
    pub(super) fn freeze(&self) {
        let server = self.pid();
        signal("-STOP", &[server]);
        // Now it has no more.
        signal("-STOP", &children(server));
    }

    /// It goes on.
    pub(super) fn thaw(&self) {
        let server = self.pid();
        signal("-CONT", &children(server));
        signal("-CONT", &[server]);
    }

    fn pid(&self) -> u32 {
        let file = std::fs::read_to_string(self.folder.join("data/postmaster.pid")).unwrap();
        file.lines().next().unwrap().parse().unwrap()
    }
}

fn signal(name: &str, pids: &[u32]) {
    for pid in pids {
        // One that has just ended is as good as stopped.
        let _sent = Command::new("kill").args([name, &pid.to_string()]).stderr(Stdio::null()).status().unwrap();
    }
}

/// Processes that this one has started.
fn children(of: u32) -> Vec<u32> {
    let all = std::fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let parent = |pid: &u32| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        status.lines().find_map(|line| line.strip_prefix("PPid:")?.trim().parse::<u32>().ok())
    };
    let found: Vec<u32> = all.filter(|pid| parent(pid) == Some(of)).collect();
    assert!(!found.is_empty(), "a server has processes");
    found
}

fn run_sql(server: &Server, database: &str, script: &str) {
    ask(server, database, script, |client, script| Box::pin(async move { client.batch_execute(script).await.unwrap() }));
}

type Asked<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// On a thread and a runtime of its own, so that it can be called from anywhere.
fn ask<T: Send>(
    server: &Server,
    database: &str,
    text: &str,
    with: impl for<'a> FnOnce(&'a tokio_postgres::Client, &'a str) -> Asked<'a, T> + Send,
) -> T {
    let parameters = format!("host=127.0.0.1 port={} user=sudare dbname={database}", server.port);
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let (client, connection) = tokio_postgres::connect(&parameters, tokio_postgres::NoTls).await.unwrap();
                let connection = tokio::spawn(connection);
                let done = with(&client, text).await;
                drop(client);
                connection.await.unwrap().unwrap();
                done
            })
        });
        asked.join().unwrap()
    })
}

/// The server of this test binary.
pub(super) fn server() -> Option<&'static Server> {
    static SERVER: OnceLock<Result<Option<Server>, String>> = OnceLock::new();
    SERVER
        .get_or_init(|| programs_or_skip().map(|programs| start(&programs)).transpose())
        .as_ref()
        .unwrap_or_else(|why| panic!("{why}"))
        .as_ref()
}

/// None if they are not there and not required.
fn programs_or_skip() -> Option<PathBuf> {
    let required = std::env::var("SUDARE_TEST_POSTGRES").is_ok_and(|word| word == "required");
    let found = programs();
    if found.is_none() {
        assert!(
            !required,
            "SUDARE_TEST_POSTGRES=required, but neither /usr/local/bin nor /usr/lib/postgresql has initdb and postgres"
        );
        eprintln!("skipped: the tests of the store in PostgreSQL, for there is no initdb and postgres (Debian: postgresql)");
    }
    found
}

/// The folder of `initdb` and `postgres`: the newest.
fn programs() -> Option<PathBuf> {
    let installed =
        std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|entry| entry.path().join("bin"));
    let mut all: Vec<PathBuf> = installed.collect();
    let number = |path: &PathBuf| path.iter().rev().nth(1).and_then(|name| name.to_str()?.parse::<u32>().ok());
    all.sort_by_key(number);
    all.insert(0, PathBuf::from("/usr/local/bin"));
    all.into_iter().rev().find(|folder| folder.join("initdb").exists() && folder.join("postgres").exists())
}

fn start(programs: &Path) -> Result<Server, String> {
    let folder = tempfile::Builder::new().prefix("sudare-pg-").tempdir().unwrap().keep();
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o755)).unwrap();
    let data = folder.join("data");
    std::fs::create_dir(&data).unwrap();
    // PostgreSQL does not run as root; whoever is, becomes "nobody".
    let root = std::fs::metadata("/proc/self").unwrap().uid() == 0;
    let as_user = |command: &mut Command| {
        if root {
            command.uid(65_534).gid(65_534);
        }
        command.env_remove("LC_ALL").env("LC_CTYPE", "C").current_dir("/");
    };
    let mut initdb = Command::new(programs.join("initdb"));
    let locale = ["--no-sync", "--auth=trust", "--username=sudare", "--encoding=UTF8", "--locale=C"];
    initdb.args(locale).arg("-D").arg(&data);
    certificates(&folder);
    std::fs::set_permissions(folder.join("server.key"), std::fs::Permissions::from_mode(0o600)).unwrap();
    if root {
        for path in [folder.clone(), data.clone(), folder.join("server.pem"), folder.join("server.key")] {
            chown(path, Some(65_534), Some(65_534)).unwrap();
        }
    }
    as_user(&mut initdb);
    let made = initdb.output().unwrap();
    assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
    let access = "local all all trust
hostssl all secured 127.0.0.1/32 scram-sha-256
hostssl all certified 127.0.0.1/32 cert
host all secured,certified 127.0.0.1/32 reject
host all all 127.0.0.1/32 trust
";
    std::fs::write(data.join("pg_hba.conf"), access).unwrap();
    // Free now; nothing else in this binary asks for a given port.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let settings = format!(
        "listen_addresses = '127.0.0.1'\nport = {port}\nunix_socket_directories = '{0}'\nfsync = off\nmax_connections = 200
shared_buffers = 64MB\nssl = on\nssl_cert_file = '{0}/server.pem'\nssl_key_file = '{0}/server.key'\nssl_ca_file = '{0}/right-ca.pem'
password_encryption = scram-sha-256\n",
        folder.display()
    );
    let mut all = std::fs::read_to_string(data.join("postgresql.conf")).unwrap();
    all.push_str(&settings);
    std::fs::write(data.join("postgresql.conf"), all).unwrap();
    let script = r#"data=$1 folder=$2
run() { "$0" -D "$data" >>"$folder/log" 2>&1 & server=$!; }
end() { kill -INT $server 2>/dev/null; wait $server; }
run; while read -r word; do if [ "$word" = stop ]; then end; else run; fi; done; end; rm -rf "$folder""#;
    let mut shell = Command::new("sh");
    shell.args(["-c", script]).arg(programs.join("postgres")).args([&data, &folder]).stdin(Stdio::piped());
    as_user(&mut shell);
    // A terminal's interrupt is for the tests; the shell then sees its input close.
    shell.process_group(0);
    let keeper = shell.spawn().unwrap();
    let mut server = Server { folder, port, version: String::new(), keeper };
    wait_for(&server)?;
    run_sql(
        &server,
        "postgres",
        &format!("create role secured login superuser password '{PASSWORD}'; create role certified login superuser"),
    );
    server.version = ask(&server, "postgres", "show server_version", |client, query| {
        Box::pin(async move { client.query_one(query, &[]).await.unwrap().get(0) })
    });
    Ok(server)
}

fn wait_for(server: &Server) -> Result<(), String> {
    let begun = Instant::now();
    let parameters = format!("host=127.0.0.1 port={} user=sudare dbname=postgres", server.port);
    let ready = || {
        std::thread::scope(|scope| {
            let asked = scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(tokio_postgres::connect(&parameters, tokio_postgres::NoTls)).is_ok()
            });
            asked.join().unwrap()
        })
    };
    while !ready() {
        if begun.elapsed() > Duration::from_mins(1) {
            let mut log = String::new();
            let _read = std::fs::File::open(server.folder.join("log")).map(|mut file| file.read_to_string(&mut log));
            return Err(format!("PostgreSQL did not start:\n{log}"));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// The server's certificate is for 127.0.0.1 and `db.internal`.
fn certificates(folder: &Path) {
    let pki = Pki::new(folder, "right");
    pki.server("server", &["127.0.0.1", "db.internal"]);
    pki.client("certified", &[], "sudare", "certified");
    pki.client("other", &[], "sudare", "somebody");
    Pki::new(folder, "wrong");
}
