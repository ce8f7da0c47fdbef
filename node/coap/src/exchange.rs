//! An own request, from its first message to its response; both bodies may take many messages (RFC 7959 §2).

use std::time::Instant;

use crate::{
    Block, BlockSize, BodySink, BodySource, Code, Config, ExchangeId, FailReason, MemorySink, Request,
    RequestOptions, Response, SendError, Token,
    options::{self, BlockOptions},
    retransmission::Retransmission,
    wire::Kind,
};

/// Something sent that waits: for its turn, its acknowledgement or its response.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) id: ExchangeId,
    /// As the caller gave it.
    pub(crate) token: Token,
    /// As on the wire: follow-up blocks of an observed body must not use the observation's token (RFC 7959 §3.4).
    pub(crate) wire_token: Token,
    pub(crate) message_id: u16,
    pub(crate) confirmable: bool,
    pub(crate) first_sent: Option<Instant>,
    pub(crate) state: State,
    pub(crate) datagram: Vec<u8>,
    pub(crate) role: Role,
}

/// How far the current message of an exchange has come.
#[derive(Debug)]
pub(crate) enum State {
    /// Waits until NSTART lets it go; lower turns go first.
    Queued { turn: u32 },
    /// Waits until a message id is free.
    Starved { until: Instant },
    /// Confirmable, not acknowledged.
    Sent(Retransmission),
    /// Waits for a separate response.
    Acknowledged { until: Instant },
}

/// What is sent.
#[derive(Debug)]
pub(crate) enum Role {
    Ask(Box<Ask>),
    /// A response that missed its acknowledgement; nobody is told how it fares.
    Separate,
    /// A notification of ours.
    Notify,
}

/// A request and its two bodies.
#[derive(Debug)]
pub(crate) struct Ask {
    request: Request,
    sending: Option<Sending>,
    gathering: Option<Gathering>,
    sink: Option<Box<dyn BodySink>>,
}

/// The request's body, where it takes more than one message.
#[derive(Debug)]
struct Sending {
    source: Box<dyn BodySource>,
    offset: u64,
    size: BlockSize,
    /// The block that was sent last.
    in_flight: Option<(Block, usize)>,
}

/// The response's body, where it takes more than one message.
#[derive(Debug)]
struct Gathering {
    first: Response,
    received: u64,
    size: BlockSize,
}

/// What a response means for its exchange.
#[derive(Debug)]
pub(crate) enum Step {
    /// Another message must go out.
    Next,
    Done(Response),
    Failed(FailReason),
    /// An old block that came again: nothing changes.
    Stale,
}

impl Ask {
    pub(crate) fn new(
        config: &Config,
        mut request: Request,
        options: RequestOptions,
    ) -> Result<Self, SendError> {
        let RequestOptions { source, offset, sink, .. } = options;
        let mut source = match source {
            Some(source) => source,
            None if request.payload.len() <= config.max_payload && offset == 0 => {
                return Ok(Self { request, sending: None, gathering: None, sink });
            }
            None => Box::new(std::mem::take(&mut request.payload)),
        };
        request.payload = Vec::new();
        if offset == 0
            && let Some(size) = source.size().and_then(|size| usize::try_from(size).ok())
            && size <= config.max_payload
        {
            source.read(0, size, &mut request.payload)?;
            return Ok(Self { request, sending: None, gathering: None, sink });
        }
        let size = config.block_size;
        let last = source.size().map_or(offset, |size| size.saturating_sub(1).max(offset));
        if Block::at(offset, true, size).is_none()
            || last / size.bytes() as u64 > u64::from(Block::MAX_NUMBER)
        {
            return Err(SendError::Offset(offset));
        }
        let sending = Some(Sending { source, offset, size, in_flight: None });
        Ok(Self { request, sending, gathering: None, sink })
    }

    /// A request for what follows the first block of a response.
    pub(crate) fn continuing(
        config: &Config,
        mut request: Request,
        first: Response,
        limit: u64,
    ) -> Result<Self, SendError> {
        request.observe = None;
        let block = first.block2.filter(|block| block.number() == 0 && block.more());
        let mut ask = Self { request, sending: None, gathering: None, sink: None };
        match block.map(|block| ask.begin(config, first, block, limit)) {
            Some(Step::Next) => Ok(ask),
            _ => Err(SendError::NotFirstBlock),
        }
    }

    /// How much of the request's body the peer has acknowledged.
    pub(crate) fn acknowledged(&self) -> u64 {
        self.sending.as_ref().map_or(0, |sending| sending.offset)
    }

    /// Whether the request's body takes more than one message.
    pub(crate) fn uploads(&self) -> bool {
        self.sending.is_some() && self.gathering.is_none()
    }

    /// Whether the rest of the response's body is being fetched.
    pub(crate) fn gathers(&self) -> bool {
        self.gathering.is_some()
    }

    /// Whether this ends an observation, so that a notification under its token is not its response.
    pub(crate) fn cancels(&self) -> bool {
        self.request.observe == Some(1)
    }

    /// Whether follow-up blocks need a token of their own.
    pub(crate) fn observes(&self) -> bool {
        self.request.observe == Some(0)
    }

    /// Whether a message is all of the response to a request that observes, so that it is the first notification as well.
    pub(crate) fn is_notified(&self, response: &Response, blocks: &BlockOptions) -> bool {
        self.observes()
            && response.observe.is_some()
            && response.code.is_success()
            && (self.sending.is_none() && self.gathering.is_none() && self.sink.is_none())
            && blocks.block2.is_none_or(|block| block.number() == 0 && !block.more())
    }

    /// The message to send now.
    pub(crate) fn encode(
        &mut self,
        config: &Config,
        kind: Kind,
        message_id: u16,
        token: Token,
    ) -> Result<Vec<u8>, SendError> {
        let mut blocks = BlockOptions::default();
        let mut payload = Vec::new();
        if let Some(gathering) = &self.gathering {
            // Where the block size shrinks, what was received is a multiple of the smaller size too.
            let block = Block::at(gathering.received, false, gathering.size);
            blocks.block2 = Some(block.ok_or(SendError::Offset(gathering.received))?);
            // A FETCH is its payload (RFC 8132 §2); other requests have been carried out and need none.
            if self.request.method == crate::Method::Fetch && self.sending.is_none() {
                payload = self.request.payload.clone();
            }
            let request = Request { observe: None, ..self.bare() };
            return options::write_request(kind, message_id, token, &request, blocks, payload)
                .ok_or(SendError::Unencodable);
        }
        match &mut self.sending {
            Some(sending) => {
                let block = sending.read(&mut payload)?;
                blocks.block1 = Some(block);
                if block.number() == 0 {
                    blocks.size1 = sending.source.size().and_then(|size| u32::try_from(size).ok());
                }
            }
            None => payload.clone_from(&self.request.payload),
        }
        if config.block_size < BlockSize::MAX {
            blocks.block2 = Block::new(0, false, config.block_size);
        }
        options::write_request(kind, message_id, token, &self.request, blocks, payload)
            .ok_or(SendError::Unencodable)
    }

    /// Takes a response to the message that was sent last.
    pub(crate) fn receive(
        &mut self,
        config: &Config,
        mut response: Response,
        blocks: BlockOptions,
        limit: u64,
    ) -> Step {
        if self.gathering.is_none()
            && let Some(sending) = &mut self.sending
            && let Some(step) = sending.acknowledge(&response, blocks.block1)
        {
            return step;
        }
        if self.begins_in_blocks(&response, blocks.block1) {
            return Step::Next;
        }
        if !response.code.is_success() {
            return Step::Done(response);
        }
        let limit = self.sink.as_ref().map_or(limit, |sink| sink.limit());
        match (blocks.block2, self.gathering.is_some()) {
            (Some(block), true) => self.gather(config, &response, block),
            (Some(block), false) if block.number() == 0 && block.more() => {
                response.block2 = Some(block);
                self.begin(config, response, block, limit)
            }
            (Some(block), false) if block.number() > 0 => Step::Failed(FailReason::BadBlock),
            (None, true) => Step::Failed(FailReason::BadBlock),
            _ => self.whole(response),
        }
    }

    /// Whether a request sent in one message is refused for its size, with a block size to try (RFC 7959 §2.9.3).
    fn begins_in_blocks(&mut self, response: &Response, block1: Option<Block>) -> bool {
        let Some(block) = block1.filter(|block| self.request.payload.len() > block.size().bytes()) else {
            return false;
        };
        if response.code != Code::REQUEST_ENTITY_TOO_LARGE || self.sending.is_some() {
            return false;
        }
        let source = Box::new(std::mem::take(&mut self.request.payload));
        self.sending = Some(Sending { source, offset: 0, size: block.size(), in_flight: None });
        true
    }

    /// A response that is one message.
    fn whole(&mut self, mut response: Response) -> Step {
        if let Some(sink) = &mut self.sink {
            if response.payload.len() as u64 > sink.limit() {
                return Step::Failed(FailReason::BodyTooLarge);
            }
            if sink.write(0, &response.payload).is_err() {
                return Step::Failed(FailReason::Body);
            }
            response.payload = sink.take();
        }
        Step::Done(response)
    }

    fn begin(&mut self, config: &Config, mut first: Response, block: Block, limit: u64) -> Step {
        if first.payload.len() != block.size().bytes() {
            return Step::Failed(FailReason::BadBlock);
        }
        if first.size2.is_some_and(|size| u64::from(size) > limit) {
            return Step::Failed(FailReason::BodyTooLarge);
        }
        let payload = std::mem::take(&mut first.payload);
        first.block2 = None;
        self.gathering = Some(Gathering { first, received: 0, size: block.size().min(config.block_size) });
        self.sink.get_or_insert_with(|| Box::new(MemorySink::new(limit)));
        match self.store(&payload) {
            Ok(()) => Step::Next,
            Err(reason) => Step::Failed(reason),
        }
    }

    fn gather(&mut self, config: &Config, response: &Response, block: Block) -> Step {
        let Some(gathering) = &mut self.gathering else {
            return Step::Stale;
        };
        if block.offset() < gathering.received {
            return Step::Stale;
        }
        let (len, size) = (response.payload.len(), block.size().bytes());
        if block.offset() > gathering.received || len > size || (block.more() && len != size) {
            return Step::Failed(FailReason::BadBlock);
        }
        let changed = response.etag.is_some() && response.etag != gathering.first.etag;
        if changed || response.code != gathering.first.code {
            return Step::Failed(FailReason::BodyChanged);
        }
        gathering.size = block.size().min(config.block_size);
        if let Err(reason) = self.store(&response.payload) {
            return Step::Failed(reason);
        }
        if block.more() {
            return Step::Next;
        }
        let payload = self.sink.as_mut().map(|sink| sink.take()).unwrap_or_default();
        match self.gathering.take() {
            Some(gathering) => Step::Done(Response { payload, ..gathering.first }),
            None => Step::Stale,
        }
    }

    /// Puts the next bytes of the response's body into its sink.
    fn store(&mut self, bytes: &[u8]) -> Result<(), FailReason> {
        let (Some(gathering), Some(sink)) = (&mut self.gathering, &mut self.sink) else {
            return Err(FailReason::Body);
        };
        let end = gathering.received.saturating_add(bytes.len() as u64);
        if end > sink.limit() {
            return Err(FailReason::BodyTooLarge);
        }
        sink.write(gathering.received, bytes).map_err(|_| FailReason::Body)?;
        gathering.received = end;
        Ok(())
    }

    /// The request without its payload.
    fn bare(&self) -> Request {
        let request = &self.request;
        Request {
            uri_path: request.uri_path.clone(),
            uri_query: request.uri_query.clone(),
            if_match: request.if_match.clone(),
            payload: Vec::new(),
            ..*request
        }
    }
}

impl Sending {
    /// Reads the block at the current offset.
    fn read(&mut self, payload: &mut Vec<u8>) -> Result<Block, SendError> {
        let size = self.size.bytes();
        // One byte beyond tells whether there is more, whether the source knows its size or not.
        self.source.read(self.offset, size + 1, payload)?;
        let more = payload.len() > size;
        payload.truncate(size);
        let block = Block::at(self.offset, more, self.size).ok_or(SendError::Offset(self.offset))?;
        self.in_flight = Some((block, payload.len()));
        Ok(block)
    }

    /// Takes the word on the block in flight; `None` if the response is the one to the whole request.
    fn acknowledge(&mut self, response: &Response, block1: Option<Block>) -> Option<Step> {
        let (sent, len) = self.in_flight?;
        let agreed = block1.map(Block::size).filter(|size| *size < self.size);
        if response.code == Code::REQUEST_ENTITY_TOO_LARGE
            && sent.number() == 0
            && let Some(size) = agreed
        {
            // RFC 7959 §2.9.3: the same again in smaller blocks. Sizes only shrink, so this ends.
            self.size = size;
            return Some(Step::Next);
        }
        let goes_on = response.code == Code::CONTINUE
            || (response.code.is_success() && sent.more() && block1.is_some_and(Block::more));
        if !goes_on {
            self.offset += if response.code.is_success() { len as u64 } else { 0 };
            return None;
        }
        if !sent.more() || block1.is_some_and(|block| block.number() != sent.number()) {
            return Some(Step::Failed(FailReason::BadBlock));
        }
        self.offset += len as u64;
        self.size = agreed.unwrap_or(self.size);
        Some(Step::Next)
    }
}
