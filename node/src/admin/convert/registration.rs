//! Registrations.

use godwit_lwm2m::{
    model::LwM2mVersion,
    registration::{ObjectList, RegisteredLinks, RootPath},
};
use godwit_proto::v1::{
    Registration,
    registration::{Object, Observation, Transport},
};
use prost_types::Duration;

use super::timestamp;
use crate::{
    admin::room::profile_of,
    identity::DeviceId,
    store::{DeviceRecord, value},
};

/// The name of a device's registration.
pub(in crate::admin) fn name(device: DeviceId) -> String {
    format!("devices/{device}/registration")
}

/// The registration in a record; `None` if the device is not registered.
pub(in crate::admin) fn show(device: DeviceId, record: &DeviceRecord) -> Option<Registration> {
    let stored = record.registration.as_ref()?;
    let seconds = i64::try_from(stored.lifetime).ok().filter(|seconds| *seconds > 0);
    let expires = seconds.map(|_| stored.updated_at.saturating_add(stored.lifetime.saturating_mul(1000)));
    let transport = if stored.security_mode == 0 { Transport::Udp } else { Transport::Dtls };
    Some(Registration {
        name: name(device),
        endpoint: stored.endpoint.clone(),
        profile: format!("profiles/{}", profile_of(record)),
        registration_id: stored.id.clone(),
        lwm2m_version: stored.version.clone(),
        lifetime: seconds.map(|seconds| Duration { seconds, nanos: 0 }),
        binding: stored.binding.clone(),
        queue_mode: stored.queue_mode,
        register_time: timestamp(stored.registered_at),
        update_time: timestamp(stored.updated_at),
        expire_time: expires.and_then(timestamp),
        root_path: stored.root.trim_end_matches('/').to_owned(),
        content_formats: stored.formats.clone(),
        objects: objects(stored).map(|list| list.iter().map(object).collect()).unwrap_or_default(),
        observations: record.observations.iter().map(|o| Observation { paths: o.paths.clone() }).collect(),
        remote_address: record.header.peer.map(|peer| peer.to_string()).unwrap_or_default(),
        transport: transport.into(),
    })
}

/// The objects that a device registered; `None` if its stored links can't be read.
pub(in crate::admin) fn objects(stored: &value::Registration) -> Option<std::sync::Arc<ObjectList>> {
    let version = LwM2mVersion::parse(&stored.version).unwrap_or(LwM2mVersion::V1_0);
    // Stored without the device's root.
    Some(RegisteredLinks::parse(&stored.links, version, &RootPath::default()).ok()?.objects)
}

fn object(object: godwit_lwm2m::registration::RegisteredObject<'_>) -> Object {
    Object {
        object: object.id.into(),
        version: object.version.to_string(),
        instances: object.instances.iter().copied().map(u32::from).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(registration: value::Registration) -> DeviceRecord {
        DeviceRecord { registration: Some(registration), ..Default::default() }
    }

    #[test]
    fn objects_come_with_their_versions_and_instances() {
        let shown = show(
            DeviceId::of("x"),
            &record(value::Registration {
                version: "1.1".into(),
                links: b"</>;rt=\"oma.lwm2m\";ct=110,</1/0>,</3303>;ver=1.1,</3303/0>,</3303/7>".to_vec(),
                ..Default::default()
            }),
        )
        .unwrap();
        assert_eq!(shown.objects.len(), 2);
        assert_eq!((shown.objects[0].object, shown.objects[0].version.as_str()), (1, "1.1"));
        assert_eq!(shown.objects[1].version, "1.1");
        assert_eq!(shown.objects[1].instances, [0, 7]);
    }

    #[test]
    fn an_infinite_lifetime_has_no_end() {
        let shown =
            show(DeviceId::of("x"), &record(value::Registration { updated_at: 5, ..Default::default() }));
        let shown = shown.unwrap();
        assert_eq!((shown.lifetime, shown.expire_time), (None, None));
    }

    #[test]
    fn the_end_of_a_registration_is_its_lifetime_after_the_last_update() {
        let stored = value::Registration { lifetime: 60, updated_at: 1_500, ..Default::default() };
        let shown = show(DeviceId::of("x"), &record(stored)).unwrap();
        assert_eq!(shown.expire_time, timestamp(61_500));
    }

    #[test]
    fn unreadable_links_leave_the_rest_readable() {
        let stored =
            value::Registration { endpoint: "x".into(), links: b"<<".to_vec(), ..Default::default() };
        let shown = show(DeviceId::of("x"), &record(stored)).unwrap();
        assert_eq!((shown.endpoint.as_str(), shown.objects.len()), ("x", 0));
    }
}
