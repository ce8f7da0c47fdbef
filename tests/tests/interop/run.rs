//! Runs a case and proves what it showed.

use std::{env, fs};

use godwit_tests::{Agreed, Checker, Proxy, Seen, wait};

use crate::{
    command, crates, leshan,
    peer::{Peer, Result, Start},
    table::{Case, Mode},
    tshark::Recorded,
    world::{PSK_KEY, World},
};

/// None where the peer isn't installed, which has been said.
pub(crate) fn run(world: &World, case: &Case, recorded: &mut Recorded) -> Option<Result<()>> {
    let tap = Proxy::tap(world.node.coaps());
    let device = world.device(case);
    let folder = env::temp_dir().join(format!("godwit-interop-{}-{}", std::process::id(), case.endpoint()));
    fs::create_dir_all(&folder).unwrap();
    let start =
        Start { world, case, server: tap.address(), identity: device.as_ref(), folder: folder.clone() };
    let result = start_peer(&start)?.and_then(|mut peer| {
        drive(&mut *peer, case, &tap)?;
        // The last answer may be on its way to the recording still.
        wait("both sides' records", || (!tap.datagrams().is_empty()).then_some(()));
        drop(peer);
        prove(&tap, &start, case)
    });
    recorded.datagrams.extend(tap.datagrams());
    recorded.key_log += &fs::read_to_string(start.key_log()).unwrap_or_default();
    let _ = fs::remove_dir_all(folder);
    Some(result)
}

pub(crate) fn start_peer(start: &Start) -> Option<Result<Box<dyn Peer>>> {
    match start.case.peer {
        "Scandium" => leshan::start(start),
        "webrtc-dtls" => Some(crates::webrtc(start)),
        "dimpl" => Some(crates::dimpl(start)),
        _ => command::start(start),
    }
}

fn drive(peer: &mut dyn Peer, case: &Case, tap: &Proxy) -> Result<()> {
    peer.connect()?;
    peer.exchange()?;
    if case.cid {
        tap.rebind();
    }
    peer.exchange()?;
    if case.resumes() {
        peer.connect().map_err(|why| format!("resumption: {why}"))?;
        peer.exchange().map_err(|why| format!("resumption: {why}"))?;
    }
    Ok(())
}

fn prove(tap: &Proxy, start: &Start, case: &Case) -> Result<()> {
    let checker =
        Checker::new().psk(&case.endpoint(), PSK_KEY).key_log(&start.key_log()).read(&tap.datagrams());
    if let [problem, ..] = checker.problems() {
        return Err(problem.clone());
    }
    let sessions = checker.sessions();
    let used = |resumed: bool| {
        let used = sessions.iter().enumerate().filter(|(_, agreed)| agreed.resumed == resumed);
        used.filter(|(index, _)| answered(*index, checker.records()))
            .map(|(_, agreed)| agreed)
            .collect::<Vec<_>>()
    };
    let (full, resumed) = (used(false), used(true));
    if full.is_empty() {
        return Err(format!("no full handshake with data both ways: {sessions:?}"));
    }
    if case.resumes() && resumed.is_empty() {
        return Err(format!("no abbreviated handshake with data both ways: {sessions:?}"));
    }
    let expected = 1 + usize::from(case.resumes());
    if case.cid && sessions.len() != expected {
        return Err(format!("{} handshakes, though connection ids outlive addresses", sessions.len()));
    }
    for agreed in full.iter().chain(&resumed) {
        agrees(agreed, case)?;
    }
    // Whoever logs its keys, or has a pre-shared one, hides nothing from the checker.
    let (opened, all) = checker.opened();
    if opened < all && (case.mode == Mode::Psk || start.key_log().exists()) {
        let sealed: Vec<_> = checker.records().iter().filter(|record| record.content.is_none()).collect();
        return Err(format!("{} of {all} records are sealed: {sealed:?}", all - opened));
    }
    if case.cid && !checker.records().iter().any(|record| record.up && record.outer_type == 25) {
        return Err("no record of content type 25".into());
    }
    Ok(())
}

/// Did application data go both ways in this session?
fn answered(session: usize, records: &[Seen]) -> bool {
    [true, false].into_iter().all(|up| {
        records.iter().any(|record| {
            // Sealed records with a connection id hide their type: any after the first, which is Finished.
            let data = record.content_type == 23 || record.content_type == 25 && record.number > 0;
            record.session == session && record.up == up && data
        })
    })
}

fn agrees(agreed: &Agreed, case: &Case) -> Result<()> {
    if agreed.suite != case.suite.0 {
        return Err(format!("suite {:04x}", agreed.suite));
    }
    if agreed.server_cid.as_ref().is_some_and(|cid| !cid.is_empty()) != case.cid {
        return Err(format!("connection id {:?}", agreed.server_cid));
    }
    let raw = match (case.mode, case.peer) {
        // It would rather see a certificate, where the server has one, and shows a raw key itself.
        (Mode::Rpk, "libcoap (GnuTLS)") => [2, 0],
        (Mode::Rpk, _) => [2, 2],
        _ => [0, 0],
    };
    if !agreed.resumed && agreed.certificate_types != raw {
        return Err(format!("certificate types {:?}", agreed.certificate_types));
    }
    Ok(())
}
