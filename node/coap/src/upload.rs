//! The body of a request that comes in block by block (RFC 7959 §2.5), at the server.

use std::time::Instant;

use crate::{Block, BodySink, Code, Config, MemorySink, Request, Response, options::BlockOptions};

/// A body of which blocks are still to come.
#[derive(Debug)]
pub(crate) struct Upload {
    key: u64,
    received: u64,
    sink: MemorySink,
    pub(crate) expires: Instant,
}

/// What a request's block led to.
#[derive(Debug)]
pub(crate) enum Taken {
    /// The request has its whole body; the answer names this block.
    Whole(Option<Block>),
    /// 2.31 with this block asks for more.
    Continue(Block),
    Refuse(Response),
}

/// Takes the payload of `request`, or puts the whole body in its place when that is complete.
pub(crate) fn take(
    uploads: &mut Vec<Upload>,
    now: Instant,
    config: &Config,
    limit: u64,
    key: u64,
    request: &mut Request,
    blocks: BlockOptions,
) -> Taken {
    let too_large = || {
        let limit = u32::try_from(limit).unwrap_or(u32::MAX);
        Taken::Refuse(Response::new(Code::REQUEST_ENTITY_TOO_LARGE).size1(limit))
    };
    let Some(block) = blocks.block1 else {
        return if request.payload.len() as u64 > limit { too_large() } else { Taken::Whole(None) };
    };
    let (len, size) = (request.payload.len(), block.size().bytes());
    if len > size || (block.more() && len != size) {
        return Taken::Refuse(Response::diagnostic(Code::BAD_REQUEST, "block of another size than it says"));
    }
    let announced = blocks.size1.map_or(0, u64::from);
    if announced.max(block.offset().saturating_add(len as u64)) > limit {
        uploads.retain(|upload| upload.key != key);
        return too_large();
    }
    if block.number() == 0 {
        if !block.more() {
            return Taken::Whole(Some(block));
        }
        // A new body takes the place of its own earlier attempt, or of the oldest one.
        uploads.retain(|upload| upload.key != key);
        if uploads.len() >= config.max_transfers.max(1) {
            uploads.remove(0);
        }
        let expires = now + config.transfer_timeout;
        uploads.push(Upload { key, received: 0, sink: MemorySink::new(limit), expires });
    }
    let at = uploads
        .iter()
        .position(|upload| upload.key == key && upload.received == block.offset() && now < upload.expires);
    let Some(at) = at else {
        return Taken::Refuse(Response::diagnostic(
            Code::REQUEST_ENTITY_INCOMPLETE,
            "blocks are missing before this one",
        ));
    };
    let current = &mut uploads[at];
    if current.sink.write(block.offset(), &request.payload).is_err() {
        uploads.remove(at);
        return too_large();
    }
    if block.more() {
        current.received += len as u64;
        current.expires = now + config.transfer_timeout;
        let agreed = Block::new(block.number(), true, block.size().min(config.block_size));
        return Taken::Continue(agreed.unwrap_or(block));
    }
    request.payload = current.sink.take();
    uploads.remove(at);
    Taken::Whole(Some(block))
}
