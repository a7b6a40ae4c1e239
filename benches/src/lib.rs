//! Benchmarks of maflow, one file per question.
