//! What a node's settings can't be right about, by what the other members say of themselves.

use std::{net::SocketAddr, time::Duration};

use thiserror::Error;

use crate::{clock::Boot, identity::Owner, store::Member};

/// Something that an operator has to mend.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Odd {
    /// Another process lives under this node's id: each takes the other for dead, and claims what it has.
    #[error(
        "another node, at {0}, has this node's id: they take devices from each other; give each a node.id of its own"
    )]
    Twin(SocketAddr),
    /// Peers on other machines find nobody at what this node advertises.
    #[error(
        "this node advertises {own}, where peers on other machines do not reach it, and a peer is at {peer}: set cluster.advertise"
    )]
    Unreachable {
        /// This node's address.
        own: SocketAddr,
        /// A peer's.
        peer: SocketAddr,
    },
}

/// The other members as this node has seen them.
#[derive(Debug, Default)]
pub struct Company {
    twin: Option<Twin>,
    unreachable: bool,
}

/// Another run under this node's id.
#[derive(Debug)]
struct Twin {
    /// What it said last.
    says: Member,
    since: Boot,
    said: bool,
}

impl Company {
    /// Takes the members of a heartbeat's answer, and answers what is newly odd about them.
    pub fn look(
        &mut self,
        now: Boot,
        own: &Owner,
        advertised: SocketAddr,
        members: &[Member],
        ttl: Duration,
    ) -> Vec<Odd> {
        let twin = self.look_for_twin(now, own, members, ttl);
        let is_near = |address: SocketAddr| address.ip().to_canonical().is_loopback();
        let far = members.iter().find(|it| it.owner.node != own.node && !is_near(it.address));
        let far = far.filter(|_| is_near(advertised));
        let known = std::mem::replace(&mut self.unreachable, far.is_some());
        let unreachable = far.filter(|_| !known);
        let unreachable = unreachable.map(|peer| Odd::Unreachable { own: advertised, peer: peer.address });
        twin.into_iter().chain(unreachable).collect()
    }

    /// An earlier run of this node is on record for as long as its last heartbeat counts, and one that drains for a while beside
    /// this one. Neither says anything new after that time.
    fn look_for_twin(&mut self, now: Boot, own: &Owner, members: &[Member], ttl: Duration) -> Option<Odd> {
        let is_twin = |it: &&Member| it.owner.node == own.node && it.owner.boot != own.boot && !it.draining;
        let known = self.twin.take();
        let same = |it: &&Member| known.as_ref().is_some_and(|known| known.says.owner == it.owner);
        let found = members.iter().filter(is_twin).find(same);
        let found = found.or_else(|| members.iter().find(is_twin))?;
        let Some(mut twin) = known.filter(|known| known.says.owner == found.owner) else {
            self.twin = Some(Twin { says: found.clone(), since: now, said: false });
            return None;
        };
        let beats_on = twin.says != *found && now.since(twin.since) > ttl;
        let odd = (beats_on && !twin.said).then_some(Odd::Twin(found.address));
        twin.said |= beats_on;
        twin.says = found.clone();
        self.twin = Some(twin);
        odd
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(10);

    fn member(node: &str, boot: u64, address: &str, beats: u64) -> Member {
        Member { address: address.parse().unwrap(), beats, ..Member::of(Owner { node: node.into(), boot }) }
    }

    /// Node `a`, run 2, looks at these.
    fn look(company: &mut Company, second: u64, members: &[Member]) -> Vec<Odd> {
        let (own, now) = (member("a", 2, "10.0.0.1:5691", 0), Boot::from_start(Duration::from_secs(second)));
        company.look(now, &own.owner, own.address, members, TTL)
    }

    #[test]
    fn another_node_of_the_same_id_that_beats_on_is_told_of_once() {
        let mut company = Company::default();
        let twin = |second: u64| [member("a", 7, "10.0.0.2:5691", second)];
        for second in (0..=10).step_by(2) {
            assert_eq!(look(&mut company, second, &twin(second)), []);
        }
        assert_eq!(look(&mut company, 12, &twin(12)), [Odd::Twin("10.0.0.2:5691".parse().unwrap())]);
        assert_eq!(look(&mut company, 14, &twin(14)), []);
        // It is gone, and another comes.
        assert_eq!(look(&mut company, 18, &[]), []);
        assert_eq!(look(&mut company, 20, &twin(20)), []);
        assert_eq!(look(&mut company, 40, &twin(40)).len(), 1);
    }

    #[test]
    fn an_earlier_run_of_this_node_is_not_told_of() {
        let mut company = Company::default();
        // Its last heartbeat stays on record, an outage of the store adds to that; or it drains beside this one.
        let ended = member("a", 1, "10.0.0.2:5691", 3);
        for second in 0..100 {
            assert_eq!(look(&mut company, second, std::slice::from_ref(&ended)), []);
        }
        for second in 100..200 {
            let drains = Member { draining: true, ..member("a", 1, "10.0.0.2:5691", second) };
            assert_eq!(look(&mut company, second, &[drains]), []);
        }
    }

    #[test]
    fn a_node_that_peers_elsewhere_can_not_reach_is_told_of_once() {
        let mut company = Company::default();
        let (own, now) = (member("a", 2, "127.0.0.1:5691", 0), Boot::default());
        let mut look = |members: &[Member]| company.look(now, &own.owner, own.address, members, TTL);
        assert_eq!(look(&[member("b", 1, "127.0.0.2:5691", 0)]), [], "on one machine");
        let far = member("b", 1, "10.0.0.2:5691", 0);
        let odd = Odd::Unreachable { own: own.address, peer: far.address };
        assert_eq!(look(std::slice::from_ref(&far)), std::slice::from_ref(&odd));
        assert_eq!(look(std::slice::from_ref(&far)), []);
        assert_eq!(look(&[]), []);
        assert_eq!(look(&[far]), [odd]);
    }
}
