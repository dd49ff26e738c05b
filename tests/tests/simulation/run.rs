//! One run: a group of nodes, clients, and what happens to them, all of which follows from the seed.

use crate::chaos::{Chaos, GROUP};
use crate::client::Client;
use crate::history::History;
use crate::machine::Machine;
use crate::mistake::Mistake;
use crate::network::Network;
use crate::random::Random;
use crate::world::World;
use artisanal_core::Secret;
use artisanal_quorum::{Describe, Member};
use int_host::node::Peers;
use int_host::simulated::Simulated;
use int_host::{Error, Host, Options};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::task::JoinSet;

/// What came of a run.
pub(crate) struct Outcome {
    pub(crate) seed: u64,
    /// What must not be.
    pub(crate) faults: Vec<String>,
    /// All events.
    pub(crate) text: String,
    pub(crate) mints: usize,
}

impl Outcome {
    /// Whether an integer was handed out twice, or integers in a wrong order.
    pub(crate) fn is_wrong(&self) -> bool {
        self.faults.iter().any(|fault| {
            fault.starts_with("C1") || fault.starts_with("C3") || fault.contains("is not above")
        })
    }
}

/// Makes the run of a seed, perhaps with a mistake that it should find.
pub(crate) fn run(seed: u64, mistake: Option<Mistake>) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let history = Arc::new(History::new());
        if let Err(error) = simulate(seed, mistake, &history).await {
            history.fault(format_args!("the run failed: {error}"));
        }
        Outcome {
            seed,
            faults: history.faults(),
            text: history.text(),
            mints: history.mints(),
        }
    })
}

async fn simulate(
    seed: u64,
    mistake: Option<Mistake>,
    history: &Arc<History>,
) -> Result<(), Error> {
    let mut random = Random::new(seed, 0);
    let network = Arc::new(Network::new(
        Arc::clone(history),
        mistake,
        Random::new(seed, 1),
    ));
    let world = World::new(Arc::clone(&network), Random::new(seed, 2));
    let simulated = Simulated::new(Arc::new(world));
    let mut options = Options::default();
    options.cache = Some(testbed::backend::cache());
    options.instances = 64;
    options.simulated = Some(simulated.clone());
    let host = Host::new(options)?;

    let size = random.of(&[3, 3, 3, 5]);
    let mut machines = Vec::new();
    let mut members = Vec::new();
    for number in 0..size {
        let address = format!("n{number}:80");
        let name = format!("n{number}");
        let seed = random.below(u64::MAX);
        let machine = Machine::new(&host, &simulated, name, seed).await?;
        machine.start().await?;
        network.connect(&machine);
        let node = machine.node().expect("it runs").status().node;
        members.push(Member { node, address });
        machines.push(machine);
    }
    for (machine, member) in machines.iter().zip(&members) {
        let described = Describe {
            node: member.node,
            group: GROUP,
            epoch: 1,
            members: members.clone(),
        };
        machine.node().expect("it runs").init(described).await?;
    }

    let addresses: Vec<_> = members.iter().map(|m| m.address.clone()).collect();
    let clients = random.of(&[2, 3, 4]);
    let client = |number, seed| Client {
        number,
        host: host.clone(),
        nodes: addresses.join(","),
        history: Arc::clone(history),
        random: Random::new(seed, 100 + u64::from(number)),
    };
    let stop = Arc::new(AtomicBool::new(false));
    let mut running = JoinSet::new();
    for number in 0..clients {
        running.spawn(client(number, seed).run(Arc::clone(&stop)));
    }
    let operator = Peers::new(Some(Secret::new("operator".into()))).within(simulated);
    let mut chaos = Chaos {
        network: Arc::clone(&network),
        history: Arc::clone(history),
        copies: vec![None; machines.len()],
        machines,
        members,
        clients,
        operator,
        mistake,
        random: Random::new(seed, 3),
    };
    let happened = chaos.run(12).await;
    stop.store(true, Ordering::Relaxed);
    let healed = chaos.heal().await;
    running.join_all().await;
    let minted = client(clients, seed).mint(5).await;
    network.clear();
    happened.and(healed).and(minted)
}
