//! The sliced Wasserstein distance of two weighted clouds of points: optimal transport on lines, by sorting.

use super::{Cloud, Distance};

/// The mean over directions of `½ W₂²` of the projections, with its gradient by the points of x. Directions are
/// `count × dim` numbers of any length.
pub(super) fn distance(x: &Cloud, y: &Cloud, dim: usize, directions: &[f64]) -> Distance {
    let count = (directions.len() / dim) as f64;
    let mut found = Distance { of_rows: vec![0.0; x.weights.len()], gradient: vec![0.0; x.x.len()] };
    for direction in directions.chunks_exact(dim) {
        let length = direction.iter().map(|d| d * d).sum::<f64>().sqrt();
        let direction: Vec<f64> = direction.iter().map(|d| d / length).collect();
        let [x_line, y_line] = [x, y].map(|cloud| projected(&cloud.x, &direction));
        for (i, j, mass) in plan((&x_line, &x.weights), (&y_line, &y.weights)) {
            let apart = x_line[i] - y_line[j];
            found.of_rows[i] += 0.5 * apart * apart * mass / (x.weights[i] * count);
            for (gradient, d) in found.gradient[i * dim..(i + 1) * dim].iter_mut().zip(&direction) {
                *gradient += mass * apart * d / count;
            }
        }
    }
    found
}

fn projected(x: &[f64], direction: &[f64]) -> Vec<f64> {
    x.chunks_exact(direction.len()).map(|row| row.iter().zip(direction).map(|(x, d)| x * d).sum()).collect()
}

/// The optimal plan between weighted points on a line: quantile by quantile, as (row of x, row of y, mass).
fn plan((x, a): (&[f64], &[f64]), (y, b): (&[f64], &[f64])) -> Vec<(usize, usize, f64)> {
    let sorted = |of: &[f64]| {
        let mut rows: Vec<usize> = (0..of.len()).collect();
        rows.sort_by(|i, j| of[*i].total_cmp(&of[*j]));
        rows
    };
    let (of_x, of_y) = (sorted(x), sorted(y));
    let (mut i, mut j) = (0, 0);
    let (mut left, mut right) = (a[of_x[0]], b[of_y[0]]);
    let mut moves = Vec::with_capacity(x.len() + y.len());
    loop {
        let mass = left.min(right);
        moves.push((of_x[i], of_y[j], mass));
        (left, right) = (left - mass, right - mass);
        // The last row of either takes what round-off has left of the other.
        if left <= right && i + 1 < x.len() {
            i += 1;
            left += a[of_x[i]];
        } else if j + 1 < y.len() {
            j += 1;
            right += b[of_y[j]];
        } else if i + 1 < x.len() {
            i += 1;
            left += a[of_x[i]];
        } else {
            return moves;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{assert_differentiated, by_assignment, even, points, uneven, value};
    use super::*;

    #[test]
    fn in_one_dimension_it_is_the_best_assignment() {
        let (x, y) = (points(7, 1, 11), points(7, 1, 12));
        let exact = by_assignment(&x, &y, 1);
        let found = distance(&even(x, 1), &even(y, 1), 1, &[-3.0]);
        assert!((found.of_rows.iter().sum::<f64>() / 7.0 - exact).abs() < 1e-14);
    }

    #[test]
    fn quantiles_of_weighted_points_are_moved_to_each_other() {
        let x = Cloud { x: vec![5.0, 0.0], weights: vec![0.75, 0.25] };
        let y = Cloud { x: vec![1.0, 2.0, 6.0], weights: vec![0.5, 0.25, 0.25] };
        // 0 to 1; 5 to 1, 2 and 6, a quarter each.
        let found = distance(&x, &y, 1, &[1.0]);
        assert!((value(&found, &x.weights) - 0.125 * (1.0 + 16.0 + 9.0 + 1.0)).abs() < 1e-15);
        assert_eq!(found.gradient, [0.25 * (4.0 + 3.0 - 1.0), -0.25]);
    }

    #[test]
    fn a_shift_costs_its_square_along_every_direction() {
        let x = uneven(13, 3, 13);
        let shift = [1.0, -2.0, 0.5];
        let y = Cloud { x: x.x.chunks(3).flat_map(|row| [0, 1, 2].map(|k| row[k] + shift[k])).collect(), ..x.clone() };
        let directions = points(5, 3, 14);
        let along = |d: &[f64]| {
            let length = d.iter().map(|d| d * d).sum::<f64>();
            0.5 * d.iter().zip(shift).map(|(d, s)| d * s).sum::<f64>().powi(2) / length
        };
        let exact = directions.chunks(3).map(along).sum::<f64>() / 5.0;
        let found = value(&distance(&x, &y, 3, &directions), &x.weights);
        assert!((found - exact).abs() < 1e-13, "{found}, exactly {exact}");
    }

    #[test]
    fn many_quantiles_have_the_distance_of_the_densities() {
        // Uniform on [0, 1] and on [1, 3]: ½ E (1 + u)² = 7/6.
        let rows = 20_000;
        let u = |scale: f64, from: f64| -> Vec<f64> {
            (0..rows).rev().map(|i| from + scale * (i as f64 + 0.5) / rows as f64).collect()
        };
        let found = distance(&even(u(1.0, 0.0), 1), &even(u(2.0, 1.0), 1), 1, &[1.0]);
        assert!((found.of_rows.iter().sum::<f64>() / rows as f64 - 7.0 / 6.0).abs() < 1e-8);
    }

    #[test]
    fn the_gradient_is_the_difference() {
        let (x, y, directions) = (uneven(9, 3, 15), uneven(11, 3, 16), points(4, 3, 17));
        assert_differentiated(&x, 1e-8, |x| distance(x, &y, 3, &directions));
    }
}
