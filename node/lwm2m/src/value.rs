//! Typed values (Core 1.2 appendix C).

use std::{fmt, str::FromStr};

use thiserror::Error;

/// A value of one resource or resource instance.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// UTF-8 text.
    String(String),
    /// A signed integer.
    Integer(i64),
    /// An unsigned integer (LwM2M 1.1 on).
    Unsigned(u64),
    /// A float, kept as a double. NaN and infinities exist in the binary formats only.
    Float(f64),
    /// A boolean.
    Boolean(bool),
    /// Bytes without a meaning to us.
    Opaque(Vec<u8>),
    /// Seconds since 1970-01-01T00:00Z.
    Time(i64),
    /// A link to an object or an object instance; 65535:65535 is the null link.
    ObjectLink {
        /// The object.
        object: u16,
        /// Its instance; 65535 for the object as a whole.
        instance: u16,
    },
    /// Links in CoRE link format (RFC 6690), unparsed.
    CoreLink(String),
}

/// The type of a [`Value`], as an object model declares it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ValueType {
    /// See [`Value::String`].
    String,
    /// See [`Value::Integer`].
    Integer,
    /// See [`Value::Unsigned`].
    Unsigned,
    /// See [`Value::Float`].
    Float,
    /// See [`Value::Boolean`].
    Boolean,
    /// See [`Value::Opaque`].
    Opaque,
    /// See [`Value::Time`].
    Time,
    /// See [`Value::ObjectLink`].
    ObjectLink,
    /// See [`Value::CoreLink`].
    CoreLink,
}

/// A text that names no type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a type is string, integer, unsigned, float, boolean, opaque, time, objlnk or corelnk")]
pub struct NotAType;

impl FromStr for ValueType {
    type Err = NotAType;

    /// By its short name, as command lines and the table of built-in models have it.
    fn from_str(name: &str) -> Result<Self, NotAType> {
        Ok(match name {
            "string" => Self::String,
            "integer" => Self::Integer,
            "unsigned" => Self::Unsigned,
            "float" => Self::Float,
            "boolean" => Self::Boolean,
            "opaque" => Self::Opaque,
            "time" => Self::Time,
            "objlnk" => Self::ObjectLink,
            "corelnk" => Self::CoreLink,
            _ => return Err(NotAType),
        })
    }
}

impl Value {
    /// The type of this value.
    pub const fn value_type(&self) -> ValueType {
        match self {
            Value::String(_) => ValueType::String,
            Value::Integer(_) => ValueType::Integer,
            Value::Unsigned(_) => ValueType::Unsigned,
            Value::Float(_) => ValueType::Float,
            Value::Boolean(_) => ValueType::Boolean,
            Value::Opaque(_) => ValueType::Opaque,
            Value::Time(_) => ValueType::Time,
            Value::ObjectLink { .. } => ValueType::ObjectLink,
            Value::CoreLink(_) => ValueType::CoreLink,
        }
    }
}

impl ValueType {
    /// The name as the DDF files write it: "Unsigned Integer", "Objlnk".
    pub const fn name(self) -> &'static str {
        match self {
            ValueType::String => "String",
            ValueType::Integer => "Integer",
            ValueType::Unsigned => "Unsigned Integer",
            ValueType::Float => "Float",
            ValueType::Boolean => "Boolean",
            ValueType::Opaque => "Opaque",
            ValueType::Time => "Time",
            ValueType::ObjectLink => "Objlnk",
            ValueType::CoreLink => "Corelnk",
        }
    }
}

impl fmt::Display for ValueType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
