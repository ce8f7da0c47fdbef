//! A fleet while Redis fails in one of its ways.

use std::{
    net::SocketAddr,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use godwit_tests::{Cluster, Redis, Setup, TcpProxy, redis_available, wait};

use crate::{
    device::{Device, Speaks},
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
    for node in &cluster.nodes {
        wait("the node's readiness", || node.http("/ready"));
    }
    for node in [1, 0] {
        cluster.lead_all(node);
        devices.iter_mut().for_each(Device::update);
    }
    assert_eq!(cluster.handshakes(), before);
}

#[test]
fn a_fleet_goes_on_while_redis_cluster_moves_slots() {
    let Some(cluster) = Cluster::on_cluster(3, &setup()) else { return };
    let mut fleet = Fleet::start(&cluster, "redis-slots");
    fleet.broken();
    let slots = if fleet.size.devices > 1000 { "4000" } else { "400" };
    let [from, to] = [&cluster.redis, &cluster.others[0]].map(|node| node.command(&["CLUSTER", "MYID"]));
    let mut reshard = Command::new("redis-cli")
        .args(["--cluster", "reshard", &cluster.redis.address(), "--cluster-from", from.trim()])
        .args([
            "--cluster-to",
            to.trim(),
            "--cluster-slots",
            slots,
            "--cluster-pipeline",
            "1",
            "--cluster-yes",
        ])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let moved = wait("the end of the migration", || {
        cluster.secure.move_flows(5);
        thread::sleep(Duration::from_millis(200));
        reshard.try_wait().unwrap()
    });
    assert!(moved.success());
    fleet.mended();
    let found = fleet.end(&cluster);
    found.assert_zeros();
    found.report(
        "Redis Cluster moves slots",
        &format!("{slots} slots move from one of three masters to another, and flows move meanwhile."),
    );
}
