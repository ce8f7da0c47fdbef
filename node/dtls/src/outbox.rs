//! Outputs in the order in which they are to be carried out.

use std::collections::VecDeque;

use crate::{
    output::Output,
    question::{Question, Ticket},
};

/// An association's queue of effects; without any allocation while empty.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    queue: VecDeque<Output>,
    tickets: u32,
    sent: Sent,
}

/// What left an association besides first flights and application data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Alerts, close_notify included.
    pub alerts: u16,
    /// Flights sent again, by timer or because the peer repeated its own.
    pub repeats: u16,
}

impl Outbox {
    pub(crate) fn push(&mut self, output: Output) {
        self.queue.push_back(output);
    }

    pub(crate) fn transmit(&mut self, datagram: Vec<u8>) {
        self.push(Output::Transmit(datagram));
    }

    pub(crate) fn alert(&mut self, datagram: Vec<u8>) {
        self.sent.alerts = self.sent.alerts.saturating_add(1);
        self.transmit(datagram);
    }

    pub(crate) fn note_repeat(&mut self) {
        self.sent.repeats = self.sent.repeats.saturating_add(1);
    }

    pub(crate) fn take_sent(&mut self) -> Sent {
        std::mem::take(&mut self.sent)
    }

    /// Asks, and gives the ticket that the answer will bear.
    pub(crate) fn ask(&mut self, question: Question) -> Ticket {
        self.tickets = self.tickets.wrapping_add(1);
        let ticket = Ticket(self.tickets);
        self.push(Output::Ask(ticket, question));
        ticket
    }

    pub(crate) fn pop(&mut self) -> Option<Output> {
        let output = self.queue.pop_front();
        if self.queue.is_empty() {
            // An idle association holds no buffer.
            self.queue = VecDeque::new();
        }
        output
    }
}
