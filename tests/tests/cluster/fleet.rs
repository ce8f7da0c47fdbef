//! A fleet on three nodes that die, are replaced, stand still or lose each other; and whose flows move.

use std::{
    sync::atomic::Ordering,
    thread,
    time::{Duration, Instant},
};

use godwit_tests::{Cluster, Scale};

use crate::load::{Fleet, setup};

#[test]
fn a_fleet_goes_on_when_a_node_is_killed() {
    let Some(mut cluster) = Cluster::start(3, &setup()) else { return };
    let mut fleet = Fleet::start(&cluster, "killed");
    fleet.broken_at(&cluster.nodes[0]);
    cluster.kill(0);
    fleet.outage();
    cluster.restart(0);
    let found = fleet.end(&cluster);
    found.assert_zeros();
    found
        .report("A node of three is killed under load", "One node is killed with SIGKILL and started again.");
}

#[test]
fn a_fleet_goes_on_when_flows_move_and_addresses_change() {
    let Some(cluster) = Cluster::start(3, &setup()) else { return };
    let mut fleet = Fleet::start(&cluster, "moved");
    fleet.broken();
    let until = Instant::now() + fleet.size.duration;
    while Instant::now() < until {
        cluster.secure.move_flows(10);
        cluster.secure.rebind_some(3);
        thread::sleep(Duration::from_secs(1));
    }
    fleet.mended();
    assert_eq!(cluster.handshakes(), f64::from(fleet.size.devices), "one for each device");
    let found = fleet.end(&cluster);
    found.assert_zeros();
    found.report(
        "Flows move between three nodes under load",
        "Each second 10 % of the flows move and 3 % of the devices change their address.",
    );
}

#[test]
fn a_fleet_stays_where_it_is_while_its_packets_are_sprayed() {
    let Some(cluster) = Cluster::start(3, &setup()) else { return };
    let mut fleet = Fleet::start(&cluster, "sprayed");
    let claims = || cluster.metric_sum("godwit_dtls_claims_total", "");
    let accepted = || cluster.metric_sum("godwit_dtls_records_received_total", "");
    let before = (claims(), accepted());
    fleet.broken();
    cluster.secure.faults.sprayed.store(100, Ordering::Relaxed);
    fleet.more(u64::from(fleet.size.rate) * fleet.size.duration.as_secs());
    let (moved, records) = (claims() - before.0, accepted() - before.1);
    cluster.secure.faults.sprayed.store(0, Ordering::Relaxed);
    fleet.mended();
    let found = fleet.end(&cluster);
    found.assert_zeros();
    found.report(
        "Each packet comes to any of three nodes",
        &format!(
            "Each datagram of a device goes to a node that is chosen anew. {moved} sessions moved during {records} accepted \
             records of devices."
        ),
    );
    // A machine that stands still has nodes claim from a neighbour that is silent.
    if Scale::from_environment() == Scale::SOAK {
        assert!(moved * 1000.0 < records, "{moved} sessions moved during {records} records");
    }
}

#[test]
fn a_fleet_notices_little_of_a_rolling_restart() {
    let Some(mut cluster) = Cluster::start(3, &setup()) else { return };
    let mut fleet = Fleet::start(&cluster, "rolled");
    fleet.broken();
    for number in 0..3 {
        fleet.note("a node is to end");
        cluster.roll(number);
        fleet.note("it is there again");
        fleet.more(u64::from(fleet.size.rate));
    }
    fleet.mended();
    let found = fleet.end(&cluster);
    found.assert_zeros();
    found.report(
        "All of three nodes are restarted in turn under load",
        "Each node is taken out of the balancer, ended with SIGTERM and started again.",
    );
    // A machine that is short of CPU for long has its own retransmissions; the full check is for one that is not.
    if Scale::from_environment() == Scale::SOAK {
        assert_eq!(found.repeated_twice().0, 0, "no exchange takes more than one retransmission");
    }
}

#[test]
fn a_fleet_is_served_elsewhere_while_a_node_stands_still() {
    let Some(cluster) = Cluster::start(3, &setup()) else { return };
    let mut fleet = Fleet::start(&cluster, "stopped");
    fleet.broken_at(&cluster.nodes[1]);
    cluster.nodes[1].pause();
    cluster.secure.health(1, false);
    fleet.outage();
    fleet.mended();
    cluster.nodes[1].resume();
    cluster.secure.health(1, true);
    cluster.secure.move_flows(50);
    let found = fleet.end(&cluster);
    found.assert_zeros();
    found.report(
        "A node stands still while its sessions are claimed",
        "One node of three gets SIGSTOP and leaves the balancer; afterwards SIGCONT, and half of the flows move.",
    );
}
