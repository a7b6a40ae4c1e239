//! The code on the pages of the book, as documentation tests; what else is checked of the book is in `tests/book`.

/// A page whose code is compiled and run by `cargo test --doc`.
macro_rules! pages {
    ($($name:ident $page:literal),* $(,)?) => {
        $(#[cfg(doctest)] #[doc = include_str!(concat!("../../../book/src/", $page))] mod $name {})*
    };
}

pages! {
    potential "extend/potential.md",
    integrator "extend/integrator.md",
    objective "extend/objective.md",
    energy "extend/energy.md",
    target "extend/target.md",
    model "extend/model.md",
    training "extend/training.md",
}
