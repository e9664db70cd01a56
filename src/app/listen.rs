//! Opens sockets. A Unix socket left behind by a process that is gone is replaced; one that is in use is not.

use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::Path;

use rustix::net;

use super::StartError;
use crate::config::Endpoint;
use crate::{admin, front};

/// Connections that wait to be accepted, as for TCP; the system may have a lower bound.
const BACKLOG: i32 = 1024;

/// Opens the applications' listener; the second value has the real port.
pub(super) fn front(endpoint: &Endpoint, socket_mode: u32) -> Result<(front::http::accept::Listener, Endpoint), StartError> {
    match endpoint {
        Endpoint::Tcp(_) => {
            let (listener, real) = tcp(endpoint)?;
            let listener = tokio::net::TcpListener::from_std(listener).map_err(failed(endpoint))?;
            Ok((front::http::accept::Listener::Tcp(listener), real))
        }
        Endpoint::Unix(path) => {
            let listener = tokio::net::UnixListener::from_std(unix(path, endpoint, socket_mode)?).map_err(failed(endpoint))?;
            Ok((front::http::accept::Listener::Unix(listener), endpoint.clone()))
        }
    }
}

/// Opens the operator's listener.
pub(super) fn admin(endpoint: &Endpoint, socket_mode: u32) -> Result<(admin::Listener, Endpoint), StartError> {
    match endpoint {
        Endpoint::Tcp(_) => tcp(endpoint).map(|(listener, real)| (admin::Listener::Tcp(listener), real)),
        Endpoint::Unix(path) => {
            unix(path, endpoint, socket_mode).map(|listener| (admin::Listener::Unix(listener), endpoint.clone()))
        }
    }
}

fn failed(endpoint: &Endpoint) -> impl Fn(std::io::Error) -> StartError {
    move |error| StartError::Listen(endpoint.to_string(), error)
}

fn tcp(endpoint: &Endpoint) -> Result<(std::net::TcpListener, Endpoint), StartError> {
    let open = || {
        let Endpoint::Tcp(address) = endpoint else { return Err(std::io::ErrorKind::InvalidInput.into()) };
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let real = listener.local_addr()?;
        Ok((listener, Endpoint::Tcp(real)))
    };
    open().map_err(failed(endpoint))
}

/// Opens a Unix socket that at no time may be used by more accounts than `mode` lets in, whatever the process's umask.
fn unix(path: &Path, endpoint: &Endpoint, mode: u32) -> Result<std::os::unix::net::UnixListener, StartError> {
    let open = || {
        if let Ok(there) = path.symlink_metadata() {
            // Only a socket that nobody serves any more is ours to remove; any other file of that name is somebody's.
            if !there.file_type().is_socket() {
                return Err(std::io::Error::new(std::io::ErrorKind::AlreadyExists, "a file that is no socket has this name"));
            }
            let served = std::os::unix::net::UnixStream::connect(path);
            if served.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused) {
                std::fs::remove_file(path)?;
            }
        }
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let socket = net::socket_with(net::AddressFamily::UNIX, net::SocketType::STREAM, net::SocketFlags::CLOEXEC, None)?;
        // The file is made with the mode of the socket less the umask, and nobody connects before the socket listens.
        rustix::fs::fchmod(&socket, rustix::fs::Mode::from_raw_mode(mode))?;
        net::bind(&socket, &net::SocketAddrUnix::new(path)?)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
        net::listen(&socket, BACKLOG)?;
        let listener = std::os::unix::net::UnixListener::from(socket);
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    open().map_err(failed(endpoint))
}

/// Removes our socket file at the end; a file that is already gone is fine.
pub(super) fn remove_socket(path: &Path) {
    if let Err(error) = std::fs::remove_file(path)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(%error, "the socket file could not be removed");
    }
}
