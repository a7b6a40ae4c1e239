//! The double well of the examples in Rust and in C is one energy, and ln Z of either is that of quadrature.

#[allow(dead_code, reason = "the example is a program, and its energy is what is wanted here")]
#[path = "../examples/own_energy.rs"]
mod own_energy;

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use flow_core::{Purpose, RngKey};
use maflow::recipe::{Recipe, TargetKind, complete, from_table};
use maflow::report::Figures;
use maflow::run::Run;
use maflow::target::{LibraryEnergy, Target};

/// ln Z by the midpoint rule, which converges faster than any power where all derivatives vanish at the ends.
fn quadrature() -> f64 {
    let cell = |k: i32| -4.0 + 8.0 * (f64::from(k) + 0.5) / 4000.0;
    let wells: f64 = (0..4000).map(|k| (-(cell(k).powi(2) - 1.0).powi(2)).exp() * 8.0 / 4000.0).sum();
    wells.ln() + 0.5 * std::f64::consts::TAU.ln()
}

/// The example in C, compiled as its user compiles it.
fn compiled(folder: &Path) -> std::path::PathBuf {
    let (crate_, library) = (Path::new(env!("CARGO_MANIFEST_DIR")), folder.join("double_well.so"));
    let mut cc = Command::new("cc");
    cc.args(["-O2", "-Wall", "-Werror", "-shared", "-fPIC", "-I"]).arg(crate_.join("include")).arg("-o").arg(&library);
    let status = cc.arg(crate_.join("examples/double_well.c")).status().expect("a C compiler");
    assert!(status.success());
    library
}

/// The recipe of three lines, of a smaller potential and a shorter training.
fn recipe(library: &Path) -> Recipe {
    let text = format!(
        "target = {{ kind = 'energy', dimension = 2, library = '{}' }}\n\
         train = {{ steps = 200, batch = 64, validation_samples = 200, precision = 'f64' }}\n\
         evaluate = {{ samples = 4000 }}\n\
         [potential]\nkind = 'sum'\n\
         terms = [{{ kind = 'full-quadratic', time_terms = 2 }}, \
         {{ kind = 'two-layer', hidden = [16, 8], time_terms = 2 }}]\n",
        library.display()
    );
    let mut table = text.parse().unwrap();
    complete(&mut table);
    let recipe = from_table(table, "double-well").unwrap();
    recipe.validate().unwrap();
    recipe
}

/// ln Z with its standard error, of a training in a folder.
fn log_z(folder: &Path, recipe: Recipe, target: Arc<dyn Target>) -> (f64, f64) {
    let run = Run::create(folder.to_owned(), recipe).with_target(target);
    run.train(&()).unwrap();
    match run.report(&()).unwrap().figures {
        Figures::FreeEnergy {
            log_z_importance: Some(value),
            log_z_importance_error: Some(error),
            ess: Some(ess),
            ..
        } => {
            assert!(ess > 0.5, "{ess}");
            (value, error)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_readme_shows_the_example_in_c() {
    let (_, code) = include_str!("../examples/double_well.c").split_once('\n').expect("a first line of its own");
    let readme = include_str!("../../../README.md");
    assert!(readme.contains(code), "README.md shows other code than examples/double_well.c");
}

#[test]
fn the_double_well_is_one_energy_in_two_languages() {
    let folder = tempfile::tempdir().unwrap();
    let library = compiled(folder.path());
    let recipe = recipe(&library);
    let TargetKind::Energy(energy) = &recipe.target else { panic!("another target") };
    let in_c = Arc::new(LibraryEnergy::for_training(energy, &library, None, 0).unwrap());
    let in_rust = Arc::new(own_energy::DoubleWell);
    let points = RngKey::new(1, Purpose::Sample, 0).normals(0..1000, 2);
    let all = |target: &dyn Target| {
        let (mut energies, mut gradients) = (vec![0.0; 1000], vec![0.0; 2000]);
        target.energy().unwrap().energies_and_gradients(&points, &[], &mut energies, &mut gradients).unwrap();
        [energies, gradients].concat()
    };
    // The compilers may round a product and a sum at once, or not.
    let pairs = all(&*in_c).into_iter().zip(all(&*in_rust));
    pairs.for_each(|(c, rust)| assert!((c - rust).abs() <= 1e-13 * (1.0 + rust.abs()), "{c} {rust}"));
    let named = Recipe { target: TargetKind::Energy(in_c.named(energy).unwrap()), ..recipe.clone() };
    let own = maflow::fit::recipe_for(&*in_rust).unwrap().target;
    for (name, recipe, target) in [
        ("c", named, in_c as Arc<dyn Target>),
        ("rust", Recipe { target: own, ..recipe.clone() }, in_rust as Arc<dyn Target>),
    ] {
        let (found, error) = log_z(&folder.path().join(name), recipe, target);
        let exact = quadrature();
        assert!((found - exact).abs() < 4.0 * error && error < 0.02, "{name}: {found} ± {error}, exactly {exact}");
    }
    // That the run names the library does not load it.
    let error = Run::open(&folder.path().join("c"), &[]).unwrap().report(&()).unwrap_err();
    assert!(matches!(error, maflow::Error::NotLoaded { .. }), "{error}");
}
