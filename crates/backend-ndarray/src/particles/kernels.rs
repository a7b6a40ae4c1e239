//! The work on one configuration, compiled for several generations of vector instructions and chosen at run time.

use multiversion::multiversion;

use super::features::{Configuration, Features, Operator};
use super::features_bar::FeaturesBar;
use super::radial::{Gaussians, ORDERS};
use super::rows;

/// The parts of the potential of particles that are made pair by pair, in a working precision.
pub trait ParticleKernels: Sized {
    /// The Gaussians of each of some squared distances and their first derivatives, as many as there is room for.
    fn gaussians(of: &Gaussians<Self>, squares: &[Self], out: [&mut [Self]; ORDERS]);

    /// See [`Configuration::features`].
    fn features(of: &Configuration<'_, Self>) -> Features<Self>;

    /// See [`Configuration::apply`].
    fn apply(of: &Configuration<'_, Self>, features: &mut Features<Self>, operator: Operator<'_, Self>);

    /// See [`Configuration::tangents`].
    fn tangents(of: &Configuration<'_, Self>, features: &Features<Self>, out: &mut [Self]);

    /// See [`rows::add_squares`].
    fn add_squares(rows: &[Self], squares: &mut [Self]);

    /// See [`rows::scale_rows`].
    fn scale_rows(rows: &[Self], factors: &[Self], out: &mut Vec<Self>);

    /// See [`rows::pull_bend`].
    fn pull_bend(bars: &mut [Self], rows: &[Self], slopes: &[Self], factors: &[Self], along: &mut [Self]);

    /// See [`Configuration::add_gradient`].
    fn add_gradient(of: &Configuration<'_, Self>, features: &Features<Self>, slopes: &[Self], out: &mut [Self]);

    /// See [`Configuration::pullback`].
    fn pullback(
        of: &Configuration<'_, Self>,
        features: &Features<Self>,
        operator: Operator<'_, Self>,
        bar: FeaturesBar<'_, Self>,
        radial_bar: [&mut [Self]; 3],
        x_bar: Option<&mut [Self]>,
    );
}

/// One set of kernels per precision, compiled for each generation of vector instructions.
macro_rules! kernels {
    ($t:ty, $module:ident) => {
        mod $module {
            use super::{Configuration, Features, FeaturesBar, Gaussians, ORDERS, Operator, multiversion, rows};

            #[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx512bw", "x86_64+avx2+fma", "aarch64+neon"))]
            pub fn gaussians(of: &Gaussians<$t>, squares: &[$t], out: [&mut [$t]; ORDERS]) {
                of.of_all(squares, out)
            }

            #[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx512bw", "x86_64+avx2+fma", "aarch64+neon"))]
            pub fn features(of: &Configuration<'_, $t>) -> Features<$t> {
                of.features()
            }

            #[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx512bw", "x86_64+avx2+fma", "aarch64+neon"))]
            pub fn apply(of: &Configuration<'_, $t>, features: &mut Features<$t>, operator: Operator<'_, $t>) {
                of.apply(features, operator)
            }

            #[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx512bw", "x86_64+avx2+fma", "aarch64+neon"))]
            pub fn tangents(of: &Configuration<'_, $t>, features: &Features<$t>, out: &mut [$t]) {
                of.tangents(features, out)
            }

            #[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx512bw", "x86_64+avx2+fma", "aarch64+neon"))]
            pub fn add_squares(rows: &[$t], squares: &mut [$t]) {
                rows::add_squares(rows, squares)
            }

            #[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx512bw", "x86_64+avx2+fma", "aarch64+neon"))]
            pub fn scale_rows(rows: &[$t], factors: &[$t], out: &mut Vec<$t>) {
                rows::scale_rows(rows, factors, out)
            }

            #[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx512bw", "x86_64+avx2+fma", "aarch64+neon"))]
            pub fn pull_bend(bars: &mut [$t], rows: &[$t], slopes: &[$t], factors: &[$t], along: &mut [$t]) {
                rows::pull_bend(bars, rows, slopes, factors, along)
            }

            #[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx512bw", "x86_64+avx2+fma", "aarch64+neon"))]
            pub fn add_gradient(of: &Configuration<'_, $t>, features: &Features<$t>, slopes: &[$t], out: &mut [$t]) {
                of.add_gradient(features, slopes, out)
            }

            #[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx512bw", "x86_64+avx2+fma", "aarch64+neon"))]
            pub fn pullback(
                of: &Configuration<'_, $t>,
                features: &Features<$t>,
                operator: Operator<'_, $t>,
                bar: FeaturesBar<'_, $t>,
                radial_bar: [&mut [$t]; 3],
                x_bar: Option<&mut [$t]>,
            ) {
                of.pullback(features, operator, bar, radial_bar, x_bar)
            }
        }

        impl ParticleKernels for $t {
            fn gaussians(of: &Gaussians<Self>, squares: &[Self], out: [&mut [Self]; ORDERS]) {
                $module::gaussians(of, squares, out);
            }

            fn features(of: &Configuration<'_, Self>) -> Features<Self> {
                $module::features(of)
            }

            fn apply(of: &Configuration<'_, Self>, features: &mut Features<Self>, operator: Operator<'_, Self>) {
                $module::apply(of, features, operator);
            }

            fn tangents(of: &Configuration<'_, Self>, features: &Features<Self>, out: &mut [Self]) {
                $module::tangents(of, features, out);
            }

            fn add_squares(rows: &[Self], squares: &mut [Self]) {
                $module::add_squares(rows, squares);
            }

            fn scale_rows(rows: &[Self], factors: &[Self], out: &mut Vec<Self>) {
                $module::scale_rows(rows, factors, out);
            }

            fn pull_bend(bars: &mut [Self], rows: &[Self], slopes: &[Self], factors: &[Self], along: &mut [Self]) {
                $module::pull_bend(bars, rows, slopes, factors, along);
            }

            fn add_gradient(
                of: &Configuration<'_, Self>,
                features: &Features<Self>,
                slopes: &[Self],
                out: &mut [Self],
            ) {
                $module::add_gradient(of, features, slopes, out);
            }

            fn pullback(
                of: &Configuration<'_, Self>,
                features: &Features<Self>,
                operator: Operator<'_, Self>,
                bar: FeaturesBar<'_, Self>,
                radial_bar: [&mut [Self]; 3],
                x_bar: Option<&mut [Self]>,
            ) {
                $module::pullback(of, features, operator, bar, radial_bar, x_bar);
            }
        }
    };
}

kernels!(f32, single);
kernels!(f64, double);
