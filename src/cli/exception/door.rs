//! Where the ledger is: in the store, which no proxy holds, or with a running one.
//!
//! Always holds: whichever it is, what is read is folded and judged here by the operators of this configuration; a step is in an audit log
//! before the command says that it is recorded.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use http::{Request, StatusCode, Uri};
use serde_json::{Value, json};

use super::super::{Trouble, failed, operators, runtime, words, wrong};
use crate::app::openings;
use crate::audit::Log;
use crate::base::{Clock as _, ExceptionId, SystemClock};
use crate::config::{self, Environment, Settings};
use crate::keys::{KeyRing, Operator};
use crate::net::Address;
use crate::net::fetch::{Service, Statuses};
use crate::store::{Rows, Store, StoreError};
use crate::subject::Ledger;
use crate::subject::exception::{Case, ExceptionError, House, Register, Standing, Step};

/// A running proxy may wait for its store.
const ASK_WITHIN: Duration = Duration::from_secs(30);
/// Largest answer of a running proxy.
const MAX_ANSWER_BYTES: usize = 64 << 20;

/// Where the ledger is.
#[derive(Debug, Args)]
pub(in super::super) struct Options {
    #[command(flatten)]
    pub(super) file: words::File,
    /// Through a running proxy: the address of its admin listener, like http://127.0.0.1:8081 or unix:run/admin.sock
    #[arg(long, value_name = "URL", requires = "credential")]
    pub(super) via: Option<String>,
    /// With --via: the credential of a caller that may record it (`records`), in a file or as env:VARIABLE
    #[arg(long, value_name = "WHERE", requires = "via")]
    pub(super) credential: Option<String>,
}

impl Options {
    /// The running proxy to ask, if one is.
    pub(in super::super) fn proxy(&self) -> Result<Option<(Service, zeroize::Zeroizing<String>)>, Trouble> {
        self.via.as_deref().zip(self.credential.as_deref()).map(|(url, credential)| client(url, credential)).transpose()
    }

    /// The configuration, with what opens the store where it is opened.
    pub(in super::super) fn settings(&self) -> Result<Settings, Trouble> {
        let environment = if self.via.is_some() { Environment::Ignored } else { config::STORE_ONLY };
        config::load_with(&self.file.config, environment).map_err(wrong)
    }
}

/// The way to the ledger.
pub(super) struct Door {
    settings: Settings,
    way: Way,
    runtime: tokio::runtime::Runtime,
}

enum Way {
    Store(Arc<Ledger>),
    Proxy { service: Service, credential: zeroize::Zeroizing<String>, register: Register },
}

/// A step that was recorded.
pub(super) struct Recorded {
    pub(super) case: Arc<Case>,
    pub(super) signer: String,
    pub(super) standing: Standing,
}

impl Door {
    pub(super) fn open(options: &Options, settings: Settings) -> Result<Self, Trouble> {
        let runtime = runtime().map_err(failed)?;
        let way = if let Some((service, credential)) = options.proxy()? {
            let register = Register::default();
            read(&service, &credential, &register, &json!({}), &runtime)?;
            Way::Proxy { service, credential, register }
        } else {
            Way::Store(ledger(&settings, &runtime)?)
        };
        Ok(Self { settings, way, runtime })
    }

    pub(super) fn now(&self) -> u64 {
        self.register().see(SystemClock.now_ms())
    }

    pub(super) fn operators(&self) -> &[Operator] {
        &self.settings.operators
    }

    /// The names of the operators, but for one.
    pub(super) fn others(&self, who: &str) -> String {
        let names: Vec<&str> =
            self.settings.operators.iter().map(|operator| operator.name.as_str()).filter(|name| *name != who).collect();
        names.join(", ")
    }

    /// The name of whoever has a key.
    pub(super) fn name_of(&self, key: crate::crypto::PublicKey) -> String {
        let found = self.settings.operators.iter().find(|operator| operator.public == key);
        found.map_or_else(
            || format!("the key {}, which no operator has", crate::crypto::base64url(&key.0)),
            |found| found.name.clone(),
        )
    }

    pub(super) fn cases(&self) -> Vec<Arc<Case>> {
        self.register().cases()
    }

    pub(super) fn case(&self, id: &ExceptionId) -> Result<Arc<Case>, Trouble> {
        self.register().case(id).ok_or_else(|| failed(ExceptionError::NoSuchCase(id.clone())))
    }

    /// Records a step.
    pub(super) fn take(&self, step: Step) -> Result<Recorded, Trouble> {
        let collections = collections(&self.settings);
        let house = House {
            controller: self.settings.controller.as_str(),
            policy: &self.settings.policy,
            collections: &collections,
            operators: &self.settings.operators,
            now: SystemClock.now_ms(),
        };
        match &self.way {
            Way::Store(ledger) => {
                // Before anything is recorded: without a log nothing is.
                let log = log(&self.settings)?;
                let taken = self.runtime.block_on(ledger.take_step(step, &house)).map_err(failed);
                let ended = taken.and_then(|taken| {
                    let noted = self.runtime.block_on(log.record(openings::event(&taken)));
                    noted.map_err(|error| failed(format!("recorded, but not in the audit log of operators: {error}")))?;
                    Ok(Recorded { case: taken.case, signer: taken.signer, standing: taken.standing })
                });
                self.runtime.block_on(log.close());
                ended
            }
            Way::Proxy { service, credential, register } => {
                let signer = register.admit(&step, &house).map_err(|wrong| failed(super::all(&wrong)))?;
                let body = serde_json::to_vec(&step).map_err(failed)?;
                self.runtime.block_on(ask(service, credential, "/exceptions", body))?;
                let id = step.exception().ok_or_else(|| failed(ExceptionError::NotARequest))?;
                read(service, credential, register, &json!({ "exception": id.as_str() }), &self.runtime)?;
                let case = self.case(&id)?;
                let standing = super::standing(&case, self);
                Ok(Recorded { case, signer, standing })
            }
        }
    }

    fn register(&self) -> &Register {
        match &self.way {
            Way::Store(ledger) => ledger.exceptions(),
            Way::Proxy { register, .. } => register,
        }
    }
}

/// The audit log of operators.
pub(in super::super) fn log(settings: &Settings) -> Result<Log, Trouble> {
    let keys = KeyRing::open(&settings.keys).and_then(|ring| ring.audit_keys()).map_err(failed)?;
    operators::log(settings, &keys)
}

/// The collections of the configuration.
pub(super) fn collections(settings: &Settings) -> Vec<&str> {
    settings.collections.iter().map(|collection| collection.field_map.name.as_str()).collect()
}

/// The ledger of the store, read whole.
pub(in super::super) fn ledger(settings: &Settings, runtime: &tokio::runtime::Runtime) -> Result<Arc<Ledger>, Trouble> {
    let keys = KeyRing::open(&settings.keys).map_err(failed)?.ledger_keys();
    let store = Store::open(&settings.store, None).map_err(|error| {
        if let StoreError::InUse(path) = &error {
            failed(format!(
                "{}: a running `sudare serve` holds this store: give --via with the address of its admin listener, and --credential",
                path.display()
            ))
        } else {
            failed(error)
        }
    })?;
    let store = Arc::new(store);
    let rows: Arc<dyn Rows> = store.clone();
    let ledger = Arc::new(Ledger::new(settings.controller.clone(), rows, Some(store), keys, Arc::new(SystemClock)));
    let _entered = runtime.enter();
    ledger.read_blocking().map_err(failed)?;
    Ok(ledger)
}

fn client(url: &str, credential: &str) -> Result<(Service, zeroize::Zeroizing<String>), Trouble> {
    let wrong_url = |why: &dyn std::fmt::Display| wrong(format!("--via {url:?}: {why}"));
    let service = if let Some(path) = url.strip_prefix("unix:") {
        Service::nearby(Address::Unix(path.into()), ASK_WITHIN)
    } else {
        let uri: Uri = url.parse().map_err(|error| wrong_url(&error))?;
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
        let is_here = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
        if uri.scheme_str() != Some("http") || !is_here {
            let why = "write the address of the admin listener on this machine, http://127.0.0.1:8081 or unix:PATH: it would get the credential in clear";
            return Err(wrong_url(&why));
        }
        Service::new(&uri, None, ASK_WITHIN).map_err(|why| wrong_url(&why))?
    };
    let text = if let Some(name) = credential.strip_prefix("env:") {
        std::env::var(name).map_err(|_unset| wrong(format!("--credential env:{name}: the variable is not set")))?
    } else {
        std::fs::read_to_string(credential).map_err(|error| wrong(format!("--credential {credential}: {error}")))?
    };
    Ok((service, zeroize::Zeroizing::new(text.trim().to_owned())))
}

fn read(
    service: &Service,
    credential: &str,
    register: &Register,
    which: &Value,
    runtime: &tokio::runtime::Runtime,
) -> Result<(), Trouble> {
    #[derive(serde::Deserialize)]
    struct Steps {
        steps: Vec<At>,
    }
    #[derive(serde::Deserialize)]
    struct At {
        at: u64,
        step: Step,
    }
    let answer = runtime.block_on(ask(service, credential, "/exceptions/read", which.to_string().into_bytes()))?;
    let unreadable = |_quotes| failed("the proxy answered what this release cannot read: use the `sudare` of the same release");
    let steps: Steps = serde_json::from_slice(&answer).map_err(unreadable)?;
    for At { at, step } in &steps.steps {
        register.fold(*at, step).map_err(failed)?;
    }
    Ok(())
}

pub(in super::super) async fn ask(service: &Service, credential: &str, path: &str, body: Vec<u8>) -> Result<Bytes, Trouble> {
    let request = Request::post(path)
        .header("sudare-credential", credential)
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(Bytes::from(body))
        .map_err(|_invalid| wrong("--credential: holds what cannot stand in a header"))?;
    let reply = service.ask(request, Statuses::All, MAX_ANSWER_BYTES).await.map_err(|error| failed(format!("--via: {error}")))?;
    if reply.status.is_success() {
        return Ok(reply.body);
    }
    let said: Option<Value> = serde_json::from_slice(&reply.body).ok();
    let message = said.as_ref().and_then(|said| said.get("message")).and_then(Value::as_str);
    Err(match (reply.status, message) {
        (StatusCode::UNAUTHORIZED, _) => {
            failed("the proxy does not know this credential: give that of a caller with `records` in its table of sudare.toml")
        }
        (_, Some(message)) => {
            failed(std::iter::once(message.to_owned()).chain(entries(said.as_ref())).collect::<Vec<_>>().join("\n"))
        }
        (status, None) => failed(format!("the proxy answered {}", status.as_u16())),
    })
}

/// What a proxy says of each entry that it refuses.
fn entries(said: Option<&Value>) -> impl Iterator<Item = String> + '_ {
    let listed = said.and_then(|said| said.get("entries")).and_then(Value::as_array).into_iter().flatten();
    listed.map(|fault| {
        let text = |name: &str| fault.get(name).and_then(Value::as_str).unwrap_or_default();
        format!("entry {}: {}: {}", fault.get("entry").unwrap_or(&Value::Null), text("member"), text("message"))
    })
}
