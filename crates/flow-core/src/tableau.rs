//! Explicit Runge-Kutta methods as data, checked against their order conditions when built.

use crate::cache_key::CacheKey;
use crate::error::Error;

/// Coefficients of an explicit Runge-Kutta method.
///
/// `k_i = f(t + c_i h, y + h Σ_{j<i} a_ij k_j)`, `y ← y + h Σ_i b_i k_i`; an embedded method, where there is one,
/// gives the error estimate `h Σ_i e_i k_i`.
#[derive(Debug, Clone, PartialEq)]
pub struct Tableau {
    name: &'static str,
    order: usize,
    a: Vec<Vec<f64>>,
    b: Vec<f64>,
    c: Vec<f64>,
    error: Option<Vec<f64>>,
}

impl Tableau {
    /// Builds a method from the strictly lower triangle `a` (row i has i entries), weights `b`, and error weights `e =
    /// b − b̂`.
    ///
    /// # Errors
    /// [`Error::Tableau`] when the lengths do not fit, or when an order condition up to `order` (at most 5)
    /// is missed by more than 1e-12; the embedded method must have order at least `order − 1`.
    pub fn new(
        name: &'static str,
        order: usize,
        a: Vec<Vec<f64>>,
        b: Vec<f64>,
        error: Option<Vec<f64>>,
    ) -> Result<Self, Error> {
        let fail = |reason: String| Error::Tableau { name: name.to_string(), reason };
        if a.len() != b.len() || a.iter().enumerate().any(|(i, row)| row.len() != i) {
            return Err(fail(format!(
                "{} stages need a strictly lower triangle with rows of 0, 1, … entries",
                b.len()
            )));
        }
        if !(1..=5).contains(&order) {
            return Err(fail(format!("order {order} cannot be checked (1 to 5 can)")));
        }
        let check = |weights: &[f64], order: usize| -> Result<(), Error> {
            for tree in trees_up_to(order) {
                let phi = tree.elementary_weight(&a, weights);
                let target = 1.0 / tree.density() as f64;
                let missed = (phi - target).abs();
                if missed.is_nan() || missed > 1e-12 {
                    let vertices = tree.vertices();
                    return Err(fail(format!(
                        "an order condition of order {vertices} gives {phi} instead of {target}"
                    )));
                }
            }
            Ok(())
        };
        check(&b, order)?;
        if let Some(e) = &error {
            if e.len() != b.len() {
                return Err(fail(format!("{} error weights for {} stages", e.len(), b.len())));
            }
            let embedded: Vec<f64> = b.iter().zip(e).map(|(b, e)| b - e).collect();
            check(&embedded, order - 1)?;
        }
        let c = a.iter().map(|row| row.iter().sum()).collect();
        Ok(Self { name, order, a, b, c, error })
    }

    /// Name, as in configurations.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Order of convergence.
    pub fn order(&self) -> usize {
        self.order
    }

    /// Number of stages.
    pub fn stages(&self) -> usize {
        self.b.len()
    }

    /// Row i of the coefficients: weights of the earlier stages in the argument of stage i, i from 0.
    ///
    /// # Panics
    /// If there is no stage i.
    pub fn a(&self, i: usize) -> &[f64] {
        &self.a[i]
    }

    /// Weights of the stages in the step.
    pub fn b(&self) -> &[f64] {
        &self.b
    }

    /// Times of the stages within a step, in units of the step.
    pub fn c(&self) -> &[f64] {
        &self.c
    }

    /// Weights of the stages in the error estimate of an embedded pair.
    pub fn error(&self) -> Option<&[f64]> {
        self.error.as_deref()
    }

    /// The same step for steps of equal length: without the error estimate, and without a last stage that it alone
    /// needs.
    #[must_use]
    pub fn for_equal_steps(mut self) -> Self {
        if self.error.take().is_some() && self.b.last() == Some(&0.0) {
            self.a.pop();
            self.b.pop();
            self.c.pop();
        }
        self
    }

    /// All coefficients that operations depend on, as a key.
    pub(crate) fn cache_key(&self) -> CacheKey {
        let rows = self.a.iter().chain([&self.b]);
        rows.fold(CacheKey::new(), |key, row| {
            key.with_key(&row.iter().fold(CacheKey::new(), |key, value| key.with_bits(*value)))
        })
    }

    /// Whether the last stage is the first of the next step.
    pub fn first_same_as_last(&self) -> bool {
        self.a.last().is_some_and(|row| {
            row.len() + 1 == self.b.len() && self.b.last() == Some(&0.0) && row[..] == self.b[..row.len()]
        })
    }
}

/// The built-in methods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum Method {
    /// Euler's, order 1.
    Euler,
    /// Explicit midpoint, order 2.
    Midpoint,
    /// Heun's, order 2.
    Heun,
    /// Ralston's, order 3 (Ralston 1962).
    Ralston3,
    /// The classical Runge-Kutta method, order 4.
    #[default]
    Rk4,
    /// Kutta's 3/8 rule, order 4.
    Rk38,
    /// Tsitouras 5(4) (Tsitouras 2011, Table 1), an embedded pair.
    Tsit5,
    /// Dormand and Prince 5(4) (1980), an embedded pair.
    Dopri5,
}

impl Method {
    /// All methods.
    pub const ALL: [Self; 8] =
        [Self::Euler, Self::Midpoint, Self::Heun, Self::Ralston3, Self::Rk4, Self::Rk38, Self::Tsit5, Self::Dopri5];

    /// Name, as in configurations.
    pub fn name(self) -> &'static str {
        match self {
            Self::Euler => "euler",
            Self::Midpoint => "midpoint",
            Self::Heun => "heun",
            Self::Ralston3 => "ralston3",
            Self::Rk4 => "rk4",
            Self::Rk38 => "rk38",
            Self::Tsit5 => "tsit5",
            Self::Dopri5 => "dopri5",
        }
    }

    /// Whether it estimates its own error, so that its steps can be chosen by it.
    pub fn is_adaptive(self) -> bool {
        matches!(self, Self::Tsit5 | Self::Dopri5)
    }

    /// The method of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|m| m.name() == name)
    }

    /// The coefficients.
    pub fn tableau(self) -> Tableau {
        let (order, a, b, error): Coefficients = match self {
            Self::Euler => (1, vec![vec![]], vec![1.0], None),
            Self::Midpoint => (2, vec![vec![], vec![0.5]], vec![0.0, 1.0], None),
            Self::Heun => (2, vec![vec![], vec![1.0]], vec![0.5, 0.5], None),
            Self::Ralston3 => {
                (3, vec![vec![], vec![0.5], vec![0.0, 0.75]], vec![2.0 / 9.0, 1.0 / 3.0, 4.0 / 9.0], None)
            }
            Self::Rk4 => (
                4,
                vec![vec![], vec![0.5], vec![0.0, 0.5], vec![0.0, 0.0, 1.0]],
                vec![1.0 / 6.0, 1.0 / 3.0, 1.0 / 3.0, 1.0 / 6.0],
                None,
            ),
            Self::Rk38 => (
                4,
                vec![vec![], vec![1.0 / 3.0], vec![-1.0 / 3.0, 1.0], vec![1.0, -1.0, 1.0]],
                vec![0.125, 0.375, 0.375, 0.125],
                None,
            ),
            Self::Tsit5 => tsit5(),
            Self::Dopri5 => dopri5(),
        };
        Tableau::new(self.name(), order, a, b, error).expect("built-in tableaux fulfil their order conditions (tested)")
    }
}

type Coefficients = (usize, Vec<Vec<f64>>, Vec<f64>, Option<Vec<f64>>);

fn tsit5() -> Coefficients {
    let b = vec![
        0.096_460_766_818_065_23,
        0.01,
        0.479_889_650_414_499_6,
        1.379_008_574_103_742,
        -3.290_069_515_436_081,
        2.324_710_524_099_774,
        0.0,
    ];
    let a = vec![
        vec![],
        vec![0.161],
        vec![-0.008_480_655_492_356_989, 0.335_480_655_492_357],
        vec![2.897_153_057_105_493_5, -6.359_448_489_975_075, 4.362_295_432_869_581_5],
        vec![5.325_864_828_439_257, -11.748_883_564_062_828, 7.495_539_342_889_836_5, -0.092_495_066_361_755_25],
        vec![
            5.861_455_442_946_42,
            -12.920_969_317_847_11,
            8.159_367_898_576_159,
            -0.071_584_973_281_401,
            -0.028_269_050_394_068_383,
        ],
        b[..6].to_vec(),
    ];
    let error = vec![
        -0.001_780_011_052_225_777,
        -0.000_816_434_459_656_746_9,
        0.007_880_878_010_261_995,
        -0.144_711_007_173_262_9,
        0.582_357_165_452_555_2,
        -0.458_082_105_929_186_97,
        1.0 / 66.0,
    ];
    (5, a, b, Some(error))
}

fn dopri5() -> Coefficients {
    let b = vec![35.0 / 384.0, 0.0, 500.0 / 1113.0, 125.0 / 192.0, -2187.0 / 6784.0, 11.0 / 84.0, 0.0];
    let a = vec![
        vec![],
        vec![0.2],
        vec![3.0 / 40.0, 9.0 / 40.0],
        vec![44.0 / 45.0, -56.0 / 15.0, 32.0 / 9.0],
        vec![19372.0 / 6561.0, -25360.0 / 2187.0, 64448.0 / 6561.0, -212.0 / 729.0],
        vec![9017.0 / 3168.0, -355.0 / 33.0, 46732.0 / 5247.0, 49.0 / 176.0, -5103.0 / 18656.0],
        b[..6].to_vec(),
    ];
    let embedded =
        [5179.0 / 57600.0, 0.0, 7571.0 / 16695.0, 393.0 / 640.0, -92097.0 / 339200.0, 187.0 / 2100.0, 1.0 / 40.0];
    let error = b.iter().zip(embedded).map(|(b, e)| b - e).collect();
    (5, a, b, Some(error))
}

/// A rooted tree: each stands for one order condition `Σ_i b_i Φ_i(τ) = 1/γ(τ)` (Butcher 1963).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Tree(Vec<Tree>);

impl Tree {
    fn vertices(&self) -> usize {
        1 + self.0.iter().map(Tree::vertices).sum::<usize>()
    }

    fn density(&self) -> usize {
        self.vertices() * self.0.iter().map(Tree::density).product::<usize>()
    }

    fn stage_weights(&self, a: &[Vec<f64>]) -> Vec<f64> {
        let mut phi = vec![1.0; a.len()];
        for child in &self.0 {
            let below = child.stage_weights(a);
            for (phi, row) in phi.iter_mut().zip(a) {
                *phi *= row.iter().zip(&below).map(|(a, w)| a * w).sum::<f64>();
            }
        }
        phi
    }

    fn elementary_weight(&self, a: &[Vec<f64>], b: &[f64]) -> f64 {
        self.stage_weights(a).iter().zip(b).map(|(phi, b)| phi * b).sum()
    }

    /// Grafts one leaf onto every vertex in turn.
    fn grown(&self) -> Vec<Tree> {
        let mut grafted = vec![{
            let mut children = self.0.clone();
            children.push(Tree(vec![]));
            children.sort();
            Tree(children)
        }];
        for (i, child) in self.0.iter().enumerate() {
            for larger in child.grown() {
                let mut children = self.0.clone();
                children[i] = larger;
                children.sort();
                grafted.push(Tree(children));
            }
        }
        grafted
    }
}

fn trees_up_to(order: usize) -> Vec<Tree> {
    let mut all = vec![Tree(vec![])];
    let mut newest = all.clone();
    for _ in 1..order {
        newest = newest.iter().flat_map(Tree::grown).collect();
        newest.sort();
        newest.dedup();
        all.extend(newest.iter().cloned());
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trees_are_counted_as_known() {
        // Rooted trees of 1 to 5 vertices: 1, 1, 2, 4, 9 (OEIS A000081).
        let counts: Vec<usize> = (1..=5).map(|n| trees_up_to(n).len()).collect();
        assert_eq!(counts, [1, 2, 4, 8, 17]);
    }

    #[test]
    fn built_in_methods_have_their_order_and_no_more() {
        for method in Method::ALL {
            let tableau = method.tableau();
            assert_eq!(Method::from_name(tableau.name()), Some(method));
            if tableau.order() < 5 {
                let raised = Tableau::new("raised", tableau.order() + 1, tableau.a.clone(), tableau.b.clone(), None);
                assert!(raised.is_err(), "{} is stated with too low an order", tableau.name());
            }
        }
        assert!(Method::Tsit5.tableau().first_same_as_last());
        assert!(Method::Dopri5.tableau().first_same_as_last());
        assert!(!Method::Rk4.tableau().first_same_as_last());
    }

    #[test]
    fn equal_steps_are_the_same_steps_by_fewer_stages() {
        for method in [Method::Tsit5, Method::Dopri5] {
            let (pair, plain) = (method.tableau(), method.tableau().for_equal_steps());
            assert_eq!((pair.stages(), plain.stages(), plain.error()), (7, 6, None));
            let again = Tableau::new(plain.name, plain.order, plain.a.clone(), plain.b.clone(), None).unwrap();
            assert_eq!((again, plain.b(), plain.c()), (plain.clone(), &pair.b()[..6], &pair.c()[..6]));
        }
        assert_eq!(Method::Rk4.tableau().for_equal_steps(), Method::Rk4.tableau());
    }

    #[test]
    fn a_wrong_digit_is_refused() {
        let (order, mut a, b, error) = tsit5();
        a[4][2] += 1e-9;
        let message = Tableau::new("tsit5", order, a, b, error).unwrap_err().to_string();
        assert!(message.contains("order condition"), "{message}");
        assert!(Tableau::new("short", 1, vec![vec![]], vec![0.5, 0.5], None).is_err());
        assert!(Tableau::new("nan", 1, vec![vec![]], vec![f64::NAN], None).is_err());
    }
}
