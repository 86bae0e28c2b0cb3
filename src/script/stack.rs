//! The ways every run goes, written against Lua's own stack: `redis.call` and `redis.pcall`, the call of a script, and what it
//! returns if that is simple.
//!
//! Everything else goes through safe wrappers, which make each value a guarded one; a short script would spend most of its time there.
//! What is simple is decided here and nowhere else; for the rest [`call`] hands back the value.
//!
//! Invariant: where Lua may raise an error, which leaves a frame without running destructors, the frame owns nothing. Memory is not
//! limited, so only [`redis_call`] raises on purpose.

use super::host;
use mlua::{Function, Lua, Result, Table, Value, ffi};
use shoal_protocol::resp::{Args, Output, OwnedArgs, Proto};
use std::any::Any;
use std::cell::{Cell, RefCell};
use std::ffi::{c_char, c_int};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// Room for each level of a nested reply, and a little more.
const ROOM: c_int = 6;

/// Where a command's arguments and its reply stand, kept from one to the next.
#[derive(Default)]
struct Scratch {
    args: OwnedArgs,
    out: Output,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
    /// What a command panicked with.
    static PANIC: Cell<Option<Box<dyn Any + Send>>> = const { Cell::new(None) };
}

/// Memory for replies that is kept.
const KEEP: usize = 64 * 1024;

/// Adds `call` and `pcall` to the table of `redis.*`.
pub fn define_calls(lua: &Lua, api: &Table) -> Result<()> {
    for (name, raises) in [("call", 1), ("pcall", 0)] {
        // SAFETY: the closure takes the one value that was pushed for it, and is the one result.
        let function: Function = unsafe {
            lua.exec_raw((), |state| {
                ffi::lua_pushboolean(state, raises);
                ffi::lua_pushcclosure(state, redis_call, 1);
            })?
        };
        api.raw_set(name, function)?;
    }
    Ok(())
}

/// Takes the place of `unpack`, whose own count of results overflows for a range as wide as its integers.
pub fn define_unpack(lua: &Lua, globals: &Table) -> Result<()> {
    // SAFETY: the closure takes nothing, and is the one result.
    let function: Function = unsafe { lua.exec_raw((), |state| ffi::lua_pushcclosure(state, unpack, 0))? };
    globals.raw_set("unpack", function)
}

/// `unpack(list, first, last)`
unsafe extern "C-unwind" fn unpack(state: *mut ffi::lua_State) -> c_int {
    // SAFETY: Lua hands out a valid state; room for the results is made before they are pushed. This frame owns nothing.
    unsafe {
        ffi::luaL_checktype(state, 1, ffi::LUA_TTABLE);
        let first = ffi::luaL_optinteger(state, 2, 1) as i64;
        let last = match ffi::lua_type(state, 3) {
            ffi::LUA_TNONE | ffi::LUA_TNIL => ffi::lua_objlen(state, 1) as i64,
            _ => ffi::luaL_checkinteger(state, 3) as i64,
        };
        if first > last {
            return 0;
        }
        let count = last.saturating_sub(first).saturating_add(1);
        let fits = i32::try_from(first).is_ok() && i32::try_from(last).is_ok();
        let count = i32::try_from(count).ok().filter(|count| fits && ffi::lua_checkstack(state, *count) != 0);
        let Some(count) = count else {
            return ffi::luaL_error(state, c"too many results to unpack".as_ptr());
        };
        for at in first..=last {
            ffi::lua_rawgeti(state, 1, at as ffi::lua_Integer);
        }
        count
    }
}

/// What a command left on the stack.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Answer {
    Reply,
    Error,
    /// An error that even `pcall` raises.
    Raised,
}

/// `redis.call(command, ...)` and `redis.pcall(command, ...)`
unsafe extern "C-unwind" fn redis_call(state: *mut ffi::lua_State) -> c_int {
    // SAFETY: Lua hands out a valid state; the upvalue is the one of `define_calls`. This frame owns nothing.
    unsafe {
        let answer = answer(state);
        if host::with_script(|host| host.is_due()) == Some(true) {
            // The hook that looks at the time comes with the next instruction.
            ffi::lua_sethook(state, ffi::lua_gethook(state), ffi::lua_gethookmask(state), 1);
        }
        match answer {
            Answer::Reply => 1,
            Answer::Error if ffi::lua_toboolean(state, ffi::lua_upvalueindex(1)) == 0 => 1,
            Answer::Error | Answer::Raised => ffi::lua_error(state),
        }
    }
}

/// Runs the command on the stack and pushes its reply.
///
/// # Safety
/// `state` is valid and at the head of a call.
unsafe fn answer(state: *mut ffi::lua_State) -> Answer {
    // SAFETY: as the caller promises; a call has room for 20 values.
    unsafe {
        if ffi::lua_gettop(state) == 0 {
            push_error(state, b"ERR Please specify at least one argument for this redis lib call", false);
            return Answer::Error;
        }
        SCRATCH.with_borrow_mut(|Scratch { args, out }| {
            args.clear();
            if !read_args(state, args) {
                let text = b"ERR Lua redis lib command arguments must be strings or integers";
                push_error(state, text, false);
                return Answer::Error;
            }
            // Arguments can fill all the room there is.
            ffi::lua_settop(state, 0);
            out.clear();
            let run = AssertUnwindSafe(|| {
                host::with_script(|host| {
                    out.proto = host.proto();
                    host.call(args.as_args(), out)
                })
            });
            // A panic must not pass through Lua, which would never know.
            let ran = catch_unwind(run).unwrap_or_else(|panic| {
                PANIC.set(Some(panic));
                Some(Err("ERR The command failed".to_string()))
            });
            match ran {
                Some(Ok(())) => {}
                Some(Err(text)) => {
                    push_error(state, text.as_bytes(), true);
                    return Answer::Error;
                }
                None => {
                    let text = b"ERR redis.call/pcall can only be called inside a script invocation";
                    push_error(state, text, false);
                    return Answer::Raised;
                }
            }
            let answer = match out.contiguous() {
                Some(mut bytes) => push_answer(state, &mut bytes),
                None => push_answer(state, &mut &out.take_bytes()[..]),
            };
            out.shrink_to(KEEP);
            answer
        })
    }
}

/// Takes a command's arguments from the stack; false if one is neither a string nor a number.
///
/// # Safety
/// `state` is valid.
unsafe fn read_args(state: *mut ffi::lua_State, args: &mut OwnedArgs) -> bool {
    // SAFETY: a string on the stack stays where it is.
    unsafe {
        for at in 1..=ffi::lua_gettop(state) {
            match ffi::lua_type(state, at) {
                ffi::LUA_TSTRING => args.push(string(state, at)),
                ffi::LUA_TNUMBER => {
                    let number = ffi::lua_tonumber(state, at);
                    let whole = number as i64;
                    if whole as f64 == number && whole != i64::MAX {
                        let mut buffer = itoa::Buffer::new();
                        args.push(buffer.format(whole).as_bytes());
                    } else {
                        args.push_with(|out| crate::text::number::format_general(number, 17, out));
                    }
                }
                _ => return false,
            }
        }
    }
    true
}

/// The string at a place of the stack.
///
/// # Safety
/// There is a string at `at`, and it stays there while the bytes are used.
unsafe fn string<'a>(state: *mut ffi::lua_State, at: c_int) -> &'a [u8] {
    // SAFETY: as the caller promises.
    unsafe {
        let mut len = 0;
        let start = ffi::lua_tolstring(state, at, &mut len);
        std::slice::from_raw_parts(start.cast(), len)
    }
}

/// # Safety
/// `state` is valid and has room for a value.
unsafe fn push_string(state: *mut ffi::lua_State, bytes: &[u8]) {
    // SAFETY: as the caller promises; Lua copies the bytes.
    unsafe {
        ffi::lua_pushlstring(state, bytes.as_ptr().cast::<c_char>(), bytes.len());
    }
}

/// Pushes an error as scripts see it: its text, the code in front, in the field `err`. One that a command answered is `counted`.
///
/// # Safety
/// `state` is valid and has room for four values.
unsafe fn push_error(state: *mut ffi::lua_State, text: &[u8], counted: bool) {
    // SAFETY: as the caller promises.
    unsafe {
        ffi::lua_createtable(state, 0, 4);
        push_string(state, b"err");
        let text = text.strip_prefix(b"-").unwrap_or(text);
        if text.contains(&b' ') {
            push_string(state, text);
        } else {
            push_string(state, b"ERR ");
            push_string(state, text);
            ffi::lua_concat(state, 2);
        }
        ffi::lua_rawset(state, -3);
        if counted {
            push_string(state, b"ignore_error_stats_update");
            ffi::lua_pushboolean(state, 1);
            ffi::lua_rawset(state, -3);
        }
    }
}

/// Pushes a reply which the node itself has written.
///
/// # Safety
/// `state` is valid.
unsafe fn push_answer(state: *mut ffi::lua_State, bytes: &mut &[u8]) -> Answer {
    let is_error = bytes.first() == Some(&b'-');
    // SAFETY: as the caller promises.
    unsafe { push_reply(state, bytes) };
    if is_error { Answer::Error } else { Answer::Reply }
}

/// Pushes the reply at the head of `bytes` and cuts it off. Nothing is false in RESP2 and nil in RESP3.
///
/// # Safety
/// `state` is valid.
unsafe fn push_reply(state: *mut ffi::lua_State, bytes: &mut &[u8]) {
    // SAFETY: as the caller promises, and there is room for what is pushed here. `named` leaves the outer table below.
    unsafe {
        if ffi::lua_checkstack(state, ROOM) == 0 {
            // Only a reply nested beyond all measure gets here. There is always room for a value or two.
            *bytes = &[];
            return ffi::lua_pushnil(state);
        }
        let (kind, line) = take_line(bytes);
        let number = || crate::text::number::parse_i64(line).unwrap_or(0);
        let named = |name: &[u8]| {
            ffi::lua_createtable(state, 0, 1);
            push_string(state, name);
        };
        match kind {
            b':' => ffi::lua_pushnumber(state, number() as f64),
            b'$' | b'*' if number() < 0 => ffi::lua_pushboolean(state, 0),
            b'$' => push_string(state, take_bytes(bytes, number() as usize)),
            b'+' => {
                named(b"ok");
                push_string(state, line);
                ffi::lua_rawset(state, -3);
            }
            b'-' => push_error(state, line, true),
            b'*' | b'>' => {
                let len = number() as usize;
                // What the node writes is as long as it says; the bound is for what follows a mistake.
                ffi::lua_createtable(state, len.min(bytes.len()) as c_int, 0);
                for at in 1..=len.min(bytes.len()) {
                    push_reply(state, bytes);
                    ffi::lua_rawseti(state, -2, at as ffi::lua_Integer);
                }
            }
            b'#' => ffi::lua_pushboolean(state, (line == b"t").into()),
            b',' => {
                named(b"double");
                ffi::lua_pushnumber(state, crate::text::number::parse_f64(line).unwrap_or(f64::NAN));
                ffi::lua_rawset(state, -3);
            }
            b'(' => {
                named(b"big_number");
                push_string(state, line);
                ffi::lua_rawset(state, -3);
            }
            b'=' => {
                let text = take_bytes(bytes, number() as usize);
                let (format, text) = text.split_at(text.len().min(4));
                named(b"verbatim_string");
                ffi::lua_createtable(state, 0, 2);
                push_string(state, b"format");
                push_string(state, &format[..format.len().min(3)]);
                ffi::lua_rawset(state, -3);
                push_string(state, b"string");
                push_string(state, text);
                ffi::lua_rawset(state, -3);
                ffi::lua_rawset(state, -3);
            }
            b'%' => {
                named(b"map");
                ffi::lua_createtable(state, 0, number().clamp(0, 1 << 16) as c_int);
                for _ in 0..number() {
                    push_reply(state, bytes);
                    push_reply(state, bytes);
                    ffi::lua_rawset(state, -3);
                }
                ffi::lua_rawset(state, -3);
            }
            b'~' => {
                named(b"set");
                ffi::lua_createtable(state, 0, number().clamp(0, 1 << 16) as c_int);
                for _ in 0..number() {
                    push_reply(state, bytes);
                    ffi::lua_pushboolean(state, 1);
                    ffi::lua_rawset(state, -3);
                }
                ffi::lua_rawset(state, -3);
            }
            b'|' => {
                for _ in 0..number() * 2 {
                    push_reply(state, bytes);
                    ffi::lua_pop(state, 1);
                }
                push_reply(state, bytes);
            }
            _ => ffi::lua_pushnil(state),
        }
    }
}

fn take_line<'a>(bytes: &mut &'a [u8]) -> (u8, &'a [u8]) {
    let end = memchr::memchr(b'\n', bytes).map_or(bytes.len(), |at| at + 1);
    let (line, rest) = bytes.split_at(end);
    *bytes = rest;
    match line {
        [kind, line @ .., b'\r', b'\n'] => (*kind, line),
        _ => (0, &[]),
    }
}

fn take_bytes<'a>(bytes: &mut &'a [u8], len: usize) -> &'a [u8] {
    let (text, rest) = bytes.split_at(len.min(bytes.len()));
    *bytes = rest.get(2..).unwrap_or(&[]);
    text
}

/// How a call ended.
pub enum Ended {
    /// What was returned has been written as a reply.
    Written,
    /// This was returned.
    Returned(Value),
    /// This was raised, as the handler of errors left it.
    Raised(Value),
}

/// How a function gets its keys and arguments.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Style {
    /// In the globals KEYS and ARGV.
    Script,
    /// As arguments.
    Function,
}

/// What a call needs besides the function.
pub struct Frame<'a> {
    /// Makes a table of what is raised.
    pub handler: &'a Function,
    /// Where KEYS and ARGV go.
    pub globals: &'a Table,
    /// Where they do go.
    pub style: Style,
}

/// Calls a function, and writes what it returns to `out` if that is simple.
pub fn call(
    lua: &Lua,
    frame: &Frame,
    function: &Function,
    (keys, args): (Args<'_>, Args<'_>),
    out: &mut Output,
) -> Result<Ended> {
    let (mut status, mut written) = (0, false);
    // SAFETY: handler, globals and function are at 1, 2 and 3, and what is above is taken away again. The closure owns nothing.
    let value: Value = unsafe {
        lua.exec_raw((frame.handler, frame.globals, function), |state| {
            ffi::lua_pushvalue(state, 3);
            let count = match frame.style {
                Style::Script => {
                    for (name, values) in [(&b"KEYS"[..], keys), (b"ARGV", args)] {
                        push_string(state, name);
                        push_strings(state, values);
                        ffi::lua_rawset(state, 2);
                    }
                    0
                }
                Style::Function => {
                    push_strings(state, keys);
                    push_strings(state, args);
                    2
                }
            };
            status = ffi::lua_pcall(state, count, 1, 1);
            if status == ffi::LUA_OK {
                let proto = host::with(|host| host.proto()).unwrap_or_default();
                written = write_simple(state, proto, out);
            }
            ffi::lua_replace(state, 1);
            ffi::lua_settop(state, 1);
        })?
    };
    if let Some(panic) = PANIC.take() {
        resume_unwind(panic);
    }
    Ok(match (status, written) {
        (ffi::LUA_OK, true) => Ended::Written,
        (ffi::LUA_OK, false) => Ended::Returned(value),
        _ => Ended::Raised(value),
    })
}

/// # Safety
/// `state` is valid and has room for two values.
unsafe fn push_strings(state: *mut ffi::lua_State, values: Args) {
    // SAFETY: as the caller promises.
    unsafe {
        ffi::lua_createtable(state, values.len() as c_int, 0);
        for (at, value) in values.iter().enumerate() {
            push_string(state, value);
            ffi::lua_rawseti(state, -2, at as ffi::lua_Integer + 1);
        }
    }
}

/// Writes the value on top of the stack as a reply, if it is no table; false if it is one.
///
/// # Safety
/// `state` is valid and has a value on its stack.
unsafe fn write_simple(state: *mut ffi::lua_State, proto: Proto, out: &mut Output) -> bool {
    // SAFETY: as the caller promises.
    unsafe {
        match ffi::lua_type(state, -1) {
            ffi::LUA_TSTRING => out.bulk(string(state, -1)),
            ffi::LUA_TNUMBER => out.int(super::convert::truncate(ffi::lua_tonumber(state, -1))),
            ffi::LUA_TBOOLEAN => match (proto, ffi::lua_toboolean(state, -1) != 0) {
                (Proto::Resp3, yes) => out.bool(yes),
                (Proto::Resp2, true) => out.int(1),
                (Proto::Resp2, false) => out.null(),
            },
            ffi::LUA_TTABLE => return false,
            _ => out.null(),
        }
    }
    true
}
