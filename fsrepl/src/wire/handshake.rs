//! How two nodes meet on a fresh TCP connection.
//!
//! Greetings in the clear settle version, mode, channel and key; an ephemeral agreement mixed with
//! the shared key gives the keys of this connection; each end proves that it reached the same ones
//! before anything an application says is sent or believed; then each side's hello travels sealed.
//! Nothing is read beyond the last byte of the handshake.

mod greeting;
mod schedule;
#[cfg(test)]
mod tests;

use super::error::WireError;
use super::header::Header;
use super::keys::{Auth, Hex, Key};
use super::seal::{LENGTH, Opener, Sealer};
use crate::limits;
use crate::node::faults;
use greeting::{Greeting, Versions};
use schedule::{End, Ephemeral, Schedule};
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};
use zerocopy::{FromBytes, IntoBytes};

/// Protocol versions this program speaks.
const VERSIONS: Versions = Versions { oldest: 1, newest: 1 };

/// What this node says it speaks.
fn spoken() -> Versions {
    faults::protocol_version().map_or(VERSIONS, |version| Versions { oldest: version, newest: version })
}

/// Kinds of the two sealed frames of a handshake.
const HELLO: u8 = 1;
const REFUSAL: u8 = 2;

/// What a connection is for; each has keys of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Channel {
    /// Operations and acknowledgements.
    Ordered = 1,
    /// Resync content.
    Bulk = 2,
    /// Questions and orders between daemons and engines of a cluster.
    Control = 3,
    /// Votes.
    Witness = 4,
}

impl Channel {
    fn of(number: u8) -> Option<Self> {
        [Channel::Ordered, Channel::Bulk, Channel::Control, Channel::Witness].into_iter().find(|c| *c as u8 == number)
    }
}

/// Why two nodes did not come together.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// What answers (or asks) speaks another protocol.
    #[error("the other end does not speak this protocol: is the address right?")]
    Stranger,
    #[error("protocol versions do not meet: this node speaks {ours}, the peer {theirs}: upgrade the older one")]
    Version { ours: String, theirs: String },
    #[error("the peer runs with --insecure and this node with a key: give both the same key file, or neither")]
    PeerInsecure,
    #[error("the peer wants a key and this node runs with --insecure: give both the same key file, or neither")]
    PeerKeyed,
    /// The id is the one the connecting node chose.
    #[error("the nodes have different keys: key {id} is not the same on both: give both the same key file")]
    DifferentKeys { id: String },
    /// In the acceptor's words.
    #[error("the peer refused: {0}")]
    Refused(String),
    /// In our own words, which the peer has been told.
    #[error("refused the peer: {0}")]
    Refusing(String),
    #[error("a hello of {0} bytes is too long: at most {most}", most = limits::HELLO)]
    HelloTooLong(usize),
    #[error("the peer broke the protocol of the handshake: {0}")]
    Malformed(&'static str),
    #[error("the peer did not finish the handshake in time")]
    Timeout,
    #[error("the peer closed the connection during the handshake")]
    Closed,
    #[error("the system gave no random bytes")]
    Random,
    #[error(transparent)]
    Wire(#[from] WireError),
    #[error("the connection failed during the handshake: {0}")]
    Io(io::Error),
}

impl From<io::Error> for HandshakeError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => HandshakeError::Timeout,
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => HandshakeError::Closed,
            _ => HandshakeError::Io(error),
        }
    }
}

/// Two nodes that know each other.
pub struct Established {
    /// For what we send.
    pub sealer: Sealer,
    /// For what we receive.
    pub opener: Opener,
    /// What the peer's application said.
    pub peer_hello: Vec<u8>,
    /// What this connection is for.
    pub channel: Channel,
    /// Protocol version of this connection.
    pub version: u16,
    /// Id of the key that both ends proved; zeros without keys.
    pub key_id: [u8; 16],
}

impl std::fmt::Debug for Established {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Established({:?}, version {}, hello of {} bytes)", self.channel, self.version, self.peer_hello.len())
    }
}

/// Opens a connection. The stream must be in blocking mode; its timeouts are left as they were.
pub fn connect(stream: &TcpStream, auth: &Auth, channel: Channel, hello: &[u8], deadline: Instant) -> Result<Established, HandshakeError> {
    Timed::run(stream, deadline, |s| connect_on(s, spoken(), auth, channel, hello))
}

/// Answers a connection. `respond` sees the peer's hello only after the peer has proved its key; it
/// gives our hello, or the words the peer is refused with.
pub fn accept(
    stream: &TcpStream,
    auth: &Auth,
    deadline: Instant,
    respond: impl FnOnce(Channel, &[u8]) -> Result<Vec<u8>, String>,
) -> Result<Established, HandshakeError> {
    Timed::run(stream, deadline, |s| accept_on(s, spoken(), auth, respond))
}

fn connect_on<S: Read + Write>(
    stream: &mut S,
    versions: Versions,
    auth: &Auth,
    channel: Channel,
    hello: &[u8],
) -> Result<Established, HandshakeError> {
    fits(hello)?;
    let (key, ephemeral) = (own_key(auth), fresh(auth)?);
    let ours = Greeting {
        key_id: key.as_ref().map_or([0; 16], |k| k.id),
        channel: channel as u8,
        ..greet(greeting::CONNECTOR, versions, auth, &ephemeral)
    };
    stream.write_all(ours.as_bytes())?;

    let theirs = read_greeting(stream, greeting::ACCEPTOR)?;
    let version = judge(&ours, &theirs)?;
    let schedule = schedule(key.as_ref(), ephemeral, &theirs.public, &ours, &theirs)?;
    if !schedule.proves(End::Acceptor, &read_array(stream)?) {
        // No proof is 0, so the acceptor learns that its proof was wrong.
        stream.write_all(&[0; 32])?;
        return Err(different(&ours));
    }

    let (mut sealer, mut opener) = frames(auth, &schedule, End::Connector, &ours);
    let mut message = schedule.proof(End::Connector).to_vec();
    sealer.seal(&mut Header::new(HELLO), hello, &[], &mut message)?;
    stream.write_all(&message)?;
    let peer_hello = match read_hello(stream, &mut opener)? {
        (HELLO, hello) => hello,
        (REFUSAL, words) => return Err(HandshakeError::Refused(legible(&words))),
        _ => return Err(HandshakeError::Malformed("neither hello nor refusal")),
    };
    Ok(Established { sealer, opener, peer_hello, channel, version, key_id: ours.key_id })
}

fn accept_on<S: Read + Write>(
    stream: &mut S,
    versions: Versions,
    auth: &Auth,
    respond: impl FnOnce(Channel, &[u8]) -> Result<Vec<u8>, String>,
) -> Result<Established, HandshakeError> {
    let theirs = read_greeting(stream, greeting::CONNECTOR)?;
    let ephemeral = fresh(auth)?;
    let mut ours = Greeting { key_id: theirs.key_id, channel: theirs.channel, ..greet(greeting::ACCEPTOR, versions, auth, &ephemeral) };
    let (key, channel, version) = match examine(versions, auth, &theirs) {
        Ok(examined) => examined,
        Err((verdict, error)) => {
            ours.verdict = verdict;
            // The peer may be gone already; what was wrong matters more.
            let _ = stream.write_all(ours.as_bytes());
            return Err(error);
        }
    };
    let schedule = schedule(key.as_ref(), ephemeral, &theirs.public, &theirs, &ours)?;
    let mut message = ours.as_bytes().to_vec();
    message.extend_from_slice(schedule.proof(End::Acceptor).as_ref());
    stream.write_all(&message)?;
    if !schedule.proves(End::Connector, &read_array(stream)?) {
        return Err(different(&theirs));
    }

    let (mut sealer, mut opener) = frames(auth, &schedule, End::Acceptor, &theirs);
    let (HELLO, peer_hello) = read_hello(stream, &mut opener)? else {
        return Err(HandshakeError::Malformed("no hello"));
    };
    let answer = respond(channel, &peer_hello).and_then(|hello| match fits(&hello) {
        Ok(()) => Ok(hello),
        Err(e) => Err(e.to_string()),
    });
    let (kind, said) = match &answer {
        Ok(hello) => (HELLO, &hello[..]),
        Err(words) => (REFUSAL, &words.as_bytes()[..words.len().min(limits::REFUSAL)]),
    };
    let mut message = Vec::new();
    sealer.seal(&mut Header::new(kind), said, &[], &mut message)?;
    stream.write_all(&message)?;
    answer.map_err(HandshakeError::Refusing)?;
    Ok(Established { sealer, opener, peer_hello, channel, version, key_id: theirs.key_id })
}

/// The acceptor's view of a connector's greeting: what to go on with, or the verdict to send.
fn examine(versions: Versions, auth: &Auth, theirs: &Greeting) -> Result<(Option<Key>, Channel, u16), (u8, HandshakeError)> {
    let Some(version) = versions.common(Versions::of(theirs)) else {
        return Err((greeting::VERSION, skewed(versions, Versions::of(theirs))));
    };
    let key = match (auth, theirs.mode) {
        (Auth::Insecure, greeting::INSECURE) => None,
        (Auth::Insecure, _) => return Err((greeting::MODE, HandshakeError::PeerKeyed)),
        (Auth::Keys(_), greeting::INSECURE) => {
            return Err((greeting::MODE, HandshakeError::PeerInsecure));
        }
        (Auth::Keys(ring), _) => match ring.find(&theirs.key_id) {
            Some(key) => Some(key.clone()),
            None => return Err((greeting::KEY, different(theirs))),
        },
    };
    match Channel::of(theirs.channel) {
        Some(channel) => Ok((key, channel, version)),
        None => Err((greeting::CHANNEL, HandshakeError::Malformed("unknown channel"))),
    }
}

/// The connector's view of the acceptor's greeting. Verdicts are not authenticated: whoever can
/// forge one could as well cut the connection, and none of them makes us go on.
fn judge(ours: &Greeting, theirs: &Greeting) -> Result<u16, HandshakeError> {
    let (own, other) = (Versions::of(ours), Versions::of(theirs));
    let version = own.common(other).ok_or_else(|| skewed(own, other))?;
    match (ours.mode, theirs.mode) {
        (greeting::INSECURE, m) if m != greeting::INSECURE => {
            return Err(HandshakeError::PeerKeyed);
        }
        (greeting::KEYED, m) if m != greeting::KEYED => return Err(HandshakeError::PeerInsecure),
        _ => {}
    }
    match theirs.verdict {
        greeting::PROCEED if theirs.key_id == ours.key_id && theirs.channel == ours.channel => Ok(version),
        greeting::KEY => Err(different(ours)),
        greeting::VERSION => Err(skewed(own, other)),
        greeting::CHANNEL => Err(HandshakeError::Malformed("it does not know this channel")),
        _ => Err(HandshakeError::Malformed("its greeting does not match ours")),
    }
}

fn skewed(ours: Versions, theirs: Versions) -> HandshakeError {
    HandshakeError::Version { ours: ours.to_string(), theirs: theirs.to_string() }
}

fn different(connector: &Greeting) -> HandshakeError {
    HandshakeError::DifferentKeys { id: Hex(&connector.key_id).to_string() }
}

fn own_key(auth: &Auth) -> Option<Key> {
    match auth {
        Auth::Insecure => None,
        Auth::Keys(ring) => Some(ring.first().clone()),
    }
}

fn fresh(auth: &Auth) -> Result<Ephemeral, HandshakeError> {
    Ephemeral::new(matches!(auth, Auth::Keys(_))).ok_or(HandshakeError::Random)
}

fn greet(magic: [u8; 8], versions: Versions, auth: &Auth, ephemeral: &Ephemeral) -> Greeting {
    Greeting {
        magic,
        oldest: versions.oldest.into(),
        newest: versions.newest.into(),
        mode: if matches!(auth, Auth::Keys(_)) { greeting::KEYED } else { greeting::INSECURE },
        public: ephemeral.public,
        ..Greeting::default()
    }
}

fn schedule(
    key: Option<&Key>,
    ours: Ephemeral,
    peer: &[u8; 32],
    connector: &Greeting,
    acceptor: &Greeting,
) -> Result<Schedule, HandshakeError> {
    Schedule::new(key.map_or(&[0; 32], Key::secret), ours, peer, connector, acceptor)
        .ok_or(HandshakeError::Malformed("unusable ephemeral key"))
}

/// What we seal with and open with, as the end `us`.
fn frames(auth: &Auth, schedule: &Schedule, us: End, connector: &Greeting) -> (Sealer, Opener) {
    let peer = if us == End::Connector { End::Acceptor } else { End::Connector };
    match auth {
        Auth::Insecure => (Sealer::insecure(), Opener::insecure()),
        Auth::Keys(_) => {
            let secret = |end| Some(schedule.frames(end, connector.channel));
            (Sealer::new(secret(us)), Opener::new(secret(peer)))
        }
    }
}

fn fits(hello: &[u8]) -> Result<(), HandshakeError> {
    if hello.len() > limits::HELLO { Err(HandshakeError::HelloTooLong(hello.len())) } else { Ok(()) }
}

fn read_array<S: Read, const N: usize>(stream: &mut S) -> Result<[u8; N], HandshakeError> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// The magic comes first, so that a stranger is recognised by its first bytes.
fn read_greeting<S: Read>(stream: &mut S, magic: [u8; 8]) -> Result<Greeting, HandshakeError> {
    let mut bytes = [0; greeting::SIZE];
    let (start, rest) = bytes.split_at_mut(magic.len());
    stream.read_exact(start)?;
    if start != magic {
        return Err(HandshakeError::Stranger);
    }
    stream.read_exact(rest)?;
    Greeting::read_from_bytes(&bytes).map_err(|_| HandshakeError::Malformed("greeting"))
}

/// One sealed frame, not a byte more.
fn read_hello<S: Read>(stream: &mut S, opener: &mut Opener) -> Result<(u8, Vec<u8>), HandshakeError> {
    let field: [u8; LENGTH] = read_array(stream)?;
    let length = Opener::length(field)?;
    if length > limits::HELLO + super::seal::LEAST {
        return Err(HandshakeError::Malformed("hello too long"));
    }
    let mut sealed = vec![0; length];
    stream.read_exact(&mut sealed)?;
    let frame = opener.open(field, &mut sealed)?;
    if !frame.payload.is_empty() {
        return Err(HandshakeError::Malformed("hello with a payload"));
    }
    Ok((frame.header.kind, frame.body.to_vec()))
}

/// The peer's words, safe for a terminal.
fn legible(words: &[u8]) -> String {
    let words = &words[..words.len().min(limits::REFUSAL)];
    String::from_utf8_lossy(words).chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// A stream that gives up at a moment, however slowly bytes drip in.
struct Timed<'a> {
    stream: &'a TcpStream,
    deadline: Instant,
}

impl Timed<'_> {
    fn run<T>(
        stream: &TcpStream,
        deadline: Instant,
        handshake: impl FnOnce(&mut Timed<'_>) -> Result<T, HandshakeError>,
    ) -> Result<T, HandshakeError> {
        let (read, write) = (stream.read_timeout()?, stream.write_timeout()?);
        let done = handshake(&mut Timed { stream, deadline })?;
        stream.set_read_timeout(read)?;
        stream.set_write_timeout(write)?;
        Ok(done)
    }

    fn remaining(&self) -> io::Result<Option<Duration>> {
        match self.deadline.saturating_duration_since(Instant::now()) {
            Duration::ZERO => Err(io::ErrorKind::TimedOut.into()),
            left => Ok(Some(left)),
        }
    }
}

impl Read for Timed<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(self.remaining()?)?;
        (&*self.stream).read(buf)
    }
}

impl Write for Timed<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(self.remaining()?)?;
        (&*self.stream).write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
