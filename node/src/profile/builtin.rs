//! The profiles that every node has. A stored profile of the same name replaces one.

use std::sync::{Arc, LazyLock};

use godwit_proto::v1::{self, profile::mapping::Kind};

use super::Profile;

/// The profile of devices that name none: maps nothing, observes nothing.
pub const DEFAULT: &str = "default";
/// The profile of the demo: observes the battery level and a temperature.
pub const DEMO: &str = "demo";

/// The built-in profile of this name.
pub fn builtin(name: &str) -> Option<Arc<Profile>> {
    static ALL: LazyLock<[Arc<Profile>; 2]> = LazyLock::new(|| {
        [default(), demo()].map(|profile| {
            Arc::new(
                Profile::try_from(profile)
                    .expect("invariant: built-in profiles are valid, a test reads them"),
            )
        })
    });
    ALL.iter().find(|profile| &**profile.name() == name).cloned()
}

fn default() -> v1::Profile {
    v1::Profile { name: DEFAULT.into(), ..v1::Profile::default() }
}

fn demo() -> v1::Profile {
    let mapping = |path: &str, key: &str| v1::profile::Mapping {
        path: path.into(),
        key: key.into(),
        kind: Kind::Telemetry.into(),
    };
    v1::Profile {
        name: DEMO.into(),
        mappings: vec![mapping("/3/0/9", "batteryLevel"), mapping("/3303/0/5700", "temperature")],
        observe: vec!["/3/0/9".into(), "/3303/0/5700".into()],
        ..v1::Profile::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_profiles_are_valid() {
        assert_eq!(builtin(DEFAULT).unwrap().mappings(), []);
        assert_eq!(builtin(DEMO).unwrap().observed().len(), 2);
        assert_eq!(builtin("other"), None);
    }
}
