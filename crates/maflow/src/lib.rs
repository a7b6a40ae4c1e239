//! Monge-Ampère flows as a library, above [`flow_core`] and its backends: what touches the disk.
//!
//! A training writes its checkpoints into a [`CheckpointFolder`](checkpoint::CheckpointFolder), as safetensors files
//! that other programs read too; files are written whole or not at all ([`files`]).

pub mod checkpoint;
mod error;
pub mod files;
pub mod tensor_file;

pub use error::Error;
