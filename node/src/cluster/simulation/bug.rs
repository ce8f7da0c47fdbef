//! Bugs that are planted one at a time: what the simulation must find, or it is worth nothing.

/// What is done wrong on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Bug {
    /// A request is answered while its write is under way.
    AnswerBeforeWrite,
    /// A refused write counts as made.
    RefusedWriteCounts,
    /// An actor is built from the load that led to the claim, not from the claim's answer.
    ClaimByEarlierLoad,
    /// A node goes on with a device that it gave up, without a claim.
    ThawWithoutClaim,
    /// A node that is cut off tells a peer that it has not got a device, and keeps it for when the store is lost to all.
    GoneButKept,
    /// The record's read floor is not taken over.
    StaleFloor,
    /// A write is refused unless its term equals the stored one.
    TermsComparedForEquality,
    /// Writes are not fenced.
    WritesNotFenced,
    /// A claim leaves the term as it is.
    ClaimWithoutNewTerm,
    /// A claim does not look at what its load has seen.
    SeenIgnored,
    /// The numbers after a jump are not written before they are used.
    JumpNotWritten,
    /// The mark of sent numbers is never written.
    MarkNotWritten,
    /// Every claim counts as exact.
    EveryClaimExact,
    /// A device is given up with numbers that are not exact.
    InexactPassive,
    /// A presented record is taken without a look at the window.
    PresentWithoutWindow,
    /// The answer is not written with the request that it answers.
    AnswerNotStored,
    /// A pause is not noticed.
    PauseNotNoticed,
    /// A lane is given away while its last holder may still open seconds in it.
    LaneDoesNotRest,
    /// A node opens seconds that nobody has acknowledged.
    NonceAboveUntil,
    /// A starting process takes lanes from a store that has just come back.
    JoinsAtOnce,
    /// What a store forgot is not written again.
    NothingRestored,
    /// Claims are open before all members have written again what a store forgot.
    ClaimsBeforeRewritten,
    /// What is written again is not fenced.
    RewriteNotFenced,
    /// Sessions that a store brings back, from before they were replaced, stay beside what is written again.
    ReplacedSessionsStay,
    /// A node claims over a connection to a store that has not answered a heartbeat of its own.
    ClaimsBeforeHeartbeat,
    /// What is over is ended though devices could not say that they are there.
    ExpiresInOutage,
    /// A process that is started after an outage does not learn of it.
    OutageNotKept,
    /// The deadline of an update that was answered in an outage is not written later.
    DebtForgotten,
    /// Who claims a device sends as new what an earlier owner has sent.
    SentAnew,
    /// It is not on record that a command was sent.
    AttemptNotWritten,
    /// The end of a command that could not be written is not written later.
    EndForgotten,
}

impl Bug {
    /// Those that show in schedules with commands, short lifetimes and a store that is often away.
    pub(super) const IN_BUSY_SCHEDULES: [Self; 10] = [
        Self::ClaimsBeforeRewritten,
        Self::RewriteNotFenced,
        Self::ReplacedSessionsStay,
        Self::ClaimsBeforeHeartbeat,
        Self::ExpiresInOutage,
        Self::DebtForgotten,
        Self::SentAnew,
        Self::AttemptNotWritten,
        Self::OutageNotKept,
        Self::EndForgotten,
    ];
    /// Those that show where links are cut and every node hears the devices.
    pub(super) const IN_SPLIT_SCHEDULES: [Self; 2] = [Self::RefusedWriteCounts, Self::GoneButKept];
    /// Those that show in schedules; the others show in the simulation of lanes.
    pub(super) const IN_SCHEDULES: [Self; 15] = [
        Self::AnswerBeforeWrite,
        Self::ClaimByEarlierLoad,
        Self::ThawWithoutClaim,
        Self::StaleFloor,
        Self::TermsComparedForEquality,
        Self::WritesNotFenced,
        Self::ClaimWithoutNewTerm,
        Self::JumpNotWritten,
        Self::MarkNotWritten,
        Self::EveryClaimExact,
        Self::InexactPassive,
        Self::PresentWithoutWindow,
        Self::AnswerNotStored,
        Self::PauseNotNoticed,
        Self::NothingRestored,
    ];
    /// Those that show in the simulation of lanes.
    pub(super) const IN_LANES: [Self; 3] = [Self::LaneDoesNotRest, Self::NonceAboveUntil, Self::JoinsAtOnce];
}
