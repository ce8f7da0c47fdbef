//! Nodes that lose each other while all see Redis, nodes whose clocks are off, and links under TLS.

use std::{fs, process::Command, thread, time::Duration};

use godwit_tests::{Authority, Cluster, Redis, Setup, redis_available, skip, wait};

use crate::{
    device::{Device, Speaks},
    load::{Fleet, setup},
};

#[test]
fn a_fleet_goes_on_while_nodes_lose_each_other() {
    let Some(cluster) = Cluster::wired(3, &setup()) else { return };
    let mut fleet = Fleet::start(&cluster, "links-cut");
    fleet.broken();
    cluster.to_node.iter().for_each(|line| line.cut(true));
    for _ in 0..3 {
        cluster.secure.move_flows(20);
        thread::sleep(fleet.size.outage / 3);
    }
    cluster.to_node.iter().for_each(|line| line.cut(false));
    fleet.mended();
    cluster.secure.move_flows(50);
    let found = fleet.end(&cluster);
    // An owner that nobody can ask learns from Redis, a moment later, that another has claimed.
    found.assert_zeros_but_order();
    found.report(
        "Nodes lose each other while all see Redis",
        "No byte passes between the three nodes, and three times a fifth of the flows moves; half of them move when the \
         links are whole again.",
    );
}

#[test]
fn a_node_that_alone_has_lost_redis_is_not_ready_and_in_an_outage_of_all_everyone_is() {
    let Some(cluster) = Cluster::wired(3, &Setup::default()) else { return };
    cluster.lead_all(2);
    let mut devices = Speaks::ALL.map(|speaks| Device::register(&cluster, &format!("{speaks:?}"), speaks));
    cluster.to_redis[2].cut(true);
    cluster.nodes[2].wait_sight("cut_off", false);
    cluster.nodes[..2].iter().for_each(|node| node.wait_sight("seen", true));
    // What comes there all the same goes to one of them, also when they have seen no heartbeat of its for long.
    for _ in 0..4 {
        devices.iter_mut().for_each(Device::update);
        thread::sleep(Duration::from_secs(2));
    }
    cluster.nodes[2].wait_sight("cut_off", false);
    cluster.to_redis[..2].iter().for_each(|line| line.cut(true));
    cluster.nodes.iter().for_each(|node| node.wait_sight("outage", true));
    cluster.to_redis.iter().for_each(|line| line.cut(false));
    cluster.nodes.iter().for_each(|node| node.wait_sight("seen", true));
    devices.iter_mut().for_each(|device| device.change(4000));
}

#[test]
fn two_nodes_with_one_id_say_so() {
    if !redis_available() {
        return;
    }
    let redis = Redis::start();
    let setup = Setup::default().redis(&redis).set("node.id=twin").set("cluster.timers_percent=25");
    let nodes = [setup.clone().start(), setup.start()];
    for (node, other) in [(&nodes[0], &nodes[1]), (&nodes[1], &nodes[0])] {
        let said = format!("another node, at {}, has this node's id", other.peers());
        wait("word of the other", || node.log().contains(&said).then_some(()));
    }
}

#[test]
fn a_fleet_notices_nothing_of_clocks_that_are_off() {
    if Command::new("faketime").arg("--version").output().is_err() {
        return skip("faketime");
    }
    let Some(cluster) = Cluster::start(3, &setup().clock()) else { return };
    let mut fleet = Fleet::start(&cluster, "clocks");
    fleet.broken();
    for (fast, slow) in [("+4s", "-4s"), ("-4s", "+4s")] {
        cluster.nodes[0].set_clock(fast);
        cluster.nodes[1].set_clock(slow);
        cluster.secure.move_flows(30);
        fleet.more(u64::from(fleet.size.rate));
        assert!(
            cluster.nodes.iter().all(|node| node.http("/ready").is_some()),
            "{fast} and {slow} are borne"
        );
    }
    for off in ["+1h", "-1h"] {
        cluster.nodes[0].set_clock("+0s");
        cluster.nodes[1].set_clock("+0s");
        cluster.nodes[2].set_clock(off);
        wait("the node with the wrong clock to say so", || {
            cluster.nodes[2].http("/ready").is_none().then_some(())
        });
        cluster.secure.health(2, false);
        assert!(cluster.nodes[..2].iter().all(|node| node.http("/ready").is_some()), "it alone is not ready");
        fleet.more(u64::from(fleet.size.rate));
        cluster.nodes[2].set_clock("+0s");
        wait("its readiness", || cluster.nodes[2].http("/ready"));
        cluster.secure.health(2, true);
        cluster.secure.move_flows(30);
    }
    fleet.mended();
    let found = fleet.end(&cluster);
    found.assert_zeros();
    found.report(
        "Clocks of nodes are off",
        "Two nodes' clocks are 4 s fast and slow, and the other way round; then the third is off by an hour, which is not ready \
         until it is right again. Flows move each time.",
    );
}

#[test]
fn nodes_with_certificates_serve_devices_over_links_under_tls() {
    if !redis_available() {
        return;
    }
    let folder = std::env::temp_dir().join(format!("godwit-cluster-tls-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let file = |name: &str, text: String| {
        let path = folder.join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let authority = Authority::new("Nodes");
    let ca = file("ca.pem", godwit_tests::pem("CERTIFICATE", authority.certificate()));
    let redis = Redis::start();
    let setups = (0..2).map(|number| {
        let own = authority.issue("godwit");
        setup()
            .redis(&redis)
            .set(format!("cluster.tls.ca_file={ca}"))
            .set(format!("cluster.tls.cert_file={}", file(&format!("{number}.pem"), own.chain_pem())))
            .set(format!("cluster.tls.key_file={}", file(&format!("{number}.key"), own.key_pem())))
    });
    let setups = setups.collect();
    let cluster = Cluster::on(redis, Vec::new(), setups);
    let mut device = Device::register(&cluster, "over-tls", Speaks::PskWithCid);
    for turn in 0..6 {
        cluster.lead_all(turn % 2);
        device.update();
        let admin = cluster.nodes[(turn + 1) % 2].admin();
        let reading = thread::spawn(move || admin.read("over-tls", "/3/0/0"));
        device.answer("GET /3/0/0", "Godwit");
        reading.join().unwrap().unwrap();
    }
    assert_eq!(cluster.handshakes(), 1.0);
    assert!(cluster.metric_sum("godwit_cluster_datagrams_total", "path=\"presented\"") > 0.0);
    fs::remove_dir_all(&folder).unwrap();
}
