//! Makes a failing sequence short by leaving out what it fails without.

/// Attempts in all; each runs a sequence on fresh directories.
const ATTEMPTS: usize = 150;

/// A short part of `ops` that still fails. The last operation always stays.
pub fn shrink<T: Clone>(ops: &[T], mut fails: impl FnMut(&[T]) -> bool) -> Vec<T> {
    let mut ops = ops.to_vec();
    let mut attempts = ATTEMPTS;
    let mut chunk = ops.len() / 2;
    while chunk > 0 {
        let mut at = 0;
        while at + chunk < ops.len() {
            if attempts == 0 {
                return ops;
            }
            attempts -= 1;
            let shorter: Vec<_> = ops[..at].iter().chain(&ops[at + chunk..]).cloned().collect();
            if fails(&shorter) {
                ops = shorter;
            } else {
                at += chunk;
            }
        }
        chunk /= 2;
    }
    ops
}

#[test]
fn what_is_not_needed_is_left_out() {
    let ops: Vec<u32> = (0..100).collect();
    let short = shrink(&ops, |ops| ops.contains(&17) && ops.contains(&60) && ops.last() == Some(&99));
    assert_eq!(short, [17, 60, 99]);
}
