//! Notification attributes (Core 1.2.2 §7.3.2): what Write-Attributes sets and Discover shows.

use std::fmt::Write as _;
use std::str::FromStr;

use crate::link::Link;
use crate::model::ObjectVersion;
use crate::path::Path;

/// Notification attributes that are set. Times are whole seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Attributes {
    /// Shortest time between two notifications.
    pub pmin: Option<u32>,
    /// Longest time between two notifications.
    pub pmax: Option<u32>,
    /// Notify when the value rises above or falls below this.
    pub gt: Option<f64>,
    /// Notify when the value falls below or rises above this.
    pub lt: Option<f64>,
    /// Notify when the value has moved by this much.
    pub st: Option<f64>,
    /// Shortest time between two samples of the value (1.1).
    pub epmin: Option<u32>,
    /// Longest time between two samples of the value (1.1).
    pub epmax: Option<u32>,
    /// Notify at a rising (`true`) or falling edge of a boolean (1.2).
    pub edge: Option<bool>,
    /// Notify by confirmable messages (1.2).
    pub con: Option<bool>,
    /// How many values are kept while they cannot be sent (1.2).
    pub hqmax: Option<u32>,
}

/// The name of a notification attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AttributeName {
    /// See [`Attributes::pmin`].
    Pmin,
    /// See [`Attributes::pmax`].
    Pmax,
    /// See [`Attributes::gt`].
    Gt,
    /// See [`Attributes::lt`].
    Lt,
    /// See [`Attributes::st`].
    St,
    /// See [`Attributes::epmin`].
    Epmin,
    /// See [`Attributes::epmax`].
    Epmax,
    /// See [`Attributes::edge`].
    Edge,
    /// See [`Attributes::con`].
    Con,
    /// See [`Attributes::hqmax`].
    Hqmax,
}

impl AttributeName {
    /// All, in the order in which queries name them.
    pub const ALL: [Self; 10] = [
        Self::Pmin,
        Self::Pmax,
        Self::Gt,
        Self::Lt,
        Self::St,
        Self::Epmin,
        Self::Epmax,
        Self::Edge,
        Self::Con,
        Self::Hqmax,
    ];

    /// As queries and links write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pmin => "pmin",
            Self::Pmax => "pmax",
            Self::Gt => "gt",
            Self::Lt => "lt",
            Self::St => "st",
            Self::Epmin => "epmin",
            Self::Epmax => "epmax",
            Self::Edge => "edge",
            Self::Con => "con",
            Self::Hqmax => "hqmax",
        }
    }

    fn find(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|a| a.as_str() == name)
    }

    /// Whether it speaks of a value and so belongs to resources and resource instances only.
    pub const fn needs_value(self) -> bool {
        matches!(self, Self::Gt | Self::Lt | Self::St | Self::Edge)
    }
}

/// Why attributes are refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AttributeError {
    /// No notification attribute of this name.
    #[error("{0:?} is no notification attribute")]
    Unknown(String),
    /// The text is not of the attribute's form: unsigned integer, decimal number, 0 or 1.
    #[error("{name} cannot be {value:?}")]
    Value {
        /// The attribute.
        name: &'static str,
        /// What it was given.
        value: String,
    },
    /// The attribute comes twice.
    #[error("{0} comes twice")]
    Repeated(&'static str),
    /// The two contradict each other.
    #[error("{0}")]
    Contradiction(Contradiction),
    /// The attribute cannot be set at this level of path.
    #[error("{name} cannot be set at {path}")]
    Level {
        /// The attribute.
        name: &'static str,
        /// The path.
        path: Path,
    },
}

/// Attributes that do not go together (Core 1.2.2 §7.3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Contradiction {
    /// `pmin` is longer than `pmax`.
    #[error("pmin must not be greater than pmax")]
    Period,
    /// `epmin` is not shorter than `epmax`.
    #[error("epmin must be less than epmax")]
    EvaluationPeriod,
    /// `lt` is not below `gt`.
    #[error("lt must be less than gt")]
    Thresholds,
    /// `lt + 2·st` is not below `gt`.
    #[error("lt + 2·st must be less than gt")]
    Step,
}

impl Attributes {
    /// Whether nothing is set.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Names and values of what is set, written as a query or a link has them.
    pub fn iter(&self) -> impl Iterator<Item = (AttributeName, String)> {
        AttributeName::ALL.into_iter().filter_map(|name| Some((name, self.text(name)?)))
    }

    /// Whether the attributes go together, and may be set at `path`.
    pub fn validate(&self, path: &Path) -> Result<(), AttributeError> {
        for (name, value) in self.iter() {
            if path.level() == 0 || (name.needs_value() && !path.is_value()) {
                return Err(AttributeError::Level { name: name.as_str(), path: *path });
            }
            let number =
                [(AttributeName::Gt, self.gt), (AttributeName::Lt, self.lt), (AttributeName::St, self.st)];
            let fits = |n: f64| n.is_finite() && (name != AttributeName::St || n >= 0.0);
            if number.into_iter().any(|(of, n)| of == name && !n.is_none_or(fits)) {
                return Err(AttributeError::Value { name: name.as_str(), value });
            }
        }
        self.contradiction().map_or(Ok(()), |c| Err(AttributeError::Contradiction(c)))
    }

    fn contradiction(&self) -> Option<Contradiction> {
        if self.pmin.zip(self.pmax).is_some_and(|(pmin, pmax)| pmin > pmax) {
            return Some(Contradiction::Period);
        }
        if self.epmin.zip(self.epmax).is_some_and(|(epmin, epmax)| epmin >= epmax) {
            return Some(Contradiction::EvaluationPeriod);
        }
        let (lt, gt) = self.lt.zip(self.gt)?;
        if lt >= gt {
            return Some(Contradiction::Thresholds);
        }
        (lt + 2.0 * self.st? >= gt).then_some(Contradiction::Step)
    }

    fn text(&self, name: AttributeName) -> Option<String> {
        let bit = |b: bool| if b { "1" } else { "0" }.to_owned();
        match name {
            AttributeName::Pmin => self.pmin.map(|n| n.to_string()),
            AttributeName::Pmax => self.pmax.map(|n| n.to_string()),
            AttributeName::Gt => self.gt.map(decimal),
            AttributeName::Lt => self.lt.map(decimal),
            AttributeName::St => self.st.map(decimal),
            AttributeName::Epmin => self.epmin.map(|n| n.to_string()),
            AttributeName::Epmax => self.epmax.map(|n| n.to_string()),
            AttributeName::Edge => self.edge.map(bit),
            AttributeName::Con => self.con.map(bit),
            AttributeName::Hqmax => self.hqmax.map(|n| n.to_string()),
        }
    }

    fn set(&mut self, name: AttributeName, value: &str) -> Result<(), AttributeError> {
        fn put<T>(to: &mut Option<T>, value: Option<T>) -> Option<bool> {
            value.map(|v| to.replace(v).is_none())
        }
        let first = match name {
            AttributeName::Pmin => put(&mut self.pmin, unsigned(value)),
            AttributeName::Pmax => put(&mut self.pmax, unsigned(value)),
            AttributeName::Gt => put(&mut self.gt, number(value)),
            AttributeName::Lt => put(&mut self.lt, number(value)),
            AttributeName::St => put(&mut self.st, number(value).filter(|n| *n >= 0.0)),
            AttributeName::Epmin => put(&mut self.epmin, unsigned(value)),
            AttributeName::Epmax => put(&mut self.epmax, unsigned(value)),
            AttributeName::Edge => put(&mut self.edge, bit(value)),
            AttributeName::Con => put(&mut self.con, bit(value)),
            AttributeName::Hqmax => put(&mut self.hqmax, unsigned(value)),
        };
        match first {
            Some(true) => Ok(()),
            Some(false) => Err(AttributeError::Repeated(name.as_str())),
            None => Err(AttributeError::Value { name: name.as_str(), value: cut(value) }),
        }
    }
}

/// A Write-Attributes: what is set, and what is taken back to its default.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AttributeChange {
    /// Gets these values.
    pub set: Attributes,
    /// Loses its value: the attribute of the level above, or none, counts again.
    pub unset: Vec<AttributeName>,
}

impl AttributeChange {
    /// Reads query parameters: `pmin=10` sets, `pmin` takes back.
    pub fn parse<'a>(queries: impl IntoIterator<Item = &'a str>) -> Result<Self, AttributeError> {
        let mut change = Self::default();
        for query in queries {
            let (name, value) = match query.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (query, None),
            };
            let name = AttributeName::find(name).ok_or_else(|| AttributeError::Unknown(cut(name)))?;
            let known = change.unset.contains(&name) || change.set.text(name).is_some();
            match value {
                _ if known => return Err(AttributeError::Repeated(name.as_str())),
                Some(value) => change.set.set(name, value)?,
                None => change.unset.push(name),
            }
        }
        Ok(change)
    }

    /// Query parameters, one each.
    pub fn queries(&self) -> Vec<String> {
        let set = self.set.iter().map(|(name, value)| format!("{}={value}", name.as_str()));
        set.chain(self.unset.iter().map(|name| name.as_str().to_owned())).collect()
    }

    /// Whether the change makes sense at `path`.
    pub fn validate(&self, path: &Path) -> Result<(), AttributeError> {
        self.set.validate(path)?;
        for name in &self.unset {
            if path.level() == 0 || (name.needs_value() && !path.is_value()) {
                return Err(AttributeError::Level { name: name.as_str(), path: *path });
            }
            if self.set.text(*name).is_some() {
                return Err(AttributeError::Repeated(name.as_str()));
            }
        }
        Ok(())
    }
}

impl From<Attributes> for AttributeChange {
    fn from(set: Attributes) -> Self {
        Self { set, unset: Vec::new() }
    }
}

/// What a link of a Discover or Bootstrap-Discover answer says about its path.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LinkAttributes {
    /// The notification attributes that are set there.
    pub notification: Attributes,
    /// How many instances a multiple resource has, 0 to 255.
    pub dim: Option<u8>,
    /// Short id of the server to which an instance belongs, 1 to 65534.
    pub ssid: Option<u16>,
    /// Address of that server.
    pub uri: Option<String>,
    /// Version of the object.
    pub ver: Option<ObjectVersion>,
}

impl LinkAttributes {
    /// Takes what it knows from a link; other attributes are passed over.
    pub fn from_link(link: &Link<'_>) -> Result<Self, AttributeError> {
        let mut known = Self::default();
        for attribute in &link.attributes {
            let value = attribute.value.as_deref().unwrap_or("");
            match &*attribute.name {
                "dim" => put_once("dim", value, &mut known.dim, small(value))?,
                "ssid" => {
                    let id = small(value).filter(|id| (1..=65534).contains(id));
                    put_once("ssid", value, &mut known.ssid, id)?;
                }
                "uri" => put_once("uri", value, &mut known.uri, Some(value.to_owned()))?,
                "ver" => put_once("ver", value, &mut known.ver, value.parse().ok())?,
                other => {
                    if let Some(name) = AttributeName::find(other) {
                        known.notification.set(name, value)?;
                    }
                }
            }
        }
        Ok(known)
    }
}

fn put_once<T>(
    name: &'static str,
    text: &str,
    to: &mut Option<T>,
    value: Option<T>,
) -> Result<(), AttributeError> {
    let value = value.ok_or_else(|| AttributeError::Value { name, value: cut(text) })?;
    match to.replace(value) {
        None => Ok(()),
        Some(_) => Err(AttributeError::Repeated(name)),
    }
}

fn small<T: FromStr>(text: &str) -> Option<T> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok())?
}

fn unsigned(text: &str) -> Option<u32> {
    small(text)
}

/// `f64::from_str` would take "inf" and "nan".
fn number(text: &str) -> Option<f64> {
    let digits = text.bytes().all(|b| b.is_ascii_digit() || b".+-eE".contains(&b));
    digits.then(|| text.parse().ok())?.filter(|n: &f64| n.is_finite())
}

fn bit(text: &str) -> Option<bool> {
    match text {
        "0" => Some(false),
        "1" => Some(true),
        _ => None,
    }
}

/// Decimal notation while it is short: a query parameter holds 255 bytes.
fn decimal(number: f64) -> String {
    let mut text = String::new();
    let size = number.abs();
    let _ = if size == 0.0 || (1e-7..1e16).contains(&size) {
        write!(text, "{number}")
    } else {
        write!(text, "{number:e}")
    };
    text
}

fn cut(text: &str) -> String {
    text[..text.floor_char_boundary(64)].to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(query: &str) -> Result<AttributeChange, AttributeError> {
        AttributeChange::parse(query.split('&'))
    }

    fn checked(query: &str, path: Path) -> Result<(), AttributeError> {
        parse(query).unwrap().validate(&path)
    }

    #[test]
    fn queries_read_back_as_written() {
        for query in
            ["pmin=10&pmax=60&gt=50.5&lt=-42.2&st=1&epmin=1&epmax=2&edge=1&con=0&hqmax=5", "lt=0&pmin"]
        {
            assert_eq!(parse(query).unwrap().queries().join("&"), query);
        }
        assert_eq!(parse("gt=4.2e+21").unwrap().queries(), ["gt=4.2e21"]);
    }

    #[test]
    fn what_is_no_attribute_is_named() {
        assert_eq!(parse("dim=3"), Err(AttributeError::Unknown("dim".into())));
        assert_eq!(parse("pmin=1&pmin"), Err(AttributeError::Repeated("pmin")));
        for bad in [
            "pmin=-1",
            "pmin=+1",
            "pmin=",
            "pmax=4294967296",
            "gt=nan",
            "gt=inf",
            "gt=1e999",
            "st=-1",
            "edge=2",
        ] {
            assert!(matches!(parse(bad), Err(AttributeError::Value { .. })), "{bad}");
        }
    }

    #[test]
    fn attributes_that_contradict_each_other_are_refused() {
        let value = Path::resource(3303, 0, 5700);
        let contradiction = |query| match checked(query, value) {
            Err(AttributeError::Contradiction(c)) => Some(c),
            Ok(()) => None,
            Err(other) => panic!("{other}"),
        };
        assert_eq!(contradiction("pmin=60&pmax=10"), Some(Contradiction::Period));
        assert_eq!(contradiction("pmin=60&pmax=60"), None);
        assert_eq!(contradiction("epmin=5&epmax=5"), Some(Contradiction::EvaluationPeriod));
        assert_eq!(contradiction("lt=5&gt=5"), Some(Contradiction::Thresholds));
        assert_eq!(contradiction("lt=0&gt=10&st=5"), Some(Contradiction::Step));
        assert_eq!(contradiction("lt=0&gt=10&st=4.9"), None);
        assert_eq!(contradiction("gt=10&st=100"), None);
    }

    #[test]
    fn thresholds_belong_to_values() {
        let level = |name, path| Err(AttributeError::Level { name, path });
        let instance = Path::instance(3303, 0);
        assert_eq!(checked("pmin=1&con=1&hqmax=3&epmin=1", Path::object(3303)), Ok(()));
        assert_eq!(checked("gt=1", instance), level("gt", instance));
        assert_eq!(checked("edge", instance), level("edge", instance));
        assert_eq!(checked("edge=1", Path::resource_instance(1, 2, 3, 4)), Ok(()));
        assert_eq!(checked("pmin=1", Path::ROOT), level("pmin", Path::ROOT));
    }

    #[test]
    fn numbers_that_cannot_be_written_are_refused() {
        let change = AttributeChange::from(Attributes { gt: Some(f64::NAN), ..Attributes::default() });
        assert!(matches!(
            change.validate(&Path::resource(1, 2, 3)),
            Err(AttributeError::Value { name: "gt", .. })
        ));
    }

    proptest! {
        #[test]
        fn any_query_is_read_or_refused(query in "[a-z]{0,6}=?[ -~]{0,20}") {
            let _ = parse(&query);
        }

        #[test]
        fn any_threshold_reads_back_within_a_query(gt in proptest::num::f64::NORMAL) {
            let queries = AttributeChange::from(Attributes { gt: Some(gt), ..Attributes::default() }).queries();
            prop_assert!(queries[0].len() <= 255);
            prop_assert_eq!(parse(&queries[0]).unwrap().set.gt, Some(gt));
        }
    }
}
