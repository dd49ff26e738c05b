//! How many bits each part of a flake has, and when its time begins.

use crate::{Error, Lattice};
use jiff::civil::Date;
use jiff::{Timestamp, tz::Offset};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// The parts of a flake: from the top the time, the number within its millisecond, and the node.
///
/// As a text: `standard`, `javascript`, or the three numbers of bits such as `41-12-10`; each may be followed by
/// the epoch, as in `standard:2020-01-01`. The epoch is a day and begins at midnight UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    time: u32,
    sequence: u32,
    node: u32,
    /// Milliseconds since the Unix epoch.
    epoch: i64,
}

/// 2026-01-01, in milliseconds since the Unix epoch.
const EPOCH: i64 = 1_767_225_600_000;

/// The greatest number of bits for the time: 8900 years.
const MOST_TIME: u32 = 48;

/// The greatest number of bits for the node and for the number within a millisecond.
const MOST: u32 = 22;

impl Layout {
    /// 63 bits: 69 years from 2026 on, 1024 nodes, 4096 integers a millisecond and node.
    pub const STANDARD: Self = Self {
        time: 41,
        sequence: 12,
        node: 10,
        epoch: EPOCH,
    };

    /// 53 bits, which a number in JavaScript holds exactly: 69 years, 32 nodes, 128 integers a millisecond
    /// and node.
    pub const JAVASCRIPT: Self = Self {
        time: 41,
        sequence: 7,
        node: 5,
        epoch: EPOCH,
    };

    /// The flakes of one node.
    ///
    /// # Errors
    /// [`Error::Invalid`] unless `node` is a number that fits.
    pub fn lattice(self, node: u32) -> Result<Lattice, Error> {
        if node >= self.nodes() {
            return Err(Error::Invalid(format!(
                "the node is {node}; with the layout {self} it must be 0 to {}",
                self.nodes() - 1
            )));
        }
        Lattice::new(i64::from(self.nodes()), i64::from(node))
    }

    /// How many nodes there can be.
    pub fn nodes(self) -> u32 {
        1 << self.node
    }

    /// How many integers a node can make in a millisecond.
    pub fn rate(self) -> u32 {
        1 << self.sequence
    }

    /// The number of milliseconds for which it lasts: the greatest time plus one.
    pub fn length(self) -> i64 {
        1 << self.time
    }

    /// The date of the last millisecond, such as `2095-09-07`.
    pub fn last_day(self) -> String {
        day(self.epoch.saturating_add(self.length() - 1))
    }

    /// A number of the same size for the same layout, 1 or more, and another one for each other.
    pub fn fingerprint(self) -> i64 {
        // Six bits hold up to 63; the epoch is a day after 1970 and before 10000, which takes 22 bits.
        let days = self.epoch / DAY;
        (((days << 6 | i64::from(self.time)) << 6 | i64::from(self.sequence)) << 6)
            | i64::from(self.node)
    }

    /// The milliseconds from the epoch to a time, which is given as the time since the Unix epoch.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when it is before the epoch, [`Error::Exhausted`] when it is past the last day.
    pub(super) fn time(self, since_unix: Duration) -> Result<i64, Error> {
        let unix = i64::try_from(since_unix.as_millis()).unwrap_or(i64::MAX);
        let time = unix.saturating_sub(self.epoch);
        if time < 0 {
            return Err(Error::Unavailable(format!(
                "the clock shows {}, before the epoch of the layout {self}; set the clock",
                day(unix)
            )));
        }
        if time >= self.length() {
            return Err(self.ended());
        }
        Ok(time)
    }

    /// The error for a time past the last day.
    pub(super) fn ended(self) -> Error {
        Error::Exhausted(format!(
            "the last day of the layout {self} was {}; choose another layout for another sequence",
            self.last_day()
        ))
    }

    /// The number of the flake within a node: a time, and a number within that millisecond.
    pub(super) fn number(self, time: i64, within: i64) -> i64 {
        (time << self.sequence) | within
    }

    /// The time of a [`Layout::number`].
    pub(super) fn time_of(self, number: i64) -> i64 {
        number >> self.sequence
    }

    /// The flake with this [`Layout::number`] of a node.
    pub(super) fn flake(self, number: i64, node: u32) -> i64 {
        (number << self.node) | i64::from(node)
    }

    /// The greatest number within a node at which a flake is not above `value`.
    pub(super) fn number_below(self, value: i64) -> i64 {
        value >> self.node
    }

    fn checked(time: u32, sequence: u32, node: u32, epoch: i64) -> Result<Self, String> {
        let fits = (1..=MOST_TIME).contains(&time) && sequence <= MOST && node <= MOST;
        if !fits || time + sequence + node > 63 {
            return Err(format!(
                "it has {time} bits of time, {sequence} within a millisecond and {node} of the node; expected 1 to \
                 {MOST_TIME} of time, at most {MOST} of each other, and at most 63 in all"
            ));
        }
        Ok(Self {
            time,
            sequence,
            node,
            epoch,
        })
    }
}

/// Milliseconds of a day.
const DAY: i64 = 86_400_000;

fn day(unix_milliseconds: i64) -> String {
    match Timestamp::from_millisecond(unix_milliseconds) {
        Ok(time) => Offset::UTC.to_datetime(time).date().to_string(),
        Err(_) => "a day after the year 9999".into(),
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.time, self.sequence, self.node)?;
        write!(f, ":{}", day(self.epoch))
    }
}

impl FromStr for Layout {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let refuse = |why: String| {
            Error::Invalid(format!(
                "the layout is `{text}`: {why}. Expected `standard`, `javascript` or the bits of time, of the \
                 number within a millisecond and of the node, such as `41-12-10`, each perhaps with an epoch, \
                 such as `standard:2026-01-01`"
            ))
        };
        if text.len() > 64 {
            return Err(Error::Invalid(
                "the layout has more than 64 bytes".to_owned(),
            ));
        }
        let (bits, epoch) = match text.split_once(':') {
            None => (text, EPOCH),
            Some((bits, epoch)) => (bits, epoch_of(epoch).map_err(refuse)?),
        };
        let layout = match bits {
            "standard" => Self::STANDARD,
            "javascript" => Self::JAVASCRIPT,
            bits => {
                let parts: Vec<u32> = bits
                    .split('-')
                    .map(|part| part.parse::<u8>().map(u32::from))
                    .collect::<Result<_, _>>()
                    .map_err(|_| refuse("it is neither a name nor numbers of bits".into()))?;
                let [time, sequence, node] = parts[..] else {
                    return Err(refuse(format!("it has {} numbers", parts.len())));
                };
                Self::checked(time, sequence, node, epoch).map_err(refuse)?
            }
        };
        Ok(Self { epoch, ..layout })
    }
}

/// The beginning of a day, in milliseconds since the Unix epoch.
fn epoch_of(text: &str) -> Result<i64, String> {
    let unlike = || "its epoch is not a day from 1970 to 9999 such as `2026-01-01`".to_owned();
    let date: Date = text.parse().map_err(|_| unlike())?;
    // The parser also takes a time of day and other forms.
    if date.to_string() != text {
        return Err(unlike());
    }
    let midnight = date.at(0, 0, 0, 0);
    let begin = Offset::UTC.to_timestamp(midnight).map_err(|_| unlike())?;
    Some(begin.as_millisecond())
        .filter(|epoch| *epoch >= 0)
        .ok_or_else(unlike)
}
