//! A convolutional potential of one's own, trained on pictures of digits by flow matching: a few seconds on one core.
//!
//!     cargo run --release -p backend-tch --example digits
//!
//! Once libtorch is set up. The digits are drawn here, in the manner of a pocket calculator; MNIST's 28 × 28 pictures fit as well,
//! with `SIDE` and `digit` changed.

#[cfg(maflow_tch)]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    trained::main()
}

#[cfg(not(maflow_tch))]
fn main() {
    // Without libtorch this is the sentence that names the command.
    eprintln!("{}", backend_tch::load(backend_tch::Device::Cpu).expect_err("this build has no libtorch"));
    std::process::exit(1);
}

#[cfg(maflow_tch)]
mod trained {
    use backend_tch::tch::{Tensor, nn};
    use backend_tch::{Device, Laplacian, ModulePotential, Options, Tch};
    use flow_core::{
        Adam, AdamSettings, Coordinates, FixedStep, Flow, FlowMatching, Memory, Method, NegativeLogLikelihood,
        Objective, Path, Potential, Precision, Purpose, RngKey,
    };

    const SIDE: usize = 12;
    const BATCH: usize = 64;

    pub fn main() -> Result<(), Box<dyn std::error::Error>> {
        let tch = Tch::new(Device::Cpu, Precision::F32, Options::default())?.with_whole_batches();
        let mut potential = potential(tch)?;
        let integrator = FixedStep::new(Method::Rk4.tableau(), 5)?;
        let mut adam = Adam::new(&tch, AdamSettings::default(), &potential.parameters())?;
        let objective = FlowMatching { path: Path::Straight, times: 4, focus: None };
        for step in 0..=400 {
            let key = RngKey::new(0, Purpose::Train, step);
            let found = objective.evaluate(&flow(&tch, &potential, &integrator), &digits(key), key, true)?;
            adam.step(&tch, 3e-3, potential.parameters_mut(), found.gradient.expect("the gradient was asked for"));
            if step % 100 == 0 {
                println!("step {step:3}: mean square {:.1}", found.losses.iter().sum::<f64>() / BATCH as f64);
            }
        }
        let key = RngKey::new(0, Purpose::Evaluate, 0);
        let flow = flow(&tch, &potential, &integrator);
        let found = NegativeLogLikelihood::default().evaluate(&flow, &digits(key), key, false)?;
        let nll = found.losses.iter().sum::<f64>() / BATCH as f64;
        let mut white = potential_of_nothing(&digits(key));
        println!("negative log-likelihood of fresh digits: {nll:.0} nats; of independent normal pixels: {white:.0}");
        white -= nll;
        if white > 0.0 { Ok(()) } else { Err("nothing was learned".into()) }
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

    fn flow<'a>(space: &'a Tch, potential: &'a ModulePotential, integrator: &'a FixedStep) -> Flow<'a, Tch> {
        Flow { space, potential, integrator, duration: 1.0, coordinates: Coordinates::X, memory: Memory::Stages }
    }

    /// A batch of digits with noise of a tenth, standardised to ink at 2 and paper at −½.
    fn digits(key: RngKey) -> Vec<f64> {
        let mut x = key.normals(0..BATCH, SIDE * SIDE);
        for (row, picture) in x.chunks_exact_mut(SIDE * SIDE).enumerate() {
            let figure = ((key.uniform((BATCH + row) as u64, 1)[0] + 1.0) * 5.0) as usize;
            for (pixel, value) in picture.iter_mut().enumerate() {
                *value = 0.1 * *value + if ink(figure, pixel / SIDE, pixel % SIDE) { 2.0 } else { -0.5 };
            }
        }
        x
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
    fn potential_of_nothing(x: &[f64]) -> f64 {
        let n = x.len() as f64;
        let mean = x.iter().sum::<f64>() / n;
        let variance = x.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n;
        0.5 * (SIDE * SIDE) as f64 * ((std::f64::consts::TAU * variance).ln() + 1.0)
    }
}
