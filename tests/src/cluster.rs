//! Several nodes on one Redis, behind load balancers.

use std::path::PathBuf;

use crate::{Node, Proxy, Redis, Setup, redis_available, wait};

/// A cluster whose devices come through balancers, which record every datagram.
#[derive(Debug)]
pub struct Cluster {
    /// By the numbers that [`Proxy::lead_all`] and [`Proxy::health`] take.
    pub nodes: Vec<Node>,
    /// In front of the ports without DTLS.
    pub plain: Proxy,
    /// In front of the ports with it.
    pub secure: Proxy,
    /// What they share. It ends after them.
    pub redis: Redis,
}

impl Cluster {
    /// So many nodes, with the protocol's timers at a quarter of their length. `None`: there is no Redis here.
    pub fn start(count: usize, setup: &Setup) -> Option<Cluster> {
        if !redis_available() {
            return None;
        }
        let redis = Redis::start();
        let nodes: Vec<_> = (0..count)
            .map(|number| {
                let setup = setup.clone().redis(&redis).set("cluster.timers_percent=25");
                setup.set(format!("node.id=n{number}")).start()
            })
            .collect();
        let plain: Vec<_> = nodes.iter().map(Node::coap).collect();
        let secure: Vec<_> = nodes.iter().map(Node::coaps).collect();
        let cluster =
            Cluster { plain: Proxy::balance(&plain, 1), secure: Proxy::balance(&secure, 2), nodes, redis };
        cluster.wait_complete();
        Some(cluster)
    }

    /// Waits until every running node sees every other.
    pub fn wait_complete(&self) {
        let running: Vec<_> = self.nodes.iter().filter(|node| node.http("/live").is_some()).collect();
        let all = running.len() as f64;
        wait("a complete cluster", || {
            let complete = |node: &&Node| {
                node.metric("godwit_cluster_members") >= all
                    && node.metric("godwit_cluster_links") >= all - 1.0
            };
            running.iter().all(complete).then_some(())
        });
    }

    /// Kills a node, as a crash would; the balancers find out.
    pub fn kill(&mut self, number: usize) {
        self.nodes[number].kill();
        self.plain.health(number, false);
        self.secure.health(number, false);
    }

    /// Starts a killed node again.
    pub fn restart(&mut self, number: usize) {
        self.nodes[number].restart();
        self.plain.health(number, true);
        self.secure.health(number, true);
    }

    /// From now on all devices come to this node.
    pub fn lead_all(&self, number: usize) {
        self.plain.lead_all(number);
        self.secure.lead_all(number);
    }

    /// Handshakes that have ended well at the nodes that run, since each of them started.
    pub fn handshakes(&self) -> f64 {
        let running = self.nodes.iter().filter(|node| node.http("/live").is_some());
        running
            .map(|node| {
                let ended = |outcome: &str| {
                    node.metric_sum("godwit_dtls_handshakes_total", &format!("outcome=\"{outcome}\""))
                };
                ended("full") + ended("resumed")
            })
            .sum()
    }

    /// A metric's sum over the nodes that run.
    pub fn metric_sum(&self, name: &str, label: &str) -> f64 {
        let running = self.nodes.iter().filter(|node| node.http("/live").is_some());
        running.map(|node| node.metric_sum(name, label)).sum()
    }

    /// Where each node's telemetry is.
    pub fn telemetry(&self) -> Vec<PathBuf> {
        self.nodes.iter().map(Node::telemetry).collect()
    }
}
