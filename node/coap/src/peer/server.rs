//! The server role: requests in, answers out.

use std::time::Instant;

use super::{Peer, push};
use crate::{
    BodySource, Code, Event, Fate, Ignored, Method, RequestId, RespondError, Response, Token,
    dedup::{Answer, Entry, Pending, Seen},
    download::{self, Download, Part},
    exchange::Role,
    options::{self, OptionFault},
    upload::{self, Taken, Upload},
    wire::{self, Kind, Message},
};

/// Bodies of which only a part has passed.
#[derive(Debug, Default)]
pub(crate) struct Transfers {
    pub(crate) uploads: Vec<Upload>,
    pub(crate) downloads: Vec<Download>,
}

impl Transfers {
    pub(crate) fn is_idle(&self) -> bool {
        self.uploads.is_empty() && self.downloads.is_empty()
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        let uploads = self.uploads.iter().map(|upload| upload.expires);
        uploads.chain(self.downloads.iter().map(|download| download.expires)).min()
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.uploads.retain(|upload| now < upload.expires);
        self.downloads.retain(|download| now < download.expires);
    }

    /// Keeps a body for its next blocks, in the place of its own earlier copy or of the oldest one.
    fn keep(&mut self, download: Download, limit: usize) {
        self.downloads.retain(|other| other.key != download.key);
        if self.downloads.len() >= limit.max(1) {
            self.downloads.remove(0);
        }
        self.downloads.push(download);
    }
}

/// What a message is answered to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Origin {
    pub(super) confirmable: bool,
    pub(super) message_id: u16,
    pub(super) token: Token,
    pub(super) fingerprint: u32,
}

impl Origin {
    pub(super) fn new(message: &Message, fingerprint: u32) -> Self {
        Self {
            confirmable: message.header.kind == Kind::Con,
            message_id: message.header.message_id,
            token: message.token,
            fingerprint,
        }
    }
}

impl Peer {
    /// Takes a request that was not seen before.
    pub(super) fn handle_request(&mut self, now: Instant, mut message: Message, fingerprint: u32) -> Fate {
        let origin = Origin::new(&message, fingerprint);
        if self.dedup.pending() >= self.config.dedup_entries {
            return Fate::Ignored(Ignored::Overload);
        }
        let Some(method) = Method::from_code(message.header.code) else {
            return self.refuse(now, origin, Response::new(Code::METHOD_NOT_ALLOWED));
        };
        let key = options::transfer_key(&message.packet);
        let (mut request, blocks) = match options::read_request(method, &mut message.packet) {
            Ok(read) => read,
            // RFC 7252 §5.4.1: such a non-confirmable message is rejected, here without a word.
            Err(OptionFault::Critical(_)) if !origin.confirmable => {
                return Fate::Ignored(Ignored::CriticalOption);
            }
            Err(fault) => return self.refuse(now, origin, fault.response()),
        };
        let limit = self.body_limit();
        // Borrowed, not cloned: the count of an `Arc` that all shards share is slow to write.
        let config = &*self.config;
        let block1 = if blocks.block1.is_none() && request.payload.len() as u64 <= limit {
            None
        } else {
            let transfers = &mut self.work.get_or_insert_default().transfers;
            match upload::take(&mut transfers.uploads, now, config, limit, key, &mut request, blocks) {
                Taken::Whole(block1) => block1,
                Taken::Refuse(response) => return self.refuse(now, origin, response),
                Taken::Continue(block) => {
                    let mut part = Part::whole(Response::new(Code::CONTINUE));
                    part.blocks.block1 = Some(block);
                    self.answer_at_once(now, origin, part);
                    return Fate::Block;
                }
            }
        };
        if let Some(wish) = blocks.block2.filter(|wish| wish.number() > 0 && blocks.block1.is_none()) {
            let transfers = &mut self.work.get_or_insert_default().transfers;
            if let Some(at) = transfers.downloads.iter().position(|download| download.key == key) {
                let (part, last) = transfers.downloads[at].serve(now, &self.config, wish);
                if last {
                    transfers.downloads.remove(at);
                }
                self.answer_at_once(now, origin, part);
                return Fate::Block;
            }
            // Reading again is harmless: the layers above make the body anew, and the part is cut from that.
            if !method.is_safe() {
                let gone = Response::diagnostic(Code::REQUEST_ENTITY_INCOMPLETE, "the body is gone");
                return self.refuse(now, origin, gone);
            }
        }
        let id = RequestId(self.own.serial());
        let pending = Pending {
            id,
            token: origin.token,
            ack_at: origin.confirmable.then(|| now + self.config.ack_delay),
            key,
            block1,
            block2: blocks.block2,
        };
        if !self.remember(now, origin, Seen::Request(Box::new(pending))) {
            return Fate::Ignored(Ignored::Overload);
        }
        push(
            &mut self.out.events,
            Event::Request {
                id,
                request,
                confirmable: origin.confirmable,
                message_id: origin.message_id,
                token: origin.token,
            },
        );
        Fate::Request
    }

    /// A confirmable request too large to be read: 4.13. Nothing is remembered, the answer is the same each time.
    pub(super) fn handle_oversize(&mut self, message_id: u16, token: Token) {
        let limit = u32::try_from(self.config.max_payload).unwrap_or(u32::MAX);
        let part = Part::whole(Response::new(Code::REQUEST_ENTITY_TOO_LARGE).size1(limit));
        let written =
            options::write_response(Kind::Ack, message_id, token, &part.response, part.blocks, part.payload);
        self.out.transmits.extend(written);
    }

    pub(super) fn answer(
        &mut self,
        now: Instant,
        id: RequestId,
        response: Response,
        source: Option<Box<dyn BodySource>>,
    ) -> Result<(), RespondError> {
        let position = self.dedup.position(id).ok_or(RespondError::Closed)?;
        let entry = self.dedup.entry(position);
        let Seen::Request(pending) = &entry.state else {
            return Err(RespondError::Closed);
        };
        let (kind, message_id) = match (entry.confirmable, pending.ack_at) {
            (true, Some(_)) => (Kind::Ack, entry.message_id),
            (true, None) => (Kind::Con, self.own_id(now)?),
            (false, _) => (Kind::Non, self.own_id(now)?),
        };
        let entry = self.dedup.entry(position);
        let Seen::Request(pending) = &entry.state else {
            return Err(RespondError::Closed);
        };
        let (received, token) = (entry.message_id, pending.token);
        let mut part = download::cut(now, &self.config, pending.key, pending.block2, response, source);
        part.blocks.block1 = pending.block1;
        let written = options::write_response(
            kind,
            message_id,
            token,
            &part.response,
            part.blocks,
            std::mem::take(&mut part.payload),
        );
        let encodable = written.is_some();
        let datagram = match written {
            Some(datagram) => datagram,
            None => {
                let failure = Response::new(Code::INTERNAL_SERVER_ERROR);
                options::write_response(kind, message_id, token, &failure, Default::default(), Vec::new())
                    .ok_or(RespondError::Unencodable)?
            }
        };
        let answer = match kind {
            Kind::Ack => Answer::from_slice(&datagram),
            Kind::Con => Answer::from_slice(&wire::empty(Kind::Ack, received)),
            _ => Answer::new(),
        };
        let limit = self.config.dedup_bytes;
        self.dedup.answer(position, answer, limit);
        if encodable && let Some(rest) = part.rest.take() {
            self.work.get_or_insert_default().transfers.keep(rest, self.config.max_transfers);
        }
        if kind == Kind::Con {
            self.with_client(now, |client, cx| {
                client.tell(cx, token, message_id, datagram, Role::Separate);
            });
        } else {
            push(&mut self.out.transmits, datagram);
        }
        if encodable { Ok(()) } else { Err(RespondError::Unencodable) }
    }

    /// Sends an empty acknowledgement for every request that is worked on for too long to answer in it.
    pub(super) fn acknowledge_due(&mut self, now: Instant) {
        let transmits = &mut self.out.transmits;
        self.dedup.acknowledge_due(now, |message_id| {
            push(transmits, wire::empty(Kind::Ack, message_id).to_vec());
        });
    }

    fn refuse(&mut self, now: Instant, origin: Origin, response: Response) -> Fate {
        let code = response.code;
        self.answer_at_once(now, origin, Part::whole(response));
        Fate::Refused(code)
    }

    /// Answers a request that no layer above hears of.
    fn answer_at_once(&mut self, now: Instant, origin: Origin, part: Part) {
        let Origin { confirmable, message_id: received, token, .. } = origin;
        let (kind, message_id) = if confirmable {
            (Kind::Ack, received)
        } else {
            match self.own_id(now) {
                Ok(id) => (Kind::Non, id),
                // A non-confirmable request may go unanswered.
                Err(_) => return,
            }
        };
        let written =
            options::write_response(kind, message_id, token, &part.response, part.blocks, part.payload);
        let Some(datagram) = written else { return };
        let answer = if confirmable { Answer::from_slice(&datagram) } else { Answer::new() };
        self.remember(now, origin, Seen::Answered(answer));
        push(&mut self.out.transmits, datagram);
    }

    /// Remembers a message for as long as its id stays taken.
    pub(super) fn remember(&mut self, now: Instant, origin: Origin, state: Seen) -> bool {
        let Origin { confirmable, message_id, fingerprint, .. } = origin;
        let harmless = !matches!(state, Seen::Request(_));
        let lifetime = if confirmable { self.config.exchange_lifetime() } else { self.config.non_lifetime() };
        let entry = Entry { message_id, confirmable, fingerprint, expires: now + lifetime, harmless, state };
        self.dedup.insert(now, entry, self.config.dedup_entries, self.config.dedup_bytes)
    }

    /// An id for a message of ours.
    fn own_id(&mut self, now: Instant) -> Result<u16, RespondError> {
        self.own.ids.allocate(now, self.config.exchange_lifetime()).map_err(|_| RespondError::NoMessageId)
    }
}
