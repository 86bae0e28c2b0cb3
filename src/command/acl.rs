//! ACL: users and what they may do.
//!
//! The rules themselves are in [`state::acl`](crate::state::acl). A change holds at once: connections of a user that is removed are
//! closed, and so are those that listen to channels their user may no longer use.

use super::error::{self, CmdError, bad_subcommand};
use super::introspect::CATEGORY_NAMES;
use super::server::{container, write_help};
use super::settings;
use super::{Command, Cx, Flags, Group, command, flag, flags, parse, permission, table};
use crate::cluster::metadata::{Setting, Settings};
use crate::config::{Caller, UserLine, acl_file, id};
use crate::error::Error;
use crate::state::State;
use crate::state::acl::catalogue::{Catalogue, Named};
use crate::state::acl::rules::{RuleError, Rules, merge_selectors};
use crate::state::acl::selector::Selector;
use crate::state::acl::{Changed, SetError, User, has_blanks};
use crate::state::clients::ClientShared;
use crate::state::pubsub::Kind;
use crate::text::number::parse_i64;
use shoal_protocol::resp::{Args, Output};
use std::collections::BTreeMap;
use std::sync::Arc;

const OPEN: Flags = flags([flag::NOSCRIPT, flag::LOADING, flag::STALE]);
const ADMIN: Flags = OPEN.or(flag::ADMIN);

const fn sub(name: &'static str, arity: i32, flags: Flags, run: super::Run) -> Command {
    command(name, arity, Group::Server, run).flags(flags)
}

/// The family's rows.
pub const COMMANDS: &[Command] = &[command("acl", -2, Group::Server, container)
    .doc("6.0.0", "", "A container for Access List Control commands.")
    .subcommands(&[
        sub("acl|cat", -2, OPEN, cat).doc(
            "6.0.0",
            "[category]",
            "Lists the ACL categories, or the commands inside a category.",
        ),
        sub("acl|deluser", -3, ADMIN, deluser)
            .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"])
            .doc("6.0.0", "username [username ...]", "Deletes ACL users, and terminates their connections."),
        sub("acl|dryrun", -4, ADMIN, dryrun).doc(
            "7.0.0",
            "username command [arg [arg ...]]",
            "Simulates the execution of a command by a user, without executing the command.",
        ),
        sub("acl|genpass", -2, OPEN, genpass).doc(
            "6.0.0",
            "[bits]",
            "Generates a pseudorandom, secure password that can be used to identify ACL users.",
        ),
        sub("acl|getuser", 3, ADMIN, getuser).doc("6.0.0", "username", "Lists the ACL rules of a user."),
        sub("acl|help", 2, flags([flag::LOADING, flag::STALE]), help).doc(
            "6.0.0",
            "",
            "Returns helpful text about the different subcommands.",
        ),
        sub("acl|list", 2, ADMIN, list).doc("6.0.0", "", "Dumps the effective rules in ACL file format."),
        sub("acl|load", 2, ADMIN, load)
            .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"])
            .doc("6.0.0", "", "Reloads the rules from the configured ACL file."),
        sub("acl|log", -2, ADMIN, log).doc(
            "6.0.0",
            "[count | RESET]",
            "Lists recent security events generated due to ACL rules.",
        ),
        sub("acl|save", 2, ADMIN, save)
            .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"])
            .doc("6.0.0", "", "Saves the effective ACL rules in the configured ACL file."),
        sub("acl|setuser", -3, ADMIN, setuser)
            .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"])
            .doc("6.0.0", "username [rule [rule ...]]", "Creates and modifies an ACL user and its rules."),
        sub("acl|users", 2, ADMIN, users).doc("6.0.0", "", "Lists all ACL users."),
        sub("acl|whoami", 2, OPEN, whoami).doc(
            "6.0.0",
            "",
            "Returns the authenticated username of the current connection.",
        ),
    ])];

/// The commands as rules name them.
pub fn catalogue() -> Catalogue {
    let named = |row: &table::Row| {
        let categories = CATEGORY_NAMES.iter().enumerate();
        let bits = categories.filter(|(_, name)| row.command.is_in_category(name)).map(|(at, _)| 1 << at);
        Named {
            name: row.command.name,
            categories: bits.sum(),
            for_all: row.command.flags.has(flag::NO_AUTH),
            subcommands: row.subcommands.len(),
        }
    };
    Catalogue::new(table::all().map(named).collect(), CATEGORY_NAMES)
}

/// Makes the users that the configuration, or the ACL file it names, speaks of. For a node that starts.
pub fn load_users(state: &State) -> Result<(), Error> {
    let lines = state.config.users();
    if let Some(path) = acl_file::path(&state.config) {
        if !lines.is_empty() {
            let text =
                "'user' lines and an 'aclfile' cannot stand together: which of them holds would be a guess";
            return Err(Error::Conflict(text.to_string()));
        }
        let text = acl_file::read(&path).map_err(|source| Error::Read { path, source })?;
        let users = parse_file(state, &text).map_err(Error::Conflict)?;
        state.acl.replace(users, all_channels(state));
        return Ok(());
    }
    let mut seen: Vec<&[u8]> = Vec::new();
    for line in lines {
        let Some((name, words)) = line.split_first() else { continue };
        let shown = String::from_utf8_lossy(name);
        let refused = |what: &str| {
            Err(Error::Conflict(format!("error in the declaration of the user '{shown}': {what}")))
        };
        if has_blanks(name) {
            return refused("names of users cannot contain blanks");
        }
        if seen.contains(&&**name) {
            return refused("Duplicate user found. A user can only be defined once in config files");
        }
        seen.push(name);
        let words = std::iter::once(&b"reset"[..]).chain(words.iter().map(Vec::as_slice));
        match state.acl.set_user(name, words, all_channels(state)) {
            Ok(user) if !user.rules().enabled => {
                tracing::info!("the user '{shown}' is disabled: there is no 'on' among its rules");
            }
            Ok(_) => {}
            Err(SetError::Rule(rule, why @ RuleError::Unknown)) => {
                return refused(&format!("{}: {}", String::from_utf8_lossy(&rule), why.text()));
            }
            // Any other rule may be a misspelt password.
            Err(SetError::Rule(_, why)) => return refused(why.text()),
            Err(SetError::OpenSelector(_)) => return refused("a parenthesis is not closed"),
        }
    }
    Ok(())
}

/// The `user` lines that make the users of now.
pub fn user_lines(state: &State) -> Vec<UserLine> {
    let words = |user: Arc<User>| {
        let rules = user.rules().describe();
        let rules = rules.split(|byte| *byte == b' ').map(<[u8]>::to_vec);
        std::iter::once(user.name.to_vec()).chain(rules).collect()
    };
    state.acl.users().into_iter().map(words).collect()
}

/// A user as all nodes of a cluster are to know it.
pub fn setting_of(user: &User) -> (Setting, Option<Vec<u8>>) {
    let rules = (!user.is_gone()).then(|| user.rules().describe());
    (Setting::User(user.name.to_vec()), rules)
}

/// The users of this node, as all nodes of its cluster are to know them: none, if nothing was ever said about any.
pub fn settings_of_users(state: &State) -> Settings {
    let users = state.acl.users();
    let untouched = Rules::of_default(state.acl.terms(all_channels(state)));
    match &*users {
        [only] if *only.rules() == untouched => Settings::new(),
        users => users.iter().map(|user| setting_of(user)).collect(),
    }
}

/// Gives a user the `rules` that the cluster says it has; none if it is to be no more.
pub fn adopt(state: &State, name: &[u8], rules: Option<&[u8]>) {
    let lost = match rules {
        Some(rules) => {
            if state.acl.user(name).is_some_and(|user| user.rules().describe() == rules) {
                return;
            }
            let words = std::iter::once(&b"reset"[..]).chain(rules.split(|byte| *byte == b' '));
            match state.acl.set_user(name, words, all_channels(state)) {
                Ok(user) => {
                    forget_void_password(state, &user);
                    lost_listeners(state, &user)
                }
                Err(error) => {
                    let name = String::from_utf8_lossy(name);
                    return tracing::warn!(
                        "the cluster's rules of the user {name} cannot be this node's: {error:?}"
                    );
                }
            }
        }
        None => state.acl.remove(name).map_or_else(Vec::new, |user| connections_of(state, &user)),
    };
    lost.iter().for_each(|client| state.clients.kill(client));
}

/// Nodes tell each other digests of passwords only. So `requirepass` here is what was set here, or nothing once that is no password any
/// more: it must not be told, nor written into a file.
fn forget_void_password(state: &State, user: &Arc<User>) {
    let password = state.config.text(id::REQUIREPASS);
    let is_default = Arc::ptr_eq(user, state.acl.default_user());
    if is_default
        && !password.is_empty()
        && (user.rules().no_password || !user.rules().admits(password.as_bytes()))
    {
        let caller = Caller { local: true, loading: false };
        if let Err(error) = state.config.change(&[(b"requirepass", b"")], caller) {
            tracing::warn!("cannot forget a password that holds no more: {error}");
        }
    }
}

fn all_channels(state: &State) -> bool {
    state.config.choice(id::ACL_PUBSUB_DEFAULT) == "allchannels"
}

/// ACL SETUSER username [rule [rule ...]]
fn setuser(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    if has_blanks(&args[2]) {
        return Err(CmdError::new("ERR Usernames can't contain spaces or null characters"));
    }
    let set = cx.state.acl.set_user(&args[2], args.from(3).iter(), all_channels(cx.state));
    let user = set.map_err(|error| match error {
        SetError::OpenSelector(start) => {
            let start = String::from_utf8_lossy(&start).into_owned();
            CmdError::with(format!("ERR Unmatched parenthesis in acl selector starting at '{start}'."))
        }
        SetError::Rule(rule, why) => {
            let rule = String::from_utf8_lossy(&rule).into_owned();
            CmdError::with(format!("ERR Error in ACL SETUSER modifier '{rule}': {}", why.text()))
        }
    })?;
    end_lost_subscriptions(cx, &user);
    settings::agree(cx, vec![setting_of(&user)]);
    cx.out.ok();
    Ok(())
}

/// ACL DELUSER username [username ...]
fn deluser(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    if args.from(2).iter().any(|name| name == crate::state::acl::DEFAULT) {
        return Err(CmdError::new("ERR The 'default' user cannot be removed"));
    }
    let mut gone = Settings::new();
    for name in args.from(2) {
        if let Some(user) = cx.state.acl.remove(name) {
            end_connections(cx, &user);
            gone.push(setting_of(&user));
        }
    }
    cx.out.int(gone.len() as i64);
    settings::agree(cx, gone);
    Ok(())
}

/// Closes a connection; the present one after its reply.
fn end(cx: &mut Cx, client: &ClientShared) {
    if client.id == cx.client.shared.id {
        cx.client.closing = true;
    } else {
        cx.state.clients.kill(client);
    }
}

/// Closes the connections of a user that was removed.
fn end_connections(cx: &mut Cx, user: &User) {
    connections_of(cx.state, user).iter().for_each(|client| end(cx, client));
}

fn connections_of(state: &State, user: &User) -> Vec<Arc<ClientShared>> {
    state.clients.all().into_iter().filter(|client| *client.labels.lock().user == *user.name).collect()
}

/// Closes the connections that listen to what their user may no longer listen to.
fn end_lost_subscriptions(cx: &mut Cx, user: &User) {
    lost_listeners(cx.state, user).iter().for_each(|client| end(cx, client));
}

fn lost_listeners(state: &State, user: &User) -> Vec<Arc<ClientShared>> {
    if state.pubsub.is_empty() || user.is_free() {
        return Vec::new();
    }
    let rules = user.rules();
    let mut lost: BTreeMap<u64, Arc<ClientShared>> = BTreeMap::new();
    state.pubsub.each(|kind, name, clients| {
        if !rules.may_use_channel(name, kind == Kind::Pattern) {
            let of_user = clients.iter().filter(|client| *client.labels.lock().user == *user.name);
            lost.extend(of_user.map(|client| (client.id, Arc::clone(client))));
        }
    });
    lost.into_values().collect()
}

/// ACL GETUSER username
fn getuser(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let Some(user) = cx.state.acl.user(&args[2]) else {
        cx.out.null();
        return Ok(());
    };
    let (rules, out) = (user.rules(), &mut *cx.out);
    out.map(7);
    out.bulk(b"flags");
    let flags = rules.flags();
    out.set(flags.len());
    flags.iter().for_each(|flag| out.bulk(flag.as_bytes()));
    out.bulk(b"passwords");
    out.array(rules.passwords.len());
    rules.passwords.iter().for_each(|digest| out.bulk(digest.as_bytes()));
    let (first, others) = rules.selectors.split_first().expect("rules have one selector at least");
    write_selector(out, first);
    out.bulk(b"selectors");
    out.array(others.len());
    for selector in others {
        out.map(4);
        write_selector(out, selector);
        write_databases(out, selector);
    }
    // Last, as some clients take the others by their places.
    write_databases(out, first);
    Ok(())
}

fn write_databases(out: &mut Output, selector: &Selector) {
    out.bulk(b"databases");
    out.bulk(selector.describe_databases().as_bytes());
}

fn write_selector(out: &mut Output, selector: &Selector) {
    out.bulk(b"commands");
    out.bulk(&selector.describe_commands());
    out.bulk(b"keys");
    out.bulk(&selector.describe_keys());
    out.bulk(b"channels");
    out.bulk(&selector.describe_channels());
}

/// ACL LIST
fn list(cx: &mut Cx, _: Args) -> Result<(), CmdError> {
    let users = cx.state.acl.users();
    cx.out.array(users.len());
    users.iter().for_each(|user| cx.out.bulk(&line(user)));
    Ok(())
}

/// A user as a line of an ACL file, without the line end.
fn line(user: &User) -> Vec<u8> {
    [b"user ", &*user.name, b" ", &user.rules().describe()].concat()
}

/// ACL USERS
fn users(cx: &mut Cx, _: Args) -> Result<(), CmdError> {
    let users = cx.state.acl.users();
    cx.out.array(users.len());
    users.iter().for_each(|user| cx.out.bulk(&user.name));
    Ok(())
}

/// ACL WHOAMI
fn whoami(cx: &mut Cx, _: Args) -> Result<(), CmdError> {
    cx.out.bulk(&cx.client.user.name);
    Ok(())
}

/// ACL CAT [category]
fn cat(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let catalogue = &cx.state.acl.catalogue;
    match args.get(2) {
        _ if args.len() > 3 => return Err(bad_subcommand("ACL", &args[1])),
        None => {
            cx.out.array(catalogue.categories().len());
            catalogue.categories().iter().for_each(|name| cx.out.bulk(name.as_bytes()));
        }
        Some(name) => {
            let shown = String::from_utf8_lossy(&name[..name.len().min(128)]);
            let category = std::str::from_utf8(name).ok().and_then(|name| catalogue.category(name));
            let Some(category) = category else {
                return Err(CmdError::with(format!("ERR Unknown category '{shown}'")));
            };
            cx.out.array(catalogue.members(category).count());
            for number in catalogue.members(category) {
                cx.out.bulk(catalogue.command(number).name.as_bytes());
            }
        }
    }
    Ok(())
}

/// The longest password ACL GENPASS makes.
const MOST_BITS: usize = 4096;

/// ACL GENPASS [bits]
fn genpass(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    if args.len() > 3 {
        return Err(bad_subcommand("ACL", &args[1]));
    }
    let bits = args.get(2).map_or(Ok(256), parse::int)?;
    let bits = usize::try_from(bits).ok().filter(|bits| (1..=MOST_BITS).contains(bits));
    let bits = bits.ok_or(CmdError::new(
        "ERR ACL GENPASS argument must be the number of bits for the output password, a positive number up to 4096",
    ))?;
    let mut bytes = [0; MOST_BITS / 8];
    let digits = bits.div_ceil(4);
    let bytes = &mut bytes[..digits.div_ceil(2)];
    if getrandom::fill(bytes).is_err() {
        return Err(CmdError::new("ERR The system has no random numbers to give"));
    }
    let mut password: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    password.truncate(digits);
    cx.out.bulk(password.as_bytes());
    Ok(())
}

/// ACL LOG [count | RESET]
fn log(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let log = &cx.state.acl.log;
    let most = match args.get(2) {
        _ if args.len() > 3 => return Err(bad_subcommand("ACL", &args[1])),
        None => 10,
        Some(word) if parse::is(word, "reset") => {
            log.clear();
            cx.out.ok();
            return Ok(());
        }
        Some(count) => parse_i64(count).ok_or(error::NOT_AN_INTEGER)?,
    };
    let entries = log.latest(usize::try_from(most).unwrap_or(0));
    let now_ms = crate::state::unix_ms();
    let out = &mut *cx.out;
    out.array(entries.len());
    for entry in entries {
        out.map(10);
        out.bulk(b"count");
        out.int(entry.count as i64);
        out.bulk(b"reason");
        out.bulk(entry.refusal.reason.word().as_bytes());
        out.bulk(b"context");
        out.bulk(entry.refusal.context.as_bytes());
        out.bulk(b"object");
        out.bulk(&entry.refusal.object);
        out.bulk(b"username");
        out.bulk(&entry.refusal.user);
        out.bulk(b"age-seconds");
        out.double((now_ms - entry.updated_ms) as f64 / 1000.0);
        out.bulk(b"client-info");
        out.bulk(entry.client.as_bytes());
        out.bulk(b"entry-id");
        out.int(entry.id as i64);
        out.bulk(b"timestamp-created");
        out.int(entry.created_ms);
        out.bulk(b"timestamp-last-updated");
        out.int(entry.updated_ms);
    }
    Ok(())
}

/// ACL DRYRUN username command [arg [arg ...]]
fn dryrun(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let shown = |arg: &[u8]| String::from_utf8_lossy(arg).into_owned();
    let Some(user) = cx.state.acl.user(&args[2]) else {
        return Err(CmdError::with(format!("ERR User '{}' not found", shown(&args[2]))));
    };
    let request = args.from(3);
    let Some(row) = table::find_any_count(request) else {
        return Err(CmdError::with(format!("ERR Command '{}' not found", shown(&args[3]))));
    };
    if !row.command.takes(request.len()) {
        return Err(error::wrong_arity(row.command.name));
    }
    match permission::check(cx.state, &user, cx.client.present_db(), row, request) {
        Ok(()) => cx.out.ok(),
        Err(denied) => {
            cx.out.bulk(permission::message(&user, row, request, denied, true).as_bytes());
        }
    }
    Ok(())
}

const NO_FILE: CmdError = CmdError::new(
    "ERR This Redis instance is not configured to use an ACL file. You may want to specify users via the ACL SETUSER command and \
     then issue a CONFIG REWRITE (assuming you have a Redis configuration file set) in order to store users in the Redis \
     configuration.",
);

/// ACL LOAD
fn load(cx: &mut Cx, _: Args) -> Result<(), CmdError> {
    let path = acl_file::path(&cx.state.config).ok_or(NO_FILE)?;
    let text = acl_file::read(&path).map_err(|error| {
        CmdError::with(format!("ERR Error loading ACLs, opening file '{}': {error}", path.display()))
    })?;
    let users = parse_file(cx.state, &text).map_err(|errors| CmdError::with(format!("ERR {errors}")))?;
    let Changed { gone, changed } = cx.state.acl.replace(users, all_channels(cx.state));
    gone.iter().for_each(|user| end_connections(cx, user));
    changed.iter().for_each(|user| end_lost_subscriptions(cx, user));
    // Those just made are among the users of now, those that are gone are not.
    let mut all: Settings = cx.state.acl.users().iter().map(|user| setting_of(user)).collect();
    all.extend(gone.iter().map(|user| setting_of(user)));
    settings::agree(cx, all);
    cx.out.ok();
    Ok(())
}

/// The users of an ACL file, or all that is wrong with it.
fn parse_file(state: &State, text: &[u8]) -> Result<BTreeMap<Box<[u8]>, Rules>, String> {
    let file = state.config.text(id::ACLFILE);
    let terms = state.acl.terms(all_channels(state));
    let mut users: BTreeMap<Box<[u8]>, Rules> = BTreeMap::new();
    let mut errors = String::new();
    for (number, line) in text.split(|byte| *byte == b'\n').enumerate() {
        let mut wrong = |what: String| errors.push_str(&what);
        let place = format!("{file}:{}", number + 1);
        let mut words = line.trim_ascii().split(|byte| *byte == b' ').filter(|word| !word.is_empty());
        let Some(first) = words.next() else { continue };
        let Some(name) = words.next().filter(|_| first == b"user") else {
            wrong(format!("{place} should start with user keyword followed by the username. "));
            continue;
        };
        let shown = String::from_utf8_lossy(name);
        if has_blanks(name) {
            wrong(format!("'{place}: username '{shown}' contains invalid characters. "));
            continue;
        }
        if users.contains_key(name) {
            wrong(format!("WARNING: Duplicate user '{shown}' found on line {}. ", number + 1));
            continue;
        }
        let mut rules = Rules::new(terms);
        match merge_selectors(words.map(<[u8]>::trim_ascii)) {
            Err(_) => wrong(format!("{place}: Unmatched parenthesis in selector definition.")),
            Ok(words) => {
                let mut told = false;
                for word in words {
                    match rules.apply(terms, &word) {
                        Ok(()) => {}
                        // It cannot hold a secret.
                        Err(why @ RuleError::Unknown) => {
                            let word = String::from_utf8_lossy(&word);
                            let what = why.text();
                            wrong(format!("{place}: Error in applying operation '{word}': {what}. "));
                        }
                        // What is wrong first may be the cause of the rest.
                        Err(why) if !std::mem::replace(&mut told, true) => {
                            wrong(format!("{place}: {}. ", why.text()));
                        }
                        Err(_) => {}
                    }
                }
            }
        }
        users.insert(name.into(), rules);
    }
    if errors.is_empty() {
        return Ok(users);
    }
    errors
        .push_str("WARNING: ACL errors detected, no change to the previously active ACL rules was performed");
    Err(errors)
}

/// ACL SAVE
fn save(cx: &mut Cx, _: Args) -> Result<(), CmdError> {
    if acl_file::path(&cx.state.config).is_none() {
        return Err(NO_FILE);
    }
    let mut text = Vec::new();
    for user in cx.state.acl.users() {
        text.extend_from_slice(&line(&user));
        text.push(b'\n');
    }
    if let Err(error) = acl_file::write(&cx.state.config, &text) {
        tracing::warn!(%error, "cannot write the ACL file");
        return Err(CmdError::new(
            "ERR There was an error trying to save the ACLs. Please check the server logs for more information",
        ));
    }
    cx.out.ok();
    Ok(())
}

/// ACL HELP
fn help(cx: &mut Cx, _: Args) -> Result<(), CmdError> {
    write_help(
        cx.out,
        "ACL",
        &[
            "CAT [<category>]",
            "    List all commands that belong to <category>, or all command categories",
            "    when no category is specified.",
            "DELUSER <username> [<username> ...]",
            "    Delete a list of users.",
            "DRYRUN <username> <command> [<arg> ...]",
            "    Returns whether the user can execute the given command without executing the command.",
            "GETUSER <username>",
            "    Get the user's details.",
            "GENPASS [<bits>]",
            "    Generate a secure 256-bit user password. The optional `bits` argument can",
            "    be used to specify a different size.",
            "LIST",
            "    Show users details in config file format.",
            "LOAD",
            "    Reload users from the ACL file.",
            "LOG [<count> | RESET]",
            "    Show the ACL log entries.",
            "SAVE",
            "    Save the current config to the ACL file.",
            "SETUSER <username> <attribute> [<attribute> ...]",
            "    Create or modify a user with the specified attributes.",
            "USERS",
            "    List all the registered usernames.",
            "WHOAMI",
            "    Return the current connection username.",
        ],
    );
    Ok(())
}
