//! Clients: each asks for one thing after another, at whatever node it is connected to, and writes down what it asked and heard.

use crate::data::{self, Said};
use crate::history::{Call, Kind, Op};
use crate::world::{MS, Setting, World};
use shoal::state::partition::partition_of;
use std::collections::BTreeMap;
use std::rc::Rc;

/// A client that heard nothing for so long gives up; in ns.
const PATIENCE: u64 = 15_000 * MS;

pub struct Key {
    pub name: String,
    pub partition: u8,
    pub kind: Kind,
    pub history: Vec<Op>,
}

#[derive(Default)]
pub struct Clients {
    pub keys: Vec<Key>,
    /// What is under way: by number its client, key, place in the history, and the process that was asked.
    open: BTreeMap<u64, (usize, usize, usize, (usize, u64))>,
    next: u64,
    homes: Vec<usize>,
    /// How many calls were answered, and how many not.
    pub answered: u64,
    pub unanswered: u64,
    pub is_over: bool,
}

impl Clients {
    pub fn new(setting: &Setting) -> Clients {
        let mut keys = Vec::new();
        let mut number = 0;
        while keys.len() < setting.keys {
            let kind = [Kind::Text, Kind::Counter, Kind::List][keys.len() % 3];
            let name = format!("{kind:?}:{number}");
            let partition = partition_of(name.as_bytes());
            if usize::from(partition) < setting.partitions {
                keys.push(Key { name, partition, kind, history: Vec::new() });
            }
            number += 1;
        }
        Clients { keys, homes: vec![0; setting.clients], ..Clients::default() }
    }
}

pub fn begin(w: &mut World) {
    for client in 0..w.setting.clients {
        let soon = w.between_ms(1, 50);
        w.after(soon, move |w| next(w, client));
    }
}

fn next(w: &mut World, client: usize) {
    if w.clients.is_over {
        return;
    }
    let key = w.rng.usize(..w.clients.keys.len());
    let number = w.clients.next;
    let call = Call::random(w.clients.keys[key].kind, number, &mut w.rng);
    let home = w.clients.homes[client];
    if !w.nodes[home].alive || w.chance(15) {
        let living: Vec<usize> =
            (0..w.nodes.len()).filter(|at| w.nodes[*at].alive && !w.nodes[*at].is_leaving).collect();
        if living.is_empty() {
            return w.after(20 * MS, move |w| next(w, client));
        }
        w.clients.homes[client] = living[w.rng.usize(..living.len())];
    }
    let home = w.clients.homes[client];
    ask(w, client, home, key, call);
}

/// Has a client make a call at a node.
pub fn ask(w: &mut World, client: usize, home: usize, key: usize, call: Call) {
    let number = w.clients.next;
    w.clients.next += 1;
    let request = Rc::new(call.request(&w.clients.keys[key].name));
    let asked = w.now;
    let history = &mut w.clients.keys[key].history;
    history.push(Op { call, asked, heard: None });
    let owner = (home, w.nodes[home].life);
    w.clients.open.insert(number, (client, key, history.len() - 1, owner));
    let there = w.rng.u64(MS / 20..MS);
    w.on_node(home, there, move |w| {
        let done = move |w: &mut World, said: Said| {
            let back = w.rng.u64(MS / 20..MS);
            w.after(back, move |w| heard(w, number, said));
        };
        data::execute(w, home, request, Box::new(done));
    });
    w.after(PATIENCE, move |w| heard(w, number, Said::Unknown));
}

fn heard(w: &mut World, number: u64, said: Said) {
    let Some((client, key, at, owner)) = w.clients.open.remove(&number) else { return };
    let now = w.now;
    let key = &mut w.clients.keys[key];
    let op = &mut key.history[at];
    let call = format!("{} {:?}", key.name, op.call);
    match &said {
        Said::Reply(reply) => {
            assert!(!reply.starts_with(b"-"), "{call}: {}", reply.escape_ascii());
            let told = if op.call == Call::Sum { Vec::new() } else { reply.clone() };
            op.heard = Some((now, told));
            w.clients.answered += 1;
        }
        Said::Unknown => w.clients.unanswered += 1,
        Said::Nobody => {
            // It did not happen.
            op.call = Call::Nothing;
            w.clients.unanswered += 1;
        }
    }
    w.note(|| match &said {
        Said::Reply(reply) => format!("{call} at n{} -> {}", owner.0, reply.escape_ascii()),
        other => format!("{call} at n{} -> {other:?}", owner.0),
    });
    let pause = if w.chance(30) { w.rng.u64(MS..5 * MS) } else { w.between_ms(5, 60) };
    if client != usize::MAX {
        w.after(pause, move |w| next(w, client));
    }
}

/// Whoever asked a process that is gone hears nothing any more.
pub fn lose_process(w: &mut World, at: usize) {
    let lost: Vec<u64> =
        w.clients.open.iter().filter(|(_, (.., owner))| owner.0 == at).map(|(number, _)| *number).collect();
    for number in lost {
        let soon = w.between_ms(1, 20);
        w.after(soon, move |w| heard(w, number, Said::Unknown));
    }
}

/// Whether nothing is under way.
pub fn is_idle(w: &World) -> bool {
    w.clients.open.is_empty()
}

/// What is under way, in words.
pub fn open(w: &World) -> Vec<String> {
    let describe = |(_, key, at, owner): &(usize, usize, usize, (usize, u64))| {
        let key = &w.clients.keys[*key];
        format!("{} {:?} at n{}", key.name, key.history[*at].call, owner.0)
    };
    w.clients.open.values().map(describe).collect()
}
