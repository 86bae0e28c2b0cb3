//! Publish/subscribe: channels, patterns, shard channels.

use super::client::{Client, Waiting};
use super::error::{self, CmdError};
use super::spec::{self, KeySpec};
use super::{Command, Cx, Flags, Group, command, flag, flags};
use crate::state::State;
use crate::state::pubsub::Kind;
use shoal_protocol::resp::{Args, Output};

const SUBSCRIBE: Flags = flags([flag::PUBSUB, flag::NOSCRIPT, flag::LOADING, flag::STALE]);
const PUBLISH: Flags = flags([flag::PUBSUB, flag::LOADING, flag::STALE, flag::FAST, flag::MAY_REPLICATE]);
const INSPECT: Flags = flags([flag::PUBSUB, flag::LOADING, flag::STALE]);

/// Shard channels lie in slots, as keys do, but are none.
const SHARD: &[KeySpec] = spec::NOT_KEYS;
const SHARDS: &[KeySpec] = spec::NOT_KEYS_ALL;

/// The family's rows.
pub const COMMANDS: &[Command] = &[
    command("psubscribe", -2, Group::PubSub, psubscribe).flags(SUBSCRIBE).doc(
        "2.0.0",
        "pattern [pattern ...]",
        "Listens for messages published to channels that match one or more patterns.",
    ),
    command("publish", 3, Group::PubSub, publish).flags(PUBLISH).doc(
        "2.0.0",
        "channel message",
        "Posts a message to a channel.",
    ),
    command("pubsub", -2, Group::PubSub, pubsub)
        .doc("2.8.0", "", "A container for Pub/Sub commands.")
        .subcommands(&[
            command("pubsub|channels", -2, Group::PubSub, pubsub_channels).flags(INSPECT).doc(
                "2.8.0",
                "[pattern]",
                "Returns the active channels.",
            ),
            command("pubsub|help", 2, Group::PubSub, pubsub_help)
                .flags(flags([flag::LOADING, flag::STALE]))
                .doc("6.2.0", "", "Returns helpful text about the different subcommands."),
            command("pubsub|numpat", 2, Group::PubSub, pubsub_numpat).flags(INSPECT).doc(
                "2.8.0",
                "",
                "Returns a count of unique pattern subscriptions.",
            ),
            command("pubsub|numsub", -2, Group::PubSub, pubsub_numsub).flags(INSPECT).doc(
                "2.8.0",
                "[channel [channel ...]]",
                "Returns a count of subscribers to channels.",
            ),
            command("pubsub|shardchannels", -2, Group::PubSub, pubsub_channels).flags(INSPECT).doc(
                "7.0.0",
                "[pattern]",
                "Returns the active shard channels.",
            ),
            command("pubsub|shardnumsub", -2, Group::PubSub, pubsub_numsub).flags(INSPECT).doc(
                "7.0.0",
                "[shardchannel [shardchannel ...]]",
                "Returns the count of subscribers of shard channels.",
            ),
        ]),
    command("punsubscribe", -1, Group::PubSub, punsubscribe).flags(SUBSCRIBE).doc(
        "2.0.0",
        "[pattern [pattern ...]]",
        "Stops listening to messages published to channels that match one or more patterns.",
    ),
    command("spublish", 3, Group::PubSub, spublish).flags(PUBLISH).keys(SHARD).doc(
        "7.0.0",
        "shardchannel message",
        "Post a message to a shard channel.",
    ),
    command("ssubscribe", -2, Group::PubSub, ssubscribe).flags(SUBSCRIBE).keys(SHARDS).doc(
        "7.0.0",
        "shardchannel [shardchannel ...]",
        "Listens for messages published to shard channels.",
    ),
    command("subscribe", -2, Group::PubSub, subscribe).flags(SUBSCRIBE).doc(
        "2.0.0",
        "channel [channel ...]",
        "Listens for messages published to channels.",
    ),
    command("sunsubscribe", -1, Group::PubSub, sunsubscribe).flags(SUBSCRIBE).keys(SHARDS).doc(
        "7.0.0",
        "[shardchannel [shardchannel ...]]",
        "Stops listening to messages posted to shard channels.",
    ),
    command("unsubscribe", -1, Group::PubSub, unsubscribe).flags(SUBSCRIBE).doc(
        "2.0.0",
        "[channel [channel ...]]",
        "Stops listening to messages posted to channels.",
    ),
];

/// Whether a subscribed RESP2 connection may run a command: anything else could not be told from a message.
pub fn allowed_while_subscribed(command: &Command) -> bool {
    command.name.ends_with("subscribe") || matches!(command.name, "ping" | "quit" | "reset")
}

/// Whether a command answers by messages, which reach clients that want no replies.
pub fn answers_by_messages(command: &Command) -> bool {
    command.name.ends_with("subscribe")
}

/// The refusal of any other command.
pub fn not_while_subscribed(command: &Command) -> CmdError {
    let name = command.name;
    CmdError::with(format!(
        "ERR Can't execute '{name}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context"
    ))
}

/// SUBSCRIBE channel [channel ...]
fn subscribe(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    enter(cx, Kind::Channel, args)
}

/// PSUBSCRIBE pattern [pattern ...]
fn psubscribe(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    enter(cx, Kind::Pattern, args)
}

/// SSUBSCRIBE shardchannel [shardchannel ...]
fn ssubscribe(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    enter(cx, Kind::Shard, args)
}

/// UNSUBSCRIBE [channel [channel ...]]
fn unsubscribe(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    leave(cx, Kind::Channel, args)
}

/// PUNSUBSCRIBE [pattern [pattern ...]]
fn punsubscribe(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    leave(cx, Kind::Pattern, args)
}

/// SUNSUBSCRIBE [shardchannel [shardchannel ...]]
fn sunsubscribe(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    leave(cx, Kind::Shard, args)
}

/// PUBLISH channel message
fn publish(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    if is_alone(cx) {
        cx.state.ears.tell_message(&args[1], &args[2], false);
    }
    cx.out.int(cx.state.pubsub.publish(&args[1], &args[2]) as i64);
    Ok(())
}

/// SPUBLISH shardchannel message
fn spublish(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    if is_alone(cx) {
        cx.state.ears.tell_message(&args[1], &args[2], true);
    }
    cx.out.int(cx.state.pubsub.publish_shard(&args[1], &args[2]) as i64);
    Ok(())
}

/// Whether a message is published at this node only, which has to tell others: in a script or a transaction it is not asked of all.
fn is_alone(cx: &Cx) -> bool {
    cx.state.cluster.is_on() && (cx.client.in_script || cx.client.waiting == Waiting::Denied)
}

/// The word in confirmations, what is counted in them.
fn words(kind: Kind) -> (&'static str, &'static str) {
    match kind {
        Kind::Channel => ("subscribe", "unsubscribe"),
        Kind::Pattern => ("psubscribe", "punsubscribe"),
        Kind::Shard => ("ssubscribe", "sunsubscribe"),
    }
}

fn enter(cx: &mut Cx, kind: Kind, args: Args) -> Result<(), CmdError> {
    for name in args.from(1) {
        if cx.client.subscriptions.insert(kind, name) {
            cx.state.pubsub.subscribe(kind, name, &cx.client.shared);
        }
        confirm(cx.out, words(kind).0, Some(name), cx.client.subscriptions.counted_with(kind));
    }
    cx.client.note_subscriptions();
    cx.client.note_interest(cx.state);
    Ok(())
}

fn leave(cx: &mut Cx, kind: Kind, args: Args) -> Result<(), CmdError> {
    let word = words(kind).1;
    if args.len() > 1 {
        for name in args.from(1) {
            if cx.client.subscriptions.remove(kind, name) {
                cx.state.pubsub.unsubscribe(kind, name, &cx.client.shared);
            }
            confirm(cx.out, word, Some(name), cx.client.subscriptions.counted_with(kind));
        }
    } else {
        let names = cx.client.subscriptions.take(kind);
        let others = cx.client.subscriptions.counted_with(kind);
        for (at, name) in names.iter().enumerate() {
            cx.state.pubsub.unsubscribe(kind, name, &cx.client.shared);
            confirm(cx.out, word, Some(name), others + names.len() - at - 1);
        }
        if names.is_empty() {
            confirm(cx.out, word, None, others);
        }
    }
    cx.client.note_subscriptions();
    cx.client.note_interest(cx.state);
    Ok(())
}

fn confirm(out: &mut Output, word: &str, name: Option<&[u8]>, count: usize) {
    out.push(3);
    out.bulk(word.as_bytes());
    match name {
        Some(name) => out.bulk(name),
        None => out.null(),
    }
    out.int(count as i64);
}

/// Ends all subscriptions of a connection, saying nothing.
pub fn leave_all(state: &State, client: &mut Client) {
    for kind in [Kind::Channel, Kind::Pattern, Kind::Shard] {
        for name in client.subscriptions.take(kind) {
            state.pubsub.unsubscribe(kind, &name, &client.shared);
        }
    }
    client.note_subscriptions();
    client.note_interest(state);
}

/// Which of the two kinds of channels a PUBSUB subcommand is about.
fn kind_asked(cx: &Cx) -> Kind {
    if cx.command.name.starts_with("pubsub|shard") { Kind::Shard } else { Kind::Channel }
}

/// PUBSUB
fn pubsub(cx: &mut Cx, _: Args) -> Result<(), CmdError> {
    Err(error::wrong_arity(cx.command.name))
}

/// PUBSUB CHANNELS [pattern], PUBSUB SHARDCHANNELS [pattern]
fn pubsub_channels(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    if args.len() > 3 {
        return Err(error::bad_subcommand("PUBSUB", &args[1]));
    }
    let names = cx.state.pubsub.names(kind_asked(cx), args.get(2));
    cx.out.array(names.len());
    names.iter().for_each(|name| cx.out.bulk(name));
    Ok(())
}

/// PUBSUB NUMSUB [channel [channel ...]], PUBSUB SHARDNUMSUB [shardchannel [shardchannel ...]]
fn pubsub_numsub(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let kind = kind_asked(cx);
    cx.out.array((args.len() - 2) * 2);
    for name in args.from(2) {
        cx.out.bulk(name);
        cx.out.int(cx.state.pubsub.listeners(kind, name) as i64);
    }
    Ok(())
}

/// PUBSUB NUMPAT
fn pubsub_numpat(cx: &mut Cx, _: Args) -> Result<(), CmdError> {
    cx.out.int(cx.state.pubsub.len(Kind::Pattern) as i64);
    Ok(())
}

/// PUBSUB HELP
fn pubsub_help(cx: &mut Cx, _: Args) -> Result<(), CmdError> {
    super::reply_help(
        cx.out,
        "PUBSUB",
        &[
            "CHANNELS [<pattern>]",
            "    Return the currently active channels matching a <pattern> (default: '*').",
            "NUMPAT",
            "    Return number of subscriptions to patterns.",
            "NUMSUB [<channel> ...]",
            "    Return the number of subscribers for the specified channels, excluding",
            "    pattern subscriptions(default: no channels).",
            "SHARDCHANNELS [<pattern>]",
            "    Return the currently active shard level channels matching a <pattern> (default: '*').",
            "SHARDNUMSUB [<shardchannel> ...]",
            "    Return the number of subscribers for the specified shard level channel(s)",
        ],
    );
    Ok(())
}

/// PING's answer to a subscribed RESP2 connection, which can only take it as a message.
pub fn pong(out: &mut Output, text: &[u8]) {
    out.array(2);
    out.bulk(b"pong");
    out.bulk(text);
}
