//! What a running script may ask of the node.
//!
//! The functions of `redis.*` outlive a run (libraries keep them), so they cannot borrow what the run works on; they find it in
//! a slot of the thread, filled for the length of the run.
//!
//! Invariant: the slot is empty while its content is in use, so there is never a second reference to it.

use shoal_protocol::resp::{Args, Output, Proto};
use std::cell::Cell;
use std::ptr::NonNull;

/// What the interpreter is to do after a look at the time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Go on.
    Continue,
    /// Raise an error with this text, again and again until the script gives up.
    Kill(&'static str),
}

/// A run's way to the node.
pub trait Host {
    /// Whether this is a run of a script; else a library is being loaded, and none of the below is to be asked but
    /// [`Host::interrupt`].
    fn is_script(&self) -> bool;
    /// Runs a command and appends its reply to `out`. An error is a refusal to run it, which is counted then.
    fn call(&mut self, args: Args<'_>, out: &mut Output) -> Result<(), String>;
    /// Whether the user may run a command; nothing if there is no such command.
    fn may_run(&mut self, args: Args<'_>) -> Option<bool>;
    /// The protocol version replies are converted from.
    fn proto(&self) -> Proto;
    /// Sets the protocol version replies are converted from.
    fn set_proto(&mut self, proto: Proto);
    /// Logs a line; `level` counts from 0, debug, to 3, warning.
    fn log(&mut self, level: i64, text: &str);
    /// Counts an error in a reply.
    fn count_error(&mut self, text: &str);
    /// Looks at the time, now and then.
    fn interrupt(&mut self) -> Verdict;
    /// After a command: whether so much time has passed that [`Host::interrupt`] is due, however few instructions it took.
    fn is_due(&self) -> bool;
}

thread_local! {
    static HOST: Cell<Option<NonNull<dyn Host>>> = const { Cell::new(None) };
}

/// Does `work` with `host` in the slot.
pub fn enter<R>(host: &mut dyn Host, work: impl FnOnce() -> R) -> R {
    struct Leave(Option<NonNull<dyn Host>>);
    impl Drop for Leave {
        fn drop(&mut self) {
            HOST.set(self.0);
        }
    }
    let pointer: NonNull<dyn Host + '_> = NonNull::from(host);
    // SAFETY: only the lifetime is forgotten, and the pointer leaves the slot before `host` can be used again.
    let pointer = unsafe { std::mem::transmute::<NonNull<dyn Host + '_>, NonNull<dyn Host>>(pointer) };
    let _leave = Leave(HOST.replace(Some(pointer)));
    work()
}

/// Does `work` with the host of the present run; nothing if there is none.
pub fn with<R>(work: impl FnOnce(&mut dyn Host) -> R) -> Option<R> {
    struct PutBack(NonNull<dyn Host>);
    impl Drop for PutBack {
        fn drop(&mut self) {
            HOST.set(Some(self.0));
        }
    }
    let mut taken = PutBack(HOST.take()?);
    // SAFETY: `enter` keeps its exclusive borrow while the pointer is in the slot, and it is not in the slot now.
    Some(work(unsafe { taken.0.as_mut() }))
}

/// Does `work` with the host of the present run of a script; nothing outside one.
pub fn with_script<R>(work: impl FnOnce(&mut dyn Host) -> R) -> Option<R> {
    with(|host| host.is_script().then(|| work(host))).flatten()
}
