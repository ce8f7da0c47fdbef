//! A fleet while Redis fails in one of its ways.

use std::{
    fs::{self, File},
    net::SocketAddr,
    process::Command,
    thread,
    time::Duration,
};

use godwit_tests::{Cluster, Node, PATIENCE, Redis, Setup, TcpProxy, redis_available, wait, wait_for};

use crate::{
    device::{Device, KEY, Speaks, cluster},
    load::{Fleet, setup},
};

const SLOW: Duration = Duration::from_millis(200);

#[test]
fn a_fleet_goes_on_while_redis_is_slow() {
    let Some(cluster) = Cluster::wired(3, &setup()) else { return };
    let mut fleet = Fleet::start(&cluster, "redis-slow");
    fleet.broken();
    cluster.to_redis.iter().for_each(|line| line.delay(SLOW));
    cluster.secure.move_flows(30);
    fleet.outage();
    cluster.to_redis.iter().for_each(|line| line.delay(Duration::ZERO));
    fleet.mended();
    let found = fleet.end(&cluster);
    found.assert_zeros();
    found.report("Redis is slow", "Redis answers 200 ms later, and a third of the flows move.");
}

#[test]
fn a_fleet_goes_on_while_redis_is_down() {
    let Some(mut cluster) = Cluster::start(3, &setup()) else { return };
    let mut fleet = Fleet::start(&cluster, "redis-down");
    fleet.broken();
    cluster.redis.kill();
    fleet.outage();
    cluster.redis.restart();
    fleet.mended();
    cluster.secure.move_flows(50);
    let found = fleet.end(&cluster);
    found.assert_zeros();
    found.report(
        "Redis is killed and comes back with its data",
        "Redis is killed with SIGKILL and started again; afterwards half of the flows move.",
    );
}

#[test]
fn a_fleet_goes_on_when_a_replica_that_is_behind_is_promoted() {
    if !redis_available() {
        return;
    }
    let arguments = ["--appendonly", "yes", "--appendfsync", "always"];
    let master = Redis::with(&arguments);
    let line = TcpProxy::before(master.address().parse().unwrap());
    let (host, port) = (line.address().ip().to_string(), line.address().port().to_string());
    let replica = Redis::with(&[&arguments[..], &["--replicaof", &host, &port]].concat());
    wait("the replica's first copy", || {
        replica.command(&["INFO", "replication"]).contains("master_link_status:up").then_some(())
    });
    let new_master: SocketAddr = replica.address().parse().unwrap();
    // What leads to the master, as a service's name would.
    let name = TcpProxy::before(master.address().parse().unwrap());
    let setup = setup().redis(&master).set(format!("store.redis.addresses=[\"{}\"]", name.address()));
    let mut cluster = Cluster::on(master, vec![replica], vec![setup; 3]);
    let mut fleet = Fleet::start(&cluster, "redis-promoted");
    fleet.broken();
    line.cut(true);
    // This and what moves meanwhile the replica never hears of.
    cluster.secure.move_flows(50);
    fleet.more(u64::from(fleet.size.devices));
    cluster.redis.kill();
    cluster.others[0].command(&["REPLICAOF", "NO", "ONE"]);
    name.lead(new_master);
    fleet.mended();
    cluster.secure.move_flows(50);
    fleet.outage();
    let found = fleet.end(&cluster);
    found.assert_zeros();
    found.report(
        "A replica that is behind is promoted",
        "The link to the replica is frozen and half of the flows move; then the master is killed, the replica is promoted and \
         half of the flows move again.",
    );
}

#[test]
fn a_fleet_goes_on_when_sentinels_fail_over() {
    if !redis_available() {
        return;
    }
    let arguments = ["--appendonly", "yes", "--appendfsync", "always"];
    let master = Redis::with(&arguments);
    let of_master = ["--replicaof", "127.0.0.1", &master.port().to_string()];
    let mut others = vec![Redis::with(&[&arguments[..], &of_master].concat())];
    let (replica, master_port) = (others[0].port().to_string(), master.port());
    others.extend((0..3).map(|_| Redis::sentinel(master_port, 2)));
    for sentinel in &others[1..] {
        wait("the sentinels to know each other and the replica", || {
            let master = sentinel.command(&["SENTINEL", "MASTER", "mymaster"]);
            let has = |field: &str, value: &str| master.contains(&format!("{field}\n{value}\n"));
            (has("num-other-sentinels", "2") && has("num-slaves", "1")).then_some(())
        });
    }
    let addresses: Vec<_> = others[1..].iter().map(|it| format!("\"{}\"", it.address())).collect();
    let setup = setup()
        .redis(&master)
        .set("store.redis.mode=sentinel")
        .set("store.redis.master=mymaster")
        .set(format!("store.redis.addresses=[{}]", addresses.join(",")));
    let mut cluster = Cluster::on(master, others, vec![setup; 3]);
    let mut fleet = Fleet::start(&cluster, "redis-sentinel");
    fleet.broken();
    cluster.redis.kill();
    cluster.secure.move_flows(30);
    for sentinel in &cluster.others[1..] {
        wait("the sentinels' new master", || {
            let named = sentinel.command(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "mymaster"]);
            named.lines().any(|line| line == replica).then_some(())
        });
    }
    fleet.mended();
    cluster.secure.move_flows(50);
    fleet.outage();
    let found = fleet.end(&cluster);
    found.assert_zeros();
    found.report(
        "Sentinels fail over",
        "The master is killed and a third of the flows move; two of three Sentinels agree and promote the replica, then half of \
         the flows move.",
    );
}

#[test]
fn a_fleet_goes_on_when_an_old_copy_is_restored() {
    let Some(mut cluster) = Cluster::start(3, &setup()) else { return };
    let mut fleet = Fleet::start(&cluster, "redis-restored");
    let copy = cluster.redis.copy();
    cluster.secure.move_flows(50);
    fleet.more(u64::from(fleet.size.devices));
    fleet.broken();
    cluster.redis.kill();
    cluster.redis.restore(&copy);
    cluster.redis.restart();
    fleet.mended();
    cluster.secure.move_flows(50);
    fleet.outage();
    let found = fleet.end(&cluster);
    found.assert_zeros();
    found.report(
        "An old copy of the data is restored",
        "Redis is killed and started with a copy of its data that was made while it ran; half of the flows moved since then, \
         and half move again.",
    );
}

#[test]
fn what_a_restored_redis_forgot_comes_back_from_the_nodes_that_live() {
    let Some(mut cluster) = cluster(2) else { return };
    // All live at the other one.
    cluster.secure.health(1, false);
    cluster.plain.health(1, false);
    let mut devices = Speaks::ALL.map(|speaks| Device::register(&cluster, &format!("{speaks:?}"), speaks));
    cluster.nodes[0].admin().ensure_psk("late", KEY);
    let copy = cluster.redis.copy();
    devices.iter_mut().for_each(|device| device.change(5000));
    let late = Device::register(&cluster, "late", Speaks::PskWithCid);
    let before = cluster.handshakes();
    cluster.redis.kill();
    cluster.redis.restore(&copy);
    cluster.redis.restart();
    for node in &cluster.nodes {
        for device in &devices {
            node.admin()
                .wait_registration(&device.name, |it| it.lifetime.is_some_and(|it| it.seconds == 5000));
        }
        node.admin().wait_registration("late", |it| it.registration_id == late.id);
    }
    cluster.secure.health(1, true);
    cluster.plain.health(1, true);
    for node in [1, 0] {
        cluster.lead_all(node);
        devices.iter_mut().for_each(Device::update);
        devices.iter_mut().for_each(|device| device.change(6000 + node as u32));
    }
    assert_eq!(cluster.handshakes(), before);
}

#[test]
fn an_empty_redis_is_used_only_when_an_operator_says_so() {
    if !redis_available() {
        return;
    }
    let redis = Redis::start();
    let setup = Setup::default().redis(&redis);
    // It gives the data its name.
    drop(setup.clone().start());
    let setup = setup.set("store.allow_empty=false");
    let mut cluster = Cluster::on(redis, Vec::new(), vec![setup; 2]);
    cluster.lead_all(0);
    let mut devices = Speaks::ALL.map(|speaks| Device::register(&cluster, &format!("{speaks:?}"), speaks));
    let before = cluster.handshakes();
    let copy = cluster.redis.copy();
    cluster.redis.kill();
    cluster.redis.forget();
    cluster.redis.restart();
    for node in &cluster.nodes {
        wait("the node's word that the store is empty", || {
            (node.http("/ready").is_none() && node.log().contains("the store is empty")).then_some(())
        });
    }
    // Live sessions go on, and the data is still there to be restored.
    devices.iter_mut().for_each(Device::update);
    cluster.redis.kill();
    cluster.redis.restore(&copy);
    cluster.redis.restart();
    cluster.nodes.iter().for_each(|node| node.wait_sight("seen", true));
    for node in [1, 0] {
        cluster.lead_all(node);
        devices.iter_mut().for_each(Device::update);
    }
    assert_eq!(cluster.handshakes(), before);
}

#[test]
fn a_node_that_waits_for_redis_says_that_it_lives_and_can_be_stopped() {
    if !redis_available() {
        return;
    }
    let redis = Redis::start();
    redis.pause();
    let node = Setup::default().redis(&redis).begin();
    waits_and_stops(node, r#"{"state":"waiting","waiting_for":["start","store"]}"#);
}

#[test]
fn a_node_that_may_not_join_says_that_it_lives_and_can_be_stopped() {
    if !redis_available() {
        return;
    }
    let redis = Redis::start();
    let node = Setup::default().redis(&redis).set("store.allow_empty=false").begin();
    waits_and_stops(node, r#"{"state":"waiting","waiting_for":["cluster","start"]}"#);
}

fn waits_and_stops(mut node: Node, report: &str) {
    wait("the reason why it is not ready", || {
        node.answer("/ready").filter(|answer| *answer == (503, report.to_owned()))
    });
    assert_eq!(node.answer("/live"), Some((200, "live\n".to_owned())));
    let ended = node.terminate();
    assert!(ended.success(), "{ended}");
    let log = node.log();
    assert!(log.contains("stopped before it served") && !log.contains("serving"), "{log}");
}

#[test]
fn a_fleet_goes_on_while_redis_cluster_moves_slots() {
    let Some(cluster) = Cluster::on_cluster(3, &setup()) else { return };
    let mut fleet = Fleet::start(&cluster, "redis-slots");
    fleet.broken();
    let slots = if fleet.size.devices > 1000 { "4000" } else { "400" };
    let [from, to] = [&cluster.redis, &cluster.others[0]].map(|node| node.command(&["CLUSTER", "MYID"]));
    let said = fleet.file("reshard");
    let mut reshard = Command::new("redis-cli")
        .args(["--cluster", "reshard", &cluster.redis.address(), "--cluster-from", from.trim()])
        .args(["--cluster-to", to.trim(), "--cluster-slots", slots])
        .args(["--cluster-pipeline", "1", "--cluster-yes"])
        .stdout(File::create(&said).unwrap())
        .spawn()
        .unwrap();
    // Slot by slot and key by key: with a large fleet that takes minutes.
    let moved = wait_for(PATIENCE * 20, "the end of the migration", || {
        cluster.secure.move_flows(5);
        thread::sleep(Duration::from_millis(200));
        reshard.try_wait().unwrap()
    });
    assert!(moved.success(), "{moved}: {}", fs::read_to_string(&said).unwrap());
    fleet.mended();
    let found = fleet.end(&cluster);
    found.assert_zeros();
    found.report(
        "Redis Cluster moves slots",
        &format!("{slots} slots move from one of three masters to another, and flows move meanwhile."),
    );
}
