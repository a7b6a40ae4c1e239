//! Wolff's single-cluster Monte Carlo of the Ising model (Phys. Rev. Lett. 62, 361 (1989)).

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{Lattice, LatticeError};

/// Sum of the cluster sizes, in lattices, after which a chain has forgotten its start.
const THERMALISATION_SWEEPS: usize = 50;

/// The most bonds that a site has.
pub(super) const BONDS: usize = 4;

/// Random words drawn at a time.
const WORDS: usize = 1024;

/// Keeps these random numbers apart from those of every other sampler with the same seed.
const KEY: [u8; 8] = *b"wolff   ";

/// A Markov chain whose stationary law is the Ising model `exp(Σ_bonds s_i s_j / T)` on a [`Lattice`].
///
/// One update grows a cluster of equal spins from a random site, each bond within it open with probability `1 −
/// exp(−2/T)`, and flips it. Where two bonds join the same two sites each has its own chance; a bond from a site to
/// itself changes nothing.
///
/// A chain depends on its seed and its stream alone; chains of different streams are independent. Even streams start
/// from all spins up, odd ones from random spins, so that too short a thermalisation shows as a difference between
/// them.
///
/// ```
/// use datasets::lattice::{Boundary, Lattice, WolffChain};
///
/// let lattice = Lattice::new(8, 8, Boundary::Periodic)?;
/// let mut chain = WolffChain::new(&lattice, 2.0, 1, 0)?;
/// assert_eq!((chain.energy(), chain.magnetisation()), (-128.0, 64));
/// chain.thermalise();
/// let size = chain.update();
/// assert!((1..=64).contains(&size));
/// assert_eq!(chain.magnetisation(), chain.spins().iter().map(|&s| i64::from(s)).sum::<i64>());
/// # Ok::<(), datasets::lattice::LatticeError>(())
/// ```
#[derive(Debug, Clone)]
pub struct WolffChain {
    /// The sites, then one that is never up or down: the neighbour of an edge.
    spins: Vec<i8>,
    neighbours: Vec<[u32; BONDS]>,
    /// A bond is open when a random word is below: `2³² (1 − exp(−2/T))`.
    open_below: u64,
    magnetisation: i64,
    rng: ChaCha8Rng,
    words: Box<[u32; WORDS]>,
    /// The first word that is not used.
    next_word: usize,
    /// Sites of the cluster in the order of joining; one longer than can be, because an entry is written before it is
    /// known whether it counts.
    cluster: Vec<u32>,
}

impl WolffChain {
    /// A chain at its start.
    ///
    /// # Errors
    /// [`LatticeError::Temperature`] when it is not positive and finite.
    pub fn new(lattice: &Lattice, temperature: f64, seed: u64, stream: u64) -> Result<Self, LatticeError> {
        if !(temperature > 0.0 && temperature.is_finite()) {
            return Err(LatticeError::Temperature { found: temperature });
        }
        let mut rng = chain_rng(seed, KEY, stream);
        let sites = lattice.sites();
        let mut spins = vec![1; sites + 1];
        if stream % 2 == 1 {
            spins.fill_with(|| if rng.random() { 1 } else { -1 });
        }
        spins[sites] = 0;
        Ok(Self {
            neighbours: neighbours(lattice),
            open_below: (-(-2.0 / temperature).exp_m1() * 2f64.powi(32)).round() as u64,
            magnetisation: spins.iter().map(|&s| i64::from(s)).sum(),
            spins,
            rng,
            words: Box::new([0; WORDS]),
            next_word: WORDS,
            cluster: vec![0; sites + 1],
        })
    }

    /// Runs until the start is forgotten: clusters of 50 times the lattice in sum, then as many clusters again.
    ///
    /// The second half is not only caution: a run that ends when a sum of sizes is reached ends more often after a
    /// large cluster.
    pub fn thermalise(&mut self) {
        let (clusters, _) = self.sweeps(THERMALISATION_SWEEPS);
        for _ in 0..clusters {
            self.update();
        }
    }

    /// Runs until the clusters have `sweeps` times the lattice in sum; their number and the sum.
    pub(super) fn sweeps(&mut self, sweeps: usize) -> (usize, usize) {
        let (mut clusters, mut sum) = (0, 0);
        while sum < sweeps * self.sites() {
            sum += self.update();
            clusters += 1;
        }
        (clusters, sum)
    }

    /// Flips one cluster and returns its size.
    pub fn update(&mut self) -> usize {
        let Self { spins, neighbours, open_below, rng, words, cluster, .. } = self;
        let (spins, neighbours, cluster) = (&mut spins[..], &neighbours[..], &mut cluster[..]);
        let mut next_word = self.next_word;
        let seed = rng.random_range(0..neighbours.len() as u32);
        let up = spins[seed as usize];
        spins[seed as usize] = -up;
        cluster[0] = seed;
        let (mut seen, mut size) = (0, 1);
        // First in, first out: the next site is then known before the fate of the last one's neighbours.
        while seen < size {
            if next_word + BONDS > WORDS {
                rng.fill(&mut words[..]);
                next_word = 0;
            }
            // Without branches on random numbers, which no processor predicts.
            for neighbour in neighbours[cluster[seen] as usize] {
                let spin = &mut spins[neighbour as usize];
                let same = *spin == up;
                let open = same & (u64::from(words[next_word % WORDS]) < *open_below);
                *spin -= 2 * up * i8::from(open);
                cluster[size] = neighbour;
                next_word += usize::from(same);
                size += usize::from(open);
            }
            seen += 1;
        }
        self.next_word = next_word;
        self.magnetisation -= 2 * i64::from(up) * size as i64;
        size
    }

    /// Number of sites N.
    pub fn sites(&self) -> usize {
        self.neighbours.len()
    }

    /// The spins, each 1 or −1.
    pub fn spins(&self) -> &[i8] {
        &self.spins[..self.sites()]
    }

    /// `−Σ_bonds s_i s_j`, summed anew at each call.
    pub fn energy(&self) -> f64 {
        // Every bond is seen from both its ends, one from a site to itself twice from there.
        let twice: i64 = self
            .neighbours
            .iter()
            .zip(self.spins())
            .map(|(around, &spin)| {
                let field: i8 = around.iter().map(|&site| self.spins[site as usize]).sum();
                i64::from(spin * field)
            })
            .sum();
        -(twice / 2) as f64
    }

    /// `Σ_i s_i`.
    pub fn magnetisation(&self) -> i64 {
        self.magnetisation
    }

    /// Random bits of the chain's own.
    pub(super) fn rng(&mut self) -> &mut impl Rng {
        &mut self.rng
    }
}

/// Random numbers of one stream of a chain, apart from those of chains with another `key`.
pub(super) fn chain_rng(seed: u64, key: [u8; 8], stream: u64) -> ChaCha8Rng {
    let mut whole = [0; 32];
    for (slot, word) in whole.chunks_exact_mut(8).zip([seed.to_le_bytes(), key, stream.to_le_bytes()]) {
        slot.copy_from_slice(&word);
    }
    ChaCha8Rng::from_seed(whole)
}

/// The other ends of each site's bonds; N where there is no bond.
pub(super) fn neighbours(lattice: &Lattice) -> Vec<[u32; BONDS]> {
    let n = lattice.sites();
    let mut neighbours = vec![[n as u32; BONDS]; n];
    let mut degree = vec![0u8; n];
    for (i, j) in lattice.bonds() {
        for (site, other) in [(i, j), (j, i)] {
            neighbours[site][usize::from(degree[site])] = other as u32;
            degree[site] += 1;
        }
    }
    neighbours
}

#[cfg(test)]
mod tests;
