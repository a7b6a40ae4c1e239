//! The command as its users meet it: what it prints, and what it says to wrong input.
#![cfg(feature = "cli")]

use assert_cmd::Command;
use ising_exact::{Boundary, Hexagonal, Lattice, Shape};
use num_bigint::BigUint;
use predicates::str::contains;
use serde_json::Value;

fn command(arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ising-exact"));
    command.args(arguments.split_whitespace());
    command
}

fn json(arguments: &str) -> Value {
    let output = command(arguments).arg("--json").assert().success();
    serde_json::from_slice(&output.get_output().stdout).unwrap()
}

#[test]
fn json_has_the_agreed_keys_and_every_digit() {
    let arguments = "--size 12 --size-y 7 --temperature 1.9 --coupling-y -0.5";
    let found = json(arguments);
    let output = command(arguments).arg("--json").assert().success();
    let text = String::from_utf8(output.get_output().stdout.clone()).unwrap();
    let lattice = Lattice::new(12, 7).unwrap().couplings(1.0, -0.5).unwrap();
    let exact = lattice.thermodynamics(1.9).unwrap();
    let continuous = lattice.continuous(1.9).unwrap();
    assert_eq!(found["size"], serde_json::json!([12, 7]));
    assert_eq!(found["boundary"], "periodic");
    assert_eq!((&found["lattice"], &found["couplings"]), (&"square".into(), &serde_json::json!([1.0, -0.5])));
    for (key, value) in [
        ("temperature", 1.9),
        ("beta", 1.0 / 1.9),
        ("ln_z", exact.ln_z),
        ("free_energy_per_site", exact.free_energy_per_site),
        ("energy_per_site", exact.energy_per_site),
        ("entropy_per_site", exact.entropy_per_site),
        ("specific_heat_per_site", exact.specific_heat_per_site),
    ] {
        // The text, since what reads it may round.
        assert!(text.contains(&format!("\"{key}\":{value:?}")), "{key}");
    }
    assert_eq!(found["continuous"]["alpha"].as_f64(), Some(continuous.alpha));
    assert_eq!(found["continuous"]["free_energy_per_site"].as_f64(), Some(continuous.free_energy_per_site));
    assert!(found.get("infinite").is_none() && found.get("density_of_states").is_none());
}

#[test]
fn the_default_is_the_square_lattice_at_the_critical_temperature() {
    let found = json("--size 16");
    assert_eq!(found, json("--size 16 --size-y 16 --temperature critical --boundary periodic"));
    let continuous = found["continuous"]["free_energy_per_site"].as_f64().unwrap();
    assert!((continuous + 2.315_920_858_819).abs() < 1e-12);
    assert!((found["temperature"].as_f64().unwrap() - 2.269_185_314_213_022).abs() < 1e-15);
    let anisotropic = json("--size 4 --coupling-x 2 --infinite");
    assert_eq!(anisotropic["temperature"], anisotropic["infinite"]["critical_temperature"]);
    assert!(anisotropic["infinite"]["specific_heat_per_site"].is_null());
}

#[test]
fn other_lattices_have_three_couplings() {
    for (name, shape) in Shape::NAMED {
        let lattice = Hexagonal::new(shape, 6, 4).unwrap();
        let found = json(&format!("--lattice {name} --size 6 --size-y 4 --infinite"));
        let (t_c, keys) = (lattice.critical_temperature(), ["ln_z", "energy_per_site", "specific_heat_per_site"]);
        assert_eq!((found["lattice"].as_str(), &found["size"]), (Some(name), &serde_json::json!([6, 4])));
        assert_eq!(found["couplings"], serde_json::json!([1.0, 1.0, 1.0]));
        let exact = lattice.thermodynamics(t_c).unwrap();
        for (key, value) in keys.into_iter().zip([exact.ln_z, exact.energy_per_site, exact.specific_heat_per_site]) {
            assert_eq!(found[key].as_f64(), Some(value), "{name} {key}");
        }
        assert!(found.get("continuous").is_none() && found["infinite"].get("spontaneous_magnetisation").is_none());
        let open = json(&format!("--lattice {name} --size 5 --boundary open --coupling-z -0.5 --beta 0.7"));
        let judge = Hexagonal::new(shape, 5, 5).unwrap().couplings([1.0, 1.0, -0.5]).unwrap().boundary(Boundary::OPEN);
        assert_eq!(open["ln_z"].as_f64(), Some(judge.thermodynamics_at_beta(0.7).unwrap().ln_z));
        command(&format!("--lattice {name} --size 3")).assert().success().stdout(contains(name));
    }
    command("--lattice triangular --size 3 --coupling-z -1").assert().code(2).stderr(
        "error: couplings 1, 1 and -1 give no critical temperature to take by default: give a temperature (or beta)\n",
    );
    command("--size 3 --coupling-z 2").assert().code(2).stderr(contains("--lattice triangular"));
    command("--lattice honeycomb --size 3 --density-of-states").assert().code(2).stderr(contains("square lattice"));
    command("--lattice kagome --size 3").assert().code(2).stderr(contains("square, triangular or honeycomb"));
}

#[test]
fn every_boundary_has_a_name() {
    for (name, boundary) in Boundary::NAMED {
        let found = json(&format!("--size 5 --size-y 6 --beta 0.4 --boundary {name}"));
        let exact = Lattice::new(5, 6).unwrap().boundary(boundary).thermodynamics_at_beta(0.4).unwrap();
        assert_eq!(found["boundary"], name);
        assert_eq!(found["beta"].as_f64(), Some(0.4));
        assert_eq!(found["ln_z"].as_f64(), Some(exact.ln_z), "{name}");
    }
}

#[test]
fn density_of_states_keeps_every_digit_of_its_integers() {
    let found = json("--size 12 --density-of-states");
    let levels = found["density_of_states"].as_array().unwrap();
    assert_eq!(levels[0], serde_json::json!([-288.0, "2"]));
    let sum: BigUint = levels.iter().map(|level| level[1].as_str().unwrap().parse::<BigUint>().unwrap()).sum();
    assert_eq!(sum, BigUint::from(1u8) << 144);
    command("--size 4 --density-of-states").assert().success().stdout(contains("       -32  2\n       -24  32\n"));
}

#[test]
fn text_is_aligned_and_says_what_the_free_energies_are() {
    let output = command("--size 3 --temperature 2 --infinite").assert().success();
    let text = String::from_utf8(output.get_output().stdout.clone()).unwrap();
    assert!(text.starts_with("Ising model, 3 × 3 sites, periodic boundary, J = 1\n"), "{text}");
    assert!(text.contains("−T ln Z / N") && text.contains("−ln Z / N"));
    let rows: Vec<&str> = text.lines().filter(|line| line.starts_with("  ")).collect();
    assert_eq!(rows.len(), 16);
    for row in rows {
        let number: String = row.chars().skip(24).take(25).collect();
        assert!(number.trim().parse::<f64>().is_ok(), "{row}");
    }
}

#[test]
fn help_has_examples_that_work() {
    let output = command("--help").assert().success();
    let text = String::from_utf8(output.get_output().stdout.clone()).unwrap();
    let examples = text.lines().filter_map(|line| line.strip_prefix("  ising-exact "));
    let mut count = 0;
    for example in examples {
        // Remarks stand apart by three spaces or more.
        command(example.split("   ").next().unwrap()).assert().success();
        count += 1;
    }
    assert_eq!(count, 7);
}

#[test]
fn wrong_use_is_one_sentence_and_code_2() {
    for (arguments, message) in [
        ("--size 0", "lattice side 0 is out of range: give a side from 1 to 4096"),
        ("--size 5000", "lattice side 5000 is out of range"),
        ("--size 8 --temperature -1", "temperature -1 is not a positive finite number"),
        ("--size 8 --temperature 0", "give one above zero"),
        ("--size 8 --temperature inf", "temperature inf is not a positive finite number"),
        ("--size 8 --beta nan", "beta NaN is not a positive finite number"),
        ("--size 8 --temperature warm", "give a number above zero or \"critical\""),
        ("--size 8 --temperature 2 --beta 2", "cannot be used with"),
        ("--size 8 --boundary round", "use periodic, open, cylinder"),
        ("--size 8 --coupling-x inf", "coupling inf is not finite"),
        ("--size 8 --coupling-x 0", "couplings 0 and 1 leave uncoupled chains, which have no critical temperature"),
        ("--size 8 --coupling-y 0", "couplings 1 and 0 leave uncoupled chains"),
        ("--size 8 --coupling-y 0 --temperature critical", "give a temperature (or beta)"),
        ("--size 65 --density-of-states", "4225 sites are too many for the density of states"),
        ("--size 8 --boundary open --density-of-states", "not available for the open boundary"),
        ("--size 8 --coupling-x 2 --density-of-states", "not equally strong"),
        ("--size 300 --boundary open", "side 300 is out of range: give a side from 1 to 256"),
        ("", "--size <L>"),
    ] {
        let output = command(arguments).assert().code(2).stderr(contains(message)).stdout("");
        let text = String::from_utf8(output.get_output().stderr.clone()).unwrap();
        assert!(!text.contains("panicked"), "{text}");
    }
}

#[test]
fn what_cannot_be_computed_is_code_1() {
    let cold = "--size 4095 --coupling-x -1 --coupling-y -1 --temperature 0.05";
    command(cold).assert().code(1).stderr(contains("raise the temperature to")).stdout("");
    command("--size 8 --temperature 1e-307").assert().code(1).stderr(contains("beyond double precision")).stdout("");
}

/// Rings of eight spins without bonds between them, and chains.
#[test]
fn a_coupling_of_zero_leaves_rings_and_chains() {
    let k = 1.0 / 1.5f64;
    let ring = ((2.0 * k.cosh()).powi(8) + (2.0 * k.sinh()).powi(8)).ln();
    let chain = 8.0 * 2f64.ln() + 7.0 * k.cosh().ln();
    for (arguments, ln_z) in [
        ("--coupling-y 0", 6.0 * ring),
        ("--coupling-y 0 --boundary open", 6.0 * chain),
        ("--coupling-y 0 --infinite", 6.0 * ring),
        ("--coupling-x 0 --size 6 --size-y 8", 6.0 * ring),
        ("--coupling-x 0 --size 6 --size-y 8 --boundary cylinder", 6.0 * chain),
    ] {
        let size = if arguments.contains("--size") { "" } else { "--size 8 --size-y 6 " };
        let found = json(&format!("{size}{arguments} --temperature 1.5"));
        assert!((found["ln_z"].as_f64().unwrap() - ln_z).abs() < 1e-12 * ln_z, "{arguments}: {found}");
    }
}

/// Right values of lattices with frustrated rings, from a determinant with 150 digits for each momentum, as far as
/// their digits go.
#[test]
fn frustrated_strips_are_right() {
    const KEYS: [&str; 4] = ["ln_z", "energy_per_site", "entropy_per_site", "specific_heat_per_site"];
    for (arguments, values) in [
        (
            "--size 5 --coupling-x -1 --coupling-y -1 --boundary cylinder --temperature 0.2",
            ["177.3029483", "-1.39997094", "0.09226321", "0.00145280"],
        ),
        (
            "--size 7 --coupling-x -1 --coupling-y -1 --boundary cylinder --temperature 0.4",
            ["195.219917", "-1.56812781", "0.063760", "0.04127309"],
        ),
        (
            "--size 15 --size-y 64 --coupling-x -1 --coupling-y -1 --boundary cylinder --temperature 1",
            ["1797.95668", "-1.81161403", "0.06125751", "0.10088312"],
        ),
        ("--size 4 --boundary antiperiodic-cylinder --beta 6", ["", "-1.24999539", "0.1299950", "0.00033179"]),
        (
            "--size 64 --boundary antiperiodic-cylinder --temperature 1.6",
            ["5078.62487", "-1.85651247", "0.07957836", "0.296360"],
        ),
        (
            "--size 3 --coupling-x -1 --coupling-y -1 --temperature 0.5",
            ["16.6254465138", "-0.6664560859", "0.5143596631", "0.00337080224"],
        ),
        ("--size 2 --size-y 3 --boundary antiperiodic --beta 6", ["", "", "", "2.1744775e-8"]),
    ] {
        let found = json(arguments);
        for (key, value) in KEYS.into_iter().zip(values).filter(|(_, value)| !value.is_empty()) {
            let (mantissa, exponent) = value.split_once('e').unwrap_or((value, "0"));
            let decimals = mantissa.split_once('.').unwrap().1.len() as i32 - exponent.parse::<i32>().unwrap();
            let difference = found[key].as_f64().unwrap() - value.parse::<f64>().unwrap();
            assert!(difference.abs() <= 0.501 * 10f64.powi(-decimals), "{arguments}: {key} {} {value}", found[key]);
        }
    }
}
