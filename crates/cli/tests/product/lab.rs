//! An empty folder, the program, and tiny models that train in a moment; everything once per backend of the build.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command as Process, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};

use assert_cmd::Command;
use maflow::backend::Backend;
use maflow::tensor_file::TensorFile;
use serde_json::Value;

/// A folder of its own and one backend.
pub struct Lab {
    folder: Rc<tempfile::TempDir>,
    backend: &'static str,
}

/// A density in the plane.
pub const TOY: &[&str] = &[
    "rings",
    "--set=potential.hidden=8",
    "--set=flow.steps=4",
    "--set=train.batch=32",
    "--set=train.steps=12",
    "--set=train.schedule.warmup=2",
    "--set=train.checkpoint_every=4",
    "--set=evaluate.samples=300",
];

/// An Ising model with a symmetry drawn once per solve.
pub const ISING: &[&str] = &[
    "ising-8",
    "--set=potential.symmetry={group=[\"translations\", \"transpose\"], draw=\"per-solve\"}",
    "--set=target.size=4",
    "--set=potential.hidden=8",
    "--set=flow.time=1",
    "--set=flow.steps=4",
    "--set=train.batch=32",
    "--set=train.steps=12",
    "--set=train.schedule.warmup=2",
    "--set=train.checkpoint_every=4",
    "--set=evaluate.samples=300",
];

/// A small whitened Ising model that learns by flow matching and is then fine-tuned.
pub const MATCHED: &[&str] = &[
    "ising-16",
    "--set=target.size=4",
    "--set=potential.terms.1.kernels=3",
    "--set=flow.steps=4",
    "--set=train.batch=32",
    "--set=train.pool=200",
    "--set=train.steps=8",
    "--set=train.schedule.warmup=2",
    "--set=train.checkpoint_every=4",
    "--set=train.keep=9",
    "--set=fine_tune.steps=6",
    "--set=fine_tune.batch=16",
    "--set=evaluate.samples=300",
];

/// A small whitened φ⁴ theory that learns likewise.
pub const FIELD: &[&str] = &[
    "phi4-16",
    "--set=train.objective=flow-matching",
    "--set=train.gradient=total",
    "--set=train.watch_every=0",
    "--set=target.size=4",
    "--set=potential.terms.1.kernels=3",
    "--set=flow.steps=4",
    "--set=train.batch=64",
    "--set=train.pool=2000",
    "--set=train.steps=60",
    "--set=train.schedule.warmup=10",
    "--set=train.checkpoint_every=30",
    "--set=fine_tune={steps=20, batch=64, clip_norm=10}",
    "--set=evaluate.samples=1000",
];

/// Three particles in the plane that learn by flow matching and then by the divergence from their samples.
pub const CLUSTER: &[&str] = &[
    "dw4",
    "--set=target.particles=3",
    "--set=target.pair=harmonic",
    "--set=potential.terms.0.centres=6",
    "--set=potential.terms.0.sums=3",
    "--set=potential.terms.0.vectors=2",
    "--set=potential.terms.0.hidden=[6, 4]",
    "--set=potential.terms.0.time_terms=2",
    "--set=flow.steps=4",
    "--set=train.batch=32",
    "--set=train.pool=200",
    "--set=train.steps=8",
    "--set=train.schedule.warmup=2",
    "--set=train.checkpoint_every=4",
    "--set=fine_tune.steps=4",
    "--set=fine_tune.batch=16",
    "--set=evaluate.samples=300",
];

/// The backends that this machine can use: those of libtorch once it is set up, and that for GPUs where there is a
/// driver with a device.
fn backends() -> Vec<&'static str> {
    let found = backend_tch::libtorch();
    let cpu = cfg!(feature = "libtorch") && found.is_ok();
    let cuda = cpu && found.is_ok_and(|found| found.cuda) && backend_tch::driver().is_ok();
    let usable = [(Backend::Ndarray, true), (Backend::TchCpu, cpu), (Backend::TchCuda, cuda)];
    usable.into_iter().filter(|(_, usable)| *usable).map(|(backend, _)| backend.name()).collect()
}

/// Does the work once for each backend of the build that this machine can use, in a folder of its own.
pub fn on_every_backend(work: impl Fn(&Lab)) {
    for backend in backends() {
        work(&Lab { folder: Rc::new(tempfile::tempdir().unwrap()), backend });
    }
}

/// Whether everything is wanted that these tests can do, as `scripts/full` says by `MAFLOW_TEST_ALL`: each of several
/// kinds, sizes and backends that `cargo test` alone has one of.
pub fn wants_all() -> bool {
    std::env::var_os("MAFLOW_TEST_ALL").is_some()
}

/// Does the work on one backend, for what is the same on all of them: files, words, and what is kept in a run. On all
/// where everything is wanted.
pub fn on_one_backend(work: impl Fn(&Lab)) {
    match wants_all() {
        true => on_every_backend(work),
        false => work(&Lab::on(Backend::Ndarray)),
    }
}

impl Lab {
    /// An empty folder for one backend, for what only that one can do.
    pub fn on(backend: Backend) -> Self {
        Self { folder: Rc::new(tempfile::tempdir().unwrap()), backend: backend.name() }
    }

    /// The name of the backend.
    pub fn backend(&self) -> &'static str {
        self.backend
    }

    /// The same folder on another backend, for each of the others.
    pub fn on_the_others(&self) -> impl Iterator<Item = Self> {
        let others = backends().into_iter().filter(|backend| *backend != self.backend);
        others.map(|backend| Self { folder: self.folder.clone(), backend })
    }

    /// A path in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The program with the words given, to be judged.
    pub fn maflow(&self, words: &[&str]) -> Command {
        let mut command = Command::cargo_bin("maflow").unwrap();
        command.current_dir(self.folder.path()).args(["--backend", self.backend, "--threads", "2"]).args(words);
        command
    }

    /// Runs the words to a good end and returns standard output.
    #[track_caller]
    pub fn does(&self, words: &[&str]) -> String {
        let output = self.maflow(words).output().unwrap();
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Trains a model into `out`, with more settings.
    #[track_caller]
    pub fn trains(&self, model: &[&str], out: &str, more: &[&str]) -> String {
        self.does(&[&["train"], model, &["--out", out], more].concat())
    }

    /// Runs the words; expects the exit code, and all `parts` in the last line of standard error, which it returns.
    #[track_caller]
    pub fn refuses(&self, words: &[&str], code: i32, parts: &[&str]) -> String {
        let output = self.maflow(words).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{words:?}: {stderr}");
        let last = stderr.trim_end().lines().last().unwrap_or_default();
        for part in parts {
            assert!(last.contains(part), "{last:?} lacks {part:?}");
        }
        assert!(!stderr.contains("panicked"), "{stderr}");
        stderr
    }

    /// The JSON object that `evaluate RUN --json` prints, without its checkpoint, which must be one of the run.
    #[track_caller]
    pub fn figures(&self, run: &str, more: &[&str]) -> Value {
        let mut figures: Value =
            serde_json::from_str(&self.does(&[&["evaluate", run, "--json"], more].concat())).unwrap();
        let checkpoint = figures.as_object_mut().unwrap().remove("checkpoint");
        let file = self.path(checkpoint.as_ref().and_then(Value::as_str).expect("it names its checkpoint"));
        assert!(self.checkpoints(run).contains(&file), "{}", file.display());
        figures
    }

    /// Starts the words without waiting.
    pub fn starts(&self, words: &[&str]) -> Child {
        let mut process = Process::new(assert_cmd::cargo::cargo_bin("maflow"));
        #[cfg(unix)]
        listens(&mut process);
        process
            .current_dir(self.folder.path())
            .args(["--backend", self.backend, "--threads", "2"])
            .args(words)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// Waits until the run has made so many steps (or the process has ended).
    pub fn waits_for_step(&self, run: &str, step: usize, child: &mut Child) {
        let (file, start) = (self.path(run).join("metrics.csv"), Instant::now());
        let steps = || fs::read_to_string(&file).map_or(0, |text| text.lines().count().saturating_sub(1));
        while steps() < step && child.try_wait().unwrap().is_none() {
            assert!(start.elapsed() < Duration::from_secs(60), "the training does not come to step {step}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Files of the run's checkpoints, the newest last.
    pub fn checkpoints(&self, run: &str) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.path(run).join("checkpoints")).unwrap();
        let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files
    }

    /// Names and bits of all tensors of the newest checkpoint: parameters and moments.
    pub fn final_bits(&self, run: &str) -> Vec<(String, Vec<u64>)> {
        self.bits(self.checkpoints(run).last().unwrap())
    }

    /// Gradient steps made before a checkpoint.
    pub fn step(&self, checkpoint: &Path) -> u64 {
        maflow::checkpoint::read(checkpoint).unwrap().state.unwrap().step
    }

    /// Names and bits of all tensors of a checkpoint.
    pub fn bits(&self, checkpoint: &Path) -> Vec<(String, Vec<u64>)> {
        let checkpoint = TensorFile::read(checkpoint).unwrap();
        let bits = |values: Vec<f64>| values.into_iter().map(f64::to_bits).collect();
        checkpoint.tensors.into_iter().map(|tensor| (tensor.name, bits(tensor.values))).collect()
    }

    /// The metrics without the seconds, and what processes exchange.
    pub fn metrics(&self, run: &str) -> Vec<String> {
        let text = fs::read_to_string(self.path(run).join("metrics.csv")).unwrap();
        let columns = |line: &str| line.rsplitn(4, ',').nth(3).unwrap().to_owned();
        text.lines().map(columns).collect()
    }
}

/// A process that is not to ignore Ctrl-C, whatever the tests were started to ignore: in the background of a shell they
/// are.
#[cfg(unix)]
fn listens(process: &mut Process) {
    use std::os::unix::process::CommandExt;
    // SAFETY: between fork and exec there is one call, which may be made there.
    unsafe {
        process.pre_exec(|| {
            libc::signal(libc::SIGINT, libc::SIG_DFL);
            Ok(())
        });
    }
}

/// Copies a folder.
pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for (path, content) in content(from) {
        let to = to.join(path.strip_prefix(from).unwrap());
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::write(to, content).unwrap();
    }
}

/// Every file below a folder with its content, to see that nothing has changed.
pub fn content(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(content(&path));
        } else {
            found.push((path.clone(), fs::read(&path).unwrap()));
        }
    }
    found.sort();
    found
}
