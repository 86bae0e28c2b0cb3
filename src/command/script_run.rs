//! A run of a script: what it may do to the node, and how its commands are run.
//!
//! A script's commands run one after another under the partitions of its declared keys and such as it enters on the way. The rules
//! of its run (read-only, out of memory) are checked per command, as Redis does, in Redis's order and words.

use super::call::{self, Needs, Site};
use super::client::Waiting;
use super::database::told_of;
use super::error::{self, CmdError};
use super::forward::SCATTERED;
use super::keys::Keys;
use super::record;
use super::{Command, Cx, flag};
use super::{permission, table};
use crate::config::id;
use crate::script::shebang::ScriptFlags;
use crate::script::{Host, Style, Verdict, Vm};
use crate::state::State;
use crate::state::partition::slot;
use crate::state::scripts::{Running, Scripts, Slow};
use crate::text::number::parse_i64;
use shoal_protocol::resp::{Args, Output, OwnedArgs, Proto};
use std::borrow::Cow;

/// Time of a script's commands after which the time is looked at, in ns.
const LOOK_NS: u64 = 5_000_000;
/// How long a script may run on copies of keys that are held elsewhere, in ms.
const ACROSS_MS: i64 = 1000;

/// A script to be run.
pub struct Script<'a> {
    /// Its machine.
    pub vm: &'a Vm,
    /// What runs.
    pub function: &'a mlua::RegistryKey,
    /// What errors call it: a digest, or a function's name.
    pub name: &'a str,
    /// What it promises.
    pub flags: ScriptFlags,
    /// How it gets keys and arguments.
    pub style: Style,
    /// Whether it was called by a command that changes nothing.
    pub read_only: bool,
}

/// The keys and arguments of `EVAL script numkeys key ... arg ...`.
pub fn split<'a>(args: Args<'a>, not_a_number: &CmdError) -> Result<(Args<'a>, Args<'a>), CmdError> {
    let count = parse_i64(&args[2]).ok_or_else(|| not_a_number.clone())?;
    if count > args.len() as i64 - 3 {
        return Err(CmdError::new("ERR Number of keys can't be greater than number of args"));
    }
    let Ok(count) = usize::try_from(count) else {
        return Err(CmdError::new("ERR Number of keys can't be negative"));
    };
    Ok((args.from(3).first(count), args.from(3 + count)))
}

/// Runs a script and answers with what it returns.
pub fn run(cx: &mut Cx, script: &Script, request: Args, keys: Args, args: Args) -> Result<(), CmdError> {
    let flags = script.flags;
    if !flags.compatible {
        if flags.no_cluster && cx.state.config.flag(id::CLUSTER_ENABLED) {
            return Err(CmdError::new("ERR Can not run script on cluster, 'no-cluster' flag is set."));
        }
        if !flags.allow_oom && !flags.no_writes && !script.read_only && cx.client.script_oom {
            return Err(CmdError::new(
                "OOM allow-oom flag is not set on the script, can not run it when used memory > 'maxmemory'",
            ));
        }
        if script.read_only && !flags.no_writes {
            return Err(CmdError::new("ERR Can not execute a script with write flag using *_ro command."));
        }
    }
    // Before what it does: its commands are shown as they run.
    if cx.state.monitors.any() && !cx.client.is_peer {
        record::monitor(cx.state, cx.client, cx.command, request);
    }
    cx.keys.grow_as_needed(cx.client.known);
    let state = cx.state;
    let running = state.scripts.begin();
    let (db, waiting, began_ms) = (cx.client.db, cx.client.waiting, cx.clock.unix_ms);
    let looked_ns = cx.clock.now_ns();
    cx.client.waiting = Waiting::Denied;
    cx.client.in_script = true;
    let mut reply = std::mem::take(cx.out);
    let mut run = Run {
        cx,
        _running: running,
        proto: Proto::Resp2,
        read_only: script.read_only || flags.no_writes,
        allow_oom: !flags.compatible && flags.allow_oom,
        one_slot: !flags.compatible && !flags.allow_cross_slot && state.config.flag(id::CLUSTER_ENABLED),
        slot: keys.get(0).map(slot),
        began_ms,
        looked_ns,
        script,
        request,
        overran: false,
    };
    let ended =
        script.vm.call(&mut run, script.function, script.name, script.style, (keys, args), &mut reply);
    *cx.out = reply;
    cx.client.waiting = waiting;
    cx.client.in_script = false;
    cx.client.select(db);
    cx.keys.db = db;
    ended.map_err(|failure| CmdError::of_script(failure.text, failure.counted))
}

/// What a running script sees of the node.
struct Run<'x, 's, 'c> {
    cx: &'x mut Cx<'s, 'c>,
    _running: Running<'s>,
    proto: Proto,
    read_only: bool,
    allow_oom: bool,
    /// Whether all its keys must be of one slot.
    one_slot: bool,
    /// The slot of its first key.
    slot: Option<u16>,
    began_ms: i64,
    /// The clock's last reading when the time was last looked at.
    looked_ns: u64,
    script: &'x Script<'x>,
    request: Args<'x>,
    overran: bool,
}

impl Run<'_, '_, '_> {
    /// The row of a command the script may run now.
    fn admit(&mut self, args: Args) -> Result<&'static table::Row, Cow<'static, str>> {
        let Some(row) = table::find_any_count(args) else {
            return Err("ERR Unknown command called from script".into());
        };
        let command = row.command;
        if !command.takes(args.len()) {
            return Err("ERR Wrong number of args calling command from script".into());
        }
        if command.flags.has(flag::NOSCRIPT) && !self.cx.state.scripts.may_run_all() {
            return Err("ERR This Redis command is not allowed from script".into());
        }
        permission::admit_scripted(self.cx.state, self.cx.client, row, args)?;
        if self.read_only && command.flags.any(flag::WRITE | flag::MAY_REPLICATE) {
            return Err("ERR Write commands are not allowed from read-only scripts.".into());
        }
        if command.flags.has(flag::WRITE) {
            if !self.allow_oom
                && self.cx.client.script_oom
                && command.flags.has(flag::DENYOOM)
                && !self.cx.state.scripts.has_written()
            {
                return Err("OOM command not allowed when used memory > 'maxmemory'.".into());
            }
            self.cx.state.scripts.note_write();
        }
        if self.one_slot {
            self.stay_in_slot(row, args)?;
        }
        Ok(row)
    }

    /// Refuses keys of a second slot.
    fn stay_in_slot(&mut self, row: &table::Row, args: Args) -> Result<(), &'static str> {
        let mut stays = true;
        for spec in row.command.keys {
            spec.visit(args, &mut |at| {
                let own = slot(&args[at]);
                stays &= *self.slot.get_or_insert(own) == own;
            });
        }
        if stays {
            Ok(())
        } else {
            Err("ERR Script attempted to access keys that do not hash to the same slot")
        }
    }
}

impl Host for Run<'_, '_, '_> {
    fn is_script(&self) -> bool {
        true
    }

    fn call(&mut self, args: Args<'_>, out: &mut Output) -> Result<(), String> {
        let row = self.admit(args).inspect_err(|error| {
            self.cx.state.count_error(self.cx.stats, error.as_bytes());
            if let Some(row) = table::find_any_count(args) {
                self.cx.stats.commands[row.id].rejected.add(1);
            }
        })?;
        let cx = &mut *self.cx;
        if cx.keys.is_copy() {
            if cx.keys.has_missed() {
                return Err("ERR the script is run again with further keys".into());
            }
            if table::is_whole(row.command) && told_of(row.command, args).is_none() {
                if let Some(called) = self.request.get(1) {
                    cx.state.scripts.note_wandering(Scripts::fingerprint(called), true);
                }
                return Err(String::from_utf8_lossy(SCATTERED.text()).into_owned());
            }
        } else if cx.state.cluster.is_on() && !reaches(cx.keys, row.command, args) {
            if let Some(called) = self.request.get(1) {
                cx.state.scripts.note_wandering(Scripts::fingerprint(called), true);
            }
            return Err("ERR Script attempted to access keys that another node serves".into());
        }
        let (state, stats) = (cx.state, cx.stats);
        cx.keys.forget_routed();
        let mut site =
            Site { state, stats, client: &mut *cx.client, out, clock: &mut *cx.clock, pause: None };
        call::run(&mut site, row, args, &mut *cx.keys);
        Ok(())
    }

    fn may_run(&mut self, args: Args<'_>) -> Option<bool> {
        let row = table::find_any_count(args)?;
        Some(permission::check(self.cx.state, &self.cx.client.user, self.cx.client.db, row, args).is_ok())
    }

    fn proto(&self) -> Proto {
        self.proto
    }

    fn set_proto(&mut self, proto: Proto) {
        self.proto = proto;
    }

    fn log(&mut self, level: i64, text: &str) {
        log(level, text);
    }

    fn count_error(&mut self, text: &str) {
        self.cx.state.count_made_up(self.cx.stats, text.as_bytes());
    }

    fn is_due(&self) -> bool {
        self.cx.clock.now_ns() - self.looked_ns > LOOK_NS
    }

    fn interrupt(&mut self) -> Verdict {
        self.looked_ns = self.cx.clock.now_ns();
        let cx = &mut *self.cx;
        if cx.keys.has_missed() {
            return Verdict::Kill("The script is run again with further keys.");
        }
        cx.clock.look();
        // Others' keys are held meanwhile, and nobody could be let in between to end it.
        if cx.clock.unix_ms - self.began_ms > ACROSS_MS && cx.keys.overrun() {
            return Verdict::Kill("The script ran for too long on keys of several partitions.");
        }
        let threshold = cx.state.config.int(id::BUSY_REPLY_THRESHOLD);
        if !self.overran {
            if threshold <= 0 || cx.clock.unix_ms - self.began_ms < threshold {
                return Verdict::Continue;
            }
            self.overran = true;
            let is_function = self.script.style == Style::Function;
            tracing::warn!(
                "Slow script detected: still in execution after {} milliseconds. You can try killing the script using the {} \
                 command. Script name is: {}.",
                cx.clock.unix_ms - self.began_ms,
                if is_function { "FUNCTION KILL" } else { "SCRIPT KILL" },
                self.script.name,
            );
            cx.state.scripts.overrun(Slow {
                is_function,
                name: self.script.name.to_string(),
                request: OwnedArgs::from(self.request),
                began_ms: self.began_ms,
            });
        }
        // Not at once: what others began before they could know that the node is busy is done by the next time.
        else if let Some(pause) = cx.pause {
            cx.keys.pause(pause);
        }
        if !cx.state.scripts.is_killed() {
            return Verdict::Continue;
        }
        match self.script.style {
            Style::Script => Verdict::Kill("Script killed by user with SCRIPT KILL."),
            Style::Function => Verdict::Kill("Script killed by user with FUNCTION KILL."),
        }
    }
}

/// Whether this node serves all the keys of a request; they are entered then.
fn reaches(keys: &mut Keys, command: &Command, args: Args) -> bool {
    match call::needs(command, args, None) {
        Needs::Nothing => true,
        Needs::All => (0..=u8::MAX).all(|partition| keys.grow_to(partition)),
        Needs::Keys(routed) => routed.iter().all(|key| keys.grow_to(key.partition)),
    }
}

/// Logs a line of a script; `level` as scripts count.
pub fn log(level: i64, text: &str) {
    match level {
        0 => tracing::debug!("{text}"),
        1 | 2 => tracing::info!("{text}"),
        _ => tracing::warn!("{text}"),
    }
}

/// What others hear while a script is over its time.
pub fn busy(state: &State) -> CmdError {
    let is_function = state.scripts.slow(|slow| slow.is_some_and(|(slow, _)| slow.is_function));
    if is_function { error::BUSY_FUNCTION } else { error::BUSY_SCRIPT }
}
