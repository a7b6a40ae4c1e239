//! What do saturated units cost? A sigmoid far from zero has derivatives near the least positive number, whose products
//! with other small numbers are denormal, and processors take a hundred cycles or more for those. Workers treat them as
//! zero.
//!
//! The same pullbacks, of the MNIST model, with ordinary and with saturated units, by workers as they are and by
//! workers that were told to keep denormal numbers.

use std::time::Duration;

use backend_ndarray::{Cpu, Ridge};
use benches::{MNIST, a_solve, block};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use flow_core::{Coordinates, Motion, Potential, Pullback, Space, Stage, cut};

/// Pullbacks per measurement.
const STAGES: u64 = 10;

/// Makes this thread keep denormal numbers, or treat them as zero.
#[cfg(target_arch = "x86_64")]
fn keep_denormals(keep: bool) {
    let mut control = 0u32;
    // Bits 15 and 6 of MXCSR. SAFETY: reads and writes this thread's own control register through a valid pointer;
    // rounding mode and exception masks stay.
    unsafe {
        std::arch::asm!("stmxcsr [{}]", in(reg) &mut control, options(nostack));
        control = if keep { control & !0x8040 } else { control | 0x8040 };
        std::arch::asm!("ldmxcsr [{}]", in(reg) &control, options(nostack));
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn keep_denormals(_: bool) {}

fn pullbacks(cpu: &Cpu<f32>, potential: &Ridge<f32>, keep: bool) {
    let (stage, batch) = (Stage { t: 0.0, index: 0 }, MNIST.batch());
    let solve = a_solve(cpu, batch.of, Coordinates::X);
    let field = potential.freeze(&solve);
    cpu.map_blocks(cut(batch.of, cpu.blocks(batch.of)), |range| {
        keep_denormals(keep);
        let laplacian_bar = vec![1e-2; range.len()];
        let (mut block, state) = field.enter(block(cpu, potential, &solve, range, &batch));
        let (mut velocity, mut state_bar) = (state.clone(), state.clone());
        let mut residuals = Vec::new();
        block.evaluate(
            stage,
            &state,
            Motion { velocity: &mut velocity, laplacian: None, residuals: Some(&mut residuals) },
        );
        cpu.accumulate(&mut velocity, 1e-2, &[]);
        for _ in 0..STAGES {
            block.pullback(
                stage,
                &state,
                Pullback {
                    residuals: &residuals,
                    velocity_bar: &velocity,
                    laplacian_bar: Some(&laplacian_bar),
                    state_bar: Some(&mut state_bar),
                },
            );
        }
        keep_denormals(false);
        cpu.dot(&state_bar, &state_bar)
    });
}

fn saturation(criterion: &mut Criterion) {
    let cpu = Cpu::<f32>::new(0);
    let mut group = criterion.benchmark_group("saturation");
    group.sample_size(10).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    for (units, weights) in [("ordinary", 1.0), ("saturated", 1e3)] {
        let (activation, bias) = MNIST.activation();
        let mut ridge =
            Ridge::new(cpu.clone(), MNIST.dim, MNIST.hidden, activation, bias, 0).expect("sizes are positive");
        cpu.accumulate(&mut ridge.parameters_mut()[0].value, weights, &[]);
        for (workers, keep) in [("as-they-are", false), ("keeping-denormals", true)] {
            let id = BenchmarkId::new(units, workers);
            group.bench_function(id, |bencher| bencher.iter(|| pullbacks(&cpu, &ridge, keep)));
        }
    }
    group.finish();
}

/// One group for the harness.
#[allow(missing_docs, reason = "the macro's function has no place for a comment")]
mod groups {
    use super::*;
    criterion_group!(benches, saturation);
}

criterion_main!(groups::benches);
