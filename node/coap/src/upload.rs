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
    upload: &mut Option<Upload>,
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
        upload.take_if(|upload| upload.key == key);
        return too_large();
    }
    if block.number() == 0 {
        if !block.more() {
            return Taken::Whole(Some(block));
        }
        // One body at a time per peer: a new one takes the place of an abandoned one.
        *upload = Some(Upload { key, received: 0, sink: MemorySink::new(limit), expires: now });
    }
    let current = upload
        .as_mut()
        .filter(|upload| upload.key == key && upload.received == block.offset())
        .filter(|upload| block.number() == 0 || now < upload.expires);
    let Some(current) = current else {
        return Taken::Refuse(Response::diagnostic(
            Code::REQUEST_ENTITY_INCOMPLETE,
            "blocks are missing before this one",
        ));
    };
    if current.sink.write(block.offset(), &request.payload).is_err() {
        *upload = None;
        return too_large();
    }
    if block.more() {
        current.received += len as u64;
        current.expires = now + config.transfer_timeout;
        let agreed = Block::new(block.number(), true, block.size().min(config.block_size));
        return Taken::Continue(agreed.unwrap_or(block));
    }
    request.payload = current.sink.take();
    *upload = None;
    Taken::Whole(Some(block))
}
