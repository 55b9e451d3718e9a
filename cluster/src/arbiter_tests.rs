use super::*;
use crate::net::Server;
use crate::quorum::witness::Request;
use crate::quorum::{Answer, Refusal};
use crate::replica::{Replica, Right};
use crate::witness;
use fsrepl::wire::Key;
use std::net::TcpListener;
use std::sync::atomic::AtomicUsize;

const SET: Uuid = Uuid::from_u128(77);
const LONG: Duration = Duration::from_secs(60);

fn keys(number: u8) -> Keys {
    KeyRing::new(vec![Key::new([number; 16], [number; 32])]).unwrap().into()
}

fn node(number: u16) -> Identity {
    Identity::node("demo", NodeId(number), format!("node{number}"))
}

fn generation(number: u128) -> Generation {
    Uuid::from_u128(number)
}

/// A primary in sync that has lost its secondary and wants to begin generation 2.
fn primary() -> Party {
    let mut replica = Replica::first(generation(1));
    replica.close_in();
    replica.right = Right::Quorum;
    replica.intend(generation(2));
    Party { node: NodeId(1), replica, willing: true, serving: true }
}

fn settings(peer_addresses: Vec<SocketAddr>, quorum: Quorum) -> Settings {
    let profile = Profile { hold: LONG, ..Profile::LAN };
    Settings { me: node(1), peer: NodeId(2), peer_addresses, keys: keys(1), module: "db".into(), quorum, profile }
}

/// The peer's daemon, which answers like this.
fn peer(answer: impl Fn(&PeerQuestion) -> Message + Send + Sync + 'static) -> Server {
    let handler = move |_: &_, request: Vec<u8>| {
        Message::answer(&request, |message| match message {
            Message::Ask { module, question } if module == "db" => answer(&question),
            _ => Message::error("unknown_module", "no such module"),
        })
    };
    Server::start(&["127.0.0.3:0".parse().unwrap()], node(2), keys(1), Arc::new(handler), Arc::new(|_, _| {})).unwrap()
}

fn dead() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.4:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn decide(settings: Settings) -> Verdict {
    ClusterArbiter::new(settings).decide(SET, primary(), generation(2), &|| false)
}

#[test]
fn the_peers_consent_is_enough_and_comes_over_the_network_that_works() {
    let server = peer(|question| Message::Answer { next: question.next, answer: Answer::Yes { abandoned: vec![generation(9)] } });
    let (_silent, dead) = dead();
    let verdict = decide(settings(vec![dead, server.addresses()[0]], Quorum::Tiebreaker { address: "240.0.0.1".parse().unwrap() }));
    assert_eq!(verdict, Verdict::Granted { by: Granter::Peer, superseded: vec![generation(9)] });
}

#[test]
fn a_peer_with_newer_data_refuses() {
    let server = peer(|question| Message::Answer { next: question.next, answer: Answer::No(Refusal::Newer) });
    // Nobody else could end the question, however late the answer comes.
    let verdict = decide(settings(server.addresses().to_vec(), Quorum::Tiebreaker { address: "240.0.0.1".parse().unwrap() }));
    assert!(matches!(verdict, Verdict::Refused { reason } if reason.contains("newer")));
}

#[test]
fn a_question_is_asked_again_until_it_is_answered() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = asked.clone();
    let server = peer(move |question| match counted.fetch_add(1, Ordering::SeqCst) {
        0 => Message::error("busy", "not yet"),
        1 => Message::Answer { next: generation(5), answer: Answer::Yes { abandoned: vec![] } },
        _ => Message::Answer { next: question.next, answer: Answer::Yes { abandoned: vec![] } },
    });
    let verdict = decide(settings(server.addresses().to_vec(), Quorum::Tiebreaker { address: "240.0.0.1".parse().unwrap() }));
    assert!(matches!(verdict, Verdict::Granted { by: Granter::Peer, .. }));
    assert!(asked.load(Ordering::SeqCst) >= 3, "an answer about another generation counts for nothing");
}

#[test]
fn a_silent_peer_leaves_it_to_the_witness() {
    let home = tempfile::tempdir().unwrap();
    let (folder, state) = (home.path().join("keys"), home.path().join("state"));
    std::fs::create_dir(&folder).unwrap();
    let ring = KeyRing::generate_file(&folder.join("demo")).unwrap();
    let server = witness::Server::start("127.0.0.1:0".parse().unwrap(), &folder, &state).unwrap();
    let (_silent, dead) = dead();
    let quorum = Quorum::Witness { address: server.address().unwrap(), keys: ring.into() };
    let arbiter = ClusterArbiter::new(settings(vec![dead], quorum));
    // It does not know the module: it cannot tell, so nobody is granted anything.
    let waits = AtomicUsize::new(0);
    let verdict = arbiter.decide(SET, primary(), generation(2), &|| waits.fetch_add(1, Ordering::SeqCst) > 20);
    assert_eq!(verdict, Verdict::Cancelled);

    let witness = arbiter.witness().unwrap();
    let crate::quorum::witness::Reply::Known { incarnation, .. } = witness.ask(SET, &Request::Query, LONG).unwrap() else {
        panic!("known")
    };
    let in_sync = vec![NodeId(1), NodeId(2)];
    let register = Request::Register { incarnation, version: 0, generation: generation(1), primary: NodeId(1), in_sync };
    witness.ask(SET, &register, LONG).unwrap();
    let verdict = arbiter.decide(SET, primary(), generation(2), &|| false);
    assert_eq!(verdict, Verdict::Granted { by: Granter::Witness, superseded: vec![] });
    // Another claim of the same generation finds that it has gone.
    let mut rival = primary();
    rival.node = NodeId(2);
    let verdict = arbiter.decide(SET, rival, generation(3), &|| false);
    assert!(matches!(verdict, Verdict::Refused { reason } if reason.contains("witness")));
}

#[test]
fn a_tiebreaker_that_answers_grants_and_one_that_does_not_holds_too_long() {
    let (_silent, dead) = dead();
    let verdict = decide(settings(vec![dead], Quorum::Tiebreaker { address: "127.0.0.1".parse().unwrap() }));
    assert_eq!(verdict, Verdict::Granted { by: Granter::Tiebreaker, superseded: vec![] });
    let mut short = settings(vec![dead], Quorum::Tiebreaker { address: "240.0.0.1".parse().unwrap() });
    short.profile.hold = Duration::from_millis(300);
    assert_eq!(decide(short), Verdict::HeldTooLong);
}

#[test]
fn without_a_quorum_a_silent_peer_is_left_behind() {
    let (_silent, dead) = dead();
    assert_eq!(decide(settings(vec![dead], Quorum::None)), Verdict::Granted { by: Granter::Nobody, superseded: vec![] });
    let mut own = primary();
    own.replica.right = Right::Here;
    let arbiter = ClusterArbiter::new(settings(vec![dead], Quorum::None));
    assert_eq!(arbiter.decide(SET, own, generation(2), &|| false), Verdict::Granted { by: Granter::Own, superseded: vec![] });
}

#[test]
fn the_configured_quorum_is_taken_with_its_key() {
    let home = tempfile::tempdir().unwrap();
    let key_file = home.path().join("witness.key");
    let address: SocketAddr = "10.0.0.9:7409".parse().unwrap();
    let configured = config::Quorum::Witness { address, key_file: key_file.clone() };
    assert!(Quorum::of(Some(&configured)).is_err());
    KeyRing::generate_file(&key_file).unwrap();
    assert_eq!(Quorum::of(Some(&configured)).unwrap().kind(), Kind::Witness);
    assert_eq!(Quorum::of(None).unwrap().kind(), Kind::None);
}
