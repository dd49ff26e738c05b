//! One run: a group of nodes, clients, and what happens to them, all of which follows from the seed.

use crate::chaos::{Chaos, GROUP};
use crate::client::{Client, Lists};
use crate::clock::Clock;
use crate::history::History;
use crate::machine::Machine;
use crate::mistake::Mistake;
use crate::network::Network;
use crate::random::Random;
use crate::world::World;
use artisanal_quorum::{Describe, FIRST_EPOCH, List, Member};
use int_host::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

/// What came of a run.
#[derive(PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) seed: u64,
    /// What must not be.
    pub(crate) faults: Vec<String>,
    /// All events, if they were kept.
    pub(crate) text: String,
    /// How many events there were.
    pub(crate) events: u64,
    pub(crate) mints: usize,
    /// How many times a member was replaced.
    pub(crate) changes: u64,
}

impl Outcome {
    /// Whether an integer was handed out twice, or integers in a wrong order.
    pub(crate) fn is_wrong(&self) -> bool {
        self.faults.iter().any(|fault| {
            fault.starts_with("C1") || fault.starts_with("C3") || fault.contains("is not above")
        })
    }
}

/// Makes the run of a seed, perhaps with a mistake that it should find. The text of its events takes time.
pub(crate) fn run(seed: u64, mistake: Option<Mistake>, with_text: bool) -> Outcome {
    in_a_world(seed, mistake, with_text, async |network| {
        let changes = simulate(seed, mistake, network).await;
        let history = &network.history;
        if let Err(error) = &changes {
            history.fault(format_args!("the run failed: {error}"));
        }
        Outcome {
            seed,
            faults: history.faults(),
            events: history.events(),
            text: history.text(),
            mints: history.mints(),
            changes: changes.unwrap_or(0),
        }
    })
}

/// Does something in a world of its own, in which all chance follows from the seed.
pub(crate) fn in_a_world<T>(
    seed: u64,
    mistake: Option<Mistake>,
    with_text: bool,
    work: impl AsyncFnOnce(&Arc<Network>) -> T,
) -> T {
    runtime().block_on(async {
        let history = Arc::new(History::new(with_text));
        let network = Arc::new(Network::new(history, mistake, Random::new(seed, 1)));
        let world = World::new(Arc::clone(&network), Random::new(seed, 2));
        let _entered = world.enter();
        let done = work(&network).await;
        network.clear();
        done
    })
}

/// A runtime whose time stands still while anything can be done.
fn runtime() -> Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let built = builder.enable_time().start_paused(true).build();
    built.expect("a runtime")
}

/// Returns how many times a member was replaced.
async fn simulate(
    seed: u64,
    mistake: Option<Mistake>,
    network: &Arc<Network>,
) -> Result<u64, Error> {
    let history = &network.history;
    let mut random = Random::new(seed, 0);
    let size = random.of(&[3, 3, 3, 5]);
    let (machines, list) = group(size, network, &mut random).await?;
    let lists = Arc::new(Lists::default());
    lists.add(&list);
    let clocks: Vec<_> = (0..random.of(&[2, 3, 4]))
        .map(|_| Clock::default())
        .collect();
    let client = |number: usize, clock: &Clock| {
        let number = u32::try_from(number).unwrap_or(0);
        Client {
            number,
            lists: Arc::clone(&lists),
            clock: clock.clone(),
            mistake,
            history: Arc::clone(history),
            random: Random::new(seed, 100 + u64::from(number)),
        }
    };
    let stop = Arc::new(AtomicBool::new(false));
    let mut running = JoinSet::new();
    for (number, clock) in clocks.iter().enumerate() {
        running.spawn(client(number, clock).run(Arc::clone(&stop)));
    }
    let last = client(clocks.len(), &Clock::default());
    let mut chaos = Chaos::new(Arc::clone(network), mistake, seed);
    chaos.take(machines, list, Arc::clone(&lists), clocks);
    let happened = chaos.run(12).await;
    stop.store(true, Ordering::Relaxed);
    let healed = chaos.heal().await;
    running.join_all().await;
    let minted = last.mint(5).await;
    happened.and(healed).and(minted)?;
    Ok(chaos.replaced())
}

/// Makes a group of so many nodes.
pub(crate) async fn group(
    size: usize,
    network: &Network,
    random: &mut Random,
) -> Result<(Vec<Arc<Machine>>, List), Error> {
    let mut machines = Vec::new();
    let mut members = Vec::new();
    for number in 0..size {
        let machine = Machine::new(format!("n{number}"), random.below(u64::MAX)).await?;
        machine.start().await?;
        network.connect(&machine);
        members.push(Member {
            node: machine.node().expect("it runs").status().node,
            address: format!("n{number}:80"),
        });
        machines.push(machine);
    }
    for (machine, member) in machines.iter().zip(&members) {
        let described = Describe {
            node: member.node,
            group: GROUP,
            epoch: FIRST_EPOCH,
            members: members.clone(),
        };
        machine.node().expect("it runs").init(described).await?;
    }
    let list = List {
        epoch: FIRST_EPOCH,
        members,
    };
    Ok((machines, list))
}
