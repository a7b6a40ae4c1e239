//! The command `ising-exact`: exact thermodynamics of one Ising lattice, for people or as JSON.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::Parser;
use ising_exact::{
    Boundary, Continuous, DensityOfStates, Error, Hexagonal, InfiniteLattice, Lattice, Shape, Thermodynamics,
    critical_temperature, infinite_lattice, spontaneous_magnetisation,
};
use serde::Serialize;

/// Exact free energy of the two-dimensional Ising model, E = −Σ J s s' over nearest neighbours.
#[derive(Debug, Parser)]
#[command(name = "ising-exact", version, after_help = EXAMPLES)]
struct Arguments {
    /// Sites along x; on the honeycomb cells of two sites
    #[arg(long, value_name = "L")]
    size: usize,
    /// The same along y [default: as many as along x]
    #[arg(long, value_name = "M")]
    size_y: Option<usize>,
    /// square, triangular or honeycomb
    #[arg(long, value_name = "NAME", default_value = "square")]
    lattice: Kind,
    /// Temperature in units of J / k_B, or "critical" [default: critical, that of the infinite lattice]
    #[arg(long, value_name = "T", allow_negative_numbers = true, conflicts_with = "beta")]
    temperature: Option<Temperature>,
    /// Inverse temperature, instead of --temperature
    #[arg(long, value_name = "B", allow_negative_numbers = true)]
    beta: Option<f64>,
    /// periodic, open, cylinder (periodic along x, open along y), antiperiodic (along x, periodic along y),
    /// doubly-antiperiodic or antiperiodic-cylinder
    #[arg(long, value_name = "NAME", default_value = "periodic")]
    boundary: Boundary,
    /// Coupling along x, of either sign
    #[arg(long, value_name = "J", default_value_t = 1.0, allow_negative_numbers = true)]
    coupling_x: f64,
    /// Coupling along y, of either sign
    #[arg(long, value_name = "J", default_value_t = 1.0, allow_negative_numbers = true)]
    coupling_y: f64,
    /// Coupling of the third direction: of a triangular lattice between (x+1, y) and (x, y+1), of a honeycomb in a cell
    /// [default: 1]
    #[arg(long, value_name = "J", allow_negative_numbers = true)]
    coupling_z: Option<f64>,
    /// Also list the number of configurations at every energy (exact; square, closed boundaries, up to 4096 sites)
    #[arg(long)]
    density_of_states: bool,
    /// Also give the infinite lattice at the same temperature
    #[arg(long)]
    infinite: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Units are J = k_B = 1. The free energy per site is −T ln Z / N; that of the continuous formulation is −ln Z / N.
Numbers are printed with all digits of a double.

Examples:
  ising-exact --size 16                                   16 × 16, periodic, at T_c
  ising-exact --size 32 --temperature 2.0 --json          for programs
  ising-exact --size 64 --boundary open --beta 0.5
  ising-exact --size 9 --size-y 12 --coupling-y -0.5 --temperature 1
  ising-exact --size 8 --density-of-states
  ising-exact --lattice triangular --size 12 --coupling-z -0.5
  ising-exact --lattice honeycomb --size 20 --infinite";

/// Which lattice.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Square,
    Hexagonal(Shape),
}

impl std::str::FromStr for Kind {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        if name == "square" {
            return Ok(Self::Square);
        }
        name.parse().map(Self::Hexagonal).map_err(|_| "use square, triangular or honeycomb".to_owned())
    }
}

/// A lattice with its sizes, couplings and boundary.
enum Model {
    Square(Lattice),
    Hexagonal(Hexagonal),
}

impl Model {
    fn new(arguments: &Arguments) -> Result<Self, Error> {
        let &Arguments { size, size_y, boundary, coupling_x, coupling_y, coupling_z, .. } = arguments;
        let size_y = size_y.unwrap_or(size);
        Ok(match arguments.lattice {
            Kind::Square => {
                Self::Square(Lattice::new(size, size_y)?.couplings(coupling_x, coupling_y)?.boundary(boundary))
            }
            Kind::Hexagonal(shape) => {
                let couplings = [coupling_x, coupling_y, coupling_z.unwrap_or(1.0)];
                Self::Hexagonal(Hexagonal::new(shape, size, size_y)?.couplings(couplings)?.boundary(boundary))
            }
        })
    }

    fn critical_temperature(&self) -> f64 {
        match self {
            Self::Square(lattice) => {
                let [x, y] = lattice.coupling_constants();
                critical_temperature(x, y)
            }
            Self::Hexagonal(lattice) => lattice.critical_temperature(),
        }
    }

    fn no_critical_temperature(&self) -> Error {
        match self {
            Self::Square(lattice) => {
                let [x, y] = lattice.coupling_constants();
                Error::NoCriticalTemperature { x, y }
            }
            Self::Hexagonal(lattice) => Error::NoOrder { couplings: lattice.coupling_constants() },
        }
    }

    fn thermodynamics(&self, arguments: &Arguments) -> Result<Thermodynamics, Error> {
        let temperature = match (arguments.temperature, arguments.beta) {
            (_, Some(beta)) => {
                return match self {
                    Self::Square(lattice) => lattice.thermodynamics_at_beta(beta),
                    Self::Hexagonal(lattice) => lattice.thermodynamics_at_beta(beta),
                };
            }
            (Some(Temperature::Value(temperature)), _) => temperature,
            _ => match self.critical_temperature() {
                0.0 => return Err(self.no_critical_temperature()),
                critical => critical,
            },
        };
        match self {
            Self::Square(lattice) => lattice.thermodynamics(temperature),
            Self::Hexagonal(lattice) => lattice.thermodynamics(temperature),
        }
    }

    /// The infinite lattice, and its magnetisation where that is known here.
    fn infinite(&self, temperature: f64) -> Result<(InfiniteLattice, Option<f64>), Error> {
        match self {
            Self::Square(lattice) => {
                let [x, y] = lattice.coupling_constants();
                Ok((infinite_lattice(x, y, temperature)?, Some(spontaneous_magnetisation(x, y, temperature)?)))
            }
            Self::Hexagonal(lattice) => Ok((lattice.infinite(temperature)?, None)),
        }
    }
}

/// A number or the word `critical`.
#[derive(Debug, Clone, Copy)]
enum Temperature {
    Critical,
    Value(f64),
}

impl std::str::FromStr for Temperature {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "critical" {
            return Ok(Self::Critical);
        }
        text.parse().map(Self::Value).map_err(|_| "give a number above zero or \"critical\"".to_owned())
    }
}

/// What is printed; the names are those of the JSON object.
#[derive(Serialize)]
struct Report {
    lattice: String,
    size: [usize; 2],
    couplings: Vec<f64>,
    temperature: f64,
    beta: f64,
    boundary: String,
    ln_z: f64,
    free_energy_per_site: f64,
    energy_per_site: f64,
    entropy_per_site: f64,
    specific_heat_per_site: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    continuous: Option<ContinuousReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    infinite: Option<InfiniteReport>,
    /// Energies of the whole lattice and numbers of configurations, as decimal strings.
    #[serde(skip_serializing_if = "Option::is_none")]
    density_of_states: Option<Vec<(f64, String)>>,
}

#[derive(Serialize)]
struct ContinuousReport {
    alpha: f64,
    log_det_k: f64,
    free_energy_per_site: f64,
}

impl From<Continuous> for ContinuousReport {
    fn from(found: Continuous) -> Self {
        let Continuous { alpha, log_det_k, free_energy_per_site } = found;
        Self { alpha, log_det_k, free_energy_per_site }
    }
}

#[derive(Serialize)]
struct InfiniteReport {
    critical_temperature: f64,
    free_energy_per_site: f64,
    energy_per_site: f64,
    entropy_per_site: f64,
    /// `null` at T_c, where it is infinite.
    specific_heat_per_site: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    spontaneous_magnetisation: Option<f64>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(misuse) = misused(&arguments) {
        complain(misuse);
        return ExitCode::from(2);
    }
    let report = match report(&arguments) {
        Ok(report) => report,
        Err(error) => {
            complain(&format!("{error}"));
            return ExitCode::from(if is_usage(&error) { 2 } else { 1 });
        }
    };
    match print(&report, arguments.json) {
        Ok(()) => ExitCode::SUCCESS,
        // The reader has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("cannot write to standard output: {error}"));
            ExitCode::from(1)
        }
    }
}

/// Tells of an error, wherever standard error may lead.
fn complain(error: &str) {
    let _ = writeln!(io::stderr(), "error: {error}");
}

/// Whether other arguments are the remedy, rather than other physics.
fn is_usage(error: &Error) -> bool {
    !matches!(
        error,
        Error::OutOfRange { .. } | Error::Cancellation { .. } | Error::Unstable { .. } | Error::Unphysical { .. }
    )
}

/// What makes no sense together.
fn misused(arguments: &Arguments) -> Option<&'static str> {
    match arguments.lattice {
        Kind::Square if arguments.coupling_z.is_some() => {
            Some("a square lattice has no third direction: leave out --coupling-z, or give --lattice triangular")
        }
        Kind::Hexagonal(_) if arguments.density_of_states => {
            Some("a density of states is of the square lattice alone: leave out --density-of-states")
        }
        _ => None,
    }
}

fn report(arguments: &Arguments) -> Result<Report, Error> {
    let model = Model::new(arguments)?;
    let exact = model.thermodynamics(arguments)?;
    let Thermodynamics { temperature, beta, ln_z, .. } = exact;
    let infinite = arguments.infinite.then(|| infinite(&model, temperature)).transpose()?;
    let (lattice, size, couplings, continuous, states) = match &model {
        Model::Square(square) => {
            let states = arguments.density_of_states.then(|| square.density_of_states()).transpose()?;
            let couplings = square.coupling_constants().to_vec();
            ("square".to_owned(), square.size(), couplings, Some(square.continuous_from(&exact)), states)
        }
        Model::Hexagonal(lattice) => {
            (lattice.shape().to_string(), lattice.cells(), lattice.coupling_constants().to_vec(), None, None)
        }
    };
    Ok(Report {
        lattice,
        size,
        couplings,
        temperature,
        beta,
        boundary: arguments.boundary.to_string(),
        ln_z,
        free_energy_per_site: exact.free_energy_per_site,
        energy_per_site: exact.energy_per_site,
        entropy_per_site: exact.entropy_per_site,
        specific_heat_per_site: exact.specific_heat_per_site,
        continuous: continuous.map(ContinuousReport::from),
        infinite,
        density_of_states: states.as_ref().map(levels),
    })
}

fn levels(states: &DensityOfStates) -> Vec<(f64, String)> {
    states.levels().map(|(energy, count)| (energy, count.to_string())).collect()
}

fn infinite(model: &Model, temperature: f64) -> Result<InfiniteReport, Error> {
    let (infinite, spontaneous_magnetisation) = model.infinite(temperature)?;
    Ok(InfiniteReport {
        critical_temperature: model.critical_temperature(),
        free_energy_per_site: infinite.free_energy_per_site,
        energy_per_site: infinite.energy_per_site,
        entropy_per_site: infinite.entropy_per_site,
        specific_heat_per_site: Some(infinite.specific_heat_per_site).filter(|heat| heat.is_finite()),
        spontaneous_magnetisation,
    })
}

fn print(report: &Report, json: bool) -> io::Result<()> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    if json {
        serde_json::to_writer(&mut out, report)?;
        writeln!(out)?;
    } else {
        print_text(&mut out, report)?;
    }
    out.flush()
}

fn print_text(out: &mut impl Write, report: &Report) -> io::Result<()> {
    let Report { lattice, size: [m, n], couplings, boundary, .. } = report;
    let couplings = if couplings.iter().all(|j| *j == couplings[0]) {
        format!("J = {}", couplings[0])
    } else {
        let named = ["J_x", "J_y", "J_z"].iter().zip(couplings).map(|(name, j)| format!("{name} = {j}"));
        named.collect::<Vec<_>>().join(", ")
    };
    let lattice = match lattice.as_str() {
        "square" => format!("{m} × {n} sites"),
        "honeycomb" => format!("honeycomb of {m} × {n} cells"),
        name => format!("{name} lattice of {m} × {n} sites"),
    };
    writeln!(out, "Ising model, {lattice}, {boundary} boundary, {couplings}")?;
    table(
        out,
        &[
            ("temperature", report.temperature, ""),
            ("beta", report.beta, "1/T"),
            ("ln Z", report.ln_z, ""),
            ("free energy per site", report.free_energy_per_site, "−T ln Z / N"),
            ("energy per site", report.energy_per_site, ""),
            ("entropy per site", report.entropy_per_site, ""),
            ("specific heat per site", report.specific_heat_per_site, ""),
        ],
    )?;
    if let Some(continuous) = &report.continuous {
        writeln!(out, "\nContinuous formulation, K = A/T + αI")?;
        table(
            out,
            &[
                ("alpha", continuous.alpha, "smallest eigenvalue of K is 0.1"),
                ("ln det K", continuous.log_det_k, ""),
                ("free energy per site", continuous.free_energy_per_site, "−ln Z / N"),
            ],
        )?;
    }
    if let Some(infinite) = &report.infinite {
        writeln!(out, "\nInfinite lattice")?;
        table(
            out,
            &[
                ("critical temperature", infinite.critical_temperature, ""),
                ("free energy per site", infinite.free_energy_per_site, "−T ln Z / N"),
                ("energy per site", infinite.energy_per_site, ""),
                ("entropy per site", infinite.entropy_per_site, ""),
                ("specific heat per site", infinite.specific_heat_per_site.unwrap_or(f64::INFINITY), ""),
            ],
        )?;
        if let Some(magnetisation) = infinite.spontaneous_magnetisation {
            table(out, &[("magnetisation", magnetisation, "spontaneous")])?;
        }
    }
    if let Some(states) = &report.density_of_states {
        writeln!(out, "\nDensity of states\n{:>10}  configurations", "energy")?;
        for (energy, count) in states {
            writeln!(out, "{energy:>10}  {count}")?;
        }
    }
    Ok(())
}

/// Lines of name, number with all its digits, and a remark.
fn table(out: &mut impl Write, lines: &[(&str, f64, &str)]) -> io::Result<()> {
    for (name, number, remark) in lines {
        let line = format!("  {name:<22}  {:>23}  {remark}", format!("{number:?}"));
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}
