//! The answer that another node waits for.

use super::Answer;

/// Gives one answer. Dropped without, it says [`Answer::Busy`]: whoever was to answer had no room for the question.
pub struct Reply(Option<Box<dyn FnOnce(Answer) + Send>>);

impl Reply {
    /// Answers by calling this.
    pub fn new(answer: impl FnOnce(Answer) + Send + 'static) -> Self {
        Self(Some(Box::new(answer)))
    }

    /// Gives the answer.
    pub fn answer(mut self, answer: Answer) {
        if let Some(give) = self.0.take() {
            give(answer);
        }
    }

    /// This process does not have the device, or no longer.
    pub fn gone(self) {
        self.answer(Answer::Gone { term: 0 });
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if let Some(give) = self.0.take() {
            give(Answer::Busy);
        }
    }
}

impl std::fmt::Debug for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Reply")
    }
}
