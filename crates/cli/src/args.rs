//! The command line: every command and flag of the program, in one place.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use datasets::columns::Regression;
use maflow::backend::Backend;
use maflow::fit::FitModel;
use maflow::recipe::{Arithmetic, FlowMethod, Setting};
use serde::de::value::StrDeserializer;
use serde::de::{DeserializeOwned, IntoDeserializer};

const EXAMPLES: &str = "\
Examples:
  maflow                                        train the default recipe (a few minutes, no download)
  maflow fit data.csv                           fit a density to a table of your own
  maflow train energy.toml                      fit a density to an energy of your own
  maflow train mnist --out runs/mnist           the paper's MNIST model
  maflow train mnist --set train.epochs=10 --set flow.steps=50
  maflow train --resume --out runs/mnist        go on where it stopped
  maflow evaluate runs/mnist --json
  maflow physics runs/ising-16                  ln Z, observables, Markov chains made of the flow
  maflow sample runs/mnist --count 64 --out samples.png
  maflow plot runs/mnist
  maflow recipes                                what can be trained

Results go to standard output, progress to standard error.
Exit codes: 0 done, 1 failed, 2 wrong use, 130 interrupted (after a checkpoint).";

/// Train and use Monge-Ampère flows: densities carried by the gradient of a learnable potential.
#[derive(Debug, Parser)]
#[command(name = "maflow", version, after_help = EXAMPLES, max_term_width = 100)]
pub struct Cli {
    /// Flags that every command takes.
    #[command(flatten)]
    pub global: GlobalArgs,
    /// What to do; without one, the default recipe is trained.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// Flags that every command takes.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Options of every command")]
pub struct GlobalArgs {
    /// Where the numbers are computed [default: the run's own, or ndarray]
    #[arg(long, global = true, value_parser = words::<Backend>(BACKENDS), value_name = "NAME")]
    pub backend: Option<Backend>,
    /// Threads to compute with [default: all cores]; results of ndarray do not depend on it
    #[arg(long, global = true, value_name = "N")]
    pub threads: Option<NonZeroUsize>,
    /// Seed of every random number [default: the recipe's]
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64))]
    pub seed: Option<u64>,
    /// Floating-point precision [default: the recipe's]
    #[arg(long, global = true, value_parser = words::<Arithmetic>(PRECISIONS), value_name = "P")]
    pub precision: Option<Arithmetic>,
}

/// Words of recipes as values of a flag, each with its meaning.
fn words<T: DeserializeOwned + Clone + Send + Sync + 'static>(
    words: &'static [(&'static str, &'static str)],
) -> impl TypedValueParser<Value = T> {
    let values = words.iter().map(|(word, help)| PossibleValue::new(word).help(help));
    PossibleValuesParser::new(values).map(|word| {
        let word: StrDeserializer<'_, serde::de::value::Error> = word.as_str().into_deserializer();
        T::deserialize(word).expect("the words are those that recipes have")
    })
}

const BACKENDS: &[(&str, &str)] = &[
    ("ndarray", "Pure Rust on the CPU"),
    ("tch-cpu", "libtorch on the CPU"),
    ("tch-cuda", "libtorch on an NVIDIA GPU"),
];

const REGRESSIONS: &[(&str, &str)] = &[
    ("none", "Nothing"),
    ("location", "Their location, the mean"),
    ("location-scale", "Their location, and the logarithm of their scale"),
];

const MODELS: &[(&str, &str)] = &[
    ("flow", "A flow along the gradient of a potential"),
    ("made", "A masked autoregressive network, mixtures of Gaussians"),
    ("maf", "A masked autoregressive flow"),
    ("real-nvp", "Real NVP, of affine couplings"),
];

const PRECISIONS: &[(&str, &str)] = &[
    ("f32", "Single"),
    ("f64", "Double"),
    ("tf32", "Single, with matrix products rounded to the 10 bits of TF32: for NVIDIA GPUs (tch-cuda) only"),
];

const METHODS: &[(&str, &str)] = &[
    ("euler", "First order"),
    ("midpoint", "Second order"),
    ("heun", "Second order"),
    ("ralston3", "Third order, Ralston's"),
    ("rk4", "Fourth order, the classical one"),
    ("rk38", "Fourth order, the 3/8 rule"),
    ("tsit5", "Tsitouras 5(4), adaptive; evaluation and sampling only"),
    ("dopri5", "Dormand-Prince 5(4), adaptive; evaluation and sampling only"),
    ("fixed-tsit5", "Equal steps of tsit5, fifth order by six stages"),
    ("fixed-dopri5", "Equal steps of dopri5, fifth order by six stages"),
    ("reversible-euler", "Reversible steps made of euler, as of any method; flow.coupling couples their two states"),
    ("reversible-midpoint", "Second order"),
    ("reversible-heun", "Second order"),
    ("reversible-ralston3", "Third order"),
    ("reversible-rk4", "Fourth order"),
    ("reversible-rk38", "Fourth order"),
    ("reversible-tsit5", "Fifth order, of fixed step"),
    ("reversible-dopri5", "Fifth order, of fixed step"),
];

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Fit a density to a table of your own, with a recipe chosen by rules
    Fit(FitArgs),
    /// Train a recipe, or go on with a run
    Train(TrainArgs),
    /// Print the figures of a run with their standard error and integration error
    Evaluate(EvaluateArgs),
    /// Print what the flow of an energy or a lattice model says of it: ln Z, observables, Markov chains
    Physics(PhysicsArgs),
    /// Write ln p of every row of a file, in the units of the data
    Score(ScoreArgs),
    /// Draw samples from a run
    Sample(SampleArgs),
    /// Write the base coordinates of every row of a file, or go back from them
    Transform(TransformArgs),
    /// Draw the figures of a run into its plots/ folder
    Plot(PlotArgs),
    /// Write a run as one HTML file: figures, pictures, settings
    Report(ReportArgs),
    /// Make a run from weights trained elsewhere (PyTorch names, safetensors)
    Import(ImportArgs),
    /// Write the weights of a run, with PyTorch's names where there are such (safetensors)
    Export(ExportArgs),
    /// List the built-in recipes, or print one as TOML
    Recipes(RecipesArgs),
    /// Say what this machine offers and what is missing, with remedies
    Doctor(DoctorArgs),
    /// Print what makes a shell complete the words of this program
    Completions(CompletionsArgs),
    /// Write the manual pages
    Man(ManArgs),
}

/// How a file of a table is read
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "How the file is read")]
pub struct ReadArgs {
    /// Leave out rows with a missing or infinite value
    #[arg(long)]
    pub drop_missing: bool,
    /// What separates values in text [default: found out, and said]
    #[arg(long, value_name = "C")]
    pub delimiter: Option<char>,
    /// The decimal sign in text: `.` or `,` [default: found out, and said]
    #[arg(long, value_name = "C")]
    pub decimal: Option<char>,
    /// Whether the first line of text has the names of the columns [default: found out, and said]
    #[arg(long, value_name = "true|false")]
    pub header: Option<bool>,
    /// The array to read where a file has several
    #[arg(long, value_name = "NAME")]
    pub array: Option<String>,
}

/// `maflow fit`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  maflow fit data.csv
  maflow fit train.npy --validation valid.npy --test test.npy --minutes 10 --out runs/mine
  maflow fit data.csv --columns height,mass,age --transform age=log --transform mass='logit(0, 200)'
  maflow fit data.csv --given sex,age           the density of the other columns given these
  maflow fit data.csv --model maf               a masked autoregressive flow, to compare with

Files: .csv, .tsv, .npy, .npz, .safetensors, IDX, and .gz of text, .npy and IDX. Rows that have no file of their own
are split off, a tenth each, by a hash of their numbers. Transformations: none, standardise, log, logit(low, high),
quantile, tail, each alone or after dequantise(step); chosen by rules, and said, where none is given. Of given columns
text and up to 16 different whole numbers are categories. Bytes of shape (n, height, width) are pictures, which get a
convolutional potential on libtorch (--backend tch-cpu). Rows to train on are held in memory, 8 bytes a number.

The run remembers everything: `maflow evaluate RUN`, `maflow score RUN FILE` and `maflow sample RUN` need no other word.
Figures are in nats per row, in the units of the file.")]
pub struct FitArgs {
    /// The table
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Rows for choices during training [default: split off]
    #[arg(long, value_name = "FILE")]
    pub validation: Option<PathBuf>,
    /// Rows for the final figures [default: split off]
    #[arg(long, value_name = "FILE")]
    pub test: Option<PathBuf>,
    /// The columns to fit, by name [default: all]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub columns: Option<Vec<String>>,
    /// The columns that the density is conditional on, by name: numbers, or text as categories
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub given: Vec<String>,
    /// What of the columns is taken to depend on those given by a linear regression, whose residuals the flow learns
    #[arg(long, value_name = "WHAT", default_value = "none", value_parser = words::<Regression>(REGRESSIONS))]
    pub regression: Regression,
    /// The column that says what each row counts
    #[arg(long, value_name = "NAME")]
    pub weights: Option<String>,
    /// The transformation of a column; may be repeated
    #[arg(long = "transform", value_name = "COLUMN=TRANSFORMATION")]
    pub transforms: Vec<String>,
    /// What is fitted; models to compare with need libtorch, and take tch-cpu where no --backend is given
    #[arg(long, value_name = "NAME", default_value = "flow", value_parser = words::<FitModel>(MODELS))]
    pub model: FitModel,
    /// Minutes of training [default: 2 up to 3 columns, 4 beyond]
    #[arg(long, value_name = "M")]
    pub minutes: Option<f64>,
    /// Run directory to make [default: runs/FILE, numbered]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// How the file is read.
    #[command(flatten)]
    pub read: ReadArgs,
}

/// `maflow score`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  maflow score runs/data new.csv
  maflow score runs/data new.csv --out scores.npy
  maflow score runs/data new.npy --given context.csv

Columns: log_density, in nats and the units of the data, integration_error, and where the Laplacian is estimated
probe_error, a standard error. Columns of the file are found by name. The integration step is that of the run's figures,
so that ln p of a row does not depend on other rows. Integers get their noise from the row's content. Files are gone
through in blocks.")]
pub struct ScoreArgs {
    /// A run directory
    pub run: PathBuf,
    /// Rows in the units of the data
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Rows of what the density is conditional on, where the first file does not have its columns; of a run of a range
    /// of temperatures also one temperature for all rows
    #[arg(long, value_name = "FILE")]
    pub given: Option<PathBuf>,
    /// Where to: .csv, .tsv, .npy, .npz or .safetensors [default: csv on standard output]
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// How the file is read.
    #[command(flatten)]
    pub read: ReadArgs,
}

/// `maflow transform`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  maflow transform runs/data new.csv --out base.csv
  maflow transform runs/data base.csv --inverse --out back.csv")]
pub struct TransformArgs {
    /// A run directory
    pub run: PathBuf,
    /// Rows in the units of the data; with --inverse, base coordinates
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// From base coordinates to rows in the units of the data
    #[arg(long)]
    pub inverse: bool,
    /// Rows of what the density is conditional on, where the first file does not have its columns; of a run of a range
    /// of temperatures also one temperature for all rows
    #[arg(long, value_name = "FILE")]
    pub given: Option<PathBuf>,
    /// Where to: .csv, .tsv, .npy, .npz or .safetensors
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// How the file is read.
    #[command(flatten)]
    pub read: ReadArgs,
}

/// `maflow train`
#[derive(Debug, Default, Args)]
#[command(after_help = "\
Examples:
  maflow train                                  the default recipe
  maflow train two-moons --seed 7
  maflow train ising-16-paper --set train.steps=500 --out runs/short
  maflow train my-model.toml
  maflow train --resume --out runs/short --set train.steps=2000
  maflow train --from runs/mnist --set train.learning_rate=1e-4 --set train.epochs=2
  maflow train energy.toml                      an energy of your own, in a C library
  maflow train --resume --out runs/energy --library ./energy.so
  mpirun -n 4 maflow train ising-64             by several processes, after scripts/setup-mpi.sh: the same bits

An energy of your own is a recipe file of these lines, and a shared library with the C function below:

  [target]
  kind = \"energy\"
  dimension = 2
  library = \"energy.so\"

  int maflow_energy(size_t rows, size_t dim, const double *x, double *energy, double *gradient, void *user);

It writes the energies of points (rows × dim numbers, row by row) and their gradients, and returns 0. Potential and
training are chosen by rules; the other keys are scale, samples, standardise and sha256, and all of any recipe.
Energies and gradients are checked before anything is written.

`maflow recipes NAME > my-model.toml` writes a recipe to start from.")]
pub struct TrainArgs {
    /// A built-in recipe (see `maflow recipes`) or a recipe file [default: ising-16]
    #[arg(value_name = "RECIPE|FILE.toml")]
    pub recipe: Option<String>,
    /// Folder with the data set's files (or with torchvision's MNIST/raw), instead of fetching them
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// The C library of the energy [default: that of a recipe file of your own; a run's is never loaded unasked]
    #[arg(long, value_name = "FILE")]
    pub library: Option<PathBuf>,
    /// Change one key of the recipe, e.g. train.learning_rate=3e-4; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub settings: Vec<Setting>,
    /// Run directory to make [default: runs/RECIPE, or the next of runs/RECIPE-2, ...]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Go on from the newest checkpoint of the run [default: the latest run of the recipe]
    #[arg(long)]
    pub resume: bool,
    /// Start from the weights of this run, with a fresh optimiser; without a recipe, that run's own
    #[arg(long, value_name = "RUN", conflicts_with = "resume")]
    pub from: Option<PathBuf>,
}

/// `maflow evaluate`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  maflow evaluate runs/ising-16
  maflow evaluate runs/ising-16 --samples 100000 --steps 100
  maflow evaluate runs/mnist --data ~/mnist --json | jq .nll_nats
  maflow evaluate runs/energy --library ./energy.so

The transport cost is T ∫ E‖∇φ‖² dt of the way from the base to the flow's samples, in squared units of the flow's
coordinates. It is set beside Gelbrich's lower bound of any map to the same place: their ratio (transport_ratio) is the
most by which the flow is dearer than optimal transport. Flows of up to 64 coordinates have it, given nothing.")]
pub struct EvaluateArgs {
    /// A run directory
    pub run: PathBuf,
    /// Folder with the data set's files (or with torchvision's MNIST/raw), instead of fetching them
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// The C library of the run's energy: its code is run only where you name it
    #[arg(long, value_name = "FILE")]
    pub library: Option<PathBuf>,
    /// Samples to draw, or data points to use [default: the run's evaluate.samples, or the whole test set]
    #[arg(long, value_name = "N")]
    pub samples: Option<NonZeroUsize>,
    /// Integration steps to start from; doubled until the figure stands still [default: the run's]
    #[arg(long, value_name = "N")]
    pub steps: Option<NonZeroUsize>,
    /// Halvings of the step at most, until the figure stands still [default: the run's]
    #[arg(long, value_name = "N")]
    pub refinements: Option<NonZeroUsize>,
    /// Integration method, also the adaptive tsit5 and dopri5 [default: the run's]
    #[arg(long, value_parser = words::<FlowMethod>(METHODS), value_name = "NAME")]
    pub method: Option<FlowMethod>,
    /// Change one key of the run's recipe for this once; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub settings: Vec<Setting>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// `maflow physics`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  maflow physics runs/ising-16
  maflow physics runs/ising-16 --samples 50000 --chain 0
  maflow physics runs/ising-16 --chain 500 --leapfrog 6 --json | jq .latent_hybrid_acceptance

Samples of the flow carry importance weights, which give ln Z and unbiased averages. Metropolis proposes these
samples; hybrid Monte Carlo walks in the coordinates z of the base density, and in x for comparison, 32 chains
each. τ is the integrated autocorrelation time in states, 0.5 where they are independent. Of an Ising model,
spins are drawn by p(s = 1 | x) = 1/(1 + exp(-2x)), fresh for every sample and every new state of a chain. Of a
target that is no lattice, the observables are its energy and the variance of that.

A target that can be drawn without the flow (a cluster of particles, an energy in the plane) has its own averages
beside them, as reference, and ln Z from samples of both by Bennett's ratio; a cluster has ln Z by annealing too,
from a standard normal one, and a picture in plots/particles.png: energies and distances of pairs of the flow, of
the flow under weights, and of the reference chains.

A run of a range of temperatures is studied at 12 evenly spaced ones and the critical one, without
hybrid Monte Carlo: a table has free energy, ln Z, energy and specific heat beside the exact
values, and plots/temperatures.png the curves. The JSON object then has a list, temperatures, of
objects such as the following, each with its temperature. --set target.temperature=2.27 studies
one alone, with chains.

The JSON object is flat. It has the keys of `maflow evaluate --json`, target, sites, log_z_integration_error
and force_mismatch_per_site; every observable by every way, as energy_per_site_weighted (flow, weighted,
clusters, reference, metropolis, latent_hybrid, plain_hybrid), with its standard error as energy_per_site_weighted_error
and, where it depends on the step, energy_per_site_weighted_integration_error; exact_energy_per_site;
log_z_bar and log_z_annealing, _error (null where the weights have a heavy tail), log_z_annealing_ess; and of
the chains metropolis_acceptance, _chains, _length, _autocorrelation_energy, _autocorrelation_magnetisation,
for hybrid Monte Carlo also _step_size and _leapfrog_steps.")]
pub struct PhysicsArgs {
    /// A run directory of a target with an energy
    pub run: PathBuf,
    /// The C library of the run's energy: its code is run only where you name it
    #[arg(long, value_name = "FILE")]
    pub library: Option<PathBuf>,
    /// Samples to draw [default: the run's evaluate.samples, or 10,000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..))]
    pub samples: Option<u32>,
    /// States of each chain of the hybrid Monte Carlo; 0 leaves it out
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(..=1_000_000))]
    pub chain: u32,
    /// Leapfrog steps of a trajectory of the hybrid Monte Carlo; their size is tuned
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub leapfrog: u32,
    /// Integration steps to start from; doubled until the figures stand still [default: the run's]
    #[arg(long, value_name = "N")]
    pub steps: Option<NonZeroUsize>,
    /// Change one key of the run's recipe for this once; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub settings: Vec<Setting>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// `maflow sample`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  maflow sample runs/ising-16 --count 10000 --out samples.npy
  maflow sample runs/data --count 1000 --out samples.csv
  maflow sample runs/ising-16-temperatures --count 1000 --given 2.27 --out samples.npy
  maflow sample runs/mnist --count 64 --out samples.png
  maflow sample runs/mnist --count 64 --out samples.png --set evaluate.method=tsit5")]
pub struct SampleArgs {
    /// A run directory
    pub run: PathBuf,
    /// How many samples to draw; with --given, of every row there
    #[arg(long, value_name = "N")]
    pub count: NonZeroUsize,
    /// Rows of what the density is conditional on; their columns are written before those of the samples. Of a run of a
    /// range of temperatures also a temperature
    #[arg(long, value_name = "FILE")]
    pub given: Option<PathBuf>,
    /// Where to: numbers, one row per sample, as .npy, .csv, .tsv, .npz or .safetensors; or a picture, .png
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Change one key of the run's recipe for this once; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub settings: Vec<Setting>,
}

/// `maflow plot`
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  maflow plot runs/ising-16")]
pub struct PlotArgs {
    /// A run directory
    pub run: PathBuf,
    /// Folder with the data set's files (or with torchvision's MNIST/raw), instead of fetching them
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// The C library of the run's energy: its code is run only where you name it
    #[arg(long, value_name = "FILE")]
    pub library: Option<PathBuf>,
}

/// `maflow report`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  maflow report runs/ising-16
  maflow report runs/mnist --data ~/mnist --out mnist.html

The file needs no other: pictures are in it. Figures are those of `maflow evaluate RUN`.")]
pub struct ReportArgs {
    /// The run, and what it needs.
    #[command(flatten)]
    pub run: PlotArgs,
    /// The file to write [default: RUN/report.html]
    #[arg(long, value_name = "FILE.html")]
    pub out: Option<PathBuf>,
}

/// `maflow import`
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  maflow import weights.safetensors --recipe mnist --out runs/published

The file holds fc1.weight [h, N], optionally fc1.bias [h], and fc2.weight [1, h], of 16, 32 or 64 bits. A prefix
before all of these names (module., _orig_mod., net.net.) is left off; integers and fc2.bias are left out.")]
pub struct ImportArgs {
    /// The weights
    #[arg(value_name = "FILE.safetensors")]
    pub file: PathBuf,
    /// A built-in recipe or a recipe file that the weights belong to
    #[arg(long, value_name = "RECIPE|FILE.toml")]
    pub recipe: String,
    /// Change one key of the recipe, e.g. potential.hidden=512; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub settings: Vec<Setting>,
    /// Run directory to make
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
}

/// `maflow export`
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  maflow export runs/mnist --out weights.safetensors")]
pub struct ExportArgs {
    /// A run directory
    pub run: PathBuf,
    /// The file to write
    #[arg(long, value_name = "FILE.safetensors")]
    pub out: PathBuf,
}

/// `maflow recipes`
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  maflow recipes\n  maflow recipes mnist > my-model.toml")]
pub struct RecipesArgs {
    /// Print this recipe's TOML
    pub name: Option<String>,
}

/// `maflow doctor`
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  maflow doctor\n  maflow doctor --json | jq '.[\"tch-cuda\"].finding'")]
pub struct DoctorArgs {
    /// Print one JSON object: for every finding its text and whether it is ready for use
    #[arg(long)]
    pub json: bool,
}

/// `maflow completions`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  maflow completions bash > ~/.local/share/bash-completion/completions/maflow
  maflow completions zsh > ~/.zfunc/_maflow
  maflow completions fish > ~/.config/fish/completions/maflow.fish")]
pub struct CompletionsArgs {
    /// The shell
    pub shell: Shell,
}

/// `maflow man`
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  maflow man ~/.local/share/man/man1 && man maflow-fit")]
pub struct ManArgs {
    /// The folder to write maflow.1, maflow-fit.1 and so on into
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn every_word_of_a_flag_is_one_of_recipes() {
        Cli::command().debug_assert();
        for (flag, list) in [("--backend", BACKENDS), ("--precision", PRECISIONS)] {
            for (word, _) in list {
                Cli::try_parse_from(["maflow", "recipes", flag, word]).unwrap();
            }
        }
        for (word, _) in METHODS {
            Cli::try_parse_from(["maflow", "evaluate", "run", "--method", word]).unwrap();
        }
        let error = Cli::try_parse_from(["maflow", "recipes", "--backend", "cuda"]).unwrap_err().to_string();
        assert!(error.contains("tch-cuda"), "{error}");
    }
}
