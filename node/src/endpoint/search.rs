//! One [`Activation`] with the clock and the neighbours of this process, or none where it stands alone.

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;

use super::neighbours::Neighbours;
use crate::{
    clock,
    ownership::{Activation, Answer, Membership, Step, Want, Why},
    store::{Header, Member},
};

/// Looks for whoever is to serve a device.
pub struct Search {
    neighbours: Arc<dyn Neighbours>,
    activation: Option<Activation>,
    /// A process that stands alone loads once more after a refused claim.
    again: bool,
}

impl Search {
    /// Begins.
    pub fn new(neighbours: &Arc<dyn Neighbours>, want: Want) -> Self {
        let membership = neighbours.membership();
        let activation = membership.map(|membership| Activation::new(clock::boot(), want, &membership));
        Self { neighbours: neighbours.clone(), activation, again: true }
    }

    fn step(&mut self, act: impl FnOnce(&mut Activation, &Membership) -> Step) -> Option<Step> {
        let (activation, membership) = (self.activation.as_mut()?, self.neighbours.membership()?);
        Some(act(activation, &membership))
    }

    /// See [`Activation::handle_loaded`].
    pub fn loaded(&mut self, header: Option<&Header>) -> Step {
        let alone = Step::Claim { seen: header.map_or(0, |header| header.term) };
        self.step(|it, members| it.handle_loaded(clock::boot(), header, members)).unwrap_or(alone)
    }

    /// See [`Activation::handle_load_failed`].
    pub fn load_failed(&mut self) -> Step {
        self.step(|it, members| it.handle_load_failed(clock::boot(), members))
            .unwrap_or(Step::Leave(Why::Outage))
    }

    /// See [`Activation::handle_claim_refused`].
    pub fn claim_refused(&mut self) -> Step {
        if let Some(step) = self.step(|it, _| it.handle_claim_refused(clock::boot())) {
            return step;
        }
        let again = std::mem::replace(&mut self.again, false);
        if again { Step::LoadAgain } else { Step::Leave(Why::TooLate) }
    }

    /// Puts a question to the owner, for as long as it may take. `slow`: its answer waits for something of the device, so
    /// that having none says nothing of the owner.
    pub async fn ask(&mut self, to: &Member, question: BoxFuture<'static, Answer>, slow: bool) -> Step {
        let patience = self.activation.as_ref().map_or(Duration::ZERO, |it| it.patience(clock::boot()));
        match tokio::time::timeout(patience, question).await {
            Ok(answer) => self.step(|it, members| it.handle_answer(clock::boot(), answer, members)),
            Err(_) if slow => None,
            Err(_) => {
                self.neighbours.silent(&to.owner);
                self.step(|it, members| it.handle_timeout(clock::boot(), members))
            }
        }
        .unwrap_or(Step::Leave(Why::TooLate))
    }
}
