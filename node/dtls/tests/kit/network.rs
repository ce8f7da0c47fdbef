//! A way between one client and the server that loses, repeats and overtakes, as its seed says.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use godwit_dtls::{
    message::Fragments,
    record::{ContentType, Records},
};

use super::{Seeded, peer::Peer, server::Server};

/// What the way does to a datagram.
#[derive(Clone, Debug)]
pub struct Weather {
    random: Seeded,
    /// Percent that get lost.
    pub loss: u64,
    /// Percent that come twice.
    pub duplication: u64,
    /// The longest way takes so long; the shortest nothing.
    pub delay: Duration,
    /// Datagrams after which it is fair, as it is after a minute: nothing is lost any more, and order stays.
    pub until: u64,
}

impl Weather {
    /// Up to half of all lost, up to 40 % twice, up to 6 s late, for up to 60 datagrams.
    pub fn bad(seed: u64) -> Self {
        let mut random = Seeded::new(seed);
        let (loss, duplication) = (random.below(51), random.below(41));
        let delay = Duration::from_millis([0, 50, 1500, 6000][random.below(4) as usize]);
        let until = random.below(61);
        Weather { random, loss, duplication, delay, until }
    }

    /// Nothing happens to any datagram.
    pub fn fair() -> Self {
        Weather { random: Seeded::new(0), loss: 0, duplication: 0, delay: Duration::ZERO, until: 0 }
    }

    /// How long each copy of the next datagram takes.
    pub fn copies(&mut self, since_begin: Duration) -> Vec<Duration> {
        const FAIR: Duration = Duration::from_millis(5);
        // A server answers a repeated Finished for four minutes, and some clients' waits double without end.
        if self.until == 0 || since_begin > Duration::from_secs(60) {
            return vec![FAIR];
        }
        self.until -= 1;
        let mut late = |most: Duration| FAIR + most.mul_f64(self.random.below(1001) as f64 / 1000.0);
        let times = [late(self.delay), late(self.delay)];
        if self.random.percent(self.loss) {
            Vec::new()
        } else if self.random.percent(self.duplication) {
            times.to_vec()
        } else {
            vec![times[0]]
        }
    }
}

/// Both ends and what is under way.
pub struct Network<'a> {
    pub now: Instant,
    pub server: &'a mut Server,
    pub peer: &'a mut dyn Peer,
    pub weather: Weather,
    /// When the server's owner dies, in order.
    pub deaths: VecDeque<Instant>,
    /// When, a number that keeps the order, whether to the server, what.
    flying: Vec<(Instant, u64, bool, Vec<u8>)>,
    count: u64,
    began: Instant,
    /// `TRACE=1` prints every datagram and how long its copies take.
    trace: bool,
}

/// More than any handshake takes that ends at all.
const MOST_STEPS: u64 = 20_000;

impl<'a> Network<'a> {
    pub fn new(now: Instant, server: &'a mut Server, peer: &'a mut dyn Peer, weather: Weather) -> Self {
        Network {
            now,
            server,
            peer,
            weather,
            deaths: VecDeque::new(),
            flying: Vec::new(),
            count: 0,
            began: now,
            trace: std::env::var_os("TRACE").is_some(),
        }
    }

    /// Steps time from one event to the next until `done`; `false` if nothing happens any more before.
    pub fn run_until(&mut self, mut done: impl FnMut(&Server, &dyn Peer) -> bool) -> bool {
        for _ in 0..MOST_STEPS {
            self.collect();
            if done(self.server, self.peer) {
                return true;
            }
            if !self.step() {
                return false;
            }
        }
        false
    }

    /// Lets everything end that ends within this time.
    pub fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        for _ in 0..MOST_STEPS {
            self.collect();
            if self.next_event().is_none_or(|next| next > end) {
                break;
            }
            self.step();
        }
        self.now = end;
    }

    pub fn datagrams(&self) -> u64 {
        self.count
    }

    fn next_event(&self) -> Option<Instant> {
        let arrival = self.flying.iter().map(|(at, ..)| *at).min();
        let death = self.deaths.front().copied();
        [arrival, death, self.server.poll_timeout(), self.peer.poll_timeout()].into_iter().flatten().min()
    }

    fn step(&mut self) -> bool {
        let Some(next) = self.next_event() else { return false };
        self.now = self.now.max(next);
        if self.deaths.front().is_some_and(|death| *death <= self.now) {
            self.deaths.pop_front();
            self.server.die();
            return true;
        }
        let arrived = self.flying.iter().enumerate().filter(|(_, (at, ..))| *at <= self.now);
        if let Some((index, _)) = arrived.min_by_key(|(_, (at, order, ..))| (*at, *order)) {
            let (_, _, to_server, datagram) = self.flying.swap_remove(index);
            if to_server {
                self.server.handle_datagram(self.now, &datagram);
            } else {
                self.peer.handle_datagram(self.now, &datagram);
            }
            return true;
        }
        if self.server.poll_timeout().is_some_and(|due| due <= self.now) {
            self.server.handle_timeout(self.now);
        }
        if self.peer.poll_timeout().is_some_and(|due| due <= self.now) {
            self.peer.handle_timeout(self.now);
        }
        true
    }

    fn collect(&mut self) {
        while let Some(datagram) = self.peer.poll_transmit() {
            self.launch(true, datagram);
        }
        while let Some(datagram) = self.server.sent.pop_front() {
            self.launch(false, datagram);
        }
    }

    fn launch(&mut self, to_server: bool, datagram: Vec<u8>) {
        let copies = self.weather.copies(self.now - self.began);
        if self.trace {
            let way = if to_server { "-->" } else { "<--" };
            eprintln!("{:>9.3} {way} {} {copies:?}", (self.now - self.began).as_secs_f64(), shown(&datagram));
        }
        for late in copies {
            self.count += 1;
            self.flying.push((self.now + late, self.count, to_server, datagram.clone()));
        }
    }
}

/// The records of a datagram in a few words.
fn shown(datagram: &[u8]) -> String {
    let each = Records::parse(datagram, 8).map(|record| match record {
        Ok(record) if record.epoch == 0 && record.content_type == ContentType::Handshake => {
            let fragments: Vec<_> = Fragments::parse(record.fragment).flatten().collect();
            format!("{}: {fragments:?}", record.number)
        }
        other => format!("{other:?}"),
    });
    each.collect::<Vec<_>>().join(", ")
}
