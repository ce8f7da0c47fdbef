//! The body of a response that goes out block by block (RFC 7959 §2.4), at the server.

use std::time::Instant;

use crate::{
    Block, BlockSize, BodyError, BodySource, Code, Config, ETag, Response, options::BlockOptions,
    wire::Fingerprint,
};

/// A response of which the client may ask for further blocks.
#[derive(Debug)]
pub(crate) struct Download {
    pub(crate) key: u64,
    /// The options that every block carries.
    template: Response,
    source: Box<dyn BodySource>,
    pub(crate) expires: Instant,
}

/// One message's worth of a response.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) response: Response,
    pub(crate) blocks: BlockOptions,
    pub(crate) payload: Vec<u8>,
    /// What serves the blocks after this one.
    pub(crate) rest: Option<Download>,
}

impl Part {
    /// A response that is one message.
    pub(crate) fn whole(mut response: Response) -> Self {
        let payload = std::mem::take(&mut response.payload);
        Self {
            blocks: BlockOptions { size1: response.size1, size2: response.size2, ..Default::default() },
            response,
            payload,
            rest: None,
        }
    }
}

/// Cuts the part that the client asked for (`wish`) out of a response, or the first that fits a message.
pub(crate) fn cut(
    now: Instant,
    config: &Config,
    key: u64,
    wish: Option<Block>,
    mut response: Response,
    source: Option<Box<dyn BodySource>>,
) -> Part {
    if !response.code.is_success() {
        // Diagnostics are for people: what does not fit is cut, not sent in blocks.
        truncate(&mut response.payload, config.max_payload);
        return Part::whole(response);
    }
    let asked = wish.filter(|wish| wish.number() > 0);
    let room = wish.map_or(config.max_payload, |wish| wish.size().bytes().min(config.max_payload));
    let mut source = match source {
        Some(source) => source,
        None if response.payload.len() <= room && asked.is_none() => return Part::whole(response),
        None => {
            if response.etag.is_none() {
                response.etag = Some(content_tag(&response.payload));
            }
            Box::new(std::mem::take(&mut response.payload))
        }
    };
    if asked.is_none()
        && let Some(size) = source.size().and_then(|size| usize::try_from(size).ok())
        && size <= room
    {
        response.payload.clear();
        return match source.read(0, size, &mut response.payload) {
            Ok(()) => Part::whole(response),
            Err(error) => Part::whole(failure(error)),
        };
    }
    let size = wish.map_or(config.block_size, |wish| wish.size().min(config.block_size));
    let offset = asked.map_or(0, Block::offset);
    let (payload, block) = match read(source.as_mut(), offset, size) {
        Ok(read) => read,
        Err(refusal) => return Part::whole(*refusal),
    };
    let size2 = source.size().and_then(|size| u32::try_from(size).ok());
    let template = Response {
        observe: None,
        location_path: Vec::new(),
        location_query: Vec::new(),
        size1: None,
        size2: None,
        ..response.clone()
    };
    let rest =
        block.more().then(|| Download { key, template, source, expires: now + config.transfer_timeout });
    Part {
        response,
        blocks: BlockOptions { block2: Some(block), size2, ..Default::default() },
        payload,
        rest,
    }
}

impl Download {
    /// The part that the client asks for, and whether it is the last one.
    pub(crate) fn serve(&mut self, now: Instant, config: &Config, wish: Block) -> (Part, bool) {
        self.expires = now + config.transfer_timeout;
        let size = wish.size().min(config.block_size);
        match read(self.source.as_mut(), wish.offset(), size) {
            Ok((payload, block)) => {
                let blocks = BlockOptions { block2: Some(block), ..Default::default() };
                (Part { response: self.template.clone(), blocks, payload, rest: None }, !block.more())
            }
            Err(refusal) => (Part::whole(*refusal), true),
        }
    }
}

/// Reads one block, and whether more follow.
fn read(
    source: &mut dyn BodySource,
    offset: u64,
    size: BlockSize,
) -> Result<(Vec<u8>, Block), Box<Response>> {
    let mut payload = Vec::with_capacity(size.bytes() + 1);
    // One byte beyond tells whether there is more, whether the source knows its size or not.
    source.read(offset, size.bytes() + 1, &mut payload).map_err(|error| Box::new(failure(error)))?;
    let more = payload.len() > size.bytes();
    payload.truncate(size.bytes());
    match Block::at(offset, more, size) {
        Some(block) if offset == 0 || !payload.is_empty() => Ok((payload, block)),
        _ => Err(Box::new(Response::diagnostic(Code::BAD_REQUEST, "the body has no such block"))),
    }
}

fn failure(error: BodyError) -> Response {
    match error {
        BodyError::Gone => Response::diagnostic(Code::REQUEST_ENTITY_INCOMPLETE, "the body has changed"),
        BodyError::Full | BodyError::Failed => Response::new(Code::INTERNAL_SERVER_ERROR),
    }
}

/// A tag that changes with the content.
fn content_tag(payload: &[u8]) -> ETag {
    let mut tag = Fingerprint::new();
    tag.write(payload);
    ETag::from(tag.finish())
}

fn truncate(payload: &mut Vec<u8>, limit: usize) {
    if payload.len() <= limit {
        return;
    }
    let mut end = limit;
    // Not within a character.
    while end > 0 && payload[end] & 0xc0 == 0x80 {
        end -= 1;
    }
    payload.truncate(end);
}
