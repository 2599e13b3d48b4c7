//! [`Object`]: JSON whose keys stay in the order in which the fields stand on the wire.

use core::fmt::Display;
use serde::{Serialize, Serializer};

/// A value of JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub(crate) enum Value {
    Null,
    Flag(bool),
    Number(u64),
    Text(String),
    List(Vec<Value>),
    Object(Object),
}

/// An object of JSON.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Object(Vec<(&'static str, Value)>);

impl Object {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// With one more field.
    pub(crate) fn with(mut self, key: &'static str, value: impl Into<Value>) -> Self {
        self.0.push((key, value.into()));
        self
    }

    /// With one more field in its text form.
    pub(crate) fn text(self, key: &'static str, value: impl Display) -> Self {
        self.with(key, value.to_string())
    }

    /// With a field by the name of its value, or by the number if it has none.
    pub(crate) fn named(self, key: &'static str, name: Option<&str>, number: impl Into<u64>) -> Self {
        match name {
            Some(name) => self.with(key, name.to_owned()),
            None => self.with(key, number.into()),
        }
    }

    /// With a list of objects.
    pub(crate) fn list(self, key: &'static str, items: impl IntoIterator<Item = Self>) -> Self {
        self.with(key, Value::List(items.into_iter().map(Value::Object).collect()))
    }

    /// With a text, unless it is empty.
    pub(crate) fn remark(self, key: &'static str, text: &str) -> Self {
        if text.is_empty() { self } else { self.with(key, text.to_owned()) }
    }

    /// With bytes in hexadecimal, unless there are none.
    pub(crate) fn bytes(self, key: &'static str, bytes: &[u8]) -> Self {
        self.remark(key, &bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
    }

    /// With all fields of another one behind its own.
    pub(crate) fn and(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }
}

impl Serialize for Object {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(key, value)| (key, value)))
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<Object> for Value {
    fn from(object: Object) -> Self {
        Self::Object(object)
    }
}

macro_rules! numbers {
    ($($number:ty),*) => {$(
        impl From<$number> for Value {
            fn from(number: $number) -> Self {
                Self::Number(number.into())
            }
        }
    )*};
}
numbers!(u8, u16, u32, u64);

impl From<usize> for Value {
    fn from(number: usize) -> Self {
        Self::Number(number as u64)
    }
}
