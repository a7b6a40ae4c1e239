//! Energies that fail, that one thread at a time may ask, and that take a context.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use backend_ndarray::Cpu;
use flow_core::conformance::Gaussian;
use flow_core::{
    Batch, Energy, Error, Estimator, Evaluation, FixedStep, Flow, FreeEnergy, Method, Objective, PointEnergy,
    Potential, standard_normal_log_density,
};

use super::{DIM, assert_gradient_is_the_difference, key, normals, ridge};

const ROWS: usize = 64;

#[test]
fn an_error_of_an_energy_ends_the_evaluation() {
    let (space, potential) = (Cpu::<f64>::new(2), ridge(&Cpu::new(1), 5));
    let integrator = FixedStep::new(Method::Rk4.tableau(), 2).unwrap();
    let flow = Flow::new(&space, &potential, &integrator);
    // One point of all.
    let asked = AtomicUsize::new(0);
    let fails = || {
        PointEnergy::new(DIM, |_, gradient| {
            gradient.fill(0.0);
            match asked.fetch_add(1, Ordering::Relaxed) {
                40 => Err(Error::Callback("the server is gone".into())),
                _ => Ok(0.0),
            }
        })
    };
    for gradient in [false, true] {
        for estimator in [Estimator::Total, Estimator::Path] {
            asked.store(0, Ordering::Relaxed);
            let objective = FreeEnergy { gradient: estimator, ..FreeEnergy::new(fails()) };
            let how = Evaluation { gradient, ..Evaluation::new(key(0)) };
            let error = objective.evaluate(&flow, &normals(ROWS), &how).unwrap_err();
            assert_eq!(error.to_string(), "the server is gone");
        }
    }
    asked.store(0, Ordering::Relaxed);
    let error = flow.latent_energy(&fails(), &normals(ROWS).x, key(0)).unwrap_err();
    assert_eq!(error.to_string(), "the server is gone");
}

#[test]
fn one_thread_at_a_time_asks_an_energy_unless_it_says_otherwise() {
    let (space, potential) = (Cpu::<f64>::new(4), ridge(&Cpu::new(1), 5));
    let integrator = FixedStep::new(Method::Euler.tableau(), 1).unwrap();
    let flow = Flow::new(&space, &potential, &integrator);
    let (inside, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
    // Stays for a while, and does not go before another one came where others may.
    let energy = |patience: Duration| {
        let (inside, most) = (&inside, &most);
        PointEnergy::new(DIM, move |x, gradient| {
            gradient.copy_from_slice(x);
            most.fetch_max(1 + inside.fetch_add(1, Ordering::SeqCst), Ordering::SeqCst);
            let begin = Instant::now();
            while most.load(Ordering::SeqCst) < 2 && begin.elapsed() < patience {
                std::thread::yield_now();
            }
            inside.fetch_sub(1, Ordering::SeqCst);
            Ok(0.5 * x.iter().map(|x| x * x).sum::<f64>())
        })
    };
    let ask = |energy: &dyn Energy| {
        most.store(0, Ordering::SeqCst);
        let objective = FreeEnergy::new(Borrowed(energy));
        objective.evaluate(&flow, &normals(ROWS), &Evaluation::new(key(0)).with_gradient()).unwrap();
        let by_objective = most.swap(0, Ordering::SeqCst);
        flow.latent_energy(energy, &normals(ROWS).x, key(0)).unwrap();
        [by_objective, most.load(Ordering::SeqCst)]
    };
    assert_eq!(ask(&energy(Duration::from_millis(2))), [1, 1]);
    assert!(ask(&energy(Duration::from_secs(20)).concurrent()).into_iter().all(|most| most > 1));
}

/// Somebody else's energy.
struct Borrowed<'a>(&'a dyn Energy);

impl Energy for Borrowed<'_> {
    fn dim(&self) -> usize {
        self.0.dim()
    }

    fn context_dim(&self) -> usize {
        self.0.context_dim()
    }

    fn energies_and_gradients(
        &self,
        x: &[f64],
        context: &[f64],
        energies: &mut [f64],
        gradients: &mut [f64],
    ) -> Result<(), Error> {
        self.0.energies_and_gradients(x, context, energies, gradients)
    }

    fn concurrent(&self) -> bool {
        self.0.concurrent()
    }
}

/// `‖x − c‖²/2` about the row's context c.
struct Spring;

impl Energy for Spring {
    fn dim(&self) -> usize {
        DIM
    }

    fn context_dim(&self) -> usize {
        DIM
    }

    fn energies_and_gradients(
        &self,
        x: &[f64],
        context: &[f64],
        energies: &mut [f64],
        gradients: &mut [f64],
    ) -> Result<(), Error> {
        gradients.iter_mut().zip(x.iter().zip(context)).for_each(|(g, (x, c))| *g = x - c);
        for (energy, gradient) in energies.iter_mut().zip(gradients.chunks_exact(DIM)) {
            *energy = 0.5 * gradient.iter().map(|g| g * g).sum::<f64>();
        }
        Ok(())
    }
}

#[test]
fn a_context_reaches_the_energy_and_the_potential() {
    let (space, rate) = (Cpu::<f64>::new(2), 0.4);
    let mut potential = Gaussian::new(space.clone(), DIM, rate).driven();
    let integrator = FixedStep::new(Method::Rk4.tableau(), 50).unwrap();
    let batch = normals(ROWS).with_context(key(8).normals(0..ROWS, DIM));
    let evaluate = |potential: &dyn Potential<Cpu<f64>>, gradient| {
        let objective = FreeEnergy { gradient, ..FreeEnergy::new(Spring) };
        objective.evaluate(&Flow::new(&space, potential, &integrator), &batch, &Evaluation::new(key(0)).with_gradient())
    };
    // dx/dt = λx + c: x = e^{λt} z + c (e^{λt} − 1)/λ.
    let width = rate.exp();
    let exact = |z: &[f64], c: &[f64]| {
        let off = z.iter().zip(c).map(|(z, c)| width * z + c * (width - 1.0) / rate - c);
        standard_normal_log_density(z) - DIM as f64 * rate + 0.5 * off.map(|off| off * off).sum::<f64>()
    };
    for estimator in [Estimator::Total, Estimator::Path] {
        let losses = evaluate(&potential, estimator).unwrap().losses;
        let rows = batch.x.chunks(DIM).zip(batch.context.chunks(DIM));
        for (loss, (z, c)) in losses.iter().zip(rows) {
            assert!((loss - exact(z, c)).abs() < 1e-8, "{loss}, exactly {}", exact(z, c));
        }
    }
    let outcome = |of: &dyn Potential<Cpu<f64>>| evaluate(of, Estimator::Total);
    assert_gradient_is_the_difference("in a context", &mut potential, &batch, &outcome);
}

#[test]
fn an_energy_without_context_may_stand_beside_a_potential_with_one() {
    let space = Cpu::<f64>::new(1);
    let (driven, plain) = (Gaussian::new(space.clone(), DIM, 0.4).driven(), Gaussian::new(space.clone(), DIM, 0.4));
    let integrator = FixedStep::new(Method::Rk4.tableau(), 5).unwrap();
    let round = PointEnergy::new(DIM, |x, gradient| {
        gradient.copy_from_slice(x);
        Ok(0.5 * x.iter().map(|x| x * x).sum::<f64>())
    });
    let how = Evaluation::new(key(0));
    let losses = |potential: &dyn Potential<Cpu<f64>>, batch: &Batch| {
        FreeEnergy::new(Borrowed(&round)).evaluate(&Flow::new(&space, potential, &integrator), batch, &how)
    };
    // Pushed by nothing, the one is the other.
    let still = losses(&driven, &normals(4).with_context(vec![0.0; 4 * DIM])).unwrap().losses;
    assert_eq!(still, losses(&plain, &normals(4)).unwrap().losses);
    // The other way round there is no context to give it.
    let refused = FreeEnergy::new(Spring).evaluate(&Flow::new(&space, &plain, &integrator), &normals(4), &how);
    assert!(matches!(refused, Err(Error::Shape { .. })));
}
