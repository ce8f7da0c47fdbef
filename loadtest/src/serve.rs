//! What a device answers to its server.

use crate::clock::Micros;
use crate::coap::{Encoder, Kind, Message, code, option};
use crate::content::{self, Datum};
use crate::device::Then;
use crate::fleet::Fleet;
use crate::model::{is_executable, is_writable};
use crate::path::Path;
use crate::socket::Transport;

/// Values that servers may write into the whole fleet; more are refused.
const MAX_WRITTEN: usize = 100_000;

/// An answer before it is a message.
struct Answer {
    code: u8,
    observe: Option<u32>,
    format: Option<u16>,
    payload: Vec<u8>,
}

impl From<u8> for Answer {
    fn from(code: u8) -> Self {
        Self { code, observe: None, format: None, payload: Vec::new() }
    }
}

impl Fleet {
    /// Answers a request, once: the same message id gets the same reply again.
    pub(crate) fn serve(&mut self, now: Micros, index: u32, request: &Message<'_>, out: &mut impl Transport) {
        if let Some(reply) = self.replies.find(now, index, request.mid) {
            self.measure.served.duplicates += 1;
            out.send(index, reply);
            return;
        }
        let answer = self.answer(index, request).unwrap_or_else(Answer::from);
        self.measure.served.refused += u64::from(!code::is_success(answer.code));
        let (kind, mid) = match request.kind {
            Kind::Confirmable => (Kind::Acknowledgement, request.mid),
            _ => (Kind::NonConfirmable, self.devices[index as usize].take_mid()),
        };
        let mut reply = Encoder::begin(&mut self.scratch, kind, answer.code, mid, request.token);
        if let Some(observe) = answer.observe {
            reply.uint(option::OBSERVE, observe & 0xFF_FFFF);
        }
        if let Some(format) = answer.format {
            reply.uint(option::CONTENT_FORMAT, format.into());
        }
        match request.uint(option::BLOCK2).filter(|_| code::is_success(answer.code)) {
            Some(block) => slice(&mut reply, block, &answer.payload),
            None => reply.payload(&answer.payload),
        }
        self.replies.keep(now, index, request.mid, &self.scratch);
        out.send(index, &self.scratch);
        self.follow(index, now, out);
    }

    fn answer(&mut self, index: u32, request: &Message<'_>) -> Result<Answer, u8> {
        let mut path = Path::ROOT;
        for (number, value) in request.options() {
            match number {
                option::URI_PATH => path = path.join(value).ok_or(code::NOT_FOUND)?,
                number if !option::is_understood(number) => return Err(code::BAD_OPTION),
                _ => {}
            }
        }
        let depth = path.ids().len();
        if depth == 0 {
            return Err(code::METHOD_NOT_ALLOWED);
        }
        let exists = self.make.model.has(&path);
        let served = &mut self.measure.served;
        match (request.code, depth) {
            // A Create names an object, or in 1.0 an instance, that is not there yet.
            (code::POST, 1) => {
                served.creates += 1;
                Ok(code::CREATED.into())
            }
            _ if !exists => Err(code::NOT_FOUND),
            (code::GET, _) if request.uint(option::ACCEPT) == Some(content::LINKS.into()) => {
                served.discovers += 1;
                let payload = self.make.model.discover(&path).into_bytes();
                Ok(Answer { format: Some(content::LINKS), payload, ..code::CONTENT.into() })
            }
            (code::GET, _) => self.read_or_observe(index, path, request),
            // Write-Attributes has queries in place of a payload.
            (code::PUT, _) if request.payload.is_empty() => {
                served.writes += 1;
                Ok(code::CHANGED.into())
            }
            (code::PUT, 2..) | (code::POST, 2 | 4) => self.write(index, path, request),
            (code::POST, 3) => {
                let (object, resource) = (path.ids()[0], path.ids()[2]);
                if !is_executable(object, resource) {
                    return Err(code::METHOD_NOT_ALLOWED);
                }
                served.executes += 1;
                let device = &mut self.devices[index as usize];
                // Registration Update Trigger.
                if (object, resource) == (1, 8) && device.then == Then::Nothing {
                    device.then = Then::Update;
                }
                Ok(code::CHANGED.into())
            }
            (code::DELETE, 2) => {
                served.deletes += 1;
                Ok(code::DELETED.into())
            }
            _ => Err(code::METHOD_NOT_ALLOWED),
        }
    }

    fn read_or_observe(&mut self, index: u32, path: Path, request: &Message<'_>) -> Result<Answer, u8> {
        let format = match request.uint(option::ACCEPT) {
            Some(accept) => {
                let format = u16::try_from(accept).ok().filter(|&format| content::is_spoken(format));
                format.ok_or(code::NOT_ACCEPTABLE)?
            }
            None if path.ids().len() >= 3 && self.make.version != "1.0" => content::TEXT,
            None => content::TLV,
        };
        let count = self.devices[index as usize].count();
        let values = self.read(&path, index, count);
        if values.is_empty() {
            return Err(code::METHOD_NOT_ALLOWED);
        }
        let mut answer = Answer { format: Some(format), ..code::CONTENT.into() };
        if !content::encode(format, path, &values, &mut answer.payload) {
            if request.option(option::ACCEPT).is_some() {
                return Err(code::NOT_ACCEPTABLE);
            }
            answer.format = Some(content::TLV);
            answer.payload.clear();
            content::encode(content::TLV, path, &values, &mut answer.payload);
        }
        match request.uint(option::OBSERVE) {
            Some(0) => {
                self.measure.served.observes += 1;
                self.note_counter(path);
                let head = &mut self.devices[index as usize].observations;
                let format = answer.format.unwrap_or(format);
                if let Some(at) = self.observations.put(head, path, request.token, format) {
                    answer.observe = Some(count);
                    self.supersede(index, at);
                }
            }
            Some(1) => {
                self.measure.served.cancels += 1;
                self.cancel(index, &path);
            }
            _ => self.measure.served.reads += 1,
        }
        Ok(answer)
    }

    fn write(&mut self, index: u32, path: Path, request: &Message<'_>) -> Result<Answer, u8> {
        let format = request.uint(option::CONTENT_FORMAT).unwrap_or(0);
        let values = match u16::try_from(format) {
            Ok(content::TEXT | content::OPAQUE) if path.ids().len() >= 3 => {
                vec![(path, request.payload.to_vec())]
            }
            Ok(content::TLV) => content::decode_tlv(path, request.payload).ok_or(code::BAD_REQUEST)?,
            _ => return Err(code::UNSUPPORTED_FORMAT),
        };
        let is_text = format == u32::from(content::TEXT);
        let mut typed = Vec::with_capacity(values.len());
        for (path, bytes) in values {
            let &[object, _, resource, ..] = path.ids() else { return Err(code::BAD_REQUEST) };
            if !is_writable(object, resource) {
                return Err(code::METHOD_NOT_ALLOWED);
            }
            let kind = self.make.model.value(&path, index, 0);
            typed.push((path, datum(kind.as_ref(), is_text, &bytes).ok_or(code::BAD_REQUEST)?));
        }
        if self.written.len() + typed.len() > MAX_WRITTEN {
            return Err(code::SERVICE_UNAVAILABLE);
        }
        self.measure.served.writes += 1;
        self.written.extend(typed.into_iter().map(|(path, datum)| ((index, path), datum)));
        Ok(code::CHANGED.into())
    }
}

/// A written value, typed as the resource's present value is.
fn datum(like: Option<&Datum>, is_text: bool, bytes: &[u8]) -> Option<Datum> {
    let text = || std::str::from_utf8(bytes).ok();
    Some(match like {
        Some(Datum::Integer(_)) if is_text => Datum::Integer(text()?.parse().ok()?),
        Some(Datum::Float(_)) if is_text => Datum::Float(text()?.parse().ok()?),
        Some(Datum::Boolean(_)) if is_text => Datum::Boolean(text()?.parse::<u8>().ok()? != 0),
        Some(Datum::Integer(_)) => Datum::Integer(integer(bytes)?),
        Some(Datum::Float(_)) => match *bytes {
            [a, b, c, d] => Datum::Float(f32::from_be_bytes([a, b, c, d]).into()),
            _ => Datum::Float(f64::from_be_bytes(bytes.try_into().ok()?)),
        },
        Some(Datum::Boolean(_)) => Datum::Boolean(bytes != [0]),
        Some(Datum::Text(_)) => Datum::Text(text()?.to_owned().into()),
        _ => Datum::Opaque(bytes.to_vec()),
    })
}

fn integer(bytes: &[u8]) -> Option<i64> {
    let first = *bytes.first().filter(|_| matches!(bytes.len(), 1 | 2 | 4 | 8))?;
    let sign = if first & 0x80 == 0 { 0 } else { -1 };
    Some(bytes.iter().fold(sign, |value, &byte| value << 8 | i64::from(byte)))
}

/// The part of a payload that a Block2 option asks for, RFC 7959 §2.4.
fn slice(reply: &mut Encoder<'_>, block: u32, payload: &[u8]) {
    let size = 16usize << (block & 7).min(6);
    let begin = (block as usize >> 4).saturating_mul(size).min(payload.len());
    let end = (begin + size).min(payload.len());
    if begin == 0 && end == payload.len() {
        reply.payload(payload);
        return;
    }
    let more = u32::from(end < payload.len()) << 3;
    reply.uint(option::BLOCK2, block & !0xF | more | (block & 7).min(6));
    reply.uint(option::SIZE2, payload.len() as u32);
    reply.payload(&payload[begin..end]);
}
