//! Finds columns that are linear functions of others: orthogonalisation with pivots.

/// A column to look at.
pub(super) struct Candidate {
    /// Its standardised values.
    pub values: Vec<f64>,
    /// The distance of neighbouring numbers of its file, in standard deviations.
    pub rounding: f64,
}

/// A column (by place), and the others that it depends on.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Dependence {
    pub column: usize,
    pub on: Vec<usize>,
}

/// At most this many standard deviations are left of a dependent column, apart from rounding.
const EXACT: f64 = 1e-7;
/// Coefficients below this part of the largest are not named.
const NAMED: f64 = 1e-3;

/// A direction that is taken: its column, its length, and what its column was in terms of earlier directions.
struct Direction {
    column: usize,
    length: f64,
    /// Shares of the earlier directions.
    shares: Vec<f64>,
}

/// All dependences, by modified Gram-Schmidt: the column with the largest rest is next, and one whose rest is no more
/// than rounding is dependent.
pub(super) fn find(columns: Vec<Candidate>) -> Vec<Dependence> {
    let roundings: Vec<f64> = columns.iter().map(|column| column.rounding).collect();
    let rows = columns.first().map_or(0, |column| column.values.len()) as f64;
    let mut rests: Vec<(usize, Vec<f64>, Vec<f64>)> =
        columns.into_iter().enumerate().map(|(place, column)| (place, column.values, vec![])).collect();
    let (mut directions, mut found): (Vec<Direction>, Vec<Dependence>) = (vec![], vec![]);
    while !rests.is_empty() {
        rests.retain(|(column, rest, shares)| {
            let size = (dot(rest, rest) / rows).sqrt();
            // Rounding of a few units cannot leave more than this: the coefficients need not be known.
            if size > 0.5 {
                return true;
            }
            let coefficients = coefficients(&directions, shares);
            let square = |direction: &Direction, c: &f64| (c * roundings[direction.column]).powi(2);
            let others: f64 = directions.iter().zip(&coefficients).map(|(d, c)| square(d, c)).sum();
            // Rounding is uniform: a twelfth of its square is its variance. Twice that leaves room for its scatter.
            let rounding = ((others + roundings[*column].powi(2)) / 12.0).sqrt();
            if size > EXACT.max(1.5 * rounding) {
                return true;
            }
            let largest = coefficients.iter().fold(0.0f64, |a, c| a.max(c.abs()));
            let named = directions.iter().zip(&coefficients).filter(|(_, c)| c.abs() > NAMED * largest);
            let mut on: Vec<usize> = named.map(|(direction, _)| direction.column).collect();
            on.sort_unstable();
            found.push(Dependence { column: *column, on });
            false
        });
        let Some(next) = largest(&rests) else { break };
        let (column, mut unit, shares) = rests.remove(next);
        let length = dot(&unit, &unit).sqrt();
        unit.iter_mut().for_each(|x| *x /= length);
        for (_, rest, shares) in &mut rests {
            let share = dot(&unit, rest);
            rest.iter_mut().zip(&unit).for_each(|(x, u)| *x -= share * u);
            shares.push(share);
        }
        directions.push(Direction { column, length, shares });
    }
    found
}

/// The first whose rest is nearly the largest, so that the later of two equal columns is the one that depends.
fn largest(rests: &[(usize, Vec<f64>, Vec<f64>)]) -> Option<usize> {
    let sizes: Vec<f64> = rests.iter().map(|(_, rest, _)| dot(rest, rest)).collect();
    let most = sizes.iter().copied().fold(0.0, f64::max);
    sizes.iter().position(|size| *size >= 0.5 * most)
}

/// From shares of directions to coefficients of columns: back substitution.
fn coefficients(directions: &[Direction], shares: &[f64]) -> Vec<f64> {
    let mut rest = shares.to_vec();
    let mut out = vec![0.0; directions.len()];
    for place in (0..directions.len()).rev() {
        out[place] = rest[place] / directions[place].length;
        for (rest, share) in rest.iter_mut().zip(&directions[place].shares) {
            *rest -= out[place] * share;
        }
    }
    out
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}
