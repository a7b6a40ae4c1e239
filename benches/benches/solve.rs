//! How long do a training step and a likelihood evaluation of the paper's two models take?

use std::time::Duration;

use backend_ndarray::{Cpu, Ridge};
use benches::{Configuration, How, ISING, MNIST};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use flow_core::{Coordinates, Memory};

fn ridge(of: &Configuration, cpu: &Cpu<f32>) -> Ridge<f32> {
    let (activation, bias) = of.activation();
    Ridge::new(cpu.clone(), of.dim, of.hidden, activation, bias, 0).expect("sizes are positive")
}

fn solve(criterion: &mut Criterion) {
    let cpu = Cpu::<f32>::new(0);
    for configuration in [ISING, MNIST] {
        let (ridge, batch) = (ridge(&configuration, &cpu), configuration.batch());
        for (question, gradient) in [("training-step", true), ("likelihood", false)] {
            let mut group = criterion.benchmark_group(question);
            group.sample_size(10).warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(8));
            for (way, coordinates) in [("x", Coordinates::X), ("feature-space", Coordinates::Feature)] {
                let id = BenchmarkId::new(format!("{}/ndarray-cpu-f32", configuration.name), way);
                group.bench_function(id, |bencher| {
                    bencher.iter(|| {
                        let how = How { coordinates, memory: Memory::Stages, gradient };
                        let outcome = configuration.evaluate(&cpu, &ridge, &batch, how);
                        outcome.expect("the solve stays finite")
                    });
                });
            }
            group.finish();
        }
    }
}

/// One group for the harness.
#[allow(missing_docs, reason = "the macro's function has no place for a comment")]
mod groups {
    use super::*;
    criterion_group!(benches, solve);
}

criterion_main!(groups::benches);
