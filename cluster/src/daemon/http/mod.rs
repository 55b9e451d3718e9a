//! What is answered over HTTP: the health of modules to everybody, everything else only to this machine, or with a token
//! behind TLS.
//!
//! ```text
//! mod.rs      ports to servers            figures.rs  what is told as metrics
//! gate.rs     places and their end        gather.rs   where the figures come from
//! routes.rs   requests to answers         metrics.rs  figures to text
//! tls.rs      certificate and token       limits.rs   every bound
//! ```

pub mod figures;
mod gate;
mod gather;
mod limits;
mod metrics;
mod routes;
#[cfg(test)]
mod tests;
mod tls;

pub use routes::Source;
pub use tls::Protected;

use super::node::Node;
use axum_server::Server;
use axum_server::tls_rustls::RustlsAcceptor;
use figures::Connections;
use gate::{Gate, Places};
use gather::NodeSource;
use hyper_util::rt::TokioTimer;
use routes::{Access, Shared, router};
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::sync::Arc;

/// Serves until it is dropped.
pub struct Http {
    runtime: Option<tokio::runtime::Runtime>,
}

impl Drop for Http {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// The places of both ports.
#[derive(Clone)]
pub struct Doors {
    public: Arc<Places>,
    protected: Arc<Places>,
}

impl Default for Doors {
    fn default() -> Doors {
        Doors {
            public: Places::new(limits::PUBLIC, limits::PUBLIC_EACH),
            protected: Places::new(limits::PROTECTED, limits::PROTECTED_EACH),
        }
    }
}

impl Doors {
    fn connections(&self) -> [Connections; 2] {
        let of = |port, places: &Places| Connections { port, open: places.open(), refused: places.refused() };
        [of("public", &self.public), of("protected", &self.protected)]
    }
}

/// Begins to serve on all addresses of the node and on the loopback.
///
/// # Errors
/// An address that cannot be listened on, by its name.
pub fn start(node: &Arc<Node>, protected: Option<Protected>) -> io::Result<Http> {
    let own = node.cluster.nodes[usize::from(node.me.0)].networks.iter().map(|network| network.bind);
    let loopback = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    let mut addresses: Vec<IpAddr> = own.chain(loopback).collect();
    addresses.sort_unstable();
    addresses.dedup();
    let public = listen(&addresses, node.cluster.ports.http)?;
    let protected = protected.map(|protected| listen(&addresses, protected.port()).map(|listeners| (listeners, protected))).transpose()?;
    let doors = Doors::default();
    let source = NodeSource { node: node.clone(), doors: doors.clone() };
    serve(public, protected, Arc::new(source), &doors)
}

fn listen(addresses: &[IpAddr], port: u16) -> io::Result<Vec<TcpListener>> {
    let mut listeners = Vec::new();
    for &ip in addresses {
        let address = SocketAddr::new(ip, port);
        match TcpListener::bind(address) {
            Ok(listener) => listeners.push(listener),
            // A machine without IPv6 is no fault.
            Err(_) if ip == IpAddr::V6(Ipv6Addr::LOCALHOST) => {}
            Err(why) => return Err(io::Error::new(why.kind(), format!("cannot answer HTTP on {address}: {why}"))),
        }
    }
    Ok(listeners)
}

/// Serves what `source` says: on `public` in clear, on the listeners of `protected` behind TLS.
///
/// # Errors
/// No threads, or a listener that cannot be used.
pub fn serve(
    public: Vec<TcpListener>,
    protected: Option<(Vec<TcpListener>, Protected)>,
    source: Arc<dyn Source>,
    doors: &Doors,
) -> io::Result<Http> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(1).max_blocking_threads(limits::THREADS).thread_name("http").enable_all().build()?;
    let entered = runtime.enter();
    let shared = Shared::new(source);
    let service = |access| router(shared.clone(), access).into_make_service_with_connect_info::<SocketAddr>();
    for listener in public {
        let address = listener.local_addr()?;
        let server = server(listener, Gate(doors.public.clone()))?;
        runtime.spawn(watched(address, server.serve(service(Access::Loopback))));
    }
    if let Some((listeners, protected)) = protected {
        for listener in listeners {
            let address = listener.local_addr()?;
            let tls = RustlsAcceptor::new(protected.config.clone()).handshake_timeout(limits::HANDSHAKE);
            let server = server(listener, tls.acceptor(Gate(doors.protected.clone())))?;
            runtime.spawn(watched(address, server.serve(service(Access::Token(protected.token.clone())))));
        }
        runtime.spawn(renew(protected));
    }
    drop(entered);
    Ok(Http { runtime: Some(runtime) })
}

/// The bounds of one listener.
fn server<A>(listener: TcpListener, acceptor: A) -> io::Result<Server<SocketAddr, A>> {
    listener.set_nonblocking(true)?;
    let mut server = axum_server::from_tcp(listener)?.acceptor(acceptor).http1_only();
    let mut http = server.http_builder().http1();
    // One request a connection: nobody keeps a place between requests.
    http.keep_alive(false).timer(TokioTimer::new()).header_read_timeout(limits::HEAD_TIME).max_buf_size(limits::HEAD_BYTES);
    Ok(server)
}

async fn watched(address: SocketAddr, serving: impl Future<Output = io::Result<()>>) {
    if let Err(why) = serving.await {
        tracing::error!(%why, %address, "HTTP is not answered any more");
    }
}

async fn renew(mut protected: Protected) {
    loop {
        tokio::time::sleep(limits::RENEW).await;
        // Three looks at files, and rarely their reading.
        let looked = tokio::task::spawn_blocking(move || {
            protected.renew();
            protected
        });
        match looked.await {
            Ok(back) => protected = back,
            Err(why) => return tracing::error!(%why, "certificate, key and token are not looked at any more"),
        }
    }
}
