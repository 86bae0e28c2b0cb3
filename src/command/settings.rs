//! What all nodes of a cluster know besides keys: users, libraries of functions, and the directives that are shared.
//!
//! The node at which something is set does it at once and has all members agree on what came of it ([`agree`]); whoever set it hears
//! of it when every node does as said. Each node makes the settings of the map its own ([`adopt`]), now, when it joins and when it comes
//! back. A node's own configuration holds for what the map says nothing about.

use super::clock::Clock;
use super::{Cx, acl, function};
use crate::cluster::metadata::{Change, Setting, Settings};
use crate::config::table::Id;
use crate::config::{self, Caller};
use crate::state::State;
use std::collections::BTreeMap;

/// Has all nodes of the cluster do the same.
pub fn agree(cx: &mut Cx, settings: Settings) {
    if cx.state.cluster.is_on() && !settings.is_empty() {
        cx.client.asked.push(cx.state.cluster.ask(Change::Set(settings)));
    }
}

/// Has all nodes use this node's values of those `changed` directives that are the cluster's.
pub fn agree_on_directives(cx: &mut Cx, changed: &config::Change) {
    let settings = directives(cx.state, changed.ids());
    agree(cx, settings);
}

/// This node's values of those directives that are the cluster's.
fn directives(state: &State, ids: impl Iterator<Item = Id>) -> Settings {
    let shared = ids.filter(|id| id.row().shared);
    let values = shared.flat_map(|id| state.config.get(&[id.name().as_bytes()]));
    values.map(|(name, value)| (Setting::Directive(name), Some(value.into_bytes()))).collect()
}

/// What this node would have others know; nothing if a script runs at this moment.
pub fn own(state: &State) -> Option<Settings> {
    let mut settings = function::libraries(state)?;
    settings.extend(acl::settings_of_users(state));
    settings.extend(directives(state, Id::all()));
    Some(settings)
}

/// Makes the cluster's value of a directive this node's; one that this node knows or shares no more is let be.
fn adopt_directive(state: &State, name: &str, value: &[u8]) {
    if !Id::find(name).is_some_and(|id| id.row().shared) {
        return;
    }
    let caller = Caller { local: true, loading: false };
    match state.config.change(&[(name.as_bytes(), value)], caller) {
        Ok(change) if change.ids().next().is_some() => {
            tracing::info!("{name} is {:?}, as in all of the cluster", String::from_utf8_lossy(value));
        }
        Ok(_) => {}
        Err(error) => tracing::warn!("the cluster's {name} cannot be this node's: {error}"),
    }
}

/// Does as the cluster's `settings` say; false if that has to be tried again, as a script runs at this moment.
pub fn adopt(state: &State, settings: &BTreeMap<Setting, Option<Vec<u8>>>) -> bool {
    for (setting, value) in settings {
        match (setting, value) {
            (Setting::User(name), rules) => acl::adopt(state, name, rules.as_deref()),
            (Setting::Directive(name), Some(value)) => adopt_directive(state, name, value),
            (Setting::Directive(_) | Setting::Library(_), _) => {}
        }
    }
    let libraries = settings.iter().filter_map(|(setting, code)| match setting {
        Setting::Library(name) => Some((&**name, code.as_deref()?)),
        _ => None,
    });
    function::adopt(state, &mut Clock::new(), libraries.collect())
}
