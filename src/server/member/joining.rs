//! How a node becomes a member, and how it comes back as one in a new process.

use super::super::{mesh, peer};
use super::{Failure, PATIENCE, This, decode, encode, kind};
use crate::cluster::consensus::{Owner, ProposeError, StoreError};
use crate::cluster::joining::{named, told};
use crate::cluster::metadata::{Change, Member, Outcome};
use crate::config::id;
use std::rc::Rc;
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// How often a node says that it waits for its cluster.
const ALONE: Duration = Duration::from_secs(5);
/// How often one that finds no cluster to join says the same again.
const ALONE_AGAIN: Duration = Duration::from_secs(60);

impl This {
    /// The cluster's name. A node that is alone founds one.
    pub(super) async fn found(self: &Rc<Self>) -> Result<u64, Failure> {
        let _alone = self.founding.lock().await;
        if let Some(identity) = self.state.cluster.identity().filter(|identity| identity.cluster != 0) {
            return Ok(identity.cluster);
        }
        if self.state.cluster.is_on() {
            return Err("this node is about to join a cluster itself".into());
        }
        let cluster = fastrand::u64(1..);
        let me = self.me.borrow().clone();
        let consensus = self.open_store(Owner { cluster, node: me.id }).await?;
        consensus.initialise(&me.cluster_address()).await?;
        let copies = self.state.config.int(id::COPIES).max(1) as usize;
        let change = Change::Found { cluster, member: me.clone(), copies };
        let mut status = consensus.status();
        timeout(PATIENCE, status.wait_for(|status| status.leader == Some(me.id))).await??;
        consensus.propose(change).await?;
        self.identify(cluster);
        // It goes on serving everything: first the right to, then the roles.
        let lease_ns = crate::cluster::lease::LEASE_MS * 1_000_000;
        self.state.cluster.extend_lease(self.now_ns() + lease_ns);
        self.state.cluster.turn_on(me.id);
        self.state.cluster.note_founded();
        self.begin(consensus);
        tracing::info!("founded cluster {cluster:016x} as node {}", me.name());
        Ok(cluster)
    }

    /// Joins the cluster of any of `seeds`, trying again until one lets it in.
    pub(super) async fn join(self: &Rc<Self>, seeds: &[String]) {
        let contact = &self.state.cluster.contact;
        let asks = seeds.join(" ");
        contact.joining(&asks, "", self.now_ns());
        let mut said_ns: Option<u64> = None;
        loop {
            let mut failures = Vec::with_capacity(seeds.len());
            for seed in seeds {
                let Err(error) = self.join_by(seed).await else { return contact.joined() };
                if error.is::<StoreError>() {
                    return self.state.fail(format!("cannot become a member of the cluster: {error}"));
                }
                failures.push(format!("cannot join by {seed}: {error}"));
            }
            let why = failures.join("; ");
            let now_ns = self.now_ns();
            let patience = if contact.joining(&asks, &why, now_ns) { ALONE } else { ALONE_AGAIN };
            if said_ns.is_none_or(|said_ns| now_ns - said_ns > patience.as_nanos() as u64) {
                said_ns = Some(now_ns);
                tracing::warn!("{why}; it is tried again");
            }
            sleep(Duration::from_millis(200)).await;
        }
    }

    /// Joins by a member's client address: it knows best where it listens for others.
    async fn join_by(self: &Rc<Self>, seed: &str) -> Result<(), Failure> {
        let password = self.state.config.text(id::REQUIREPASS);
        let asked = async { timeout(peer::HANDSHAKE, mesh::nodes(seed, &password)).await.ok() };
        let asked = if seed.contains('@') { None } else { asked.await };
        let answer = asked.and_then(Result::ok).unwrap_or_default();
        let is_shut = answer.contains("-NOAUTH") || answer.contains("-WRONGPASS");
        let hint = if is_shut {
            " (it tells nothing without its password: is requirepass the same here?)"
        } else {
            ""
        };
        let address = told(seed, &answer).or_else(|| named(seed));
        let Some(address) = address else {
            return Err(
                format!("it does not tell its cluster-port: name it host:port@cluster-port{hint}").into()
            );
        };
        match self.join_at(&address).await {
            Err(error) if !error.is::<StoreError>() => Err(format!("{address}: {error}{hint}").into()),
            joined => joined,
        }
    }

    async fn join_at(self: &Rc<Self>, address: &str) -> Result<(), Failure> {
        let cluster: u64 = decode(&self.mesh.ask(address, None, kind::PREPARE, &[]).await?)?;
        if self.me.borrow().host.is_empty() {
            // The address by which this node reaches the other is one by which it is reached.
            let probe = std::net::UdpSocket::bind("0.0.0.0:0")?;
            probe.connect(address)?;
            self.me.borrow_mut().host = probe.local_addr()?.ip().to_string();
        }
        let me = self.me.borrow().clone();
        if self.consensus().is_none() {
            self.open(Owner { cluster, node: me.id }).await?;
        }
        self.identify(cluster);
        let replaces = self.known_process();
        self.mesh.ask(address, None, kind::JOIN, &encode(&(&me, replaces))?).await?;
        tracing::info!("joined cluster {cluster:016x} as node {}", me.name());
        Ok(())
    }

    /// Tells the cluster, again and again until it hears, that this node runs in a new process.
    pub(super) async fn tell(self: Rc<Self>) {
        let mut said_ns = self.now_ns();
        loop {
            let host = self.map().members.get(&self.id()).map(|member| member.host.clone());
            if let Some(host) = host.filter(|_| self.me.borrow().host.is_empty()) {
                self.me.borrow_mut().host = host;
            }
            let me = self.me.borrow().clone();
            let leader = self.consensus().and_then(|consensus| consensus.status().borrow().leader);
            let replaces = self.known_process();
            let told = match encode(&(&me, replaces)) {
                // There is no link to oneself.
                _ if leader == Some(me.id) => self.admit(me.clone(), replaces).await,
                Ok(payload) => self.ask_leader(kind::JOIN, &payload).await,
                Err(error) => Err(error),
            };
            let contact = &self.state.cluster.contact;
            let Err(why) = told else {
                contact.joined();
                return tracing::info!("back in the cluster as node {}", me.name());
            };
            let map = self.map();
            let others = map.members.keys().filter(|node| **node != me.id).map(|node| map.name(*node));
            contact.joining(&others.collect::<Vec<_>>().join(" "), &why.to_string(), self.now_ns());
            if self.now_ns() - said_ns > ALONE.as_nanos() as u64 {
                said_ns = self.now_ns();
                let cluster = self.state.cluster.identity().map_or(0, |identity| identity.cluster);
                tracing::info!(
                    "waiting for cluster {cluster:016x}, of which this node is a member by the file shoal-cluster.redb in {}: no \
                     leader lets it in ({why}). If that cluster is gone, or has forgotten this node, remove the file and start again",
                    self.dir.display()
                );
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// The process of this node that the cluster knows, as far as this one has heard; 0 if it knows none.
    fn known_process(&self) -> u64 {
        self.map().members.get(&self.id()).map_or(0, |member| member.incarnation)
    }

    /// Makes `member` one of the cluster, whose process that it knows, or may know, is the one it `replaces`.
    pub(super) async fn admit(&self, member: Member, replaces: u64) -> Result<Vec<u8>, Failure> {
        let consensus = self.consensus().ok_or("not a member")?;
        match consensus.add_learner(member.id, &member.cluster_address()).await {
            Ok(()) => {}
            Err(ProposeError::NotLeader { leader: Some(leader) }) if leader != self.id() => {
                return self.ask(leader, kind::JOIN, &encode(&(member, replaces))?).await;
            }
            Err(error) => return Err(error.into()),
        }
        match consensus.propose(Change::Admit { member, replaces }).await? {
            Outcome::Refused(_) => Err("another process of this node is known".into()),
            _ => Ok(Vec::new()),
        }
    }
}
