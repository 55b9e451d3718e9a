use super::*;
use crate::config::{Http, Network, Node, Notify, Ports};
use crate::heartbeat::{Beat, Profile};
use crossbeam::channel::{Receiver, unbounded};
use fsrepl::wire::{Key, KeyRing};
use std::net::IpAddr;
use std::time::Instant;

const LONG: Duration = Duration::from_secs(60);
const NETWORKS: u8 = 2;

fn keys(numbers: &[u8]) -> Keys {
    KeyRing::new(numbers.iter().map(|&number| Key::new([number; 16], [number; 32])).collect()).unwrap().into()
}

fn address(test: u8, node: u16, network: u8) -> IpAddr {
    IpAddr::from([127, test, 10 + node as u8, 1 + network])
}

/// Two nodes on two networks; each test has addresses of its own.
fn cluster(test: u8) -> Cluster {
    let probe = UdpSocket::bind((address(test, 0, 0), 0)).unwrap();
    let heartbeat = probe.local_addr().unwrap().port();
    let node = |id: u16| {
        let network = |at| {
            let address = address(test, id, at);
            Network { bind: address, advertise: address, heartbeat: true, replication: true }
        };
        Node { id: NodeId(id), name: format!("node{id}"), networks: (0..NETWORKS).map(network).collect() }
    };
    Cluster {
        name: "demo".into(),
        key_file: "cluster.key".into(),
        profile: Profile {
            pulse: Duration::from_millis(50),
            degrade: Duration::from_secs(1),
            promote: Duration::from_secs(2),
            ..Profile::LAN
        },
        nodes: vec![node(0), node(1)],
        quorum: None,
        ports: Ports { heartbeat, ..Ports::default() },
        http: Http::default(),
        fence: None,
        notify: Notify::default(),
        digest: String::new(),
    }
}

fn start(cluster: &Cluster, node: u16, epoch: u64, keys: Keys) -> (Beats, Receiver<BeatEvent>) {
    let (sender, events) = unbounded();
    let origin = Origin { me: NodeId(node), epoch, boot: Uuid::from_u128(u128::from(node) + 1) };
    (Beats::start(cluster, origin, keys, sender).unwrap(), events)
}

fn wait_for(events: &Receiver<BeatEvent>, wanted: impl Fn(&BeatEvent) -> bool) -> BeatEvent {
    let deadline = Instant::now() + LONG;
    loop {
        let event = events.recv_deadline(deadline).expect("the event comes");
        if wanted(&event) {
            return event;
        }
    }
}

fn change(node: u16, change: Change) -> BeatEvent {
    BeatEvent::Change { node: NodeId(node), change }
}

fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + LONG;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn two_nodes_hear_each_other_on_all_networks_and_notice_an_end_and_a_new_start() {
    let cluster = cluster(101);
    let (a, of_a) = start(&cluster, 0, 1, keys(&[1]));
    let (b, _of_b) = start(&cluster, 1, 1, keys(&[1]));
    wait_for(&of_a, |event| *event == change(1, Change::Presence(Presence::Heard)));
    let all_up = |beats: &Beats, of| {
        let links = beats.links(NodeId(of));
        links.len() == usize::from(NETWORKS) && links.iter().all(|link| link.state == LinkState::Up)
    };
    until("both networks are up on both", || all_up(&a, 1) && all_up(&b, 0));
    assert_eq!(a.presence(NodeId(7)), Presence::Unknown);
    b.set_facts(42);
    wait_for(&of_a, |event| *event == change(1, Change::Facts(42)));
    drop(b);
    wait_for(&of_a, |event| *event == change(1, Change::Presence(Presence::Lost)));
    until("lost", || a.presence(NodeId(1)) == Presence::Lost);
    let (_b, _) = start(&cluster, 1, 2, keys(&[1]));
    wait_for(&of_a, |event| *event == change(1, Change::Restarted));
}

#[test]
fn datagrams_of_farms_arrive_once_over_any_network() {
    let cluster = cluster(102);
    let (a, _of_a) = start(&cluster, 0, 5, keys(&[1]));
    let (_b, of_b) = start(&cluster, 1, 5, keys(&[1]));
    for text in ["one", "two"] {
        a.send_farm(NodeId(1), text.as_bytes()).unwrap();
        let event = wait_for(&of_b, |event| matches!(event, BeatEvent::Farm { .. }));
        assert_eq!(event, BeatEvent::Farm { from: NodeId(0), bytes: text.into() }, "and not the copy of the one before");
    }
    a.send_farm(NodeId(1), &vec![1; limits::FARM]).unwrap();
    wait_for(&of_b, |event| matches!(event, BeatEvent::Farm { bytes, .. } if bytes.len() == limits::FARM));
    assert!(a.send_farm(NodeId(1), &vec![1; limits::FARM + 1]).is_err());
    assert!(a.send_farm(NodeId(9), b"x").is_err());
}

#[test]
fn keys_rotate_under_beats() {
    let cluster = cluster(103);
    let (of_a, of_b) = (keys(&[1]), keys(&[1]));
    let (a, _kept) = start(&cluster, 0, 1, of_a.clone());
    let (_b, events) = start(&cluster, 1, 1, of_b.clone());
    for (version, ring) in [&[1][..], &[1, 2], &[2, 1], &[2]].into_iter().enumerate() {
        of_b.replace(keys(ring).ring());
        of_a.replace(keys(ring).ring());
        let version = version as u64 + 1;
        a.set_facts(version);
        wait_for(&events, |event| *event == change(0, Change::Facts(version)));
    }
}

/// The other node, played by the test.
struct Actor {
    socket: UdpSocket,
    to: SocketAddr,
    sealer: DatagramSealer,
}

impl Actor {
    fn new(cluster: &Cluster, test: u8, numbers: &[u8]) -> Actor {
        let port = cluster.ports.heartbeat;
        let socket = UdpSocket::bind((address(test, 1, 0), port)).unwrap();
        let sealer = DatagramSealer::new(&keys(numbers).ring()).unwrap();
        Actor { socket, to: SocketAddr::new(address(test, 0, 0), port), sealer }
    }

    fn beat(&self, seq: u64, network: u8, facts: u64) -> Vec<u8> {
        let beat = Beat { from: NodeId(1), boot: Uuid::from_u128(9), epoch: 1, seq, network, heard: Vec::new(), facts };
        self.sealer.seal(BEAT, 0, &beat.encode()).unwrap()
    }

    fn send(&self, datagram: &[u8]) {
        self.socket.send_to(datagram, self.to).unwrap();
    }
}

#[test]
fn replayed_altered_misplaced_and_foreign_beats_are_worth_nothing() {
    let cluster = cluster(104);
    let (_a, events) = start(&cluster, 0, 1, keys(&[1]));
    let actor = Actor::new(&cluster, 104, &[1]);
    let first = actor.beat(1, 0, 1);
    actor.send(&first);
    wait_for(&events, |event| *event == change(1, Change::Presence(Presence::Heard)));
    wait_for(&events, |event| *event == change(1, Change::Presence(Presence::Lost)));

    actor.send(&first);
    let mut altered = actor.beat(3, 0, 66);
    let last = altered.len() - 1;
    altered[last] ^= 1;
    actor.send(&altered);
    actor.send(&actor.beat(3, 1, 66));
    let stranger = DatagramSealer::new(&keys(&[2]).ring()).unwrap();
    let beat = Beat { from: NodeId(1), boot: Uuid::nil(), epoch: 9, seq: 9, network: 0, heard: Vec::new(), facts: 66 };
    actor.send(&stranger.seal(BEAT, 0, &beat.encode()).unwrap());
    actor.send(&actor.sealer.seal(BEAT, 1, &beat.encode()).unwrap());
    actor.send(&actor.sealer.seal(BEAT, 0, b"no beat").unwrap());
    actor.send(&actor.sealer.seal(77, 0, &beat.encode()).unwrap());
    actor.send(b"rubbish");
    actor.send(&actor.beat(2, 0, 2));
    // Of all that, only the last one was heard.
    let next = wait_for(&events, |event| {
        matches!(event, BeatEvent::Change { change: Change::Facts(_) | Change::Presence(_) | Change::Restarted, .. })
    });
    assert_eq!(next, change(1, Change::Facts(2)));
}

#[test]
fn a_node_that_is_not_configured_does_not_start() {
    let (sender, _events) = unbounded();
    let origin = Origin { me: NodeId(9), epoch: 1, boot: Uuid::nil() };
    assert!(Beats::start(&cluster(105), origin, keys(&[1]), sender).err().unwrap().to_string().contains("cluster.toml"));
}

#[test]
fn a_reader_that_does_not_keep_up_loses_no_change() {
    let cluster = cluster(106);
    let (sender, events) = crossbeam::channel::bounded(1);
    let origin = Origin { me: NodeId(0), epoch: 1, boot: Uuid::nil() };
    let _a = Beats::start(&cluster, origin, keys(&[1]), sender).unwrap();
    let (b, _of_b) = start(&cluster, 1, 1, keys(&[1]));
    until("the channel is full", || events.is_full());
    for version in 1..=5 {
        b.set_facts(version);
        std::thread::sleep(Duration::from_millis(60));
    }
    wait_for(&events, |event| *event == change(1, Change::Presence(Presence::Heard)));
    wait_for(&events, |event| *event == change(1, Change::Facts(5)));
}
