//! The query parameters of Register and Update.

use super::{Binding, Policy};
use crate::model::LwM2mVersion;
use crate::refusal::Refusal;

/// Parameters as they came, each known one at most once.
#[derive(Debug, Default)]
pub(super) struct Query<'a> {
    pub(super) endpoint: Option<&'a str>,
    pub(super) lifetime: Option<&'a str>,
    pub(super) version: Option<&'a str>,
    pub(super) binding: Option<&'a str>,
    pub(super) queue_mode: bool,
    pub(super) sms: Option<&'a str>,
    pub(super) profile_id: Option<&'a str>,
    pub(super) custom: Vec<(Box<str>, Option<Box<str>>)>,
}

impl<'a> Query<'a> {
    /// Takes parameters apart: `name=value`, or a name alone.
    pub(super) fn parse(parameters: &'a [String], policy: &Policy) -> Result<Self, Refusal> {
        let mut query = Self::default();
        for parameter in parameters {
            let (name, value) = match parameter.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (parameter.as_str(), None),
            };
            let slot = match name {
                "ep" => &mut query.endpoint,
                "lt" => &mut query.lifetime,
                "lwm2m" => &mut query.version,
                "b" => &mut query.binding,
                "sms" => &mut query.sms,
                "pid" => &mut query.profile_id,
                "Q" => {
                    query.queue_mode(value)?;
                    continue;
                }
                _ => {
                    query.custom(name, value, policy)?;
                    continue;
                }
            };
            if slot.replace(value.unwrap_or("")).is_some() {
                return Err(twice(name));
            }
        }
        Ok(query)
    }

    fn queue_mode(&mut self, value: Option<&str>) -> Result<(), Refusal> {
        if value.is_some_and(|v| !v.is_empty()) {
            return Err(Refusal::bad_request("Q takes no value"));
        }
        if std::mem::replace(&mut self.queue_mode, true) {
            return Err(twice("Q"));
        }
        Ok(())
    }

    fn custom(&mut self, name: &str, value: Option<&str>, policy: &Policy) -> Result<(), Refusal> {
        if self.custom.iter().any(|(known, _)| **known == *name) {
            return Err(twice(name));
        }
        if self.custom.len() == policy.parameters {
            let most = policy.parameters;
            return Err(Refusal::bad_request(format!("more than {most} parameters of its own")));
        }
        self.custom.push((name.into(), value.map(Into::into)));
        Ok(())
    }

    /// The endpoint name; `None` when there is no `ep`.
    pub(super) fn endpoint(&self, policy: &Policy) -> Result<Option<String>, Refusal> {
        let Some(name) = self.endpoint else { return Ok(None) };
        if name.is_empty() {
            return Err(Refusal::bad_request("ep is empty"));
        }
        if name.len() > policy.endpoint_bytes {
            return Err(Refusal::bad_request(format!("ep is longer than {} bytes", policy.endpoint_bytes)));
        }
        if name.chars().any(is_unprintable) {
            return Err(Refusal::bad_request("ep has control characters"));
        }
        Ok(Some(name.to_owned()))
    }

    /// Seconds, capped; `None` when there is no `lt`.
    pub(super) fn lifetime(&self, version: LwM2mVersion, policy: &Policy) -> Result<Option<u32>, Refusal> {
        let Some(text) = self.lifetime else { return Ok(None) };
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        match digits.then(|| text.parse::<u32>()) {
            Some(Ok(0)) if version == LwM2mVersion::V1_0 => {
                Err(Refusal::bad_request("lt cannot be 0 in LwM2M 1.0"))
            }
            Some(Ok(0)) => Ok(Some(policy.lifetime_cap)),
            Some(Ok(seconds)) => Ok(Some(seconds.min(policy.lifetime_cap))),
            Some(Err(_)) => Err(Refusal::bad_request("lt is over 4294967295")),
            None => Err(Refusal::bad_request("lt is no whole number of seconds")),
        }
    }

    /// Transports, and for 1.0 whether `Q` is among the letters; `None` when there is no `b`.
    pub(super) fn binding(&self, version: LwM2mVersion) -> Result<Option<(Binding, bool)>, Refusal> {
        let Some(text) = self.binding else { return Ok(None) };
        let read = Binding::parse(text, version);
        let refusal = || Refusal::bad_request(format!("b cannot be {:?} in LwM2M {version}", cut(text)));
        read.map(Some).ok_or_else(refusal)
    }

    /// The number for SMS, at most 32 printable bytes.
    pub(super) fn sms(&self) -> Result<Option<Box<str>>, Refusal> {
        match self.sms {
            Some(number) if number.is_empty() || number.len() > 32 || number.chars().any(is_unprintable) => {
                Err(Refusal::bad_request("sms is no phone number"))
            }
            number => Ok(number.map(Into::into)),
        }
    }
}

fn twice(name: &str) -> Refusal {
    Refusal::bad_request(format!("{} comes twice", cut(name)))
}

/// Characters that would break a line of a log or change its direction.
fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

pub(super) fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(64)]
}
