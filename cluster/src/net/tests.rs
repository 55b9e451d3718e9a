use super::secure::{Kind, Secure};
use super::*;
use crate::NodeId;
use crossbeam::channel::{Receiver, unbounded};
use fsrepl::wire::{self, Channel, Key};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Nothing takes this long; what does not come in this time does not come.
const LONG: Duration = Duration::from_secs(60);

fn keys(numbers: &[u8]) -> Keys {
    KeyRing::new(numbers.iter().map(|&number| Key::new([number; 16], [number; 32])).collect()).unwrap().into()
}

fn node(number: u16) -> Identity {
    Identity::node("demo", NodeId(number), format!("node{number}"))
}

/// Echoes, after as many milliseconds as the first byte says.
fn echo() -> Handler {
    Arc::new(|caller, bytes| {
        if let Some(&pause) = bytes.first() {
            std::thread::sleep(Duration::from_millis(u64::from(pause)));
        }
        [caller.name.as_bytes(), b":", &bytes].concat()
    })
}

fn engines() -> (Replication, Receiver<(String, TcpStream)>) {
    let (tell, hear) = unbounded();
    (Arc::new(move |module, stream| tell.send((module.to_owned(), stream)).unwrap()), hear)
}

fn server(binds: &[&str], numbers: &[u8]) -> Server {
    let binds: Vec<SocketAddr> = binds.iter().map(|bind| bind.parse().unwrap()).collect();
    Server::start(&binds, node(1), keys(numbers), echo(), engines().0).unwrap()
}

fn client(addresses: &[SocketAddr], numbers: &[u8]) -> Client {
    Client::new(node(0), Some(NodeId(1)), addresses.to_vec(), keys(numbers))
}

/// Takes connections and says nothing: a network that swallows everything.
fn swallower() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.4:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

#[test]
fn many_threads_get_their_own_answers() {
    let server = server(&["127.0.0.2:0", "127.0.0.3:0"], &[1]);
    let client = client(server.addresses(), &[1]);
    std::thread::scope(|scope| {
        for thread in 0..8u8 {
            let client = &client;
            scope.spawn(move || {
                for round in 0..20u8 {
                    let request = [(thread + round) % 3, thread, round];
                    assert_eq!(client.call(&request, LONG).unwrap(), [b"node0:", &request[..]].concat());
                }
            });
        }
    });
    assert!(server.connections() <= 8);
}

#[test]
fn messages_up_to_the_bound_travel_and_longer_ones_do_not() {
    let server = server(&["127.0.0.2:0"], &[1]);
    let client = client(server.addresses(), &[1]);
    for length in [0, 1, limits::PART, limits::PART + 1, limits::MESSAGE - 6] {
        assert_eq!(client.call(&vec![0; length], LONG).unwrap().len(), length + 6, "{length}");
    }
    assert_eq!(client.call(&vec![0; limits::MESSAGE + 1], LONG), Err(CallError::TooLong(limits::MESSAGE + 1)));
    // The answer does not fit: the connection ends, and the next call has a new one.
    assert!(matches!(client.call(&vec![0; limits::MESSAGE], LONG), Err(CallError::Interrupted(_))));
    assert_eq!(client.call(b"\0", LONG).unwrap(), b"node0:\0");
}

#[test]
fn a_late_answer_is_nobodys() {
    let server = server(&["127.0.0.2:0"], &[1]);
    let client = client(server.addresses(), &[1]);
    assert_eq!(client.call(b"\0", LONG).unwrap(), b"node0:\0");
    assert_eq!(client.call(b"\xff late", Duration::from_millis(50)), Err(CallError::Timeout));
    assert_eq!(client.call(b"\0", LONG).unwrap(), b"node0:\0");
}

#[test]
fn a_dead_network_does_not_hold_the_other_one_up() {
    let server = server(&["127.0.0.3:0"], &[1]);
    let (_silent, dead) = swallower();
    let closed: SocketAddr = "127.0.0.5:9".parse().unwrap();
    let started = Instant::now();
    let client = client(&[dead, closed, server.addresses()[0]], &[1]);
    for _ in 0..3 {
        assert_eq!(client.call(b"\0", LONG).unwrap(), b"node0:\0");
        client.hang_up();
    }
    assert!(started.elapsed() < LONG);
}

/// A network to `to` that swallows everything once it is cut, as a pulled cable does.
fn cable(to: SocketAddr) -> (SocketAddr, Arc<AtomicBool>) {
    let listener = TcpListener::bind("127.0.0.4:0").unwrap();
    let (address, cut) = (listener.local_addr().unwrap(), Arc::new(AtomicBool::new(false)));
    let broken = cut.clone();
    std::thread::spawn(move || {
        for near in listener.incoming().map(Result::unwrap) {
            let far = TcpStream::connect(to).unwrap();
            for (mut from, mut into) in [(near.try_clone().unwrap(), far.try_clone().unwrap()), (far, near)] {
                let broken = broken.clone();
                std::thread::spawn(move || {
                    let mut buffer = [0; 4096];
                    while let Ok(length @ 1..) = from.read(&mut buffer) {
                        if !broken.load(Ordering::SeqCst) && into.write_all(&buffer[..length]).is_err() {
                            break;
                        }
                    }
                });
            }
        }
    });
    (address, cut)
}

#[test]
fn a_request_is_not_entrusted_to_a_connection_whose_network_was_cut() {
    let server = server(&["127.0.0.3:0"], &[1]);
    let direct = server.addresses()[0];
    let (first, cut) = cable(direct);
    let client = client(&[first, direct], &[1]);
    assert_eq!(client.call(b"\0", LONG).unwrap(), b"node0:\0");
    cut.store(true, Ordering::SeqCst);
    std::thread::sleep(limits::TRUSTED);
    for _ in 0..3 {
        assert_eq!(client.call(b"\0", LONG).unwrap(), b"node0:\0");
    }
}

#[test]
fn nobody_there_is_told_for_each_network() {
    let (_silent, dead) = swallower();
    let closed: SocketAddr = "127.0.0.5:9".parse().unwrap();
    let Err(CallError::Unreachable(told)) = client(&[dead, closed], &[1]).call(b"x", Duration::from_millis(400)) else {
        panic!("unreachable");
    };
    assert!(told.contains("127.0.0.4") && told.contains("127.0.0.5"), "{told}");
    assert!(matches!(client(&[], &[1]).call(b"x", LONG), Err(CallError::Unreachable(_))));
}

#[test]
fn a_peer_that_starts_anew_is_found_again() {
    let first = server(&["127.0.0.2:0"], &[1]);
    let address = first.addresses()[0];
    let client = client(&[address], &[1]);
    assert!(client.call(b"\0", LONG).is_ok());
    drop(first);
    assert!(client.call(b"\0", Duration::from_millis(300)).is_err());
    let _second = server(&[&address.to_string()], &[1]);
    assert!(client.call(b"\0", LONG).is_ok());
}

#[test]
fn other_clusters_nodes_and_keys_are_refused_in_words() {
    let server = server(&["127.0.0.2:0"], &[1]);
    let refusal = |client: Client| match client.call(b"x", LONG) {
        Err(CallError::Refused(words)) => words,
        other => panic!("{other:?}"),
    };
    let to = server.addresses().to_vec();
    let stranger = Identity::node("prod", NodeId(0), "other");
    let told = refusal(Client::new(stranger, Some(NodeId(1)), to.clone(), keys(&[1])));
    assert!(told.contains("demo") && told.contains("prod"), "{told}");
    let told = refusal(Client::new(node(0), Some(NodeId(2)), to.clone(), keys(&[1])));
    assert!(told.contains("answered by node node1"), "{told}");
    let told = refusal(client(&to, &[2]));
    assert!(told.contains("different keys"), "{told}");
    assert!(client(&to, &[1]).call(b"\0", LONG).is_ok());
}

#[test]
fn keys_rotate_without_an_interruption() {
    let ring = keys(&[1]);
    let server = Server::start(&["127.0.0.2:0".parse().unwrap()], node(1), ring.clone(), echo(), engines().0).unwrap();
    let ours = keys(&[1]);
    let client = Client::new(node(0), Some(NodeId(1)), server.addresses().to_vec(), ours.clone());
    for (here, there) in [(&[1, 2][..], &[1][..]), (&[1, 2], &[1, 2]), (&[2, 1], &[1, 2]), (&[2, 1], &[2]), (&[2], &[2])] {
        ours.replace(keys(here).ring());
        ring.replace(keys(there).ring());
        client.hang_up();
        assert_eq!(client.call(b"\0", LONG).is_ok(), there.contains(&here[0]), "{here:?} {there:?}");
    }
}

#[test]
fn an_engines_connection_is_passed_on_untouched() {
    let (replication, taken) = engines();
    let server = Server::start(&["127.0.0.2:0".parse().unwrap()], node(1), keys(&[1]), echo(), replication).unwrap();
    let stream = connect_replication(server.addresses(), "postgres").unwrap();
    let acceptor = std::thread::spawn(move || {
        let (module, stream) = taken.recv_timeout(LONG).unwrap();
        let met = wire::accept(&stream, &keys(&[1]).auth(), Instant::now() + LONG, |_, hello| Ok(hello.to_vec())).unwrap();
        (module, met.channel, stream)
    });
    let met = wire::connect(&stream, &keys(&[1]).auth(), Channel::Ordered, b"hello", Instant::now() + LONG).unwrap();
    assert_eq!(met.peer_hello, b"hello");
    let (module, channel, _kept) = acceptor.join().unwrap();
    assert_eq!((module.as_str(), channel), ("postgres", Channel::Ordered));
    assert!(connect_replication(server.addresses(), "../etc").is_err());
    let (_silent, closed) = (0, "127.0.0.5:9".parse().unwrap());
    assert!(connect_replication(&[closed], "postgres").unwrap_err().to_string().contains("127.0.0.5"));
    assert!(connect_replication(&[closed, server.addresses()[0]], "postgres").is_ok());
}

#[test]
fn hostile_bytes_close_their_own_connection_and_nothing_else() {
    let server = server(&["127.0.0.2:0"], &[1]);
    let to = server.addresses()[0];
    let hello: Vec<u8> = preface::Preface::Control.encode().unwrap();
    let mut noise = 12345u64;
    for round in 0..40usize {
        let mut stream = TcpStream::connect(to).unwrap();
        let mut bytes = if round % 2 == 0 { hello.clone() } else { Vec::new() };
        if round % 4 == 0 {
            bytes.extend_from_slice(b"UNDSTDYc");
        }
        bytes.extend((0..200).map(|_| {
            noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (noise >> 56) as u8
        }));
        let _ = stream.write_all(&bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let _ = stream.read_to_end(&mut Vec::new());
    }
    assert!(client(&[to], &[1]).call(b"\0", LONG).is_ok());
}

#[test]
fn a_witness_connection_is_refused_on_this_port_and_unasked_answers_end_it() {
    let server = server(&["127.0.0.2:0"], &[1]);
    let open = |channel| {
        let stream = TcpStream::connect(server.addresses()[0]).unwrap();
        preface::Preface::Control.write(&stream, LONG).unwrap();
        Secure::connect(stream, &keys(&[1]).auth(), channel, &node(0).encode(), Instant::now() + LONG)
    };
    assert!(open(Channel::Witness).err().unwrap().to_string().contains("not for connections of that kind"));
    let (mut secure, _) = open(Channel::Control).unwrap();
    secure.send(Kind::Ping, 3, b"", Instant::now() + LONG).unwrap();
    let pong = secure.recv(Instant::now() + LONG).unwrap();
    assert_eq!((pong.kind, pong.number), (Kind::Pong, 3));
    secure.send(Kind::Answer, 4, b"", Instant::now() + LONG).unwrap();
    assert!(secure.recv(Instant::now() + LONG).is_err());
}

#[test]
fn silent_connections_are_bounded_and_pass() {
    let server = server(&["127.0.0.2:0"], &[1]);
    let to = server.addresses()[0];
    let silent: Vec<TcpStream> = (0..limits::STRANGERS + 8).map(|_| TcpStream::connect(to).unwrap()).collect();
    let closed = |stream: &TcpStream| {
        stream.set_read_timeout(Some(LONG)).unwrap();
        matches!((&*stream).read(&mut [0]), Ok(0) | Err(_))
    };
    assert!(silent.iter().all(closed), "each is closed, at once or after its time");
    assert!(client(&[to], &[1]).call(b"\0", LONG).is_ok());
}

#[test]
fn an_address_of_another_time_is_listened_on_and_a_taken_one_is_named() {
    let server = server(&["127.0.0.2:0", "192.0.2.77:0"], &[1]);
    assert_eq!(server.addresses().len(), 2);
    let taken = server.addresses()[0];
    let again = Server::start(&[taken], node(1), keys(&[1]), echo(), engines().0).err().unwrap();
    assert!(again.to_string().contains(&taken.to_string()), "{again}");
}

#[test]
fn names_that_no_configuration_has_are_no_identity() {
    assert_eq!(Identity::decode(&node(3).encode()), Some(node(3)));
    let odd = Identity { name: "a\nb".into(), ..node(3) };
    assert_eq!(Identity::decode(&odd.encode()), None);
    let long = Identity { cluster: "x".repeat(limits::NAME + 1), ..node(3) };
    assert_eq!(Identity::decode(&long.encode()), None);
    assert_eq!(Identity::decode(b"nonsense"), None);
}
