//! Lua: the virtual machines scripts and functions run in, and what they find there.
//!
//! The idea: a machine is set up once, its globals made read-only, and serves all scripts, of which one runs at a time. What a run
//! may ask of the node comes in as a [`Host`]. Neither keys nor connections are known here, only text and the protocol.
//!
//! Invariant: nothing a script does outlives its run but what it asked its host for.

mod api;
mod bit;
mod cjson;
mod cmsgpack;
mod convert;
pub mod eval;
mod host;
pub mod library;
mod number;
pub mod shebang;
mod shim;
mod stack;
mod structs;

pub use api::REDIS_VERSION;
pub use api::sha1_hex;
pub use host::{Host, Verdict};
pub use stack::Style;

use mlua::{
    Function, HookTriggers, Lua, LuaOptions, MultiValue, RegistryKey, Result, StdLib, Table, Value, VmState,
};
use shoal_protocol::resp::{Args, Output};
use stack::{Ended, Frame};

/// Instructions between two looks at the time.
const INTERVAL: u32 = 100_000;

/// What stack frames call the prelude.
const PRELUDE: &str = "=prelude";

/// Why a run ended without a reply.
#[derive(Debug, PartialEq, Eq)]
pub struct Failure {
    /// The error as the client is to see it.
    pub text: String,
    /// Whether it was counted when it arose.
    pub counted: bool,
}

/// A virtual machine.
pub struct Vm {
    lua: Lua,
    /// The globals behind what scripts see.
    globals: Table,
    /// Makes a table of what is raised.
    handler: Function,
    /// Runs a function so that what it raises is returned as a table.
    run: Function,
    /// Shows scripts only what a library may use while it is loaded, or everything again.
    load_only: Function,
}

impl Vm {
    /// A machine with everything in it; `extend` may add to `redis.*`.
    pub fn new(extend: impl FnOnce(&Lua, &Table) -> Result<()>) -> Vm {
        Self::set_up(extend).expect("the prelude is part of the program, and memory for it is there")
    }

    fn set_up(extend: impl FnOnce(&Lua, &Table) -> Result<()>) -> Result<Vm> {
        let libs = StdLib::TABLE | StdLib::STRING | StdLib::MATH | StdLib::OS;
        let lua = Lua::new_with(libs, LuaOptions::new().catch_rust_panics(false))?;
        let globals = lua.globals();
        let api = api::table(&lua)?;
        extend(&lua, &api)?;
        globals.raw_set("redis", api)?;
        globals.raw_set("cjson", cjson::table(&lua)?)?;
        globals.raw_set("cmsgpack", cmsgpack::table(&lua)?)?;
        globals.raw_set("bit", bit::table(&lua)?)?;
        globals.raw_set("struct", structs::table(&lua)?)?;
        let math: Table = globals.raw_get("math")?;
        number::define_random(&lua, &math)?;
        stack::define_unpack(&lua, &globals)?;
        let handler = lua.create_function(handle_error)?;
        let prelude = lua.load(include_str!("prelude.lua")).set_name(PRELUDE);
        let (front, globals, run, load_only): (Table, Table, Function, Function) = prelude.call(&handler)?;
        lua.set_globals(front)?;
        watch(&lua, HookTriggers::new().every_nth_instruction(INTERVAL))?;
        Ok(Vm { lua, globals, handler, run, load_only })
    }

    /// Compiles `source`; an error is what the compiler says.
    pub fn compile(&self, source: &[u8], name: &str) -> std::result::Result<Function, String> {
        if source.first() == Some(&0x1b) {
            return Err(format!("{}:1: unexpected symbol near 'char(27)'", name.trim_start_matches('@')));
        }
        let chunk = self.lua.load(source).set_name(name).set_mode(mlua::chunk::ChunkMode::Text);
        chunk.into_function().map_err(|error| match error {
            mlua::Error::SyntaxError { message, .. } => message,
            other => other.to_string(),
        })
    }

    /// Keeps a function in the machine for later. A [`Function`] itself takes a place on a stack that has only 8,000.
    pub fn keep(&self, function: Function) -> std::result::Result<RegistryKey, String> {
        keep(&self.lua, &function)
    }

    /// Runs a kept function, called `name` in errors, and writes what it returns as a reply.
    ///
    /// A script finds its `keys` and `args` in globals; a function of a library is handed them.
    pub fn call(
        &self,
        host: &mut dyn Host,
        function: &RegistryKey,
        name: &str,
        style: Style,
        (keys, args): (Args<'_>, Args<'_>),
        out: &mut Output,
    ) -> std::result::Result<(), Failure> {
        host::enter(host, || {
            let frame = Frame { handler: &self.handler, globals: &self.globals, style };
            let function = self.lua.registry_value(function)?;
            match stack::call(&self.lua, &frame, &function, (keys, args), out)? {
                Ended::Written => Ok(Ok(())),
                Ended::Returned(value) => match reply_error(&value)? {
                    Some(failure) => Ok(Err(failure)),
                    None => {
                        let proto = host::with(|host| host.proto()).unwrap_or_default();
                        convert::lua_to_reply(&value, proto, out).map(Ok)
                    }
                },
                Ended::Raised(error) => Ok(Err(self.failure(name, error)?)),
            }
        })
        .unwrap_or_else(|error: mlua::Error| {
            Err(Failure { text: format!("ERR {}", message(&error)), counted: false })
        })
    }

    /// What an error of the script `name` is to the client.
    fn failure(&self, name: &str, error: Value) -> Result<Failure> {
        self.reset_watch();
        let Some(error) = error.as_table() else {
            return Ok(Failure { text: "ERR unknown error".to_string(), counted: false });
        };
        let field = |name: &str| -> Result<Option<String>> {
            let value: Value = error.raw_get(name)?;
            Ok(convert::text(&value).map(|text| String::from_utf8_lossy(&text).into_owned()))
        };
        let text = field("err")?.unwrap_or_else(|| "ERR unknown error".to_string());
        let text = match (field("source")?, field("line")?) {
            (Some(source), Some(line)) => format!("{text} script: {name}, on {source}:{line}."),
            _ => format!("{text} script: {name}"),
        };
        let counted = !error.raw_get::<Value>("ignore_error_stats_update")?.is_nil();
        Ok(Failure { text, counted })
    }

    /// Back to looking at the time seldom, once a script was killed.
    fn reset_watch(&self) {
        let _ = watch(&self.lua, HookTriggers::new().every_nth_instruction(INTERVAL));
    }

    /// Memory the machine uses, in bytes.
    pub fn memory(&self) -> usize {
        self.lua.used_memory()
    }

    /// The machine itself, for those who set up more in it.
    fn lua(&self) -> &Lua {
        &self.lua
    }
}

/// Keeps a function for later. Those that nobody can ask for any more leave first: else they would stay until others need their places.
fn keep(lua: &Lua, function: &Function) -> std::result::Result<RegistryKey, String> {
    lua.expire_registry_values();
    lua.create_registry_value(function).map_err(|error| error.to_string())
}

/// The failure a returned table stands for.
fn reply_error(value: &Value) -> Result<Option<Failure>> {
    let Some(table) = value.as_table() else { return Ok(None) };
    let Some(text) = convert::string(&table.raw_get("err")?) else { return Ok(None) };
    let counted = !table.raw_get::<Value>("ignore_error_stats_update")?.is_nil();
    Ok(Some(Failure { text: String::from_utf8_lossy(&text).into_owned(), counted }))
}

/// Makes a table of what was raised, with the line of the script that raised it.
fn handle_error(lua: &Lua, error: Value) -> Result<Table> {
    let table = match error {
        Value::Table(table) => table,
        Value::Error(error) => convert::error_table(lua, format!("ERR {}", message(&error)).as_bytes())?,
        other => convert::error_table(lua, format!("ERR {}", shown(&other)).as_bytes())?,
    };
    for level in 1.. {
        let place = lua.inspect_stack(level, |debug| {
            let line = debug.current_line()?;
            let source = debug.source().source?.into_owned();
            (!source.starts_with('=')).then_some((source, line))
        });
        match place {
            None => break,
            Some(None) => {}
            Some(Some((source, line))) => {
                table.raw_set("source", source)?;
                table.raw_set("line", line)?;
                break;
            }
        }
    }
    Ok(table)
}

fn message(error: &mlua::Error) -> String {
    match error {
        mlua::Error::RuntimeError(text) | mlua::Error::MemoryError(text) => text.clone(),
        mlua::Error::CallbackError { cause, .. } => message(cause),
        other => other.to_string(),
    }
}

/// A value as `tostring` spells it.
fn shown(value: &Value) -> String {
    match convert::text(value) {
        Some(text) => String::from_utf8_lossy(&text).into_owned(),
        None => value.to_string().unwrap_or_else(|_| value.type_name().to_string()),
    }
}

/// Looks at the time now and then, at the latest after `triggers`: a command that took long has it looked at once. A script to be killed
/// is stopped at every line, so that it cannot catch its end.
fn watch(lua: &Lua, triggers: HookTriggers) -> Result<()> {
    lua.set_global_hook(triggers, |lua, debug| match host::with(|host| host.interrupt()) {
        None => Ok(VmState::Continue),
        Some(Verdict::Continue) => {
            watch(lua, HookTriggers::new().every_nth_instruction(INTERVAL))?;
            Ok(VmState::Continue)
        }
        // The prelude is what catches the error.
        Some(Verdict::Kill(_)) if debug.source().source.as_deref() == Some(PRELUDE) => Ok(VmState::Continue),
        Some(Verdict::Kill(text)) => {
            watch(lua, HookTriggers::new().every_nth_instruction(1).every_line())?;
            Err(mlua::Error::RuntimeError(text.to_string()))
        }
    })
}

/// Arguments of a callback as a vector.
fn vector(args: MultiValue) -> Vec<Value> {
    args.into_iter().collect()
}
