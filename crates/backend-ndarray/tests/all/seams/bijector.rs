//! A map in closed form, as a user would write one: densities, samples, objectives, and a training shared by a team.

use backend_ndarray::Cpu;
use flow_core::{
    Alone, Batch, Bijector, BijectorModel, Direction, Energy, Error, Evaluation, FlowMatching, FreeEnergy, Image, Mean,
    Model, NegativeLogLikelihood, Objective, Parameter, Path, PointEnergy, Space, Team, TrainSettings, Trainable,
    Trainer, exact, standard_normal_log_density,
};

use super::team::together;
use super::{DIM, key, normals};

type Of = Cpu<f64>;

/// `x_i = e^{s_i} z_i + c`, c the context of the row.
struct Scales {
    space: Of,
    log_scale: Parameter<Of>,
}

impl Scales {
    fn new() -> Self {
        let space = Of::new(2);
        let value = space.upload(1, DIM, &[0.4, -0.3, 0.2]);
        Self { log_scale: Parameter { name: "log_scale".into(), shape: vec![DIM], value }, space }
    }
}

impl Bijector<Of> for Scales {
    fn space(&self) -> &Of {
        &self.space
    }

    fn dim(&self) -> usize {
        DIM
    }

    fn context_dim(&self) -> usize {
        1
    }

    fn parameters(&self) -> Vec<&Parameter<Of>> {
        vec![&self.log_scale]
    }

    fn parameters_mut(&mut self) -> Vec<&mut Parameter<Of>> {
        vec![&mut self.log_scale]
    }

    fn carry(
        &self,
        direction: Direction,
        start: <Of as Space>::Array,
        context: Option<<Of as Space>::Array>,
        pullback: bool,
    ) -> Result<Image<Of>, Error> {
        let space = self.space.clone();
        let (s, start) = (space.download(&self.log_scale.value), space.download(&start));
        let context = space.download(&context.expect("it has a context"));
        let sign = if direction == Direction::Forward { 1.0 } else { -1.0 };
        let carried = |(i, x): (usize, &f64)| match direction {
            Direction::Forward => s[i % DIM].exp() * x + context[i / DIM],
            Direction::Backward => (x - context[i / DIM]) * (-s[i % DIM]).exp(),
        };
        let end: Vec<f64> = start.iter().enumerate().map(carried).collect();
        let log_density = vec![-sign * s.iter().sum::<f64>(); context.len()];
        let x = space.upload(context.len(), DIM, &end);
        let column = space.upload_column(&log_density);
        let back = move |x_bar, log_density_bar| {
            let (x_bar, through) = (space.download(&x_bar), space.download_column(&log_density_bar));
            let mut gradient = vec![-sign * through.iter().sum::<f64>(); DIM];
            for (i, bar) in x_bar.iter().enumerate() {
                let moved = end[i] - if direction == Direction::Forward { context[i / DIM] } else { 0.0 };
                gradient[i % DIM] += sign * bar * moved;
            }
            vec![space.upload(1, DIM, &gradient)]
        };
        Ok(Image { x, log_density: column, pullback: pullback.then(|| Box::new(back) as _) })
    }

    fn describe(&self) -> String {
        "scales".into()
    }
}

fn model() -> BijectorModel<Of> {
    BijectorModel::new(Box::new(Scales::new()), Box::new(NegativeLogLikelihood::default()))
}

/// Rows with weights and a context.
fn batch(rows: usize) -> Batch {
    let weights: Vec<f64> = (1..=rows).map(|weight| weight as f64).collect();
    let total = weights.iter().sum();
    normals(rows).with_context(key(3).normals(0..rows, 1)).with_weights(weights, total)
}

fn energy() -> FreeEnergy<impl Energy> {
    FreeEnergy::new(PointEnergy::new(DIM, |x, gradient| {
        gradient.iter_mut().zip(x).for_each(|(g, x)| *g = x.powi(3));
        Ok(x.iter().map(|x| 0.25 * x.powi(4)).sum())
    }))
}

#[test]
fn densities_samples_and_maps_are_one_and_have_no_integration_error() {
    let (model, context) = (model(), key(3).normals(0..7, 1));
    let samples = model.sample(2, &context, key(0)).unwrap();
    let ln_p = model.log_prob(&samples.x, &context, key(0)).unwrap();
    let base = model.to_base(&samples.x, &context, key(0)).unwrap();
    assert_eq!((samples.log_prob.len(), model.level()), (7, None));
    for r in 0..7 {
        let z = &key(0).normals(0..7, DIM)[r * DIM..(r + 1) * DIM];
        let exact = standard_normal_log_density(z) - 0.3;
        assert!((samples.log_prob[r] - exact).abs() < 1e-12 && (ln_p.values[r] - exact).abs() < 1e-12);
        assert!((base.x[r * DIM] - z[0]).abs() < 1e-12 && (base.log_jacobian[r] + 0.3).abs() < 1e-12);
    }
    assert_eq!(
        [samples.integration_errors, ln_p.integration_errors, base.integration_errors],
        [[0.0; 7], [0.0; 7], [0.0; 7]]
    );
}

#[test]
fn gradients_of_both_objectives_are_those_of_differences() {
    let objectives: [&dyn Objective<Of>; 2] = [&NegativeLogLikelihood::default(), &energy()];
    for objective in objectives {
        let (mut model, batch, how) = (model(), batch(9), Evaluation::new(key(0)));
        let found = model.evaluate_by(objective, &batch, &how.with_gradient()).unwrap().gradient.unwrap();
        let gradient = model.space().download(&found[0]);
        let mean = |model: &BijectorModel<Of>| {
            super::mean(&batch, &model.evaluate_by(objective, &batch, &how).unwrap().losses)
        };
        for (i, exact) in gradient.iter().enumerate() {
            let mut at = |h: f64| {
                model.parameters_mut()[0].value[[0, i]] += h;
                let found = mean(&model);
                model.parameters_mut()[0].value[[0, i]] -= h;
                found
            };
            let difference = (at(1e-5) - at(-1e-5)) / 2e-5;
            assert!((difference - exact).abs() < 1e-8, "{}: {difference} and {exact}", objective.name());
        }
    }
}

#[test]
fn figures_are_exact_and_what_needs_a_flow_says_so() {
    let (model, batch) = (model(), batch(20));
    let figure =
        |objective: &dyn Objective<Of>| exact(&*model.map, objective, 1, |i| Ok((batch.clone(), key(i))), |_| {});
    let found = figure(&NegativeLogLikelihood::default()).unwrap();
    let losses: Vec<f64> =
        model.log_prob(&batch.x, &batch.context, key(0)).unwrap().values.iter().map(|ln_p| -ln_p).collect();
    assert!(found.losses.iter().zip(&losses).all(|(a, b)| (a - b).abs() < 1e-12));
    assert_eq!((found.mean, found.integration_error), (Mean::weighted(&found.losses, &batch.weights), 0.0));
    assert!(found.is_converged() && found.integrator == "scales");
    let matching = FlowMatching::new(Path::Straight, 2);
    for objective in
        [&matching as &dyn Objective<Of>, &NegativeLogLikelihood { transport_cost: 1.0, ..Default::default() }]
    {
        let error = figure(objective).unwrap_err().to_string();
        assert!(error.contains("needs a flow") && error.contains("closed form"), "{error}");
    }
}

/// Losses and gradient of this member's part of a batch, as bits.
fn outcome(team: &dyn Team) -> Vec<u64> {
    let (model, how) = (model(), Evaluation { blocks: Some(5), ..Evaluation::new(key(0)).by(team) });
    let part = how.my_part(model.space(), &batch(23)).unwrap();
    let found = model.evaluate(&part, &how.with_gradient()).unwrap();
    let gradient = model.space().download(&found.gradient.unwrap()[0]);
    found.losses.iter().chain(&gradient).map(|number| number.to_bits()).collect()
}

#[test]
fn members_of_a_team_find_together_what_one_finds_alone() {
    let alone = outcome(&Alone);
    for size in [2, 3] {
        together(size, |team| outcome(team)).into_iter().for_each(|found| assert!(found == alone));
    }
}

#[test]
fn a_training_learns_the_scales_of_its_rows() {
    let mut model = model();
    let rows = |key: flow_core::RngKey, part: std::ops::Range<usize>| key.normals(part, DIM);
    struct Twice<F>(F);
    impl<F: Fn(flow_core::RngKey, std::ops::Range<usize>) -> Vec<f64> + Sync> flow_core::Batches for Twice<F> {
        fn batch(&self, key: flow_core::RngKey, part: std::ops::Range<usize>, of: usize) -> Result<Batch, Error> {
            let x = (self.0)(key, part.clone()).iter().map(|x| 2.0 * x + 1.0).collect();
            Ok(Batch::new(x, DIM)?.with_context(vec![1.0; part.len()]).part(part.start, of))
        }
    }
    let settings = TrainSettings { steps: 200, learning_rate: 0.02, ..Default::default() };
    Trainer::new(&mut model, settings, &Twice(rows)).unwrap().run(&mut ()).unwrap();
    let learned = model.space().download(&model.parameters()[0].value);
    assert!(learned.iter().all(|s| (s - 2f64.ln()).abs() < 0.05), "{learned:?}");
}
