//! From a record to a live endpoint.
//!
//! ```text
//!  reserve in the process ─► load, read-only ─► may it? ─► claim ─► actor from the claim's answer
//!       │ another shard has it        │ no: the waiting are answered
//!       └─► have it released          └─► nothing was changed
//! ```

use std::{cell::Cell, rc::Rc, sync::Arc, time::Duration};

use actix::Actor;
use godwit_coap::{Code, Response};
use godwit_proto::store::v1::{Credential, Device, credential::Mode};
use tokio::sync::oneshot;

use super::{
    Endpoints, Place, Resident,
    access::{Access, DEFAULT_PROFILE},
    actor::{EndpointActor, Mail, no_such_registration},
    core::Core,
    directory::Reservation,
    handle::SubmitError,
    link::{Downlink, Link, Refusal, Uplink},
    message::Input,
    orphan,
    search::Search,
    services::{Process, ShardMessage, ShardPulse, Shared},
};
use crate::{
    clock,
    identity::{DeviceId, Owner},
    metrics::labels,
    ownership::{Confirmed, Step, Want, Why},
    profile::{LoadError, Profile},
    store::{Claim, DeviceRecord, Expect, Fence, Header, StoreError},
    telemetry::Event,
};

/// How long another shard may take to give a device up, and a device's packets wait.
const RELEASE_WITHIN: Duration = Duration::from_millis(1500);

/// Why an endpoint could not be made.
#[derive(Debug)]
enum Failure {
    /// Nobody may register under this name.
    Unknown,
    /// There is neither a registration nor anything else to serve.
    NotRegistered,
    /// Somebody has claimed or changed the device since it was read.
    Overtaken,
    /// Another node has it.
    Elsewhere,
    /// The store or another shard did not answer.
    Unavailable(String),
}

/// Makes a device's endpoint live, and hands it what has waited for it.
pub(super) async fn activate(endpoints: Rc<Endpoints>, device: DeviceId) {
    let started = clock::now();
    let metrics = endpoints.shared.metrics.clone();
    match prepare(&endpoints, device).await {
        Ok((core, fence, confirmed, reservation)) => {
            start(&endpoints, device, core, fence, confirmed, reservation);
            metrics.activations[labels::Activation::Ok].increment(1);
            metrics.activation_seconds.record(started.elapsed());
        }
        Err(failure) => {
            let outcome = match &failure {
                Failure::Unknown | Failure::NotRegistered => labels::Activation::Unknown,
                Failure::Overtaken | Failure::Elsewhere => labels::Activation::Failed,
                Failure::Unavailable(reason) => {
                    tracing::debug!(%device, reason, "a device could not be activated");
                    labels::Activation::Failed
                }
            };
            metrics.activations[outcome].increment(1);
            let waiting = endpoints.by_device.borrow_mut().remove(&device);
            if let Some(Place::Activating(waiting)) = waiting {
                for mail in waiting {
                    refuse(&endpoints, device, mail, &failure);
                }
            }
        }
    }
}

fn start(
    endpoints: &Rc<Endpoints>,
    device: DeviceId,
    core: Core,
    fence: Fence,
    confirmed: Option<Confirmed>,
    reservation: Reservation,
) {
    let profile = core.profile.name().clone();
    let revision = core.profile.revision();
    let latest = endpoints.shared.process.profiles.cached(&profile);
    // One that has changed since the activation read it.
    let latest = latest.filter(|latest| latest.revision() != revision);
    let key = endpoints.table.insert_with(|key| {
        let leaving = Rc::<Cell<bool>>::default();
        let actor =
            EndpointActor::new(endpoints.clone(), key, core, fence, leaving.clone(), confirmed, reservation);
        Resident { address: actor.start(), profile, active: clock::now(), leaving }
    });
    endpoints.shared.metrics.actors[labels::Actor::Endpoint].increment(1.0);
    let waited = endpoints.by_device.borrow_mut().insert(device, Place::Live(key));
    if let Some(Place::Activating(waiting)) = waited {
        endpoints.table.with(key, |resident| {
            if let Some(profile) = latest {
                resident.address.do_send(Mail::Core(Input::Profile(profile)));
            }
            for mail in waiting {
                // There is room for all that could wait.
                resident.address.do_send(mail);
            }
        });
    }
}

async fn prepare(
    endpoints: &Rc<Endpoints>,
    device: DeviceId,
) -> Result<(Core, Fence, Option<Confirmed>, Reservation), Failure> {
    let reservation = reserve(&endpoints.shared, device).await?;
    let want = Wanted::of(endpoints, device).want();
    let mut search = Search::new(&endpoints.shared.process.neighbours, want);
    loop {
        match try_claim(endpoints, device, &mut search).await {
            // Somebody has claimed since the load, or the device was made anew.
            Err(Failure::Overtaken) if search.claim_refused() == Step::LoadAgain => {}
            done => return done.map(|(core, fence, confirmed)| (core, fence, confirmed, reservation)),
        }
    }
}

/// Whether a device may be claimed. An owner that lives is asked for it, if what has come here is newer than what it has.
async fn settle(
    shared: &Shared,
    device: DeviceId,
    wanted: &Wanted,
    header: Option<&Header>,
    search: &mut Search,
) -> Result<(), Failure> {
    let mut step = search.loaded(header);
    loop {
        step = match step {
            Step::Claim { .. } => return Ok(()),
            Step::LoadAgain => return Err(Failure::Overtaken),
            Step::Present(member) => {
                let question = shared.process.neighbours.release(&member, device, wanted.takes);
                search.ask(&member, question, wanted.takes).await
            }
            Step::Leave(Why::Handled | Why::Owned | Why::Replay | Why::Busy) | Step::Relay(_) => {
                return Err(Failure::Elsewhere);
            }
            Step::Leave(why) => return Err(Failure::Unavailable(format!("nothing may be claimed: {why:?}"))),
        }
    }
}

async fn try_claim(
    endpoints: &Rc<Endpoints>,
    device: DeviceId,
    search: &mut Search,
) -> Result<(Core, Fence, Option<Confirmed>), Failure> {
    let process = &endpoints.shared.process;
    let loaded = process.store.load(device).await.map_err(unavailable)?;
    let wanted = Wanted::of(endpoints, device);
    settle(&endpoints.shared, device, &wanted, loaded.as_ref().map(|it| &it.header), search).await?;
    if loaded.is_none() && !wanted.register {
        orphan::publish(endpoints, device).await;
    }
    let loaded = loaded.unwrap_or_default();
    if was_not_activated(&loaded) && endpoints.shared.standing.may_expire() {
        return Err(remove(endpoints, device, &loaded).await);
    }
    let seen = loaded.header.term;
    let deprived =
        loaded.header.owner.clone().filter(|owner| !loaded.header.passive && *owner != process.owner);
    let name = endpoint_name(&loaded, &wanted).ok_or(Failure::NotRegistered)?;
    if !wanted.register && !serves(&loaded, wanted.command || wanted.session) {
        return Err(Failure::NotRegistered);
    }
    let auto_create = process.config.registration.auto_create.as_deref();
    let document = match loaded.document {
        Some(document) => document,
        None if wanted.register => {
            let profile = auto_create.ok_or(Failure::Unknown)?;
            create(endpoints, &name, profile).await?
        }
        // Left over from a device that was provisioned once.
        None => Device { endpoint: name.to_string(), ..Device::default() },
    };
    let access = Access::of(&document, auto_create.is_some());
    let profile = profile(&endpoints.shared, &access.profile).await?;
    let claim = Claim { create: true, seen: Some(seen) };
    let owner = &process.owner;
    let confirmed = endpoints.shared.pulse.as_ref().map(ShardPulse::confirmed);
    let claimed = process.store.claim(device, owner, claim).await.map_err(|error| match error {
        StoreError::Refused(_) => Failure::Overtaken,
        error => unavailable(error),
    })?;
    let fence = Fence { owner: owner.clone(), term: claimed.term, claims: claimed.claims };
    if let Some(owner) = deprived {
        notify(process, device, &owner);
    }
    let core = Core::new(endpoints.shared.clone(), clock::read(), device, name, access, profile, claimed);
    Ok((core, fence, confirmed))
}

/// Tells whoever had a device until now, if it may live: what it writes is refused, and it shall say nothing more either.
fn notify(process: &Process, device: DeviceId, owner: &Owner) {
    let Some(membership) = process.neighbours.membership() else { return };
    if let Some(member) = membership.known(owner) {
        let told = process.neighbours.release(&member, device, true);
        // Where no link leads to it, it finds this.
        let left = process.store.tell(owner, device);
        actix::spawn(async move {
            if let Err(error) = left.await {
                tracing::debug!(%device, %error, "no word could be left for the device's earlier owner");
            }
            // Nothing follows from the answer.
            let _ = told.await;
        });
    }
}

/// Whether a device was provisioned to be used by now, and was not.
fn was_not_activated(loaded: &DeviceRecord) -> bool {
    let by = loaded.document.as_ref().map_or(0, |document| document.activate_by);
    !loaded.header.activated && loaded.registration.is_none() && by != 0 && by <= clock::unix_ms()
}

/// Deletes a device that was not used in time. The event goes out from the outbox of what is left of it.
async fn remove(endpoints: &Endpoints, device: DeviceId, loaded: &DeviceRecord) -> Failure {
    let Some(document) = &loaded.document else { return Failure::Unknown };
    let event = orphan::deletion(&endpoints.shared.process, device, document, &Event::ActivationTimeout);
    let removed = endpoints.store().remove_device(device, Expect::Revision(document.revision), Some(event));
    match removed.await {
        Ok(()) => {
            tracing::info!(%device, "a device was not used in time and is deleted");
            orphan::publish(endpoints, device).await;
            Failure::Unknown
        }
        // Changed meanwhile: perhaps it has more time now.
        Err(StoreError::Conflict { .. }) => Failure::Overtaken,
        Err(error) => unavailable(error),
    }
}

/// What the first of the waiting wants.
#[derive(Default)]
struct Wanted {
    register: bool,
    command: bool,
    session: bool,
    /// Anything from the device.
    uplink: bool,
    /// A newer session or registration than any that another node may have.
    takes: bool,
    name: Option<Arc<str>>,
}

impl Wanted {
    fn of(endpoints: &Endpoints, device: DeviceId) -> Self {
        let places = endpoints.by_device.borrow();
        let waiting: &[Mail] = match places.get(&device) {
            Some(Place::Activating(waiting)) => waiting,
            _ => &[],
        };
        let mut wanted = Self::default();
        for mail in waiting {
            if let Mail::Core(Input::Uplink(_, uplink)) = mail {
                wanted.uplink = true;
                wanted.takes |= matches!(
                    uplink,
                    Uplink::Register { .. }
                        | Uplink::SessionEstablished { .. }
                        | Uplink::SessionPromoted { .. }
                );
            }
            match mail {
                Mail::Core(Input::Uplink(_, Uplink::Register { registration, .. })) => {
                    wanted.register = true;
                    wanted.name = registration.endpoint.as_deref().map(Into::into);
                }
                Mail::Core(Input::Uplink(_, uplink)) if uplink.is_of_session() => wanted.session = true,
                Mail::Submit(..) | Mail::Cancel(..) => wanted.command = true,
                _ => {}
            }
        }
        wanted
    }

    fn want(&self) -> Want {
        match (self.uplink, self.command) {
            (true, _) => Want::Packet,
            (false, true) => Want::Command,
            (false, false) => Want::Due,
        }
    }
}

fn endpoint_name(loaded: &DeviceRecord, wanted: &Wanted) -> Option<Arc<str>> {
    let document = loaded.document.as_ref().map(|document| document.endpoint.as_str());
    let registered = loaded.registration.as_ref().map(|registration| registration.endpoint.as_str());
    let event = loaded.events.first().map(|event| event.endpoint.as_str());
    let stored = document.or(registered).or(event).filter(|name| !name.is_empty());
    stored.map(Into::into).or_else(|| wanted.name.clone())
}

/// Whether a record gives its endpoint anything to do.
fn serves(loaded: &DeviceRecord, command: bool) -> bool {
    loaded.registration.is_some()
        || loaded.applied.is_some()
        || !loaded.sessions.is_empty()
        || !loaded.operations.is_empty()
        || !loaded.events.is_empty()
        || (command && loaded.document.is_some())
}

/// Takes the device for this shard; a shard that has it gives it up first.
async fn reserve(shared: &Shared, device: DeviceId) -> Result<Reservation, Failure> {
    let process = &shared.process;
    for _ in 0..4 {
        let holder = match process.directory.reserve(device, shared.shard) {
            Ok(reservation) => return Ok(reservation),
            Err(holder) => holder,
        };
        let (done, released) = oneshot::channel();
        process.inboxes.of(holder).push(ShardMessage::Release { device, done });
        // Answered by being dropped, also by a shard that has just given it up.
        drop(tokio::time::timeout(RELEASE_WITHIN, released).await);
    }
    Err(Failure::Unavailable("another shard does not give the device up".to_owned()))
}

/// Provisions a device that registered on its own.
async fn create(endpoints: &Rc<Endpoints>, name: &str, profile: &str) -> Result<Device, Failure> {
    let document = Device {
        endpoint: name.to_owned(),
        profile: profile.to_owned(),
        credential: Some(Credential { modes: vec![Mode::NoSec as i32], ..Credential::default() }),
        auto_created: true,
        ..Device::default()
    };
    match endpoints.store().put_device(document, Expect::Absent).await {
        Ok(document) => Ok(document),
        // An operator was faster; the device asks again.
        Err(error) => Err(unavailable(error)),
    }
}

/// The profile, or the default one where the document names one that there is not (any more).
async fn profile(shared: &Shared, name: &str) -> Result<Arc<Profile>, Failure> {
    let profiles = &shared.process.profiles;
    match profiles.profile(name).await {
        Ok(profile) => Ok(profile),
        Err(LoadError::Store(reason)) => Err(Failure::Unavailable(reason)),
        Err(error) => {
            tracing::warn!(%error, "using the default profile instead");
            profiles.profile(DEFAULT_PROFILE).await.map_err(|error| Failure::Unavailable(error.to_string()))
        }
    }
}

/// What is provisioned for a device now, with its profile; `None` if the device was removed.
pub(super) async fn access_now(shared: &Shared, device: DeviceId) -> (Option<Access>, Option<Arc<Profile>>) {
    let auto_create = shared.process.config.registration.auto_create.is_some();
    match shared.process.store.load(device).await {
        Ok(Some(DeviceRecord { document: Some(document), .. })) => {
            let access = Access::of(&document, auto_create);
            let profile = profile(shared, &access.profile).await.ok();
            (Some(access), profile)
        }
        Ok(_) => (None, None),
        Err(error) => {
            // The next activation reads it.
            tracing::warn!(%device, %error, "a changed device could not be read; its endpoint is stopped");
            (None, None)
        }
    }
}

fn unavailable(error: StoreError) -> Failure {
    Failure::Unavailable(error.to_string())
}

/// Answers what has waited for an activation that failed.
fn refuse(endpoints: &Endpoints, device: DeviceId, mail: Mail, failure: &Failure) {
    match mail {
        Mail::Core(Input::Uplink(link, uplink)) => refuse_uplink(endpoints, device, link, &uplink, failure),
        Mail::Submit(_, reply) => drop(reply.send(Err(submit_error(failure)))),
        Mail::Cancel(_, reply) => drop(reply.send(Err(match failure {
            Failure::Unavailable(reason) => SubmitError::Store(reason.clone()),
            Failure::Overtaken => SubmitError::Overloaded,
            Failure::Elsewhere => SubmitError::Elsewhere,
            _ => SubmitError::NoSuchOperation,
        }))),
        Mail::Core(_) | Mail::Header(..) | Mail::Release(..) | Mail::Refresh(_) | Mail::Gone => {}
    }
}

/// Nobody can answer: what the device repeats is new.
pub(super) fn leave_unanswered(endpoints: &Endpoints, device: DeviceId, link: Link, uplink: &Uplink) {
    refuse_uplink(endpoints, device, link, uplink, &Failure::Unavailable(String::new()));
}

fn submit_error(failure: &Failure) -> SubmitError {
    match failure {
        Failure::Unknown | Failure::NotRegistered => SubmitError::NotRegistered,
        Failure::Overtaken => SubmitError::Overloaded,
        Failure::Elsewhere => SubmitError::Elsewhere,
        Failure::Unavailable(reason) => SubmitError::Store(reason.clone()),
    }
}

fn refuse_uplink(endpoints: &Endpoints, device: DeviceId, link: Link, uplink: &Uplink, failure: &Failure) {
    let Some(links) = endpoints.shared.links.get() else { return };
    // What happened is not known: it is left open, and the device repeats it.
    let open = matches!(failure, Failure::Unavailable(_) | Failure::Overtaken | Failure::Elsewhere);
    let downlink = match uplink {
        Uplink::Notification(notification) if open => {
            Downlink::ForgetNotification { message_id: notification.message_id }
        }
        Uplink::Notification(notification) => Downlink::Reset { message_id: notification.message_id },
        uplink => match (uplink.call(), uplink.awaiting()) {
            (Some(call), _) if open => Downlink::Forget { id: call.id },
            (Some(call), _) => Downlink::Reply { id: call.id, response: refusal(uplink) },
            (None, Some(association)) => {
                let reason = match failure {
                    Failure::Elsewhere => Refusal::Elsewhere,
                    _ if open => Refusal::Unavailable,
                    _ => Refusal::Unknown,
                };
                Downlink::SessionRefused { association, reason }
            }
            (None, None) => return,
        },
    };
    links.deliver(link.connection, device, downlink);
    if matches!(failure, Failure::Elsewhere) && link.security.secured().is_none() {
        // A connection that another node's device has left here: what it repeats must find its owner.
        links.deliver(link.connection, device, Downlink::Close);
    }
    if !open {
        links.deliver(link.connection, device, Downlink::Unlink);
    }
}

fn refusal(uplink: &Uplink) -> Response {
    match uplink {
        Uplink::Register { .. } => {
            Response::diagnostic(Code::FORBIDDEN, "no device of this endpoint name is provisioned")
        }
        _ => no_such_registration(),
    }
}
