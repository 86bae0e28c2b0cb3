//! Libraries of functions: loaded once, called by name.

use super::host::{self, Host};
use super::shebang::{ScriptFlags, is_name, library_name};
use super::shim::{Raise, define};
use super::{Vm, api, convert, keep};
use mlua::{Lua, MultiValue, RegistryKey, Table, Value};
use std::collections::{BTreeMap, HashMap};

/// What names may be made of.
const BAD_NAME: &str = "Library names can only contain letters, numbers, or underscores(_) and must be at least one character long";

/// A function of a library.
pub struct Function {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: Option<Vec<u8>>,
    /// What it promises.
    pub flags: ScriptFlags,
    function: RegistryKey,
}

impl Function {
    /// What runs.
    pub fn function(&self) -> &RegistryKey {
        &self.function
    }
}

/// A library.
pub struct Library {
    /// Its text.
    pub code: Box<[u8]>,
    /// Its functions by their names in lower case: case makes no difference to who calls one.
    pub functions: BTreeMap<String, Function>,
}

/// The functions a library being loaded has registered, by their names in lower case.
#[derive(Default)]
struct Loading(BTreeMap<String, Function>);

/// All libraries and the machine they live in.
pub struct Libraries {
    vm: Vm,
    /// By name.
    all: BTreeMap<String, Library>,
    /// The library each function is in, by its name in lower case.
    owners: HashMap<String, String>,
}

impl Default for Libraries {
    fn default() -> Self {
        let vm = Vm::new(|lua, api| define(lua, api, "register_function", register));
        Libraries { vm, all: BTreeMap::new(), owners: HashMap::new() }
    }
}

impl Libraries {
    /// Loads a library and returns its name; one of that name is replaced or an error. Errors are as the client sees them.
    pub fn load(&mut self, host: &mut dyn Host, source: &[u8], replace: bool) -> Result<String, String> {
        let (name, start) = library_name(source)?;
        if !replace && self.all.contains_key(&name) {
            return Err(format!("ERR Library '{name}' already exists"));
        }
        let function = self
            .vm
            .compile(&source[start..], "@user_function")
            .map_err(|error| format!("ERR Error compiling function: {error}"))?;
        self.vm.lua().set_app_data(Loading::default());
        let ended: mlua::Result<(bool, Value)> = host::enter(host, || {
            self.vm.load_only.call::<()>(true)?;
            let ended = self.vm.run.call(function);
            self.vm.load_only.call::<()>(false)?;
            ended
        });
        let Loading(functions) = self.vm.lua().remove_app_data::<Loading>().unwrap_or_default();
        let problem = match ended {
            Ok((true, _)) => None,
            Ok((false, error)) => Some(
                error
                    .as_table()
                    .and_then(|error| error.raw_get::<Value>("err").ok())
                    .map_or_else(String::new, |text| {
                        String::from_utf8_lossy(&convert::text(&text).unwrap_or_default()).into_owned()
                    }),
            ),
            Err(error) => Some(error.to_string()),
        };
        if let Some(problem) = problem {
            self.vm.reset_watch();
            return Err(format!("ERR Error registering functions: {problem}"));
        }
        if functions.is_empty() {
            return Err("ERR No functions registered".to_string());
        }
        let is_taken = |function: &str| self.owners.get(function).is_some_and(|owner| *owner != name);
        if let Some((_, taken)) = functions.iter().find(|(function, _)| is_taken(function)) {
            return Err(format!("ERR Function {} already exists", taken.name));
        }
        self.remove(&name);
        self.owners.extend(functions.keys().map(|function| (function.clone(), name.clone())));
        self.all.insert(name.clone(), Library { code: source.into(), functions });
        Ok(name)
    }

    /// Takes a library away; whether there was one.
    pub fn remove(&mut self, name: &str) -> bool {
        let Some(library) = self.all.remove(name) else { return false };
        library.functions.keys().for_each(|function| _ = self.owners.remove(function));
        true
    }

    /// All of them by name.
    pub fn all(&self) -> &BTreeMap<String, Library> {
        &self.all
    }

    /// The function called `name` in any case, in any library.
    pub fn find(&self, name: &str) -> Option<&Function> {
        let name = name.to_ascii_lowercase();
        self.all.get(self.owners.get(&name)?)?.functions.get(&name)
    }

    /// The machine.
    pub fn vm(&self) -> &Vm {
        &self.vm
    }

    /// How many functions there are.
    pub fn functions(&self) -> usize {
        self.owners.len()
    }

    /// Bytes the sources and descriptions take.
    pub fn memory(&self) -> usize {
        self.all.values().map(|library| library.code.len() + size_of::<Library>()).sum()
    }
}

/// `redis.register_function(name, callback)` or `redis.register_function{function_name=..., callback=..., ...}`
fn register(lua: &Lua, args: MultiValue) -> Result<(), Raise> {
    let refused = |text: &str| api::raise(lua, text);
    if lua.app_data_ref::<Loading>().is_none() {
        return Err(refused("server.register_function can only be called on FUNCTION LOAD command"));
    }
    let function = match (args.len(), args.front(), args.get(1)) {
        (1, Some(Value::Table(named)), _) => registered(lua, named).map_err(|text| refused(&text))?,
        (1, ..) => {
            return Err(refused(
                "calling server.register_function with a single argument is only applicable to Lua table (representing named arguments).",
            ));
        }
        (2, Some(name), Some(callback)) => {
            let Some(name) = convert::text(name) else {
                return Err(refused("first argument to server.register_function must be a string"));
            };
            let Value::Function(callback) = callback else {
                return Err(refused("second argument to server.register_function must be a function"));
            };
            let name = String::from_utf8_lossy(&name).into_owned();
            let function = keep(lua, callback).map_err(|text| refused(&text))?;
            Function { name, description: None, flags: ScriptFlags::default(), function }
        }
        _ => return Err(refused("wrong number of arguments to server.register_function")),
    };
    if !is_name(&function.name) {
        return Err(refused(BAD_NAME));
    }
    let Some(mut loading) = lua.app_data_mut::<Loading>() else { return Ok(()) };
    let key = function.name.to_ascii_lowercase();
    if loading.0.contains_key(&key) {
        return Err(refused("Function already exists in the library"));
    }
    loading.0.insert(key, function);
    Ok(())
}

/// A function by named arguments.
fn registered(lua: &Lua, named: &Table) -> Result<Function, String> {
    let (mut name, mut description, mut callback) = (None, None, None);
    let mut flags = ScriptFlags::default();
    for pair in named.pairs::<Value, Value>() {
        let (key, value) = pair.map_err(|error| error.to_string())?;
        let Value::String(key) = key else {
            return Err("named argument key given to server.register_function is not a string".to_string());
        };
        match &*key.as_bytes() {
            b"function_name" => match convert::text(&value) {
                Some(text) => name = Some(String::from_utf8_lossy(&text).into_owned()),
                None => {
                    return Err("function_name argument given to server.register_function must be a string"
                        .to_string());
                }
            },
            b"description" => match convert::text(&value) {
                Some(text) => description = Some(text),
                None => {
                    return Err(
                        "description argument given to server.register_function must be a string".to_string()
                    );
                }
            },
            b"callback" => match value {
                Value::Function(function) => callback = Some(function),
                _ => {
                    return Err(
                        "callback argument given to server.register_function must be a function".to_string()
                    );
                }
            },
            b"flags" => match value {
                Value::Table(table) => read_flags(&table, &mut flags)?,
                _ => {
                    return Err(
                        "flags argument to server.register_function must be a table representing function flags".to_string()
                    );
                }
            },
            _ => return Err("unknown argument given to server.register_function".to_string()),
        }
    }
    let name = name.ok_or("server.register_function must get a function name argument")?;
    let callback = callback.ok_or("server.register_function must get a callback argument")?;
    let function = keep(lua, &callback)?;
    Ok(Function { name, description, flags, function })
}

fn read_flags(table: &Table, flags: &mut ScriptFlags) -> Result<(), String> {
    for index in 1.. {
        match table.raw_get(index) {
            Ok(Value::Nil) => break,
            Ok(Value::String(flag)) if flags.set(&flag.to_string_lossy()) => {}
            _ => return Err("unknown flag given".to_string()),
        }
    }
    Ok(())
}
