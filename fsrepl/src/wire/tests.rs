//! Frames and the reader: what must come back, and what must not come through.

use super::error::WireError;
use super::header::{HEADER, Header};
use super::reader::{FrameReader, Recv};
use super::seal::{LENGTH, MOST, Opener, Sealer, TAG};
use crate::limits;
use proptest::prelude::*;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use zeroize::Zeroizing;

fn pair() -> (Sealer, Opener) {
    let secret = || Some(Zeroizing::new([7; 32]));
    (Sealer::new(secret()), Opener::new(secret()))
}

/// Delivers the given chunks, one a call at most, then ends the stream.
struct Chunks(RefCell<VecDeque<Vec<u8>>>);

impl Chunks {
    fn new(chunks: impl IntoIterator<Item = Vec<u8>>) -> Self {
        Chunks(RefCell::new(chunks.into_iter().filter(|c| !c.is_empty()).collect()))
    }
}

impl Recv for Chunks {
    fn recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        let mut chunks = self.0.borrow_mut();
        let Some(mut chunk) = chunks.pop_front() else {
            return Ok(0);
        };
        let n = chunk.len().min(buf.len());
        assert!(n > 0, "a receive without room");
        buf[..n].copy_from_slice(&chunk[..n]);
        if n < chunk.len() {
            chunks.push_front(chunk.split_off(n));
        }
        Ok(n)
    }
}

type Owned = (u64, Vec<u8>, Vec<u8>);

fn sealed(sealer: &mut Sealer, frames: &[Owned]) -> Vec<u8> {
    let mut out = Vec::new();
    for (seq, body, payload) in frames {
        sealer.seal(&mut Header::new(3).order(*seq, 0), body, payload, &mut out).expect("fits");
    }
    out
}

/// Everything that comes out before the stream ends, and how it ends.
fn drain<R: Recv>(reader: &mut FrameReader<R>) -> (Vec<Owned>, WireError) {
    let mut frames = Vec::new();
    loop {
        loop {
            let announced = reader.has_frame();
            match reader.next() {
                Ok(Some(f)) => frames.push((f.header.seq.get(), f.body.to_vec(), f.payload.to_vec())),
                Ok(None) => {
                    assert!(!announced);
                    break;
                }
                Err(e) => return (frames, e),
            }
        }
        if let Err(e) = reader.fill() {
            return (frames, e);
        }
    }
}

fn through(bytes: Vec<u8>, opener: Opener) -> (Vec<Owned>, WireError) {
    drain(&mut FrameReader::new(Chunks::new([bytes]), opener))
}

fn three() -> Vec<Owned> {
    vec![(1, vec![], vec![1; 100]), (2, vec![2; 50], vec![]), (3, vec![3; 9], vec![4; 4096])]
}

#[test]
fn a_frame_has_the_documented_shape() {
    let (mut sealer, mut opener) = pair();
    let mut header = Header::new(9).order(5, 4).at(77, 1 << 40).mtime(-1, 999).flags(1).aux(6, 8);
    let mut out = b"before".to_vec();
    sealer.seal(&mut header, b"body", b"payload", &mut out).expect("fits");
    let frame = &mut out[6..];
    assert_eq!(frame.len(), LENGTH + HEADER + 4 + 7 + TAG);
    let field = *frame.first_chunk().expect("a length");
    assert_eq!(u32::from_le_bytes(field) as usize, HEADER + 4 + 7 + TAG);
    assert!(!frame.windows(7).any(|w| w == b"payload"), "sent in the clear");
    let opened = opener.open(field, &mut frame[LENGTH..]).expect("opens");
    assert_eq!((*opened.header, opened.body, opened.payload), (header, &b"body"[..], &b"payload"[..]));
}

#[test]
fn insecure_frames_have_the_same_shape_in_the_clear() {
    let mut out = Vec::new();
    Sealer::insecure().seal(&mut Header::new(1), b"", b"payload", &mut out).expect("fits");
    assert_eq!(out.len(), LENGTH + HEADER + 7 + TAG);
    assert_eq!(&out[LENGTH + HEADER..], b"payload\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
    let (frames, end) = through(out, Opener::insecure());
    assert_eq!(frames, [(0, vec![], b"payload".to_vec())]);
    assert!(matches!(end, WireError::Closed));
}

#[test]
fn a_batch_comes_out_frame_by_frame() {
    let (mut sealer, opener) = pair();
    let (frames, end) = through(sealed(&mut sealer, &three()), opener);
    assert_eq!(frames, three());
    assert!(matches!(end, WireError::Closed));
}

#[test]
fn sealing_into_capacity_allocates_nothing() {
    let (mut sealer, _) = pair();
    let mut out = Vec::with_capacity(LENGTH + HEADER + 4096 + TAG);
    let at = out.as_ptr();
    sealer.seal(&mut Header::new(1), &[], &[0; 4096], &mut out).expect("fits");
    assert_eq!((out.as_ptr(), out.len()), (at, out.capacity()));
}

#[test]
fn the_largest_frame_goes_through_and_a_larger_one_is_refused_at_the_source() {
    let (mut sealer, opener) = pair();
    let largest = vec![(1, vec![1; limits::FRAME_BODY], vec![2; limits::FRAME_PAYLOAD])];
    let mut out = sealed(&mut sealer, &largest);
    for (body, payload) in [(limits::FRAME_BODY + 1, 0), (0, limits::FRAME_PAYLOAD + 1)] {
        let before = out.len();
        let refused = sealer.seal(&mut Header::new(1), &vec![0; body], &vec![0; payload], &mut out);
        assert!(matches!(refused, Err(WireError::TooLong { .. })) && out.len() == before);
    }
    out.extend(sealed(&mut sealer, &three()));
    let (frames, _) = through(out, opener);
    assert_eq!(frames, [largest, three()].concat(), "a refused frame must not spend a number");
}

#[test]
fn every_altered_byte_is_noticed() {
    let frame = sealed(&mut pair().0, &[(1, vec![1; 10], vec![2; 10])]);
    for at in 0..frame.len() {
        let mut altered = frame.clone();
        altered[at] ^= 0x40;
        let (frames, end) = through(altered, pair().1);
        assert!(frames.is_empty(), "byte {at}");
        assert!(matches!(end, WireError::Forged | WireError::Length { .. } | WireError::Truncated), "byte {at}: {end}");
    }
}

#[test]
fn replayed_reordered_and_missing_frames_are_noticed() {
    let (mut sealer, _) = pair();
    let [a, b, c] = [1, 2, 3].map(|seq| sealed(&mut sealer, &[(seq, vec![], vec![0; 8])]));
    for (stream, good) in [([&a, &a, &b], 1), ([&b, &a, &c], 0), ([&a, &c, &b], 1), ([&c, &c, &c], 0)] {
        let (frames, end) = through(stream.into_iter().flatten().copied().collect(), pair().1);
        assert_eq!(frames.len(), good);
        assert!(matches!(end, WireError::Forged), "{end}");
    }
}

#[test]
fn a_stream_that_ends_inside_a_frame_is_truncated() {
    let frame = sealed(&mut pair().0, &[(1, vec![], vec![0; 8])]);
    for keep in 1..frame.len() {
        let (frames, end) = through(frame[..keep].to_vec(), pair().1);
        assert!(frames.is_empty() && matches!(end, WireError::Truncated), "{keep}: {end}");
    }
}

#[test]
fn after_a_violation_the_reader_refuses() {
    let (mut sealer, opener) = pair();
    let mut bytes = sealed(&mut sealer, &three());
    bytes[LENGTH] ^= 1;
    let mut reader = FrameReader::new(Chunks::new([bytes]), opener);
    assert!(matches!(drain(&mut reader), (none, WireError::Forged) if none.is_empty()));
    assert!(matches!(reader.next(), Err(WireError::Failed)));
    assert!(matches!(reader.fill(), Err(WireError::Failed)));
}

#[test]
fn hostile_lengths_are_refused_before_anything_is_allocated() {
    for length in [0, 1, HEADER + TAG - 1, MOST + 1, u32::MAX as usize] {
        let mut reader = FrameReader::new(Chunks::new([(length as u32).to_le_bytes().to_vec()]), pair().1);
        assert!(matches!(drain(&mut reader).1, WireError::Length { length: l, .. } if l == length));
        assert_eq!(reader.capacity(), limits::RECEIVE_BUFFER);
    }
}

#[test]
fn lengths_inside_the_header_must_add_up() {
    for (body, payload) in [(1, 0), (0, 1), (u32::MAX, 1), (u32::MAX, u32::MAX), (8, 1), (limits::FRAME_BODY as u32 + 1, 0)] {
        let mut frame = Vec::new();
        Sealer::insecure().seal(&mut Header::new(1), b"", b"12345678", &mut frame).expect("fits");
        frame[LENGTH + 4..LENGTH + 8].copy_from_slice(&body.to_le_bytes());
        frame[LENGTH + 8..LENGTH + 12].copy_from_slice(&payload.to_le_bytes());
        let (frames, end) = through(frame, Opener::insecure());
        assert!(frames.is_empty() && matches!(end, WireError::Parts { .. }), "{body} {payload}: {end}");
    }
}

#[test]
fn both_ends_move_to_the_next_key_together() {
    let (mut sealer, mut opener) = pair();
    sealer.skip_to(limits::FRAMES_PER_KEY - 2);
    opener.skip_to(limits::FRAMES_PER_KEY - 2);
    let (frames, end) = through(sealed(&mut sealer, &three()), opener);
    assert_eq!(frames, three());
    assert!(matches!(end, WireError::Closed));
}

#[test]
fn the_next_key_is_another_one() {
    // The same frame number, with and without having passed the change of keys.
    let number = limits::FRAMES_PER_KEY + 1;
    let end = |first: u64| {
        let (mut sealer, mut opener) = pair();
        sealer.skip_to(first);
        let mut frame = Vec::new();
        for _ in first..=number {
            frame = sealed(&mut sealer, &three()[..1]);
        }
        opener.skip_to(number);
        through(frame, opener).1
    };
    assert!(matches!(end(number), WireError::Closed));
    assert!(matches!(end(number - 1), WireError::Forged));
}

#[test]
fn numbers_stop_before_they_wrap() {
    let (mut sealer, mut opener) = pair();
    sealer.skip_to(u64::MAX);
    opener.skip_to(u64::MAX);
    let mut out = Vec::new();
    assert!(matches!(sealer.seal(&mut Header::new(1), b"", b"", &mut out), Err(WireError::Exhausted)));
    assert!(out.is_empty());
    let mut sealed = [0; HEADER + TAG];
    assert!(matches!(opener.open((80u32).to_le_bytes(), &mut sealed), Err(WireError::Exhausted)));
}

#[test]
fn a_timeout_leaves_the_reader_as_it_was() {
    struct Late(RefCell<Vec<io::Result<Vec<u8>>>>);
    impl Recv for Late {
        fn recv(&self, buf: &mut [u8]) -> io::Result<usize> {
            let bytes = self.0.borrow_mut().pop().unwrap_or(Ok(vec![]))?;
            buf[..bytes.len()].copy_from_slice(&bytes);
            Ok(bytes.len())
        }
    }
    let (mut sealer, opener) = pair();
    let bytes = sealed(&mut sealer, &three());
    let (a, b) = bytes.split_at(120);
    let calls = vec![Ok(b.to_vec()), Err(io::ErrorKind::WouldBlock.into()), Err(io::ErrorKind::Interrupted.into()), Ok(a.to_vec())];
    let mut reader = FrameReader::new(Late(RefCell::new(calls)), opener);
    let (none, late) = drain(&mut reader);
    assert!(none.is_empty() && late.is_timeout(), "{late}");
    assert_eq!(drain(&mut reader).0, three());
}

#[test]
fn a_full_buffer_asks_for_frames_to_be_taken() {
    let (mut sealer, opener) = pair();
    let many: Vec<Owned> = (0..9).map(|i| (i, vec![], vec![0; 60_000])).collect();
    let mut reader = FrameReader::new(Chunks::new([sealed(&mut sealer, &many)]), opener);
    while reader.fill().expect("reads") > 0 {}
    assert_eq!(reader.capacity(), limits::RECEIVE_BUFFER);
    assert_eq!(drain(&mut reader).0, many);
}

fn any_frames() -> impl Strategy<Value = Vec<Owned>> {
    let bytes = |most: usize| prop_oneof![8 => 0..300usize, 1 => 0..=most].prop_map(|n| (0..n).map(|i| i as u8).collect::<Vec<u8>>());
    proptest::collection::vec((any::<u64>(), bytes(limits::FRAME_BODY), bytes(limits::FRAME_PAYLOAD)), 0..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn however_the_stream_is_cut_the_frames_are_the_same(
        frames in any_frames(),
        cuts in proptest::collection::vec(1usize..5000, 1..40),
        insecure in any::<bool>(),
    ) {
        let (mut sealer, opener) = if insecure { (Sealer::insecure(), Opener::insecure()) } else { pair() };
        let mut rest = sealed(&mut sealer, &frames);
        let mut chunks = Vec::new();
        for cut in cuts.into_iter().cycle() {
            if rest.is_empty() { break }
            let tail = rest.split_off(cut.min(rest.len()));
            chunks.push(std::mem::replace(&mut rest, tail));
        }
        let mut reader = FrameReader::new(Chunks::new(chunks), opener);
        let (got, end) = drain(&mut reader);
        prop_assert_eq!(got, frames);
        prop_assert!(matches!(end, WireError::Closed));
        prop_assert!(reader.capacity() <= limits::RECEIVE_BUFFER_MAX);
    }

    #[test]
    fn any_bytes_end_in_an_error_and_bounded_memory(
        chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..2000), 0..20),
        length in proptest::option::of(0u32..(MOST as u32 + 10)),
        insecure in any::<bool>(),
    ) {
        let opener = if insecure { Opener::insecure() } else { pair().1 };
        let first = length.map(|l| l.to_le_bytes().to_vec()).into_iter();
        let mut reader = FrameReader::new(Chunks::new(first.chain(chunks)), opener);
        let (frames, _) = drain(&mut reader);
        prop_assert!(insecure || frames.is_empty());
        prop_assert!(reader.capacity() <= limits::RECEIVE_BUFFER_MAX);
    }
}

/// `cargo test --release -p fsrepl wire::tests::cost -- --ignored --nocapture`
#[test]
#[ignore = "a measurement"]
fn cost() {
    for (name, keyed) in [("sealed", true), ("insecure", false)] {
        for size in [0, 4096, limits::FRAME_PAYLOAD] {
            let (mut sealer, mut opener) = if keyed { pair() } else { (Sealer::insecure(), Opener::insecure()) };
            let payload = vec![0x5a; size];
            let mut out = Vec::with_capacity(limits::FRAME_TOTAL);
            let rounds = 200_000_000 / (size + 2000);
            let (mut sealing, mut opening) = (std::time::Duration::ZERO, std::time::Duration::ZERO);
            let batch = 16.min((1 << 20) / (size + 100)).max(1);
            for _ in 0..rounds / batch {
                out.clear();
                let start = std::time::Instant::now();
                for _ in 0..batch {
                    sealer.seal(&mut Header::new(1), &[], &payload, &mut out).expect("fits");
                }
                let middle = std::time::Instant::now();
                for frame in out.chunks_exact_mut(LENGTH + HEADER + size + TAG) {
                    let (field, rest) = frame.split_first_chunk_mut().expect("a length");
                    std::hint::black_box(opener.open(*field, rest).expect("opens"));
                }
                sealing += middle - start;
                opening += middle.elapsed();
            }
            let per = |t: std::time::Duration| t.as_secs_f64() * 1e6 / (rounds / batch * batch) as f64;
            eprintln!(
                "{name:>8} {size:>6} B: seal {:.2} µs, open {:.2} µs, together {:.2} µs",
                per(sealing),
                per(opening),
                per(sealing + opening)
            );
        }
    }
}
