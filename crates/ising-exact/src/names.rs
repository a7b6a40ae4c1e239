//! What has names for people: the name of a value, and the value of a name.

/// The name of a value, where it has one.
pub(crate) fn name_of<T: PartialEq>(all: &[(&'static str, T)], value: &T) -> Option<&'static str> {
    all.iter().find(|(_, of)| of == value).map(|(name, _)| *name)
}

/// The value of a name, where there is such.
pub(crate) fn named<T: Copy>(all: &[(&'static str, T)], name: &str) -> Option<T> {
    all.iter().find(|(of, _)| *of == name).map(|(_, value)| *value)
}
