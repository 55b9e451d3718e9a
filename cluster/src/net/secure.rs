//! Whole messages over one connection: what [`fsrepl::wire`] seals are frames, a message is one or several of them.

use super::limits;
use super::sockets::{Timed, tune};
use fsrepl::wire::{Auth, Channel, FrameReader, HandshakeError, Header, Sealer, WireError, handshake};
use std::io::{self, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::Instant;

/// Flag of a frame: the next one continues the message.
const MORE: u8 = 1;

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Wants an answer of the same number.
    Request = 80,
    /// The answer.
    Answer = 81,
    /// Wants to know whether the connection carries.
    Ping = 82,
    /// It does.
    Pong = 83,
}

impl Kind {
    fn of(number: u8) -> Option<Kind> {
        [Kind::Request, Kind::Answer, Kind::Ping, Kind::Pong].into_iter().find(|kind| *kind as u8 == number)
    }
}

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// What it is.
    pub kind: Kind,
    /// Which request it is or answers.
    pub number: u64,
    /// What it says.
    pub bytes: Vec<u8>,
}

/// Why a connection of messages ended.
#[derive(Debug, thiserror::Error)]
pub enum SecureError {
    /// More than a message may be.
    #[error("a message of {0} bytes: at most {most} are possible", most = limits::MESSAGE)]
    TooLong(usize),
    /// The other end does not follow the protocol.
    #[error("the peer broke the protocol: {0}")]
    Malformed(&'static str),
    /// Not in time.
    #[error("no answer in time")]
    Timeout,
    /// The connection's own end.
    #[error(transparent)]
    Wire(WireError),
}

impl From<WireError> for SecureError {
    fn from(error: WireError) -> SecureError {
        if error.is_timeout() { SecureError::Timeout } else { SecureError::Wire(error) }
    }
}

impl From<io::Error> for SecureError {
    fn from(error: io::Error) -> SecureError {
        SecureError::from(WireError::Io(error))
    }
}

/// A connection whose ends have proved their key to each other. After an error it is of no use.
pub struct Secure {
    stream: Arc<TcpStream>,
    sealer: Sealer,
    reader: FrameReader<Arc<TcpStream>>,
    out: Vec<u8>,
    key_id: [u8; 16],
}

impl Secure {
    /// Opens: our hello, and the other end's.
    pub fn connect(
        stream: TcpStream,
        auth: &Auth,
        channel: Channel,
        hello: &[u8],
        deadline: Instant,
    ) -> Result<(Secure, Vec<u8>), HandshakeError> {
        tune(&stream)?;
        let established = handshake::connect(&stream, auth, channel, hello, deadline)?;
        Ok(Secure::new(stream, established))
    }

    /// Answers: the other end's hello. `respond` as for [`handshake::accept`]; a connection for another channel is refused.
    pub fn accept(
        stream: TcpStream,
        auth: &Auth,
        channel: Channel,
        deadline: Instant,
        respond: impl FnOnce(&[u8]) -> Result<Vec<u8>, String>,
    ) -> Result<(Secure, Vec<u8>), HandshakeError> {
        tune(&stream)?;
        let established = handshake::accept(&stream, auth, deadline, |asked, hello| {
            if asked == channel { respond(hello) } else { Err("this port is not for connections of that kind".into()) }
        })?;
        Ok(Secure::new(stream, established))
    }

    fn new(stream: TcpStream, established: handshake::Established) -> (Secure, Vec<u8>) {
        let stream = Arc::new(stream);
        let reader = FrameReader::with_buffer(stream.clone(), established.opener, limits::RECEIVE_BUFFER);
        let secure = Secure { stream, sealer: established.sealer, reader, out: Vec::new(), key_id: established.key_id };
        (secure, established.peer_hello)
    }

    /// Id of the key that both ends proved.
    pub fn key_id(&self) -> [u8; 16] {
        self.key_id
    }

    /// The socket, to end the connection from elsewhere.
    pub fn stream(&self) -> &Arc<TcpStream> {
        &self.stream
    }

    /// Sends one message, whole, or fails.
    pub fn send(&mut self, kind: Kind, number: u64, bytes: &[u8], deadline: Instant) -> Result<(), SecureError> {
        if bytes.len() > limits::MESSAGE {
            return Err(SecureError::TooLong(bytes.len()));
        }
        let mut parts = bytes.chunks(limits::PART).peekable();
        let mut part = parts.next().unwrap_or_default();
        loop {
            let more = parts.peek().is_some();
            let mut header = Header::new(kind as u8).order(number, 0).flags(if more { MORE } else { 0 });
            self.out.clear();
            self.sealer.seal(&mut header, part, &[], &mut self.out)?;
            Timed { stream: &self.stream, deadline }.write_all(&self.out)?;
            match parts.next() {
                Some(next) => part = next,
                None => return Ok(()),
            }
        }
    }

    /// The next message.
    pub fn recv(&mut self, deadline: Instant) -> Result<Sealed, SecureError> {
        let mut begun: Option<Sealed> = None;
        loop {
            while let Some(frame) = self.reader.next()? {
                let kind = Kind::of(frame.header.kind).ok_or(SecureError::Malformed("an unknown kind of message"))?;
                let number = frame.header.seq.get();
                if !frame.payload.is_empty() {
                    return Err(SecureError::Malformed("a message with a payload"));
                }
                let message = begun.get_or_insert(Sealed { kind, number, bytes: Vec::new() });
                if (message.kind, message.number) != (kind, number) {
                    return Err(SecureError::Malformed("one message inside another"));
                }
                if message.bytes.len() + frame.body.len() > limits::MESSAGE {
                    return Err(SecureError::TooLong(message.bytes.len() + frame.body.len()));
                }
                message.bytes.extend_from_slice(frame.body);
                let more = frame.header.flags & MORE != 0;
                if more && frame.body.is_empty() {
                    return Err(SecureError::Malformed("a part without content"));
                }
                if !more && let Some(message) = begun.take() {
                    return Ok(message);
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(SecureError::Timeout);
            }
            self.stream.set_read_timeout(Some(left))?;
            self.reader.fill()?;
        }
    }

    /// Waits until something of the next message is there.
    pub fn wait(&mut self, deadline: Instant) -> Result<(), SecureError> {
        if self.reader.has_frame() {
            return Ok(());
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(SecureError::Timeout);
        }
        self.stream.set_read_timeout(Some(left))?;
        match self.stream.peek(&mut [0])? {
            0 => Err(SecureError::Wire(WireError::Closed)),
            _ => Ok(()),
        }
    }

    /// Whether the other end has neither closed the connection nor said anything that nobody asked for.
    pub fn quiet(&self) -> bool {
        if self.reader.has_frame() || self.stream.set_nonblocking(true).is_err() {
            return false;
        }
        let nothing = matches!(self.stream.peek(&mut [0]), Err(error) if error.kind() == io::ErrorKind::WouldBlock);
        nothing && self.stream.set_nonblocking(false).is_ok()
    }
}

impl Drop for Secure {
    fn drop(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}
