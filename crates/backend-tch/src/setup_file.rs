// Where the set-up of libtorch writes what it has found: for the library and its build script.

/// The variable that names another file than that in the user's cache; one that is not there stands for no set-up.
pub(crate) const SETUP_VARIABLE: &str = "MAFLOW_LIBTORCH_SETUP";

/// The file; none where there is neither a cache folder nor the variable.
pub(crate) fn setup_file() -> Option<PathBuf> {
    match env::var_os(SETUP_VARIABLE).filter(|file| !file.is_empty()) {
        Some(file) => Some(file.into()),
        None => Some(dirs::cache_dir()?.join("maflow").join("libtorch.setup")),
    }
}
