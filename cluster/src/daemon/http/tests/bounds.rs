//! Clients that are slow, many, or greedy.

use super::super::gate::Places;
use super::{Doors, PATIENCE, ask, connect, public};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

/// Few places, so that they are soon taken.
fn few() -> Doors {
    Doors { public: Places::new(4, 2), ..Doors::default() }
}

fn from(ip: &str, to: SocketAddr) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::new(ip.parse().unwrap(), 0).into()).unwrap();
    socket.connect(&to.into()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.into()
}

fn wait(what: &str, mut seen: impl FnMut() -> bool) {
    let began = Instant::now();
    while !seen() {
        assert!(began.elapsed() < PATIENCE, "{what}");
        std::thread::yield_now();
    }
}

/// Whatever a client that is not answered sees.
fn turned_away(mut client: TcpStream) -> bool {
    let _ = client.write_all(b"GET /health/pg HTTP/1.1\r\nHost: x\r\n\r\n");
    let mut bytes = Vec::new();
    let _ = client.read_to_end(&mut bytes);
    bytes.is_empty()
}

#[test]
fn a_slow_client_leaves_places_to_others_and_loses_its_own() {
    let doors = few();
    let (_http, source, address) = public(&doors);
    source.serving("pg", true);
    let mut slow: Vec<TcpStream> = (0..2).map(|_| connect(address)).collect();
    slow[0].write_all(b"GET /health/pg HT").unwrap();
    wait("they have places", || doors.public.open() == 2);
    assert!(turned_away(connect(address)), "the same client gets no more");
    assert_eq!(doors.public.refused(), 1);
    let mut other = from("127.0.0.7", address);
    other.write_all(b"GET /health/pg HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    assert_eq!(super::whole(other).2, "OK");
    // Both are put out by time: the one that never spoke, and the one that began.
    for mut client in slow {
        let mut rest = Vec::new();
        let _ = client.read_to_end(&mut rest);
        assert!(!rest.starts_with(b"HTTP/1.1 200"));
    }
    wait("their places are free", || doors.public.open() == 0);
    assert_eq!(ask(address, "GET", "/health/pg").2, "OK");
}

#[test]
fn all_places_together_are_bounded() {
    let doors = few();
    let (_http, _source, address) = public(&doors);
    let held: Vec<TcpStream> = ["127.0.0.3", "127.0.0.3", "127.0.0.4", "127.0.0.4"].map(|ip| from(ip, address)).into();
    wait("all are taken", || doors.public.open() == 4);
    assert!(turned_away(from("127.0.0.5", address)));
    drop(held);
    wait("all are free", || doors.public.open() == 0);
    assert!(!turned_away(from("127.0.0.5", address)));
}

#[test]
fn a_head_without_end_is_refused() {
    let doors = Doors::default();
    let (_http, _source, address) = public(&doors);
    let mut client = connect(address);
    let _ = client.write_all(b"GET /health/pg HTTP/1.1\r\n");
    // Until the server has had enough; a write may fail then.
    let line = format!("X: {}\r\n", "x".repeat(1000));
    while client.write_all(line.as_bytes()).is_ok() {}
    drop(client);
    wait("its place is free", || doors.public.open() == 0);
    assert_eq!(ask(address, "GET", "/health/pg").2, "NOT FOUND");
}
