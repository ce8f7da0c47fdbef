//! The wall clock steps, while the node runs and while it is down: no nonce comes twice, and devices notice nothing.
#![allow(missing_docs, clippy::unwrap_used)]

use std::process::Command;

use godwit_proto::v1::{
    Credential, Device,
    credential::{Psk, psk::Secret},
};
use godwit_tests::{Checker, Leshan, Proxy, Security, Setup, skip};

const KEY: &[u8] = b"0123456789abcdef";
const STEPS: [&str; 6] = ["+4s", "-4s", "+1h", "-1h", "+3s", "+0s"];

#[test]
fn no_nonce_comes_twice_when_the_clock_steps() {
    let Some(leshan) = Leshan::shared() else { return };
    if Command::new("faketime").arg("--version").output().is_err() {
        return skip("faketime");
    }
    let mut node = Setup::default().clock().start();
    let tap = Proxy::tap(node.coaps());
    let (mut clients, mut names) = (Vec::new(), Vec::new());
    for (name, suite, cid) in
        [("ccm", "TLS_PSK_WITH_AES_128_CCM_8", "cid=6"), ("cbc", "TLS_PSK_WITH_AES_128_CBC_SHA256", "cid=-1")]
    {
        let secret = Some(Secret::Text(String::from_utf8(KEY.into()).unwrap()));
        let psk = Some(Psk { identity: name.into(), secret });
        let credential = Some(Credential { psk, ..Default::default() });
        let device = Device { endpoint: name.into(), credential, ..Default::default() };
        node.admin().create_device(device).unwrap();
        let security = Security::psk(name, KEY).with(format!("suites={suite}")).with(cid);
        let options = [security.options(), vec!["lifetime=86400"]].concat();
        let mut client = leshan.start_at(&format!("coaps://{}", tap.address()), name, &options);
        client.registered();
        clients.push(client);
        names.push(name);
    }
    let mut updates = 0;
    for step in STEPS {
        node.set_clock(step);
        for down in [false, true] {
            if down {
                node.kill();
                node.restart();
                assert_clock(step, &node.log());
            }
            for client in &mut clients {
                client.command("update", &[]);
                client.event("updated");
            }
            updates += 1;
        }
    }

    let mut checker = Checker::new();
    for name in &names {
        checker = checker.psk(name, KEY);
    }
    let checker = checker.read(&tap.datagrams());
    checker.assert_clean();
    assert_eq!(checker.sessions().len(), clients.len(), "no client shook hands again");
    let (opened, all) = checker.opened();
    assert_eq!(opened, all);
    let down = checker.records().iter().filter(|record| !record.up && record.content_type == 23).count();
    assert!(down >= updates * clients.len(), "{down} answers");
}

/// Did the last start see the stepped clock?
fn assert_clock(step: &str, log: &str) {
    let line = log.lines().rev().find(|line| line.contains("serving")).unwrap();
    let words =
        format!("{} {}", &step[1..step.len() - 1], if step.ends_with('h') { "hours" } else { "seconds" });
    let words = if step.starts_with('-') { format!("{words} ago") } else { words };
    let of = |words: &str| {
        let output = Command::new("date").args(["-u", "+%s", "-d", words]).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().parse::<i64>().unwrap()
    };
    let off = of(line.split(' ').next().unwrap()) - of(&words);
    // Its start was a moment ago. Steps of seconds are no more than that.
    assert!(off.abs() < 60, "{step}: {line}");
}
