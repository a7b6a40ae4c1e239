//! Rows for training, validation and test, by a seeded hash of their numbers.

/// The rows of each part, from 0, in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    /// Rows to learn from.
    pub train: Vec<usize>,
    /// Rows that say when to stop.
    pub validation: Vec<usize>,
    /// Rows for figures.
    pub test: Vec<usize>,
}

/// The hash of a row's number: two rounds of the finaliser of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014).
fn hash(seed: u64, row: u64) -> u64 {
    let mix = |mut z: u64| {
        z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    mix(mix(seed) ^ row)
}

/// Splits rows 80/10/10. The rows with the smallest hashes are for the test, those with the next ones for validation.
///
/// A tenth is rounded down, but is at least one row where there are three. The parts depend on the seed and the number
/// of rows alone. They are the same on every machine and in every later version, so that a run may write them down as a
/// seed.
///
/// ```
/// let split = datasets::split::split(300, 1);
/// assert_eq!((split.train.len(), split.validation.len(), split.test.len()), (240, 30, 30));
/// ```
pub fn split(rows: usize, seed: u64) -> Split {
    let tenth = if rows < 3 { 0 } else { (rows / 10).max(1) };
    let mut order: Vec<usize> = (0..rows).collect();
    order.sort_by_key(|row| (hash(seed, *row as u64), *row));
    let part = |range: std::ops::Range<usize>| {
        let mut part = order[range].to_vec();
        part.sort_unstable();
        part
    };
    Split { test: part(0..tenth), validation: part(tenth..2 * tenth), train: part(2 * tenth..rows) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_never_change() {
        // Numbers of SplitMix64 with the seed 0, as published with its reference implementation.
        let mix_of_zero = 0xe220_a839_7b1d_cdaf;
        assert_eq!(hash(0, mix_of_zero), mix_of_zero);
        let split = split(20, 1);
        assert_eq!((split.validation, split.test), (FIXED.0.to_vec(), FIXED.1.to_vec()));
    }

    /// Rows of 20 for validation and test with the seed 1.
    const FIXED: ([usize; 2], [usize; 2]) = ([6, 9], [8, 12]);

    #[test]
    fn every_row_is_in_one_part() {
        for (rows, seed) in [(0, 0), (1, 0), (2, 5), (3, 5), (9, 1), (10, 1), (1234, 7)] {
            let split = split(rows, seed);
            let mut all = [split.train.clone(), split.validation.clone(), split.test.clone()].concat();
            all.sort_unstable();
            assert_eq!(all, (0..rows).collect::<Vec<_>>());
            assert!(rows < 3 || !split.test.is_empty() && !split.validation.is_empty() && !split.train.is_empty());
            assert!(split.train.is_sorted() && split.test.is_sorted());
        }
    }

    #[test]
    fn parts_are_spread_over_the_file_and_differ_with_the_seed() {
        let one = split(10_000, 1);
        let mean = one.test.iter().sum::<usize>() as f64 / 1000.0;
        // The mean of 1000 of 10,000 uniform places has the standard deviation 87.
        assert!((mean - 5000.0).abs() < 400.0, "{mean}");
        let common = split(10_000, 2).test.iter().filter(|row| one.test.binary_search(row).is_ok()).count();
        // A tenth of 1000, with the standard deviation 9.
        assert!((50..150).contains(&common), "{common}");
    }
}
