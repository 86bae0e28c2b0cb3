//! Scripts: who runs one, and the machines they run in.
//!
//! One script runs at a time. Whoever wants to run one, or to change what there is to run, takes the claim without waiting, before
//! entering partitions; the machines' own locks are never waited for by those who hold it.

use super::unix_ms;
use crate::script::eval;
use crate::script::library::Libraries;
use crate::store::hash::hash;
use hashbrown::HashMap;
use parking_lot::{Mutex, MutexGuard};
use shoal_protocol::resp::OwnedArgs;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// Scripts of which is remembered whether they touch keys they do not declare.
const KNOWN: usize = 10_000;

/// A script over its time.
pub struct Slow {
    /// Whether it is a function.
    pub is_function: bool,
    /// Its name, if it is a function.
    pub name: String,
    /// The request that called it.
    pub request: OwnedArgs,
    /// When it began, as Unix time in ms.
    pub began_ms: i64,
}

/// What is known of scripts and functions without asking their machines.
#[derive(Default)]
pub struct Figures {
    /// Scripts kept.
    pub scripts: AtomicUsize,
    /// Bytes they take.
    pub scripts_memory: AtomicUsize,
    /// Bytes their machine takes.
    pub scripts_vm: AtomicUsize,
    /// Scripts dropped to make room for others.
    pub evicted: AtomicU64,
    /// Libraries.
    pub libraries: AtomicUsize,
    /// Their functions.
    pub functions: AtomicUsize,
    /// Bytes they take.
    pub functions_memory: AtomicUsize,
    /// Bytes their machine takes.
    pub functions_vm: AtomicUsize,
}

/// The node's scripts.
#[derive(Default)]
pub struct Scripts {
    claimed: AtomicBool,
    running: AtomicBool,
    busy: AtomicBool,
    killed: AtomicBool,
    wrote: AtomicBool,
    unrestricted: AtomicBool,
    slow: Mutex<Option<Slow>>,
    /// Made when first wanted.
    eval: Mutex<Option<eval::Scripts>>,
    functions: Mutex<Option<Libraries>>,
    /// Whether scripts that were run in a cluster touch keys they do not declare, by [`Scripts::fingerprint`].
    wander: Mutex<HashMap<u64, bool>>,
    /// What INFO tells.
    pub figures: Figures,
}

/// The right to run scripts and to change them, given back when dropped.
pub struct Claim<'a>(&'a Scripts);

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.0.claimed.store(false, Ordering::Release);
    }
}

/// A script's run, which ends when this is dropped.
pub struct Running<'a>(&'a Scripts);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.store(false, Ordering::Relaxed);
        if self.0.busy.swap(false, Ordering::AcqRel) {
            *self.0.slow.lock() = None;
        }
    }
}

/// Why a script cannot be killed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unkillable {
    /// None runs, or none is over its time.
    NotBusy,
    /// It has changed something.
    Wrote,
    /// It is a function and was to be killed as a script, or the other way round.
    Other,
}

impl Scripts {
    /// The right to run scripts, unless somebody has it.
    pub fn try_claim(&self) -> Option<Claim<'_>> {
        (!self.claimed.swap(true, Ordering::Acquire)).then(|| Claim(self))
    }

    /// What tells scripts apart, given the source, digest or name by which one is called.
    pub fn fingerprint(called: &[u8]) -> u64 {
        u64::from(hash(called)) << 32 | called.len() as u64
    }

    /// Whether a script, when it was run in a cluster, touched keys it did not declare; nothing if that is not known.
    pub fn wanders(&self, fingerprint: u64) -> Option<bool> {
        self.wander.lock().get(&fingerprint).copied()
    }

    /// Notes what came of a run: a script that once touched other keys may do so again.
    pub fn note_wandering(&self, fingerprint: u64, wanders: bool) {
        let mut known = self.wander.lock();
        if known.len() >= KNOWN {
            known.clear();
        }
        *known.entry(fingerprint).or_default() |= wanders;
    }

    /// The scripts of EVAL. Only for those who hold the claim.
    pub fn eval(&self) -> MutexGuard<'_, Option<eval::Scripts>> {
        self.eval.lock()
    }

    /// The libraries. Only for those who hold the claim.
    pub fn functions(&self) -> MutexGuard<'_, Option<Libraries>> {
        self.functions.lock()
    }

    /// Lets scripts run commands that are not for them (DEBUG SET-DISABLE-DENY-SCRIPTS).
    pub fn allow_all(&self, allow: bool) {
        self.unrestricted.store(allow, Ordering::Relaxed);
    }

    /// Whether scripts may run commands that are not for them.
    pub fn may_run_all(&self) -> bool {
        self.unrestricted.load(Ordering::Relaxed)
    }

    /// Begins a run.
    pub fn begin(&self) -> Running<'_> {
        self.killed.store(false, Ordering::Relaxed);
        self.wrote.store(false, Ordering::Relaxed);
        self.running.store(true, Ordering::Relaxed);
        Running(self)
    }

    /// Says that the script is over its time.
    pub fn overrun(&self, slow: Slow) {
        *self.slow.lock() = Some(slow);
        self.busy.store(true, Ordering::Release);
    }

    /// Says that the script has changed something.
    pub fn note_write(&self) {
        self.wrote.store(true, Ordering::Relaxed);
    }

    /// Whether the script has changed something.
    pub fn has_written(&self) -> bool {
        self.wrote.load(Ordering::Relaxed)
    }

    /// Whether the script is to end.
    pub fn is_killed(&self) -> bool {
        self.killed.load(Ordering::Acquire)
    }

    /// Whether a script is over its time.
    #[inline]
    pub fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Acquire)
    }

    /// Ends the script that is over its time.
    pub fn kill(&self, function: bool) -> Result<(), Unkillable> {
        let slow = self.slow.lock();
        let Some(slow) = slow.as_ref() else { return Err(Unkillable::NotBusy) };
        if self.has_written() {
            return Err(Unkillable::Wrote);
        }
        if slow.is_function != function {
            return Err(Unkillable::Other);
        }
        self.killed.store(true, Ordering::Release);
        Ok(())
    }

    /// What is known of the script that is over its time, and for how long it has run, in ms.
    pub fn slow<R>(&self, tell: impl FnOnce(Option<(&Slow, i64)>) -> R) -> R {
        let slow = self.slow.lock();
        tell(slow.as_ref().map(|slow| (slow, unix_ms() - slow.began_ms)))
    }

    /// Brings what INFO tells up to date.
    pub fn note_scripts(&self, scripts: Option<&eval::Scripts>) {
        let figures = &self.figures;
        figures.scripts.store(scripts.map_or(0, eval::Scripts::len), Ordering::Relaxed);
        figures.scripts_memory.store(scripts.map_or(0, eval::Scripts::memory), Ordering::Relaxed);
        figures.scripts_vm.store(scripts.map_or(0, |scripts| scripts.vm().memory()), Ordering::Relaxed);
        figures.evicted.store(scripts.map_or(0, |scripts| scripts.evicted), Ordering::Relaxed);
    }

    /// Brings what INFO tells up to date.
    pub fn note_functions(&self, libraries: Option<&Libraries>) {
        let figures = &self.figures;
        figures.libraries.store(libraries.map_or(0, |libraries| libraries.all().len()), Ordering::Relaxed);
        figures.functions.store(libraries.map_or(0, Libraries::functions), Ordering::Relaxed);
        figures.functions_memory.store(libraries.map_or(0, Libraries::memory), Ordering::Relaxed);
        figures.functions_vm.store(libraries.map_or(0, |all| all.vm().memory()), Ordering::Relaxed);
    }
}
