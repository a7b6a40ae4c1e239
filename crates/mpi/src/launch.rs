//! Whether this process was started as one of several, as the variables of launchers tell before MPI is begun.

use std::env;

/// A process that was started as one of several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Launch {
    /// Who started them, in words.
    pub launcher: &'static str,
    /// The number of this process, from 0.
    pub rank: usize,
    /// How many there are, at least 2.
    pub size: usize,
    /// The number of this process among those of its machine, where the launcher tells.
    pub local_rank: Option<usize>,
}

/// Launchers with the variables for rank, size and rank on a machine. SLURM's are those of a job step, which `srun`
/// alone makes: the script of a job is a process of its own, however many tasks the job is for.
const LAUNCHERS: [(&str, [&str; 3]); 3] = [
    ("mpirun of Open MPI", ["OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK"]),
    ("mpirun", ["PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID"]),
    ("srun", ["SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID"]),
];

/// The variable that names another shim than that of the set-up; `none` has every process work alone.
pub(crate) const SHIM_VARIABLE: &str = "MAFLOW_MPI";

impl Launch {
    /// What the environment says: `None` for a process that is alone.
    pub fn of_environment() -> Option<Self> {
        Self::of(|name| env::var(name).ok())
    }

    fn of(variable: impl Fn(&str) -> Option<String>) -> Option<Self> {
        if variable(SHIM_VARIABLE).as_deref() == Some("none") {
            return None;
        }
        let number = |name: &str| variable(name)?.parse().ok();
        let found = |&(launcher, [rank, size, local_rank]): &(_, [&str; 3])| {
            Some(Self { launcher, rank: number(rank)?, size: number(size)?, local_rank: number(local_rank) })
        };
        LAUNCHERS.iter().find_map(found).filter(|launch: &Self| launch.size > 1 && launch.rank < launch.size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn launch(variables: &[(&str, &str)]) -> Option<(&'static str, usize, usize)> {
        let value = |name: &str| variables.iter().find(|(of, _)| *of == name).map(|(_, value)| (*value).to_owned());
        Launch::of(value).map(|Launch { launcher, rank, size, .. }| (launcher, rank, size))
    }

    #[test]
    fn every_launcher_is_known_and_a_process_alone_too() {
        let open = [("OMPI_COMM_WORLD_RANK", "1"), ("OMPI_COMM_WORLD_SIZE", "4")];
        assert_eq!(launch(&open), Some(("mpirun of Open MPI", 1, 4)));
        assert_eq!(launch(&[("PMI_RANK", "0"), ("PMI_SIZE", "2")]), Some(("mpirun", 0, 2)));
        // In a job's script, which is one process, and in what srun starts there.
        let script = [("SLURM_PROCID", "0"), ("SLURM_NTASKS", "8")];
        assert_eq!(launch(&script), None);
        assert_eq!(launch(&[&script[..], &[("SLURM_STEP_NUM_TASKS", "8")]].concat()), Some(("srun", 0, 8)));
        // mpirun within a job step of one task.
        assert_eq!(
            launch(&[&[("SLURM_PROCID", "0"), ("SLURM_STEP_NUM_TASKS", "1")], &open[..]].concat()),
            Some(("mpirun of Open MPI", 1, 4))
        );
        for alone in [&[][..], &[("OMPI_COMM_WORLD_RANK", "0"), ("OMPI_COMM_WORLD_SIZE", "1")], &[("PMI_RANK", "0")]] {
            assert_eq!(launch(alone), None, "{alone:?}");
        }
        assert_eq!(launch(&[&open[..], &[(SHIM_VARIABLE, "none")]].concat()), None);
        assert!(launch(&[&open[..], &[(SHIM_VARIABLE, "/opt/other.so")]].concat()).is_some());
        let local = |name: &str| Some(if name.ends_with("LOCAL_RANK") { "1" } else { "3" }.to_owned());
        let size = |name: &str| if name.ends_with("SIZE") { Some("4".to_owned()) } else { local(name) };
        assert_eq!(Launch::of(size).unwrap().local_rank, Some(1));
    }
}
