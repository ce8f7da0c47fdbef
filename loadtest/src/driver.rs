//! The loop of a run: one thread that receives, lets deadlines pass, fires what is due, sends, and sleeps.
//!
//! Time moves in ticks. What is due within a tick leaves as one burst, and what arrived is read in batches;
//! the kernel's timestamps keep the measured latency free of that. So a packet costs little here, which
//! matters where the generator shares cores with the server.

use std::io;
use std::os::fd::AsFd;

use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::time::TimeSpec;

use crate::clock::{Clock, Micros};
use crate::schedule::{Round, Schedule};
use crate::socket::{Inbox, Plain};

/// How long what is due may wait for more of its kind.
const TICK: Micros = 250;

/// Beyond this the sockets wake the loop, below it the clock does.
const DOZE: Micros = 2 * TICK;

/// Batches that one socket gets before the next has its turn.
const BATCHES: usize = 8;

/// Who lives at the addresses of a transport.
pub(crate) trait Population {
    /// What can be due at a rate.
    type Action: Copy;

    /// A datagram of the server for `device`.
    fn handle(&mut self, arrived: Micros, now: Micros, device: u32, datagram: &[u8], out: &mut Plain);
    /// Deadlines up to `now` have passed.
    fn expire(&mut self, now: Micros, out: &mut Plain);
    /// When [`Population::expire`] wants to be called next.
    fn next_deadline(&self) -> Micros;
    /// An action is due; `device` is whose turn it is.
    fn fire(&mut self, action: Self::Action, device: u32, due: Micros, now: Micros, out: &mut Plain);
}

/// An action at a rate, over all devices in turn.
pub(crate) struct Load<A> {
    action: A,
    schedule: Schedule,
    round: Round,
}

impl<A> Load<A> {
    pub(crate) fn new(action: A, schedule: Schedule, devices: u32) -> Self {
        Self { action, schedule, round: Round::new(devices) }
    }

    /// Whether every event of the schedule has been fired.
    pub(crate) fn is_done(&self) -> bool {
        self.schedule.due().is_none()
    }
}

/// Owns what a run needs from the system.
pub(crate) struct Driver {
    pub(crate) transport: Plain,
    pub(crate) clock: Clock,
    inbox: Inbox,
    signals: SignalFd,
    interrupted: bool,
}

impl Driver {
    /// Takes over SIGINT and SIGTERM, which from now on end a run in order.
    pub(crate) fn new(transport: Plain, clock: Clock) -> io::Result<Self> {
        let mut signals = SigSet::empty();
        signals.add(Signal::SIGINT);
        signals.add(Signal::SIGTERM);
        signals.thread_block()?;
        let signals = SignalFd::with_flags(&signals, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        // A sleep of a tick should not last half a tick longer; where it may not be set, it does.
        let _ = prctl::set_timerslack(1);
        Ok(Self { transport, clock, inbox: Inbox::new(), signals, interrupted: false })
    }

    /// Whether the user asked to stop.
    pub(crate) fn interrupted(&self) -> bool {
        self.interrupted
    }

    /// Datagrams that were lost on this side for lack of room.
    pub(crate) fn dropped(&self) -> u32 {
        self.inbox.dropped()
    }

    /// One turn; afterwards the loop has slept, until `until` at the longest.
    pub(crate) fn turn<P: Population>(
        &mut self,
        population: &mut P,
        loads: &mut [Load<P::Action>],
        until: Micros,
    ) -> io::Result<()> {
        self.receive(population)?;
        let now = self.clock.now();
        population.expire(now, &mut self.transport);
        for load in &mut *loads {
            while let Some((turn, due)) = load.schedule.take(now) {
                population.fire(
                    load.action,
                    load.round.device(turn),
                    due,
                    self.clock.now(),
                    &mut self.transport,
                );
            }
        }
        self.transport.flush();
        let due = loads.iter().filter_map(|load| load.schedule.due()).min().unwrap_or(until);
        let wake = due.min(until).min(population.next_deadline());
        self.sleep(now, wake)
    }

    fn receive(&mut self, population: &mut impl Population) -> io::Result<()> {
        let route = self.transport.route();
        for socket in 0..self.transport.sockets() {
            for _ in 0..BATCHES {
                let received = self.inbox.fill(&self.transport, socket)?;
                let now = self.clock.now();
                for (device, arrived, message) in self.inbox.messages(route, self.clock, now) {
                    self.transport.received(socket, device, message);
                    if self.transport.socket(device) == socket {
                        population.handle(arrived, now, device, message, &mut self.transport);
                    }
                }
                if received < crate::batch::BATCH {
                    break;
                }
            }
        }
        Ok(())
    }

    fn sleep(&mut self, turn: Micros, wake: Micros) -> io::Result<()> {
        let now = self.clock.now();
        let doze = wake.saturating_sub(now) > DOZE;
        let wake = wake.max(turn + TICK);
        let timeout = std::time::Duration::from_micros(wake.saturating_sub(now));
        let mut polled = vec![PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
        if doze {
            polled.extend(self.transport.descriptors().map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
        }
        match ppoll(&mut polled, Some(TimeSpec::from_duration(timeout)), None) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        if self.signals.read_signal()?.is_some() {
            self.interrupted = true;
        }
        Ok(())
    }
}
