//! Keys of captured graphs: numbers, compared whole.

/// The key of a captured graph, a sequence of numbers. Solves with equal keys make the same operations, so that one
/// graph serves them all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CacheKey(Vec<u64>);

impl CacheKey {
    /// The empty key, from which others are built.
    pub fn new() -> Self {
        Self::default()
    }

    /// The key with one more number.
    #[must_use]
    pub fn with(mut self, number: u64) -> Self {
        self.0.push(number);
        self
    }

    /// The key with the bits of one more floating point number.
    #[must_use]
    pub fn with_bits(self, number: f64) -> Self {
        self.with(number.to_bits())
    }

    /// The key with all numbers of another one. Their count goes first, so that different sequences never make the same
    /// key.
    #[must_use]
    pub fn with_key(mut self, other: &Self) -> Self {
        self.0.push(other.0.len() as u64);
        self.0.extend(&other.0);
        self
    }
}
