//! What a device answers to its server.

use crate::clock::Micros;
use crate::coap::{Encoder, Kind, Message, code, option};
use crate::content::{self, Datum};
use crate::device::Then;
use crate::fleet::Fleet;
use crate::model::{is_executable, is_writable};
use crate::path::Path;
use crate::senml::{self, Pack};
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
        let exists = self.make.model.has(&path);
        let served = &mut self.measure.served;
        match (request.code, depth) {
            (code::FETCH, 0) => {
                let paths: Vec<_> = pack(request)?.into_iter().map(|(path, _)| path).collect();
                self.read_or_observe(index, &paths, request)
            }
            (code::IPATCH, 0) => self.write(index, path, request),
            (_, 0) => Err(code::METHOD_NOT_ALLOWED),
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
            (code::GET, _) => self.read_or_observe(index, &[path], request),
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

    /// `paths` are one of a GET or several of a FETCH.
    fn read_or_observe(&mut self, index: u32, paths: &[Path], request: &Message<'_>) -> Result<Answer, u8> {
        let root = if let [path] = paths { *path } else { Path::ROOT };
        let composite = request.code == code::FETCH;
        let format = match request.uint(option::ACCEPT) {
            Some(accept) => {
                let fits = |format: &u16| {
                    content::is_spoken(*format)
                        && !(composite && matches!(*format, content::TEXT | content::TLV))
                };
                u16::try_from(accept).ok().filter(fits).ok_or(code::NOT_ACCEPTABLE)?
            }
            None if composite => content::SENML_CBOR,
            None if root.ids().len() >= 3 && self.make.version != "1.0" => content::TEXT,
            None => content::TLV,
        };
        let count = self.devices[index as usize].count();
        let values = self.read(paths, index, count);
        // A composite read leaves out what is not there; a plain one has nothing else to say.
        if values.is_empty() && !composite {
            return Err(code::METHOD_NOT_ALLOWED);
        }
        let mut answer = Answer { format: Some(format), ..code::CONTENT.into() };
        if !content::encode(format, root, &values, &mut answer.payload) {
            if request.option(option::ACCEPT).is_some() {
                return Err(code::NOT_ACCEPTABLE);
            }
            answer.format = Some(content::TLV);
            answer.payload.clear();
            content::encode(content::TLV, root, &values, &mut answer.payload);
        }
        match (request.uint(option::OBSERVE), self.targets.number(paths, &self.make.model)) {
            (Some(0), Some(target)) => {
                self.measure.served.observes += 1;
                let head = &mut self.devices[index as usize].observations;
                let format = answer.format.unwrap_or(format);
                if let Some(at) = self.observations.put(head, target, request.token, format) {
                    answer.observe = Some(count);
                    self.supersede(index, at);
                }
            }
            (Some(1), Some(target)) => {
                self.measure.served.cancels += 1;
                self.cancel(index, target);
            }
            _ => self.measure.served.reads += 1,
        }
        Ok(answer)
    }

    fn write(&mut self, index: u32, path: Path, request: &Message<'_>) -> Result<Answer, u8> {
        let format = request.uint(option::CONTENT_FORMAT).unwrap_or(0);
        let bytes = |path, bytes: &[u8]| {
            let is_text = format == u32::from(content::TEXT);
            let kind = self.make.model.value(&path, index, 0);
            Some((path, datum(kind.as_ref(), is_text, bytes)?))
        };
        let values: Option<Vec<(Path, Datum)>> = match u16::try_from(format) {
            Ok(content::TEXT | content::OPAQUE) if path.ids().len() >= 3 => {
                bytes(path, request.payload).map(|value| vec![value])
            }
            Ok(content::TLV) => content::decode_tlv(path, request.payload)
                .and_then(|values| values.iter().map(|(path, value)| bytes(*path, value)).collect()),
            Ok(content::SENML_JSON | content::SENML_CBOR) => {
                let like = |path: &Path| self.make.model.value(path, index, 0);
                pack(request)?
                    .into_iter()
                    .map(|(path, value)| Some((path, alike(like(&path), value?)?)))
                    .collect()
            }
            _ => return Err(code::UNSUPPORTED_FORMAT),
        };
        let typed = values.ok_or(code::BAD_REQUEST)?;
        for (at, _) in &typed {
            match *at.ids() {
                [object, _, resource, ..] if path.covers(at) => {
                    if !is_writable(object, resource) {
                        return Err(code::METHOD_NOT_ALLOWED);
                    }
                }
                _ => return Err(code::BAD_REQUEST),
            }
        }
        if self.written.len() + typed.len() > MAX_WRITTEN {
            return Err(code::SERVICE_UNAVAILABLE);
        }
        self.measure.served.writes += 1;
        self.written.extend(typed.into_iter().map(|(path, datum)| ((index, path), datum)));
        Ok(code::CHANGED.into())
    }
}

/// The SenML pack of a composite operation or a write.
fn pack(request: &Message<'_>) -> Result<Pack, u8> {
    let decoded = match request.uint(option::CONTENT_FORMAT).and_then(|format| u16::try_from(format).ok()) {
        Some(content::SENML_CBOR) => senml::decode_cbor(request.payload),
        Some(content::SENML_JSON) => senml::decode_json(request.payload),
        _ => return Err(code::UNSUPPORTED_FORMAT),
    };
    decoded.ok_or(code::BAD_REQUEST)
}

/// A value of SenML, which does not tell integers from floats, in the type that the resource has.
fn alike(like: Option<Datum>, value: Datum) -> Option<Datum> {
    Some(match (like, value) {
        (Some(Datum::Float(_)), Datum::Integer(value)) => Datum::Float(value as f64),
        (Some(Datum::Integer(_)), Datum::Float(value)) if value.fract() == 0.0 => {
            Datum::Integer(value as i64)
        }
        (Some(like), value) if std::mem::discriminant(&like) != std::mem::discriminant(&value) => {
            return None;
        }
        (_, value) => value,
    })
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::Bench;
    use crate::clock::SECOND;
    use crate::fleet::Fired;
    use crate::measure::Action;

    #[test]
    fn a_cancelled_observation_takes_its_open_notification_along() {
        let mut bench = Bench::registered(1, true);
        bench.observe("/3303/0/5700");
        bench.fire(Action::Notify, 0);
        bench.sent();
        bench.request(code::GET, 901, "/3303/0/5700", &[(option::OBSERVE, 1)]);
        assert_eq!((bench.fleet.open(), bench.tally(Action::Notify).superseded), (0, 1));
        assert!(bench.pass(100 * SECOND).is_empty());
    }

    #[test]
    fn a_repeated_request_gets_the_same_reply_and_is_done_once() {
        let mut bench = Bench::registered(1, true);
        let first = bench.request(code::GET, 77, "/3303/0/5700", &[]);
        let second = bench.request(code::GET, 77, "/3303/0/5700", &[]);
        assert_eq!(first, second);
        let served = bench.fleet.measure.served;
        assert_eq!((served.reads, served.duplicates), (1, 1));
    }

    #[test]
    fn each_request_of_a_server_gets_the_code_that_a_device_would_give() {
        let mut bench = Bench::registered(1, true);
        let accept = |format: u16| vec![(option::ACCEPT, u32::from(format))];
        for (mid, (code, path, options, want)) in [
            (code::GET, "/3303/0/5700", accept(content::SENML_CBOR), code::CONTENT),
            (code::GET, "/3303/0", accept(content::TLV), code::CONTENT),
            (code::GET, "/3", accept(content::LINKS), code::CONTENT),
            (code::GET, "/3303/0", accept(content::TEXT), code::NOT_ACCEPTABLE),
            (code::GET, "/3303/0", accept(60), code::NOT_ACCEPTABLE),
            (code::GET, "/9/0", vec![], code::NOT_FOUND),
            (code::GET, "/3/0/4", vec![], code::METHOD_NOT_ALLOWED),
            (code::POST, "/3/0/4", vec![], code::CHANGED),
            (code::POST, "/3303/0/5700", vec![], code::METHOD_NOT_ALLOWED),
            (code::PUT, "/3303/0/5700", vec![], code::CHANGED),
            (code::POST, "/3303", vec![], code::CREATED),
            (code::DELETE, "/3303/0", vec![], code::DELETED),
            (code::GET, "/3/0", vec![(option::URI_QUERY + 6, 1)], code::BAD_OPTION),
        ]
        .into_iter()
        .enumerate()
        {
            let reply = bench.request(code, mid as u16, path, &options);
            let reply = Message::parse(&reply).unwrap();
            assert_eq!(code::text(reply.code), code::text(want), "{path}");
            assert_eq!(reply.token, b"tok");
        }
    }

    fn composite(bench: &mut Bench, code: u8, mid: u16, observe: Option<u32>, pack: &str) -> Vec<u8> {
        let mut request = Vec::new();
        let mut encoder = Encoder::begin(&mut request, Kind::Confirmable, code, mid, b"tok");
        if let Some(observe) = observe {
            encoder.uint(option::OBSERVE, observe);
        }
        encoder.uint(option::CONTENT_FORMAT, content::SENML_JSON.into());
        encoder.uint(option::ACCEPT, content::SENML_JSON.into());
        encoder.payload(pack.as_bytes());
        bench.receive(0, &request);
        bench.only()
    }

    #[test]
    fn a_composite_observation_brings_all_its_paths_in_one_notification() {
        let mut bench = Bench::registered(1, true);
        let pack = r#"[{"n":"/3/0/9"},{"n":"/3303/0/5700"},{"n":"/9/9/9"}]"#;
        composite(&mut bench, code::FETCH, 900, Some(0), pack);
        assert_eq!(bench.fire(Action::Notify, 0), Fired::Sent);
        let notification = bench.only();
        let payload = String::from_utf8_lossy(Message::parse(&notification).unwrap().payload).into_owned();
        assert_eq!(payload, r#"[{"n":"/3/0/9","v":2},{"n":"/3303/0/5700","v":2}]"#);
        composite(&mut bench, code::FETCH, 901, Some(1), pack);
        assert_eq!(bench.fleet.observed(), (0, 0));
    }

    #[test]
    fn what_a_server_writes_in_senml_is_read_back() {
        let mut bench = Bench::registered(1, true);
        let pack = r#"[{"n":"/3/0/14","vs":"+05:45"},{"n":"/1/0/1","v":60}]"#;
        let reply = composite(&mut bench, code::IPATCH, 900, None, pack);
        assert_eq!(Message::parse(&reply).unwrap().code, code::CHANGED);
        let reply = bench.request(code::GET, 901, "/3/0/14", &[]);
        assert_eq!(Message::parse(&reply).unwrap().payload, b"+05:45");
        let wrong = r#"[{"n":"/3/0/9","v":60}]"#;
        let reply = composite(&mut bench, code::IPATCH, 902, None, wrong);
        assert_eq!(Message::parse(&reply).unwrap().code, code::METHOD_NOT_ALLOWED);
    }

    #[test]
    fn a_long_answer_goes_out_in_the_blocks_that_were_asked_for() {
        let mut bench = Bench::registered(1, true);
        let links = vec![(option::ACCEPT, u32::from(content::LINKS))];
        let whole = bench.request(code::GET, 1, "/3/0", &links);
        let whole = Message::parse(&whole).unwrap().payload.to_vec();
        let mut body = Vec::new();
        for number in 0.. {
            let block = number << 4 | 1;
            let options = [links[0], (option::BLOCK2, block)];
            let part = bench.request(code::GET, 100 + number as u16, "/3/0", &options);
            let part = Message::parse(&part).unwrap();
            body.extend_from_slice(part.payload);
            if part.uint(option::BLOCK2).unwrap() & 8 == 0 {
                break;
            }
        }
        assert_eq!(body, whole);
    }
}
