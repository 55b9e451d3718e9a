//! What is answered to which request, and to whom.

use super::figures::Figures;
use super::tls::SharedToken;
use super::{limits, metrics};
use axum::Router;
use axum::extract::{ConnectInfo, Path, Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::Value;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Whom the answers come from.
pub trait Source: Send + Sync + 'static {
    /// Whether a module serves here and is ready. Called for every health request: must not block.
    fn serves(&self, module: &str) -> bool;
    /// As `status --json`. May block.
    ///
    /// # Errors
    /// In words.
    fn status(&self) -> Result<Value, String>;
    /// For metrics. May block.
    fn figures(&self) -> Figures;
}

/// Who is told more than the health of modules.
#[derive(Clone)]
pub enum Access {
    /// This machine.
    Loopback,
    /// Who sends the token.
    Token(SharedToken),
}

/// What all requests share.
#[derive(Clone)]
pub struct Shared {
    /// Answers.
    pub source: Arc<dyn Source>,
    /// Answers at once that ask others.
    pub asking: Arc<Semaphore>,
}

impl Shared {
    /// Of a source.
    pub fn new(source: Arc<dyn Source>) -> Shared {
        Shared { source, asking: Arc::new(Semaphore::new(limits::ASKING)) }
    }
}

/// The routes of one port.
pub fn router(shared: Shared, access: Access) -> Router {
    let private =
        Router::new().route("/metrics", get(figures)).route("/api/v1/status", get(status)).layer(from_fn_with_state(access, admit));
    Router::new()
        .route("/health/{module}", get(health))
        .route("/var/modules/{module}/ready.txt", get(health))
        .merge(private)
        .fallback(|| async { plain(StatusCode::NOT_FOUND, "NOT FOUND") })
        .with_state(shared)
}

const TEXT: (HeaderName, HeaderValue) = (header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
const FRESH: (HeaderName, HeaderValue) = (header::CACHE_CONTROL, HeaderValue::from_static("no-store"));

fn plain(status: StatusCode, body: &'static str) -> Response {
    (status, [TEXT, FRESH], body).into_response()
}

async fn health(State(shared): State<Shared>, Path(module): Path<String>) -> Response {
    if shared.source.serves(&module) { plain(StatusCode::OK, "OK") } else { plain(StatusCode::NOT_FOUND, "NOT FOUND") }
}

async fn admit(State(access): State<Access>, ConnectInfo(from): ConnectInfo<SocketAddr>, request: Request, next: Next) -> Response {
    match access {
        Access::Loopback if from.ip().to_canonical().is_loopback() => next.run(request).await,
        Access::Loopback => plain(StatusCode::FORBIDDEN, "answered to this machine only; others use [http] tls_port with a token\n"),
        Access::Token(token) => {
            let told = request.headers().get(header::AUTHORIZATION);
            if told.is_some_and(|told| token.read().fits(told.as_bytes())) {
                return next.run(request).await;
            }
            let mut refusal = plain(StatusCode::UNAUTHORIZED, "send `Authorization: Bearer` with the token of [http] token_file\n");
            refusal.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            refusal
        }
    }
}

async fn figures(State(shared): State<Shared>) -> Response {
    match asked(&shared, |source| metrics::text(source.figures())).await {
        Ok(Ok(text)) => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Ok(Err(why)) => failed(&why.to_string()),
        Err(refusal) => refusal,
    }
}

async fn status(State(shared): State<Shared>) -> Response {
    match asked(&shared, Source::status).await {
        Ok(Ok(value)) => ([(header::CONTENT_TYPE, "application/json")], value.to_string()).into_response(),
        Ok(Err(why)) => failed(&why),
        Err(refusal) => refusal,
    }
}

fn failed(why: &str) -> Response {
    tracing::error!(why, "a request over HTTP failed");
    plain(StatusCode::INTERNAL_SERVER_ERROR, "failed; the daemon's log says why\n")
}

/// Asks in a thread of its own. A question that is stuck keeps its turn, so that no more threads than turns can be stuck.
async fn asked<T: Send + 'static>(shared: &Shared, ask: impl FnOnce(&dyn Source) -> T + Send + 'static) -> Result<T, Response> {
    let shared = shared.clone();
    let work = async move {
        let turn = shared.asking.clone().acquire_owned().await.ok()?;
        let source = shared.source.clone();
        let asking = move || {
            let answer = ask(&*source);
            drop(turn);
            answer
        };
        tokio::task::spawn_blocking(asking).await.ok()
    };
    let refusal = || plain(StatusCode::SERVICE_UNAVAILABLE, "busy; ask again\n");
    tokio::time::timeout(limits::ANSWER, work).await.ok().flatten().ok_or_else(refusal)
}
