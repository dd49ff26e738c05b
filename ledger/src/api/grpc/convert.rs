//! Answers as messages.

use super::bindings::{
    Cause, FindIntegerResponse, Gap, GetStateResponse, ListEventsResponse, ListGapsResponse,
    ListMembersResponse, Member, Minted, Neighbour, Skipped, Unknown,
    find_integer_response::Answer, member, unknown::Reason,
};
use crate::api::state::Made;
use crate::members::{self, View};
use crate::partition::Share;
use crate::query::{self, Found, Why};

impl From<Found> for FindIntegerResponse {
    fn from(found: Found) -> Self {
        let neighbour = |of: query::Neighbour| Neighbour {
            integer: of.integer,
            number: of.number,
        };
        let answer = match found {
            Found::Minted { event, doubles } => Answer::Minted(Minted {
                event: Some(*event),
                duplicates: doubles,
            }),
            Found::Skipped { below, above } => Answer::Skipped(Skipped {
                below: Some(neighbour(below)),
                above: Some(neighbour(above)),
                because: None,
            }),
            Found::Unused(number) => Answer::Skipped(Skipped {
                because: Some(Cause {
                    kind: "unused".into(),
                    number,
                }),
                ..Skipped::default()
            }),
            Found::Unknown(why) => {
                let (reason, lost) = match why {
                    Why::Before => (Reason::BeforeTheLedger, 0),
                    Why::Forgotten => (Reason::BeforeTheRetainedHistory, 0),
                    Why::After => (Reason::AfterTheLast, 0),
                    Why::NoMints => (Reason::NoMints, 0),
                    Why::Lost(number) => (Reason::Lost, number),
                };
                Answer::Unknown(Unknown {
                    reason: reason.into(),
                    lost,
                })
            }
        };
        Self {
            answer: Some(answer),
        }
    }
}

impl From<query::Gaps> for ListGapsResponse {
    fn from(gaps: query::Gaps) -> Self {
        let gap = |gap: query::Gap| Gap {
            first: gap.first,
            last: gap.last,
            step: gap.step,
            count: gap.count(),
            because: gap.why.map(|(number, kind)| Cause {
                kind: kind.into(),
                number,
            }),
        };
        Self {
            gaps: gaps.gaps.into_iter().map(gap).collect(),
            next: gaps.next,
        }
    }
}

impl From<query::Events> for ListEventsResponse {
    fn from(page: query::Events) -> Self {
        let next = page.events.last().map(|event| event.number + 1);
        Self {
            next: next.filter(|next| *next <= page.last),
            first: page.first,
            last: page.last,
            events: page.events,
        }
    }
}

impl From<Made> for GetStateResponse {
    fn from(made: Made) -> Self {
        Self {
            reducer: made.reducer,
            number: made.state.number,
            json: made.state.state,
        }
    }
}

/// All members; with the numbers of their partitions if `numbers`.
pub(super) fn members(view: &View, numbers: bool) -> ListMembersResponse {
    let count = |share: &Share| u32::try_from(share.len()).unwrap_or(u32::MAX);
    let list = |share: &Share| -> Vec<u32> {
        let all = share.iter().map(u32::from);
        all.filter(|_| numbers).collect()
    };
    let one = |of: &members::Member| Member {
        name: of.name.clone(),
        address: of.address.as_ref().map_or_else(String::new, |address| {
            address.to_string().trim_end_matches('/').to_owned()
        }),
        gossip: of
            .gossip
            .map_or_else(String::new, |gossip| gossip.to_string()),
        health: match of.health {
            members::Health::Alive => member::Health::Alive,
            members::Health::Suspected => member::Health::Suspected,
            members::Health::Dead => member::Health::Dead,
            members::Health::Left => member::Health::Left,
        }
        .into(),
        since: of.since,
        owned: count(&of.owned),
        held: count(&of.held),
        owned_partitions: list(&of.owned),
        held_partitions: list(&of.held),
    };
    ListMembersResponse {
        member: view.own.clone(),
        members: view.members.iter().map(one).collect(),
    }
}
