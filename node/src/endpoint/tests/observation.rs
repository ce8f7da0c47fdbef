//! Notifications: which observation they belong to, their order, and its end.

use super::*;

#[test]
fn an_overtaken_notification_is_published_as_stale() {
    let (mut bench, token) = observed();
    bench.notify(token, 1, 5, "90");
    bench.notify(token, 2, 4, "91");
    let stale: Vec<_> = bench.publications.iter().map(|(_, records)| records[0].stale).collect();
    assert_eq!(stale, [false, true]);
}

#[test]
fn a_notification_of_no_observation_is_reset() {
    let (mut bench, _) = observed();
    bench.notify(Token::from(12345), 5, 1, "1");
    assert!(matches!(bench.downlinks[..], [Downlink::Reset { message_id: 5 }]));
}

#[test]
fn a_notification_without_observe_ends_the_observation() {
    let (mut bench, token) = observed();
    bench.say(Uplink::Notification(Box::new(Notification {
        token,
        message_id: 9,
        confirmable: true,
        observe: None,
        response: Response::new(Code::NOT_FOUND),
        more: false,
    })));
    let written = bench.write_all();
    assert!(written.iter().any(|change| matches!(change, Change::RemoveObservation(_))));
    assert_eq!(bench.core.observations.len(), 0);
    assert!(matches!(bench.downlinks[..], [Downlink::Acknowledge { message_id: 9 }]));
}

#[test]
fn a_blockwise_notification_whose_rest_fails_may_be_repeated() {
    let (mut bench, token) = observed();
    bench.say(Uplink::Notification(Box::new(Notification {
        token,
        message_id: 50,
        confirmable: true,
        observe: Some(9),
        response: Response::new(Code::CONTENT).content(0, "part").observe(9),
        more: true,
    })));
    let fetch = bench.downlinks.iter().find_map(|downlink| match downlink {
        Downlink::Continue { token, .. } => Some(*token),
        _ => None,
    });
    bench.say(Uplink::Failed { token: fetch.unwrap(), reason: FailReason::Timeout });
    assert!(matches!(bench.downlinks.last(), Some(Downlink::ForgetNotification { message_id: 50 })));
}

#[test]
fn an_observation_that_was_not_made_is_not_made_by_a_later_owner() {
    let mut bench = Bench::registered("default", "lt=600&lwm2m=1.1");
    let observe = command::Kind::Observe(command::Observe { path: "/3/0/9".to_owned(), format: None });
    bench.submit("a", observe, false);
    bench.write_all();
    bench.fail(FailReason::Timeout);
    let written = bench.write_all();
    assert!(written.iter().any(|change| matches!(change, Change::RemoveObservation(_))));
    assert_eq!(bench.core.observations.len(), 0);
}
