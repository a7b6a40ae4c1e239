//! What this backend is held to from outside, in one program: what its parts share is compiled once.

mod captured;
mod conformance;
mod kept;
mod readme;
mod seams;
mod training;
