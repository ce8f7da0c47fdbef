//! JSON as it was written: with the order of its members, and each value's place, so that an error can name it.

use std::fmt;

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{MapAccess, SeqAccess, Visitor},
    ser::SerializeMap,
};
use serde_json::Number;

use super::{Fault, ImportError, ImportFault};

/// A JSON value. Unlike `serde_json::Value` it loses no member that comes twice.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Tree {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    Array(Vec<Tree>),
    Object(Vec<(String, Tree)>),
}

/// A value and its place.
#[derive(Debug, Clone)]
pub(super) struct Node<'a> {
    pub(super) tree: &'a Tree,
    pub(super) at: String,
}

/// The members of an object that nobody has asked for yet.
#[derive(Debug)]
pub(super) struct Members<'a> {
    at: String,
    left: Vec<(&'a str, &'a Tree)>,
}

impl Tree {
    /// Reads a whole text. Nesting is bounded by serde_json, at 128 levels.
    pub(super) fn parse(text: &str) -> Result<Tree, ImportError> {
        serde_json::from_str(text)
            .map_err(|error| ImportError { at: "$".into(), fault: ImportFault::Syntax(error.to_string()) })
    }
}

impl<'a> Node<'a> {
    /// The whole text.
    pub(super) fn root(tree: &'a Tree) -> Node<'a> {
        Node { tree, at: "$".into() }
    }

    /// An error at this place.
    pub(super) fn error(&self, fault: ImportFault) -> ImportError {
        ImportError { at: self.at.clone(), fault }
    }

    /// The fault of a profile's field, at this place.
    pub(super) fn fault(&self, fault: Fault) -> ImportError {
        self.error(ImportFault::Field(fault))
    }

    fn mistyped(&self, expected: &'static str) -> ImportError {
        self.error(ImportFault::Type { expected })
    }

    /// The members of an object; one that comes twice is an error.
    pub(super) fn members(&self) -> Result<Members<'a>, ImportError> {
        let Tree::Object(members) = self.tree else { return Err(self.mistyped("an object")) };
        let mut names: Vec<&str> = members.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(ImportError { at: member(&self.at, twice[0]), fault: ImportFault::Repeated });
        }
        Ok(Members {
            at: self.at.clone(),
            left: members.iter().map(|(name, tree)| (name.as_str(), tree)).collect(),
        })
    }

    /// The items of an array.
    pub(super) fn items(&self) -> Result<Vec<Node<'a>>, ImportError> {
        let Tree::Array(items) = self.tree else { return Err(self.mistyped("an array")) };
        let node = |(index, tree)| Node { tree, at: format!("{}[{index}]", self.at) };
        Ok(items.iter().enumerate().map(node).collect())
    }

    /// A string.
    pub(super) fn text(&self) -> Result<&'a str, ImportError> {
        match self.tree {
            Tree::Text(text) => Ok(text),
            _ => Err(self.mistyped("a string")),
        }
    }

    /// A boolean.
    pub(super) fn truth(&self) -> Result<bool, ImportError> {
        match self.tree {
            Tree::Bool(truth) => Ok(*truth),
            _ => Err(self.mistyped("true or false")),
        }
    }

    /// An integer of 0 to 2³² - 1; 60.0 is one.
    pub(super) fn unsigned(&self) -> Result<u32, ImportError> {
        let mistyped = || self.mistyped("an integer of 0 to 4294967295");
        u32::try_from(self.whole()?.ok_or_else(mistyped)?).map_err(|_| mistyped())
    }

    /// An integer from 0 on, of 64 bits.
    pub(super) fn long(&self) -> Result<u64, ImportError> {
        self.whole()?.ok_or_else(|| self.mistyped("an integer of 0 to 18446744073709551615"))
    }

    fn whole(&self) -> Result<Option<u64>, ImportError> {
        let Tree::Number(number) = self.tree else { return Err(self.mistyped("a number")) };
        Ok(number.as_u64().or_else(|| {
            number.as_f64().filter(|float| float.fract() == 0.0 && *float >= 0.0).map(|float| float as u64)
        }))
    }

    /// A number.
    pub(super) fn float(&self) -> Result<f64, ImportError> {
        match self.tree {
            Tree::Number(number) => number.as_f64().ok_or_else(|| self.mistyped("a number")),
            _ => Err(self.mistyped("a number")),
        }
    }
}

impl<'a> Members<'a> {
    /// Takes a member. One that is null counts as missing.
    pub(super) fn take(&mut self, name: &str) -> Option<Node<'a>> {
        let index = self.left.iter().position(|(known, _)| *known == name)?;
        let (name, tree) = self.left.remove(index);
        (*tree != Tree::Null).then(|| Node { tree, at: member(&self.at, name) })
    }

    /// Takes a member that must be there.
    pub(super) fn need(&mut self, name: &str) -> Result<Node<'a>, ImportError> {
        self.take(name).ok_or_else(|| ImportError {
            at: member(&self.at, name),
            fault: ImportFault::Field(Fault::Missing),
        })
    }

    /// All members that are left, nulls too.
    pub(super) fn rest(self) -> impl Iterator<Item = (&'a str, Node<'a>)> {
        let Members { at, left } = self;
        left.into_iter().map(move |(name, tree)| (name, Node { tree, at: member(&at, name) }))
    }
}

/// "$.observeAttr.keyName", "$.keyName[\"/3/0/9\"]"
fn member(at: &str, name: &str) -> String {
    let plain = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if plain { format!("{at}.{name}") } else { format!("{at}[{name:?}]") }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Tree, D::Error> {
        struct Builder;
        impl<'de> Visitor<'de> for Builder {
            type Value = Tree;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }

            fn visit_unit<E>(self) -> Result<Tree, E> {
                Ok(Tree::Null)
            }

            fn visit_bool<E>(self, truth: bool) -> Result<Tree, E> {
                Ok(Tree::Bool(truth))
            }

            fn visit_u64<E>(self, number: u64) -> Result<Tree, E> {
                Ok(Tree::Number(number.into()))
            }

            fn visit_i64<E>(self, number: i64) -> Result<Tree, E> {
                Ok(Tree::Number(number.into()))
            }

            fn visit_f64<E>(self, number: f64) -> Result<Tree, E> {
                Ok(Number::from_f64(number).map_or(Tree::Null, Tree::Number))
            }

            fn visit_str<E>(self, text: &str) -> Result<Tree, E> {
                Ok(Tree::Text(text.to_owned()))
            }

            fn visit_string<E>(self, text: String) -> Result<Tree, E> {
                Ok(Tree::Text(text))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Tree, A::Error> {
                let mut array = Vec::new();
                while let Some(item) = items.next_element()? {
                    array.push(item);
                }
                Ok(Tree::Array(array))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Tree, A::Error> {
                let mut object = Vec::new();
                while let Some(member) = members.next_entry()? {
                    object.push(member);
                }
                Ok(Tree::Object(object))
            }
        }
        from.deserialize_any(Builder)
    }
}

impl Serialize for Tree {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Tree::Null => to.serialize_unit(),
            Tree::Bool(truth) => to.serialize_bool(*truth),
            Tree::Number(number) => number.serialize(to),
            Tree::Text(text) => to.serialize_str(text),
            Tree::Array(items) => to.collect_seq(items),
            Tree::Object(members) => {
                let mut map = to.serialize_map(Some(members.len()))?;
                for (name, tree) in members {
                    map.serialize_entry(name, tree)?;
                }
                map.end()
            }
        }
    }
}

impl fmt::Display for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self).map_err(|_| fmt::Error)?)
    }
}
