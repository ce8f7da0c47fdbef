//! The messages that devices send of their own accord. Each is built anew for every transmission, from the same
//! state to the same bytes, so that nothing is kept for a retransmission.

use crate::coap::{Encoder, Kind, Message, code, option};
use crate::content::{self, Datum};
use crate::fleet::Fleet;
use crate::path::Path;
use crate::socket::Transport;

impl Fleet {
    /// Sends the registration with what the whole fleet and this device are.
    pub(crate) fn transmit_register(&mut self, index: u32, out: &mut impl Transport) {
        let mid = self.devices[index as usize].mid;
        let make = &self.make;
        self.name.clear();
        self.name.push_str("ep=");
        make.endpoint.write(make.first + u64::from(index), &mut self.name);
        let mut message =
            Encoder::begin(&mut self.scratch, Kind::Confirmable, code::POST, mid, &mid.to_be_bytes());
        message
            .option(option::URI_PATH, b"rd")
            .uint(option::CONTENT_FORMAT, content::LINKS.into())
            .option(option::URI_QUERY, self.name.as_bytes())
            .option(option::URI_QUERY, format!("lt={}", make.lifetime).as_bytes())
            .option(option::URI_QUERY, format!("lwm2m={}", make.version).as_bytes())
            .option(option::URI_QUERY, format!("b={}", make.binding).as_bytes());
        if make.queue {
            message.option(option::URI_QUERY, b"Q");
        }
        message.payload(self.links.as_bytes());
        out.send(index, &self.scratch);
    }

    /// Sends an update (POST) or a de-registration (DELETE).
    pub(crate) fn transmit_to_location(&mut self, index: u32, code: u8, out: &mut impl Transport) {
        let device = &self.devices[index as usize];
        let location = match device.location() {
            [] => self.long_locations.get(&index).map_or(&[][..], AsRef::as_ref),
            location => location,
        };
        let token = device.mid.to_be_bytes();
        Encoder::begin(&mut self.scratch, Kind::Confirmable, code, device.mid, &token).encoded_path(location);
        out.send(index, &self.scratch);
    }

    /// Sends the value with the number `notified` to who observes it.
    pub(crate) fn transmit_notification(&mut self, index: u32, kind: Kind, out: &mut impl Transport) {
        let device = &self.devices[index as usize];
        let observation = self.observations.observation(device.notifying);
        self.payload.clear();
        let (target, format, count) = (observation.target, observation.format, device.notified);
        match *self.targets.target(target).paths {
            // The hot case: one resource, nothing on the heap.
            [path] if path.ids().len() == 3 && self.written.is_empty() => {
                if let Some(datum) = self.make.model.value(&path, index, count) {
                    content::encode(format, path, &[(path, datum)], &mut self.payload);
                }
            }
            ref paths => {
                let values = self.read(paths, index, count);
                let root = if let [path] = paths { *path } else { Path::ROOT };
                content::encode(format, root, &values, &mut self.payload);
            }
        }
        let device = &self.devices[index as usize];
        let token = self.observations.observation(device.notifying).token();
        Encoder::begin(&mut self.scratch, kind, code::CONTENT, device.mid, token)
            .uint(option::OBSERVE, count & 0xFF_FFFF)
            .uint(option::CONTENT_FORMAT, format.into())
            .payload(&self.payload);
        out.send(index, &self.scratch);
    }

    /// The values at paths as the device has them: what was written, else what the model says.
    pub(crate) fn read(&self, paths: &[Path], index: u32, count: u32) -> Vec<(Path, Datum)> {
        let read = |path| self.make.model.read(path, index, count);
        let mut values: Vec<_> = paths.iter().flat_map(read).collect();
        if paths.len() > 1 {
            values.sort_by_key(|(path, _)| *path);
            values.dedup_by_key(|(path, _)| *path);
        }
        if !self.written.is_empty() {
            for (path, datum) in &mut values {
                if let Some(written) = self.written.get(&(index, *path)) {
                    *datum = written.clone();
                }
            }
        }
        values
    }

    /// Keeps Location-Path as the Uri-Path of what follows; `false` when the answer names none.
    pub(crate) fn keep_location(&mut self, index: u32, message: &Message<'_>) -> bool {
        let mut buffer = Vec::with_capacity(24);
        let mut path = Encoder::begin(&mut buffer, Kind::Confirmable, code::EMPTY, 0, &[]);
        for (number, segment) in message.options() {
            if number == option::LOCATION_PATH {
                path.option(option::URI_PATH, segment);
            }
        }
        let options = &buffer[4..];
        if self.devices[index as usize].keep_location(options) {
            self.long_locations.remove(&index);
        } else {
            self.long_locations.insert(index, options.into());
        }
        !options.is_empty()
    }
}
