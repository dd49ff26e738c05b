//! Which members have a share: those that were alive for a while, until they are away for a while.
//!
//! Without these times, a member that comes and goes would move its partitions back and forth.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How long members have to be alive, and away.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// How long a member has to be alive before it gets a share.
    pub joining: Duration,
    /// How long a member has to be away before it loses its share.
    pub missing: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            joining: Duration::from_secs(3),
            missing: Duration::from_secs(20),
        }
    }
}

/// What gossip says of a member that is heard of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// It is alive.
    Alive,
    /// It says that it stops.
    Leaving,
}

/// How far a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Alive since then, without a share yet.
    Joining(Instant),
    /// Alive, with a share.
    Settled,
    /// Away since then, with a share.
    Missing(Instant),
    /// Away for too long, since then.
    Dead(Instant),
    /// It stopped by itself, then.
    Left(Instant),
}

/// The members and their phases.
#[derive(Debug)]
pub(super) struct Members {
    times: Times,
    phases: BTreeMap<String, Phase>,
}

impl Members {
    pub(super) fn new(times: Times) -> Self {
        Self {
            times,
            phases: BTreeMap::new(),
        }
    }

    /// Takes in who is heard of at this moment.
    pub(super) fn update(&mut self, now: Instant, heard: &BTreeMap<String, Heard>) {
        for name in heard.keys() {
            if !self.phases.contains_key(name) {
                self.phases.insert(name.clone(), Phase::Joining(now));
            }
        }
        let Times { joining, missing } = self.times;
        self.phases.retain(|name, phase| {
            *phase = match (heard.get(name), *phase) {
                (Some(Heard::Leaving), Phase::Left(since)) => Phase::Left(since),
                (Some(Heard::Leaving), _) => Phase::Left(now),
                (Some(Heard::Alive), Phase::Joining(since)) if now < since + joining => *phase,
                (Some(Heard::Alive), Phase::Dead(_) | Phase::Left(_)) => Phase::Joining(now),
                (Some(Heard::Alive), _) => Phase::Settled,
                // It had no share that others could miss.
                (None, Phase::Joining(_)) => return false,
                (None, Phase::Settled) => Phase::Missing(now),
                (None, Phase::Missing(since)) if now >= since + missing => Phase::Dead(since),
                (None, other) => other,
            };
            true
        });
    }

    /// Forgets the members that went before this time.
    pub(super) fn forget(&mut self, before: Instant) {
        self.phases.retain(|_, phase| match phase {
            Phase::Dead(since) | Phase::Left(since) => *since >= before,
            _ => true,
        });
    }

    /// When a phase ends by itself, if any does.
    pub(super) fn next(&self) -> Option<Instant> {
        let ends = self.phases.values().filter_map(|phase| match phase {
            Phase::Joining(since) => Some(*since + self.times.joining),
            Phase::Missing(since) => Some(*since + self.times.missing),
            _ => None,
        });
        ends.min()
    }

    /// All members, with their phases.
    pub(super) fn phases(&self) -> impl Iterator<Item = (&str, Phase)> {
        let phases = self.phases.iter();
        phases.map(|(name, phase)| (name.as_str(), *phase))
    }

    /// Those that have a share.
    pub(super) fn settled(&self) -> impl Iterator<Item = &str> {
        let settled = |phase: &Phase| matches!(phase, Phase::Settled | Phase::Missing(_));
        let phases = self.phases().filter(move |(_, phase)| settled(phase));
        phases.map(|(name, _)| name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Members that are heard of at some seconds, and who has a share then.
    struct Story {
        members: Members,
        begun: Instant,
    }

    impl Story {
        fn new() -> Self {
            Self {
                members: Members::new(Times {
                    joining: Duration::from_secs(3),
                    missing: Duration::from_secs(20),
                }),
                begun: Instant::now(),
            }
        }

        fn at(&mut self, seconds: u64, alive: &str, leaving: &str) -> String {
            let heard = |names: &str, heard| {
                let names: Vec<_> = names
                    .chars()
                    .map(|name| (name.to_string(), heard))
                    .collect();
                names
            };
            let all = heard(alive, Heard::Alive).into_iter();
            let all = all.chain(heard(leaving, Heard::Leaving)).collect();
            let now = self.begun + Duration::from_secs(seconds);
            self.members.update(now, &all);
            self.members.settled().collect()
        }

        fn next(&self) -> Option<u64> {
            let next = self.members.next()?;
            Some((next - self.begun).as_secs())
        }
    }

    #[test]
    fn a_member_gets_a_share_when_it_was_alive_for_a_while() {
        let mut story = Story::new();
        assert_eq!(story.at(0, "a", ""), "");
        assert_eq!(story.next(), Some(3));
        assert_eq!(story.at(2, "ab", ""), "");
        assert_eq!(story.at(3, "ab", ""), "a");
        assert_eq!(story.next(), Some(5));
        assert_eq!(story.at(5, "ab", ""), "ab");
        assert_eq!(story.next(), None);
    }

    #[test]
    fn a_member_that_comes_and_goes_keeps_its_share() {
        let mut story = Story::new();
        story.at(0, "ab", "");
        assert_eq!(story.at(3, "ab", ""), "ab");
        for round in 0..5 {
            assert_eq!(story.at(10 + 20 * round, "a", ""), "ab");
            assert_eq!(story.next(), Some(30 + 20 * round));
            assert_eq!(story.at(29 + 20 * round, "ab", ""), "ab");
        }
    }

    #[test]
    fn a_member_that_is_away_loses_its_share_and_comes_again() {
        let mut story = Story::new();
        story.at(0, "ab", "");
        story.at(3, "ab", "");
        assert_eq!(story.at(10, "a", ""), "ab");
        assert_eq!(story.at(30, "a", ""), "a");
        assert_eq!(story.at(40, "ab", ""), "a");
        // One that was not alive for long enough had nothing.
        assert_eq!(story.at(41, "a", ""), "a");
        assert_eq!(story.at(42, "ab", ""), "a");
        assert_eq!(story.at(45, "ab", ""), "ab");
    }

    #[test]
    fn a_member_that_stops_loses_its_share_at_once() {
        let mut story = Story::new();
        story.at(0, "ab", "");
        story.at(3, "ab", "");
        assert_eq!(story.at(4, "a", "b"), "a");
        assert_eq!(story.at(5, "a", ""), "a");
        let left = story.begun + Duration::from_secs(4);
        let phase = |story: &Story| {
            let mut phases = story.members.phases();
            phases
                .find(|(name, _)| *name == "b")
                .map(|(_, phase)| phase)
        };
        assert_eq!(phase(&story), Some(Phase::Left(left)));
        // It was started again.
        assert_eq!(story.at(6, "ab", ""), "a");
        assert_eq!(story.at(9, "ab", ""), "ab");
        story.at(10, "a", "b");
        story.members.forget(story.begun + Duration::from_secs(11));
        assert_eq!(phase(&story), None);
    }
}
