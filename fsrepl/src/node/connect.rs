//! How a primary reaches its secondary: two connections, each with its own handshake.

use super::identity::Identity;
use super::options::MountOptions;
use crate::id::{ObjectId, Seq};
use crate::journal::DirtySet;
use crate::limits::{CONNECT_TIMEOUT, HANDSHAKE_TIMEOUT, JOURNAL_SLOTS_MAX};
use crate::op::{self, Answer, Query, Question, Said, kind};
use crate::replica::hello::{Hello, Refusal, Welcome};
use crate::replica::primary::{Primary, Source};
use crate::resync::Ask;
use crate::uring::{self, Link, Use};
use crate::wire::{self, Channel, Established, FrameReader, HandshakeError, Header, Sealer};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};
use uuid::Uuid;

/// Both connections of a session.
pub struct Connected {
    /// The ordered connection.
    pub ordered: (Arc<dyn Link>, Sealer, FrameReader<Source>),
    /// The bulk connection.
    pub bulk: Bulk,
    /// What the secondary said.
    pub welcome: Welcome,
}

/// Why there is no session.
#[derive(Debug)]
pub enum Fault {
    /// Nobody answers; try again.
    Unreachable(String),
    /// Somebody answers and does not want us.
    Refused(Refusal),
}

fn refusal(code: &str, reason: impl Into<String>, cure: &str) -> Fault {
    Fault::Refused(Refusal { reason: reason.into(), code: code.into(), cure: cure.into() })
}

impl From<HandshakeError> for Fault {
    fn from(error: HandshakeError) -> Fault {
        let words = error.to_string();
        match error {
            HandshakeError::Refused(text) => Fault::Refused(Refusal::from_text(&text)),
            HandshakeError::Version { .. } => refusal("version", words, "run the same version of understudy on both nodes"),
            HandshakeError::PeerInsecure => refusal("keys", words, "give both nodes the same --key FILE, or both --insecure"),
            HandshakeError::PeerKeyed => refusal("keys", words, "give both nodes the same --key FILE, or both --insecure"),
            HandshakeError::DifferentKeys { .. } => refusal("keys", words, "copy the key file of one node to the other"),
            HandshakeError::Stranger => refusal("stranger", words, "check address and port of the receiver"),
            _ => Fault::Unreachable(words),
        }
    }
}

/// What a primary says of its run.
#[derive(Clone, Copy, Debug)]
pub struct Opening {
    /// Of this process.
    pub incarnation: Uuid,
    /// Objects with higher ids may differ in everything.
    pub floor: ObjectId,
    /// Its machine went down while the pair was in sync.
    pub lost_power: bool,
}

/// Connects once.
pub fn connect(options: &MountOptions, identity: &Identity, opening: Opening) -> Result<Connected, Fault> {
    let session = Uuid::new_v4();
    let hello = Hello::Ordered {
        session,
        sender: Box::new(identity.clone()),
        incarnation: opening.incarnation,
        floor: opening.floor,
        lost_power: opening.lost_power,
        exclude: options.exclude.clone(),
        timeout_ms: options.peer_timeout.as_millis() as u64,
    };
    let (stream, established) = open(options, Channel::Ordered, &hello)?;
    let welcome = op::decode(&established.peer_hello).map_err(Fault::Unreachable)?;
    let ordered = take_over(stream, established, Use::OrderedPrimary)?;
    let (stream, established) = open(options, Channel::Bulk, &Hello::Bulk { session })?;
    let (link, sealer, reader) = take_over(stream, established, Use::Bulk)?;
    Ok(Connected { ordered, bulk: Bulk { link, sealer, reader, primary: None }, welcome })
}

/// By the cluster's way, or straight to the address that was named.
fn dial(options: &MountOptions) -> Result<TcpStream, Fault> {
    if let Some(clustered) = &options.clustered {
        let unreachable = |why| Fault::Unreachable(format!("{} cannot be reached: {why}", clustered.dial.peer()));
        return clustered.dial.dial().map_err(unreachable);
    }
    let to = options.to.ok_or_else(|| refusal("usage", "no secondary is named", "name it with --to IP:PORT"))?;
    TcpStream::connect_timeout(&to, CONNECT_TIMEOUT).map_err(|why| Fault::Unreachable(format!("{to} cannot be reached: {why}")))
}

fn open(options: &MountOptions, channel: Channel, hello: &Hello) -> Result<(TcpStream, Established), Fault> {
    let unreachable = |why: std::io::Error| Fault::Unreachable(format!("the secondary cannot be reached: {why}"));
    let stream = dial(options)?;
    stream.set_nodelay(true).map_err(unreachable)?;
    let deadline = Instant::now() + HANDSHAKE_TIMEOUT;
    let established = wire::connect(&stream, &options.auth, channel, &op::encode(hello), deadline)?;
    Ok((stream, established))
}

type Taken = (Arc<dyn Link>, Sealer, FrameReader<Source>);

fn take_over(stream: TcpStream, established: Established, usage: Use) -> Result<Taken, Fault> {
    let link = uring::open(stream, usage).map_err(|why| Fault::Unreachable(why.to_string()))?;
    let reader = FrameReader::new(Source(link.clone()), established.opener);
    Ok((link, established.sealer, reader))
}

/// Questions to the secondary.
pub struct Bulk {
    link: Arc<dyn Link>,
    sealer: Sealer,
    reader: FrameReader<Source>,
    primary: Option<(Arc<Primary>, u32)>,
}

impl Bulk {
    /// Questions end when this session does.
    pub fn bind(&mut self, primary: Arc<Primary>, epoch: u32) {
        self.primary = Some((primary, epoch));
    }

    fn alive(&self) -> bool {
        self.primary.as_ref().is_none_or(|(primary, epoch)| primary.attached() == Some(*epoch))
    }

    /// The session that it belongs to.
    pub fn epoch(&self) -> Option<u32> {
        self.primary.as_ref().map(|(_, epoch)| *epoch)
    }
}

impl Bulk {
    /// All marks of the secondary.
    pub fn marks(&mut self) -> Result<DirtySet, String> {
        let (mut keys, mut number) = (Vec::new(), 0);
        loop {
            number += 1;
            let query = Query { number, question: Question::Marks(keys.len() as u64) };
            self.send(&query, 0)?;
            match self.receive()?.said {
                Said::Marks { keys: part, birth_floor, more } => {
                    let more = more && !part.is_empty() && keys.len() < JOURNAL_SLOTS_MAX;
                    keys.extend(part);
                    if !more {
                        return Ok(DirtySet::from_wire(keys, birth_floor));
                    }
                }
                _ => return Err("the answer is not to this question".into()),
            }
        }
    }
}

impl Drop for Bulk {
    fn drop(&mut self) {
        self.link.shutdown();
    }
}

impl Ask for Bulk {
    fn send(&mut self, query: &Query, after: Seq) -> Result<(), String> {
        let mut frame = Vec::new();
        let header = &mut Header::new(kind::QUERY).order(0, after);
        self.sealer.seal(header, &op::encode(query), &[], &mut frame).map_err(|why| why.to_string())?;
        self.link.send_all(&frame).map_err(|why| why.to_string())
    }

    fn receive(&mut self) -> Result<Answer, String> {
        let words = |why: wire::WireError| why.to_string();
        loop {
            if let Some(frame) = self.reader.next().map_err(words)? {
                if frame.header.kind != kind::ANSWER {
                    return Err(format!("a frame of kind {} instead of an answer", frame.header.kind));
                }
                return op::decode(frame.body);
            }
            while !self.link.readable(Duration::from_millis(100)).map_err(|why| why.to_string())? {
                if !self.alive() {
                    return Err("the session ended".into());
                }
            }
            self.reader.fill().map_err(words)?;
        }
    }
}
