//! What the copies of the entered partitions are told.

use super::Keys;
use crate::command::{Command, replay};
use crate::state::effect;
use crate::state::keyspace::Held;
use crate::state::replication::{Replication, Waits};
use shoal_protocol::resp::Args;

impl<'a> Keys<'a> {
    /// After a command: notes what it did for the copies of the partitions it changed.
    #[inline]
    pub fn note_effects(&mut self, command: &Command, args: Args) {
        if self.state.cluster.is_on() && self.has_changed() {
            let replayed = replay::is_replayed(command, args).map(|number| (number, command));
            self.write_effects(replayed, args);
        }
    }

    /// After a change that no command describes: notes the new state of the keys.
    #[inline]
    pub fn note_states(&mut self) {
        if self.state.cluster.is_on() && self.has_changed() {
            self.write_effects(None, Args::new(&[], &[]));
        }
    }

    /// In place of the present command, which left something to chance, copies are to run this one; its second argument is its key.
    pub fn replay_as<'k>(&mut self, args: impl ExactSizeIterator<Item = &'k [u8]>, key: &[u8]) {
        let (db, now_ms) = (self.db, self.now_ms);
        let at = self.held_at(key).map(|(at, _)| at);
        let found = at.and_then(|at| self.held[at].1.replication.as_mut());
        if let Some(replication) = found.filter(|own| own.is_copied() && !own.lacks(db, key)) {
            replication.take_changed();
            effect::write_command(replication.effects(), db, now_ms, args);
        }
    }

    /// Whether `key` lies in a partition that has copies.
    pub fn is_copied(&self, key: &[u8]) -> bool {
        let replication = self.held_at(key).and_then(|(at, _)| self.held[at].1.replication.as_ref());
        replication.is_some_and(|replication| replication.is_copied())
    }

    fn has_changed(&self) -> bool {
        self.held.iter().any(|(_, p)| p.replication.as_ref().is_some_and(|r| r.has_changed()))
    }

    #[cold]
    fn write_effects(&mut self, replayed: Option<(u8, &Command)>, args: Args) {
        let (db, now_ms) = (self.db, self.now_ms);
        for (number, partition) in &mut self.held {
            let Some(replication) = &mut partition.replication else { continue };
            match replayed {
                Some((at, command)) if at == *number && !is_lacking(replication, db, command, args) => {
                    if !replication.take_changed().is_empty() {
                        effect::write_command(replication.effects(), db, now_ms, args.iter());
                    }
                }
                _ => partition.note_states(),
            }
        }
    }

    /// Ends the command, transaction or script: sends its effects, and adds what its answer has to wait for.
    pub(super) fn commit(&mut self, waits: &mut Waits) {
        let at_once = self.state.cluster.acknowledges_at_once(self.db);
        for (number, partition) in &mut self.held {
            if let Some(replication) = &mut partition.replication {
                replication.commit(*number);
                replication.add_waits(waits, at_once);
            }
        }
    }

    /// The partitions, for somebody who goes on with them. Nobody is served, nothing is sent.
    pub fn into_held(self) -> Held<'a> {
        self.held
    }
}

/// Whether a copy that is being filled lacks any of the keys that a command is about.
fn is_lacking(replication: &Replication, db: usize, command: &Command, args: Args) -> bool {
    let mut lacks = false;
    let mut look = |at: usize| lacks |= replication.lacks(db, &args[at]);
    replication.is_filling() && (!command.keys.iter().all(|spec| spec.visit(args, &mut look)) || lacks)
}
