//! Why a definition file is refused, and where.

/// A definition file that cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, <{element}>: {fault}")]
pub struct DdfError {
    /// The element at fault, or the innermost open one; empty outside of any.
    pub element: String,
    /// Line on which that element (or the broken markup) begins, from 1.
    pub line: u32,
    /// Byte offset of the same place.
    pub offset: usize,
    /// What is wrong.
    pub fault: DdfFault,
}

/// What is wrong with a definition file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DdfFault {
    /// Not well-formed XML.
    #[error("not well-formed: {0}")]
    Xml(String),
    /// Bytes that are not UTF-8, or a declaration of another encoding.
    #[error("not UTF-8")]
    Encoding,
    /// A document type declaration.
    #[error("a document type declaration (DTD) is not accepted")]
    Dtd,
    /// An entity other than the five of XML and character references.
    #[error("the entity &{0}; is not accepted")]
    Entity(String),
    /// A bound is exceeded.
    #[error("more than {max} {of}")]
    Limit {
        /// Bytes, levels, elements.
        of: &'static str,
        /// How many are accepted.
        max: usize,
    },
    /// The root element is none of a definition file.
    #[error("this is no LwM2M object definition")]
    NotADefinition,
    /// An element that the schema demands is not there.
    #[error("<{0}> is missing in it")]
    MissingElement(&'static str),
    /// An attribute that the schema demands is not there.
    #[error("the attribute {0} is missing")]
    MissingAttribute(&'static str),
    /// A text that the schema does not allow.
    #[error("{of} cannot be {value:?}")]
    Value {
        /// The element or attribute.
        of: String,
        /// Its text, cut at 64 bytes.
        value: String,
    },
    /// A resource id that comes twice in one object.
    #[error("resource {0} is defined twice")]
    Duplicate(u16),
    /// An element of which there may be one comes twice.
    #[error("<{0}> comes twice")]
    Repeated(String),
}
