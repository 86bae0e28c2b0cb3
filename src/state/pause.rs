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

/// The pause in force.
#[derive(Default)]
pub struct Pause {
    /// 0: none, 1: writes, 2: all. Checked by every request, so it may stand although the time is up.
    mode: AtomicU8,
    until_ms: AtomicI64,
    held: Mutex<BTreeMap<u64, Arc<ClientShared>>>,
}

impl Pause {
    /// Whether a pause was begun and not ended; costs one load.
    #[inline]
    pub fn begun(&self) -> bool {
        self.mode.load(Ordering::Relaxed) != 0
    }

    /// What is held at `now_ms` (Unix time), and until when.
    #[inline]
    pub fn at(&self, now_ms: i64) -> Option<(Paused, i64)> {
        if !self.begun() {
            return None;
        }
        let until_ms = self.until_ms.load(Ordering::Relaxed);
        if until_ms <= now_ms {
            return None;
        }
        let all = self.mode.load(Ordering::Relaxed) == 2;
        Some((if all { Paused::All } else { Paused::Writes }, until_ms))
    }

    /// Begins a pause. One in force is not shortened, and holds on to what it holds.
    pub fn begin(&self, mode: Paused, until_ms: i64, now_ms: i64) {
        let current = self.at(now_ms);
        let mode = if current.is_some_and(|(mode, _)| mode == Paused::All) { Paused::All } else { mode };
        let until_ms = current.map_or(until_ms, |(_, until)| until_ms.max(until));
        self.until_ms.store(until_ms, Ordering::Relaxed);
        self.mode.store(if mode == Paused::All { 2 } else { 1 }, Ordering::Relaxed);
        // Who is held until the earlier end looks at the new one.
        self.wake();
    }

    /// Ends the pause and lets all go on.
    pub fn end(&self) {
        self.mode.store(0, Ordering::Relaxed);
        self.wake();
    }

    /// Remembers a connection whose request is held, to wake it when something changes.
    pub fn hold(&self, client: &Arc<ClientShared>) {
        self.held.lock().insert(client.id, Arc::clone(client));
    }

    /// Forgets a connection, which goes on or has ended.
    pub fn release(&self, id: u64) {
        self.held.lock().remove(&id);
    }

    fn wake(&self) {
        self.held.lock().values().for_each(|client| client.wake());
    }
}

#[cfg(test)]
mod tests {
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
    }
}
