//! The socket for gossip. It stands between the network and the library, which reads any packet: it checks that a packet
//! comes from somebody who knows the secret, and counts those that are ignored.
//!
//! The library keeps the form of its messages to itself, so its own socket, on the loopback interface, reads and writes
//! them here.

use artisanal_core::Secret;
use chitchat::ChitchatEnvelope;
use chitchat::transport::{self, RecvOutcome, SendOutcome, Socket, Transport};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::net::UdpSocket;
use tonic::async_trait;

/// The maximum length of a packet, in bytes.
const MAX_PACKET: usize = 65_507;

/// The length of the proof that the sender knows the secret, in bytes.
const PROOF: usize = blake3::OUT_LEN;

/// How many packets can be between the network and the library at a time.
const PIPES: usize = 8;

/// How long to wait after the system refused to receive.
const PAUSE: Duration = Duration::from_millis(10);

/// How long a packet may take through the loopback interface.
const LOOPBACK: Duration = Duration::from_secs(1);

/// The key for the proofs.
#[derive(Clone)]
pub(super) struct Key([u8; blake3::KEY_LEN]);

impl Key {
    /// The key that is derived from a secret.
    pub(super) fn of(secret: &Secret) -> Self {
        let context = "artisanal-ledger 2026 gossip of members";
        Self(blake3::derive_key(context, secret.reveal().as_bytes()))
    }

    fn proof(&self, packet: &[u8]) -> blake3::Hash {
        blake3::keyed_hash(&self.0, packet)
    }
}

/// What the sockets of a member count.
#[derive(Debug, Default)]
pub(super) struct Counts {
    received: AtomicU64,
    refused: AtomicU64,
    passed: AtomicU64,
    read: AtomicU64,
}

impl Counts {
    /// How many packets came.
    pub(super) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// How many packets were ignored: they have no proof, or are no gossip.
    pub(super) fn ignored(&self) -> u64 {
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let read = get(&self.read);
        get(&self.refused) + get(&self.passed).saturating_sub(read)
    }
}

/// Opens the sockets.
pub(super) struct Gate {
    pub(super) key: Option<Key>,
    pub(super) counts: Arc<Counts>,
}

#[async_trait]
impl Transport for Gate {
    async fn open(&self, address: SocketAddr) -> anyhow::Result<Box<dyn Socket>> {
        let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let outside = UdpSocket::bind(address).await?;
        let library = transport::UdpSocket::open(loopback).await?;
        let mut pipes = Vec::with_capacity(PIPES);
        for _ in 0..PIPES {
            let pipe = UdpSocket::bind(loopback).await?;
            pipe.connect(library.local_addr()?).await?;
            pipes.push(Pipe {
                address: pipe.local_addr()?,
                socket: pipe,
                from: None,
            });
        }
        Ok(Box::new(Gated {
            outside,
            library,
            pipes,
            next: 0,
            buffer: vec![0; MAX_PACKET + 1].into(),
            key: self.key.clone(),
            counts: Arc::clone(&self.counts),
        }))
    }
}

/// The socket for the network, with those to and from the library.
struct Gated {
    outside: UdpSocket,
    library: transport::UdpSocket,
    pipes: Vec<Pipe>,
    /// The place of the pipe that the next packet goes through.
    next: usize,
    buffer: Box<[u8]>,
    key: Option<Key>,
    counts: Arc<Counts>,
}

/// A socket through which packets go to the library.
struct Pipe {
    socket: UdpSocket,
    address: SocketAddr,
    /// Who sent the packet that went through last.
    from: Option<SocketAddr>,
}

impl Gated {
    /// The packet behind its proof; None if that is missing or wrong.
    fn checked(&self, length: usize) -> Option<&[u8]> {
        let packet = self.buffer.get(..length).filter(|_| length <= MAX_PACKET)?;
        let Some(key) = &self.key else {
            return Some(packet);
        };
        let (proof, packet) = packet.split_first_chunk::<PROOF>()?;
        // This comparison takes the same time wherever the difference is.
        (key.proof(packet) == *proof).then_some(packet)
    }
}

#[async_trait]
impl Socket for Gated {
    fn local_addr(&self) -> anyhow::Result<SocketAddr> {
        Ok(self.outside.local_addr()?)
    }

    async fn send(
        &mut self,
        to: SocketAddr,
        envelope: ChitchatEnvelope,
    ) -> anyhow::Result<SendOutcome> {
        let pipe = &self.pipes[0];
        self.library.send(pipe.address, envelope).await?;
        let head = if self.key.is_some() { PROOF } else { 0 };
        let written = pipe.socket.recv(&mut self.buffer[head..]);
        let length = tokio::time::timeout(LOOPBACK, written).await??;
        if let Some(key) = &self.key {
            let proof = key.proof(&self.buffer[head..head + length]);
            self.buffer[..PROOF].copy_from_slice(proof.as_bytes());
        }
        let packet = &self.buffer[..head + length];
        // A member that cannot be reached is no reason to stop.
        if let Err(error) = self.outside.send_to(packet, to).await {
            tracing::debug!(%error, %to, "gossip was not sent");
        }
        Ok(SendOutcome {
            num_bytes_sent: head + length,
        })
    }

    async fn recv(&mut self) -> anyhow::Result<RecvOutcome> {
        loop {
            // What went through a pipe comes out before more goes in.
            let received = tokio::select! {
                biased;
                read = self.library.recv() => {
                    let read = read?;
                    let pipe = self.pipes.iter_mut().find(|pipe| pipe.address == read.from_addr);
                    // Nobody else may talk to the library.
                    let Some(from_addr) = pipe.and_then(|pipe| pipe.from.take()) else {
                        self.counts.refused.fetch_add(1, Ordering::Relaxed);
                        continue;
                    };
                    self.counts.read.fetch_add(1, Ordering::Relaxed);
                    return Ok(RecvOutcome { from_addr, ..read });
                }
                received = self.outside.recv_from(&mut self.buffer) => received,
            };
            let (length, from) = match received {
                Ok(received) => received,
                Err(error) => {
                    tracing::debug!(%error, "gossip was not received");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            self.counts.received.fetch_add(1, Ordering::Relaxed);
            let place = self.next;
            let passed = match (self.checked(length), self.pipes.get(place)) {
                (Some(packet), Some(pipe)) => pipe.socket.send(packet).await.is_ok(),
                _ => false,
            };
            if !passed {
                self.counts.refused.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            self.counts.passed.fetch_add(1, Ordering::Relaxed);
            self.pipes[place].from = Some(from);
            self.next = (place + 1) % PIPES;
        }
    }
}
