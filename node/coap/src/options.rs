//! Options to requests and responses and back (RFC 7252 §5.4, §5.10).

use std::collections::LinkedList;

use coap_lite::{CoapOption, Packet};

use crate::{
    Block, Code, ETag, Method, Request, Response, Token,
    wire::{self, Fingerprint, Kind},
};

/// How many segments or parameters a path or query may have; a datagram could hold thousands of empty ones.
const MAX_SEGMENTS: usize = 64;

/// What an option of a message rules out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OptionFault {
    /// A critical option that is unknown, repeated where it must not be, or of a wrong form: 4.02 (§5.4.1, §5.4.3).
    Critical(u16),
    /// A block option that says what cannot be: 4.00 (RFC 7959 §2.2).
    Block(u16),
    /// A request to a proxy: 5.05 (§5.10.2).
    Proxy,
}

impl OptionFault {
    /// What answers a request.
    pub(crate) fn response(self) -> Response {
        match self {
            Self::Critical(number) => {
                Response::diagnostic(Code::BAD_OPTION, format!("option {number} is not understood"))
            }
            Self::Block(number) => {
                Response::diagnostic(Code::BAD_REQUEST, format!("option {number} is no block"))
            }
            Self::Proxy => Response::new(Code::PROXYING_NOT_SUPPORTED),
        }
    }
}

/// The options of block-wise transfer, which no layer above sees.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct BlockOptions {
    pub(crate) block1: Option<Block>,
    pub(crate) block2: Option<Block>,
    pub(crate) size1: Option<u32>,
    pub(crate) size2: Option<u32>,
}

/// Reads a request. The payload moves from the packet.
pub(crate) fn read_request(
    method: Method,
    packet: &mut Packet,
) -> Result<(Request, BlockOptions), OptionFault> {
    let mut request = Request::new(method);
    let mut blocks = BlockOptions::default();
    for (&number, values) in packet.options() {
        match CoapOption::from(number) {
            CoapOption::UriPath => request.uri_path = strings(number, values)?,
            CoapOption::UriQuery => request.uri_query = strings(number, values)?,
            CoapOption::ContentFormat => request.content_format = elective_uint(values, 2).map(|v| v as u16),
            CoapOption::Accept => request.accept = Some(critical_uint(number, values, 2)? as u16),
            CoapOption::Observe => request.observe = elective_uint(values, 3),
            CoapOption::ETag => request.etag = elective_etag(values),
            CoapOption::IfMatch => {
                for value in values {
                    request.if_match.push(ETag::new(value).ok_or(OptionFault::Critical(number))?);
                }
            }
            CoapOption::IfNoneMatch => {
                // Its length is zero; present means true.
                if values.len() != 1 || values.front().is_some_and(|value| !value.is_empty()) {
                    return Err(OptionFault::Critical(number));
                }
                request.if_none_match = true;
            }
            CoapOption::UriHost => check_host(number, values)?,
            CoapOption::UriPort => {
                critical_uint(number, values, 2)?;
            }
            CoapOption::ProxyUri | CoapOption::ProxyScheme => return Err(OptionFault::Proxy),
            CoapOption::Block1 => blocks.block1 = Some(block(number, values)?),
            CoapOption::Block2 => blocks.block2 = Some(block(number, values)?),
            CoapOption::Size1 => blocks.size1 = elective_uint(values, 4),
            CoapOption::Size2 => blocks.size2 = elective_uint(values, 4),
            _ => reject_critical(number)?,
        }
    }
    request.payload = std::mem::take(&mut packet.payload);
    Ok((request, blocks))
}

/// Reads a response. The payload moves from the packet; `block2` stays for the caller to take.
pub(crate) fn read_response(
    code: Code,
    packet: &mut Packet,
) -> Result<(Response, BlockOptions), OptionFault> {
    let mut response = Response::new(code);
    let mut blocks = BlockOptions::default();
    for (&number, values) in packet.options() {
        match CoapOption::from(number) {
            CoapOption::ContentFormat => response.content_format = elective_uint(values, 2).map(|v| v as u16),
            CoapOption::Observe => response.observe = elective_uint(values, 3),
            CoapOption::ETag => response.etag = elective_etag(values),
            CoapOption::MaxAge => response.max_age = elective_uint(values, 4),
            // Elective: one that is no text counts as absent.
            CoapOption::LocationPath => response.location_path = strings(number, values).unwrap_or_default(),
            CoapOption::LocationQuery => {
                response.location_query = strings(number, values).unwrap_or_default();
            }
            CoapOption::Block1 => blocks.block1 = Some(block(number, values)?),
            CoapOption::Block2 => blocks.block2 = Some(block(number, values)?),
            CoapOption::Size1 => blocks.size1 = elective_uint(values, 4),
            CoapOption::Size2 => blocks.size2 = elective_uint(values, 4),
            // Known, but without meaning in a response.
            CoapOption::IfMatch
            | CoapOption::IfNoneMatch
            | CoapOption::UriHost
            | CoapOption::UriPort
            | CoapOption::UriPath
            | CoapOption::UriQuery
            | CoapOption::Accept
            | CoapOption::ProxyUri
            | CoapOption::ProxyScheme => {}
            _ => reject_critical(number)?,
        }
    }
    response.size1 = blocks.size1;
    response.size2 = blocks.size2;
    response.payload = std::mem::take(&mut packet.payload);
    Ok((response, blocks))
}

/// What blocks of one body have in common: method and options but those of blocks, sizes and Observe (RFC 7959 §2.5).
pub(crate) fn transfer_key(packet: &Packet) -> u64 {
    let mut key = Fingerprint::new();
    key.mix(u64::from(u8::from(packet.header.code)));
    for (&number, values) in packet.options() {
        if matches!(
            CoapOption::from(number),
            CoapOption::Block1
                | CoapOption::Block2
                | CoapOption::Size1
                | CoapOption::Size2
                | CoapOption::Observe
        ) {
            continue;
        }
        for value in values {
            key.mix(u64::from(number));
            key.write(value);
        }
    }
    key.finish()
}

/// The packet of a request with a part of its body; `None` if an option is longer than CoAP allows.
pub(crate) fn write_request(
    kind: Kind,
    message_id: u16,
    token: Token,
    request: &Request,
    blocks: BlockOptions,
    payload: Vec<u8>,
) -> Option<Vec<u8>> {
    let mut packet = wire::packet(kind, request.method.code(), message_id, token);
    for etag in &request.if_match {
        packet.add_option(CoapOption::IfMatch, etag.as_bytes().to_vec());
    }
    if let Some(etag) = request.etag.filter(|etag| !etag.is_empty()) {
        packet.add_option(CoapOption::ETag, etag.as_bytes().to_vec());
    }
    if request.if_none_match {
        packet.add_option(CoapOption::IfNoneMatch, Vec::new());
    }
    add_optional(&mut packet, CoapOption::Observe, request.observe.map(|value| value & 0x00ff_ffff));
    add_strings(&mut packet, CoapOption::UriPath, &request.uri_path)?;
    add_optional(&mut packet, CoapOption::ContentFormat, request.content_format.map(u32::from));
    add_strings(&mut packet, CoapOption::UriQuery, &request.uri_query)?;
    add_optional(&mut packet, CoapOption::Accept, request.accept.map(u32::from));
    add_blocks(&mut packet, blocks);
    packet.payload = payload;
    packet.to_bytes_unlimited().ok()
}

/// The packet of a response with a part of its body; `None` if an option is longer than CoAP allows.
pub(crate) fn write_response(
    kind: Kind,
    message_id: u16,
    token: Token,
    response: &Response,
    blocks: BlockOptions,
    payload: Vec<u8>,
) -> Option<Vec<u8>> {
    let mut packet = wire::packet(kind, response.code, message_id, token);
    if let Some(etag) = response.etag.filter(|etag| !etag.is_empty()) {
        packet.add_option(CoapOption::ETag, etag.as_bytes().to_vec());
    }
    add_optional(&mut packet, CoapOption::Observe, response.observe.map(|value| value & 0x00ff_ffff));
    add_strings(&mut packet, CoapOption::LocationPath, &response.location_path)?;
    add_optional(&mut packet, CoapOption::ContentFormat, response.content_format.map(u32::from));
    add_optional(&mut packet, CoapOption::MaxAge, response.max_age);
    add_strings(&mut packet, CoapOption::LocationQuery, &response.location_query)?;
    add_blocks(&mut packet, blocks);
    packet.payload = payload;
    packet.to_bytes_unlimited().ok()
}

fn add_blocks(packet: &mut Packet, blocks: BlockOptions) {
    add_optional(packet, CoapOption::Block2, blocks.block2.map(Block::bits));
    add_optional(packet, CoapOption::Block1, blocks.block1.map(Block::bits));
    add_optional(packet, CoapOption::Size2, blocks.size2);
    add_optional(packet, CoapOption::Size1, blocks.size1);
}

fn add_optional(packet: &mut Packet, option: CoapOption, value: Option<u32>) {
    if let Some(value) = value {
        wire::add_uint(packet, option, value);
    }
}

fn add_strings(packet: &mut Packet, option: CoapOption, values: &[String]) -> Option<()> {
    if values.is_empty() {
        return Some(());
    }
    if values.iter().any(|value| value.len() > 255) {
        return None;
    }
    packet.set_option(option, values.iter().map(|value| value.as_bytes().to_vec()).collect());
    Some(())
}

fn strings(number: u16, values: &LinkedList<Vec<u8>>) -> Result<Vec<String>, OptionFault> {
    if values.len() > MAX_SEGMENTS {
        return Err(OptionFault::Critical(number));
    }
    values
        .iter()
        .map(|value| match std::str::from_utf8(value) {
            Ok(text) if text.len() <= 255 => Ok(text.to_owned()),
            _ => Err(OptionFault::Critical(number)),
        })
        .collect()
}

fn check_host(number: u16, values: &LinkedList<Vec<u8>>) -> Result<(), OptionFault> {
    let mut hosts = strings(number, values)?.into_iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) if !host.is_empty() => Ok(()),
        _ => Err(OptionFault::Critical(number)),
    }
}

fn critical_uint(number: u16, values: &LinkedList<Vec<u8>>, max: usize) -> Result<u32, OptionFault> {
    match values.front() {
        Some(value) if values.len() == 1 => wire::uint(value, max),
        _ => None,
    }
    .ok_or(OptionFault::Critical(number))
}

/// The first value; further ones, and one that is too long, count as unknown and elective (§5.4.3, §5.4.5).
fn elective_uint(values: &LinkedList<Vec<u8>>, max: usize) -> Option<u32> {
    values.front().and_then(|value| wire::uint(value, max))
}

fn elective_etag(values: &LinkedList<Vec<u8>>) -> Option<ETag> {
    values.front().and_then(|value| ETag::new(value)).filter(|etag| !etag.is_empty())
}

fn block(number: u16, values: &LinkedList<Vec<u8>>) -> Result<Block, OptionFault> {
    match values.front() {
        Some(value) if values.len() == 1 => Block::decode(value).map_err(|error| match error {
            crate::BlockError::Length(_) => OptionFault::Critical(number),
            crate::BlockError::ReservedSize => OptionFault::Block(number),
        }),
        _ => Err(OptionFault::Critical(number)),
    }
}

fn reject_critical(number: u16) -> Result<(), OptionFault> {
    if number % 2 == 1 { Err(OptionFault::Critical(number)) } else { Ok(()) }
}
