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
}

impl Outbox {
    pub(crate) fn push(&mut self, output: Output) {
        self.queue.push_back(output);
    }

    pub(crate) fn transmit(&mut self, datagram: Vec<u8>) {
        self.push(Output::Transmit(datagram));
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
