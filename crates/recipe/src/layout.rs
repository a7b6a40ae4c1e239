//! How the numbers of one row of a target are laid out.

/// How the numbers of a row are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Side by side.
    Vector(usize),
    /// A picture of this height and width, row by row.
    Picture(usize, usize),
    /// A lattice of this many rows and columns, row by row.
    Lattice(usize, usize),
    /// This many particles in this many dimensions, particle by particle.
    Particles(usize, usize),
}

impl Layout {
    /// The shape of an array of one row.
    pub fn shape(self) -> Vec<usize> {
        match self {
            Self::Vector(n) => vec![n],
            Self::Picture(rows, cols) | Self::Lattice(rows, cols) | Self::Particles(rows, cols) => vec![rows, cols],
        }
    }

    /// Numbers of a row.
    pub fn dimension(self) -> usize {
        self.shape().iter().product()
    }

    /// Whether a convolutional potential takes it: a square picture that can be halved twice.
    pub fn suits_convolutions(self) -> bool {
        matches!(self, Self::Picture(height, width) if height == width && height.is_multiple_of(4))
    }
}
