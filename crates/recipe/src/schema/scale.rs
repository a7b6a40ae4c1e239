//! A scale for all coordinates, or one for each.

use std::fmt;

use serde::de::{self, Deserializer, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

/// A scale for all coordinates, or one for each.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Scale {
    /// The same for all.
    All(f64),
    /// One for each.
    Each(Vec<f64>),
}

impl Scale {
    /// The scales of n coordinates; as many as there are where each has its own.
    pub fn of_coordinates(&self, n: usize) -> Vec<f64> {
        match self {
            Self::All(scale) => vec![*scale; n],
            Self::Each(scales) => scales.clone(),
        }
    }
}

impl<'de> Deserialize<'de> for Scale {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NumberOrList;
        impl<'de> Visitor<'de> for NumberOrList {
            type Value = Scale;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a number or a list of numbers")
            }
            fn visit_f64<E: de::Error>(self, scale: f64) -> Result<Scale, E> {
                Ok(Scale::All(scale))
            }
            fn visit_i64<E: de::Error>(self, scale: i64) -> Result<Scale, E> {
                Ok(Scale::All(scale as f64))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Scale, A::Error> {
                let mut scales = Vec::new();
                while let Some(scale) = list.next_element()? {
                    scales.push(scale);
                }
                Ok(Scale::Each(scales))
            }
        }
        deserializer.deserialize_any(NumberOrList)
    }
}
