//! The synchronous half of a connection: CoAP in and out, and what goes to the endpoint.
//!
//! ```text
//!  datagram ─► Peer ─► Request ─► resource table ─┬─► answered here (discovery, refusals)
//!                 │                               └─► Uplink::{Register, Update, Deregister, Send}
//!                 └──► Response, Failed, Notification ─► Uplink
//! ```

use std::{sync::Arc, time::Instant};

use godwit_coap::{
    Code, Event, ExchangeId, Fate, Peer, Request, RequestId, RequestOptions, Response, SendError, Token,
};
use godwit_lwm2m::registration::{Policy, Registration};
use smallvec::SmallVec;

use super::resource::{self, Resource};
use crate::{
    endpoint::link::{Call, Downlink, Notification, Uplink},
    identity::DeviceId,
};

/// Seconds after which a device may ask again for what could not be done.
const AGAIN: u32 = 5;

/// What a connection's actor has to do.
#[derive(Debug)]
pub(super) enum Output {
    /// Send a datagram to the peer.
    Transmit(Vec<u8>),
    /// Tell the endpoint of this device.
    Uplink(DeviceId, Uplink),
    /// A request for a registration that is not this connection's: 4.03 if it is another's, else 4.04.
    Foreign(Call, crate::identity::RegistrationId),
    /// A registration request was refused here.
    Refused(Code),
}

/// One peer's message layer and its link to an endpoint.
#[derive(Debug)]
pub(super) struct Connection {
    peer: Peer,
    device: Option<DeviceId>,
    /// A handshake has proved that the peer is `device`: nobody else ever speaks here.
    proven: bool,
    /// The number of the record that brought the datagram at hand; 0 without DTLS.
    record: u64,
    open: SmallVec<[(Token, ExchangeId); 1]>,
}

impl Connection {
    /// A connection that nobody has spoken over.
    pub(super) fn new(config: Arc<godwit_coap::Config>, first_message_id: u16, seed: u64) -> Self {
        let peer = Peer::new(config, first_message_id, seed);
        Self { peer, device: None, proven: false, record: 0, open: SmallVec::new() }
    }

    /// The same for the device that is known by its address, if any is.
    pub(super) fn linked(self, device: Option<DeviceId>) -> Self {
        Self { device, ..self }
    }

    /// The same for a device that a handshake has proved.
    pub(super) fn proven(self, device: DeviceId) -> Self {
        Self { device: Some(device), proven: true, ..self }
    }

    /// The device that registered over this connection.
    pub(super) fn device(&self) -> Option<DeviceId> {
        self.device
    }

    /// Leaves the device to whom it was linked.
    pub(super) fn unlink(&mut self) {
        self.device = None;
    }

    pub(super) fn handle_datagram(&mut self, now: Instant, bytes: &[u8]) -> Fate {
        self.peer.handle_datagram(now, bytes)
    }

    /// Takes the plaintext of a record. What comes of it names the record's number.
    pub(super) fn handle_record(&mut self, now: Instant, number: u64, plaintext: &[u8]) -> Fate {
        self.record = number;
        self.peer.handle_datagram(now, plaintext)
    }

    /// Answers how many messages were sent again.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> u32 {
        self.peer.handle_timeout(now)
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.peer.poll_timeout()
    }

    /// Does what the endpoint says. A request that can't be sent at all comes back as a failed one.
    pub(super) fn handle_downlink(
        &mut self,
        now: Instant,
        downlink: Downlink,
    ) -> Result<(), (Token, SendError)> {
        match downlink {
            // A request that waited too long is closed; its client has given up.
            Downlink::Reply { id, response } => {
                let _ = self.peer.respond(now, id, response);
            }
            Downlink::Forget { id } => self.forget(now, id),
            Downlink::Request { token, message_id, request } => {
                let options = RequestOptions { message_id: Some(message_id), ..RequestOptions::default() };
                let exchange =
                    self.peer.request_with(now, token, *request, options).map_err(|error| (token, error))?;
                self.open.push((token, exchange));
            }
            Downlink::Cancel { token } => {
                if let Some(exchange) = self.close(token) {
                    self.peer.cancel(now, exchange);
                }
            }
            Downlink::Acknowledge { message_id } => {
                let _ = self.peer.acknowledge(now, message_id);
            }
            Downlink::Reset { message_id } => {
                let _ = self.peer.reset(now, message_id);
            }
            Downlink::ForgetNotification { message_id } => {
                let _ = self.peer.forget_notification(message_id);
            }
            Downlink::Continue { token, request, first } => {
                let exchange =
                    self.peer.continue_body(now, token, *request, *first).map_err(|error| (token, error))?;
                self.open.push((token, exchange));
            }
            Downlink::Link { device, uplink_body } => {
                if self.device.is_some_and(|earlier| earlier != device) {
                    // Nothing of the earlier device's is repeated to a stranger.
                    for (_, exchange) in self.open.drain(..) {
                        self.peer.cancel(now, exchange);
                    }
                }
                self.device = Some(device);
                if let Some(bytes) = uplink_body {
                    self.peer.limit_body(bytes);
                }
            }
            Downlink::Unlink if self.proven => {}
            Downlink::Unlink => self.device = None,
            // The actor's business.
            Downlink::Close
            | Downlink::SessionStored { .. }
            | Downlink::SessionRefused { .. }
            | Downlink::SessionClaimed { .. } => {}
        }
        Ok(())
    }

    /// Answers a request that [`Output::Foreign`] or a failed delivery left open.
    pub(super) fn respond(&mut self, now: Instant, call: Call, response: Response) {
        {
            let _ = self.peer.respond(now, call.id, response);
        }
    }

    /// Leaves a request without answer, for its client to repeat. One that was acknowledged is not repeated any more: its
    /// client would wait for the response as long as it waits for any (93 s), so it is told to come again.
    fn forget(&mut self, now: Instant, id: RequestId) {
        if self.peer.owes_response(id) {
            let busy = Response::diagnostic(Code::SERVICE_UNAVAILABLE, "not done").max_age(AGAIN);
            let _ = self.peer.respond(now, id, busy);
        } else {
            let _ = self.peer.forget(id);
        }
    }

    /// Takes back what an uplink that could not be delivered has promised to answer.
    pub(super) fn undelivered(&mut self, uplink: &Uplink) {
        if let Some(call) = uplink.call() {
            let _ = self.peer.forget(call.id);
        }
        // Without acknowledgement the device repeats it.
        if let Uplink::Notification(notification) = uplink {
            let _ = self.peer.forget_notification(notification.message_id);
        }
    }

    /// The next thing to do. Call until it is `None` after every input.
    pub(super) fn poll(&mut self, now: Instant, policy: &Policy) -> Option<Output> {
        loop {
            if let Some(datagram) = self.peer.poll_transmit() {
                return Some(Output::Transmit(datagram));
            }
            if let Some(output) = self.handle_event(now, policy)? {
                return Some(output);
            }
        }
    }

    fn handle_event(&mut self, now: Instant, policy: &Policy) -> Option<Option<Output>> {
        let event = self.peer.poll_event()?;
        Some(match event {
            Event::Request { id, request, message_id, token, .. } => {
                let call = Call { id, message_id, token, number: self.record };
                match self.handle_request(policy, call, request) {
                    Ok(output) => Some(output),
                    Err(response) => {
                        let refused = !response.code.is_success();
                        let code = response.code;
                        {
                            let _ = self.peer.respond(now, id, response);
                        }
                        refused.then_some(Output::Refused(code))
                    }
                }
            }
            Event::Response { token, response, notified, .. } => {
                self.close(token);
                self.uplink(Uplink::Response { token, response: Box::new(response), notified })
            }
            Event::Failed { token, reason, .. } => {
                self.close(token);
                self.uplink(Uplink::Failed { token, reason })
            }
            Event::Notification { token, message_id, confirmable, observe, response, more } => {
                let notification = Notification { token, message_id, confirmable, observe, response, more };
                match self.device {
                    Some(device) => {
                        Some(Output::Uplink(device, Uplink::Notification(Box::new(notification))))
                    }
                    None => {
                        // RFC 7641 §3.6: nobody observes.
                        self.peer.reset(now, message_id);
                        None
                    }
                }
            }
            Event::Acknowledged { .. } => None,
        })
    }

    /// What a request leads to, or its answer if that is known here.
    fn handle_request(&self, policy: &Policy, call: Call, request: Request) -> Result<Output, Response> {
        let resource = resource::route(&request)?;
        Ok(match resource {
            Resource::Discover => return Err(resource::discover(&request)),
            Resource::Register => {
                let registration = Registration::parse(&request, policy)?;
                let device = self.registering(registration.endpoint.as_deref())?;
                Output::Uplink(device, Uplink::Register { call, registration: Box::new(registration) })
            }
            Resource::Update(registration) => match self.device {
                Some(device) => {
                    Output::Uplink(device, Uplink::Update { call, registration, request: Box::new(request) })
                }
                None => Output::Foreign(call, registration),
            },
            Resource::Deregister(registration) => match self.device {
                Some(device) => Output::Uplink(device, Uplink::Deregister { call, registration }),
                None => Output::Foreign(call, registration),
            },
            Resource::Send => match self.device {
                Some(device) => Output::Uplink(device, Uplink::Send { call, request: Box::new(request) }),
                None => {
                    return Err(Response::diagnostic(
                        Code::FORBIDDEN,
                        "no device is registered from this address",
                    ));
                }
            },
        })
    }

    /// The device that registers: the credential's, where one was proved, whose endpoint refuses any other name; else
    /// that of the name.
    fn registering(&self, endpoint: Option<&str>) -> Result<DeviceId, Response> {
        let named = endpoint.map(DeviceId::of);
        match (named, self.device.filter(|_| self.proven)) {
            (_, Some(proven)) => Ok(proven),
            (Some(named), None) => Ok(named),
            (None, None) => Err(Response::diagnostic(
                Code::BAD_REQUEST,
                "ep is missing: without DTLS a device must give its endpoint name",
            )),
        }
    }

    fn uplink(&self, uplink: Uplink) -> Option<Output> {
        self.device.map(|device| Output::Uplink(device, uplink))
    }

    fn close(&mut self, token: Token) -> Option<ExchangeId> {
        let at = self.open.iter().position(|(open, _)| *open == token)?;
        Some(self.open.swap_remove(at).1)
    }
}
