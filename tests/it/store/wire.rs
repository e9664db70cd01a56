//! Something between a store and its server: it counts what is asked, stops passing things on, or cuts.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// A relay in front of a server that is spoken to in clear.
pub(super) struct Wire {
    pub(super) address: SocketAddr,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    /// Messages after which the client waits for an answer: Sync and Query.
    asked: AtomicU64,
    connections: AtomicU64,
    /// Nothing is passed on any more.
    stalled: AtomicBool,
    cut: watch::Sender<u64>,
}

impl Wire {
    pub(super) async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                shared.connections.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(relay(client, port, Arc::clone(&shared)));
            }
        });
        Self { address, state }
    }

    /// How often the server was asked for an answer since the last call, without connecting.
    pub(super) fn asked(&self) -> u64 {
        self.state.asked.swap(0, Ordering::SeqCst)
    }

    pub(super) fn connections(&self) -> u64 {
        self.state.connections.load(Ordering::SeqCst)
    }

    pub(super) fn stall(&self) {
        self.state.stalled.store(true, Ordering::SeqCst);
    }

    pub(super) fn pass(&self) {
        self.state.stalled.store(false, Ordering::SeqCst);
    }

    /// Ends every connection there is.
    pub(super) fn cut(&self) {
        self.state.cut.send_modify(|times| *times += 1);
    }
}

async fn relay(client: TcpStream, port: u16, state: Arc<State>) {
    let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else { return };
    let mut cut = state.cut.subscribe();
    let (from_client, mut to_client) = client.into_split();
    let (mut from_server, to_server) = server.into_split();
    let up = ask(from_client, to_server, &state);
    let down = async {
        let mut buffer = vec![0; 65_536];
        while let Ok(read @ 1..) = from_server.read(&mut buffer).await {
            hold(&state).await;
            if to_client.write_all(&buffer[..read]).await.is_err() {
                break;
            }
        }
    };
    tokio::select! {
        () = up => {}
        () = down => {}
        _ = cut.changed() => {}
    }
}

/// Passes messages on one by one: the first one has no type.
async fn ask(mut client: tokio::net::tcp::OwnedReadHalf, mut server: tokio::net::tcp::OwnedWriteHalf, state: &State) {
    let mut first = true;
    loop {
        let mut head = Vec::new();
        if !first {
            let Ok(kind) = client.read_u8().await else { return };
            if matches!(kind, b'S' | b'Q') {
                state.asked.fetch_add(1, Ordering::SeqCst);
            }
            head.push(kind);
        }
        first = false;
        let Ok(length) = client.read_u32().await else { return };
        head.extend(length.to_be_bytes());
        let mut body = vec![0; usize::try_from(length).unwrap() - 4];
        if client.read_exact(&mut body).await.is_err() {
            return;
        }
        head.extend(body);
        hold(state).await;
        if server.write_all(&head).await.is_err() {
            return;
        }
    }
}

async fn hold(state: &State) {
    while state.stalled.load(Ordering::SeqCst) {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}
