//! The program as a product, from outside: whole runs of tiny models, once per backend of the build.

mod cases;
mod conditional;
mod energies;
mod interruptions;
mod lab;
mod models;
mod moves;
mod particles;
mod phases;
mod physics;
mod runs;
mod several;
mod standardised;
mod tables;
mod temperatures;
