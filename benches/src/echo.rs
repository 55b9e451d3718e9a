//! The raw wire: the least a write could cost that is acknowledged from the other host's memory.
//!
//! The client sends a header and 4 KiB, the server writes them at the same place of its own file and answers with
//! eight bytes. No FUSE, no order between objects, no encryption, no bookkeeping.

use crate::columns::Rig;
use crate::hosts::Host;
use crate::server::{Server, Signal};
use anyhow::{Context, Result, ensure};
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// First argument of the echo process.
pub const ECHO: &str = "__echo";
/// Where it listens on its host.
pub const PORT: u16 = 7499;
const HEADER: usize = 16;
/// Largest payload of one message.
const PAYLOAD: usize = 128 * 1024;
const PATIENCE: Duration = Duration::from_secs(30);

/// The process on the other host.
pub struct Echo {
    _server: Server,
}

impl Echo {
    /// Starts the server on host B, writing to `file`.
    pub fn start(rig: &Rig, file: &Path) -> Result<Echo> {
        let exe = std::env::current_exe()?;
        let at = rig.hosts().b.at(PORT).to_string();
        let log = rig.log("echo");
        let server =
            rig.hosts().b.inside(|| Server::start("the echo server", Command::new(exe).arg(ECHO).arg(at).arg(file), log, Signal::TERM))?;
        server.wait_for("ready line", PATIENCE, |line| line == "ready")?;
        Ok(Echo { _server: server })
    }
}

/// One connection to an echo server.
pub struct Wire {
    stream: TcpStream,
    message: Vec<u8>,
}

impl Wire {
    /// Connects from `host` to `to`.
    pub fn connect(host: &Host, to: SocketAddr) -> Result<Wire> {
        let stream = host.inside(|| TcpStream::connect(to).with_context(|| format!("cannot connect to {to}")))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Wire { stream, message: Vec::new() })
    }

    /// Has `data` written remotely at `offset` and waits until that is done.
    pub fn write(&mut self, data: &[u8], offset: u64) -> Result<()> {
        ensure!(data.len() <= PAYLOAD, "{} bytes are more than a message may carry", data.len());
        self.message.clear();
        self.message.extend_from_slice(&offset.to_le_bytes());
        self.message.extend_from_slice(&(data.len() as u64).to_le_bytes());
        self.message.extend_from_slice(data);
        self.stream.write_all(&self.message)?;
        self.stream.read_exact(&mut [0; 8])?;
        Ok(())
    }
}

/// The echo process: serves every connection by a thread until it is ended.
pub fn serve(args: &[String]) -> Result<()> {
    let [listen, path] = args else { anyhow::bail!("an echo process wants an address and a file") };
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
    let listener = TcpListener::bind(listen).with_context(|| format!("cannot listen on {listen}"))?;
    writeln!(std::io::stdout(), "ready")?;
    for stream in listener.incoming() {
        let (stream, file) = (stream?, file.try_clone()?);
        std::thread::spawn(move || {
            if let Err(error) = answer(stream, &file) {
                eprintln!("echo: {error}");
            }
        });
    }
    Ok(())
}

fn answer(mut stream: TcpStream, file: &File) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; HEADER + PAYLOAD];
    loop {
        let mut have = 0;
        let mut want = HEADER;
        while have < want {
            match stream.read(&mut buffer[have..]) {
                Ok(0) => return Ok(()),
                Ok(n) => have += n,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
            if have >= HEADER {
                want = HEADER + usize::try_from(word(&buffer, 8))?;
                ensure!(want <= buffer.len(), "a message of {want} bytes is too long");
            }
        }
        file.write_all_at(&buffer[HEADER..want], word(&buffer, 0))?;
        stream.write_all(&[1; 8])?;
    }
}

fn word(buffer: &[u8], at: usize) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&buffer[at..at + 8]);
    u64::from_le_bytes(bytes)
}
