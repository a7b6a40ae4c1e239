//! A convolutional potential of one's own, trained on pictures of digits by flow matching: a few seconds on one core.
//!
//!     cargo run --release -p backend-tch --example digits
//!
//! Once libtorch is set up. The digits are drawn here, in the manner of a pocket calculator. MNIST's pictures of 28 ×
//! 28 fit as well, with `SIDE` and `digits` changed.

#[cfg(target_os = "linux")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    trained::main()
}

#[cfg(not(target_os = "linux"))]
fn main() {
    // The sentence that says where there is a loader.
    eprintln!("{}", backend_tch::load(backend_tch::Device::Cpu).expect_err("no loader for this system"));
    std::process::exit(1);
}

#[cfg(target_os = "linux")]
mod trained {
    use std::ops::Range;

    use backend_tch::tch::{Tensor, nn};
    use backend_tch::{Device, Laplacian, ModulePotential, Options, Tch};
    use flow_core::{
        Batch, Batches, Error, FixedStep, FlowMatching, FlowModel, Method, Model, Observer, Path, Precision, Purpose,
        RngKey, StepMetrics, TrainSettings, Trainer,
    };

    const SIDE: usize = 12;
    const BATCH: usize = 64;

    pub fn main() -> Result<(), Box<dyn std::error::Error>> {
        let tch = Tch::new(Device::Cpu, Precision::F32, Options::default())?.with_whole_batches();
        let integrator = FixedStep::new(Method::Rk4.tableau(), 5)?;
        let objective = FlowMatching::new(Path::Straight, 4);
        let mut model = FlowModel::new(tch, Box::new(potential(tch)?), Box::new(integrator), Box::new(objective));
        let settings = TrainSettings { steps: 400, batch: BATCH, learning_rate: 3e-3, ..TrainSettings::default() };
        // The loss needs no integration, so there is nothing to watch.
        Trainer::new(&mut model, TrainSettings { watch_every: 0, ..settings }, &Digits)?.run(&mut Progress)?;

        let key = RngKey::new(0, Purpose::Evaluate, 0);
        let fresh = Digits.batch(key, 0..BATCH, BATCH)?.x;
        let found = model.log_prob(&fresh, &[], key)?;
        let mean = |of: &[f64]| of.iter().sum::<f64>() / of.len() as f64;
        let (nll, error, normal) = (-mean(&found.values), mean(&found.integration_errors), normal_pixels(&fresh));
        println!("negative log-likelihood of fresh digits: {nll:.0} nats (integration error {error:.1})");
        println!("of independent normal pixels: {normal:.0} nats");
        if nll < normal { Ok(()) } else { Err("nothing was learned".into()) }
    }

    /// Prints the loss now and then.
    struct Progress;

    impl Observer for Progress {
        fn step(&mut self, metrics: &StepMetrics) -> Result<(), Error> {
            if metrics.step.is_multiple_of(100) {
                println!("step {:3}: mean square {:.1}", metrics.step, metrics.loss.mean);
            }
            Ok(())
        }
    }

    /// `⟨x, U(x, t)⟩`, U two convolutions: the ten lines of a potential of one's own.
    fn potential(tch: Tch) -> Result<ModulePotential, flow_core::Error> {
        ModulePotential::new(tch, SIDE * SIDE, Laplacian::Hutchinson { probes: 1 }, 0, |path| {
            let wide = nn::ConvConfig { padding: 2, ..Default::default() };
            let (first, second) =
                (nn::conv2d(path / "first", 2, 16, 5, wide), nn::conv2d(path / "second", 16, 1, 5, wide));
            move |x: &Tensor, t: f64| {
                let picture = x.view([-1, 1, SIDE as i64, SIDE as i64]);
                let input = Tensor::cat(&[&picture, &picture.full_like(t)], 1);
                (input.apply(&first).silu().apply(&second) * picture).flat_view().sum_dim_intlist(1, false, x.kind())
            }
        })
    }

    /// Digits with noise of a tenth, standardised to ink at 2 and paper at −½.
    struct Digits;

    impl Batches for Digits {
        fn batch(&self, key: RngKey, part: Range<usize>, rows: usize) -> Result<Batch, Error> {
            let mut x = key.normals(part.clone(), SIDE * SIDE);
            for (row, picture) in part.clone().zip(x.chunks_exact_mut(SIDE * SIDE)) {
                let figure = ((key.uniform((rows + row) as u64, 1)[0] + 1.0) * 5.0) as usize;
                for (pixel, value) in picture.iter_mut().enumerate() {
                    *value = 0.1 * *value + if ink(figure, pixel / SIDE, pixel % SIDE) { 2.0 } else { -0.5 };
                }
            }
            Ok(Batch::new(x, SIDE * SIDE)?.part(part.start, rows))
        }
    }

    /// Whether a pixel is part of one of the seven bars that are lit for a figure.
    fn ink(figure: usize, row: usize, col: usize) -> bool {
        const LIT: [u8; 10] = [0x77, 0x24, 0x5d, 0x6d, 0x2e, 0x6b, 0x7b, 0x25, 0x7f, 0x6f];
        let (across, left, right) = ((3..9).contains(&col), col == 3, col == 8);
        let (upper, lower) = ((1..6).contains(&row), (5..10).contains(&row));
        let bars = [
            across && row == 1,
            left && upper,
            right && upper,
            across && row == 5,
            left && lower,
            right && lower,
            across && row == 9,
        ];
        bars.iter().enumerate().any(|(bar, here)| *here && LIT[figure % 10] >> bar & 1 == 1)
    }

    /// The negative log-likelihood of normal pixels with the mean and variance of all.
    fn normal_pixels(x: &[f64]) -> f64 {
        let n = x.len() as f64;
        let mean = x.iter().sum::<f64>() / n;
        let variance = x.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n;
        0.5 * (SIDE * SIDE) as f64 * ((std::f64::consts::TAU * variance).ln() + 1.0)
    }
}
