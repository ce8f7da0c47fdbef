//! What a profile asks of a device: after its registration, and when the profile changes.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use godwit::profile::{Client, Plan, Profile, SkipReason, StartPlan, Target};
use godwit_lwm2m::{
    attributes::{AttributeChange, AttributeName, Attributes},
    model::{ModelRegistry, ModelSet, ObjectVersion},
    path::Path,
    registration::ObjectList,
};
use godwit_proto::v1::{
    self,
    profile::{ObserveStrategy, StartStrategy, mapping},
};

fn path(text: &str) -> Path {
    text.parse().unwrap()
}

fn single(text: &str) -> Target {
    Target::Single(path(text))
}

fn composite(paths: &[&str]) -> Target {
    Target::Composite(paths.iter().map(|text| path(text)).collect())
}

/// A device with objects 0, 1, 3, 3303 (two instances, version 1.1) and 5 (no instance).
fn registered() -> ObjectList {
    let v1_1 = ObjectVersion::new(1, 1);
    ObjectList::new([
        (0, ObjectVersion::V1_0, false, vec![0]),
        (1, ObjectVersion::V1_0, false, vec![0]),
        (3, ObjectVersion::V1_0, false, vec![0]),
        (5, ObjectVersion::V1_0, false, vec![]),
        (3303, v1_1, true, vec![0, 7]),
    ])
}

struct Asked {
    observe: Vec<&'static str>,
    mapped: Vec<&'static str>,
    attributes: Vec<(&'static str, v1::Attributes)>,
    start: StartStrategy,
    strategy: ObserveStrategy,
    read_composite: bool,
}

impl Default for Asked {
    fn default() -> Asked {
        Asked {
            observe: vec![],
            mapped: vec![],
            attributes: vec![],
            start: StartStrategy::Observe,
            strategy: ObserveStrategy::Single,
            read_composite: false,
        }
    }
}

fn profile(asked: &Asked) -> Profile {
    let mapping = |path: &&str| v1::profile::Mapping {
        path: (*path).into(),
        key: String::new(),
        kind: mapping::Kind::Attribute.into(),
    };
    let written = |(path, attributes): &(&str, v1::Attributes)| v1::profile::WriteAttributes {
        path: (*path).into(),
        attributes: Some(*attributes),
    };
    Profile::try_from(v1::Profile {
        name: "meter".into(),
        observe: asked.observe.iter().map(ToString::to_string).collect(),
        mappings: asked.mapped.iter().map(mapping).collect(),
        write_attributes: asked.attributes.iter().map(written).collect(),
        start_strategy: asked.start.into(),
        observe_strategy: asked.strategy.into(),
        read_composite: asked.read_composite,
        ..v1::Profile::default()
    })
    .unwrap()
}

fn with_client<T>(composite: bool, work: impl FnOnce(&Client<'_>) -> T) -> T {
    let registered = registered();
    let objects = [3, 3303].map(|id| (id, ObjectVersion::V1_0));
    let models = ModelSet::new(&ModelRegistry::builtin(), objects);
    work(&Client { registered: &registered, models: &models, composite })
}

fn plan(asked: &Asked) -> StartPlan {
    with_client(true, |client| profile(asked).start_plan(client))
}

fn difference(old: &Asked, new: &Asked, current: &[Target]) -> Plan {
    with_client(true, |client| Profile::difference(&profile(old), &profile(new), current, client))
}

#[test]
fn strategy_1_only_observes() {
    let plan =
        plan(&Asked { observe: vec!["/3303/0/5700", "/3/0/9"], mapped: vec!["/3/0/3"], ..Asked::default() });
    assert_eq!(plan.reads, []);
    assert_eq!(plan.observations, [single("/3/0/9"), single("/3303/0/5700")]);
    assert_eq!(plan.skipped, []);
}

#[test]
fn strategy_2_reads_every_instance_but_the_security_objects() {
    let plan = plan(&Asked { observe: vec!["/3/0/9"], start: StartStrategy::ReadAll, ..Asked::default() });
    assert_eq!(plan.reads, [single("/1/0"), single("/3/0"), single("/3303/0"), single("/3303/7")]);
    assert_eq!(plan.observations, [single("/3/0/9")]);
}

#[test]
fn strategy_3_reads_what_is_mapped_and_not_observed() {
    let plan = plan(&Asked {
        observe: vec!["/3/0/9", "/3303/0"],
        mapped: vec!["/3/0/9", "/3/0/3", "/3303/0/5700", "/3303/7/5700", "/3303/8/5700"],
        start: StartStrategy::ReadMapped,
        ..Asked::default()
    });
    assert_eq!(plan.reads, [single("/3/0/3"), single("/3303/7/5700")]);
    assert_eq!(plan.skipped.len(), 1);
    assert_eq!(
        (plan.skipped[0].path, plan.skipped[0].reason),
        (path("/3303/8/5700"), SkipReason::NoInstance)
    );
}

#[test]
fn a_path_that_is_not_there_is_skipped_with_its_reason() {
    let plan = plan(&Asked {
        observe: vec!["/4/0/1", "/3/1/9", "/3_1.2/0/9", "/3/0/4", "/3303_1.1/0/5700", "/5", "/3"],
        attributes: vec![("/6/0", v1::Attributes { pmin: Some(1), ..Default::default() })],
        ..Asked::default()
    });
    assert_eq!(plan.observations, [single("/3"), single("/5"), single("/3303/0/5700")]);
    let skipped: Vec<_> = plan.skipped.iter().map(|skipped| (skipped.path, skipped.reason)).collect();
    assert_eq!(
        skipped,
        [
            (path("/3/0/4"), SkipReason::NotReadable),
            (path("/3/0/9"), SkipReason::Version { registered: ObjectVersion::V1_0 }),
            (path("/3/1/9"), SkipReason::NoInstance),
            (path("/4/0/1"), SkipReason::NoObject),
            (path("/6/0"), SkipReason::NoObject),
        ],
    );
}

#[test]
fn a_path_in_several_versions_is_observed_once() {
    let plan = plan(&Asked {
        observe: vec!["/3303_1.0/0/5700", "/3303_1.1/0/5700", "/3303/0/5700"],
        ..Asked::default()
    });
    assert_eq!(plan.observations, [single("/3303/0/5700")]);
    assert_eq!(plan.skipped, []);
}

#[test]
fn composite_strategies_group_paths() {
    let observe = vec!["/3/0/9", "/3/0/10", "/3303/0/5700", "/3303/0", "/1/0/1"];
    let of = |strategy, composite| {
        let asked = Asked { observe: observe.clone(), strategy, ..Asked::default() };
        with_client(composite, |client| profile(&asked).start_plan(client).observations)
    };
    assert_eq!(
        of(ObserveStrategy::Composite, true),
        [composite(&["/1/0/1", "/3/0/9", "/3/0/10", "/3303/0"])],
    );
    assert_eq!(
        of(ObserveStrategy::CompositeByObject, true),
        [single("/1/0/1"), composite(&["/3/0/9", "/3/0/10"]), single("/3303/0")],
    );
    assert_eq!(of(ObserveStrategy::Composite, false), of(ObserveStrategy::Single, true));
}

#[test]
fn reads_are_grouped_only_if_the_profile_says_so() {
    let of = |read_composite| {
        plan(&Asked {
            mapped: vec!["/3/0/0", "/3/0/3", "/3303/0/5700"],
            start: StartStrategy::ReadMapped,
            strategy: ObserveStrategy::CompositeByObject,
            read_composite,
            ..Asked::default()
        })
        .reads
    };
    assert_eq!(of(false), [single("/3/0/0"), single("/3/0/3"), single("/3303/0/5700")]);
    assert_eq!(of(true), [composite(&["/3/0/0", "/3/0/3"]), single("/3303/0/5700")]);
}

#[test]
fn an_unchanged_profile_asks_nothing() {
    let asked = || Asked {
        observe: vec!["/3/0/9", "/4/0/0"],
        mapped: vec!["/3/0/0"],
        attributes: vec![("/3/0/9", v1::Attributes { pmin: Some(1), ..Default::default() })],
        start: StartStrategy::ReadMapped,
        ..Asked::default()
    };
    let plan = difference(&asked(), &asked(), &[single("/3/0/9"), single("/1/0")]);
    assert_eq!(plan, Plan::default());
    assert!(plan.is_empty());
}

#[test]
fn a_changed_profile_asks_the_difference() {
    let old = Asked {
        observe: vec!["/3/0/9", "/3303/0/5700"],
        mapped: vec!["/3/0/0"],
        start: StartStrategy::ReadMapped,
        ..Asked::default()
    };
    let new = Asked {
        observe: vec!["/3/0/10", "/3303/0/5700", "/4/0/0"],
        mapped: vec!["/3/0/0", "/3/0/1"],
        start: StartStrategy::ReadMapped,
        ..Asked::default()
    };
    let plan = difference(&old, &new, &[single("/3/0/9"), single("/3303/0/5700"), single("/1/0/1")]);
    assert_eq!(plan.cancel, [single("/3/0/9")], "and not the operator's");
    assert_eq!(plan.observations, [single("/3/0/10")]);
    assert_eq!(plan.reads, [single("/3/0/1")]);
    assert_eq!(plan.skipped.len(), 1);
}

#[test]
fn what_an_operator_observes_already_is_not_observed_twice() {
    let new = Asked { observe: vec!["/3/0/9"], ..Asked::default() };
    assert!(difference(&Asked::default(), &new, &[single("/3/0/9")]).is_empty());
}

#[test]
fn a_group_that_changes_is_made_anew() {
    let of = |observe| Asked { observe, strategy: ObserveStrategy::Composite, ..Asked::default() };
    let before = composite(&["/3/0/9", "/3303/0/5700"]);
    let plan = difference(
        &of(vec!["/3/0/9", "/3303/0/5700"]),
        &of(vec!["/3/0/9", "/3303/0/5700", "/3/0/10"]),
        std::slice::from_ref(&before),
    );
    assert_eq!(plan.cancel, [before]);
    assert_eq!(plan.observations, [composite(&["/3/0/9", "/3/0/10", "/3303/0/5700"])]);
}

#[test]
fn attributes_that_left_the_profile_are_taken_back() {
    let of = |attributes| Asked { attributes, ..Asked::default() };
    let set = |pmin, pmax| v1::Attributes { pmin, pmax, ..Default::default() };
    let plan = difference(
        &of(vec![
            ("/3/0/9", set(Some(1), Some(60))),
            ("/3303/0", set(Some(5), None)),
            ("/1/0", set(Some(2), None)),
        ]),
        &of(vec![
            ("/3/0/9", set(Some(2), None)),
            ("/3303/7", set(None, Some(9))),
            ("/1/0", set(Some(2), None)),
        ]),
        &[],
    );
    let kept = |pmin, pmax| Attributes { pmin, pmax, ..Attributes::default() };
    assert_eq!(
        plan.attributes,
        [
            (path("/3/0/9"), AttributeChange { set: kept(Some(2), None), unset: vec![AttributeName::Pmax] }),
            (path("/3303/0"), AttributeChange { set: kept(None, None), unset: vec![AttributeName::Pmin] }),
            (path("/3303/7"), AttributeChange { set: kept(None, Some(9)), unset: vec![] }),
        ],
    );
}
