//! Which particles there are: how many, of which kinds, in how many dimensions.

use super::ClusterError;

/// `n` particles in `d` dimensions, of one kind or of several. Particles of one kind may change places, others may not.
///
/// ```
/// use datasets::particles::Composition;
/// let water = Composition::new(3, 3)?.with_kinds(&[8, 1, 1])?;
/// assert_eq!((water.dimension(), water.kinds()), (9, &[1, 0, 0][..]));
/// assert!(Composition::new(3, 3)?.with_kinds(&[8, 1]).is_err());
/// # Ok::<(), datasets::particles::ClusterError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Composition {
    particles: usize,
    space: usize,
    kinds: Vec<usize>,
}

impl Composition {
    /// `particles` equal particles in `space` dimensions.
    ///
    /// # Errors
    /// [`ClusterError::Size`] for fewer than 2 particles or a space that has not 1, 2 or 3 dimensions.
    pub fn new(particles: usize, space: usize) -> Result<Self, ClusterError> {
        if particles < 2 || !(1..=3).contains(&space) {
            return Err(ClusterError::Size { particles, space });
        }
        Ok(Self { particles, space, kinds: vec![0; particles] })
    }

    /// The same particles, of the kinds that any numbers tell apart. None given: all are equal.
    ///
    /// # Errors
    /// [`ClusterError::Kinds`] unless there is a number for each particle, or none at all.
    pub fn with_kinds(self, kinds: &[usize]) -> Result<Self, ClusterError> {
        if kinds.is_empty() {
            return Ok(Self { kinds: vec![0; self.particles], ..self });
        }
        if kinds.len() != self.particles {
            return Err(ClusterError::Kinds { found: kinds.len(), particles: self.particles });
        }
        let mut names = kinds.to_vec();
        names.sort_unstable();
        names.dedup();
        let place = |kind: &usize| names.binary_search(kind).expect("one of them");
        Ok(Self { kinds: kinds.iter().map(place).collect(), ..self })
    }

    /// Particles n.
    pub fn particles(&self) -> usize {
        self.particles
    }

    /// Dimensions d of the space that they are in.
    pub fn space(&self) -> usize {
        self.space
    }

    /// Numbers of a configuration, n d.
    pub fn dimension(&self) -> usize {
        self.particles * self.space
    }

    /// The kind of each particle, numbered from 0.
    pub fn kinds(&self) -> &[usize] {
        &self.kinds
    }

    /// Moves the centre to the origin.
    pub fn centre(&self, x: &mut [f64]) {
        let (n, d) = (self.particles as f64, self.space);
        for a in 0..d {
            let mean = x.iter().skip(a).step_by(d).sum::<f64>() / n;
            x.iter_mut().skip(a).step_by(d).for_each(|x| *x -= mean);
        }
    }
}
