//! The first line of a script or library: `#!lua name=<library> flags=<flag>,...`.

use crate::text;

/// What a script promises and allows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ScriptFlags {
    /// It has no such line: the rules of before there were flags hold.
    pub compatible: bool,
    /// It writes nothing.
    pub no_writes: bool,
    /// It may run when memory is used up.
    pub allow_oom: bool,
    /// It may run on a node that is out of date.
    pub allow_stale: bool,
    /// It is not to run in a cluster.
    pub no_cluster: bool,
    /// It may use keys of several slots.
    pub allow_cross_slot: bool,
}

impl ScriptFlags {
    /// The flags by their names, as FUNCTION LIST tells them.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let all = [
            (self.no_writes, "no-writes"),
            (self.allow_oom, "allow-oom"),
            (self.allow_stale, "allow-stale"),
            (self.no_cluster, "no-cluster"),
            (self.allow_cross_slot, "allow-cross-slot-keys"),
        ];
        all.into_iter().filter_map(|(set, name)| set.then_some(name))
    }

    /// Sets the flag called `name`; false if there is none.
    pub fn set(&mut self, name: &str) -> bool {
        let flag = match name {
            "no-writes" => &mut self.no_writes,
            "allow-oom" => &mut self.allow_oom,
            "allow-stale" => &mut self.allow_stale,
            "no-cluster" => &mut self.no_cluster,
            "allow-cross-slot-keys" => &mut self.allow_cross_slot,
            _ => return false,
        };
        *flag = true;
        true
    }
}

/// The flags of a script and where its code starts: at the end of the first line, if that is a shebang.
pub fn script_flags(source: &[u8]) -> Result<(ScriptFlags, usize), String> {
    if !source.starts_with(b"#!") {
        return Ok((ScriptFlags { compatible: true, ..ScriptFlags::default() }, 0));
    }
    let Some(end) = memchr::memchr(b'\n', source) else {
        return Err("ERR Invalid script shebang".to_string());
    };
    let mut parts =
        words(&source[..end]).ok_or_else(|| "ERR Invalid engine in script shebang".to_string())?.into_iter();
    let engine = parts.next().unwrap_or_default();
    if engine != "#!lua" {
        return Err(format!("ERR Unexpected engine in script shebang: {engine}"));
    }
    let mut flags = ScriptFlags::default();
    for part in parts {
        let Some(names) = part.strip_prefix("flags=") else {
            return Err(format!("ERR Unknown lua shebang option: {part}"));
        };
        for name in names.split(',').filter(|name| !name.is_empty()) {
            if !flags.set(name) {
                return Err(format!("ERR Unexpected flag in script shebang: {name}"));
            }
        }
    }
    Ok((flags, end))
}

/// The name of a library and where its code starts.
pub fn library_name(source: &[u8]) -> Result<(String, usize), String> {
    let Some(end) = source.starts_with(b"#!").then(|| memchr::memchr(b'\n', source)).flatten() else {
        return Err("ERR Missing library metadata".to_string());
    };
    let mut parts =
        words(&source[..end]).ok_or_else(|| "ERR Invalid library metadata".to_string())?.into_iter();
    let engine = parts.next().unwrap_or_default();
    let engine = engine.strip_prefix("#!").unwrap_or_default();
    let mut name = None;
    for part in parts {
        match part.split_once('=') {
            Some((key, value)) if key.eq_ignore_ascii_case("name") => {
                if name.replace(value.to_string()).is_some() {
                    return Err(
                        "ERR Invalid metadata value, name argument was given multiple times".to_string()
                    );
                }
            }
            _ => return Err(format!("ERR Invalid metadata value given: {part}")),
        }
    }
    let Some(name) = name else { return Err("ERR Library name was not given".to_string()) };
    if !is_name(&name) {
        return Err(
            "ERR Library names can only contain letters, numbers, or underscores(_) and must be at least one character long"
                .to_string(),
        );
    }
    if !engine.eq_ignore_ascii_case("lua") {
        return Err(format!("ERR Engine '{engine}' not found"));
    }
    Ok((name, end))
}

/// The words of a first line, which may stand in quotes; nothing if those are not balanced.
fn words(line: &[u8]) -> Option<Vec<String>> {
    let words = text::words::split(line)?;
    Some(words.into_iter().map(|word| String::from_utf8_lossy(&word).into_owned()).collect())
}

/// Whether a library or a function may be called this.
pub fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}
