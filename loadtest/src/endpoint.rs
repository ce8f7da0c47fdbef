//! Endpoint names from a template.

use std::fmt::Write as _;

/// A name with one place for the device's number: `load-{}` or, zero-padded, `load-{:08}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Template {
    prefix: String,
    suffix: String,
    width: usize,
}

/// Why a template is not one; the text says what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TemplateError {
    #[error("has no place for the device's number: write {{}} or {{:08}}, as in 'load-{{:08}}'")]
    NoPlace,
    #[error("has more than one place for the device's number: keep one {{}}")]
    TwoPlaces,
    #[error("has '{{{0}}}' where only {{}} or a width such as {{:08}} (1 to 20) can stand")]
    Width(String),
}

impl std::str::FromStr for Template {
    type Err = TemplateError;

    fn from_str(text: &str) -> Result<Self, TemplateError> {
        let (prefix, rest) = text.split_once('{').ok_or(TemplateError::NoPlace)?;
        let (format, suffix) = rest.split_once('}').ok_or(TemplateError::NoPlace)?;
        if suffix.contains(['{', '}']) {
            return Err(TemplateError::TwoPlaces);
        }
        let width = match format.strip_prefix(":0") {
            _ if format.is_empty() => 0,
            Some(width) => width.parse().ok().filter(|width| (1..=20).contains(width)).unwrap_or(usize::MAX),
            None => usize::MAX,
        };
        if width == usize::MAX {
            return Err(TemplateError::Width(format.into()));
        }
        Ok(Self { prefix: prefix.into(), suffix: suffix.into(), width })
    }
}

impl Template {
    /// Appends the name of device `number`.
    pub(crate) fn write(&self, number: u64, out: &mut String) {
        let _infallible = write!(out, "{}{number:0width$}{}", self.prefix, self.suffix, width = self.width);
    }

    pub(crate) fn name(&self, number: u64) -> String {
        let mut name = String::new();
        self.write(number, &mut name);
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_padded_to_the_width_that_the_template_gives() {
        assert_eq!("load-{:08}".parse::<Template>().unwrap().name(42), "load-00000042");
        assert_eq!("urn:dev:{}x".parse::<Template>().unwrap().name(42), "urn:dev:42x");
    }

    #[test]
    fn a_template_without_one_clear_place_is_refused() {
        assert_eq!("load".parse::<Template>(), Err(TemplateError::NoPlace));
        assert_eq!("a{}b{}".parse::<Template>(), Err(TemplateError::TwoPlaces));
        assert_eq!("a{:x}".parse::<Template>(), Err(TemplateError::Width(":x".into())));
        assert_eq!("a{:0}".parse::<Template>(), Err(TemplateError::Width(":0".into())));
    }
}
