//! Reads `[listen]`: where applications and operators connect.
//!
//! Always holds: paths are resolved against the folder of the file, and the two listeners are not one. Called by [`super::build`].

use std::net::SocketAddr;
use std::path::Path;

use super::report::{Draft, Report};
use super::service::path_behind;
use super::tree::{Section, Text, shorten};
use super::{Endpoint, Listen};

/// `[listen]`.
pub(super) fn listen(root: &Section<'_>, folder: &Path) -> Option<Listen> {
    let section = root.required_table("listen", "[listen] with address = \"127.0.0.1:8080\"")?;
    let report = section.report();
    let address = section.required("address", "address = \"127.0.0.1:8080\"").and_then(|node| node.text());
    let admin = section.optional("admin").map(|node| node.text());
    let http2 = section.optional("http2").map_or(Some(true), |node| node.boolean());
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
    warn_of_open_listener(
        report,
        address.as_ref(),
        address_end.as_ref(),
        "credentials and revealed values travel unencrypted: TLS is not built in yet",
    );
    let admin_text = admin.as_ref().and_then(Option::as_ref);
    warn_of_open_listener(report, admin_text, admin_end.as_ref().and_then(Option::as_ref), "health and metrics have no login");
    Some(Listen { address: address_end?, admin: admin_end?, http2: http2? })
}

fn warn_of_open_listener(report: &Report<'_>, text: Option<&Text>, end: Option<&Endpoint>, why: &str) {
    if let (Some(text), Some(Endpoint::Tcp(socket))) = (text, end)
        && !socket.ip().is_loopback()
    {
        report.push(
            Draft::warning(&text.span, format!("other machines can reach {socket}, and {why}")).remedy(
                "use 127.0.0.1 or unix:…, unless something in front of it (a sidecar mesh, a TLS proxy) protects the way",
            ),
        );
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
