//! Moments in which the node was slow, by cause (LATENCY).

use parking_lot::Mutex;
use std::collections::BTreeMap;

/// Samples kept of an event.
const SAMPLES: usize = 160;

/// A moment of slowness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Unix time in seconds.
    pub at: i64,
    /// How long it lasted, in ms.
    pub ms: u64,
}

/// What is known of a cause.
#[derive(Clone, Debug, Default)]
pub struct Event {
    /// The latest samples, oldest first; one for each second at most, its worst.
    pub samples: Vec<Sample>,
    /// The worst ever, in ms.
    pub max_ms: u64,
    /// All of it together, in ms.
    pub sum_ms: u64,
    /// How often it was noted.
    pub count: u64,
}

/// The causes by name.
#[derive(Default)]
pub struct Latency {
    events: Mutex<BTreeMap<&'static str, Event>>,
}

impl Latency {
    /// Notes that `cause` took `ms` at the Unix time `at`, in seconds.
    pub fn note(&self, cause: &'static str, at: i64, ms: u64) {
        let mut events = self.events.lock();
        let event = events.entry(cause).or_default();
        event.max_ms = event.max_ms.max(ms);
        event.sum_ms += ms;
        event.count += 1;
        match event.samples.last_mut() {
            Some(last) if last.at == at => last.ms = last.ms.max(ms),
            _ => {
                if event.samples.len() == SAMPLES {
                    event.samples.remove(0);
                }
                event.samples.push(Sample { at, ms });
            }
        }
    }

    /// All events by name.
    pub fn all(&self) -> Vec<(&'static str, Event)> {
        self.events.lock().iter().map(|(name, event)| (*name, event.clone())).collect()
    }

    /// One event.
    pub fn event(&self, name: &[u8]) -> Option<(&'static str, Event)> {
        let events = self.events.lock();
        let found = events.iter().find(|(known, _)| known.as_bytes().eq_ignore_ascii_case(name));
        found.map(|(name, event)| (*name, event.clone()))
    }

    /// Forgets an event; whether there was one.
    pub fn reset(&self, name: &[u8]) -> bool {
        let mut events = self.events.lock();
        let found = events.keys().find(|known| known.as_bytes().eq_ignore_ascii_case(name)).copied();
        found.is_some_and(|name| events.remove(name).is_some())
    }

    /// Forgets all events; returns how many there were.
    pub fn reset_all(&self) -> usize {
        std::mem::take(&mut *self.events.lock()).len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_one_a_second_and_bounded() {
        let latency = Latency::default();
        for at in 0..200 {
            latency.note("command", at, 5);
            latency.note("command", at, 9);
            latency.note("command", at, 7);
        }
        let (name, event) = latency.event(b"COMMAND").expect("noted");
        assert_eq!((name, event.samples.len(), event.max_ms), ("command", SAMPLES, 9));
        assert_eq!((event.sum_ms, event.count), (200 * 21, 600));
        assert_eq!(event.samples[0], Sample { at: 40, ms: 9 });
        assert!(!latency.reset(b"other"));
        assert_eq!(latency.reset_all(), 1);
        assert!(latency.event(b"command").is_none());
    }
}
