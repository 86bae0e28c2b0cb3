//! What all nodes of a cluster know besides keys: users, libraries of functions, and the directives in [`DIRECTIVES`].
//!
//! The node at which something is set does it at once and has all members agree on what came of it ([`agree`]); whoever set it hears
//! of it when every node does as said. Each node makes the settings of the map its own ([`adopt`]), now, when it joins and when it comes
//! back. A node's own configuration holds for what the map says nothing about.

use super::clock::Clock;
use super::{Cx, acl, function};
use crate::cluster::metadata::{Change, Setting, Settings};
use crate::config::{Caller, id};
use crate::state::State;
use std::collections::BTreeMap;

/// The directives that are those of the cluster.
const DIRECTIVES: &[&str] = &["notify-keyspace-events"];

/// Has all nodes of the cluster do the same.
pub fn agree(cx: &mut Cx, settings: Settings) {
    if cx.state.cluster.is_on() && !settings.is_empty() {
        cx.client.asked.push(cx.state.cluster.ask(Change::Set(settings)));
    }
}

/// Has all nodes use this node's value of those directives that are the cluster's.
pub fn agree_on_directives(cx: &mut Cx, touches: impl Fn(crate::config::table::Id) -> bool) {
    if touches(id::NOTIFY_KEYSPACE_EVENTS) {
        let settings = directives(cx.state);
        agree(cx, settings);
    }
}

fn directives(state: &State) -> Settings {
    let names: Vec<&[u8]> = DIRECTIVES.iter().map(|name| name.as_bytes()).collect();
    let values = state.config.get(&names).into_iter();
    values.map(|(name, value)| (Setting::Directive(name.to_string()), Some(value.into_bytes()))).collect()
}

/// What this node would have others know; nothing if a script runs at this moment.
pub fn own(state: &State) -> Option<Settings> {
    let mut settings = function::libraries(state)?;
    settings.extend(acl::settings_of_users(state));
    settings.extend(directives(state));
    Some(settings)
}

/// Does as the cluster's `settings` say; false if that has to be tried again, as a script runs at this moment.
pub fn adopt(state: &State, settings: &BTreeMap<Setting, Option<Vec<u8>>>) -> bool {
    for (setting, value) in settings {
        match (setting, value) {
            (Setting::User(name), rules) => acl::adopt(state, name, rules.as_deref()),
            (Setting::Directive(name), Some(value)) if DIRECTIVES.contains(&&**name) => {
                let caller = Caller { local: true, loading: false };
                if let Err(error) = state.config.change(&[(name.as_bytes(), value)], caller) {
                    tracing::warn!("the cluster's {name} cannot be this node's: {error}");
                }
            }
            (Setting::Directive(_) | Setting::Library(_), _) => {}
        }
    }
    let libraries = settings.iter().filter_map(|(setting, code)| match setting {
        Setting::Library(name) => Some((&**name, code.as_deref()?)),
        _ => None,
    });
    function::adopt(state, &mut Clock::new(), libraries.collect())
}
