//! How much a token may ask for in a second.

use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What a token may ask for in a second; None means any number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// Requests: each mint, read, raise, and list.
    pub requests: Option<NonZeroU32>,
    /// Minted integers.
    pub integers: Option<NonZeroU32>,
}

/// One of the [`Rates`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// [`Rates::requests`].
    Requests,
    /// [`Rates::integers`].
    Integers,
}

impl Limit {
    /// The name, in errors and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Integers => "integers",
        }
    }
}

/// What was asked for, compared with the [`Rates`].
///
/// Each limit is a bucket that holds what may be asked for in one second and fills up evenly. A request for more than
/// a whole second's worth is served when its bucket is full; what it took too much has to fill up before the next one.
#[derive(Debug)]
pub(crate) struct Meter {
    rates: Rates,
    begun: Instant,
    full: Mutex<Full>,
}

/// When each bucket is full again, in nanoseconds since the meter began.
#[derive(Clone, Copy, Debug, Default)]
struct Full {
    requests: u64,
    integers: u64,
}

/// How long it takes to fill an empty bucket, in nanoseconds.
const SECOND: u64 = 1_000_000_000;

impl Meter {
    pub(crate) fn new(rates: Rates) -> Self {
        Self {
            rates,
            begun: Instant::now(),
            full: Mutex::default(),
        }
    }

    /// Counts a request for this many integers. Nothing is counted if there is an error.
    ///
    /// # Errors
    /// The limit that is reached, and after how long the request can be served.
    pub(crate) fn spend(&self, integers: u32) -> Result<(), (Limit, Duration)> {
        if self.rates == Rates::default() {
            return Ok(());
        }
        self.spend_at(self.begun.elapsed(), integers)
    }

    fn spend_at(&self, now: Duration, integers: u32) -> Result<(), (Limit, Duration)> {
        let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        let mut full = self.full.lock().unwrap_or_else(PoisonError::into_inner);
        let requests = take(self.rates.requests, full.requests, now, 1)
            .map_err(|wait| (Limit::Requests, wait))?;
        let integers = take(self.rates.integers, full.integers, now, integers)
            .map_err(|wait| (Limit::Integers, wait))?;
        *full = Full { requests, integers };
        Ok(())
    }
}

/// Takes `amount` from a bucket. Returns when it is full again, or else how long to wait.
fn take(rate: Option<NonZeroU32>, full: u64, now: u64, amount: u32) -> Result<u64, Duration> {
    let Some(rate) = rate.filter(|_| amount > 0) else {
        return Ok(full);
    };
    // Less than 2^62: the product of an amount and a second.
    let cost = u64::from(amount) * SECOND / u64::from(rate.get());
    let missing = full.saturating_sub(now);
    let allowed = SECOND.saturating_sub(cost);
    match missing.checked_sub(allowed) {
        None | Some(0) => Ok(full.max(now).saturating_add(cost)),
        Some(wait) => Err(Duration::from_nanos(wait)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn meter(requests: u32, integers: u32) -> Meter {
        Meter::new(Rates {
            requests: NonZeroU32::new(requests),
            integers: NonZeroU32::new(integers),
        })
    }

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn a_second_holds_what_may_be_asked_for() {
        let meter = meter(2, 0);
        assert_eq!(meter.spend_at(millis(0), 100_000), Ok(()));
        assert_eq!(meter.spend_at(millis(0), 1), Ok(()));
        let refused = Err((Limit::Requests, millis(500)));
        assert_eq!(meter.spend_at(millis(0), 1), refused);
        assert_eq!(
            meter.spend_at(millis(499), 1),
            Err((Limit::Requests, millis(1)))
        );
        assert_eq!(meter.spend_at(millis(500), 1), Ok(()));
        assert_eq!(meter.spend_at(millis(500), 1), refused);
        // However long nobody asks, the bucket holds no more than a second's worth.
        for _ in 0..2 {
            assert_eq!(meter.spend_at(millis(1_000_000), 1), Ok(()));
        }
        assert_eq!(meter.spend_at(millis(1_000_000), 1), refused);
    }

    #[test]
    fn more_than_a_second_holds_is_paid_off_afterwards() {
        let meter = meter(0, 10);
        assert_eq!(meter.spend_at(millis(0), 1), Ok(()));
        let refused = Err((Limit::Integers, millis(100)));
        assert_eq!(meter.spend_at(millis(0), 50), refused, "it is not full");
        assert_eq!(meter.spend_at(millis(100), 50), Ok(()));
        assert_eq!(
            meter.spend_at(millis(100), 1),
            Err((Limit::Integers, millis(4100)))
        );
        assert_eq!(
            meter.spend_at(millis(4199), 1),
            Err((Limit::Integers, millis(1)))
        );
        assert_eq!(meter.spend_at(millis(4200), 1), Ok(()));
        // A read takes none, whatever has to be paid off.
        assert_eq!(meter.spend_at(millis(9999), 90), Ok(()));
        assert_eq!(meter.spend_at(millis(9999), 0), Ok(()));
    }

    #[test]
    fn what_one_limit_refuses_is_not_counted_by_the_other() {
        let meter = meter(2, 1);
        assert_eq!(meter.spend_at(millis(0), 1), Ok(()));
        for _ in 0..5 {
            assert_eq!(
                meter.spend_at(millis(0), 1),
                Err((Limit::Integers, millis(1000)))
            );
        }
        assert_eq!(meter.spend_at(millis(0), 0), Ok(()));
        assert_eq!(
            meter.spend_at(millis(0), 0),
            Err((Limit::Requests, millis(500)))
        );
    }

    #[test]
    fn no_limit_is_no_limit() {
        let meter = meter(0, 0);
        for _ in 0..1000 {
            assert_eq!(meter.spend(u32::MAX), Ok(()));
        }
    }

    proptest! {
        #[test]
        fn no_numbers_panic_and_waiting_helps(rate in 1u32.., amounts in prop::collection::vec(any::<u32>(), 1..20)) {
            let meter = meter(rate, rate);
            let mut now = Duration::ZERO;
            for amount in amounts {
                if let Err((_, wait)) = meter.spend_at(now, amount) {
                    now = now.saturating_add(wait);
                    let again = meter.spend_at(now, amount);
                    if let Err((limit, wait)) = again {
                        prop_assert_ne!(limit, Limit::Requests);
                        now = now.saturating_add(wait);
                        prop_assert_eq!(meter.spend_at(now, amount), Ok(()));
                    }
                }
            }
        }
    }
}
