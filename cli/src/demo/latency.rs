//! Distribution of latencies in constant memory.

/// Buckets per power of two: values are kept to 3 %.
const STEPS: u32 = 32;
const BUCKETS: usize = (64 * STEPS) as usize;

/// How often which latency was seen.
#[derive(Clone)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram { counts: vec![0; BUCKETS], total: 0 }
    }
}

impl Histogram {
    pub fn add(&mut self, nanoseconds: u64) {
        self.counts[bucket(nanoseconds)] += 1;
        self.total += 1;
    }

    pub fn merge(&mut self, other: &Histogram) {
        self.counts.iter_mut().zip(&other.counts).for_each(|(count, more)| *count += more);
        self.total += other.total;
    }

    pub fn total(&self) -> u64 {
        self.total
    }

    /// In microseconds; `None` without any value.
    pub fn quantile(&self, part: f64) -> Option<f64> {
        let wanted = ((self.total as f64 * part).ceil() as u64).max(1);
        let mut seen = 0;
        let found = self.counts.iter().position(|count| {
            seen += count;
            seen >= wanted
        })?;
        Some(lower_end(found) as f64 / 1000.0)
    }
}

fn bucket(value: u64) -> usize {
    if value < u64::from(STEPS) {
        return value as usize;
    }
    let shift = value.ilog2() - STEPS.ilog2();
    (shift * STEPS) as usize + (value >> shift) as usize
}

fn lower_end(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    let steps = u64::from(STEPS);
    if bucket < 2 * steps {
        return bucket;
    }
    let shift = bucket / steps - 1;
    (bucket - shift * steps) << shift
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_keep_three_percent() {
        for value in (0..63).flat_map(|bit| [1_u64 << bit, (1 << bit) + (1 << bit) / 3, (2 << bit) - 1]) {
            let low = lower_end(bucket(value));
            assert!(low <= value && value - low <= value / 32, "{value} {low}");
        }
        assert!(bucket(u64::MAX) < BUCKETS);
    }

    #[test]
    fn quantiles() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile(0.5), None);
        (1..=1000).for_each(|n| histogram.add(n * 1000));
        let half = histogram.quantile(0.5).expect("values");
        assert!((484.0..=500.0).contains(&half), "{half}");
        let mut twice = histogram.clone();
        twice.merge(&histogram);
        assert_eq!((twice.total(), twice.quantile(0.5)), (2000, Some(half)));
    }
}
