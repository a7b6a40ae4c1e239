//! A small cluster of particles, from outside: trained on aligned samples, evaluated, sampled, scored and studied.

use maflow::backend::Backend;
use serde_json::Value;

use crate::energies::compile_points;
use crate::lab::Lab;

/// Three particles in the plane, whose ln Z is known.
const CLUSTER: &[&str] = &[
    "dw4",
    "--set=target.particles=3",
    "--set=target.pair=harmonic",
    "--set=target.strength=0.7",
    "--set=potential.terms.0.centres=8",
    "--set=potential.terms.0.interval=[0.5, 5.0]",
    "--set=potential.terms.0.core=0.5",
    "--set=potential.terms.0.sums=4",
    "--set=potential.terms.0.vectors=3",
    "--set=potential.terms.0.hidden=[12, 8]",
    "--set=potential.terms.0.time_terms=2",
    "--set=flow.steps=6",
    "--set=train.batch=64",
    "--set=train.pool=3000",
    "--set=train.steps=300",
    "--set=train.schedule.warmup=20",
    "--set=train.average=0.95",
    "--set=train.checkpoint_every=150",
    "--set=fine_tune.steps=20",
    "--set=fine_tune.batch=32",
    "--set=evaluate.samples=2000",
];

/// A harmonic cluster is a Gaussian with equal variances: its forces leave nothing of the noise of independent pairs.
#[test]
fn forces_take_the_noise_from_independent_pairs() {
    let lab = Lab::on(Backend::Ndarray);
    let loss = |forces: bool| {
        let (run, forces) = (format!("forces-{forces}"), format!("--set=train.target_forces={forces}"));
        lab.trains(CLUSTER, &run, &["--set=target.pairs=independent", "--set=fine_tune.steps=0", &forces]);
        let metrics = std::fs::read_to_string(lab.path(&run).join("metrics.csv")).unwrap();
        let last = metrics.lines().last().unwrap().split(',').nth(2).unwrap();
        last.parse::<f64>().unwrap()
    };
    let (with, without) = (loss(true), loss(false));
    assert!(with < 0.05 * without, "{with} with forces, {without} without");
    assert!(lab.figures("forces-true", &[])["ess"].as_f64().unwrap() > 0.9);
}

#[test]
fn a_cluster_is_learned_and_ln_p_does_not_tell_its_particles_apart() {
    let lab = Lab::on(Backend::Ndarray);
    lab.trains(CLUSTER, "run", &[]);
    let figures = lab.figures("run", &[]);
    let number = |of: &Value| of.as_f64().unwrap_or_else(|| panic!("no number in {figures}"));
    // (n − 1) d/2 · ln(2π/(n k)).
    let exact = 2.0 * (std::f64::consts::TAU / (3.0 * 0.7)).ln();
    assert!((number(&figures["exact_free_energy_per_site"]) + exact).abs() < 1e-9, "{figures}");
    assert!(number(&figures["ess"]) > 0.85 && number(&figures["forward_ess"]) > 0.85, "{figures}");
    let error = number(&figures["log_z_importance_error"]);
    assert!((number(&figures["log_z_importance"]) - exact).abs() < 4.0 * error && error < 0.02, "{figures}");

    lab.does(&["sample", "run", "--count", "50", "--out", "x.npy"]);
    let x: ndarray::Array3<f32> = ndarray_npy::read_npy(lab.path("x.npy")).unwrap();
    assert_eq!(x.shape(), [50, 3, 2]);
    lab.refuses(&["sample", "run", "--count", "50", "--out", "x.png"], 2, &["no picture", "6 numbers"]);

    let ln_p = |order, sign| scored(&lab, "run", &x, order, sign);
    let (plain, other) = (ln_p([0, 1, 2], 1.0), ln_p([2, 0, 1], -1.0));
    assert_eq!(plain.len(), 50);
    for (a, b) in plain.iter().zip(&other) {
        assert!((a - b).abs() < 1e-4, "{a} {b}");
    }

    let studied = lab.does(&["physics", "run", "--samples", "2000", "--chain", "0", "--json"]);
    let studied: Value = serde_json::from_str(&studied).unwrap();
    let near = |key: &str, exact: f64, most: f64| {
        let (found, error) = (number(&studied[key]), number(&studied[format!("{key}_error")]));
        assert!((found - exact).abs() < 4.0 * error && error < most, "{key}: {found} ± {error}, not {exact}");
    };
    // Half a unit of energy for each of the (n − 1) d directions.
    for way in ["weighted", "reference", "metropolis"] {
        near(&format!("cluster_energy_{way}"), 2.0, 0.15);
    }
    near("log_z_annealing", exact, 0.02);
    near("log_z_bar", exact, 0.02);
    assert!(number(&studied["log_z_annealing_ess"]) > 0.8);
    assert!(lab.path("run/plots/particles.png").exists());
}

/// ln p of rows of three particles in the plane, in another order and reflected across the diagonal.
fn scored(lab: &Lab, run: &str, x: &ndarray::Array3<f32>, order: [usize; 3], sign: f32) -> Vec<f64> {
    let row = |x: ndarray::ArrayView2<'_, f32>| {
        let numbers = order.iter().flat_map(|i| [sign * x[[*i, 1]], x[[*i, 0]]]).map(|x| x.to_string());
        numbers.collect::<Vec<_>>().join(",")
    };
    let rows: Vec<String> = x.outer_iter().map(row).collect();
    std::fs::write(lab.path("rows.csv"), format!("x0,x1,x2,x3,x4,x5\n{}\n", rows.join("\n"))).unwrap();
    let scores = lab.does(&["score", run, "rows.csv"]);
    scores.lines().skip(1).map(|line| line.split(',').next().unwrap().parse().unwrap()).collect()
}

/// Springs between three particles in the plane: the third is of another kind, with twice the stiffness.
const SPRINGS: &str = "\
    const double k[3] = {0.7, 1.4, 1.4}; const int of[3][2] = {{0, 1}, {0, 2}, {1, 2}};\n\
    *e = 0; for (size_t i = 0; i < dim; i++) g[i] = 0;\n\
    for (int p = 0; p < 3; p++) for (int a = 0; a < 2; a++) {\n\
    int i = 2 * of[p][0] + a, j = 2 * of[p][1] + a; double r = x[i] - x[j];\n\
    *e += 0.5 * k[p] * r * r; g[i] += k[p] * r; g[j] -= k[p] * r; }";

#[test]
#[ignore = "seconds: .ci/run"]
#[allow(clippy::too_many_lines, reason = "one session of a user, with the C that it compiles")]
fn an_energy_of_ones_own_is_one_of_particles_of_two_kinds() {
    let lab = Lab::on(Backend::Ndarray);
    compile_points(&lab, "springs", "", SPRINGS);
    let recipe = |name: &str, target: &str, rest: &str| {
        let term = "kind = \"particles\"\ncentres = 8\ninterval = [0.3, 5.0]\ncore = 0.3\nsums = 4\nvectors = 3\n\
                    hidden = [12, 8]\ntime_terms = 2";
        let text = format!(
            "[target]\nkind = \"energy\"\ndimension = 6\nlibrary = \"springs.so\"\nlayout = \"particles\"\nspace = 2\n\
             {target}\n[potential]\nkind = \"sum\"\n[[potential.terms]]\n{term}\n{rest}\n[evaluate]\nsamples = 2000\n"
        );
        std::fs::write(lab.path(name), text).unwrap();
    };
    recipe(
        "springs.toml",
        "kinds = [6, 6, 8]\nscale = 0.8",
        "[flow]\ntime = 1\nsteps = 4\n[train]\nbatch = 64\nsteps = 80\nvalidation_samples = 200",
    );
    lab.does(&["train", "springs.toml", "--out", "run"]);
    let studied = lab.does(&["physics", "run", "--library", "springs.so", "--chain", "0", "--json"]);
    let studied: Value = serde_json::from_str(&studied).unwrap();
    let number = |key: &str| studied[key].as_f64().unwrap_or_else(|| panic!("no {key} in {studied}"));
    // The other eigenvalues of the matrix of the springs have the product n Σ_trees Π k, in each direction.
    let exact = 2.0 * std::f64::consts::TAU.ln() - (3.0f64 * (2.0 * 0.7 * 1.4 + 1.4 * 1.4)).ln();
    let error = number("log_z_importance_error");
    assert!((number("log_z_importance") - exact).abs() < 4.0 * error && error < 0.02, "{studied}");
    assert!(number("ess") > 0.8, "{studied}");

    lab.does(&["sample", "run", "--count", "400", "--out", "x.npy"]);
    let x: ndarray::Array3<f32> = ndarray_npy::read_npy(lab.path("x.npy")).unwrap();
    let ln_p = |order| scored(&lab, "run", &x, order, 1.0);
    let differ = |order| ln_p([0, 1, 2]).iter().zip(ln_p(order)).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(differ([1, 0, 2]) < 1e-4 && differ([2, 1, 0]) > 0.1, "{} {}", differ([1, 0, 2]), differ([2, 1, 0]));

    // Its samples as frames are learned from in turn.
    let frame = |x: ndarray::ArrayView2<'_, f32>| {
        let line =
            |(i, x): (usize, ndarray::ArrayView1<'_, f32>)| format!("{} {} {} 0\n", ["C", "C", "O"][i], x[0], x[1]);
        format!("3\n\n{}", x.outer_iter().enumerate().map(line).collect::<String>())
    };
    std::fs::write(lab.path("x.xyz"), x.outer_iter().map(frame).collect::<String>()).unwrap();
    let with_samples = "kinds = [6, 6, 8]\nscale = 0.8\nsamples = \"x.xyz\"";
    recipe(
        "again.toml",
        with_samples,
        "[flow]\ntime = 1\nsteps = 4\n\
         [train]\nbatch = 128\nsteps = 150\naverage = 0.95\nvalidate_every = 50\nvalidation_samples = 200\n\
         [fine_tune]\nsteps = 30\nbatch = 64\naverage = 0.9\nlearning_rate = 0.003",
    );
    lab.does(&["train", "again.toml", "--out", "again"]);
    let figures = lab.figures("again", &["--library", "springs.so"]);
    assert!(figures["ess"].as_f64().unwrap() > 0.8, "{figures}");

    for (target, parts) in [
        ("kinds = [6, 6]", &["target.kinds", "for each"][..]),
        ("scale = [1, 2, 1, 2, 1, 2]", &["target.scale", "one number"]),
        ("standardise = \"scale\"\nsamples = \"x.xyz\"", &["target.standardise", "target.scale"]),
    ] {
        recipe("bad.toml", target, "");
        lab.refuses(&["train", "bad.toml", "--out", "bad"], 2, parts);
    }
    recipe("bad.toml", "", "");
    lab.refuses(&["train", "bad.toml", "--out", "bad"], 2, &["particles 1 and 2 of one kind change places"]);
    recipe("bad.toml", "samples = \"x.xyz\"", "");
    lab.refuses(&["train", "bad.toml", "--out", "bad"], 2, &["x.xyz, line 5", "particle O", "different numbers"]);
    compile_points(&lab, "springs", "", "*e = 0; for (size_t i = 0; i < dim; i++) *e += x[i] * x[i], g[i] = 2 * x[i];");
    recipe("bad.toml", "kinds = [6, 6, 8]", "");
    lab.refuses(&["train", "bad.toml", "--out", "bad"], 2, &["all are moved by 1", "differences alone"]);
    assert!(!lab.path("bad").exists());
}

/// Sets of three vectors that share an axis.
const SETS: &[&str] = &[
    "exchangeable",
    "--set=target.members=3",
    "--set=potential.terms.0.centres=12",
    "--set=potential.terms.0.sums=8",
    "--set=potential.terms.0.vectors=6",
    "--set=potential.terms.0.hidden=[24, 16]",
    "--set=potential.terms.0.time_terms=4",
    "--set=flow.steps=6",
    "--set=train.steps=1000",
    "--set=train.schedule.warmup=20",
    "--set=train.average=0.98",
    "--set=fine_tune.steps=30",
    "--set=fine_tune.batch=64",
    "--set=evaluate.samples=2000",
];

#[test]
#[ignore = "seconds: .ci/run"]
fn sets_that_share_an_axis_are_learned_and_their_vectors_are_not_told_apart() {
    let lab = Lab::on(Backend::Ndarray);
    lab.trains(SETS, "run", &[]);
    let figures = lab.figures("run", &[]);
    let number = |key: &str| figures[key].as_f64().unwrap_or_else(|| panic!("no {key} in {figures}"));
    let of = datasets::sets::SharedAxis::new(3, 4.0).unwrap();
    assert!((number("nll_nats") - number("kl_nats") - of.entropy()).abs() < 1e-9, "{figures}");
    // Better than whatever takes the vectors for independent, and no better than the entropy.
    let (gap, error) = (number("kl_nats"), number("standard_error"));
    assert!(gap > -4.0 * error && number("nll_nats") < of.gaussian_entropy() - 3.0 * error, "{figures}");

    lab.does(&["sample", "run", "--count", "20", "--out", "x.npy"]);
    let x: ndarray::Array3<f32> = ndarray_npy::read_npy(lab.path("x.npy")).unwrap();
    assert_eq!(x.shape(), [20, 3, 2]);
    let (plain, other) = (scored(&lab, "run", &x, [0, 1, 2], 1.0), scored(&lab, "run", &x, [2, 0, 1], -1.0));
    assert!(plain.iter().zip(&other).all(|(a, b)| (a - b).abs() < 1e-4), "{plain:?} {other:?}");
    for (setting, parts) in [
        ("target.members=1", ["target.members", "at least 2"]),
        ("target.stretch=0.5", ["target.stretch", "from 1 to 100"]),
        ("train.epochs=3", ["train.epochs", "train.steps instead"]),
        ("train.objective=free-energy", ["train.objective", "given by samples"]),
        ("fine_tune.objective=forward-kl", ["fine_tune.objective", "by its energy"]),
    ] {
        lab.refuses(&["train", "exchangeable", "--out", "bad", "--set", setting], 2, &parts);
    }
    lab.refuses(&["physics", "run"], 2, &["targets with an energy", "sets of vectors"]);
}

/// Exact samples of three particles with springs of a stiffness between all: normal numbers, whose centres are moved
/// away.
fn harmonic(stiffness: f64) -> ndarray::Array3<f64> {
    let deviation = (3.0 * stiffness).sqrt().recip();
    let x = flow_core::RngKey::new(3, flow_core::Purpose::Sample, 0).normals(0..2000, 6);
    ndarray::Array3::from_shape_vec((2000, 3, 2), x.iter().map(|x| deviation * x).collect()).unwrap()
}

#[test]
#[ignore = "seconds: .ci/run"]
fn an_energy_of_particles_needs_no_potential_and_no_training_stated() {
    let lab = Lab::on(Backend::Ndarray);
    compile_points(&lab, "springs", "", &SPRINGS.replace("1.4", "0.7"));
    ndarray_npy::write_npy(lab.path("x.npy"), &harmonic(0.7)).unwrap();
    let target = "[target]\nkind = \"energy\"\ndimension = 6\nlibrary = \"springs.so\"\nlayout = \"particles\"\n\
                  space = 2\nsamples = \"x.npy\"\n";
    std::fs::write(lab.path("springs.toml"), target).unwrap();
    let fewer = [
        "--set=train.steps=1000",
        "--set=train.average=0.95",
        "--set=fine_tune.steps=30",
        "--set=evaluate.samples=1000",
    ];
    lab.trains(&["springs.toml"], "run", &fewer);
    let figures = lab.figures("run", &["--library", "springs.so"]);
    let number = |key: &str| figures[key].as_f64().unwrap_or_else(|| panic!("no {key} in {figures}"));
    let exact = 2.0 * std::f64::consts::TAU.ln() - (9.0f64 * 0.7 * 0.7).ln();
    let error = number("log_z_importance_error");
    assert!((number("log_z_importance") - exact).abs() < 4.0 * error && error < 0.03, "{figures}");
    let x = harmonic(0.7).mapv(|x| x as f32);
    let x = x.slice(ndarray::s![..50, .., ..]).to_owned();
    let (plain, other) = (scored(&lab, "run", &x, [0, 1, 2], 1.0), scored(&lab, "run", &x, [2, 0, 1], -1.0));
    assert!(plain.iter().zip(&other).all(|(a, b)| (a - b).abs() < 1e-4), "{plain:?} {other:?}");
}

#[test]
#[ignore = "seconds: .ci/run"]
fn configurations_of_a_file_are_learned_from() {
    let lab = Lab::on(Backend::Ndarray);
    let x = harmonic(0.7);
    ndarray_npy::write_npy(lab.path("x.npy"), &x).unwrap();
    lab.trains(CLUSTER, "run", &["--set=target.samples=x.npy", "--set=target.kinds=[0, 0, 1]"]);
    let figures = lab.figures("run", &[]);
    assert!(figures["ess"].as_f64().unwrap() > 0.8, "{figures}");
    // Other data are no data to go on with, and what is no such file is named.
    lab.refuses(
        &[&["train", "--out", "bad"], CLUSTER, &["--set=target.samples=x.npy", "--set=target.particles=4"]].concat(),
        2,
        &["target.samples", "has 6 numbers", "4 particles in 2 dimensions have 8"],
    );
    ndarray_npy::write_npy(lab.path("x.npy"), &(2.0 * x)).unwrap();
    lab.refuses(&["train", "--resume", "--out", "run"], 2, &["x.npy", "begun with"]);
}

#[test]
#[ignore = "seconds: .ci/run"]
fn a_training_on_aligned_samples_resumes_bit_for_bit() {
    let lab = Lab::on(Backend::Ndarray);
    // Over the end of the first training, into that by the divergence from the target.
    let short =
        ["--set=train.steps=8", "--set=train.schedule.warmup=2", "--set=train.pool=200", "--set=fine_tune.steps=4"];
    lab.trains(CLUSTER, "whole", &[&short[..], &["--set=train.checkpoint_every=4"]].concat());
    crate::lab::copy(&lab.path("whole"), &lab.path("cut"));
    for path in lab.checkpoints("cut") {
        let name = path.file_name().unwrap().to_str().unwrap();
        if name.contains('8') || name.contains("12") {
            std::fs::remove_file(path).unwrap();
        }
    }
    lab.does(&["train", "--resume", "--out", "cut"]);
    assert_eq!(lab.final_bits("cut"), lab.final_bits("whole"));
}

#[test]
fn what_is_no_cluster_is_refused_before_anything_is_written() {
    let lab = Lab::on(Backend::Ndarray);
    for (setting, parts) in [
        ("target.particles=1", ["target.particles", "at least 2"]),
        ("target.space=4", ["target.space", "at most 3"]),
        ("target.kinds=[0, 1]", ["target.kinds", "for each"]),
        ("target.strength=0", ["target.strength", "positive"]),
        ("target.pair=spring", ["target.pair", "spring"]),
        ("potential.terms.0.core=0", ["potential.terms.core", "positive"]),
        ("potential.terms.0.cutoff=[3.0, 1.0]", ["potential.terms.cutoff", "lower first"]),
        ("potential.terms.0.interval=[3.0, 1.0]", ["potential.terms.interval", "lower first"]),
        ("potential.terms.0.vectors=5000", ["potential.terms.vectors", "at most 4096"]),
        ("train.epochs=3", ["train.epochs", "train.steps instead"]),
        ("fine_tune.gradient=path", ["fine_tune.gradient", "one of the free energy"]),
        ("train.clip_force=0", ["train.clip_force", "positive"]),
        ("train.target_forces=true", ["train.target_forces", "target.pairs = \"independent\""]),
    ] {
        lab.refuses(&["train", "dw4", "--out", "run", "--set", setting], 2, &parts);
    }
    let lattice = "potential.terms=[{kind = \"particles\", interval = [0.5, 5.0], core = 0.5, sums = 1, vectors = 1}]";
    lab.refuses(&["train", "ising-16", "--set", lattice], 2, &["\"particles\"", "particles as the target"]);
    assert!(!lab.path("run").exists());
}
