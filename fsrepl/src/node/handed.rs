//! Connections that the cluster's daemon has accepted and hands over to the engine that they are for: one port serves all
//! modules, and the bytes never pass through the daemon.

use super::control::short;
use super::socket_name;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use std::fs::{self, File};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

/// What comes with a connection: nothing but the version of this form.
const HAND: [u8; 1] = [1];

fn path(run: &Path, name: &str) -> PathBuf {
    run.join(format!("{}.links", socket_name::stem(name)))
}

/// The engine's side. The socket is removed when it is closed.
#[derive(Debug)]
pub(super) struct Receiver {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Receiver {
    /// Takes connections for the replica `name`.
    pub fn bind(run: &Path, name: &str) -> io::Result<Receiver> {
        let path = path(run, name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let directory = File::open(run)?;
        let socket = UnixDatagram::bind(short(&directory, &path))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        Ok(Receiver { socket, path })
    }

    /// For another thread.
    pub fn try_clone(&self) -> io::Result<Receiver> {
        Ok(Receiver { socket: self.socket.try_clone()?, path: self.path.clone() })
    }

    /// The next connection.
    pub fn next(&self) -> io::Result<TcpStream> {
        let mut byte = [0u8; 1];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut parts = [IoSliceMut::new(&mut byte)];
        let flags = RecvFlags::CMSG_CLOEXEC;
        recvmsg(self.socket.as_fd(), &mut parts, &mut control, flags)?;
        let mut handed = None;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                handed = descriptors.into_iter().next();
            }
        }
        match handed {
            Some(descriptor) if byte == HAND => Ok(TcpStream::from(descriptor)),
            _ => Err(io::Error::new(io::ErrorKind::InvalidData, "no connection was handed over")),
        }
    }

    /// Wakes whoever waits in [`Receiver::next`], with an error; false if that failed.
    pub fn close(&self) -> bool {
        let _ = fs::remove_file(&self.path);
        rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Both).is_ok()
    }
}

/// The daemon's side: gives `stream` to the engine of `name`. Fails at once when there is none.
pub fn hand(run: &Path, name: &str, stream: &TcpStream) -> io::Result<()> {
    let directory = File::open(run)?;
    let socket = UnixDatagram::unbound()?;
    socket.connect(short(&directory, &path(run, name)))?;
    let descriptors = [stream.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(io::Error::other("no room for a descriptor"));
    }
    sendmsg(socket.as_fd(), &[IoSlice::new(&HAND)], &mut control, SendFlags::DONTWAIT)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpListener;

    #[test]
    fn a_connection_changes_hands_with_its_unread_bytes() {
        let run = tempfile::tempdir().unwrap();
        let receiver = Receiver::bind(run.path(), "a/b").unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        client.write_all(b"before").unwrap();
        hand(run.path(), "a/b", &listener.accept().unwrap().0).unwrap();
        let mut taken = receiver.next().unwrap();
        let mut bytes = [0; 6];
        taken.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"before");
        assert!(hand(run.path(), "nobody", &taken).is_err());
    }

    #[test]
    fn closing_wakes_who_waits() {
        let run = tempfile::tempdir().unwrap();
        let receiver = Receiver::bind(run.path(), "m").unwrap();
        let waiting = receiver.try_clone().unwrap();
        let thread = std::thread::spawn(move || waiting.next().is_err());
        assert!(receiver.close());
        assert!(thread.join().unwrap());
    }
}
