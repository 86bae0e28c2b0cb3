use super::*;

fn id(number: u64) -> TransactionId {
    TransactionId { node: 1, number }
}

#[test]
fn one_holds_at_a_time_and_not_for_ever() {
    let mut ledger = Ledger::default();
    assert!(ledger.hold(id(1), 1, 0));
    assert!(!ledger.hold(id(2), 1, 10));
    ledger.release(id(2));
    assert!(ledger.is_held_by(id(1), 1, 10) && !ledger.is_held_by(id(1), 2, 10));
    assert!(!ledger.is_held_by(id(1), 1, HOLD_NS));
    assert!(!ledger.expire(HOLD_NS - 1) && ledger.is_held());
    assert!(ledger.expire(HOLD_NS) && ledger.is_empty());
    assert!(ledger.hold(id(2), 1, HOLD_NS));
}

#[test]
fn what_is_prepared_stays_until_it_is_finished() {
    let mut ledger = Ledger::default();
    assert!(!ledger.prepare(id(1), 1, 0, 7, Change::default()), "nobody holds it");
    assert!(ledger.hold(id(1), 1, 0));
    assert!(ledger.prepare(id(1), 1, 1, 7, Change::default()));
    ledger.release(id(1));
    assert!(!ledger.expire(u64::MAX) && ledger.is_held());
    assert!(ledger.finish(id(2)).is_none() && ledger.is_held());
    assert_eq!(ledger.finish(id(1)).map(|prepared| prepared.home), Some(7));
    assert!(ledger.finish(id(1)).is_none() && ledger.is_empty());
}

#[test]
fn a_home_that_said_aborted_never_decides() {
    let mut ledger = Ledger::default();
    assert!(ledger.hold(id(1), 1, 0));
    assert_eq!(ledger.outcome(id(1), 1, 10), Answer::Undecided);
    assert_eq!(ledger.outcome(id(1), 1, HOLD_NS), Answer::Aborted);
    assert!(!ledger.decide(id(1), 1, 20, u64::MAX, &[3]));
    assert!(ledger.hold(id(2), 1, 20));
    assert!(!ledger.decide(id(2), 1, 520, 500, &[3]), "others are not held for so long");
    assert!(ledger.decide(id(2), 1, 519, 500, &[3]) && !ledger.is_held());
    assert_eq!(ledger.outcome(id(2), 1, u64::MAX), Answer::Committed);
    assert!(ledger.forget(id(2)) && ledger.is_empty());
}

#[test]
fn a_coordinator_knows_until_when_all_is_held() {
    let mut grants = Grants::default();
    grants.add(vec![1, 2], 0, 100, 1600);
    grants.add(vec![3], 200, 400, 1600);
    assert!(grants.were_held_at_once());
    // 1 and 2 are held until 1500; 3 was held at 400 at the latest.
    assert_eq!(grants.within_ns(3, &[]), 1100);
    assert_eq!(grants.within_ns(3, &[1]), 1100);
    assert_eq!(grants.within_ns(3, &[1, 2]), u64::MAX);
    assert_eq!(grants.within_ns(1, &[2]), 1600);
    grants.add(vec![4], 1000, 1501, 1600);
    assert!(!grants.were_held_at_once());
}

/// Partitions with one number each, between which amounts are moved.
const PARTITIONS: usize = 4;
const LEASE_NS: u64 = 600 * MS;

/// A partition: what its copies have, and what its primary has.
#[derive(Clone, Default)]
struct Part {
    ledger: Ledger,
    value: i64,
    applied: Vec<u64>,
}

struct Node {
    durable: Part,
    present: Part,
    epoch: u64,
    /// From when on somebody serves it.
    serves_ns: u64,
}

/// A coordinator's account of a transfer.
struct Transfer {
    from: usize,
    to: usize,
    read: usize,
    amount: i64,
    told: Option<bool>,
}

struct World {
    rng: fastrand::Rng,
    now_ns: u64,
    nodes: Vec<Node>,
    late: Vec<(usize, Ask)>,
    is_calm: bool,
}

impl World {
    fn chance(&mut self, percent: u32) -> bool {
        !self.is_calm && self.rng.u32(..100) < percent
    }

    /// What happens between two steps of anybody.
    fn pass(&mut self) {
        self.now_ns += self.rng.u64(..20) * MS;
        if self.chance(3) {
            let at = self.rng.usize(..PARTITIONS);
            self.crash(at);
        }
        if !self.late.is_empty() && self.chance(30) {
            let (at, ask) = self.late.swap_remove(self.rng.usize(..self.late.len()));
            let _ = self.serve(at, ask);
        }
        if self.rng.u32(..100) < 20 {
            self.look_through();
        }
    }

    /// The primary is gone, and another takes over from what the copies have once the lease is over.
    fn crash(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        node.present = node.durable.clone();
        node.epoch += 1;
        node.serves_ns = self.now_ns + LEASE_NS + 100 * MS;
    }

    /// Asks a partition, which may fail in any way.
    fn ask(&mut self, at: usize, ask: Ask) -> Answer {
        self.pass();
        if self.chance(3) {
            return Answer::Unknown;
        }
        if self.chance(3) {
            self.late.push((at, ask));
            return Answer::Unknown;
        }
        let answer = self.serve(at, ask);
        if self.chance(3) { Answer::Unknown } else { answer }
    }

    fn serve(&mut self, at: usize, ask: Ask) -> Answer {
        let now_ns = self.now_ns;
        let node = &mut self.nodes[at];
        if now_ns < node.serves_ns {
            return Answer::Elsewhere;
        }
        let (epoch, part) = (node.epoch, &mut node.present);
        let answer = match ask {
            Ask::Hold { id, .. } => match part.ledger.hold(id, epoch, now_ns) {
                true => {
                    let states = vec![(at as u8, part.value.to_le_bytes().to_vec())];
                    Answer::Held { states, unchanged: true, for_ns: HOLD_NS.min(LEASE_NS) }
                }
                false => Answer::Busy,
            },
            Ask::Prepare { id, home, changes } => {
                match part.ledger.prepare(id, epoch, now_ns, home, changes[0].1.clone()) {
                    true => Answer::Done,
                    false => Answer::Refused,
                }
            }
            Ask::Decide { id, change, prepared, within_ns, .. } => {
                match part.ledger.decide(id, epoch, now_ns, within_ns, &prepared) {
                    true => {
                        part.apply(id, &change);
                        Answer::Done
                    }
                    false => Answer::Refused,
                }
            }
            Ask::Finish { id, commit, .. } => {
                if let Some(prepared) = part.ledger.finish(id)
                    && commit
                {
                    part.apply(id, &prepared.change);
                }
                Answer::Done
            }
            Ask::Forget { id, .. } => {
                part.ledger.forget(id);
                Answer::Done
            }
            Ask::Outcome { id, .. } => part.ledger.outcome(id, epoch, now_ns),
            Ask::Release { id, .. } => {
                part.ledger.release(id);
                Answer::Done
            }
            Ask::Look { .. } | Ask::Await { .. } => Answer::Refused,
        };
        // Gone before any copy heard of it: nobody is answered.
        if self.chance(3) {
            self.crash(at);
            return Answer::Unknown;
        }
        let node = &mut self.nodes[at];
        node.durable = node.present.clone();
        // Copies know nothing of holds.
        node.durable.ledger.hold = None;
        answer
    }

    /// What the nodes do by themselves.
    fn look_through(&mut self) {
        let now_ns = self.now_ns;
        for at in 0..PARTITIONS {
            self.nodes[at].present.ledger.expire(now_ns);
            let ledger = self.nodes[at].present.ledger.clone();
            if let Some(prepared) = ledger.prepared().filter(|p| now_ns - p.since_ns > ASK_NS) {
                let (id, home) = (prepared.id, prepared.home);
                let commit = match self.serve(usize::from(home), Ask::Outcome { id, home }) {
                    Answer::Committed => true,
                    Answer::Aborted => false,
                    _ => continue,
                };
                self.serve(at, Ask::Finish { id, partitions: vec![at as u8], commit });
            }
            for (id, decision) in ledger.decisions().filter(|(_, d)| now_ns - d.since_ns > TELL_NS) {
                let finish = |number: u8| Ask::Finish { id, partitions: vec![number], commit: true };
                let told = decision
                    .prepared
                    .iter()
                    .filter(|number| self.serve(usize::from(**number), finish(**number)) == Answer::Done)
                    .count();
                if told == decision.prepared.len() && now_ns - decision.since_ns > KEEP_NS {
                    self.serve(at, Ask::Forget { id, home: at as u8 });
                }
            }
        }
    }

    /// Coordinates a transfer, as `server/across.rs` does; nothing if the coordinator is gone, or gave up not knowing.
    fn transfer(&mut self, id: TransactionId, transfer: &Transfer) -> Option<bool> {
        let mut order = vec![transfer.from, transfer.to, transfer.read];
        order.sort_unstable();
        order.dedup();
        let (mut grants, mut values) = (Grants::default(), vec![0; PARTITIONS]);
        for &at in &order {
            let asked_ns = self.now_ns;
            let hold = Ask::Hold { id, wanted: Vec::new(), needs_memory: false, tracks: false };
            match self.ask(at, hold) {
                Answer::Held { states, for_ns, .. } => {
                    self.now_ns += self.rng.u64(..5) * MS;
                    grants.add(vec![at as u8], asked_ns, self.now_ns, for_ns);
                    values[at] = i64::from_le_bytes(states[0].1[..].try_into().unwrap());
                }
                _ => return self.undo(id, &order),
            }
            if self.chance(2) {
                return None;
            }
        }
        if !grants.were_held_at_once() {
            return self.undo(id, &order);
        }
        let change = |value: i64| Change { effects: value.to_le_bytes().to_vec(), ..Change::default() };
        let (home, other) = (transfer.from as u8, transfer.to as u8);
        let changes = vec![(other, change(values[transfer.to] + transfer.amount))];
        if self.ask(transfer.to, Ask::Prepare { id, home, changes }) != Answer::Done {
            return self.undo(id, &order);
        }
        if self.chance(5) {
            return None;
        }
        let within_ns = grants.within_ns(home, &[other]);
        let change = change(values[transfer.from] - transfer.amount);
        let decide = Ask::Decide { id, home, change, prepared: vec![other], within_ns };
        match self.ask(transfer.from, decide) {
            Answer::Done => {}
            Answer::Unknown => loop {
                if self.chance(1) {
                    return None;
                }
                match self.ask(transfer.from, Ask::Outcome { id, home }) {
                    Answer::Committed => break,
                    Answer::Aborted => return self.undo(id, &order),
                    _ => {}
                }
            },
            _ => return self.undo(id, &order),
        }
        if !self.chance(10) {
            let finish = Ask::Finish { id, partitions: vec![other], commit: true };
            self.ask(transfer.read, Ask::Release { id, partitions: vec![transfer.read as u8] });
            if self.ask(transfer.to, finish) == Answer::Done {
                self.ask(transfer.from, Ask::Forget { id, home });
            }
        }
        Some(true)
    }

    fn undo(&mut self, id: TransactionId, order: &[usize]) -> Option<bool> {
        for &at in order {
            if self.chance(10) {
                break;
            }
            self.ask(at, Ask::Finish { id, partitions: vec![at as u8], commit: false });
        }
        Some(false)
    }
}

impl Part {
    fn apply(&mut self, id: TransactionId, change: &Change) {
        self.value = i64::from_le_bytes(change.effects[..].try_into().expect("eight bytes"));
        self.applied.push(id.number);
    }
}

#[test]
fn whatever_crashes_all_is_done_or_nothing() {
    for seed in 0..400 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let node = || Node { durable: Part::default(), present: Part::default(), epoch: 1, serves_ns: 0 };
        let nodes = (0..PARTITIONS).map(|_| node()).collect();
        let transfers: Vec<Transfer> = (0..40)
            .map(|_| {
                let from = rng.usize(..PARTITIONS);
                let to = (from + 1 + rng.usize(..PARTITIONS - 1)) % PARTITIONS;
                let (read, amount) = (rng.usize(..PARTITIONS), rng.i64(1..100));
                Transfer { from, to, read, amount, told: None }
            })
            .collect();
        let mut world = World { rng, now_ns: 1, nodes, late: Vec::new(), is_calm: false };
        let transfers: Vec<Transfer> = (0..)
            .zip(transfers)
            .map(|(number, transfer)| {
                let told = world.transfer(id(number), &transfer);
                Transfer { told, ..transfer }
            })
            .collect();
        // What is late arrives all the same, and then nothing goes wrong any more.
        while let Some((at, ask)) = world.late.pop() {
            let _ = world.serve(at, ask);
        }
        world.is_calm = true;
        for _ in 0..100 {
            world.now_ns += 500 * MS;
            world.look_through();
        }
        for node in &world.nodes {
            assert!(node.present.ledger.is_empty(), "seed {seed}: {:?}", node.present.ledger);
        }
        assert_eq!(world.nodes.iter().map(|node| node.present.value).sum::<i64>(), 0, "seed {seed}");
        for (number, transfer) in (0..).zip(&transfers) {
            let times = |at: usize| world.nodes[at].present.applied.iter().filter(|n| **n == number).count();
            let (from, to) = (times(transfer.from), times(transfer.to));
            assert!(from == to && from <= 1, "seed {seed}: {number} was applied {from} and {to} times");
            if let Some(told) = transfer.told {
                assert_eq!(from == 1, told, "seed {seed}: {number}");
            }
        }
    }
}
