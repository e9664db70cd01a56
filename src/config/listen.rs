//! Reads `[listen]`: where applications and operators connect, and over what.
//!
//! Always holds: paths are resolved against the folder of the file, and the two listeners are not one. Called by [`super::build`].

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use ipnet::IpNet;

use super::report::{Draft, Report};
use super::service::{millis, path_behind};
use super::tree::{Node, Section, Text, shorten};
use super::{Endpoint, Environment, Listen};

pub(super) mod tls;

/// Owner and group may connect. Peers are told apart by their user id, so who is served is a matter of the callers listed.
const DEFAULT_SOCKET_MODE: u32 = 0o660;

/// What a listener tells of the other end of a connection, so that callers can be known by it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sees {
    /// User ids: it is a Unix socket.
    pub(super) uids: bool,
    /// Client certificates.
    pub(super) certificates: bool,
}

impl Sees {
    /// Nothing is known of the listener, for it could not be read.
    const ANYTHING: Self = Self { uids: true, certificates: true };
}

/// `[listen]`, and what it sees of its clients as far as it could be read.
pub(super) fn listen(root: &Section<'_>, folder: &Path, environment: Environment<'_>) -> (Option<Listen>, Sees) {
    let Some(section) = root.required_table("listen", "[listen] with address = \"127.0.0.1:8080\"") else {
        return (None, Sees::ANYTHING);
    };
    let tls = section.optional("tls").map(|node| node.table());
    let certificates = match &tls {
        None => false,
        Some(table) => table.as_ref().is_none_or(|table| table.has("client_ca")),
    };
    let listen = read(root, &section, tls, folder, environment);
    let uids = listen.as_ref().is_none_or(|listen| matches!(listen.address, Endpoint::Unix(_)));
    (listen, Sees { uids, certificates })
}

#[expect(clippy::option_option, reason = "a table that is wrong, one that is absent and one that is there are three things")]
fn read(
    root: &Section<'_>,
    section: &Section<'_>,
    tls: Option<Option<Section<'_>>>,
    folder: &Path,
    environment: Environment<'_>,
) -> Option<Listen> {
    let report = section.report();
    let address = section.required("address", "address = \"127.0.0.1:8080\"").and_then(|node| node.text());
    let admin = section.optional("admin").map(|node| node.text());
    let drain_delay = millis(section, "drain_delay_ms", 0..=600_000, 0);
    let http2 = section.optional("http2").map_or(Some(true), |node| node.boolean());
    let socket_mode_node = section.optional("socket_mode");
    let proxy_node = section.optional("proxy_protocol");
    section.finish();
    let endpoint = |text: &Text| endpoint(report, text, folder);
    let address_end = address.as_ref().and_then(endpoint);
    let admin_end = match &admin {
        None => Some(None),
        Some(text) => text.as_ref().and_then(endpoint).map(Some),
    };
    if let (Some(one), Some(Some(two)), Some(Some(text))) = (&address_end, &admin_end, &admin)
        && one == two
        && !matches!(one, Endpoint::Tcp(socket) if socket.port() == 0)
    {
        report.push(
            Draft::error(&text.span, "`admin` is the same as `address`")
                .remedy("give `admin` a port of its own, or remove the line"),
        );
    }
    if let (Some(Endpoint::Unix(_)), Some(Some(tls))) = (&address_end, &tls) {
        report.push(
            Draft::error(&tls.span, "`tls` on a Unix socket: what goes over it does not leave this machine")
                .remedy("remove it, and know callers by uid or credential; or listen on an IP address and a port"),
        );
    }
    if tls.is_none() {
        warn_of_open_listener(
            report,
            address.as_ref(),
            address_end.as_ref(),
            "credentials and revealed values travel unencrypted",
            "add tls = { certificate = \"…\", key = \"…\" }, or use 127.0.0.1 or unix:…, unless a sidecar mesh or a TLS proxy protects the way",
        );
    }
    let tls = match tls {
        None => Some(None),
        Some(table) => table.and_then(|table| tls::read(&table, http2.unwrap_or(true), folder, environment)),
    };
    let admin_text = admin.as_ref().and_then(Option::as_ref);
    if !root.has("admin") {
        warn_of_open_listener(
            report,
            admin_text,
            admin_end.as_ref().and_then(Option::as_ref),
            "the metrics ask for no credential: [admin] is not there",
            "use 127.0.0.1 or unix:…, or add [admin] with credential_sha256 = [\"…\"]",
        );
    }
    if let (Some(node), Some(Endpoint::Tcp(_)), Some(None | Some(Endpoint::Tcp(_)))) =
        (&socket_mode_node, &address_end, &admin_end)
    {
        report.push(
            Draft::error(&node.span, "`socket_mode` in [listen] has no effect: no listener is a Unix socket")
                .remedy("remove the line"),
        );
    }
    if let (Some(node), Some(Endpoint::Unix(_))) = (&proxy_node, &address_end) {
        report.push(
            Draft::error(&node.span, "`proxy_protocol` in [listen] is for TCP, and `address` is a Unix socket")
                .remedy("remove the line: on a Unix socket the system itself tells who connects"),
        );
    }
    let socket_mode = socket_mode_node.map_or(Some(DEFAULT_SOCKET_MODE), |node| socket_mode(&node));
    let proxy_protocol = proxy_node.map_or(Some(Vec::new()), |node| senders(&node));
    Some(Listen {
        address: address_end?,
        admin: admin_end?,
        socket_mode: socket_mode?,
        proxy_protocol: proxy_protocol?,
        tls: tls?,
        drain_delay: drain_delay?,
        http2: http2?,
    })
}

/// `socket_mode`: permissions in the notation of chmod. Without `rw` for the owner a restart could not tell a dead socket from a live one.
fn socket_mode(node: &Node<'_>) -> Option<u32> {
    let text = node.text()?;
    let is_octal = matches!(text.value.len(), 3 | 4) && text.value.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
    let mode = u32::from_str_radix(&text.value, 8).ok().filter(|mode| is_octal && mode & !0o666 == 0 && mode & 0o600 == 0o600);
    let Some(mode) = mode else {
        node.report().push(
            Draft::error(&text.span, format!("{} is \"{}\"", node.title, shorten(&text.value)))
                .expected("three or four octal digits, with 6 for the owner and none of the x bits")
                .remedy("write \"0660\" (owner and group may connect) or \"0600\" (the owner only)"),
        );
        return None;
    };
    if mode & 0o002 != 0 {
        node.report().push(
            Draft::warning(&text.span, "every account of this machine may connect to the socket")
                .remedy("write \"0660\" and put the applications' accounts into the group of the socket"),
        );
    }
    Some(mode)
}

/// `proxy_protocol`: the networks whose senders are believed.
fn senders(node: &Node<'_>) -> Option<Vec<IpNet>> {
    let report = node.report();
    if node.is_empty_list() {
        report.push(
            Draft::error(&node.span, format!("{} is empty", node.title)).remedy("list the load balancers, or remove the line"),
        );
        return None;
    }
    let texts = node.texts()?;
    let networks: Vec<IpNet> = texts.iter().filter_map(|text| network(report, text)).collect();
    (networks.len() == texts.len()).then_some(networks)
}

fn network(report: &Report<'_>, text: &Text) -> Option<IpNet> {
    let (read, alone) = (text.value.parse::<IpNet>(), text.value.parse::<IpAddr>());
    let remedy = match (&read, &alone) {
        (Ok(network), _) if *network == network.trunc() => None,
        (Ok(network), _) => {
            Some(format!("write \"{}\", or \"{}\" for that address alone", network.trunc(), IpNet::from(network.addr())))
        }
        (Err(_), Ok(address)) => Some(format!("write \"{}\"", IpNet::from(*address))),
        (Err(_), Err(_)) => Some("write \"10.0.0.0/8\" or \"192.0.2.10/32\"".to_owned()),
    };
    if let Some(remedy) = remedy {
        report.push(
            Draft::error(&text.span, format!("\"{}\" is not a network", shorten(&text.value)))
                .expected("IP address, /, and how many of its bits count; the other bits are zero")
                .remedy(remedy),
        );
        return None;
    }
    let network = read.ok()?;
    if network.prefix_len() == 0 {
        report.push(
            Draft::warning(
                &text.span,
                "anybody who connects may say that they connect for somebody else, and nobody without a load balancer is served",
            )
            .remedy("list the addresses of the load balancers"),
        );
    }
    Some(network)
}

fn warn_of_open_listener(report: &Report<'_>, text: Option<&Text>, end: Option<&Endpoint>, why: &str, remedy: &str) {
    if let (Some(text), Some(Endpoint::Tcp(socket))) = (text, end)
        && !socket.ip().is_loopback()
    {
        report.push(Draft::warning(&text.span, format!("other machines can reach {socket}, and {why}")).remedy(remedy));
    }
}

fn endpoint(report: &Report<'_>, text: &Text, folder: &Path) -> Option<Endpoint> {
    if let Some(path) = text.value.strip_prefix("unix:") {
        return path_behind(report, text, path, folder).map(Endpoint::Unix);
    }
    match text.value.parse::<SocketAddr>() {
        Ok(socket) => Some(Endpoint::Tcp(socket)),
        Err(_not_an_address) => {
            let port = text.value.rsplit_once(':').map(|(_, port)| port).filter(|port| port.parse::<u16>().is_ok());
            report.push(
                Draft::error(&text.span, format!("\"{}\" is not an address to listen on", shorten(&text.value)))
                    .expected("IP address and port, or unix: and a path")
                    .remedy(format!("write \"127.0.0.1:{}\" or \"unix:run/proxy.sock\"", port.unwrap_or("8080"))),
            );
            None
        }
    }
}
