//! CLIENT TRACKING and its kin: telling a client's own cache what has changed.

use super::client::Client;
use super::error::{self, CmdError};
use super::parse::{self, is, operand};
use super::{Command, Cx, flag};
use crate::state::State;
use crate::state::partition::partition_of;
use crate::state::tracking::{Mode, Tracker};
use shoal_protocol::resp::Args;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A connection's tracking, with what CLIENT CACHING said of the next command.
pub struct Tracked {
    /// The tracking.
    pub tracker: Arc<Tracker>,
    /// CLIENT CACHING came before this command or transaction.
    pub caching: bool,
}

/// CLIENT TRACKING <ON | OFF> [REDIRECT client-id] [PREFIX prefix ...] [BCAST] [OPTIN] [OPTOUT] [NOLOOP]
pub fn tracking(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let mut redirect = None;
    let mut prefixes: Vec<Box<[u8]>> = Vec::new();
    let (mut broadcast, mut opt_in, mut opt_out, mut no_loop) = (false, false, false, false);
    let mut at = 3;
    while at < args.len() {
        let word = &args[at];
        if is(word, "redirect") && at + 1 < args.len() {
            let id = parse::int(operand(&args, &mut at)?)?;
            if redirect.is_some() {
                return Err(CmdError::new("ERR A client can only redirect to a single other client"));
            }
            let target = u64::try_from(id).ok().and_then(|id| cx.state.clients.get(id));
            redirect =
                Some(target.ok_or(CmdError::new("ERR The client ID you want redirect to does not exist"))?);
        } else if is(word, "bcast") {
            broadcast = true;
        } else if is(word, "optin") {
            opt_in = true;
        } else if is(word, "optout") {
            opt_out = true;
        } else if is(word, "noloop") {
            no_loop = true;
        } else if is(word, "prefix") && at + 1 < args.len() {
            prefixes.push(operand(&args, &mut at)?.into());
        } else {
            return Err(error::SYNTAX);
        }
        at += 1;
    }
    if is(&args[2], "off") {
        stop(cx.state, cx.client);
    } else if is(&args[2], "on") {
        let mode = mode(cx.client, broadcast, opt_in, opt_out, &prefixes)?;
        start(cx, redirect, mode, no_loop, prefixes)?;
    } else {
        return Err(error::SYNTAX);
    }
    cx.out.ok();
    Ok(())
}

/// The mode the options ask for, unless they contradict each other or the tracking that is on.
fn mode(
    client: &Client,
    broadcast: bool,
    opt_in: bool,
    opt_out: bool,
    prefixes: &[Box<[u8]>],
) -> Result<Mode, CmdError> {
    let now = client.tracking.as_ref().map(|tracked| tracked.tracker.mode);
    if !broadcast && !prefixes.is_empty() {
        return Err(CmdError::new("ERR PREFIX option requires BCAST mode to be enabled"));
    }
    if now.is_some_and(|now| (now == Mode::Broadcast) != broadcast) {
        return Err(CmdError::new(
            "ERR You can't switch BCAST mode on/off before disabling tracking for this client, and then re-enabling it with a different mode.",
        ));
    }
    if broadcast && (opt_in || opt_out) {
        return Err(CmdError::new("ERR OPTIN and OPTOUT are not compatible with BCAST"));
    }
    if opt_in && opt_out {
        return Err(CmdError::new("ERR You can't specify both OPTIN mode and OPTOUT mode"));
    }
    if (opt_in && now == Some(Mode::OptOut)) || (opt_out && now == Some(Mode::OptIn)) {
        return Err(CmdError::new(
            "ERR You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, and then re-enabling it with a different mode.",
        ));
    }
    Ok(match (broadcast, opt_in, opt_out) {
        (true, ..) => Mode::Broadcast,
        (_, true, _) => Mode::OptIn,
        (.., true) => Mode::OptOut,
        _ => Mode::All,
    })
}

fn start(
    cx: &mut Cx,
    redirect: Option<Arc<crate::state::clients::ClientShared>>,
    mode: Mode,
    no_loop: bool,
    mut prefixes: Vec<Box<[u8]>>,
) -> Result<(), CmdError> {
    let old = cx.client.tracking.as_ref().map_or(&[][..], |tracked| &tracked.tracker.prefixes);
    check_prefixes(&prefixes, old)?;
    prefixes.extend(old.iter().cloned());
    if mode == Mode::Broadcast && prefixes.is_empty() {
        prefixes.push(Box::default());
    }
    stop(cx.state, cx.client);
    let tracker = Tracker::new(Arc::clone(&cx.client.shared), redirect, mode, no_loop, prefixes);
    cx.state.tracking.start(&tracker);
    cx.client.tracking = Some(Tracked { tracker, caching: false });
    cx.client.note_interest(cx.state);
    Ok(())
}

fn check_prefixes(new: &[Box<[u8]>], old: &[Box<[u8]>]) -> Result<(), CmdError> {
    let overlap = |a: &[u8], b: &[u8]| a.starts_with(b) || b.starts_with(a);
    let text = |prefix: &[u8]| String::from_utf8_lossy(prefix).into_owned();
    for (at, prefix) in new.iter().enumerate() {
        // Naming a prefix again is no harm.
        if let Some(other) = old.iter().find(|other| overlap(prefix, other) && *other != prefix) {
            return Err(CmdError::with(format!(
                "ERR Prefix '{}' overlaps with an existing prefix '{}'. Prefixes for a single client must not overlap.",
                text(prefix),
                text(other)
            )));
        }
        if let Some(other) = new[at + 1..].iter().find(|other| overlap(prefix, other)) {
            return Err(CmdError::with(format!(
                "ERR Prefix '{}' overlaps with another provided prefix '{}'. Prefixes for a single client must not overlap.",
                text(prefix),
                text(other)
            )));
        }
    }
    Ok(())
}

/// Ends the tracking of a connection.
pub fn stop(state: &State, client: &mut Client) {
    if let Some(tracked) = client.tracking.take() {
        state.tracking.stop(&tracked.tracker);
        if tracked.tracker.mode == Mode::Broadcast {
            client.note_interest(state);
        }
    }
}

/// CLIENT CACHING <YES | NO>
pub fn caching(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let mode = cx.client.tracking.as_ref().map(|tracked| tracked.tracker.mode);
    let Some(mode @ (Mode::OptIn | Mode::OptOut)) = mode else {
        return Err(CmdError::new(
            "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode enabled",
        ));
    };
    match (is(&args[2], "yes"), is(&args[2], "no"), mode) {
        (true, _, Mode::OptIn) | (_, true, Mode::OptOut) => {}
        (true, ..) => {
            return Err(CmdError::new(
                "ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode.",
            ));
        }
        (_, true, _) => {
            return Err(CmdError::new(
                "ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode.",
            ));
        }
        _ => return Err(error::SYNTAX),
    }
    if let Some(tracked) = &mut cx.client.tracking {
        tracked.caching = true;
    }
    cx.out.ok();
    Ok(())
}

/// CLIENT GETREDIR
pub fn getredir(cx: &mut Cx, _: Args) -> Result<(), CmdError> {
    let redirect = cx.client.tracking.as_ref().map(|tracked| tracked.tracker.redirect.as_ref());
    cx.out.int(redirect.map_or(-1, |to| to.map_or(0, |to| to.id as i64)));
    Ok(())
}

/// CLIENT TRACKINGINFO
pub fn trackinginfo(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let mut flags: Vec<&str> = Vec::new();
    match &cx.client.tracking {
        None => flags.push("off"),
        Some(tracked) => {
            flags.push("on");
            match (tracked.tracker.mode, tracked.caching) {
                (Mode::All, _) => {}
                (Mode::Broadcast, _) => flags.push("bcast"),
                (Mode::OptIn, yes) => flags.extend(["optin"].into_iter().chain(yes.then_some("caching-yes"))),
                (Mode::OptOut, no) => flags.extend(["optout"].into_iter().chain(no.then_some("caching-no"))),
            }
            if tracked.tracker.no_loop {
                flags.push("noloop");
            }
            if tracked.tracker.broken.load(Ordering::Relaxed) {
                flags.push("broken_redirect");
            }
        }
    }
    cx.out.map(3);
    cx.out.bulk(b"flags");
    cx.out.set(flags.len());
    flags.iter().for_each(|flag| cx.out.bulk(flag.as_bytes()));
    cx.out.bulk(b"redirect");
    getredir(cx, args)?;
    cx.out.bulk(b"prefixes");
    let prefixes = cx.client.tracking.as_ref().map_or(&[][..], |tracked| &tracked.tracker.prefixes);
    cx.out.array(prefixes.len());
    prefixes.iter().for_each(|prefix| cx.out.bulk(prefix));
    Ok(())
}

impl Tracked {
    /// Says of the next command whether what it reads is to be remembered, as was found out when it was asked for.
    pub fn remember_if(&mut self, wanted: bool) {
        self.caching = (self.tracker.mode == Mode::OptIn) == wanted;
    }

    /// Whether what is read now is to be remembered.
    pub fn is_wanted(&self) -> bool {
        match self.tracker.mode {
            Mode::All => true,
            Mode::OptIn => self.caching,
            Mode::OptOut => !self.caching,
            Mode::Broadcast => false,
        }
    }
}

/// Remembers the keys a tracking connection has just read: of a script those its commands read, not those it may read. Their partitions
/// are still held.
pub fn remember(cx_keys: &mut super::keys::Keys, tracked: &Tracked, command: &Command, args: Args) {
    if tracked.is_wanted() && command.flags.has(flag::READONLY) && !command.flags.has(flag::SCRIPT) {
        for spec in command.keys {
            spec.visit(args, &mut |at| cx_keys.remember(&args[at], &tracked.tracker));
        }
    }
}

/// Remembers, before another node is asked, the keys that a tracking connection is about to read there. No partition is held.
pub fn remember_elsewhere(state: &State, tracker: &Arc<Tracker>, request: Args) {
    let Ok(row) = super::table::find(request) else { return };
    // What a script reads may be any of its keys.
    if row.command.flags.any(flag::READONLY | flag::SCRIPT) {
        for spec in row.command.keys {
            spec.visit(request, &mut |at| {
                let mut partition = state.keyspace.enter(partition_of(&request[at]));
                state.tracking.remember(&mut partition, &request[at], tracker);
            });
        }
    }
}
