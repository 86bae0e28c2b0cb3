//! The connections that see all requests (MONITOR).

use super::clients::{ClientShared, Mail, client_flag};
use parking_lot::RwLock;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Who monitors.
#[derive(Default)]
pub struct Monitors {
    list: RwLock<Vec<Arc<ClientShared>>>,
    count: AtomicUsize,
}

impl Monitors {
    /// Whether there are any; costs one load.
    #[inline]
    pub fn any(&self) -> bool {
        self.count.load(Ordering::Relaxed) != 0
    }

    /// Adds a connection, unless it is there.
    pub fn add(&self, client: &Arc<ClientShared>) {
        let mut list = self.list.write();
        if !list.iter().any(|other| other.id == client.id) {
            list.push(Arc::clone(client));
            client.set_flag(client_flag::MONITOR, true);
        }
        self.count.store(list.len(), Ordering::Relaxed);
    }

    /// Removes a connection, if it is there.
    pub fn remove(&self, client: &ClientShared) {
        if client.has_flag(client_flag::MONITOR) {
            client.set_flag(client_flag::MONITOR, false);
            let mut list = self.list.write();
            list.retain(|other| other.id != client.id);
            self.count.store(list.len(), Ordering::Relaxed);
        }
    }

    /// Sends all a line, line end included.
    pub fn tell(&self, line: Vec<u8>) {
        let line: Arc<[u8]> = line.into();
        self.list.read().iter().for_each(|client| client.send(Mail::Push(Arc::clone(&line))));
    }
}
