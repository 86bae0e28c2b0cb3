//! How administrators steer a cluster: CLUSTER DRAIN, MOVE, REBALANCE, FAILOVER, FORGET, COPIES.
//!
//! Each is a [`Change`] of what all members agree on, asked for at any node and made by the leader; what it brings about takes its time
//! and is seen in CLUSTER STATUS. The connection waits for the change, as one does that waits for a key; nothing else does. With DRYRUN
//! nothing is asked: the plan is followed to its end on paper.
//!
//! What MOVE and FAILOVER place by hand stays there whatever the plan thinks of it, until REBALANCE leaves everything to the plan again.

use super::view::{find, find_one, name_of, slots_text};
use crate::cluster::metadata::{Change, Member, Metadata, NodeId, Outcome, Refusal, Standing};
use crate::cluster::plan::forecast;
use crate::command::blocking::{self, Nothing, Timeout};
use crate::command::error::{self, CmdError};
use crate::command::{Cx, parse};
use crate::state::clients::Mail;
use crate::state::cluster::Wish;
use crate::state::partition::{SLOTS, SLOTS_PER_PARTITION};
use crate::state::replication::Waits;
use shoal_protocol::resp::{Args, Output};
use std::sync::Arc;

/// Copies that may be asked for at most.
const MOST_COPIES: i64 = 16;

/// CLUSTER DRAIN node [DRYRUN | CANCEL]
pub fn drain(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let map = map(cx)?;
    let node = find(&map, &args[2])?;
    let (dry, cancel) = match args.get(3) {
        None => (false, false),
        Some(word) if args.len() == 4 && parse::is(word, "dryrun") => (true, false),
        Some(word) if args.len() == 4 && parse::is(word, "cancel") => (false, true),
        Some(_) => return Err(error::SYNTAX),
    };
    let change = Change::Drain { node, drain: !cancel };
    let member = &map.members[&node];
    if !cancel {
        must_hold_data(member)?;
        let heir = |other: &&Member| other.id != node && other.standing == Standing::Up && !other.witness;
        if member.standing == Standing::Down {
            return Err(CmdError::new(
                "ERR that node is down and serves nothing: CLUSTER FORGET it if it is gone for good",
            ));
        }
        if !map.members.values().any(|other| heir(&other)) {
            return Err(CmdError::new("ERR there is no other node that could take over what that one holds"));
        }
    }
    if dry { tell_forecast(cx, &map, change) } else { propose(cx, args, change) }
}

/// CLUSTER MOVE first-last node [DRYRUN]
pub fn r#move(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let map = map(cx)?;
    let partitions = partitions(&args[2])?;
    let node = find(&map, &args[3])?;
    must_hold_data(&map.members[&node])?;
    if map.members[&node].standing != Standing::Up {
        return Err(CmdError::new("ERR that node is down or being drained: it can be given nothing"));
    }
    let change = Change::Pin { partitions, node: Some(node) };
    if dry_run(args, 4)? { tell_forecast(cx, &map, change) } else { propose(cx, args, change) }
}

/// CLUSTER REBALANCE [DRYRUN]
pub fn rebalance(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let map = map(cx)?;
    let change = Change::Pin { partitions: (0..=u8::MAX).collect(), node: None };
    if dry_run(args, 2)? { tell_forecast(cx, &map, change) } else { propose(cx, args, change) }
}

/// CLUSTER FAILOVER [FORCE | TAKEOVER]: this node takes over what it has copies of. The words change nothing: what a dead node served was
/// taken over long before anybody could ask.
pub fn failover(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let is_known = |word: &[u8]| parse::is(word, "force") || parse::is(word, "takeover");
    if args.len() > 3 || args.get(2).is_some_and(|word| !is_known(word)) {
        return Err(error::SYNTAX);
    }
    let map = map(cx)?;
    let me = cx.state.cluster.me();
    let copied = map.numbered().filter(|(_, assignment)| assignment.replicas().contains(&me));
    let partitions: Vec<u8> = copied.map(|(number, _)| number).collect();
    if partitions.is_empty() {
        return Err(CmdError::new("ERR You should send CLUSTER FAILOVER to a replica"));
    }
    propose(cx, args, Change::Pin { partitions, node: Some(me) })
}

/// CLUSTER FORGET node [FORCE]: with FORCE what only that node had is given up, and begins anew at others.
pub fn forget(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let map = map(cx)?;
    let node = find_one(&map, &args[2], true)?;
    let gives_up = match args.get(3) {
        None => false,
        Some(word) if args.len() == 4 && parse::is(word, "force") => true,
        Some(_) => return Err(error::SYNTAX),
    };
    if node == cx.state.cluster.me() {
        return Err(CmdError::new("ERR I tried hard but I can't forget myself..."));
    }
    if map.members[&node].standing != Standing::Down {
        return Err(CmdError::new("ERR that node is up: empty it by CLUSTER DRAIN and stop it first"));
    }
    let mut changes = Vec::new();
    let mut heirs = map.homes().cycle();
    for (partition, assignment) in map.numbered().filter(|(_, assignment)| assignment.in_sync == [node]) {
        if let Some(node) = heirs.next().filter(|_| gives_up) {
            changes.push(Change::Restart { partition, epoch: assignment.epoch, node });
        }
    }
    changes.push(Change::Leave(node));
    propose(cx, args, if changes.len() == 1 { Change::Leave(node) } else { Change::Several(changes) })
}

/// CLUSTER RESET [HARD | SOFT]
///
/// A node that forgot its cluster by itself would still be one of those who agree.
pub fn reset(_: &mut Cx, _: Args) -> Result<(), CmdError> {
    Err(CmdError::new(
        "ERR CLUSTER RESET is not supported: empty the node by CLUSTER DRAIN, stop it, and CLUSTER FORGET it elsewhere",
    ))
}

/// CLUSTER COPIES count
pub fn copies(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    map(cx)?;
    let copies = parse::int(&args[2])?;
    match usize::try_from(copies) {
        Ok(count @ 1..) if copies <= MOST_COPIES => propose(cx, args, Change::Copies(count)),
        _ => Err(CmdError::with(format!(
            "ERR a partition has between 1 and {MOST_COPIES} copies, the one that serves included"
        ))),
    }
}

fn map(cx: &Cx) -> Result<Arc<Metadata>, CmdError> {
    if !cx.state.cluster.is_on() {
        return Err(CmdError::new("ERR this node is alone: nodes join it by --join"));
    }
    let map = cx.state.cluster.map();
    if map.is_founded() {
        return Ok(map);
    }
    Err(CmdError::new("ERR this node has not been let into its cluster yet"))
}

fn must_hold_data(member: &Member) -> Result<(), CmdError> {
    let refuse = CmdError::new("ERR that node only votes and holds no data");
    if member.witness { Err(refuse) } else { Ok(()) }
}

/// Whether the word at `at` says DRYRUN; it is the last that may come.
fn dry_run(args: Args, at: usize) -> Result<bool, CmdError> {
    match args.get(at) {
        None => Ok(false),
        Some(word) if args.len() == at + 1 && parse::is(word, "dryrun") => Ok(true),
        Some(_) => Err(error::SYNTAX),
    }
}

/// The partitions of the slots `first-last`, which must be whole ones.
fn partitions(range: &[u8]) -> Result<Vec<u8>, CmdError> {
    let text = String::from_utf8_lossy(range);
    let slot = |text: &str| text.parse::<u16>().ok().filter(|slot| *slot < SLOTS);
    let ends = text.split_once('-').and_then(|(first, last)| Some((slot(first)?, slot(last)?)));
    let Some((first, last)) = ends.filter(|(first, last)| first <= last) else {
        return Err(CmdError::new(
            "ERR Invalid or out of range slot: slots are given as first-last, from 0-63 to 0-16383",
        ));
    };
    let of = |slot: u16| (slot / SLOTS_PER_PARTITION) as u8;
    let all: Vec<u8> = (of(first)..=of(last)).collect();
    if first % SLOTS_PER_PARTITION != 0 || (last + 1) % SLOTS_PER_PARTITION != 0 {
        let whole = slots_text(all);
        return Err(CmdError::with(format!(
            "ERR slots move in whole partitions of {SLOTS_PER_PARTITION}: did you mean {whole}?"
        )));
    }
    Ok(all)
}

/// Asks for a change, and has the connection wait for what comes of it.
fn propose(cx: &mut Cx, args: Args, change: Change) -> Result<(), CmdError> {
    blocking::wait(cx, args, std::iter::empty(), Timeout::NEVER, Nothing::Null);
    let Some(waiter) = cx.client.blocked.as_ref().map(|blocked| Arc::clone(&blocked.waiter)) else {
        return Err(CmdError::new("ERR the cluster cannot be changed from here"));
    };
    let done = move |outcome: Result<Outcome, String>| {
        if !waiter.begin() {
            return;
        }
        let mut out = Output::new(waiter.proto);
        match outcome {
            Ok(Outcome::Changed | Outcome::Unchanged | Outcome::Set(_)) => out.ok(),
            Ok(Outcome::Refused(why)) => out.error(refusal(why).text()),
            Err(why) => out.error(format!(
                "ERR no leader has made the change so far ({why}): look at CLUSTER STATUS and ask again"
            )),
        }
        waiter.served();
        waiter.client.send(Mail::Unblocked { reply: out.take_bytes(), waits: Waits::default() });
    };
    cx.state.cluster.wish(Wish { change, done: Box::new(done) });
    Ok(())
}

fn refusal(why: Refusal) -> CmdError {
    CmdError::new(match why {
        Refusal::Unknown => "ERR Unknown node",
        Refusal::WrongRole => "ERR that node only votes and holds no data",
        Refusal::LastCopy => {
            "ERR that node has the only copy of some partitions: wait until it is back, or for 30 seconds, after which they begin anew; \
             CLUSTER FORGET node FORCE has them begin anew, empty, at once"
        }
        Refusal::Founded | Refusal::OldIncarnation | Refusal::OldEpoch => {
            "ERR the cluster has changed meanwhile: ask again"
        }
    })
}

/// Tells what would come of a change.
fn tell_forecast(cx: &mut Cx, map: &Metadata, change: Change) -> Result<(), CmdError> {
    let then = forecast(map, change).map_err(refusal)?;
    cx.out.verbatim(*b"txt", difference(map, &then).as_bytes());
    Ok(())
}

/// What it takes to come from one map to another, for people.
fn difference(now: &Metadata, then: &Metadata) -> String {
    let address = |node: &NodeId| {
        now.members.get(node).map_or_else(|| name_of(*node), |m| format!("{}:{}", m.host, m.port))
    };
    let (mut copied, mut handed) = (0, 0);
    let mut steps: Vec<(String, Vec<u8>)> = Vec::new();
    for ((number, now), then) in now.numbered().zip(&then.partitions) {
        let fresh: Vec<String> =
            then.in_sync.iter().filter(|node| !now.in_sync.contains(node)).map(address).collect();
        copied += fresh.len();
        let mut step = Vec::new();
        if !fresh.is_empty() {
            step.push(format!("copied to {}", fresh.join(" and ")));
        }
        if let (Some(from), Some(to)) = (now.primary(), then.primary())
            && from != to
        {
            handed += 1;
            step.push(format!("handed over by {} to {}", address(&from), address(&to)));
        }
        let step = step.join(", then ");
        match steps.iter_mut().find(|(known, _)| *known == step) {
            _ if step.is_empty() => {}
            Some((_, numbers)) => numbers.push(number),
            None => steps.push((step, vec![number])),
        }
    }
    let mut text = format!(
        "dry run, nothing is changed: {copied} copies would be made and {handed} partitions handed over\n\n"
    );
    text += "node                   serves now  then   holds now  then\n";
    let count = |map: &Metadata, counts: &dyn Fn(&[NodeId]) -> bool| {
        map.partitions.iter().filter(|assignment| counts(&assignment.in_sync)).count()
    };
    for node in now.members.values().filter(|member| !member.witness).map(|member| member.id) {
        let serves = |holders: &[NodeId]| holders.first() == Some(&node);
        let holds = |holders: &[NodeId]| holders.contains(&node);
        text += &format!(
            "{:<21}  {:>10}  {:>4}  {:>10}  {:>4}\n",
            address(&node),
            count(now, &serves),
            count(then, &serves),
            count(now, &holds),
            count(then, &holds)
        );
    }
    if !steps.is_empty() {
        text.push('\n');
    }
    steps.into_iter().for_each(|(step, numbers)| text += &format!("slots {}: {step}\n", slots_text(numbers)));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_of_whole_partitions() {
        assert_eq!(partitions(b"0-63").expect("one"), [0]);
        assert_eq!(partitions(b"64-255").expect("three"), [1, 2, 3]);
        assert_eq!(partitions(b"0-16383").expect("all").len(), 256);
        for wrong in ["", "5", "0-16384", "127-64", "0-", "-5", "a-b", "0-63-127", "0-100", "1-63"] {
            assert!(partitions(wrong.as_bytes()).is_err(), "{wrong}");
        }
        let told = partitions(b"10-100").expect_err("halves");
        assert!(String::from_utf8_lossy(told.text()).ends_with("did you mean 0-127?"));
    }
}
