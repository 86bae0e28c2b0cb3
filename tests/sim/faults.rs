//! What goes wrong: drawn at random, one after another, until the trouble is over.

use crate::checks::can_lose;
use crate::consensus::{self, Entry};
use crate::network;
use crate::node;
use crate::world::{MS, World};
use shoal::cluster::metadata::{Change, Standing};

/// Nodes there are at most, the dead ones included.
const MOST: usize = 8;

/// Has things go wrong from now on.
pub fn begin(w: &mut World) {
    w.after(300 * MS, next);
}

fn next(w: &mut World) {
    if !w.trouble {
        return;
    }
    strike(w);
    let pause = w.setting.pause_ms;
    // Now and then two things come together.
    let pause = if w.chance(25) { w.between_ms(0, 20) } else { w.between_ms(pause / 4, pause) };
    w.after(pause, next);
}

fn strike(w: &mut World) {
    let at = w.rng.usize(..w.nodes.len());
    let other = w.rng.usize(..w.nodes.len());
    let short = w.between_ms(20, 1200);
    let long = w.between_ms(400, 4500);
    let duration = if w.rng.bool() { short } else { long };
    match w.rng.u32(..100) {
        0..20 if w.nodes[at].alive && w.nodes[at].paused_until <= w.now => {
            w.note(|| format!("n{at} is paused for {} ms", duration / MS));
            w.nodes[at].paused_until = w.now + duration;
        }
        20..32 if at != other => {
            w.note(|| format!("n{at} does not reach n{other} for {} ms", duration / MS));
            network::cut(w, at, other, duration);
        }
        32..42 if at != other => {
            w.note(|| format!("n{at} and n{other} are apart for {} ms", duration / MS));
            network::cut(w, at, other, duration);
            network::cut(w, other, at, duration);
        }
        42..52 => isolate(w, at, duration),
        52..62 if at != other => {
            w.note(|| format!("connections of n{at} and n{other} break"));
            for conn in network::between(w, at, other) {
                if w.rng.bool() {
                    network::break_off(w, conn);
                }
            }
        }
        62..76 => crash(w, at),
        76..82 if w.nodes.len() < MOST => node::join(w),
        82..88 => leave(w, at),
        88..94 => drain(w, at),
        94.. => {
            w.note(|| format!("all is slow for {} ms", duration / MS));
            w.net.slow_until = w.now + duration;
        }
        _ => {}
    }
}

fn isolate(w: &mut World, at: usize, duration: u64) {
    w.note(|| format!("n{at} is alone for {} ms", duration / MS));
    for other in (0..w.nodes.len()).filter(|other| *other != at) {
        network::cut(w, at, other, duration);
        network::cut(w, other, at, duration);
    }
}

fn crash(w: &mut World, at: usize) {
    let with_disk = w.chance(80);
    let is_member = w.group.last().members.contains_key(&w.nodes[at].id);
    if !w.nodes[at].alive || !is_member || !can_lose(w, at, with_disk) {
        return;
    }
    node::stop(w, at);
    if with_disk {
        start_again(w, at);
    }
}

fn start_again(w: &mut World, at: usize) {
    let long = w.chance(30);
    let wait = if long { w.between_ms(700, 4000) } else { w.between_ms(20, 700) };
    w.after(wait, move |w| node::restart(w, at));
}

/// A node is told to stop, and starts again some time later.
fn leave(w: &mut World, at: usize) {
    if !w.nodes[at].alive || w.nodes[at].is_leaving || !w.group.last().members.contains_key(&w.nodes[at].id) {
        return;
    }
    // The others go on without it.
    if !can_lose(w, at, false) {
        return;
    }
    w.nodes[at].is_leaving = true;
    w.on_node(at, 0, move |w| node::leave(w, at));
    let wait = w.between_ms(15_000, 20_000);
    w.after(wait, move |w| node::restart(w, at));
}

fn drain(w: &mut World, at: usize) {
    let id = w.nodes[at].id;
    let standing = w.group.last().members.get(&id).map(|member| member.standing);
    let drain = standing != Some(Standing::Draining);
    for leader in 0..w.nodes.len() {
        let change = Change::Drain { node: id, drain };
        w.on_node(leader, 0, move |w| consensus::propose(w, leader, Entry::Change(change), |_, _| {}));
    }
}

/// Lets nothing go wrong any more. Who is paused resumes when it would have.
pub fn end(w: &mut World) {
    w.trouble = false;
    w.note(|| "the trouble is over".into());
    network::heal(w);
}

/// Takes back whoever is being emptied.
pub fn settle(w: &mut World) {
    let draining: Vec<_> =
        w.group.last().members.values().filter(|m| m.standing == Standing::Draining).map(|m| m.id).collect();
    for node in draining {
        for leader in 0..w.nodes.len() {
            let change = Change::Drain { node, drain: false };
            w.on_node(leader, 0, move |w| consensus::propose(w, leader, Entry::Change(change), |_, _| {}));
        }
    }
}
