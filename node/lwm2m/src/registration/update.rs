//! Update: what a client changes of its registration.

use godwit_coap::Request;

use super::query::Query;
use super::{Binding, Policy, RegisteredLinks, Registration, check_format};
use crate::refusal::Refusal;

/// An Update. `None` leaves things as they are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Update {
    /// Seconds.
    pub lifetime: Option<u32>,
    /// Transports.
    pub binding: Option<Binding>,
    /// In 1.0 named by every binding; from 1.1 on it can only be switched on.
    pub queue_mode: Option<bool>,
    /// Number for SMS.
    pub sms: Option<Box<str>>,
    /// All objects and instances that there are now.
    pub links: Option<RegisteredLinks>,
    /// Parameters that LwM2M does not define; they join or replace those of the same name.
    pub parameters: Vec<(Box<str>, Option<Box<str>>)>,
}

impl Update {
    /// Reads an Update of `current`. Refused like a Register; `ep`, `lwm2m` and `pid`, which cannot
    /// change, are passed over.
    pub fn parse(request: &Request, current: &Registration, policy: &Policy) -> Result<Self, Refusal> {
        let query = Query::parse(&request.uri_query, policy)?;
        let binding = query.binding(current.version)?;
        let named_by_binding = binding.filter(|_| current.version == crate::model::LwM2mVersion::V1_0);
        let lifetime = query.lifetime(current.version, policy)?;
        let sms = query.sms()?;
        check_format(request)?;
        let links = (!request.payload.is_empty())
            .then(|| RegisteredLinks::parse(&request.payload, current.version, &current.root))
            .transpose()?;
        Ok(Self {
            lifetime,
            binding: binding.map(|(binding, _)| binding),
            queue_mode: if query.queue_mode {
                Some(true)
            } else {
                named_by_binding.map(|(_, queued)| queued)
            },
            sms,
            links,
            parameters: query.custom,
        })
    }

    /// Whether it only prolongs the registration.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Registration {
    /// Takes over an Update. Says whether anything is different now.
    pub fn apply(&mut self, update: Update) -> bool {
        let mut changed = false;
        changed |= replace(&mut self.lifetime, update.lifetime);
        changed |= replace(&mut self.binding, update.binding);
        changed |= replace(&mut self.queue_mode, update.queue_mode);
        changed |= replace(&mut self.sms, update.sms.map(Some));
        if let Some(links) = update.links {
            changed |= replace(&mut self.root, links.root);
            changed |= replace(&mut self.formats, links.formats);
            changed |= replace(&mut self.objects, Some(links.objects));
        }
        for (name, value) in update.parameters {
            match self.parameters.iter_mut().find(|(known, _)| *known == name) {
                Some((_, known)) => changed |= replace(known, Some(value)),
                None => {
                    self.parameters.push((name, value));
                    changed = true;
                }
            }
        }
        changed
    }
}

fn replace<T: PartialEq>(current: &mut T, new: Option<T>) -> bool {
    match new {
        Some(new) if *current != new => {
            *current = new;
            true
        }
        _ => false,
    }
}
