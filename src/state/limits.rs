//! What connections may take together and each: memory, unread replies, idle time.
//!
//! A connection's worker tells its figures in passing ([`account`]) and asks about its own replies ([`overflows`]); what
//! needs a look at all connections is done once a second ([`sweep`]), or when their memory passes `maxmemory-clients`.

use super::State;
use super::clients::{ClientShared, client_flag};
use super::stats::WorkerStats;
use crate::config::{ClientClass, id};
use std::sync::atomic::Ordering::Relaxed;

/// Which of the output limits a connection is under.
fn class_of(client: &ClientShared) -> ClientClass {
    if client.is_subscribed() { ClientClass::PubSub } else { ClientClass::Normal }
}

/// Whether a connection with `pending` bytes of replies unsent is to be closed for it.
#[inline]
pub fn overflows(state: &State, client: &ClientShared, pending: usize, now_ms: i64) -> bool {
    let limit = state.config.output_limit(class_of(client));
    let pending = pending as u64;
    if limit.hard_bytes > 0 && pending >= limit.hard_bytes {
        return true;
    }
    let since = &client.figures.over_soft_limit_since_ms;
    if limit.soft_bytes == 0 || pending < limit.soft_bytes {
        since.store(0, Relaxed);
        return false;
    }
    match since.load(Relaxed) {
        0 => since.store(now_ms, Relaxed),
        began if now_ms - began > limit.soft_seconds as i64 * 1000 => return true,
        _ => {}
    }
    false
}

/// Takes note that a connection uses `bytes` of memory, and makes room if all together use too much.
#[inline]
pub fn account(state: &State, stats: &WorkerStats, client: &ClientShared, bytes: usize) {
    // Mostly nothing has changed; looking first spares the exchange, which alone costs as much as all else here.
    if client.figures.memory.load(Relaxed) == bytes {
        return;
    }
    let before = client.figures.memory.swap(bytes, Relaxed);
    let total = state.clients.memory.fetch_add(bytes.wrapping_sub(before), Relaxed);
    if bytes > before && client_limit(state).is_some_and(|limit| total + (bytes - before) > limit) {
        evict_clients(state, stats);
    }
}

/// The most memory all connections may use together, in bytes; enough for a few, so that one can still set another limit.
fn client_limit(state: &State) -> Option<usize> {
    const LEAST: usize = 128 * 1024;
    let limit = match state.config.int(id::MAXMEMORY_CLIENTS) {
        percent @ ..0 => {
            (state.config.size(id::MAXMEMORY) as u128 * percent.unsigned_abs() as u128 / 100) as usize
        }
        bytes => usize::try_from(bytes).ok()?,
    };
    (limit > 0).then(|| limit.max(LEAST))
}

/// Closes connections, those that use most memory first, until all together use no more than `maxmemory-clients`.
#[cold]
pub fn evict_clients(state: &State, stats: &WorkerStats) {
    let Some(limit) = client_limit(state) else { return };
    let mut clients = state.clients.all();
    clients.retain(|client| !client.has_flag(client_flag::NO_EVICT));
    clients.sort_unstable_by_key(|client| client.figures.memory.load(Relaxed));
    while state.clients.memory.load(Relaxed) > limit {
        let Some(client) = clients.pop() else { return };
        let freed = client.figures.memory.swap(0, Relaxed);
        state.clients.memory.fetch_sub(freed, Relaxed);
        stats.evicted_clients.add(1);
        tracing::info!("evicting client {} ({}): it uses {freed} bytes", client.id, client.addr);
        state.clients.kill(&client);
    }
}

/// Closes connections that have been idle for too long, or over their soft limit of unread replies.
pub fn sweep(state: &State, stats: &WorkerStats, now_ms: i64) {
    let timeout_ms = state.config.int(id::TIMEOUT) * 1000;
    for client in state.clients.all() {
        let idle_ms = now_ms - client.active_ms.load(Relaxed);
        if timeout_ms > 0 && idle_ms > timeout_ms && may_idle_out(&client) {
            tracing::debug!("closing idle client {} ({})", client.id, client.addr);
            stats.idle_disconnections.add(1);
            state.clients.kill(&client);
            continue;
        }
        let pending = client.figures.output.load(Relaxed) + client.inbox_bytes();
        if pending > 0 && overflows(state, &client, pending, now_ms) {
            note_overflow(stats, &client, pending);
            state.clients.kill(&client);
        }
    }
    if client_limit(state).is_some_and(|limit| state.clients.memory.load(Relaxed) > limit) {
        evict_clients(state, stats);
    }
}

/// Notes that a connection is closed for its unread replies.
pub fn note_overflow(stats: &WorkerStats, client: &ClientShared, pending: usize) {
    stats.output_limit_disconnections.add(1);
    tracing::warn!(
        "client {} ({}) closed for overcoming of output buffer limits: {pending} bytes unread",
        client.id,
        client.addr
    );
}

/// Who waits for something by nature is not idle.
fn may_idle_out(client: &ClientShared) -> bool {
    !(client.is_subscribed()
        || client.has_flag(client_flag::MONITOR | client_flag::HELD)
        || client.is_blocked())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn state(directives: &[(&str, &str)]) -> State {
        let mut config = Config::default();
        for (name, value) in directives {
            config.set(name, value).expect("a directive");
        }
        State::new(config, 1, Default::default())
    }

    #[test]
    fn soft_limits_have_a_time_and_hard_ones_none() {
        let state = state(&[("client-output-buffer-limit", "normal 1000 500 2")]);
        let client = state.clients.add("a:1".into(), "b:1".into(), 0);
        assert!(!overflows(&state, &client, 499, 1));
        assert!(!overflows(&state, &client, 500, 1000));
        assert!(!overflows(&state, &client, 999, 3000));
        assert!(overflows(&state, &client, 999, 3001));
        assert!(!overflows(&state, &client, 10, 3002));
        assert!(!overflows(&state, &client, 999, 9000));
        assert!(overflows(&state, &client, 1000, 9001));
    }

    #[test]
    fn the_largest_connections_make_room() {
        let state = state(&[("maxmemory-clients", "1000000")]);
        let clients: Vec<_> = (0..4).map(|_| state.clients.add("a:1".into(), "b:1".into(), 0)).collect();
        clients[2].set_flag(client_flag::NO_EVICT, true);
        for (client, bytes) in clients.iter().zip([100_000, 300_000, 500_000, 50_000]) {
            account(&state, state.stats.worker(0), client, bytes);
        }
        assert_eq!(state.clients.len(), 4);
        account(&state, state.stats.worker(0), &clients[0], 200_000);
        assert!(state.clients.get(clients[1].id).is_none());
        assert_eq!((state.clients.len(), state.clients.memory.load(Relaxed)), (3, 750_000));
        assert_eq!(state.stats.worker(0).evicted_clients.get(), 1);
    }

    #[test]
    fn the_idle_are_closed() {
        let state = state(&[("timeout", "10")]);
        let idle = state.clients.add("a:1".into(), "b:1".into(), 0);
        let subscribed = state.clients.add("a:1".into(), "b:1".into(), 0);
        subscribed.subscriptions[0].store(1, Relaxed);
        sweep(&state, state.stats.worker(0), 10_000);
        assert_eq!(state.clients.len(), 2);
        sweep(&state, state.stats.worker(0), 10_001);
        assert!(state.clients.get(idle.id).is_none() && state.clients.get(subscribed.id).is_some());
        assert!(idle.has_mail());
    }
}
