//! Answers the other nodes' daemons and engines, and passes on the connections that engines open to each other.

use super::acceptor::{Acceptor, Arrival, Place, Room};
use super::preface::{Preface, PrefaceError};
use super::quiet::Quiet;
use super::secure::{Kind, Secure, SecureError};
use super::{Identity, Keys, limits};
use crate::NodeId;
use fsrepl::wire::{Channel, HandshakeError};
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Instant;

/// Who asks: has proved that it holds a key of this cluster, and says that it is this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The node; none for a tool.
    pub node: Option<NodeId>,
    /// What it calls itself.
    pub name: String,
    /// From where.
    pub from: SocketAddr,
}

/// Answers one request. Called from many threads; may take its time, since others do not wait for it.
pub type Handler = Arc<dyn Fn(&Caller, Vec<u8>) -> Vec<u8> + Send + Sync>;

/// Takes over the connection of an engine to the engine of this module, right behind the preface. Nothing is proved yet, and
/// how many there are is not bounded here: a deadline and a limit are the taker's.
pub type Replication = Arc<dyn Fn(&str, TcpStream) + Send + Sync>;

/// Serves until it is dropped.
pub struct Server {
    acceptor: Acceptor,
}

struct Desk {
    me: Identity,
    keys: Keys,
    handler: Handler,
    replication: Replication,
    nonsense: Quiet,
    refused: Quiet,
}

impl Server {
    /// Listens on all networks of this node. An address that the host does not have yet is served when it has it.
    ///
    /// # Errors
    /// Names the address that cannot be listened on, and why.
    pub fn start(binds: &[SocketAddr], me: Identity, keys: Keys, handler: Handler, replication: Replication) -> io::Result<Server> {
        let desk = Arc::new(Desk { me, keys, handler, replication, nonsense: Quiet::default(), refused: Quiet::default() });
        let room = Room { strangers: limits::STRANGERS, connections: limits::CONNECTIONS };
        let acceptor = Acceptor::start("control", binds, room, Arc::new(move |arrival| desk.take(arrival)))?;
        Ok(Server { acceptor })
    }

    /// Where it listens.
    pub fn addresses(&self) -> &[SocketAddr] {
        self.acceptor.addresses()
    }

    /// Control connections of now.
    pub fn connections(&self) -> usize {
        self.acceptor.connections()
    }
}

impl Desk {
    fn take(&self, arrival: Arrival) {
        let (stream, from, mut place) = arrival.split();
        match Preface::read(&stream, limits::PREFACE_TIMEOUT) {
            Ok(Preface::Control) => match self.meet(stream, from) {
                Ok((secure, caller)) if place.promote(secure.stream()) => self.serve(secure, &caller, place),
                Ok((_, caller)) => tracing::warn!(?caller, "too many connections at once: one was closed"),
                Err(why) => {
                    if let Some(unsaid) = self.refused.say() {
                        tracing::warn!(%from, unsaid, "a connection was refused: {why}");
                    }
                }
            },
            Ok(Preface::Replication { module }) => {
                drop(place);
                (self.replication)(&module, stream);
            }
            // Who raced on several networks and won elsewhere closes without a word, as do checks of ports.
            Err(PrefaceError::Silent) => {}
            Err(why) => {
                if let Some(unsaid) = self.nonsense.say() {
                    tracing::warn!(%from, unsaid, "a connection was closed: {why}");
                }
            }
        }
    }

    fn meet(&self, stream: TcpStream, from: SocketAddr) -> Result<(Secure, Caller), HandshakeError> {
        let deadline = Instant::now() + limits::HANDSHAKE_TIMEOUT;
        let mut caller = None;
        let (secure, _) = Secure::accept(stream, &self.keys.auth(), Channel::Control, deadline, |hello| {
            let Some(other) = Identity::decode(hello) else { return Err("the hello cannot be read: versions differ".into()) };
            if let Some(objection) = self.me.objection(&other) {
                return Err(objection);
            }
            caller = Some(Caller { node: other.node, name: other.name, from });
            Ok(self.me.encode())
        })?;
        let caller = caller.ok_or(HandshakeError::Malformed("no hello"))?;
        Ok((secure, caller))
    }

    fn serve(&self, mut secure: Secure, caller: &Caller, _place: Place) {
        match self.answer_all(&mut secure, caller) {
            SecureError::Timeout => {}
            SecureError::Wire(error) => tracing::debug!(?caller, %error, "a control connection has ended"),
            error => {
                if let Some(unsaid) = self.refused.say() {
                    tracing::warn!(?caller, unsaid, "a control connection was closed: {error}");
                }
            }
        }
    }

    /// One request after another, until the connection ends.
    fn answer_all(&self, secure: &mut Secure, caller: &Caller) -> SecureError {
        loop {
            if let Err(error) = self.answer_one(secure, caller) {
                return error;
            }
        }
    }

    fn answer_one(&self, secure: &mut Secure, caller: &Caller) -> Result<(), SecureError> {
        secure.wait(Instant::now() + limits::SERVER_IDLE)?;
        let message = secure.recv(Instant::now() + limits::REQUEST_TIMEOUT)?;
        let (kind, answer) = match message.kind {
            Kind::Ping => (Kind::Pong, Vec::new()),
            Kind::Request => (Kind::Answer, (self.handler)(caller, message.bytes)),
            Kind::Answer | Kind::Pong => return Err(SecureError::Malformed("an answer to nothing")),
        };
        secure.send(kind, message.number, &answer, Instant::now() + limits::ANSWER_TIMEOUT)
    }
}
