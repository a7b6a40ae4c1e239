//! What a column asks for, and how it is written in a recipe.

use std::fmt;
use std::str::FromStr;

/// The map of a column, before it is fitted.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum MapKind {
    /// The values as they are.
    None,
    /// `(x − mean)/deviation`.
    Standardise,
    /// `ln x`, for positive values.
    Log,
    /// `ln((x − low)/(high − x))`, for values between both.
    Logit {
        /// Lower bound.
        low: f64,
        /// Upper bound.
        high: f64,
    },
    /// The smooth map that makes the column normal ([`Quantile`](super::Quantile)).
    Quantile,
    /// `asinh((x − centre)/scale)`: linear in the middle, logarithmic far out.
    Tail,
}

/// What happens to a column: noise of a step where its values are steps, then a map.
///
/// ```
/// use datasets::columns::{MapKind, Transform};
/// let transform: Transform = "dequantise(1) tail".parse()?;
/// assert_eq!(transform, Transform { dequantise: Some(1.0), map: MapKind::Tail });
/// assert_eq!("logit(0, 1)".parse::<Transform>()?.to_string(), "logit(0, 1)");
/// # Ok::<(), datasets::columns::InvalidTransform>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Transform {
    /// The step of the values: uniform noise in [0, step) is added.
    pub dequantise: Option<f64>,
    /// The map.
    pub map: MapKind,
}

impl Transform {
    /// No noise, and this map.
    pub fn of(map: MapKind) -> Self {
        Self { dequantise: None, map }
    }
}

/// Text that is no transform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is no transformation ({why}); known are none, standardise, log, logit(low, high), quantile and tail, \
        each alone or after dequantise(step)"
)]
pub struct InvalidTransform {
    /// The text.
    pub text: String,
    /// What is wrong.
    pub why: String,
}

impl fmt::Display for Transform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(step) = self.dequantise {
            write!(f, "dequantise({step})")?;
            match self.map {
                MapKind::Standardise => return Ok(()),
                _ => write!(f, " ")?,
            }
        }
        match self.map {
            MapKind::None => write!(f, "none"),
            MapKind::Standardise => write!(f, "standardise"),
            MapKind::Log => write!(f, "log"),
            MapKind::Logit { low, high } => write!(f, "logit({low}, {high})"),
            MapKind::Quantile => write!(f, "quantile"),
            MapKind::Tail => write!(f, "tail"),
        }
    }
}

impl FromStr for Transform {
    type Err = InvalidTransform;

    fn from_str(text: &str) -> Result<Self, InvalidTransform> {
        let invalid = |why: String| InvalidTransform { text: text.to_owned(), why };
        let (mut dequantise, mut map) = (None, None);
        let mut rest = text.trim();
        while !rest.is_empty() {
            let end = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
            let (name, after) = rest.split_at(end);
            let (numbers, after) = match after.trim_start().strip_prefix('(') {
                None => (vec![], after),
                Some(inside) => {
                    let (inside, after) =
                        inside.split_once(')').ok_or_else(|| invalid("a bracket is open".to_owned()))?;
                    let number = |text: &str| text.trim().parse::<f64>().ok().filter(|number| number.is_finite());
                    let numbers: Option<Vec<f64>> = inside.split(',').map(number).collect();
                    (numbers.ok_or_else(|| invalid(format!("{inside:?} is not numbers")))?, after)
                }
            };
            rest = after.trim_start();
            match (name, &numbers[..]) {
                ("dequantise" | "dequantize", &[step]) if step > 0.0 && dequantise.is_none() && map.is_none() => {
                    dequantise = Some(step);
                }
                _ if map.is_some() => return Err(invalid("it has two maps".to_owned())),
                ("none", []) => map = Some(MapKind::None),
                ("standardise" | "standardize", []) => map = Some(MapKind::Standardise),
                ("log", []) => map = Some(MapKind::Log),
                ("logit", &[low, high]) if low < high => map = Some(MapKind::Logit { low, high }),
                ("quantile", []) => map = Some(MapKind::Quantile),
                ("tail", []) => map = Some(MapKind::Tail),
                ("", _) => return Err(invalid(format!("a name was expected at {rest:?}"))),
                _ => return Err(invalid(format!("{name} with {} numbers", numbers.len()))),
            }
        }
        match (dequantise, map) {
            (None, None) => Err(invalid("it is empty".to_owned())),
            (_, map) => Ok(Self { dequantise, map: map.unwrap_or(MapKind::Standardise) }),
        }
    }
}
