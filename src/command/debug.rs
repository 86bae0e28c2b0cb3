//! DEBUG: what tests and people hunting a fault need. `enable-debug-command` says who may use it.
//!
//! Subcommands that crash, restart or corrupt a server are left out. There are no files, so those about the append-only one do nothing,
//! and RELOAD reads every value from the form in which it would have been written.

use super::client::Client;
use super::error::{self, CmdError};
use super::server::write_help;
use super::{Command, Cx, Group, command, flag, flags, parse};
use crate::config::id;
use crate::state::State;
use crate::state::access::AccessClock;
use crate::state::partition::partition_of;
use crate::store::digest::Digest;
use crate::store::entry::{Entry, Extras, Payload, ValueRef};
use crate::store::hash::hash;
use crate::store::rdb::{self, Leniency, Value};
use crate::store::table::Keyed;
use crate::store::value::Object;
use crate::text::number::{parse_f64, parse_memory};
use shoal_protocol::resp::{Args, Proto};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// The family's rows.
pub const COMMANDS: &[Command] = &[command("debug", -2, Group::Server, debug)
    .flags(flags([flag::ADMIN, flag::NOSCRIPT, flag::LOADING, flag::STALE, flag::WHOLE]))
    .doc("1.0.0", "subcommand [arg [arg ...]]", "A container for debugging commands.")];

const NOT_ALLOWED: CmdError = CmdError::new(
    "ERR DEBUG command not allowed. If the enable-debug-command option is set to \"local\", you can run it from \
     a local connection, otherwise you need to set this option in the configuration file, and then restart the \
     server.",
);

/// Whether a client may use what is there to test servers with.
pub fn is_allowed(state: &State, client: &Client) -> bool {
    match state.config.choice(id::ENABLE_DEBUG_COMMAND) {
        "local" => client.is_local(),
        choice => choice == "yes",
    }
}

/// DEBUG subcommand [arg ...]
fn debug(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    if !is_allowed(cx.state, cx.client) {
        return Err(NOT_ALLOWED);
    }
    let name = String::from_utf8_lossy(&args[1]).to_ascii_lowercase();
    match (&*name, args.len()) {
        ("digest", 2) => return digest(cx),
        ("digest-value", 3..) => return digest_value(cx, args),
        ("error", 3) => return Err(CmdError::with(String::from_utf8_lossy(&args[2]).into_owned())),
        ("help", 2) => return help(cx),
        ("htstats", 3..=4) => return htstats(cx, args),
        ("htstats-key", 3..=4) => return htstats_key(cx, args),
        ("object", 3..=4) => return object(cx, args),
        ("protocol", 3) => return protocol(cx, args),
        ("client-eviction", 2) => return client_eviction(cx),
        ("config-rewrite-force-all", 2) => rewrite(cx)?,
        ("log", 3) => tracing::warn!("DEBUG LOG: {}", String::from_utf8_lossy(&args[2])),
        ("pause-cron", 3) => {
            cx.state.housekeeping_paused.store(number(&args[2]) != 0, Ordering::Relaxed);
        }
        ("populate", 3..=5) => populate(cx, args)?,
        ("quicklist-packed-threshold", 3) => packed_threshold(&args[2])?,
        ("reload", 2..) => reload(cx, args)?,
        ("replybuffer", 4) => check_replybuffer(args)?,
        ("set-active-expire", 3) => {
            cx.state.active_expire.store(number(&args[2]) != 0, Ordering::Relaxed);
        }
        ("set-skip-checksum-validation", 3) => {
            cx.state.skip_checksums.store(number(&args[2]) != 0, Ordering::Relaxed);
        }
        ("set-disable-deny-scripts", 3) => cx.state.scripts.allow_all(number(&args[2]) != 0),
        ("sleep", 3) => sleep(&args[2]),
        ("change-repl-id" | "loadaof", 2)
        | ("aof-flush-sleep" | "client-enforce-reply-list" | "dict-resizing", 3)
        | ("drop-cluster-packet-filter" | "stringmatch-test", 3) => {}
        _ => return Err(error::bad_subcommand("DEBUG", &args[1])),
    }
    cx.out.ok();
    Ok(())
}

/// An argument as C's `atoi` reads it.
fn number(arg: &[u8]) -> i64 {
    parse::int(arg).unwrap_or(0)
}

/// DEBUG SLEEP seconds. Stops this connection's worker, as a slow command would.
fn sleep(seconds: &[u8]) {
    if let Ok(duration) = Duration::try_from_secs_f64(parse_f64(seconds).unwrap_or(0.0)) {
        std::thread::sleep(duration);
    }
}

/// DEBUG RELOAD [MERGE | NOFLUSH | NOSAVE ...]
///
/// NOSAVE would read what was saved last, which nothing was: what is there is kept.
fn reload(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let has = |word: &str| args.from(2).iter().any(|arg| parse::is(arg, word));
    let known = |arg: &[u8]| ["merge", "noflush", "nosave"].iter().any(|word| parse::is(arg, word));
    if !args.from(2).iter().all(known) {
        return Err(CmdError::new("ERR DEBUG RELOAD only supports the MERGE, NOFLUSH and NOSAVE options."));
    }
    if has("noflush") && !has("merge") {
        let mut keys = 0;
        cx.keys.each_partition(|_, partition| keys += partition.dbs.iter().map(|db| db.len()).sum::<usize>());
        if keys > 0 || cx.state.scripts.functions().as_ref().is_some_and(|all| !all.all().is_empty()) {
            return Err(CmdError::new("ERR Error trying to load the RDB dump, check server logs."));
        }
    }
    let (limits, now_ms) = (super::dump::limits(cx.state), cx.keys.now_ms);
    cx.keys.each_partition(|_, partition| {
        for db in &mut partition.dbs {
            let objects = db.iter().filter(|entry| matches!(entry.value(), ValueRef::Object(_)));
            let keys: Vec<Box<[u8]>> = objects.map(|entry| entry.key().into()).collect();
            for key in keys {
                let h = hash(&key);
                let Some(entry) = db.find_mut(h, &key) else { continue };
                let (before, dump) = (entry.field_expiry(), rdb::dump(entry.value()));
                if let Ok(Value::Object(read)) = rdb::restore(&dump, &limits, Leniency::default())
                    && let Some(object) = entry.object_mut()
                    && !read.is_empty()
                {
                    *object = read;
                    let after = entry.field_expiry();
                    db.index_fields(h, before, after, now_ms);
                }
            }
        }
    });
    Ok(())
}

/// DEBUG REPLYBUFFER PEAK-RESET-TIME time | RESIZING 0 | 1: buffers here are not resized by a clock.
fn check_replybuffer(args: Args) -> Result<(), CmdError> {
    let arg = &args[3];
    if parse::is(&args[2], "peak-reset-time") {
        if !parse::is(arg, "never") && !parse::is(arg, "reset") {
            parse::int(arg)?;
        }
        return Ok(());
    }
    if parse::is(&args[2], "resizing") { Ok(()) } else { Err(error::bad_subcommand("DEBUG", &args[1])) }
}

/// DEBUG QUICKLIST-PACKED-THRESHOLD size: lists here have another threshold of their own.
fn packed_threshold(size: &[u8]) -> Result<(), CmdError> {
    match parse_memory(size) {
        Some(bytes) if bytes <= 4 << 30 => Ok(()),
        _ => Err(CmdError::new("ERR argument must be a memory value bigger than 1 and smaller than 4gb")),
    }
}

fn rewrite(cx: &mut Cx) -> Result<(), CmdError> {
    let failed = |error| {
        let cause = crate::error::chain(&error);
        CmdError::with(format!("ERR CONFIG-REWRITE-FORCE-ALL failed: {cause}"))
    };
    cx.state.config.rewrite(None).map_err(failed)
}

/// Runs `look` on the entry of `key`, if there is one, be it past its time.
fn with_entry<R>(cx: &mut Cx, key: &[u8], look: impl FnOnce(&Entry) -> R) -> Option<R> {
    let db = cx.keys.db;
    cx.keys.with_partition(partition_of(key), |partition| partition.dbs[db].find(hash(key), key).map(look))
}

/// DEBUG OBJECT key [FAST]
fn object(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let fast = args.get(3).is_some_and(|word| parse::is(word, "fast"));
    let listpack_max = cx.state.config.int(id::LIST_MAX_LISTPACK_SIZE);
    let (depth, now_ms) = (cx.state.config.int(id::LIST_COMPRESS_DEPTH), cx.keys.now_ms);
    let text = with_entry(cx, &args[2], |entry| {
        let value = entry.value();
        let serialized = if fast {
            0
        } else {
            let mut bytes = Vec::new();
            rdb::append_value(value, true, &mut bytes);
            bytes.len() - 1
        };
        let mut text = format!(
            "Value at:{entry:p} refcount:1 encoding:{} serializedlength:{serialized} lru:{} lru_seconds_idle:{}",
            entry.encoding(),
            entry.clock(),
            AccessClock::idle_seconds(entry.clock(), now_ms),
        );
        if let ValueRef::Object(Object::List(list)) = value
            && list.encoding() == "quicklist"
        {
            let nodes = list.packs().count();
            let bytes: usize = list.packs().map(|pack| pack.byte_len()).sum();
            text.push_str(&format!(
                " ql_nodes:{nodes} ql_avg_node:{:.2} ql_listpack_max:{listpack_max} ql_compressed:{} \
                 ql_uncompressed_size:{bytes}",
                list.len() as f64 / nodes.max(1) as f64,
                i64::from(depth != 0),
            ));
        }
        text
    });
    cx.out.simple(text.ok_or(error::NO_SUCH_KEY)?);
    Ok(())
}

/// DEBUG DIGEST
fn digest(cx: &mut Cx) -> Result<(), CmdError> {
    let databases = cx.state.keyspace.databases();
    let mut sums = vec![(Digest::default(), false); databases];
    cx.keys.each_partition(|_, partition| {
        for ((sum, any), db) in sums.iter_mut().zip(&partition.dbs) {
            for entry in db.iter() {
                sum.join_entry(entry);
                *any = true;
            }
        }
    });
    let mut whole = Digest::default();
    for (db, (sum, any)) in sums.into_iter().enumerate() {
        if any {
            whole.mix_db(db);
            whole.add(sum);
        }
    }
    cx.out.simple(whole.to_string());
    Ok(())
}

/// DEBUG DIGEST-VALUE key [key ...]
fn digest_value(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    cx.out.array(args.len() - 2);
    for key in args.from(2) {
        let now_ms = cx.keys.now_ms;
        let of = |entry: &Entry| (!entry.is_expired(now_ms)).then(|| Digest::of_value(entry));
        let digest = with_entry(cx, key, of).flatten().unwrap_or_default();
        cx.out.simple(digest.to_string());
    }
    Ok(())
}

/// DEBUG HTSTATS db [FULL]
fn htstats(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let db = parse::int(&args[2])?;
    let db = usize::try_from(db).ok().filter(|db| *db < cx.state.keyspace.databases());
    let db = db.ok_or(CmdError::new("ERR Out of range database"))?;
    let (mut keys, mut places, mut volatile, mut records) = (0, 0, 0, 0);
    cx.keys.each_partition(|_, partition| {
        keys += partition.dbs[db].len();
        places += partition.dbs[db].places();
        volatile += partition.dbs[db].volatile_len();
        records += partition.dbs[db].expiry_records();
    });
    let text = format!(
        "[Dictionary HT]\n{}[Expires HT]\n{}",
        table_stats(places, keys),
        table_stats(records, volatile)
    );
    cx.out.verbatim(*b"txt", text.as_bytes());
    Ok(())
}

/// A table's figures in the words that tests look for. Tables here grow in place, so none is ever rehashed into another.
fn table_stats(places: usize, entries: usize) -> String {
    format!(
        "Hash table 0 stats (main hash table):\n table size: {places}\n number of entries: {entries}\n rehashing index: -1\n"
    )
}

/// DEBUG HTSTATS-KEY key [FULL]
fn htstats_key(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let len = with_entry(cx, &args[2], |entry| match entry.value() {
        ValueRef::Object(object) if matches!(object.encoding(), "hashtable" | "skiplist") => {
            Some(object.len())
        }
        _ => None,
    });
    let Some(len) = len.ok_or(error::NO_SUCH_KEY)? else {
        return Err(CmdError::new(
            "ERR The value stored at the specified key is not represented using an hash table",
        ));
    };
    cx.out.verbatim(*b"txt", table_stats(len.next_power_of_two(), len).as_bytes());
    Ok(())
}

/// DEBUG CLIENT-EVICTION
fn client_eviction(cx: &mut Cx) -> Result<(), CmdError> {
    if cx.state.config.int(id::MAXMEMORY_CLIENTS) == 0 {
        return Err(CmdError::new("ERR maxmemory-clients is disabled."));
    }
    let memory = |client: &crate::state::clients::ClientShared| {
        (client.figures.memory.load(Ordering::Relaxed) + client.inbox_bytes(), client.id)
    };
    let mut clients: Vec<(usize, u64)> = cx.state.clients.all().iter().map(|client| memory(client)).collect();
    clients.sort_unstable_by(|a, b| b.cmp(a));
    let lines: String = clients.iter().map(|(bytes, id)| format!("client {id}: {bytes} bytes\n")).collect();
    cx.out.verbatim(*b"txt", lines.as_bytes());
    Ok(())
}

/// DEBUG POPULATE count [prefix] [size]
fn populate(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let count = parse::positive(&args[2])?;
    let prefix = args.get(3).unwrap_or(b"key");
    let size = args.get(4).map(parse::positive).transpose()?;
    let (db, now_ms) = (cx.keys.db, cx.keys.now_ms);
    let clock = AccessClock::of(&cx.state.config).fresh(now_ms);
    for number in 0..count {
        let key = [prefix, b":", number.to_string().as_bytes()].concat();
        let mut value = format!("value:{number}").into_bytes();
        if let Some(size) = size {
            value.resize(size, 0);
        }
        cx.keys.with_partition(partition_of(&key), |partition| {
            let h = hash(&key);
            if partition.dbs[db].find(h, &key).is_none() {
                let (payload, extras) = (Payload::string(&value), Extras::default());
                partition.dbs[db].put(h, &key, payload, extras, |_| clock, now_ms);
            }
        });
    }
    cx.keys.dirty += count as u64;
    Ok(())
}

/// DEBUG PROTOCOL type
fn protocol(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let out = &mut *cx.out;
    match &*args[2].to_ascii_lowercase() {
        b"string" => out.bulk(b"Hello World"),
        b"integer" => out.int(12345),
        b"double" => out.double(3141.0 / 1000.0),
        b"null" => out.null(),
        b"array" => {
            out.array(3);
            (0..3).for_each(|number| out.int(number));
        }
        b"set" => {
            out.set(3);
            (0..3).for_each(|number| out.int(number));
        }
        b"map" => {
            out.map(3);
            for number in 0..3 {
                out.int(number);
                out.bool(number == 1);
            }
        }
        b"attrib" => {
            if out.attribute(1) {
                out.bulk(b"key-popularity");
                out.array(2);
                out.bulk(b"key:123");
                out.int(90);
            }
            out.bulk(b"Some real reply following the attribute");
        }
        b"push" if out.proto == Proto::Resp2 => {
            return Err(CmdError::new("ERR RESP2 is not supported by this command"));
        }
        b"push" => {
            out.push(2);
            out.bulk(b"server-cpu-usage");
            out.int(42);
            out.bulk(b"Some real reply following the push reply");
        }
        b"verbatim" => out.verbatim(*b"txt", b"This is a verbatim\nstring"),
        b"true" => out.bool(true),
        b"false" => out.bool(false),
        b"bignum" => out.big_number(b"1234567999999999999999999999999999999"),
        _ => {
            return Err(CmdError::new(
                "ERR Wrong protocol type name. Please use one of the following: \
                 string|integer|double|bignum|null|array|set|map|attrib|push|verbatim|true|false",
            ));
        }
    }
    Ok(())
}

/// DEBUG HELP
fn help(cx: &mut Cx) -> Result<(), CmdError> {
    write_help(
        cx.out,
        "DEBUG",
        &[
            "CHANGE-REPL-ID",
            "    Accepted; there is no replication id to change.",
            "CLIENT-EVICTION",
            "    Show the memory of each connection, largest first (maxmemory-clients).",
            "CONFIG-REWRITE-FORCE-ALL",
            "    Like CONFIG REWRITE.",
            "DIGEST",
            "    Output a hex signature representing the current content of all databases.",
            "DIGEST-VALUE <key> [<key> ...]",
            "    Output a hex signature of the values of all the specified keys.",
            "ERROR <string>",
            "    Return an error with <string> as message. Useful for clients unit tests.",
            "LOG <message>",
            "    Write <message> to the server log.",
            "HTSTATS <dbid>",
            "    Return statistics of the table of the specified database.",
            "HTSTATS-KEY <key>",
            "    Like HTSTATS but for the table stored at <key>'s value.",
            "LOADAOF",
            "    Accepted; the data stays as it is.",
            "OBJECT <key> [FAST]",
            "    Show low level info about `key` and associated value.",
            "PAUSE-CRON <0|1>",
            "    Stop periodic housekeeping.",
            "POPULATE <count> [<prefix>] [<size>]",
            "    Create <count> string keys named key:<num>. If <prefix> is specified then",
            "    it is used instead of the 'key' prefix.",
            "PROTOCOL <type>",
            "    Reply with a test value of the specified type. <type> can be: string,",
            "    integer, double, bignum, null, array, set, map, attrib, push, verbatim,",
            "    true, false.",
            "QUICKLIST-PACKED-THRESHOLD <size>",
            "    Accepted; lists have a threshold of their own.",
            "RELOAD [option ...]",
            "    Read all values from what would be saved of them.",
            "REPLYBUFFER PEAK-RESET-TIME <NEVER|RESET|time>, REPLYBUFFER RESIZING <0|1>",
            "    Accepted; reply buffers are not resized periodically.",
            "SET-ACTIVE-EXPIRE <0|1>",
            "    Setting it to 0 disables expiring keys that are not accessed.",
            "SLEEP <seconds>",
            "    Stop the connection's worker for <seconds>. Decimals allowed.",
        ],
    );
    Ok(())
}
