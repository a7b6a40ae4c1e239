//! Terms of a periodic lattice, the same at every site, by Fourier transforms.

use flow_core::{Activation, Error, Group, LatticeRidgeParameters, LatticeRidgeSettings, Parameter, TimeBasis};
use tch::{Kind, Tensor};

use super::{At, Formula, Term, sum_of_rows};
use crate::activation;
use crate::tensors::Tch;

/// Fields on a torus and their spectra; of real fields, half of the spectrum says all.
#[derive(Clone, Copy)]
struct Torus {
    rows: i64,
    cols: i64,
}

impl Torus {
    fn new((rows, cols): (usize, usize)) -> Result<Self, Error> {
        Error::at_least_1([("sites", rows * cols)])?;
        Ok(Self { rows: rows as i64, cols: cols as i64 })
    }

    fn sites(self) -> usize {
        (self.rows * self.cols) as usize
    }

    /// From fields (… × N) to spectra (… × rows × (cols/2 + 1)).
    fn transform(self, fields: &Tensor) -> Tensor {
        fields.unflatten(-1, [self.rows, self.cols]).fft_rfft2(None::<&[i64]>, [-2, -1], "backward")
    }

    /// Back to fields; the inverse of [`Torus::transform`].
    fn transform_back(self, spectra: &Tensor) -> Tensor {
        spectra.fft_irfft2(&[self.rows, self.cols][..], [-2, -1], "backward").flatten(-2, -1)
    }
}

impl Term {
    /// `φ(x, t) = ½ xᵀ C(t) x`, C symmetric and the same at every site of a periodic lattice of `shape`, zero at first.
    /// Parameter: `eigenvalue`, M × classes, one class for each pair of wave numbers k and −k, in the order of `k ·
    /// cols + l` of the smaller.
    ///
    /// # Errors
    /// [`Error::Setting`] when there are no sites.
    pub fn lattice_quadratic(space: Tch, shape: (usize, usize), basis: TimeBasis) -> Result<Self, Error> {
        let (torus, (rows, cols)) = (Torus::new(shape)?, shape);
        let leader = |k: usize, l: usize| {
            let opposite = (rows - k) % rows * cols + (cols - l) % cols;
            (k * cols + l).min(opposite)
        };
        let all: Vec<usize> = (0..rows * cols).map(|i| leader(i / cols, i % cols)).collect();
        let mut leaders = all.clone();
        leaders.sort_unstable();
        leaders.dedup();
        let class_of = |leader: usize| leaders.binary_search(&leader).expect("every leader is listed");
        let (classes, half) = (leaders.len(), cols / 2 + 1);
        // Products with these matrices are sums in a fixed order, unlike gathers and scatters on a GPU.
        let mut spread = vec![0.0; classes * rows * half];
        for k in 0..rows {
            for l in 0..half {
                spread[class_of(leader(k, l)) * rows * half + k * half + l] = 1.0;
            }
        }
        let mut members = vec![0.0; classes];
        all.into_iter().for_each(|leader| members[class_of(leader)] += 1.0);
        let send = |values: &[f64], cols: usize| space.send(values, space.kind(), &[classes as i64, cols as i64]);
        let formula =
            Box::new(LatticeQuadratic { torus, spread: send(&spread, rows * half), members: send(&members, 1) });
        let parameters = vec![Parameter::zeros(&space, "eigenvalue", &[basis.terms(), classes])]
            .into_iter()
            .map(|p| Parameter { shape: vec![basis.terms(), classes], ..p })
            .collect();
        Ok(Self::new(space, torus.sites(), basis, parameters, 0, formula))
    }

    /// `φ(x, t) = Σ_c v_c(t) Σ_s f(g_c(t) (w_c ⋆ x)_s + b_c(t))`, `(w ⋆ x)_s = Σ_i w_i x_{s+i}`, on a periodic lattice
    /// of `shape`: exactly symmetric under translations; also under a group that fixes the origin where kernels are
    /// tied, that is averaged over it. Parameters and their first values are those of [`LatticeRidgeParameters`].
    ///
    /// # Errors
    /// [`Error::Setting`] when a size is zero; [`Error::Shape`] when the group acts on another number of sites.
    pub fn lattice_ridge(space: Tch, settings: &LatticeRidgeSettings) -> Result<Self, Error> {
        let (torus, sites) = (Torus::new(settings.shape)?, settings.sites());
        let LatticeRidgeParameters { weight, amplitude, gain, bias } = LatticeRidgeParameters::new(&space, settings)?;
        let parameters = [weight, amplitude, gain].into_iter().chain(bias).collect();
        let formula = Box::new(LatticeRidge {
            torus,
            activation: settings.activation,
            bias: settings.bias,
            envelope: space.send(&settings.envelope(), space.kind(), &[1, sites as i64]),
            mean: settings.tied.as_ref().map(|group| average(&space, group)),
        });
        Ok(Self::new(space, sites, settings.time, parameters, 0, formula))
    }
}

/// The matrix that averages a kernel over a group: `w ↦ w · matrix`.
fn average(space: &Tch, group: &Group) -> Tensor {
    let n = group.dim();
    let mut matrix = vec![0.0; n * n];
    for g in 0..group.order() {
        let (source, sign) = group.element(g);
        source.iter().enumerate().for_each(|(i, &from)| matrix[from as usize * n + i] += sign / group.order() as f64);
    }
    space.send(&matrix, space.kind(), &[n as i64, n as i64])
}

struct LatticeQuadratic {
    torus: Torus,
    /// classes × half spectrum: 1 where a wave number is of a class.
    spread: Tensor,
    /// classes × 1: how many wave numbers are.
    members: Tensor,
}

// SAFETY: as for `Array`: the tensors are private and only read.
unsafe impl Sync for LatticeQuadratic {}

impl LatticeQuadratic {
    /// `C x`, from the eigenvalues.
    fn apply(&self, at: &At, eigenvalues: &Tensor) -> Tensor {
        let factor = eigenvalues.mm(&self.spread).reshape([eigenvalues.size()[0], self.torus.rows, -1]);
        self.torus.transform_back(&(self.torus.transform(at.x) * factor))
    }
}

impl Formula for LatticeQuadratic {
    fn value(&self, at: &At) -> Tensor {
        sum_of_rows(&(self.apply(at, &at.coefficient(0)) * at.x * 0.5))
    }

    fn field(&self, at: &At, laplacian: bool) -> (Tensor, Option<Tensor>) {
        let eigenvalues = at.coefficient(0);
        let trace = || at.for_every_row(&(&eigenvalues * self.members.tr()).sum(Kind::Double));
        (self.apply(at, &eigenvalues), laplacian.then(trace))
    }
}

struct LatticeRidge {
    torus: Torus,
    activation: Activation,
    bias: bool,
    /// 1 × N: how kernels fall off.
    envelope: Tensor,
    /// N × N: averages kernels where they are tied.
    mean: Option<Tensor>,
}

// SAFETY: as for `Array`: the tensors are private and only read.
unsafe impl Sync for LatticeRidge {}

impl LatticeRidge {
    /// The kernels as they act.
    fn kernels(&self, at: &At) -> Tensor {
        let kernels = &at.parameters[0] * &self.envelope;
        match &self.mean {
            Some(mean) => kernels.mm(mean),
            None => kernels,
        }
    }

    /// v, g or b, 1 or n × kernels × 1.
    fn coefficient(at: &At, parameter: usize) -> Tensor {
        at.coefficient(parameter).unsqueeze(2)
    }

    /// `a = g (w ⋆ x) + b`, n × kernels × N, from the spectra of the kernels.
    fn arguments(&self, at: &At, spectra: &Tensor, gain: &Tensor) -> Tensor {
        let u = self.torus.transform_back(&(self.torus.transform(at.x).unsqueeze(1) * spectra.conj()));
        if self.bias { u * gain + Self::coefficient(at, 3) } else { u * gain }
    }
}

impl Formula for LatticeRidge {
    fn fills_caches(&self) -> bool {
        true
    }

    fn value(&self, at: &At) -> Tensor {
        let a = self.arguments(at, &self.torus.transform(&self.kernels(at)), &Self::coefficient(at, 2));
        sum_of_rows(&(activation::value(self.activation, &a) * Self::coefficient(at, 1)))
    }

    fn field(&self, at: &At, laplacian: bool) -> (Tensor, Option<Tensor>) {
        let (kernels, gain) = (self.kernels(at), Self::coefficient(at, 2));
        let spectra = self.torus.transform(&kernels);
        let s = activation::slope(self.activation, &self.arguments(at, &spectra, &gain));
        let strength = Self::coefficient(at, 1) * &gain;
        let products = self.torus.transform(&(&s * &strength)) * spectra;
        let velocity = self.torus.transform_back(&products.sum_dim_intlist(1, false, products.kind()));
        let trace = || {
            let norms = kernels.square().sum_dim_intlist(1, true, kernels.kind());
            sum_of_rows(&(activation::curvature(self.activation, &s) * (strength * gain * norms)))
        };
        (velocity, laplacian.then(trace))
    }
}
