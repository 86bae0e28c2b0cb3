//! Who listens to which channel, and keyspace notifications.
//!
//! A message is encoded once per protocol version and shared by all receivers; each finds it in its inbox. Publishing
//! takes a read lock only, so it may be done while partitions are held: events of one key go out in the order they happened.

use super::clients::{ClientShared, Mail};
use crate::text::glob::glob_match;
use hashbrown::HashMap;
use parking_lot::RwLock;
use shoal_protocol::resp::{Output, Proto};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What a subscription names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A channel.
    Channel,
    /// A glob pattern of channels.
    Pattern,
    /// A channel that belongs to a slot.
    Shard,
}

type Receivers = Vec<Arc<ClientShared>>;

/// The subscriptions of a node.
#[derive(Default)]
pub struct PubSub {
    channels: RwLock<HashMap<Box<[u8]>, Receivers>>,
    shards: RwLock<HashMap<Box<[u8]>, Receivers>>,
    patterns: RwLock<BTreeMap<Box<[u8]>, Receivers>>,
    /// Subscriptions of all kinds: publishing to nobody costs one load.
    count: AtomicUsize,
    /// Those by which events of keys may be heard.
    for_events: AtomicUsize,
}

/// Whether events of keys may be heard by a subscription.
fn hears_events(kind: Kind, name: &[u8]) -> bool {
    const EVENTS: &[u8] = b"__key";
    let literal = match kind {
        Kind::Shard => return false,
        Kind::Channel => name,
        Kind::Pattern => {
            let end = name.iter().position(|byte| matches!(byte, b'*' | b'?' | b'[' | b'\\'));
            &name[..end.unwrap_or(name.len())]
        }
    };
    literal.starts_with(EVENTS) || kind == Kind::Pattern && EVENTS.starts_with(literal)
}

/// A message in the versions its receivers want, each made when the first wants it.
struct Message<'a> {
    words: &'a [&'a [u8]],
    resp2: Option<Arc<[u8]>>,
    resp3: Option<Arc<[u8]>>,
}

impl Message<'_> {
    fn send(&mut self, to: &Receivers) -> usize {
        for client in to {
            let resp3 = client.resp3.load(Ordering::Relaxed);
            let (slot, proto) =
                if resp3 { (&mut self.resp3, Proto::Resp3) } else { (&mut self.resp2, Proto::Resp2) };
            let words = self.words;
            let bytes = slot.get_or_insert_with(|| {
                let mut out = Output::new(proto);
                out.push(words.len());
                words.iter().for_each(|word| out.bulk(word));
                out.take_bytes().into()
            });
            client.send(Mail::Push(Arc::clone(bytes)));
        }
        to.len()
    }
}

fn message<'a>(words: &'a [&'a [u8]]) -> Message<'a> {
    Message { words, resp2: None, resp3: None }
}

impl PubSub {
    /// Subscribes `client`, which is not subscribed yet.
    pub fn subscribe(&self, kind: Kind, name: &[u8], client: &Arc<ClientShared>) {
        let client = Arc::clone(client);
        match kind {
            Kind::Channel => self.channels.write().entry(name.into()).or_default().push(client),
            Kind::Shard => self.shards.write().entry(name.into()).or_default().push(client),
            Kind::Pattern => self.patterns.write().entry(name.into()).or_default().push(client),
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        self.for_events.fetch_add(usize::from(hears_events(kind, name)), Ordering::Relaxed);
    }

    /// Ends a subscription of `client`.
    pub fn unsubscribe(&self, kind: Kind, name: &[u8], client: &Arc<ClientShared>) {
        let leave = |receivers: &mut Receivers| {
            receivers.retain(|other| !Arc::ptr_eq(other, client));
            receivers.is_empty()
        };
        match kind {
            Kind::Channel | Kind::Shard => {
                let mut channels =
                    if kind == Kind::Channel { self.channels.write() } else { self.shards.write() };
                if channels.get_mut(name).is_some_and(leave) {
                    channels.remove(name);
                }
            }
            Kind::Pattern => {
                let mut patterns = self.patterns.write();
                if patterns.get_mut(name).is_some_and(leave) {
                    patterns.remove(name);
                }
            }
        }
        self.count.fetch_sub(1, Ordering::Relaxed);
        self.for_events.fetch_sub(usize::from(hears_events(kind, name)), Ordering::Relaxed);
    }

    /// Whether anybody may hear events of keys.
    pub fn hears_events(&self) -> bool {
        self.for_events.load(Ordering::Relaxed) > 0
    }

    /// Sends `text` to the listeners of `channel` and returns how many there were.
    pub fn publish(&self, channel: &[u8], text: &[u8]) -> usize {
        if self.count.load(Ordering::Relaxed) == 0 {
            return 0;
        }
        let mut receivers = 0;
        if let Some(clients) = self.channels.read().get(channel) {
            receivers += message(&[b"message", channel, text]).send(clients);
        }
        for (pattern, clients) in self.patterns.read().iter() {
            if glob_match(pattern, channel, false) {
                receivers += message(&[b"pmessage", pattern, channel, text]).send(clients);
            }
        }
        receivers
    }

    /// Sends `text` to the listeners of shard channel `channel` and returns how many there were.
    pub fn publish_shard(&self, channel: &[u8], text: &[u8]) -> usize {
        let shards = self.shards.read();
        shards.get(channel).map_or(0, |clients| message(&[b"smessage", channel, text]).send(clients))
    }

    /// The channels or shard channels with a listener that match `pattern`.
    pub fn names(&self, kind: Kind, pattern: Option<&[u8]>) -> Vec<Box<[u8]>> {
        let channels = if kind == Kind::Shard { self.shards.read() } else { self.channels.read() };
        let names =
            channels.keys().filter(|name| pattern.is_none_or(|pattern| glob_match(pattern, name, false)));
        names.cloned().collect()
    }

    /// Visits each channel, shard channel and pattern with those who listen to it.
    pub fn each(&self, mut visit: impl FnMut(Kind, &[u8], &[Arc<ClientShared>])) {
        self.channels.read().iter().for_each(|(name, clients)| visit(Kind::Channel, name, clients));
        self.shards.read().iter().for_each(|(name, clients)| visit(Kind::Shard, name, clients));
        self.patterns.read().iter().for_each(|(name, clients)| visit(Kind::Pattern, name, clients));
    }

    /// How many listen to the channel or shard channel `name`.
    pub fn listeners(&self, kind: Kind, name: &[u8]) -> usize {
        let channels = if kind == Kind::Shard { self.shards.read() } else { self.channels.read() };
        channels.get(name).map_or(0, Vec::len)
    }

    /// How many channels (or shard channels) have a listener, or how many patterns there are.
    pub fn len(&self, kind: Kind) -> usize {
        match kind {
            Kind::Channel => self.channels.read().len(),
            Kind::Shard => self.shards.read().len(),
            Kind::Pattern => self.patterns.read().len(),
        }
    }

    /// Whether nobody listens to anything.
    pub fn is_empty(&self) -> bool {
        self.count.load(Ordering::Relaxed) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_hear_events_of_keys_is_known_by_its_name() {
        for (kind, name, hears) in [
            (Kind::Channel, "__keyspace@0__:k", true),
            (Kind::Channel, "news", false),
            (Kind::Channel, "*", false),
            (Kind::Pattern, "*", true),
            (Kind::Pattern, "__ke*", true),
            (Kind::Pattern, "__keyevent@*:del", true),
            (Kind::Pattern, "[_a]*", true),
            (Kind::Pattern, "news.*", false),
            (Kind::Pattern, "__no*", false),
            (Kind::Shard, "__keyspace@0__:k", false),
        ] {
            assert_eq!(hears_events(kind, name.as_bytes()), hears, "{kind:?} {name}");
        }
    }
}
