//! Random choices that can be replayed: every run prints its seed, `UNDERSTUDY_SEED` repeats it.

use std::time::{SystemTime, UNIX_EPOCH};

/// A small generator (splitmix64). Not for secrets.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// The same seed gives the same choices.
    pub fn new(seed: u64) -> Rng {
        Rng(seed)
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: u64) -> u64 {
        self.number() % end
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// One of `choices`, which are not empty.
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }
}

/// Where nothing is said: a run that fails must fail again.
const USUAL: u64 = 20_261_123;

/// The seed of this run: `UNDERSTUDY_SEED=N`, or `UNDERSTUDY_SEED=random` for one from the clock (soak runs);
/// else always the same. Printed either way.
pub fn seed(what: &str) -> u64 {
    let seed = match std::env::var("UNDERSTUDY_SEED") {
        Err(_) => USUAL,
        Ok(text) if text != "random" => text.parse().expect("UNDERSTUDY_SEED is a number, or `random`"),
        Ok(_) => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is after 1970");
            now.as_nanos() as u64 ^ u64::from(std::process::id())
        }
    };
    eprintln!("{what}: repeat with UNDERSTUDY_SEED={seed}");
    seed
}
