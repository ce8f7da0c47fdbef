//! What a simulated device consists of: its objects, and the value of each resource.

use crate::content::{self, Datum};
use crate::path::Path;

/// From what the values of a device come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Values {
    /// The device's counter itself, unique and increasing, so that what came out can be checked.
    Counter,
    /// Temperatures and batteries that look alive.
    Lively,
}

/// Objects and values of every device of a fleet.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    /// Instances in ascending order, such as `/3/0`.
    instances: Vec<Path>,
    values: Values,
}

/// What is no object to advertise.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is no object instance: write it as </3303/0> or /3303/0")]
pub(crate) struct ObjectError(String);

/// Resources of the objects that are modelled; of any other object every resource is a counter.
const SERVER: &[u16] = &[0, 1, 6, 7];
const DEVICE: &[u16] = &[0, 1, 2, 3, 9, 10, 11, 13, 14, 15, 16, 17];
const SENSOR: &[u16] = &[5601, 5602, 5603, 5604, 5700, 5701];
const UNKNOWN: &[u16] = &[];

fn is_sensor(object: u16) -> bool {
    (3300..3500).contains(&object)
}

fn resources(object: u16) -> &'static [u16] {
    match object {
        1 => SERVER,
        3 => DEVICE,
        object if is_sensor(object) => SENSOR,
        _ => UNKNOWN,
    }
}

impl Model {
    /// `objects` as users write them, with or without angle brackets.
    pub(crate) fn new(objects: &[String], values: Values) -> Result<Self, ObjectError> {
        let mut instances = Vec::new();
        for text in objects {
            let bare = text.trim().trim_start_matches('<').trim_end_matches('>');
            let path = bare.parse::<Path>().ok().filter(|path| path.ids().len() == 2);
            instances.push(path.ok_or_else(|| ObjectError(text.clone()))?);
        }
        instances.sort_unstable();
        instances.dedup();
        Ok(Self { instances, values })
    }

    /// The payload of a registration: root attributes where the version knows them, then every instance.
    pub(crate) fn links(&self, version: &str) -> String {
        let mut links = match version {
            "1.0" => String::new(),
            "1.1" => format!(
                "</>;rt=\"oma.lwm2m\";ct=\"{} {} {} {}\"",
                content::TEXT,
                content::SENML_JSON,
                content::SENML_CBOR,
                content::TLV
            ),
            _ => format!(
                "</>;rt=\"oma.lwm2m\";ct=\"{} {} {} {} {}\"",
                content::TEXT,
                content::SENML_JSON,
                content::SENML_CBOR,
                content::TLV,
                content::LWM2M_CBOR
            ),
        };
        for instance in &self.instances {
            if !links.is_empty() {
                links.push(',');
            }
            links.push_str(&format!("<{instance}>"));
        }
        links
    }

    /// Instances at, above or below a path.
    fn instances(&self, path: &Path) -> impl Iterator<Item = &Path> {
        self.instances.iter().filter(move |instance| path.covers(instance) || instance.covers(path))
    }

    /// Whether the device has anything at this path.
    pub(crate) fn has(&self, path: &Path) -> bool {
        match *path.ids() {
            [object, _, resource, ..] if resources(object) != UNKNOWN => {
                self.instances(path).next().is_some()
                    && (resources(object).contains(&resource) || is_executable(object, resource))
            }
            _ => self.instances(path).next().is_some(),
        }
    }

    /// Which resource carries the counter when `path` is observed.
    pub(crate) fn counter(&self, path: &Path) -> Option<Path> {
        match *path.ids() {
            [_, _, _] if self.has(path) => {
                matches!(self.value(path, 0, 0)?, Datum::Integer(_) | Datum::Float(_))
                    .then_some(*path)
                    .filter(is_measured)
            }
            [_, _] => path.child(main_resource(path.ids()[0])?).filter(|path| self.has(path)),
            [_] => self.counter(self.instances(path).next()?),
            _ => None,
        }
    }

    /// Readable resources at or below a path, with their values for a device at a count.
    pub(crate) fn read(&self, path: &Path, device: u32, count: u32) -> Vec<(Path, Datum)> {
        match *path.ids() {
            [_, _, _] => {
                return self.value(path, device, count).map(|datum| (*path, datum)).into_iter().collect();
            }
            [object, instance, resource, id] => {
                let whole = [instance, resource]
                    .iter()
                    .try_fold(Path::ROOT.child(object), |p, &id| Some(p?.child(id)));
                let instances = match whole.flatten().and_then(|whole| self.value(&whole, device, count)) {
                    Some(Datum::Multiple(instances)) => instances,
                    _ => return Vec::new(),
                };
                let one = instances.into_iter().find(|&(known, _)| known == id);
                return one.map(|(_, value)| (*path, Datum::Integer(value))).into_iter().collect();
            }
            _ => {}
        }
        self.instances(path)
            .flat_map(|instance| {
                resources(instance.ids()[0]).iter().filter_map(|&resource| instance.child(resource))
            })
            .filter_map(|path| Some((path, self.value(&path, device, count)?)))
            .collect()
    }

    /// The value of one resource.
    pub(crate) fn value(&self, path: &Path, device: u32, count: u32) -> Option<Datum> {
        let &[object, instance, resource] = path.ids() else { return None };
        self.instances(path).next()?;
        let text = |text: &'static str| Some(Datum::Text(text.into()));
        match (object, resource) {
            (1, 0) => Some(Datum::Integer(1)),
            (1, 1) => Some(Datum::Integer(86_400)),
            (1, 6) => Some(Datum::Boolean(false)),
            (1, 7) => text("U"),
            (3, 0) => text("Godwit"),
            (3, 1) => text("simulated device"),
            (3, 2) => Some(Datum::Text(format!("{device:08}").into())),
            (3, 3) => text(env!("CARGO_PKG_VERSION")),
            (3, 9) if self.values == Values::Lively => Some(Datum::Integer(battery(device, count))),
            (3, 9) => Some(Datum::Integer(count.into())),
            (3, 10) => Some(Datum::Integer(64)),
            (3, 11) => Some(Datum::Multiple(vec![(0, 0)])),
            (3, 13) => Some(Datum::Integer(1_700_000_000 + i64::from(count))),
            (3, 14) => text("+00:00"),
            (3, 15) => text("Etc/UTC"),
            (3, 16) => text("U"),
            (3, 17) => text("sensor"),
            (object, 5700) if is_sensor(object) && self.values == Values::Lively => {
                Some(Datum::Float(temperature(device.wrapping_add(u32::from(instance) * 7), count)))
            }
            (object, 5700) if is_sensor(object) => Some(Datum::Float(count.into())),
            (object, 5701) if is_sensor(object) => text("Cel"),
            (object, 5601) if is_sensor(object) => Some(Datum::Float(17.5)),
            (object, 5602) if is_sensor(object) => Some(Datum::Float(26.5)),
            (object, 5603) if is_sensor(object) => Some(Datum::Float(-40.0)),
            (object, 5604) if is_sensor(object) => Some(Datum::Float(85.0)),
            (object, _) if resources(object) == UNKNOWN => Some(Datum::Integer(count.into())),
            _ => None,
        }
    }

    /// Links to what lies below a path, for a Discover.
    pub(crate) fn discover(&self, path: &Path) -> String {
        let mut links = vec![format!("<{path}>")];
        for instance in self.instances(path).filter(|instance| path.covers(instance)) {
            if instance != path {
                links.push(format!("<{instance}>"));
            }
            let below = resources(instance.ids()[0]).iter().filter_map(|&resource| instance.child(resource));
            links.extend(below.map(|path| format!("<{path}>")));
        }
        links.join(",")
    }
}

/// Whether a resource's number is the counter, and not a constant or a limit.
fn is_measured(path: &Path) -> bool {
    match *path.ids() {
        [1, ..] => false,
        [3, _, resource] => resource == 9,
        [object, _, resource] if is_sensor(object) => resource == 5700,
        _ => true,
    }
}

fn main_resource(object: u16) -> Option<u16> {
    match object {
        3 => Some(9),
        object if is_sensor(object) => Some(5700),
        _ => None,
    }
}

/// Whether a server may write the resource.
pub(crate) fn is_writable(object: u16, resource: u16) -> bool {
    match object {
        1 => matches!(resource, 1 | 6 | 7),
        3 => matches!(resource, 13..=15),
        object if is_sensor(object) => false,
        object => resources(object) == UNKNOWN,
    }
}

/// Whether a server may execute the resource.
pub(crate) fn is_executable(object: u16, resource: u16) -> bool {
    match object {
        1 => matches!(resource, 4 | 8 | 9),
        3 => matches!(resource, 4 | 5 | 12),
        object if is_sensor(object) => resource == 5605,
        object => resources(object) == UNKNOWN,
    }
}

/// A day's course in some hundred samples, each device at its own hour, with a little unrest; in tenths.
fn temperature(device: u32, count: u32) -> f64 {
    let hour = f64::from(count) / 24.0 + f64::from(device) * 1.7;
    let unrest = f64::from(count.wrapping_mul(2_654_435_761).wrapping_add(device) >> 24) / 256.0 - 0.5;
    ((22.0 + 4.0 * hour.sin() + unrest) * 10.0).round() / 10.0
}

/// Falls from 100 to 20 percent and is charged again, each device at its own point.
fn battery(device: u32, count: u32) -> i64 {
    100 - i64::from((count / 8).wrapping_add(device.wrapping_mul(13)) % 81)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(values: Values) -> Model {
        Model::new(
            &["</3303/0>".into(), "/1/0".into(), "/3/0".into(), "/3442/0".into(), "/77/1".into()],
            values,
        )
        .unwrap()
    }

    fn path(text: &str) -> Path {
        text.parse().unwrap()
    }

    #[test]
    fn the_links_of_a_registration_name_every_instance_in_order() {
        assert_eq!(model(Values::Counter).links("1.0"), "</1/0>,</3/0>,</77/1>,</3303/0>,</3442/0>");
        assert!(
            model(Values::Counter)
                .links("1.1")
                .starts_with("</>;rt=\"oma.lwm2m\";ct=\"0 110 112 11542\",</1/0>")
        );
    }

    #[test]
    fn the_counter_is_where_the_observed_path_has_a_measured_number() {
        let model = model(Values::Counter);
        for (observed, counter) in [
            ("/3303/0/5700", Some("/3303/0/5700")),
            ("/3303/0", Some("/3303/0/5700")),
            ("/3303", Some("/3303/0/5700")),
            ("/3/0/9", Some("/3/0/9")),
            ("/3/0", Some("/3/0/9")),
            ("/77/1/5", Some("/77/1/5")),
            ("/3/0/0", None),
            ("/3303/0/5604", None),
            ("/3303/1/5700", None),
            ("/1/0", None),
        ] {
            assert_eq!(model.counter(&path(observed)), counter.map(path), "{observed}");
        }
    }

    #[test]
    fn a_device_has_what_it_advertises_and_nothing_else() {
        let model = model(Values::Counter);
        assert!(["/3", "/3/0", "/3/0/9", "/3/0/4", "/77/1/9"].iter().all(|text| model.has(&path(text))));
        assert!(["/4", "/3/1", "/3/0/99", "/3303/0/9"].iter().all(|text| !model.has(&path(text))));
        assert_eq!(model.read(&path("/3303"), 0, 5).len(), 6);
        assert_eq!(model.read(&path("/3/0/4"), 0, 5), []);
    }

    #[test]
    fn lively_values_stay_within_what_their_units_allow_and_move() {
        let model = model(Values::Lively);
        let mut seen = std::collections::HashSet::new();
        for count in 0..2000 {
            let Some(Datum::Float(celsius)) = model.value(&path("/3303/0/5700"), 3, count) else { panic!() };
            let Some(Datum::Integer(percent)) = model.value(&path("/3/0/9"), 3, count) else { panic!() };
            assert!((15.0..30.0).contains(&celsius) && (0..=100).contains(&percent));
            seen.insert((celsius * 10.0) as i64);
        }
        assert!(seen.len() > 50);
    }
}
