//! Several nodes on one Redis, behind load balancers.

use std::{net::SocketAddr, path::PathBuf};

use crate::{Node, Proxy, Redis, RedisCluster, Scale, Setup, TcpProxy, redis_available, wait};

/// A cluster whose devices come through balancers, which record every datagram.
#[derive(Debug)]
pub struct Cluster {
    /// By the numbers that [`Proxy::lead_all`] and [`Proxy::health`] take.
    pub nodes: Vec<Node>,
    /// In front of the ports without DTLS.
    pub plain: Proxy,
    /// In front of the ports with it.
    pub secure: Proxy,
    /// Each node's way to Redis, in [`Cluster::wired`].
    pub to_redis: Vec<TcpProxy>,
    /// The other nodes' way to each node, in [`Cluster::wired`].
    pub to_node: Vec<TcpProxy>,
    /// What they share. It ends after them.
    pub redis: Redis,
    /// Its further servers: masters of a Redis Cluster, a replica, a Sentinel.
    pub others: Vec<Redis>,
}

impl Cluster {
    /// So many nodes, with the protocol's timers at a quarter of their length but for a soak. `None`: there is no Redis here.
    pub fn start(count: usize, setup: &Setup) -> Option<Cluster> {
        redis_available().then(|| {
            let redis = Redis::start();
            let setup = setup.clone().redis(&redis);
            Cluster::on(redis, Vec::new(), (0..count).map(|_| setup.clone()).collect())
        })
    }

    /// The same with a proxy on each node's way to Redis and on the others' way to it.
    pub fn wired(count: usize, setup: &Setup) -> Option<Cluster> {
        redis_available().then(|| {
            let redis = Redis::start();
            let server: SocketAddr = redis.address().parse().unwrap();
            let to_redis: Vec<_> = (0..count).map(|_| TcpProxy::before(server)).collect();
            let to_node: Vec<_> = (0..count).map(|_| TcpProxy::before(server)).collect();
            let setups = to_redis.iter().zip(&to_node).map(|(to_redis, to_node)| {
                setup
                    .clone()
                    .redis(&redis)
                    .set(format!("store.redis.addresses=[\"{}\"]", to_redis.address()))
                    .set(format!("cluster.advertise={}", to_node.address()))
            });
            let setups = setups.collect();
            // Nodes find nobody at each other's addresses before they all run; they go on trying.
            let mut cluster = Cluster::open(redis, Vec::new(), setups);
            for (node, to_node) in cluster.nodes.iter().zip(&to_node) {
                to_node.lead(node.peers());
            }
            (cluster.to_redis, cluster.to_node) = (to_redis, to_node);
            cluster.wait_complete();
            cluster
        })
    }

    /// Nodes on a Redis Cluster of three masters.
    pub fn on_cluster(count: usize, setup: &Setup) -> Option<Cluster> {
        redis_available().then(|| {
            let mut masters = RedisCluster::start().nodes;
            let addresses: Vec<_> = masters.iter().map(|node| format!("\"{}\"", node.address())).collect();
            let setup = setup
                .clone()
                .redis(&masters[0])
                .set("store.redis.mode=cluster")
                .set(format!("store.redis.addresses=[{}]", addresses.join(",")));
            let first = masters.remove(0);
            Cluster::on(first, masters, (0..count).map(|_| setup.clone()).collect())
        })
    }

    /// Nodes with these setups, which name the store.
    pub fn on(redis: Redis, others: Vec<Redis>, setups: Vec<Setup>) -> Cluster {
        let cluster = Cluster::open(redis, others, setups);
        cluster.wait_complete();
        cluster
    }

    fn open(redis: Redis, others: Vec<Redis>, setups: Vec<Setup>) -> Cluster {
        let percent = Scale::from_environment().cluster.timers_percent;
        let start = |(number, setup): (usize, Setup)| {
            setup.set(format!("cluster.timers_percent={percent}")).set(format!("node.id=n{number}")).start()
        };
        let nodes: Vec<_> = setups.into_iter().enumerate().map(start).collect();
        let plain: Vec<_> = nodes.iter().map(Node::coap).collect();
        let secure: Vec<_> = nodes.iter().map(Node::coaps).collect();
        let (plain, secure) = (Proxy::balance(&plain, 1), Proxy::balance(&secure, 2));
        Cluster { nodes, plain, secure, to_redis: Vec::new(), to_node: Vec::new(), redis, others }
    }

    /// Waits until every running node sees every other.
    pub fn wait_complete(&self) {
        let running: Vec<_> = self.running().collect();
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

    /// Restarts a node in order: the balancers send it nothing more first.
    pub fn roll(&mut self, number: usize) {
        self.plain.health(number, false);
        self.secure.health(number, false);
        assert!(self.nodes[number].terminate().success(), "n{number} ends well");
        self.restart(number);
        self.wait_complete();
    }

    /// From now on all devices come to this node.
    pub fn lead_all(&self, number: usize) {
        self.plain.lead_all(number);
        self.secure.lead_all(number);
    }

    fn running(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| node.http("/live").is_some())
    }

    /// Handshakes that have ended well at the nodes that run, since each of them started.
    pub fn handshakes(&self) -> f64 {
        let ended = |outcome: &str| {
            self.metric_sum("godwit_dtls_handshakes_total", &format!("outcome=\"{outcome}\""))
        };
        ended("full") + ended("resumed")
    }

    /// A metric's sum over the nodes that run.
    pub fn metric_sum(&self, name: &str, label: &str) -> f64 {
        self.running().map(|node| node.metric_sum(name, label)).sum()
    }

    /// Where each node's telemetry is.
    pub fn telemetry(&self) -> Vec<PathBuf> {
        self.nodes.iter().map(Node::telemetry).collect()
    }
}
