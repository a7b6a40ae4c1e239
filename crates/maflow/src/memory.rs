//! What a training needs of memory, from its recipe alone, and what there is: found out before anything large is made.

use std::fmt;

use flow_core::{Memory, Space};

use crate::recipe::{
    Arithmetic, Backend, Density, FlowMethod, Model, Objective, Potential, Recipe, TargetKind, Term, TermKind,
};

/// Bytes that a training holds at its peak at least, by what they are for. Small arrays and what libraries hold are
/// left out, so that the peak is up to [`Estimate::FACTOR`] times as much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Estimate {
    /// Parameters with gradient, moments, moving average and the last good checkpoint.
    pub parameters: u64,
    /// What writing a checkpoint takes; it is not at the same time as a step.
    pub checkpoint: u64,
    /// What a step takes.
    pub step: Step,
    /// Rows to train on, or samples drawn of the target.
    pub data: u64,
}

/// What a step of a training takes, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Step {
    /// What every block of a batch leaves of the gradient until all are summed.
    pub gradients: u64,
    /// Stages of integration that the way back needs, of the blocks that are done at a time.
    pub stages: u64,
    /// Rows of the batch.
    pub batch: u64,
}

impl Step {
    fn total(self) -> u64 {
        sum([self.gradients, self.stages, self.batch])
    }
}

/// Bytes of a number on the host.
const HOST: u64 = 8;

/// The product of sizes that may be absurd.
fn product(sizes: impl IntoIterator<Item = usize>) -> u64 {
    sizes.into_iter().fold(1, |product, size| product.saturating_mul(size as u64))
}

fn sum(parts: impl IntoIterator<Item = u64>) -> u64 {
    parts.into_iter().fold(0, u64::saturating_add)
}

impl Estimate {
    /// The peak is at most this many times the estimate, beside what the program holds anyway.
    pub const FACTOR: u64 = 4;

    /// What the training of a recipe needs on one of `members` processes, by `threads` threads of a backend. For a GPU
    /// this is memory of the host.
    pub fn of<S: Space>(recipe: &Recipe, space: &S, (backend, threads): (Backend, usize), members: usize) -> Self {
        let train = &recipe.train;
        let on_gpu = backend == Backend::TchCuda;
        let number = if train.precision == Arithmetic::F64 { 8 } else { 4 };
        let parameters = parameters(recipe);
        let average = u64::from(train.average.is_some());
        // A checkpoint has values, both moments and the average, in 64 bits.
        let checkpoint = HOST * (3 + average);
        let held = if on_gpu { checkpoint } else { checkpoint + number * (4 + average) };
        // The new checkpoint, its copy as tensors with names, and the bytes of the file.
        let written = 2 * checkpoint + number * (3 + average);
        let tuned = recipe.fine_tune.as_ref().filter(|tune| tune.steps > 0);
        let first = (train.batch, matches!(train.objective, Objective::Nll | Objective::FreeEnergy));
        let step = |(rows, integrates): (usize, bool)| {
            let rows = rows.div_ceil(members);
            let batch = product([rows, recipe.dimension()]).saturating_mul(2 * HOST);
            if on_gpu {
                return Step { batch, ..Step::default() };
            }
            let blocks = train.blocks.map_or_else(|| space.blocks(rows), |blocks| blocks.div_ceil(members)).max(1);
            let shares = product([blocks]).saturating_mul(parameters);
            let units = product([rows]).saturating_mul(widths(recipe));
            let at_once = product([blocks.min(threads), rows / blocks]);
            let stages = if integrates { stages(recipe) } else { 0 };
            let stages = stages.saturating_mul(at_once).saturating_mul(widths(recipe)).saturating_mul(number);
            Step { gradients: shares.saturating_add(units).saturating_mul(number), stages, batch }
        };
        let steps = std::iter::once(first).chain(tuned.map(|tune| (tune.batch, true))).map(step);
        Self {
            parameters: parameters.saturating_mul(held),
            checkpoint: parameters.saturating_mul(written),
            step: steps.max_by_key(|step| step.total()).unwrap_or_default(),
            data: data(recipe),
        }
    }

    /// All of it that is held at a time, in bytes.
    pub fn total(&self) -> u64 {
        sum([self.parameters, self.checkpoint.max(self.step.total()), self.data])
    }

    /// Refuses what is more than there is.
    ///
    /// # Errors
    /// [`TooLittle`] with both numbers and a remedy.
    pub fn require(self, available: Option<Available>) -> Result<(), TooLittle> {
        match available {
            Some(available) if self.total() > available.bytes => Err(TooLittle { needed: self, available }),
            _ => Ok(()),
        }
    }

    /// The largest part in words, with what makes it smaller, by keys of recipes.
    fn largest(&self) -> (u64, &'static str, &'static str) {
        let Step { gradients, stages, batch } = self.step;
        let parameters = self.parameters.saturating_add(self.checkpoint);
        let parts = [
            (parameters, "the parameters", "choose a smaller potential or model"),
            (gradients, "the gradients of blocks", "lower train.batch, or choose a smaller potential or model"),
            (stages, "the integration steps", "set flow.memory = \"recompute\", or lower flow.steps or the threads"),
            (batch, "the rows of a batch", "lower train.batch"),
            (self.data, "the samples to train on", "lower train.pool, or choose a smaller target"),
        ];
        parts.into_iter().max_by_key(|part| part.0).expect("there are parts")
    }
}

/// A training that needs more memory than there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "this training needs at least {} of memory, and {} are {}: {needed}",
    in_units(.needed.total()),
    in_units(.available.bytes),
    .available.by
)]
pub struct TooLittle {
    /// What it needs.
    pub needed: Estimate,
    /// What there is.
    pub available: Available,
}

/// The largest part, and what makes it smaller.
impl fmt::Display for Estimate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (bytes, what, remedy) = self.largest();
        write!(f, "{} of it for {what}; {remedy}", in_units(bytes))
    }
}

/// Bytes in the largest unit that leaves a number above 1.
pub fn in_units(bytes: u64) -> String {
    let units = ["bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let (mut value, mut unit) = (bytes as f64, 0);
    while value >= 1024.0 && unit + 1 < units.len() {
        (value, unit) = (value / 1024.0, unit + 1);
    }
    let digits = if unit == 0 || value >= 100.0 { 0 } else { 1 };
    format!("{value:.digits$} {}", units[unit])
}

/// The memory that this process may still take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Available {
    /// How much.
    pub bytes: u64,
    /// What sets the limit, in words.
    pub by: &'static str,
}

impl Available {
    /// The least of what the machine has free, of the limit of addresses (`ulimit -v`) and of the control group; `None`
    /// where the system does not say.
    pub fn now() -> Option<Self> {
        let read = |path: &str| std::fs::read_to_string(path).ok();
        let machine =
            read("/proc/meminfo").and_then(|text| Some(kib(&text, "MemAvailable:")? + kib(&text, "SwapFree:")?));
        let taken = read("/proc/self/status").and_then(|text| kib(&text, "VmSize:"));
        let addresses = read("/proc/self/limits").and_then(|text| limit(&text)).zip(taken);
        let group = read("/sys/fs/cgroup/memory.max").and_then(|text| text.trim().parse::<u64>().ok());
        let used = read("/sys/fs/cgroup/memory.current").and_then(|text| text.trim().parse::<u64>().ok());
        let found = [
            machine.map(|bytes| (bytes, "free on this machine")),
            addresses.map(|(limit, taken)| (limit.saturating_sub(taken), "left by ulimit -v")),
            group.zip(used).map(|(limit, used)| (limit.saturating_sub(used), "left to this control group")),
        ];
        let least = found.into_iter().flatten().min_by_key(|(bytes, _)| *bytes);
        least.map(|(bytes, by)| Self { bytes, by })
    }
}

/// A line of `/proc/meminfo`, in bytes.
fn kib(text: &str, name: &str) -> Option<u64> {
    let words = text.lines().find_map(|line| line.strip_prefix(name))?;
    words.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

/// The soft limit of addresses in `/proc/self/limits`; `None` where there is none.
fn limit(text: &str) -> Option<u64> {
    let words = text.lines().find_map(|line| line.strip_prefix("Max address space"))?;
    words.split_whitespace().next()?.parse().ok()
}

/// Learnable numbers, but for small arrays.
fn parameters(recipe: &Recipe) -> u64 {
    let n = recipe.dimension();
    match &recipe.density {
        Density::Flow { potential, flow } => {
            let of_segment = match potential {
                Potential::Ridge(ridge) => dense([n, ridge.hidden, ridge.time_terms]),
                Potential::Sum(of) => sum(of.terms.iter().map(|term| of_term(term, n))),
            };
            of_segment.saturating_mul(flow.segments as u64)
        }
        Density::Model { model } => {
            let (layers, hidden) = hidden_of(model);
            let widths: Vec<usize> = std::iter::once(n).chain(hidden.iter().copied()).chain([n]).collect();
            product([layers]).saturating_mul(sum(widths.windows(2).map(|pair| product(pair.iter().copied()))))
        }
    }
}

/// Weights of one layer after the other.
fn dense<const LAYERS: usize>(widths: [usize; LAYERS]) -> u64 {
    sum(widths.windows(2).map(|pair| product(pair.iter().copied())))
}

fn of_term(term: &Term, n: usize) -> u64 {
    let times = term.time.time_terms;
    match &term.kind {
        TermKind::FullQuadratic => product([n, n, times]),
        TermKind::Ridge(ridge) => dense([n, ridge.hidden, times]),
        TermKind::TwoLayer(of) => dense([n, of.hidden[0], of.hidden[1], times]),
        // Symmetric kernels have an eighth of the numbers.
        TermKind::LatticeRidge(of) => product([of.kernels, n]) / if of.d4 { 8 } else { 1 },
        TermKind::Separable(of) => product([of.centres, times]),
        TermKind::Particles(of) => dense([of.sums, of.hidden[0], of.hidden[1]]),
        TermKind::Convolutional(of) => product([of.channels[1], n / 16, of.hidden]),
        TermKind::Quadratic(_) | TermKind::ContextQuadratic | TermKind::LatticeQuadratic => n as u64,
    }
}

/// Numbers of a row that a stage has: its point, and the units of its layers.
fn widths(recipe: &Recipe) -> u64 {
    let n = recipe.dimension() as u64;
    let of_term = |term: &Term| match &term.kind {
        TermKind::Ridge(ridge) => ridge.hidden as u64,
        TermKind::TwoLayer(of) => sum(of.hidden.map(|hidden| hidden as u64)),
        // Of a lattice they are there for a kernel at a time.
        _ => 0,
    };
    match &recipe.density {
        Density::Flow { potential: Potential::Ridge(ridge), .. } => ridge.hidden as u64,
        Density::Flow { potential: Potential::Sum(of), .. } => n.saturating_add(sum(of.terms.iter().map(of_term))),
        Density::Model { model } => n.saturating_add(sum(hidden_of(model).1.iter().map(|hidden| *hidden as u64))),
    }
}

fn hidden_of(model: &Model) -> (usize, &[usize]) {
    match model {
        Model::Made(of) => (1, &of.hidden),
        Model::Maf(of) => (of.layers, &of.hidden),
        Model::RealNvp(of) => (of.layers, &of.hidden),
        Model::NeuralRg(of) => (of.layers, &of.hidden),
    }
}

/// Stages that the way back of a solve needs at a time.
fn stages(recipe: &Recipe) -> u64 {
    let Some(flow) = recipe.flow() else { return 0 };
    match (flow.method, flow.memory) {
        (FlowMethod::Reversible(_), _) | (_, Memory::Continuous) => 1,
        (_, Memory::Recompute) => flow.steps as u64,
        (FlowMethod::RungeKutta(of) | FlowMethod::Fixed(of), Memory::Stages) => {
            product([flow.steps, of.tableau().stages()])
        }
    }
}

/// Rows that are held to train on.
fn data(recipe: &Recipe) -> u64 {
    let samples = recipe.train.objective == Objective::FlowMatching;
    match &recipe.target {
        TargetKind::Mnist(_) => 70_000 * 784,
        // A byte for a spin.
        TargetKind::Ising(_) if samples => product([recipe.train.pool, recipe.dimension()]),
        TargetKind::Phi4(_) | TargetKind::Particles(_) if samples => {
            product([recipe.train.pool, recipe.dimension()]).saturating_mul(4)
        }
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use backend_ndarray::Cpu;

    use super::*;
    use crate::recipes;

    fn estimate(name: &str, settings: &[&str]) -> Estimate {
        let settings: Vec<_> = settings.iter().map(|setting| setting.parse().unwrap()).collect();
        Estimate::of(&recipes::load(name, &settings).unwrap(), &Cpu::<f32>::new(1), (Backend::Ndarray, 2), 1)
    }

    #[test]
    fn every_recipe_of_the_program_fits_into_two_gigabytes() {
        for recipe in recipes::BUILT_IN {
            let found = estimate(recipe.name, &[]);
            assert!(found.total() < 2 << 30 && found.total() > 0, "{}: {found:?}", recipe.name);
        }
    }

    #[test]
    fn the_largest_part_is_told_with_its_remedy() {
        for (setting, part, remedy) in [
            ("train.batch=16777216", "the gradients of blocks", "lower train.batch"),
            ("potential.hidden=1048576", "the parameters", "smaller potential"),
            ("flow.steps=1000000", "the integration steps", "flow.memory = \"recompute\""),
        ] {
            let needed = estimate("ising-16-paper", &["potential.symmetry.draw=per-solve", setting]);
            let available = Available { bytes: 1 << 30, by: "left by ulimit -v" };
            let told = needed.require(Some(available)).unwrap_err().to_string();
            let all = [part, remedy, "1.0 GiB are left by ulimit -v", "needs at least"];
            assert!(all.iter().all(|words| told.contains(words)), "{told}");
            assert!(needed.require(None).is_ok());
        }
        let pool = estimate("ising-16", &["target.size=1024", "train.pool=16777216"]);
        assert!(pool.to_string().contains("lower train.pool"), "{pool}");
    }

    #[test]
    fn sizes_and_limits_are_read() {
        assert_eq!(
            [0, 1023, 1536, 300 << 20, 5 << 40].map(in_units),
            ["0 bytes", "1023 bytes", "1.5 KiB", "300 MiB", "5.0 TiB"]
        );
        let limits = "Limit  Soft Limit  Hard Limit  Units\nMax address space         4096000000           unlimited  \
                              bytes\n";
        assert_eq!(limit(limits), Some(4_096_000_000));
        assert_eq!(limit("Max address space         unlimited            unlimited            bytes\n"), None);
        assert_eq!(kib("MemTotal:  8 kB\nMemAvailable:    2048 kB\n", "MemAvailable:"), Some(2 << 20));
        if cfg!(target_os = "linux") {
            assert!(Available::now().unwrap().bytes > 0);
        }
    }
}
