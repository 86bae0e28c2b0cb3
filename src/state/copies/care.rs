//! Caring for replicas: who does not follow is cut off, who joins is given a copy, and what is to be handed over is.

use super::{Action, Copies, STUCK_NS};
use crate::cluster::metadata::{Assignment, Change, Metadata, NodeId, Outcome, Turn};
use crate::state::State;
use crate::state::replication::Role;

/// What has come to pass and the control plane does not know.
#[derive(Default)]
struct News {
    caught_up: Vec<(u8, Turn, NodeId)>,
    handed_over: Vec<Change>,
}

impl Copies {
    /// Looks after the replicas of the partitions that this node serves: to be called whenever the map has changed, and
    /// every now and then.
    pub fn look(&mut self, state: &State, now_ns: u64) -> Vec<Action> {
        let map = state.cluster.map();
        if map.is_founded() {
            self.catch_up(state, &map, now_ns);
            let mut wishes = self.cut_stuck(&map, now_ns);
            let mut news = News::default();
            self.filling.retain(|node, number| {
                let Some(mut partition) = state.keyspace.enter_unless_scripted(*number) else { return true };
                let sink = partition.replication.as_mut().and_then(|own| own.sink(*node));
                sink.is_some_and(|sink| sink.is_filling())
            });
            for (number, assignment) in map.numbered() {
                if assignment.primary() != Some(self.me) {
                    continue;
                }
                self.rise(state, number, assignment, now_ns);
                self.bring_in(state, (number, assignment), (map.version, now_ns), &mut news);
                // Nobody is served meanwhile: not before it can be asked for.
                if self.wishes.is_empty() {
                    self.fall(state, number, assignment, &mut news);
                }
            }
            if !news.handed_over.is_empty() {
                wishes.push(Change::Several(news.handed_over));
            }
            if !news.caught_up.is_empty() {
                wishes.push(Change::InSync { primary: self.me, caught_up: news.caught_up });
            }
            let asked = std::mem::take(&mut self.questions).into_iter();
            self.actions.extend(asked.map(|(node, partitions)| Action::AskPositions { node, partitions }));
            // What was found while others are under way is found again.
            if self.wishes.is_empty() {
                self.wishes.extend(wishes);
                self.propose_next();
            }
        }
        std::mem::take(&mut self.actions)
    }

    /// Breaks off feeds through which nothing gets; the changes that cut off those at their ends.
    fn cut_stuck(&mut self, map: &Metadata, now_ns: u64) -> Vec<Change> {
        let (me, incarnation) = (self.me, self.incarnation);
        let mut cuts = Vec::new();
        for (node, watched) in &mut self.feeds {
            let acked = watched.feed.acked();
            if acked != watched.acked || acked >= watched.feed.end() {
                (watched.acked, watched.since_ns) = (acked, now_ns);
            } else if now_ns - watched.since_ns > STUCK_NS && !watched.feed.is_broken() {
                tracing::warn!("node {} takes nothing any more", map.name(*node));
                watched.feed.break_off();
            }
            let involved = |a: &Assignment| a.primary() == Some(me) && a.involves(*node);
            if watched.feed.is_broken() && !self.cut.contains(node) && map.partitions.iter().any(involved) {
                cuts.push(Change::Cut { primary: me, incarnation, replica: *node });
            }
        }
        cuts
    }

    /// What came of cutting `replica` off. This node goes on without it once the map says so: until then it may have missed that
    /// others have taken its own place, of which this outcome says nothing.
    pub(super) fn note_cut(&mut self, replica: NodeId, outcome: Option<Outcome>) {
        match outcome {
            Some(Outcome::Refused(_)) | None => {}
            Some(_) => drop(self.cut.insert(replica)),
        }
    }

    /// Fills the copies of those who join, and notes who has all there is.
    fn bring_in(
        &mut self,
        state: &State,
        (number, assignment): (u8, &Assignment),
        (version, now_ns): (u64, u64),
        news: &mut News,
    ) {
        for node in &assignment.joining {
            if self.feeds.get(node).is_some_and(|watched| watched.feed.is_broken()) {
                continue;
            }
            let feed = self.feed(*node, now_ns);
            // A script may be in it for long, and leases are asked for by who would wait here.
            let Some(mut partition) = state.keyspace.enter_unless_scripted(number) else { continue };
            let Some(own) = &mut partition.replication else { continue };
            if own.role != Role::Primary || own.epoch != assignment.epoch {
                continue;
            }
            match own.sink(*node) {
                // From now on answers wait for it; so it may be counted on.
                Some(sink) if sink.has_caught_up() => {
                    sink.in_sync = true;
                    self.reported.insert((number, assignment.turn(), *node));
                    news.caught_up.push((number, assignment.turn(), *node));
                    continue;
                }
                Some(_) => {}
                // Answers wait for it.
                None if self.reported.contains(&(number, assignment.turn(), *node)) => {
                    partition.fill(number, feed, assignment.given_up, version, self.pace.part);
                    continue;
                }
                None if self.filling.contains_key(node) => continue,
                None => {
                    partition.begin_fill(number, feed, assignment.given_up, version);
                    self.filling.insert(*node, number);
                }
            }
            let Some(watched) = self.feeds.get_mut(node) else { continue };
            while watched.under_way() < self.pace.window {
                let Some(part) = partition.fill_on(number, *node, self.pace.part) else {
                    // The next one's turn.
                    self.filling.remove(node);
                    break;
                };
                watched.parts.push(part);
            }
        }
    }

    /// Stops serving what is to be handed over; once everything has arrived, it is.
    fn fall(&mut self, state: &State, number: u8, assignment: &Assignment, news: &mut News) {
        let Some(to) = assignment.hand_over else { return };
        let Some(mut partition) = state.keyspace.enter_unless_scripted(number) else { return };
        // A transaction across nodes reckons with it that nobody else serves what it holds.
        let is_on_hold = partition.ledger().is_some_and(|ledger| ledger.is_on_hold());
        let Some(own) = &mut partition.replication else { return };
        if own.epoch != assignment.epoch {
            return;
        }
        if own.role == Role::Primary && own.sinks.iter().any(|sink| sink.feed.node == to && sink.in_sync) {
            own.role = Role::Falling;
        }
        if own.role == Role::Falling && own.has_all_arrived() && !is_on_hold {
            let (partition, turn) = (number, assignment.turn());
            news.handed_over.push(Change::HandedOver { partition, turn, to });
        }
    }
}
