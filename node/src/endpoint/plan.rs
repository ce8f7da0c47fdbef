//! What a profile asks of a device: at the start, and after the profile, the models or the device's objects have changed.

use std::sync::Arc;

use godwit_lwm2m::format::ContentFormat;

use super::{core::Core, downlink::Task, message::Then, observation::Observation};
use crate::{
    clock::Reading,
    profile::{Profile, Target},
    store::Change,
    telemetry::Event,
};

impl Core {
    pub(super) fn handle_profile(&mut self, now: Reading, profile: Arc<Profile>) {
        let old = std::mem::replace(&mut self.profile, profile);
        if let Some(registered) = self.registered.as_deref_mut() {
            registered.models = self.services.process.models.set(&self.profile, &registered.client.objects);
            registered.formats.update(registered.client.formats, content_format(&self.profile));
        }
        self.apply_difference(now, &old);
    }

    pub(super) fn handle_models(&mut self) {
        if let Some(registered) = self.registered.as_deref_mut() {
            registered.models = self.services.process.models.set(&self.profile, &registered.client.objects);
        }
    }

    /// After a claim: what is missing of the profile's start actions.
    pub(super) fn plan_for_profile(&mut self, now: Reading) {
        let Some(registered) = self.registered.as_deref() else { return };
        let done = registered.started.as_ref() == Some(&name_and_revision(&self.profile));
        if done {
            let pending = self.observations.unconfirmed(&[]);
            self.downlinks.tasks.extend(pending);
            return;
        }
        if registered.started.is_some() {
            // Another revision or profile than the one that the device was set up for.
            let nothing = self.services.process.empty_profile.clone();
            return self.apply_difference(now, &nothing);
        }
        let plan = self.profile.start_plan(&registered.plan_client());
        let mut tasks: Vec<_> =
            plan.attributes.iter().map(|(path, set)| Task::WriteAttributes(*path, set.clone())).collect();
        tasks.extend(plan.reads.into_iter().map(Task::Read));
        self.downlinks.tasks.extend(tasks);
        let pending = self.observations.unconfirmed(&plan.observations);
        self.downlinks.tasks.extend(pending);
    }

    /// The device has new objects or instances: what the profile asks of them.
    pub(super) fn plan_for_new_objects(&mut self, now: Reading) {
        let nothing = self.services.process.empty_profile.clone();
        self.apply_difference(now, &nothing);
    }

    fn apply_difference(&mut self, now: Reading, old: &Profile) {
        let Some(registered) = self.registered.as_deref() else { return };
        let current: Vec<Target> =
            self.observations.iter().map(|observation| observation.target.clone()).collect();
        let plan = Profile::difference(old, &self.profile, &current, &registered.plan_client());
        let mut changes = Vec::new();
        let mut tasks = Vec::new();
        for target in plan.cancel {
            if let Some(token) = self.observations.by_target(&target).map(|found| found.token)
                && let Some(observation) = self.observations.remove(token)
            {
                changes.push(Change::RemoveObservation(token.as_bytes().to_vec()));
                tasks.push(Task::Cancel(Box::new(observation)));
            }
        }
        tasks.extend(plan.attributes.iter().map(|(path, set)| Task::WriteAttributes(*path, set.clone())));
        tasks.extend(plan.reads.into_iter().map(Task::Read));
        for target in plan.observations {
            if self.observations.by_target(&target).is_some() {
                continue;
            }
            let observation = Observation::of_profile(target);
            changes.push(Change::Observation(observation.to_stored()));
            tasks.push(Task::Observe(observation.token));
            self.observations.push(observation);
        }
        let event = Event::ProfileApplied { revision: self.profile.revision() };
        let cause = self.cause(&[b"profile", self.profile.name().as_bytes(), &now.unix_ms.to_be_bytes()]);
        self.announce(now, event, cause);
        for (ordinal, skipped) in plan.skipped.into_iter().enumerate() {
            let event = Event::PathSkipped { path: skipped.path, reason: skipped.reason };
            self.announce_nth(now, event, cause, ordinal as u32);
        }
        self.downlinks.tasks.extend(tasks);
        if !changes.is_empty() {
            self.persist(changes, Then::Planned);
        }
    }
}

/// What says which start actions a device has had.
pub(super) fn name_and_revision(profile: &Profile) -> (Arc<str>, u64) {
    (profile.name().clone(), profile.revision())
}

/// The format that a profile asks for.
pub(super) fn content_format(profile: &Profile) -> Option<ContentFormat> {
    profile.format().and_then(ContentFormat::from_number)
}
