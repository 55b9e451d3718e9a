//! What is answered over HTTP: the health of modules to everybody, everything else only to this machine, or with a token
//! behind TLS.

use super::node::Node;
use super::operator;
use axum::Router;
use axum::extract::{ConnectInfo, Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
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

/// Begins to serve on all addresses of the node and on the loopback.
pub fn start(node: &Arc<Node>) -> io::Result<Http> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).thread_name("http").enable_all().build()?;
    let port = node.cluster.ports.http;
    let own = node.cluster.nodes[usize::from(node.me.0)].networks.iter().map(|network| network.bind);
    let loopback = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    let mut addresses: Vec<IpAddr> = own.chain(loopback).collect();
    addresses.sort_unstable();
    addresses.dedup();
    for ip in addresses {
        let address = SocketAddr::new(ip, port);
        let listener = match runtime.block_on(tokio::net::TcpListener::bind(address)) {
            Ok(listener) => listener,
            // A machine without IPv6 is no fault.
            Err(_) if ip == IpAddr::V6(Ipv6Addr::LOCALHOST) => continue,
            Err(why) => return Err(io::Error::new(why.kind(), format!("cannot answer HTTP on {address}: {why}"))),
        };
        let service = routes(node.clone()).into_make_service_with_connect_info::<SocketAddr>();
        runtime.spawn(async move {
            if let Err(why) = axum::serve(listener, service).await {
                tracing::error!(%why, %address, "HTTP is not answered any more");
            }
        });
    }
    Ok(Http { runtime: Some(runtime) })
}

fn routes(node: Arc<Node>) -> Router {
    Router::new()
        .route("/health/{module}", get(health))
        .route("/var/modules/{module}/ready.txt", get(health))
        .route("/api/v1/status", get(status))
        .with_state(node)
}

async fn health(State(node): State<Arc<Node>>, Path(module): Path<String>) -> Response {
    let serves = node.board.own(&module).is_some_and(|shown| shown.serves);
    let (status, body) = if serves { (StatusCode::OK, "OK") } else { (StatusCode::NOT_FOUND, "NOT FOUND") };
    (status, [(header::CONTENT_TYPE, "text/plain"), (header::CACHE_CONTROL, "no-store")], body).into_response()
}

async fn status(State(node): State<Arc<Node>>, ConnectInfo(from): ConnectInfo<SocketAddr>) -> Response {
    if !from.ip().is_loopback() {
        return (StatusCode::FORBIDDEN, "only from this machine\n").into_response();
    }
    let answer = tokio::task::spawn_blocking(move || operator::here(&node, "status", &serde_json::Value::Null)).await;
    match answer {
        Ok(Ok(value)) => ([(header::CONTENT_TYPE, "application/json")], value.to_string()).into_response(),
        _ => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
