//! How fast a body comes while it is waited for. Pure; moments are handed in as durations.
//!
//! A sender that lets a byte drip every few seconds never stalls and never ends. So the bytes of a window are counted, and too few of them are
//! as good as none. Only the time in which somebody waited for bytes counts: a slow disk or client of ours is no fault of the sender's. The windows go on
//! from one connection to the next, so that a drip which breaks off now and then is one still.

use std::time::Duration;

/// The slowest that a body may come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Floor {
    /// Bytes a second; nothing is too slow for none.
    pub(super) rate: u64,
    /// The time over which they are counted.
    pub(super) window: Duration,
}

/// A window that brought too little.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct TooSlow {
    /// Bytes that came in it.
    pub(super) bytes: u64,
    /// How many such windows in a row this makes.
    pub(super) in_a_row: u32,
    /// How long it was.
    pub(super) waited: Duration,
}

/// What came in the present window.
#[derive(Debug, Default)]
pub(super) struct Meter {
    bytes: u64,
    slow_in_a_row: u32,
    waited: Duration,
}

impl Meter {
    /// So many bytes came after so long a wait.
    pub(super) fn note(&mut self, bytes: usize, waited: Duration) {
        self.bytes = self.bytes.saturating_add(bytes as u64);
        self.waited = self.waited.saturating_add(waited);
    }

    /// Ends the window if it is over.
    pub(super) fn judge(&mut self, floor: Floor) -> Result<(), TooSlow> {
        if self.waited < floor.window {
            return Ok(());
        }
        let (bytes, waited) = (std::mem::take(&mut self.bytes), std::mem::take(&mut self.waited));
        if u128::from(bytes) * 1000 >= u128::from(floor.rate) * waited.as_millis() {
            self.slow_in_a_row = 0;
            return Ok(());
        }
        self.slow_in_a_row += 1;
        Err(TooSlow { bytes, in_a_row: self.slow_in_a_row, waited })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FLOOR: Floor = Floor { rate: 64, window: Duration::from_mins(1) };

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn a_byte_every_twenty_seconds_is_too_slow_after_a_minute() {
        let mut meter = Meter::default();
        for round in 1..=3 {
            for _ in 0..2 {
                meter.note(1, seconds(20));
                assert_eq!(meter.judge(FLOOR), Ok(()));
            }
            meter.note(1, seconds(20));
            assert_eq!(meter.judge(FLOOR), Err(TooSlow { bytes: 3, in_a_row: round, waited: seconds(60) }));
        }
    }

    #[test]
    fn a_line_of_20_kilobytes_a_second_that_thirty_two_share_is_never_too_slow() {
        let mut meter = Meter::default();
        for _ in 0..1000 {
            meter.note(20_000 / 32 * 19, seconds(19)); // In bursts, just before each would be a stall.
            assert_eq!(meter.judge(FLOOR), Ok(()));
        }
    }

    #[test]
    fn a_window_that_is_good_ends_a_row_of_slow_ones() {
        let mut meter = Meter::default();
        for _ in 0..2 {
            meter.note(10, seconds(60));
            assert_eq!(meter.judge(FLOOR).expect_err("too slow").in_a_row, 1);
            meter.note(10_000, seconds(60));
            assert_eq!(meter.judge(FLOOR), Ok(()));
        }
    }

    proptest! {
        #[test]
        fn what_always_comes_at_the_floor_or_faster_is_never_too_slow(
            rate in 0_u64..1 << 40,
            pieces in prop::collection::vec((0_u64..60_000, 0_usize..1 << 20), 0..50),
        ) {
            let (floor, mut meter) = (Floor { rate, ..FLOOR }, Meter::default());
            for (waited, extra) in pieces {
                let least = usize::try_from(u128::from(rate) * u128::from(waited) / 1000 + 1).expect("64 bits");
                meter.note(least.saturating_add(extra), Duration::from_millis(waited));
                prop_assert_eq!(meter.judge(floor), Ok(()));
            }
        }

        #[test]
        fn without_a_floor_nothing_is_too_slow(waited in any::<u32>()) {
            let mut meter = Meter::default();
            meter.note(0, Duration::from_secs(waited.into()));
            prop_assert_eq!(meter.judge(Floor { rate: 0, ..FLOOR }), Ok(()));
        }
    }
}
