//! Sessions that are resumed, and the commands under way meanwhile.

use super::*;

#[test]
fn a_resumed_session_takes_over_once_its_client_has_finished() {
    let mut bench = registered();
    bench.establish(Session { id: session(1).id, provisional: true, resumed: true, ..session(2) });
    let written = bench.write_all();
    let provisional = written.iter().find_map(|change| match change {
        Change::Session(session) => Some(session.expires_at - bench.now.unix_ms),
        _ => None,
    });
    assert_eq!(provisional, Some(60_000));
    assert_eq!(bench.core.link.map(|link| link.connection), Some(secured(1).connection), "the old one stays");
    bench.forget_all();
    bench.hear(shaking(2), Uplink::SessionPromoted { association: association(2) });
    assert!(!bench.said(stored), "the first answer waits for the write");
    bench.write_all();
    assert!(bench.said(stored));
    assert!(bench.said(|downlink| matches!(downlink, Downlink::Close)), "the old one's connection ends");
    assert_eq!(bench.core.link, Some(secured(2)));
    assert!(bench.core.registered.is_some());
}

/// One that registered in session 1, with a command under way, and has resumed it over `connection` as session 2.
fn resumed_over(connection: &Link) -> Bench {
    let mut bench = registered();
    bench.submit("a", read("/3/0/0"), false);
    bench.write_all();
    assert_eq!(bench.requests().len(), 1);
    bench.forget_all();
    let resumed = Session { id: session(1).id, provisional: true, resumed: true, ..session(2) };
    bench.hear(*connection, Uplink::SessionEstablished { session: Box::new(resumed), rotated: false });
    bench.write_all();
    bench.hear(*connection, Uplink::SessionPromoted { association: association(2) });
    bench.write_all();
    bench
}

/// The connection has begun its life in the handshake, where nothing was proved yet.
#[test]
fn a_command_goes_out_over_the_session_that_was_resumed_from_elsewhere() {
    let mut bench = resumed_over(&shaking(2));
    assert_eq!(bench.core.link, Some(secured(2)));
    assert_eq!(bench.requests().len(), 1, "what the old address had not answered goes to the new one");
    let at = |wanted: fn(&Downlink) -> bool| bench.downlinks.iter().rposition(wanted);
    let linked = at(|downlink| matches!(downlink, Downlink::Link { .. }));
    assert!(at(stored) < linked, "with its session the connection begins anew");
    bench.apply(Input::Unlinked(secured(1).connection));
    bench.respond_over(secured(2), Response::new(Code::CONTENT).content(0, "Godwit"));
    bench.write_all();
    bench.forget_all();
    bench.submit("b", read("/3/0/1"), false);
    bench.write_all();
    assert_eq!(bench.requests().len(), 1);
}

#[test]
fn a_command_goes_out_over_the_session_that_was_resumed_over_the_same_connection() {
    let same = Link { security: secured(1).security, ..secured(1) };
    let mut bench = resumed_over(&same);
    assert_eq!(bench.requests().len(), 1, "the connection has forgotten what it had open");
    let closed =
        Uplink::SessionClosed { association: association(1), numbers: at(7), end: SessionEnd::Closed };
    bench.hear(same, closed);
    bench.write_all();
    assert_eq!(bench.core.link, Some(Link { security: secured(2).security, ..same }));
    assert_eq!(bench.requests().len(), 1);
}

#[test]
fn a_command_goes_out_over_a_new_session_in_which_nothing_was_said_yet() {
    let mut bench = established(2).0;
    bench.register_in(1, 1);
    bench.write_all();
    let closed =
        Uplink::SessionClosed { association: association(1), numbers: at(7), end: SessionEnd::Closed };
    bench.hear(secured(1), closed);
    bench.write_all();
    bench.submit("a", read("/3/0/0"), false);
    bench.write_all();
    assert_eq!(
        (bench.requests().len(), bench.core.link),
        (1, Some(secured(2))),
        "not by a second connection"
    );
}

#[test]
fn a_resumption_over_the_same_connection_does_not_end_it() {
    let mut bench = registered();
    let same = Link { security: secured(2).security, ..secured(1) };
    let resumed = Session { id: session(1).id, provisional: true, resumed: true, ..session(2) };
    bench.hear(same, Uplink::SessionEstablished { session: Box::new(resumed), rotated: false });
    bench.write_all();
    bench.forget_all();
    bench.hear(same, Uplink::SessionPromoted { association: association(2) });
    bench.write_all();
    assert!(!bench.said(|downlink| matches!(downlink, Downlink::Close)));
    assert_eq!(bench.core.link.map(|link| link.security), Some(secured(2).security));
}
