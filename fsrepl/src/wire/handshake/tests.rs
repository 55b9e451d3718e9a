//! Two ends over real TCP on the loopback address; hostile ends from memory.

use super::*;
use crate::wire::keys::KeyRing;
use crate::wire::reader::FrameReader;
use proptest::prelude::*;
use std::net::TcpListener;
use std::thread;

type Outcome = Result<Established, HandshakeError>;

fn key(n: u8) -> Key {
    Key::new([n; 16], [n; 32])
}

fn keys(numbers: &[u8]) -> Auth {
    Auth::Keys(KeyRing::new(numbers.iter().map(|n| key(*n)).collect()).expect("a ring"))
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

fn sockets() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let near = TcpStream::connect(listener.local_addr().expect("an address")).expect("connects");
    (near, listener.accept().expect("accepts").0)
}

/// What both ends make of each other; the streams stay open until both are done.
fn meet(
    near: impl FnOnce(&TcpStream) -> Outcome + Send + 'static,
    far: impl FnOnce(&TcpStream) -> Outcome,
) -> ((TcpStream, Outcome), (TcpStream, Outcome)) {
    let (a, b) = sockets();
    let connector = thread::spawn(move || {
        let outcome = near(&a);
        (a, outcome)
    });
    let outcome = far(&b);
    (connector.join().expect("no panic"), (b, outcome))
}

fn hello(_: Channel, said: &[u8]) -> Result<Vec<u8>, String> {
    assert_eq!(said, b"I am A");
    Ok(b"I am B".to_vec())
}

fn meet_with(near: Auth, far: Auth, channel: Channel) -> (Outcome, Outcome) {
    let ((_a, near), (_b, far)) = meet(move |s| connect(s, &near, channel, b"I am A", soon()), |s| accept(s, &far, soon(), hello));
    (near, far)
}

fn meet_versions(near: Versions, far: Versions) -> (Outcome, Outcome) {
    let ((_a, near), (_b, far)) = meet(
        move |s| Timed::run(s, soon(), |s| connect_on(s, near, &keys(&[1]), Channel::Bulk, b"I am A")),
        |s| Timed::run(s, soon(), |s| accept_on(s, far, &keys(&[1]), hello)),
    );
    (near, far)
}

fn frame_of(sealer: &mut Sealer, text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    sealer.seal(&mut Header::new(9), text, &[], &mut out).expect("fits");
    out
}

#[test]
fn both_meet_and_talk_both_ways() {
    for auth in [keys(&[1]), Auth::Insecure] {
        for channel in [Channel::Ordered, Channel::Bulk] {
            let (near, far) = meet_with(auth.clone(), auth.clone(), channel);
            let (mut near, mut far) = (near.expect("connects"), far.expect("accepts"));
            assert_eq!((&near.peer_hello[..], &far.peer_hello[..]), (&b"I am B"[..], &b"I am A"[..]));
            assert_eq!((near.channel, far.channel, near.version, far.version), (channel, channel, 1, 1));
            for (from, to) in [(&mut near.sealer, &mut far.opener), (&mut far.sealer, &mut near.opener)] {
                let mut sealed = frame_of(from, b"text");
                let (field, rest) = sealed.split_first_chunk_mut().expect("a length");
                assert_eq!(to.open(*field, rest).expect("opens").body, b"text");
            }
        }
    }
}

#[test]
fn frames_sent_right_behind_the_handshake_are_not_lost() {
    let near = |mut s: &TcpStream| {
        let mut met = connect(s, &keys(&[1]), Channel::Ordered, b"I am A", soon())?;
        let mut out = frame_of(&mut met.sealer, b"first");
        out.extend(frame_of(&mut met.sealer, b"second"));
        s.write_all(&out)?;
        s.shutdown(std::net::Shutdown::Write)?;
        Ok(met)
    };
    let ((_a, near), (b, far)) = meet(near, |s| accept(s, &keys(&[1]), soon(), hello));
    near.expect("connects");
    assert_eq!((b.read_timeout().expect("known"), b.write_timeout().expect("known")), (None, None));
    let mut reader = FrameReader::new(b, far.expect("accepts").opener);
    let mut got = Vec::new();
    while reader.fill().is_ok() {
        while let Some(frame) = reader.next().expect("opens") {
            got.push(frame.body.to_vec());
        }
    }
    assert_eq!(got, [b"first".to_vec(), b"second".to_vec()]);
}

#[test]
fn directions_and_connections_have_keys_of_their_own() {
    let opens = |from: &mut Sealer, to: &mut Opener| {
        let mut sealed = frame_of(from, b"text");
        let (field, rest) = sealed.split_first_chunk_mut().expect("a length");
        to.open(*field, rest).is_ok()
    };
    let (near, far) = meet_with(keys(&[1]), keys(&[1]), Channel::Ordered);
    let (other, _) = meet_with(keys(&[1]), keys(&[1]), Channel::Ordered);
    let (mut near, mut other) = (near.expect("connects"), other.expect("connects"));
    assert!(!opens(&mut near.sealer, &mut near.opener), "a reflected frame");
    assert!(!opens(&mut other.sealer, &mut far.expect("accepts").opener), "a frame of another connection");
}

#[test]
fn channels_have_keys_of_their_own() {
    let greeting = Greeting::default();
    let schedule = Schedule::new(&[1; 32], Ephemeral::new(false).expect("random"), &[0; 32], &greeting, &greeting).expect("agrees");
    let derived = [End::Connector, End::Acceptor].map(|end| [1, 2].map(|channel| schedule.frames(end, channel)));
    let all = derived.as_flattened();
    assert!((0..4).all(|i| (0..i).all(|j| all[i] != all[j])));
}

#[test]
fn an_acceptor_with_several_keys_takes_any_of_them() {
    for (near, far) in [(&[1][..], &[1, 2][..]), (&[2], &[1, 2]), (&[2, 1], &[1, 2]), (&[1, 3], &[2, 1])] {
        let (near, far) = meet_with(keys(near), keys(far), Channel::Ordered);
        assert!(near.is_ok() && far.is_ok());
    }
}

#[test]
fn different_keys_are_called_so_on_both_sides() {
    let same_id = Auth::Keys(KeyRing::new(vec![Key::new([1; 16], [9; 32])]).expect("a ring"));
    for far in [keys(&[2]), same_id] {
        let (near, far) = meet_with(keys(&[1]), far, Channel::Ordered);
        for end in [near, far] {
            let told = end.expect_err("refused").to_string();
            assert!(told.contains("different keys") && told.contains(&"01".repeat(16)), "{told}");
        }
    }
}

#[test]
fn insecure_and_keyed_say_so() {
    let (near, far) = meet_with(Auth::Insecure, keys(&[1]), Channel::Ordered);
    assert!(matches!((near, far), (Err(HandshakeError::PeerKeyed), Err(HandshakeError::PeerInsecure))));
    let (near, far) = meet_with(keys(&[1]), Auth::Insecure, Channel::Ordered);
    assert!(matches!((near, far), (Err(HandshakeError::PeerInsecure), Err(HandshakeError::PeerKeyed))));
}

#[test]
fn a_refusal_reaches_the_connector_in_words() {
    let far = |s: &TcpStream| accept(s, &keys(&[1]), soon(), |_, _| Err("not empty\x1b[2J: give --discard-local".into()));
    let ((_a, near), (_b, far)) = meet(|s| connect(s, &keys(&[1]), Channel::Ordered, b"", soon()), far);
    assert!(matches!(near, Err(HandshakeError::Refused(words)) if words == "not empty [2J: give --discard-local"));
    assert!(matches!(far, Err(HandshakeError::Refusing(_))));
}

#[test]
fn hellos_are_bounded_at_both_ends() {
    let most = vec![7; limits::HELLO];
    let (a, b) = (most.clone(), most.clone());
    let ((_a, near), (_b, far)) =
        meet(move |s| connect(s, &keys(&[1]), Channel::Ordered, &a, soon()), |s| accept(s, &keys(&[1]), soon(), |_, _| Ok(b)));
    assert_eq!((near.expect("connects").peer_hello, far.expect("accepts").peer_hello), (most.clone(), most));

    let more = vec![7; limits::HELLO + 1];
    let (s, _t) = sockets();
    assert!(matches!(connect(&s, &keys(&[1]), Channel::Ordered, &more, soon()), Err(HandshakeError::HelloTooLong(_))));
    let ((_a, near), (_b, far)) =
        meet(|s| connect(s, &keys(&[1]), Channel::Ordered, b"", soon()), |s| accept(s, &keys(&[1]), soon(), |_, _| Ok(more)));
    assert!(matches!((near, far), (Err(HandshakeError::Refused(_)), Err(HandshakeError::Refusing(_)))));
}

#[test]
fn versions_meet_at_the_newest_both_know_or_are_named() {
    let v = |oldest, newest| Versions { oldest, newest };
    let (near, far) = meet_versions(v(1, 3), v(2, 5));
    assert_eq!((near.expect("connects").version, far.expect("accepts").version), (3, 3));
    let (near, far) = meet_versions(v(1, 1), v(2, 4));
    for (end, ours, theirs) in [(near, "1", "2 to 4"), (far, "2 to 4", "1")] {
        let told = end.expect_err("refused").to_string();
        assert!(told.contains(&format!("this node speaks {ours}, the peer {theirs}")), "{told}");
    }
}

#[test]
fn strangers_are_recognised() {
    let (mut a, b) = sockets();
    a.write_all(b"GET / HTTP/1.1\r\n\r\n").expect("written");
    assert!(matches!(accept(&b, &keys(&[1]), soon(), hello), Err(HandshakeError::Stranger)));
    let (a, mut b) = sockets();
    b.write_all(b"SSH-2.0-x\r\n").expect("written");
    assert!(matches!(connect(&a, &keys(&[1]), Channel::Ordered, b"", soon()), Err(HandshakeError::Stranger)));
    // Our own greeting sent back.
    let (a, mut b) = sockets();
    let echo = thread::spawn(move || {
        let mut bytes = [0; greeting::SIZE];
        b.read_exact(&mut bytes).expect("greeted");
        b.write_all(&bytes).expect("written");
        b
    });
    assert!(matches!(connect(&a, &keys(&[1]), Channel::Ordered, b"", soon()), Err(HandshakeError::Stranger)));
    echo.join().expect("no panic");
}

#[test]
fn silence_ends_at_the_deadline_and_hanging_up_at_once() {
    let (a, b) = sockets();
    let short = Instant::now() + Duration::from_millis(30);
    assert!(matches!(connect(&a, &keys(&[1]), Channel::Ordered, b"", short), Err(HandshakeError::Timeout)));
    assert!(matches!(connect(&b, &keys(&[1]), Channel::Ordered, b"", short), Err(HandshakeError::Timeout)));
    let (a, b) = sockets();
    drop(a);
    assert!(matches!(accept(&b, &keys(&[1]), soon(), hello), Err(HandshakeError::Closed)));
}

/// Plays back bytes as the other end; what is written is counted and dropped.
struct Playback<'a>(&'a [u8], usize);

impl Read for Playback<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read(buf)
    }
}

impl Write for Playback<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.1 += buf.len();
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn never(_: Channel, _: &[u8]) -> Result<Vec<u8>, String> {
    panic!("an unproven hello was shown to the application")
}

#[test]
fn a_recorded_connector_gets_nowhere() {
    struct Tap<'a>(&'a TcpStream, Vec<u8>);
    impl Read for Tap<'_> {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            let n = self.0.read(buf)?;
            self.1.extend_from_slice(&buf[..n]);
            Ok(n)
        }
    }
    impl Write for Tap<'_> {
        fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
            self.0.write(buf)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut recording = Vec::new();
    let (_, (_, far)) = meet(
        |s| connect(s, &keys(&[1]), Channel::Ordered, b"I am A", soon()),
        |s| {
            let mut tap = Tap(s, Vec::new());
            let outcome = accept_on(&mut tap, VERSIONS, &keys(&[1]), hello);
            recording = tap.1;
            outcome
        },
    );
    far.expect("accepts");
    let again = accept_on(&mut Playback(&recording, 0), VERSIONS, &keys(&[1]), never);
    assert!(matches!(again, Err(HandshakeError::DifferentKeys { .. })));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Fields are likely ones, so that the random part is reached deeper than the magic.
    #[test]
    fn hostile_ends_get_an_error_and_nothing_else(
        random in proptest::collection::vec(any::<u8>(), 0..600),
        verdict in 0u8..6, mode in 0u8..3, channel in 0u8..4,
        newest in 0u16..3, public in any::<[u8; 32]>(), known in any::<bool>(), zero in any::<bool>(),
        keyed in any::<bool>(), raw in any::<bool>(),
    ) {
        let auth = if keyed { keys(&[1]) } else { Auth::Insecure };
        let bytes = |magic| {
            let greeting = Greeting {
                magic, oldest: 1.into(), newest: newest.into(), mode, channel, verdict, reserved: 0,
                key_id: [known.into(); 16], public: if zero { [0; 32] } else { public },
            };
            let mut all = if raw { vec![] } else { greeting.as_bytes().to_vec() };
            all.extend_from_slice(&random);
            all
        };
        let far = accept_on(&mut Playback(&bytes(greeting::CONNECTOR), 0), VERSIONS, &auth, never);
        prop_assert!(far.is_err());
        let mut connector = Playback(&bytes(greeting::ACCEPTOR), 0);
        prop_assert!(connect_on(&mut connector, VERSIONS, &auth, Channel::Ordered, b"secret").is_err());
        prop_assert!(connector.1 <= greeting::SIZE + 32, "a hello was sent to an unproven acceptor");
    }
}
