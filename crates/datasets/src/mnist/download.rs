//! Fetches the MNIST files from public mirrors into a folder, each verified, and written whole or not at all.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ureq::Agent;

use super::idx::{Decompression, IdxFile, decompress};
use super::{FILES, MnistError, Published, find, verify};
use crate::whole_file::write_whole;

/// Public places that hold the files under their usual names, asked in this order.
pub const MIRRORS: [&str; 4] = [
    "https://ossci-datasets.s3.amazonaws.com/mnist",
    "https://storage.googleapis.com/cvdf-datasets/mnist",
    "https://azureopendatastorage.blob.core.windows.net/mnist",
    "https://raw.githubusercontent.com/fgnt/mnist/master",
];

/// Where to fetch from and to.
#[derive(Debug, Clone)]
pub struct Download {
    /// Folder that receives the files, decompressed; made when absent.
    pub folder: PathBuf,
    /// Addresses that are completed with `/train-images-idx3-ubyte.gz` and so on; asked in order.
    pub mirrors: Vec<String>,
    /// Longest wait for a connection.
    pub connect_timeout: Duration,
    /// Longest wait for one whole file.
    pub file_timeout: Duration,
}

impl Download {
    /// From [`MIRRORS`] into `maflow/mnist` in the user's cache folder.
    ///
    /// # Errors
    /// [`MnistError::NoCacheFolder`] when the system names none.
    pub fn into_user_cache() -> Result<Self, MnistError> {
        let cache = dirs::cache_dir().ok_or(MnistError::NoCacheFolder)?;
        Ok(Self {
            folder: cache.join("maflow").join("mnist"),
            mirrors: MIRRORS.map(str::to_owned).to_vec(),
            connect_timeout: Duration::from_secs(10),
            file_timeout: Duration::from_secs(600),
        })
    }

    /// Makes sure that [`folder`](Self::folder) holds the published pictures; those already there and intact are not
    /// fetched again. `report` gets one line for each file about to be fetched.
    ///
    /// # Errors
    /// [`MnistError::Unreachable`] when every mirror fails for a file (no network, wrong content),
    /// [`MnistError::Write`] when the folder cannot be written. A file that was there is only ever replaced by a
    /// verified one.
    pub fn fetch(&self, mut report: impl FnMut(&str)) -> Result<(), MnistError> {
        let agent = Agent::config_builder()
            .timeout_connect(Some(self.connect_timeout))
            .timeout_global(Some(self.file_timeout))
            .build()
            .into();
        self.fetch_files(&agent, &FILES, &mut report)
    }

    fn fetch_files(
        &self,
        agent: &Agent,
        files: &[&Published],
        report: &mut impl FnMut(&str),
    ) -> Result<(), MnistError> {
        std::fs::create_dir_all(&self.folder)
            .map_err(|source| MnistError::Write { path: self.folder.clone(), source })?;
        for published in files {
            if !self.holds(published) {
                let bytes = self.fetch_file(agent, published, report)?;
                let path = self.folder.join(published.name);
                write_whole(&path, &bytes).map_err(|source| MnistError::Write { path, source })?;
            }
        }
        Ok(())
    }

    fn holds(&self, published: &Published) -> bool {
        find(&self.folder, published.name)
            .and_then(|path| {
                let file = IdxFile::read(&path)?;
                verify(&path, &file.bytes, published)
            })
            .is_ok()
    }

    fn fetch_file(
        &self,
        agent: &Agent,
        published: &Published,
        report: &mut impl FnMut(&str),
    ) -> Result<Vec<u8>, MnistError> {
        let mut tried: Vec<(String, String)> = Vec::new();
        for mirror in &self.mirrors {
            let address = format!("{mirror}/{}.gz", published.name);
            report(&format!("fetching {address}"));
            match fetch_verified(agent, &address, published) {
                Ok(bytes) => return Ok(bytes),
                // Mirrors that fail alike, as all do without a network, share one reason in the sentence.
                Err(reason) => match tried.iter_mut().find(|(_, said)| *said == reason) {
                    Some((hosts, _)) => *hosts += &format!(", {}", host(mirror)),
                    None => tried.push((host(mirror).to_owned(), reason)),
                },
            }
        }
        let tried: Vec<String> = tried.iter().map(|(hosts, reason)| format!("{hosts}: {reason}")).collect();
        Err(MnistError::Unreachable { name: published.name.to_owned(), tried: tried.join("; ") })
    }
}

fn fetch_verified(agent: &Agent, address: &str, published: &Published) -> Result<Vec<u8>, String> {
    // A mirror cannot make us read or decompress much more than the file; gzip adds a little to what it cannot shrink.
    let transfer_limit = published.bytes + 4096;
    let raw = agent
        .get(address)
        .call()
        .and_then(|mut response| response.body_mut().with_config().limit(transfer_limit).read_to_vec())
        .map_err(|error| error.to_string())?;
    let bytes =
        decompress(&raw, published.bytes + 1).map_err(|Decompression { so_far, source }| match source.kind() {
            io::ErrorKind::UnexpectedEof => {
                format!("the file ends after {} of {} bytes", so_far.len(), published.bytes)
            }
            _ => source.to_string(),
        })?;
    verify(Path::new(address), &bytes, published).map_err(|_| "the content is not that of MNIST".to_owned())?;
    Ok(bytes)
}

/// The host of an address, enough to name a mirror in a sentence.
fn host(address: &str) -> &str {
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    rest.split('/').next().unwrap_or(rest)
}

#[cfg(test)]
mod tests;
