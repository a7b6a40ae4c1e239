//! The method of integration that a recipe names: an explicit Runge-Kutta method, one that would choose its steps made
//! to take equal ones, or reversible steps made of a method.

use std::fmt;

use flow_core::Method;
use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

/// A method of integration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlowMethod {
    /// Explicit Runge-Kutta: `"rk4"`.
    RungeKutta(Method),
    /// Equal steps of a method that would choose them by itself: `"fixed-tsit5"`.
    Fixed(Method),
    /// Reversible steps made of an explicit Runge-Kutta method, [`flow_core::Reversible`]: `"reversible-rk4"`.
    Reversible(Method),
}

/// What stands before the name of the method that reversible steps are made of.
const REVERSIBLE: &str = "reversible-";
/// What stands before the name of an adaptive method that is to take equal steps.
const FIXED: &str = "fixed-";

impl FlowMethod {
    /// The method of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        if let Some(of) = name.strip_prefix(REVERSIBLE) {
            return Method::from_name(of).map(Self::Reversible);
        }
        match name.strip_prefix(FIXED) {
            Some(of) => Method::from_name(of).filter(|method| method.is_adaptive()).map(Self::Fixed),
            None => Method::from_name(name).map(Self::RungeKutta),
        }
    }

    /// Its name in recipes.
    pub fn name(self) -> String {
        match self {
            Self::RungeKutta(method) => method.name().to_owned(),
            Self::Fixed(method) => format!("{FIXED}{}", method.name()),
            Self::Reversible(method) => format!("{REVERSIBLE}{}", method.name()),
        }
    }

    /// Whether it chooses its steps by an estimate of its error.
    pub fn is_adaptive(self) -> bool {
        matches!(self, Self::RungeKutta(method) if method.is_adaptive())
    }

    /// Whether its steps can be undone.
    pub fn is_reversible(self) -> bool {
        matches!(self, Self::Reversible(_))
    }
}

impl Default for FlowMethod {
    fn default() -> Self {
        Self::RungeKutta(Method::default())
    }
}

impl Serialize for FlowMethod {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.name())
    }
}

impl<'de> Deserialize<'de> for FlowMethod {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Name;
        impl Visitor<'_> for Name {
            type Value = FlowMethod;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("the name of a method")
            }
            fn visit_str<E: de::Error>(self, name: &str) -> Result<FlowMethod, E> {
                let unknown = || {
                    let known = Method::ALL.map(|method| format!("`{}`", method.name())).join(", ");
                    E::custom(format!(
                        "found `{name}`, expected one of {known}, one of these after `{REVERSIBLE}`, as in \
                         `{REVERSIBLE}rk4`, or an adaptive one after `{FIXED}`, as in `{FIXED}tsit5`"
                    ))
                };
                FlowMethod::from_name(name).ok_or_else(unknown)
            }
        }
        deserializer.deserialize_str(Name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_is_read_as_it_is_written() {
        for method in Method::ALL {
            let fixed = method.is_adaptive().then_some(FlowMethod::Fixed(method));
            for method in [FlowMethod::RungeKutta(method), FlowMethod::Reversible(method)].into_iter().chain(fixed) {
                assert_eq!(FlowMethod::from_name(&method.name()), Some(method));
                let value = toml::Value::try_from(method).unwrap();
                assert_eq!(value.as_str(), Some(&*method.name()));
                assert_eq!(value.try_into::<FlowMethod>().unwrap(), method);
            }
        }
        assert!(FlowMethod::RungeKutta(Method::Tsit5).is_adaptive());
        assert!(!FlowMethod::Reversible(Method::Tsit5).is_adaptive());
        assert!(!FlowMethod::Fixed(Method::Tsit5).is_adaptive());
        assert_eq!(FlowMethod::from_name("reversible-reversible-rk4"), None);
        assert_eq!(FlowMethod::from_name("fixed-rk4"), None);
        let error = toml::Value::from("reversible").try_into::<FlowMethod>().unwrap_err().to_string();
        assert!(error.contains("`reversible`") && error.contains("`reversible-rk4`"), "{error}");
    }
}
