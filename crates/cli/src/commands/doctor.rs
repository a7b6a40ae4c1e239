//! `maflow doctor`: what this machine offers and what is missing, each finding with its remedy.

use std::thread::available_parallelism;

use datasets::mnist::{Content, Download, Mnist};
use flow_core::Team;
use mpi::World;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::error::CliError;
use crate::output;

/// One thing looked at.
struct Finding {
    name: &'static str,
    /// Whether it can be used as it is; where not, the text has the remedy.
    ready: bool,
    text: String,
}

/// Prints the findings; of several processes the first does.
pub fn print(json: bool, world: Option<&World>) -> Result<(), CliError> {
    if world.is_some_and(|world| world.rank() > 0) {
        return Ok(());
    }
    let told = |name, text| Finding { name, ready: true, text };
    let mut findings = vec![told("maflow", version()), told("threads", threads()), told("cpu", cpu())];
    findings.push(told("ndarray", "ready".to_owned()));
    findings.extend(libtorch());
    findings.push(mpi(world));
    findings.push(mnist());
    output::line(&if json { as_json(&findings) } else { as_text(&findings) })
}

fn as_text(findings: &[Finding]) -> String {
    findings.iter().map(|Finding { name, text, .. }| format!("{name:10}{text}")).collect::<Vec<_>>().join("\n")
}

fn as_json(findings: &[Finding]) -> String {
    let entry = |f: &Finding| (f.name.to_owned(), serde_json::json!({ "ready": f.ready, "finding": f.text }));
    serde_json::Value::Object(findings.iter().map(entry).collect()).to_string()
}

/// What needs libtorch is not there.
#[cfg(not(feature = "libtorch"))]
fn libtorch() -> Vec<Finding> {
    let text = "not part of this build; build with the feature `libtorch`, which is there by default";
    ["libtorch", "tch-cpu", "tch-cuda"].map(|name| Finding { name, ready: false, text: text.to_owned() }).into()
}

/// libtorch, the driver of the GPU, and the two backends that need them.
#[cfg(feature = "libtorch")]
fn libtorch() -> Vec<Finding> {
    use backend_tch::{CUDA_NEEDED, Driver, Error, Findings, Libtorch, VERSION_NEEDED};
    fn finding<T>(name: &'static str, found: Result<T, Error>, ready: impl Fn(T) -> String) -> Finding {
        match found {
            Ok(found) => Finding { name, ready: true, text: ready(found) },
            Err(error) => Finding { name, ready: false, text: error.to_string() },
        }
    }
    let Findings { libtorch, driver, cpu, cuda, .. } = Findings::collect();
    vec![
        finding("libtorch", libtorch, |Libtorch { path, version, cuda, .. }| {
            let version = version.unwrap_or_else(|| "of a version its folder does not tell".to_owned());
            let part = if cuda { "with" } else { "without" };
            format!("{version} {part} CUDA in {} ({VERSION_NEEDED} is needed)", path.display())
        }),
        finding("driver", driver, |Driver { cuda: (major, minor), devices, .. }| {
            format!(
                "NVIDIA, for CUDA {major}.{minor} ({}.{} is needed), devices: {devices}",
                CUDA_NEEDED.0, CUDA_NEEDED.1
            )
        }),
        finding("tch-cpu", cpu, |()| "ready".to_owned()),
        finding("tch-cuda", cuda, |()| "ready".to_owned()),
    ]
}

fn version() -> String {
    let profile = if cfg!(debug_assertions) {
        "development build; build with --release for the full speed"
    } else {
        "release build"
    };
    format!("{} on {} {}, {profile}", env!("CARGO_PKG_VERSION"), std::env::consts::ARCH, std::env::consts::OS)
}

fn threads() -> String {
    match available_parallelism() {
        Ok(count) => format!("{count}; --threads N uses fewer"),
        Err(error) => format!("unknown ({error}); give their number with --threads N"),
    }
}

#[cfg(target_arch = "x86_64")]
fn cpu() -> String {
    let features = [
        ("avx2", std::arch::is_x86_feature_detected!("avx2")),
        ("fma", std::arch::is_x86_feature_detected!("fma")),
        ("avx512f", std::arch::is_x86_feature_detected!("avx512f")),
    ];
    let found: Vec<&str> = features.iter().filter(|(_, there)| *there).map(|(name, _)| *name).collect();
    match found.is_empty() {
        true => "none of avx2, fma, avx512f: matrix products will be slow; use a newer processor".to_owned(),
        false => found.join(", "),
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn cpu() -> String {
    std::env::consts::ARCH.to_owned()
}

/// The MPI that joins several processes, and these where there are some.
fn mpi(world: Option<&World>) -> Finding {
    let (ready, text) = match (world, mpi::name()) {
        (Some(world), _) => {
            let (size, machines, here) = (world.size(), world.machines(), world.local().1);
            let place = if machines == 1 { "this machine".to_owned() } else { format!("{machines} machines") };
            (
                true,
                format!(
                    "{}: {size} processes on {place}, {here} here with {} threads each",
                    world.name(),
                    world.threads()
                ),
            )
        }
        (None, Ok(name)) => (true, format!("{name}; for two processes type: mpirun -n 2 maflow train")),
        (None, Err(error)) => (false, error.to_string()),
    };
    Finding { name: "mpi", ready, text }
}

/// Whether the user's cache folder holds MNIST, unharmed.
fn mnist() -> Finding {
    let (ready, text) = match Download::into_user_cache() {
        Err(error) => (false, error.to_string()),
        Ok(Download { folder, .. }) if !folder.exists() => (
            false,
            format!(
                "not fetched yet; `maflow train mnist` fetches 11 MB into {}, or give --data DIR",
                folder.display()
            ),
        ),
        Ok(Download { folder, .. }) => {
            match Mnist::load(&folder, Content::Published, &mut ChaCha8Rng::seed_from_u64(0)) {
                Ok(_) => (true, format!("ready in {}", folder.display())),
                Err(error) => (false, format!("not usable: {error}; `maflow train mnist` fetches what is missing")),
            }
        }
    };
    Finding { name: "mnist", ready, text }
}
