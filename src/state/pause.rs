//! A time during which clients' requests are held (CLIENT PAUSE).

use super::clients::ClientShared;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU8, Ordering};

/// Which requests are held.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Paused {
    /// Those that may change or publish something.
    Writes,
    /// All.
    All,
}

const NONE: u8 = 0;
const WRITES: u8 = 1;
const ALL: u8 = 2;
/// None, but some of those that were held have yet to go on.
const ENDING: u8 = 3;

/// The pause in force.
#[derive(Default)]
pub struct Pause {
    /// Of what is held, or that not all have gone on since. Checked by every request, so it may stand although the time is up.
    mode: AtomicU8,
    until_ms: AtomicI64,
    held: Mutex<BTreeMap<u64, Arc<ClientShared>>>,
}

impl Pause {
    /// Whether a pause was begun whose end all have not seen yet; costs one load.
    #[inline]
    pub fn begun(&self) -> bool {
        self.mode.load(Ordering::Relaxed) != NONE
    }

    /// Whether there is none at `now_ms` any more, but some of those it held have yet to go on.
    pub fn is_ending(&self, now_ms: i64) -> bool {
        self.begun() && self.at(now_ms).is_none() && !self.held.lock().is_empty()
    }

    /// What is held at `now_ms` (Unix time), and until when.
    #[inline]
    pub fn at(&self, now_ms: i64) -> Option<(Paused, i64)> {
        let paused = match self.mode.load(Ordering::Relaxed) {
            WRITES => Paused::Writes,
            ALL => Paused::All,
            _ => return None,
        };
        let until_ms = self.until_ms.load(Ordering::Relaxed);
        (until_ms > now_ms).then_some((paused, until_ms))
    }

    /// Begins a pause. One in force is not shortened, and holds on to what it holds.
    pub fn begin(&self, mode: Paused, until_ms: i64, now_ms: i64) {
        let current = self.at(now_ms);
        let mode = if current.is_some_and(|(mode, _)| mode == Paused::All) { Paused::All } else { mode };
        let until_ms = current.map_or(until_ms, |(_, until)| until_ms.max(until));
        self.until_ms.store(until_ms, Ordering::Relaxed);
        self.mode.store(if mode == Paused::All { ALL } else { WRITES }, Ordering::Relaxed);
        // Who is held until the earlier end looks at the new one.
        self.wake();
    }

    /// Ends the pause and lets all go on.
    pub fn end(&self) {
        let held = self.held.lock();
        self.mode.store(if held.is_empty() { NONE } else { ENDING }, Ordering::Relaxed);
        held.values().for_each(|client| client.wake());
    }

    /// Remembers a connection whose request is held, to wake it when something changes.
    pub fn hold(&self, client: &Arc<ClientShared>) {
        self.held.lock().insert(client.id, Arc::clone(client));
    }

    /// Forgets a connection, which has gone on or ended.
    pub fn release(&self, id: u64) {
        let mut held = self.held.lock();
        held.remove(&id);
        if held.is_empty() {
            let _ = self.mode.compare_exchange(ENDING, NONE, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    fn wake(&self) {
        self.held.lock().values().for_each(|client| client.wake());
    }
}

#[cfg(test)]
mod tests {
    use super::super::clients::Clients;
    use super::*;

    #[test]
    fn the_longer_and_stricter_pause_stands() {
        let pause = Pause::default();
        assert_eq!(pause.at(0), None);
        pause.begin(Paused::All, 200, 0);
        pause.begin(Paused::Writes, 20, 1);
        assert_eq!(pause.at(50), Some((Paused::All, 200)));
        assert_eq!(pause.at(200), None);
        pause.begin(Paused::Writes, 300, 200);
        assert_eq!(pause.at(201), Some((Paused::Writes, 300)));
        pause.begin(Paused::All, 250, 202);
        assert_eq!(pause.at(203), Some((Paused::All, 300)));
        pause.end();
        assert_eq!(pause.at(203), None);
        assert!(!pause.begun());
    }

    #[test]
    fn it_ends_once_all_that_it_held_have_gone_on() {
        let (pause, clients) = (Pause::default(), Clients::default());
        let held = [0, 1].map(|_| clients.add("a:1".into(), "b:1".into(), 0));
        pause.begin(Paused::Writes, 100, 0);
        held.iter().for_each(|client| pause.hold(client));
        assert!(!pause.is_ending(50) && pause.is_ending(100));
        pause.end();
        assert!(pause.is_ending(50) && pause.at(50).is_none());
        pause.release(held[0].id);
        assert!(pause.is_ending(50));
        pause.release(held[1].id);
        assert!(!pause.is_ending(50) && !pause.begun());
    }
}
