//! DEBUG: what tests and people hunting a fault need. `enable-debug-command` says who may use it.

use super::error::{self, CmdError};
use super::{Command, Cx, Group, command, flag, flags};
use crate::config::id;
use crate::text::number::parse_f64;
use shoal_protocol::resp::Args;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// The family's rows.
pub const COMMANDS: &[Command] = &[command("debug", -2, Group::Server, debug)
    .flags(flags([flag::ADMIN, flag::NOSCRIPT, flag::LOADING, flag::STALE]))
    .doc("1.0.0", "subcommand [arg [arg ...]]", "A container for debugging commands.")];

const NOT_ALLOWED: CmdError = CmdError::new(
    "ERR DEBUG command not allowed. If the enable-debug-command option is set to \"local\", you can run it from \
     a local connection, otherwise you need to set this option in the configuration file, and then restart the \
     server.",
);

/// DEBUG subcommand [arg ...]
fn debug(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    match cx.state.config.choice(id::ENABLE_DEBUG_COMMAND) {
        "yes" => {}
        "local" if cx.client.is_local() => {}
        _ => return Err(NOT_ALLOWED),
    }
    let name = String::from_utf8_lossy(&args[1]).to_ascii_lowercase();
    match (&*name, args.len()) {
        ("sleep", 3) => sleep(cx, args),
        ("set-active-expire", 3) => set_active_expire(cx, args),
        _ => Err(error::bad_subcommand("DEBUG", &args[1])),
    }
}

/// DEBUG SET-ACTIVE-EXPIRE 0|1. Whether keys go by themselves when their time has come, or only when met.
fn set_active_expire(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    cx.state.active_expire.store(&args[2] != b"0", Ordering::Relaxed);
    cx.out.ok();
    Ok(())
}

/// DEBUG SLEEP seconds. Stops this connection's worker, as a slow command would.
fn sleep(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let seconds = parse_f64(&args[2]).unwrap_or(0.0);
    if let Ok(duration) = Duration::try_from_secs_f64(seconds) {
        std::thread::sleep(duration);
    }
    cx.out.ok();
    Ok(())
}
