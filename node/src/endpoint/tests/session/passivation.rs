//! Sessions that end or are given up, and the way back to their device.

use super::*;

#[test]
fn an_endpoint_waits_for_a_connection_that_is_being_made_before_it_leaves() {
    let (mut bench, _) = passive();
    bench.submit("a", read("/3/0/0"), false);
    bench.write_all();
    bench.apply(Input::Release(StopReason::Moved));
    assert!(bench.writes.is_empty());
    bench.apply(Input::Reached(Some(secured(1))));
    assert_eq!(bench.write_all().last(), Some(&Change::Passive));
}

#[test]
fn no_end_of_a_session_ends_the_registration() {
    for end in [SessionEnd::Idle, SessionEnd::Closed, SessionEnd::Forbidden] {
        let mut bench = registered();
        let closed = Uplink::SessionClosed { association: association(1), numbers: at(7), end };
        bench.hear(secured(1), closed);
        bench.apply(Input::Unlinked(secured(1).connection));
        let written = bench.write_all();
        assert!(bench.core.registered.is_some());
        assert_eq!(written.contains(&Change::CloseSession(association(1))), end == SessionEnd::Closed);
        assert_eq!(written.contains(&Change::RemoveSession(association(1))), end == SessionEnd::Forbidden);
        assert_eq!(bench.said(stored), end == SessionEnd::Closed);
        let marked = if end == SessionEnd::Forbidden { vec![] } else { vec![at(7)] };
        assert_eq!(marks(&written, 1), marked, "{end:?}");
    }
}

#[test]
fn passivation_writes_exact_numbers_of_all_sessions() {
    let (mut bench, links) = established(2);
    links.numbers.borrow_mut().push((secured(1).connection, association(1), at(70)));
    bench.apply(Input::Release(StopReason::Idle));
    let written = bench.write_all();
    assert_eq!(written.last(), Some(&Change::Passive));
    assert_eq!(marks(&written, 1), [at(70)]);
    assert_eq!(marks(&written, 2), [at((1 << 20) + 3)], "its connection was lost");
    assert_eq!(bench.stopped(), Some(StopReason::Idle));
}

#[test]
fn a_command_reaches_a_passive_device_by_its_session() {
    let (mut bench, _) = passive();
    bench.submit("a", read("/3/0/0"), false);
    bench.write_all();
    let reached = bench.others.iter().find_map(|effect| match effect {
        Effect::ReachSession { association, numbers, whole, .. } => {
            Some((*association, *numbers, whole.is_some()))
        }
        _ => None,
    });
    assert_eq!(reached, Some((association(1), at(9), true)), "the one that it registered in");
    bench.apply(Input::Reached(Some(secured(1))));
    bench.write_all();
    assert_eq!(bench.requests().len(), 1);
    bench.respond_over(secured(1), Response::new(Code::CONTENT).content(0, "Godwit"));
    bench.write_all();
    assert_eq!(bench.ended()[0].0, State::Succeeded);
    assert!(bench.core.link.is_some(), "a session is the device's for good");
}
