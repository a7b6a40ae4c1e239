//! The command `ising-exact`: exact thermodynamics of one Ising lattice, for people or as JSON.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::Parser;
use ising_exact::{
    Boundary, Continuous, DensityOfStates, Error, InfiniteLattice, Lattice, Thermodynamics, critical_temperature,
    infinite_lattice, spontaneous_magnetisation,
};
use serde::Serialize;

/// Exact free energy of the two-dimensional Ising model, E = −J_x Σ s s' − J_y Σ s s'.
#[derive(Debug, Parser)]
#[command(name = "ising-exact", version, after_help = EXAMPLES)]
struct Arguments {
    /// Sites along x
    #[arg(long, value_name = "L")]
    size: usize,
    /// Sites along y [default: as many as along x]
    #[arg(long, value_name = "M")]
    size_y: Option<usize>,
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
    /// Also list the number of configurations at every energy (exact; closed boundaries, up to 4096 sites)
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
  ising-exact --size 8 --density-of-states";

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
    size: [usize; 2],
    couplings: [f64; 2],
    temperature: f64,
    beta: f64,
    boundary: String,
    ln_z: f64,
    free_energy_per_site: f64,
    energy_per_site: f64,
    entropy_per_site: f64,
    specific_heat_per_site: f64,
    continuous: ContinuousReport,
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

#[derive(Serialize)]
struct InfiniteReport {
    critical_temperature: f64,
    free_energy_per_site: f64,
    energy_per_site: f64,
    entropy_per_site: f64,
    /// `null` at T_c, where it is infinite.
    specific_heat_per_site: Option<f64>,
    spontaneous_magnetisation: f64,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
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

fn report(arguments: &Arguments) -> Result<Report, Error> {
    let &Arguments { size, size_y, boundary, coupling_x, coupling_y, .. } = arguments;
    let lattice = Lattice::new(size, size_y.unwrap_or(size))?.couplings(coupling_x, coupling_y)?.boundary(boundary);
    let temperature = match arguments.temperature {
        Some(Temperature::Value(t)) => t,
        _ => critical_temperature(coupling_x, coupling_y),
    };
    if temperature == 0.0 && arguments.beta.is_none() && !matches!(arguments.temperature, Some(Temperature::Value(_))) {
        return Err(Error::NoCriticalTemperature { x: coupling_x, y: coupling_y });
    }
    let exact = match arguments.beta {
        Some(beta) => lattice.thermodynamics_at_beta(beta)?,
        None => lattice.thermodynamics(temperature)?,
    };
    let Thermodynamics { temperature, beta, ln_z, .. } = exact;
    let Continuous { alpha, log_det_k, free_energy_per_site } = lattice.continuous_from(&exact);
    let states = arguments.density_of_states.then(|| lattice.density_of_states()).transpose()?;
    let infinite = arguments.infinite.then(|| infinite(coupling_x, coupling_y, temperature)).transpose()?;
    Ok(Report {
        size: lattice.size(),
        couplings: lattice.coupling_constants(),
        temperature,
        beta,
        boundary: boundary.to_string(),
        ln_z,
        free_energy_per_site: exact.free_energy_per_site,
        energy_per_site: exact.energy_per_site,
        entropy_per_site: exact.entropy_per_site,
        specific_heat_per_site: exact.specific_heat_per_site,
        continuous: ContinuousReport { alpha, log_det_k, free_energy_per_site },
        infinite,
        density_of_states: states.as_ref().map(levels),
    })
}

fn levels(states: &DensityOfStates) -> Vec<(f64, String)> {
    states.levels().map(|(energy, count)| (energy, count.to_string())).collect()
}

fn infinite(coupling_x: f64, coupling_y: f64, temperature: f64) -> Result<InfiniteReport, Error> {
    let InfiniteLattice { free_energy_per_site, energy_per_site, entropy_per_site, specific_heat_per_site, .. } =
        infinite_lattice(coupling_x, coupling_y, temperature)?;
    Ok(InfiniteReport {
        critical_temperature: critical_temperature(coupling_x, coupling_y),
        free_energy_per_site,
        energy_per_site,
        entropy_per_site,
        specific_heat_per_site: specific_heat_per_site.is_finite().then_some(specific_heat_per_site),
        spontaneous_magnetisation: spontaneous_magnetisation(coupling_x, coupling_y, temperature)?,
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
    let Report { size: [m, n], couplings: [jx, jy], boundary, .. } = report;
    let couplings = if jx == jy { format!("J = {jx}") } else { format!("J_x = {jx}, J_y = {jy}") };
    writeln!(out, "Ising model, {m} × {n} sites, {boundary} boundary, {couplings}")?;
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
    writeln!(out, "\nContinuous formulation, K = A/T + αI")?;
    table(
        out,
        &[
            ("alpha", report.continuous.alpha, "smallest eigenvalue of K is 0.1"),
            ("ln det K", report.continuous.log_det_k, ""),
            ("free energy per site", report.continuous.free_energy_per_site, "−ln Z / N"),
        ],
    )?;
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
                ("magnetisation", infinite.spontaneous_magnetisation, "spontaneous"),
            ],
        )?;
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
