//! Leshan clients behind a balancer that moves them, while a node dies.

use std::{thread, time::Duration};

use godwit_tests::{Checker, Cluster, Leshan, Security, Setup, redis_available};

use crate::device::KEY;

#[test]
fn leshan_clients_are_moved_between_nodes_and_outlive_one_without_a_handshake() {
    let Some(leshan) = Leshan::shared().filter(|_| redis_available()) else { return };
    let Some(mut cluster) = Cluster::start(3, &Setup::default()) else { return };
    let uri = format!("coaps://{}", cluster.secure.address());
    let kinds = [("cid-6", "cid=6"), ("cid-0", "cid=0"), ("no-cid", "cid=-1")];
    let mut clients: Vec<_> = kinds
        .iter()
        .map(|(name, cid)| {
            cluster.nodes[0].admin().ensure_psk(name, KEY);
            // CCM_8 under PSK alone: the checker derives its keys.
            let security = Security::psk(name, KEY).with("suites=TLS_PSK_WITH_AES_128_CCM_8").with(*cid);
            let options = [security.options(), vec!["lifetime=86400"]].concat();
            let mut client = leshan.start_at(&uri, name, &options);
            let id = client.registered();
            (*name, client, id)
        })
        .collect();
    let mut turn = |cluster: &Cluster, node: usize| {
        for (name, client, id) in &mut clients {
            client.command("update", &[]);
            client.event("updated");
            let operation = cluster.nodes[node].admin().read(name, "/3/0/0").unwrap();
            assert!(operation.name.len() > 1);
            assert_eq!(cluster.nodes[node].admin().registration(name).unwrap().registration_id, *id);
        }
    };
    for node in [0, 1, 2, 0, 2] {
        cluster.lead_all(node);
        turn(&cluster, (node + 1) % 3);
    }
    for _ in 0..5 {
        cluster.secure.move_flows(60);
        turn(&cluster, 1);
        thread::sleep(Duration::from_millis(100));
    }
    cluster.lead_all(0);
    (0..10).for_each(|_| turn(&cluster, 1));
    cluster.kill(0);
    (0..3).for_each(|_| turn(&cluster, 1));

    let checker = kinds.iter().fold(Checker::new(), |checker, (name, _)| checker.psk(name, KEY));
    let checker = checker.read(&cluster.secure.datagrams());
    checker.assert_clean();
    assert_eq!(checker.sessions().len(), kinds.len(), "no client shook hands again");
    let (opened, all) = checker.opened();
    assert_eq!(opened, all);
    for (_, client, _) in &clients {
        assert_eq!(client.events("registered").len(), 1, "no client registered again");
    }
}
