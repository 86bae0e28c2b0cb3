//! The requests of the binary protocol, over the same work on items as the verbs in text.
//!
//! An answer names the version of the item it is about, so items that are written or read this way have one from the start.
//! A quiet request is spared its expected answer, and items it stores get their versions when somebody asks.

use super::admin;
use super::item::{self, Outcome, Storing, Uncounted, Value, Version};
use super::stats::{self, Form};
use super::{MEMCACHED_VERSION, Progress, on_key, refuse_large};
use crate::command::call::{Flow, Site, make_room};
use crate::command::keys::Keys;
use crate::state::evict;
use crate::state::memcache::Count;
use crate::store::entry::Payload;
use shoal_protocol::memcache::binary::{Frame, Request, Status, write};
use shoal_protocol::memcache::{Fault, Verb};
use shoal_protocol::resp::OwnedArgs;

/// How clients say who they are.
const MECHANISM: &str = "PLAIN";

/// Whether a request is answered to those who have not said who they are.
pub(super) fn is_free(request: &Request) -> bool {
    matches!(
        request,
        Request::Version
            | Request::ListMechanisms
            | Request::Authenticate { .. }
            | Request::AuthenticateOn
            | Request::Broken(_)
            | Request::Ignored
    )
}

/// Whether a request may change something.
pub(super) fn writes(request: &Request) -> bool {
    matches!(
        request,
        Request::Touch { .. }
            | Request::Store { .. }
            | Request::Delete { .. }
            | Request::Arith { .. }
            | Request::FlushAll { .. }
            | Request::TooLarge { .. }
    )
}

/// The words the text protocol has for a request, as administrators are shown it; none for what must not be shown.
#[cold]
pub fn words(request: &Request) -> OwnedArgs {
    let mut words = OwnedArgs::new();
    let mut say = |all: &[&[u8]]| all.iter().for_each(|word| words.push(word));
    let digits = |number: u64| number.to_string().into_bytes();
    match *request {
        Request::Get { key, .. } => say(&[b"get", key]),
        Request::Touch { key, exptime, with_value: true, .. } => say(&[b"gat", &digits(exptime.into()), key]),
        Request::Touch { key, exptime, .. } => say(&[b"touch", key, &digits(exptime.into())]),
        Request::Store { verb, key, flags, exptime, data, .. } => {
            let verb: &[u8] = match verb {
                Verb::Set => b"set",
                Verb::Add => b"add",
                Verb::Replace => b"replace",
                Verb::Append => b"append",
                Verb::Prepend => b"prepend",
            };
            let len = digits(data.len() as u64);
            say(&[verb, key, &digits(flags.into()), &digits(exptime.into()), &len, data]);
        }
        Request::Delete { key, .. } => say(&[b"delete", key]),
        Request::Arith { key, delta, decr, .. } => {
            say(&[if decr { &b"decr"[..] } else { b"incr" }, key, &digits(delta)]);
        }
        Request::FlushAll { exptime } => say(&[b"flush_all", &digits(exptime.into())]),
        Request::Noop => say(&[b"mn"]),
        Request::Version => say(&[b"version"]),
        Request::Quit => say(&[b"quit"]),
        Request::Stats(what) => {
            say(&[b"stats"]);
            what.for_each(|word| words.push(word));
        }
        Request::ListMechanisms
        | Request::Authenticate { .. }
        | Request::AuthenticateOn
        | Request::TooLarge { .. }
        | Request::Unknown
        | Request::Broken(_)
        | Request::Ignored => {}
    }
    words
}

/// Answers that, and closes the connection.
pub(super) fn refuse(site: &mut Site, frame: &Frame, status: Status) {
    decline(site, frame, status);
    site.client.closing = true;
}

/// Answers that.
pub(super) fn decline(site: &mut Site, frame: &Frame, status: Status) {
    write::error(site.out, frame.tag, status);
}

/// Runs one request, or goes on with it as `progress` says.
pub(super) fn run(site: &mut Site, frame: &Frame, progress: &mut Progress) -> Flow {
    let tag = frame.tag;
    match frame.request {
        Request::Get { key, with_key } => return read(site, frame, key, None, true, with_key),
        Request::Touch { key, exptime, with_value, with_key } => {
            return read(site, frame, key, Some(exptime), with_value, with_key);
        }
        Request::Store { .. } => return store(site, frame),
        Request::Delete { key, compare } => {
            let deleted = on_key(site, key, |keys, _| item::delete_version(keys, key, compare));
            return finish(site, frame, deleted.map(|deleted| deleted.map(|()| 0).map_err(uncounted)));
        }
        Request::Arith { .. } => return count(site, frame),
        Request::TooLarge { key, evict } => {
            if !refuse_large(site, key, evict) {
                return Flow::Contended;
            }
            write::error(site.out, tag, Status::TooLarge);
        }
        Request::Stats(words) => return stats::stats(site, Form::Binary(tag.opaque), words, progress),
        Request::FlushAll { exptime } => {
            admin::flush_all(site, exptime.into());
            return finish(site, frame, Some(Ok(0)));
        }
        Request::Noop => write::done(site.out, tag, 0),
        Request::Version => write::text(site.out, tag, MEMCACHED_VERSION),
        Request::Quit => {
            site.client.closing = true;
            return finish(site, frame, Some(Ok(0)));
        }
        Request::ListMechanisms if admin::wants_password(site.state) => write::text(site.out, tag, MECHANISM),
        Request::Authenticate { mechanism, credentials } if admin::wants_password(site.state) => {
            authenticate(site, frame, mechanism, credentials);
        }
        // What is known of a client after the first step of PLAIN is all there is to know.
        Request::AuthenticateOn if admin::wants_password(site.state) => {
            write::error(site.out, tag, Status::AuthFailure);
        }
        Request::ListMechanisms
        | Request::Authenticate { .. }
        | Request::AuthenticateOn
        | Request::Unknown => write::error(site.out, tag, Status::UnknownCommand),
        Request::Broken(status) => refuse(site, frame, status),
        Request::Ignored => {}
    }
    Flow::Next
}

/// Answers how a request ended: the version of the item, or why not.
fn finish(site: &mut Site, frame: &Frame, result: Option<Result<u64, Status>>) -> Flow {
    match result {
        None => return Flow::Contended,
        Some(Ok(_)) if frame.quiet => {}
        Some(Ok(cas)) => write::done(site.out, frame.tag, cas),
        Some(Err(status)) => write::error(site.out, frame.tag, status),
    }
    Flow::Next
}

fn status(fault: Fault) -> Status {
    match fault {
        Fault::WrongType => Status::WrongType,
        Fault::NonNumeric => Status::NonNumeric,
        Fault::OutOfMemory => Status::OutOfMemory,
        Fault::OutOfMemoryForNumber => Status::OutOfMemoryForNumber,
        _ => Status::InvalidArguments,
    }
}

fn uncounted(why: Uncounted) -> Status {
    match why {
        Uncounted::NotFound => Status::NotFound,
        Uncounted::Exists => Status::Exists,
    }
}

/// `get` and `touch` and their kin.
fn read(
    site: &mut Site,
    frame: &Frame,
    key: &[u8],
    exptime: Option<u32>,
    with_value: bool,
    with_key: bool,
) -> Flow {
    let (tag, wire_key) = (frame.tag, with_key.then_some(key));
    let found = on_key(site, key, |keys, out| {
        let found = item::read(keys, key, true, exptime.is_some(), |found| {
            let (flags, cas) = (found.client_flags, found.cas);
            match found.value {
                _ if !with_value => write::item(out, tag, flags, cas, wire_key, 0),
                Value::Bytes(data) => {
                    write::item(out, tag, flags, cas, wire_key, data.len());
                    out.raw(data);
                }
                Value::Shared(data) => write::item_shared(out, tag, flags, cas, wire_key, data),
            }
        })?;
        if let (true, Some(exptime)) = (found, exptime) {
            item::expire(keys, key, item::expiry_ms(exptime.into(), keys.now_ms));
        }
        Ok(found)
    });
    match found {
        None => return Flow::Contended,
        Some(Ok(true)) => {}
        Some(Ok(false)) if frame.quiet => {}
        // One of several that are asked for: no item, as for `get` of several.
        Some(Err(Fault::WrongType)) if frame.quiet => {}
        Some(Ok(false)) if with_key => write::missing_key(site.out, tag, key),
        Some(Ok(false)) => write::error(site.out, tag, Status::NotFound),
        Some(Err(fault)) => write::error(site.out, tag, status(fault)),
    }
    Flow::Next
}

/// `set` and its kin.
fn store(site: &mut Site, frame: &Frame) -> Flow {
    let Request::Store { verb, key, flags, exptime, compare, data } = frame.request else {
        unreachable!("the caller matched it")
    };
    let storing = Storing {
        verb,
        data,
        client_flags: flags,
        exptime: exptime.into(),
        compare,
        version: if frame.quiet { Version::Later } else { Version::Now },
        invalidate: false,
        vivify: false,
    };
    let result = item::store(site, key, &storing).map(|stored| {
        let stored = stored.map_err(status)?;
        match stored.outcome {
            Outcome::Stored => Ok(stored.version),
            Outcome::Exists => Err(Status::Exists),
            Outcome::NotFound => Err(Status::NotFound),
            Outcome::NotStored => Err(match verb {
                Verb::Add => Status::Exists,
                Verb::Replace => Status::NotFound,
                _ => Status::NotStored,
            }),
        }
    });
    finish(site, frame, result)
}

/// `increment`, `decrement`
fn count(site: &mut Site, frame: &Frame) -> Flow {
    let Request::Arith { key, delta, decr, create, compare } = frame.request else {
        unreachable!("the caller matched it")
    };
    let has_room = create.is_none() || !evict::is_over(site.state) || make_room(site);
    let result = on_key(site, key, |keys, _| {
        let number = match item::count(keys, key, delta, decr, compare.unwrap_or(0)).map_err(status)? {
            Ok(number) => number,
            Err(Uncounted::NotFound) if create.is_some() && !has_room => {
                keys.stats().memcache.add(Count::StoreNoMemory);
                return Err(Status::OutOfMemoryForNumber);
            }
            Err(why) => match create.filter(|_| why == Uncounted::NotFound) {
                Some((initial, exptime)) => return Ok((initial, begin(keys, key, initial, exptime))),
                None => {
                    item::note_uncounted(keys.stats(), why, decr);
                    return Err(uncounted(why));
                }
            },
        };
        Ok((number, item::give_version(keys, key, Version::Now)))
    });
    match result {
        None => return Flow::Contended,
        Some(Ok(_)) if frame.quiet => {}
        Some(Ok((number, cas))) => write::number(site.out, frame.tag, number, cas),
        Some(Err(status)) => write::error(site.out, frame.tag, status),
    }
    Flow::Next
}

/// Makes a counter; returns its version.
fn begin(keys: &mut Keys, key: &[u8], initial: u64, exptime: u32) -> u64 {
    let mut digits = itoa::Buffer::new();
    item::create(keys, key, Payload::string(digits.format(initial).as_bytes()), Version::Now);
    let version = keys.version(key).unwrap_or(0);
    if exptime != 0 {
        item::expire(keys, key, item::expiry_ms(exptime.into(), keys.now_ms));
    }
    version
}

/// Looks at `authzid NUL user NUL password`. Nobody acts for another here, so the first is passed over.
fn authenticate(site: &mut Site, frame: &Frame, mechanism: &[u8], credentials: &[u8]) {
    let mut words = credentials.splitn(3, |byte| *byte == 0).skip(1);
    let (user, password) = (words.next(), words.next());
    let known = match (user, password) {
        (Some(user), Some(password)) if mechanism == MECHANISM.as_bytes() => {
            admin::log_in(site, user, password)
        }
        _ => false,
    };
    if known {
        write::text(site.out, frame.tag, "Authenticated");
    } else {
        write::error(site.out, frame.tag, Status::AuthFailure);
    }
}
