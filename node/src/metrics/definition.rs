//! What a metric is: name, kind, labels, help; and families of handles over a label.

use std::marker::PhantomData;

use metrics::{Counter, Gauge, Histogram};

/// Kind of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Distribution over fixed buckets, in seconds.
    Histogram,
}

/// One metric as it is exported.
#[derive(Clone, Copy, Debug)]
pub struct Definition {
    /// The exported name: `godwit_` first, base units, `_total` for counters.
    pub name: &'static str,
    /// Its kind.
    pub kind: Kind,
    /// Names of its labels; none ever carries a device.
    pub labels: &'static [&'static str],
    /// What it counts, one sentence.
    pub help: &'static str,
}

impl Definition {
    /// The handle for one set of label values, which stand in the order of `labels`. Look it up once and keep it.
    pub fn counter(&self, values: &[&str]) -> Counter {
        metrics::counter!(self.name, self.pairs(Kind::Counter, values))
    }

    /// As [`Definition::counter`].
    pub fn gauge(&self, values: &[&str]) -> Gauge {
        metrics::gauge!(self.name, self.pairs(Kind::Gauge, values))
    }

    /// As [`Definition::counter`]. Record seconds.
    pub fn histogram(&self, values: &[&str]) -> Histogram {
        metrics::histogram!(self.name, self.pairs(Kind::Histogram, values))
    }

    fn pairs(&self, kind: Kind, values: &[&str]) -> Vec<metrics::Label> {
        assert!(
            self.kind == kind && self.labels.len() == values.len(),
            "invariant: {} is a {:?} with labels {:?}",
            self.name,
            self.kind,
            self.labels,
        );
        self.labels
            .iter()
            .zip(values)
            .map(|(name, value)| metrics::Label::new(*name, (*value).to_owned()))
            .collect()
    }

    /// Tells the exporter what the metric means.
    pub(super) fn describe(&self) {
        match self.kind {
            Kind::Counter => metrics::describe_counter!(self.name, self.help),
            Kind::Gauge => metrics::describe_gauge!(self.name, self.help),
            Kind::Histogram => metrics::describe_histogram!(self.name, self.help),
        }
    }
}

/// A label whose values are known beforehand.
pub trait Label: Copy + 'static {
    /// Every value, in the order of `index`.
    const ALL: &'static [Self];
    /// Position in `ALL`.
    fn index(self) -> usize;
    /// The exported text.
    fn text(self) -> &'static str;
}

/// One handle `H` per value of the label `L`, which is the metric's last label. Indexing costs an array access.
#[derive(Debug)]
pub struct Family<L, H> {
    handles: Box<[H]>,
    label: PhantomData<L>,
}

impl<L: Label, H> Family<L, H> {
    /// Makes the handles: `handle` gets the text of each value.
    pub fn new(handle: impl FnMut(&'static str) -> H) -> Self {
        Self { handles: L::ALL.iter().map(|value| value.text()).map(handle).collect(), label: PhantomData }
    }
}

impl<L: Label, H> std::ops::Index<L> for Family<L, H> {
    type Output = H;

    fn index(&self, label: L) -> &H {
        &self.handles[label.index()]
    }
}

/// Declares metrics as constants, and `ALL` over them.
macro_rules! definitions {
    ($($(#[doc = $help:literal])+ $id:ident = $kind:ident $name:literal [$($label:literal),*];)+) => {
        $(
            $(#[doc = $help])+
            pub const $id: Definition = Definition {
                name: $name,
                kind: Kind::$kind,
                labels: &[$($label),*],
                help: concat!($($help),+).trim_ascii(),
            };
        )+

        /// Every metric.
        pub const ALL: &[Definition] = &[$($id),+];
    };
}

/// Declares the values of a label.
macro_rules! label {
    ($(#[$meta:meta])* $name:ident { $($(#[doc = $doc:literal])+ $variant:ident = $text:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Label for $name {
            const ALL: &'static [Self] = &[$(Self::$variant),+];

            fn index(self) -> usize {
                self as usize
            }

            fn text(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }
        }
    };
}

pub(super) use {definitions, label};
