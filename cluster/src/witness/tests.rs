use super::*;
use crate::NodeId;
use crate::net::{CallError, Keys};
use crate::quorum::witness::{Reply, Request};
use fsrepl::wire::KeyRing;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use uuid::Uuid;

const LONG: Duration = Duration::from_secs(60);
const MODULE: Uuid = Uuid::from_u128(77);

/// A witness' directories.
struct Home {
    dir: TempDir,
}

impl Home {
    fn new(clusters: &[&str]) -> Home {
        let home = Home { dir: tempfile::tempdir().unwrap() };
        fs::create_dir(home.keys()).unwrap();
        for cluster in clusters {
            KeyRing::generate_file(&home.keys().join(cluster)).unwrap();
        }
        home
    }

    fn keys(&self) -> PathBuf {
        self.dir.path().join("keys")
    }

    fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    fn start(&self) -> Server {
        self.try_start().unwrap()
    }

    fn try_start(&self) -> Result<Server, fsrepl::report::Failure> {
        Server::start("127.0.0.1:0".parse().unwrap(), &self.keys(), &self.state())
    }

    fn ring(&self, cluster: &str) -> Keys {
        KeyRing::load(&self.keys().join(cluster)).unwrap().into()
    }

    fn client(&self, server: &Server, cluster: &str) -> WitnessClient {
        WitnessClient::new(server.address().unwrap(), self.ring(cluster))
    }

    fn records(&self) -> Vec<PathBuf> {
        let all = fs::read_dir(self.state()).unwrap().map(|entry| entry.unwrap().path());
        all.filter(|path| path.extension().is_some_and(|end| end == "json")).collect()
    }
}

fn generation(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

fn claim(by: u16, from: u128, next: u128) -> Request {
    Request::Claim { by: NodeId(by), lineage: vec![generation(from)], next: generation(next) }
}

fn granted(number: u128) -> Reply {
    Reply::Granted { generation: generation(number) }
}

fn ask(client: &WitnessClient, request: &Request) -> Reply {
    client.ask(MODULE, request, LONG).unwrap()
}

fn incarnation(client: &WitnessClient) -> Uuid {
    match ask(client, &Request::Query) {
        Reply::Known { incarnation, .. } => incarnation,
        other => panic!("{other:?}"),
    }
}

/// The pair of generation 1 registers.
fn register(client: &WitnessClient) {
    let (generation, primary, in_sync) = (generation(1), NodeId(1), vec![NodeId(1), NodeId(2)]);
    let request = Request::Register { incarnation: incarnation(client), version: 0, generation, primary, in_sync };
    assert_eq!(ask(client, &request), granted(1));
}

#[test]
fn what_was_granted_is_remembered_over_a_restart() {
    let home = Home::new(&["one"]);
    let server = home.start();
    register(&home.client(&server, "one"));
    assert_eq!(ask(&home.client(&server, "one"), &claim(2, 1, 2)), granted(2));
    drop(server);
    let server = home.start();
    let client = home.client(&server, "one");
    assert!(matches!(ask(&client, &claim(1, 1, 3)), Reply::Refused { record } if record.primary == NodeId(2)));
    assert_eq!(ask(&client, &claim(2, 1, 2)), granted(2), "the same request, the same answer");
}

#[test]
fn of_many_claims_at_once_one_is_granted() {
    let home = Home::new(&["one"]);
    let server = home.start();
    register(&home.client(&server, "one"));
    let replies: Vec<Reply> = std::thread::scope(|scope| {
        let claims: Vec<_> = (0..8u16)
            .map(|number| {
                let client = home.client(&server, "one");
                scope.spawn(move || ask(&client, &claim(1 + number % 2, 1, 10 + u128::from(number))))
            })
            .collect();
        claims.into_iter().map(|claim| claim.join().unwrap()).collect()
    });
    assert_eq!(replies.iter().filter(|reply| matches!(reply, Reply::Granted { .. })).count(), 1, "{replies:?}");
}

#[test]
fn a_lost_or_damaged_disk_makes_a_new_memory_that_refuses() {
    let home = Home::new(&["one"]);
    for damage in [|path: &PathBuf| fs::remove_file(path).unwrap(), |path: &PathBuf| fs::write(path, "{}\n{}\n").unwrap()] {
        let server = home.start();
        let client = home.client(&server, "one");
        register(&client);
        let before = incarnation(&client);
        drop(server);
        let records = home.records();
        assert_eq!(records.len(), 1);
        damage(&records[0]);
        let server = home.start();
        let client = home.client(&server, "one");
        assert_ne!(incarnation(&client), before);
        assert_eq!(ask(&client, &claim(2, 1, 2)), Reply::Blank);
        drop(server);
        fs::remove_file(&home.records()[0]).unwrap();
    }
}

#[test]
fn every_altered_byte_of_a_record_is_noticed() {
    let home = Home::new(&["one"]);
    let server = home.start();
    register(&home.client(&server, "one"));
    drop(server);
    let path = home.records().remove(0);
    let whole = fs::read(&path).unwrap();
    assert!(record::Cluster::load(&path).is_ok());
    for at in 0..whole.len() - 1 {
        let mut altered = whole.clone();
        altered[at] ^= 1;
        fs::write(&path, &altered).unwrap();
        assert!(matches!(record::Cluster::load(&path), Err(record::RecordError::Damaged(_))), "byte {at}");
    }
    for length in 0..whole.len() - 1 {
        fs::write(&path, &whole[..length]).unwrap();
        assert!(matches!(record::Cluster::load(&path), Err(record::RecordError::Damaged(_))), "cut at {length}");
    }
}

#[test]
fn a_record_of_a_later_program_is_left_alone() {
    let home = Home::new(&["one"]);
    drop(home.start());
    let path = home.records().remove(0);
    let line = fs::read_to_string(&path).unwrap().lines().next().unwrap().replace("\"schema\":1", "\"schema\":2") + "\n";
    let newer = format!("{line}{{\"blake3\":\"{}\"}}\n", blake3::hash(line.as_bytes()).to_hex());
    fs::write(&path, &newer).unwrap();
    let failure = home.try_start().err().unwrap();
    assert!(failure.to_string().contains("schema is 2"), "{failure}");
    assert_eq!(fs::read_to_string(&path).unwrap(), newer);
}

#[test]
fn a_key_votes_for_its_own_cluster_only() {
    let home = Home::new(&["one", "two"]);
    let server = home.start();
    let (one, two) = (home.client(&server, "one"), home.client(&server, "two"));
    register(&one);
    assert_eq!(ask(&two, &claim(2, 1, 2)), Reply::Blank, "the other cluster's module of the same id is not known");
    assert_ne!(incarnation(&one), incarnation(&two));
    let stranger = Home::new(&["three"]);
    let refused = stranger.client(&server, "three").ask(MODULE, &Request::Query, LONG).unwrap_err();
    assert!(matches!(&refused, CallError::Refused(words) if words.contains("different keys")), "{refused}");
}

#[test]
fn clusters_come_rotate_and_go_without_a_restart() {
    let home = Home::new(&["one"]);
    let server = home.start();
    let old = home.client(&server, "one");
    register(&old);
    let eventually = |what: &str, holds: &dyn Fn() -> bool| {
        let deadline = Instant::now() + LONG;
        while !holds() {
            assert!(Instant::now() < deadline, "{what}");
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    // Another cluster.
    KeyRing::generate_file(&home.keys().join("two")).unwrap();
    let two = home.client(&server, "two");
    eventually("the new cluster gets votes", &|| two.ask(MODULE, &Request::Query, LONG).is_ok());
    // A second key beside the first one.
    KeyRing::generate_file(&home.dir.path().join("fresh")).unwrap();
    let fresh: Keys = KeyRing::load(&home.dir.path().join("fresh")).unwrap().into();
    let (first, second) =
        (fs::read_to_string(home.keys().join("one")).unwrap(), fs::read_to_string(home.dir.path().join("fresh")).unwrap());
    let second = second.lines().last().unwrap();
    fs::write(home.keys().join("one"), format!("{first}{second}\n")).unwrap();
    let new = WitnessClient::new(server.address().unwrap(), fresh.clone());
    eventually("the new key votes", &|| new.ask(MODULE, &Request::Query, LONG).is_ok());
    assert_eq!(incarnation(&new), incarnation(&old), "for the same cluster");
    // The first one goes.
    fs::write(home.keys().join("one"), format!("understudy-keys 1\n{second}\n")).unwrap();
    eventually("the old key does not vote", &|| old.ask(MODULE, &Request::Query, LONG).is_err());
    assert_eq!(ask(&new, &claim(2, 1, 2)), granted(2));
    // And over a restart.
    drop((server, new));
    let server = home.start();
    let new = WitnessClient::new(server.address().unwrap(), fresh);
    assert_eq!(ask(&new, &claim(2, 1, 2)), granted(2));
    fs::remove_file(home.keys().join("one")).unwrap();
    eventually("a removed cluster gets no votes", &|| new.ask(MODULE, &Request::Query, LONG).is_err());
}

#[test]
fn what_cannot_be_written_is_not_granted() {
    let home = Home::new(&["one"]);
    let server = home.start();
    let client = home.client(&server, "one");
    register(&client);
    // The place of the next content is taken by a directory.
    let record = home.records().remove(0);
    let mut blocked = record.clone().into_os_string();
    blocked.push(".new");
    fs::create_dir(&blocked).unwrap();
    assert!(matches!(client.ask(MODULE, &claim(2, 1, 2), LONG), Err(CallError::Interrupted(_))));
    fs::remove_dir(&blocked).unwrap();
    assert_eq!(ask(&client, &claim(1, 1, 3)), granted(3), "nobody had been granted anything");
}

#[test]
fn one_witness_for_one_state_and_faults_of_files_are_told() {
    let home = Home::new(&["one"]);
    let server = home.start();
    assert!(home.try_start().err().unwrap().to_string().contains("another witness"));
    drop(server);
    fs::write(home.keys().join("bad"), "no key").unwrap();
    let server = home.start();
    register(&home.client(&server, "one"));
    drop(server);
    fs::remove_dir_all(home.keys()).unwrap();
    assert!(home.try_start().err().unwrap().to_string().contains("--keys"));
    let taken: SocketAddr = "192.0.2.1:1".parse().unwrap();
    assert!(Server::start(taken, &home.dir.path().join("none"), &home.state()).is_err());
}
