//! What CONFIG SET changes outside the configuration: listeners, descriptors, the log.

use super::listeners::{Listeners, Unavailable};
use super::log;
use crate::config::table::Id;
use crate::config::{Change, Config, id};
use crate::state::State;
use std::io;
use std::sync::Arc;

/// Descriptors a node needs besides those of its clients.
const OWN_DESCRIPTORS: u64 = 64;

/// Has changes of directives carried out for as long as `state` lives.
pub fn follow(state: &State, listeners: &Arc<Listeners>) {
    let listeners = Arc::clone(listeners);
    state.set_reconfigure(Box::new(move |config, change| carry_out(config, change, &listeners)));
}

/// Carries out what changed; on failure names the directive and says why, and nothing has changed.
fn carry_out(config: &Config, change: &Change, listeners: &Listeners) -> Result<(), (Id, String)> {
    if change.touches(id::MAXCLIENTS)
        && let Err(clients) = reserve_descriptors(config)
    {
        let text = format!(
            "The operating system is not able to handle the specified number of clients, try with {clients}"
        );
        return Err((id::MAXCLIENTS, text));
    }
    let moved = [
        (id::PORT, "Unable to listen on this port. Check server logs."),
        (id::BIND, "Failed to bind to specified addresses."),
    ];
    if let Some((directive, text)) = moved.into_iter().find(|(directive, _)| change.touches(*directive))
        && let Err(unavailable) = listeners.open(config)
    {
        let Unavailable { directive: port, address, source } = unavailable;
        tracing::warn!("{port}: cannot listen on {address}: {source}");
        return Err((directive, text.to_string()));
    }
    if change.touches(id::OOM_SCORE_ADJ) || change.touches(id::OOM_SCORE_ADJ_VALUES) {
        follow_oom_score(config).map_err(|error| {
            tracing::warn!("cannot adjust the OOM score: {error}");
            let text = "Failed to apply new oom_score_adj configuration, check server logs.";
            (id::OOM_SCORE_ADJ, text.to_string())
        })?;
    }
    if change.touches(id::LOGLEVEL) {
        log::set_level(config);
    }
    Ok(())
}

/// Gives the process the OOM score that `config` asks for.
pub fn follow_oom_score(config: &Config) -> io::Result<()> {
    let values = config.text(id::OOM_SCORE_ADJ_VALUES);
    let value = values.split(' ').next().and_then(|value| value.parse().ok()).unwrap_or(0);
    crate::process::adjust_oom_score(config.choice(id::OOM_SCORE_ADJ), value)
}

/// Makes sure that there are descriptors for `maxclients` connections; otherwise tells for how many there are.
pub fn reserve_descriptors(config: &Config) -> Result<(), u64> {
    let wanted = config.size(id::MAXCLIENTS) as u64 + OWN_DESCRIPTORS;
    let limit = crate::process::raise_descriptor_limit(wanted);
    if limit >= wanted { Ok(()) } else { Err(limit.saturating_sub(OWN_DESCRIPTORS).max(1)) }
}
