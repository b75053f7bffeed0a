//! Which numbers of the other side's are taken. There are 2^32 of them, and each generation has to be above all before it:
//! one message with a number near the end would leave no room for another generation, ever.

use super::{Action, Engine, News};
use negotiation::Error;
use std::time::{Duration, Instant};

/// The other side may be so far ahead from the start, since either side may have lost its store. At a generation a minute
/// this is two years.
pub const AHEAD: u32 = 1 << 20;
/// It may be so many numbers further for each second since. Two registrars cannot make as many; and the numbers last for
/// eight years, if the other side does nothing but use them up.
const A_SECOND: u64 = 16;
/// Between two lines in the log.
const SAY_AGAIN: Duration = Duration::from_secs(10);

impl Engine {
    /// Whether the other side can have got to this number.
    ///
    /// # Errors
    /// It cannot; both numbers, and what is to be done.
    pub fn plausible(&mut self, now: Instant, number: u32) -> Result<(), Error> {
        let (since, from) = *self.counted_from.get_or_insert((now, self.last));
        let seconds = now.saturating_duration_since(since).as_secs();
        let most = u64::from(from) + u64::from(AHEAD) + seconds.saturating_mul(A_SECOND);
        if number <= self.last || (u64::from(number) <= most && number < u32::MAX) {
            return Ok(());
        }
        Err(Error::FarAhead { found: number, last: self.last })
    }

    /// The other side wants a generation above one that it has itself, or this side.
    pub(super) fn may_request(&self, above: u32) -> Result<(), Error> {
        let newest = self.newest_known();
        if above <= newest { Ok(()) } else { Err(Error::FarAhead { found: above, last: newest }) }
    }

    /// Says on both sides that a number is not taken.
    pub(super) fn refuse_number(&mut self, now: Instant, error: &Error) {
        self.last_error = Some(error.to_string());
        if self.refused_at.is_some_and(|at| now.saturating_duration_since(at) < SAY_AGAIN) {
            return;
        }
        self.refused_at = Some(now);
        tracing::error!(peer = self.peer.name, %error, "a number of the other primary's is not taken");
        if self.link {
            self.effects.actions.push(Action::Tell(News::trouble(&error.to_string())));
        }
    }
}
