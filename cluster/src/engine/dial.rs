//! The way to the other node's engine: any of several networks, through the port that all modules share.

use fsrepl::node::options::Dial;
use std::io;
use std::net::{SocketAddr, TcpStream};

/// The networks, in the order of preference.
#[derive(Clone, Debug)]
pub struct Networks {
    /// The engine's name, the same on both nodes.
    pub engine: String,
    /// The other node's name.
    pub peer: String,
    /// Where it is reached.
    pub addresses: Vec<SocketAddr>,
}

impl Dial for Networks {
    fn dial(&self) -> io::Result<TcpStream> {
        crate::net::connect_replication(&self.addresses, &self.engine)
    }

    fn peer(&self) -> String {
        self.peer.clone()
    }
}
