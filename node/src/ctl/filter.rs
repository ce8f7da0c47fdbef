//! Which of many devices or registrations are listed.

use clap::Args;

#[derive(Args, Debug)]
pub(super) struct Filter {
    #[command(flatten)]
    pub(super) which: Which,
    /// Most of them to list
    #[arg(long, default_value_t = usize::MAX, hide_default_value = true)]
    pub(super) limit: usize,
}

#[derive(Args, Debug)]
pub(super) struct Which {
    /// Only devices of this profile
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(super) profile: String,
    /// Only devices whose endpoint name begins so
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(super) prefix: String,
}

impl Filter {
    /// How many one page holds.
    pub(super) fn page_size(&self) -> i32 {
        1000.min(i32::try_from(self.limit).unwrap_or(i32::MAX))
    }
}
