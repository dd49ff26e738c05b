//! Machines that lose data.

use crate::chaos::Chaos;
use crate::machine::{Copy, KEY, other_seed};
use crate::mistake::Mistake;
use crate::network::Weather;
use artisanal_quorum::{Member, RESERVED, majority};
use int_host::Error;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// How a node loses data while its process does not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loss {
    /// The backend and the data directory are empty.
    All,
    /// The backend is empty.
    Backend,
    /// The data directory is empty.
    Directory,
    /// The backend is a copy from an earlier process of the node, and does not tell so.
    Older,
    /// The backend was restarted on a copy from an earlier process, and tells so.
    Restarted,
    /// The backend was restarted without its last writes, which were not synced, and tells so.
    Tail,
}

impl Chaos {
    /// Lets a node lose data, unless too many have already.
    pub(crate) async fn lose(&mut self) -> Result<(), Error> {
        let (index, machine) = self.any_machine();
        let address = machine.address().to_owned();
        if machine.forgot() || !self.may_forget(&address) {
            return Ok(());
        }
        let loss = self.random.of(&[
            Loss::All,
            Loss::Backend,
            Loss::Directory,
            Loss::Older,
            Loss::Restarted,
            Loss::Tail,
        ]);
        let loss = match self.mistake {
            Some(Mistake::ServesEmpty) => Loss::Backend,
            Some(Mistake::ForgetsUnnoticed) => Loss::Older,
            Some(Mistake::TailUnnoticed) => Loss::Tail,
            Some(Mistake::TrustsClocks) => Loss::All,
            _ => loss,
        };
        // Claims that this node has accepted and others have not, so far.
        let stranded = self.random.is(700);
        if stranded {
            let client = self.strand(&address);
            let accepted = self.network.accepted(&client, &address);
            // It makes no difference if there is none.
            let _ = timeout(Duration::from_millis(600), accepted).await;
        }
        let pause = self.random.of(if stranded { &[1] } else { &[1, 50, 400] });
        self.kill(index, pause).await;
        self.history
            .tell(format_args!("{address} loses data: {loss:?}"));
        let unnoticed = match self.mistake {
            Some(Mistake::ServesEmpty | Mistake::ForgetsUnnoticed) => true,
            Some(Mistake::TailUnnoticed) => self.machines[index].recent.is_some(),
            _ => false,
        };
        let lost = self.damage(index, loss).await?;
        if lost && !unnoticed {
            machine.forget();
        }
        if self.random.is(300) {
            machine.clock.jump(self.random.of(&[-2000, 2000, 20_000]));
        }
        self.start(index).await?;
        // Processes that end before they could join again.
        while self.random.is(300) {
            self.restart(index).await?;
        }
        if self.random.is(800) {
            self.join().await?;
        }
        if stranded {
            sleep(self.random.within(800)).await;
        }
        if self.random.is(500) {
            self.partition();
        }
        Ok(())
    }

    /// Takes data from a machine; false if there was no older copy.
    async fn damage(&mut self, index: usize, loss: Loss) -> Result<bool, Error> {
        let site = &self.machines[index];
        let machine = Arc::clone(&site.machine);
        let (older, recent) = (site.older.clone(), site.recent.clone());
        let seed = machine.seed();
        match loss {
            Loss::All => {
                machine.empty_directory();
                let other = other_seed(&mut self.random);
                machine.replace_backend(Copy::new(), other).await?;
            }
            Loss::Backend => {
                let kept = match self.mistake {
                    Some(Mistake::ServesEmpty) => self.own(index).await?,
                    _ => Copy::new(),
                };
                machine.replace_backend(kept, seed).await?;
            }
            Loss::Directory => machine.empty_directory(),
            Loss::Older => {
                let Some(mut copy) = older else {
                    return Ok(false);
                };
                if self.mistake == Some(Mistake::ForgetsUnnoticed) {
                    copy.retain(|(key, _)| key == KEY);
                    copy.extend(self.own(index).await?);
                }
                machine.replace_backend(copy, seed).await?;
            }
            Loss::Restarted | Loss::Tail => {
                let copy = match loss {
                    Loss::Tail => recent.or(older),
                    _ => older,
                };
                let seed = match self.mistake {
                    Some(Mistake::TailUnnoticed) => seed,
                    _ => other_seed(&mut self.random),
                };
                let copy = copy.unwrap_or_default();
                machine.replace_backend(copy, seed).await?;
            }
        }
        Ok(true)
    }

    /// Whether the group survives that this machine loses data.
    fn may_forget(&self, address: &str) -> bool {
        let is_one = |member: &Member, address: &str| member.address == format!("{address}:80");
        self.members.lists().iter().all(|list| {
            let forgot = |member: &&Member| {
                let mut sites = self.machines.iter();
                let site = sites.find(|site| is_one(member, site.machine.address()));
                site.is_some_and(|site| site.machine.forgot())
            };
            let lost = list.iter().filter(forgot).count();
            !list.iter().any(|member| is_one(member, address)) || lost + 1 < majority(list.len())
        })
    }

    /// What a node's backend holds for the node itself.
    async fn own(&self, index: usize) -> Result<Copy, Error> {
        let mut copy = self.copy(&self.machines[index].machine).await?;
        copy.retain(|(key, _)| key.starts_with(RESERVED));
        Ok(copy)
    }

    /// Lets one client reach this node soon and all others late, and the other clients one half of the others too late.
    /// Returns the name of the one.
    fn strand(&mut self, node: &str) -> String {
        // The node has to be able to join again soon.
        self.network.set_weather(Weather::default());
        self.network.cut(BTreeSet::new());
        let members = self.members.list().members.iter();
        let names = members.filter_map(|member| member.address.strip_suffix(":80"));
        let mut others: Vec<String> = names.filter(|o| *o != node).map(str::to_owned).collect();
        if self.random.is(500) {
            others.reverse();
        }
        let far = others.len() / 2;
        let clients = self.clients();
        let first = self.random.of(&clients.iter().collect::<Vec<_>>()).clone();
        let mut slow = BTreeMap::new();
        for client in clients {
            for (at, other) in others.iter().enumerate() {
                let ms = match (client == first, at < far) {
                    (true, _) => self.random.of(&[4, 300, 600, 1200]),
                    (false, true) => 3000,
                    (false, false) => 0,
                };
                let way = (client.clone(), other.clone());
                slow.insert(way, Duration::from_millis(ms));
            }
        }
        let back = Duration::from_millis(self.random.of(&[0, 200]));
        slow.insert((node.to_owned(), first.clone()), back);
        self.history.tell(format_args!("slow: {slow:?}"));
        self.network.slow_down(slow);
        first
    }
}
