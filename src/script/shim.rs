//! Functions for Lua that raise errors as Lua's own do.
//!
//! An error that a Rust callback returns reaches Lua as an opaque object, but scripts expect a string with the position of
//! the caller, or a table. So a callback returns a flag and either its results or what to raise, and a few lines of C
//! interface around it raise that. They also count as the C function they stand for, so the caller's line is right.

use mlua::{Function, IntoLua, IntoLuaMulti, Lua, MultiValue, Result, Table, Value, ffi};
use std::ffi::c_int;

/// What a function raises.
pub enum Raise {
    /// A message, behind the position of the caller.
    Message(String),
    /// A value as it is.
    Value(Value),
}

impl From<mlua::Error> for Raise {
    fn from(error: mlua::Error) -> Raise {
        Raise::Message(match error {
            mlua::Error::RuntimeError(text) => text,
            other => other.to_string(),
        })
    }
}

impl From<String> for Raise {
    fn from(text: String) -> Raise {
        Raise::Message(text)
    }
}

impl From<&str> for Raise {
    fn from(text: &str) -> Raise {
        Raise::Message(text.to_string())
    }
}

/// Adds a function to `table`.
pub fn define<R: IntoLuaMulti>(
    lua: &Lua,
    table: &Table,
    name: &str,
    function: impl Fn(&Lua, MultiValue) -> std::result::Result<R, Raise> + Send + Sync + 'static,
) -> Result<()> {
    let inner = lua.create_function(move |lua, args: MultiValue| match function(lua, args) {
        Ok(results) => {
            let mut results = results.into_lua_multi(lua)?;
            results.push_front(Value::Boolean(true));
            Ok(results)
        }
        Err(raise) => {
            let raised = match raise {
                Raise::Message(text) => text.into_lua(lua)?,
                Raise::Value(value) => value,
            };
            Ok(MultiValue::from_iter([Value::Boolean(false), raised]))
        }
    })?;
    // SAFETY: the one argument is on the stack; the closure takes it and is the one result.
    let outer: Function = unsafe { lua.exec_raw(inner, |state| ffi::lua_pushcclosure(state, call, 1))? };
    table.raw_set(name, outer)
}

/// Calls the function it was made with; raises what that says is to be raised.
unsafe extern "C-unwind" fn call(state: *mut ffi::lua_State) -> c_int {
    // SAFETY: Lua hands out a valid state with room for 20 values beyond the arguments. Nothing here owns memory, so a raised
    // error may leave this frame by any way.
    unsafe {
        ffi::lua_pushvalue(state, ffi::lua_upvalueindex(1));
        ffi::lua_insert(state, 1);
        ffi::lua_call(state, ffi::lua_gettop(state) - 1, ffi::LUA_MULTRET);
        if ffi::lua_toboolean(state, 1) != 0 {
            return ffi::lua_gettop(state) - 1;
        }
        ffi::lua_settop(state, 2);
        if ffi::lua_type(state, 2) == ffi::LUA_TSTRING {
            ffi::luaL_where(state, 1);
            ffi::lua_insert(state, 2);
            ffi::lua_concat(state, 2);
        }
        ffi::lua_error(state)
    }
}
