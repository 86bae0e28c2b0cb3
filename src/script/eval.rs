//! Scripts by their digests: EVAL compiles each once.
//!
//! What EVAL brought is kept for the last [`KEPT`] of them; what SCRIPT LOAD brought stays.

use super::Vm;
use super::shebang::{ScriptFlags, script_flags};
use hashbrown::HashMap;
use mlua::RegistryKey;
use std::collections::VecDeque;

/// Scripts kept that only EVAL brought.
const KEPT: usize = 500;
/// A digest in hexadecimal digits, lower case.
pub type Digest = [u8; 40];

/// A script, compiled.
pub struct Script {
    /// What it promises.
    pub flags: ScriptFlags,
    function: RegistryKey,
    source: Box<[u8]>,
    loaded: bool,
}

/// All scripts and the machine they run in.
pub struct Scripts {
    vm: Vm,
    scripts: HashMap<Digest, Script>,
    /// Those only EVAL brought, the least recently brought first.
    order: VecDeque<Digest>,
    /// How many were dropped to make room.
    pub evicted: u64,
}

impl Default for Scripts {
    fn default() -> Self {
        Scripts { vm: Vm::new(|_, _| Ok(())), scripts: HashMap::new(), order: VecDeque::new(), evicted: 0 }
    }
}

impl Scripts {
    /// The digest of `source`, under which it is kept from now on; `load`ed ones for good. An error is why it cannot be.
    pub fn add(&mut self, source: &[u8], load: bool) -> Result<Digest, String> {
        let digest = digest(source);
        if let Some(script) = self.scripts.get_mut(&digest) {
            if load && !std::mem::replace(&mut script.loaded, true) {
                self.order.retain(|other| *other != digest);
            }
            return Ok(digest);
        }
        let (flags, start) = script_flags(source)?;
        let function = self
            .vm
            .compile(&source[start..], "@user_script")
            .and_then(|function| self.vm.keep(function))
            .map_err(|error| format!("ERR Error compiling script (new function): {error}"))?;
        if !load {
            while self.order.len() >= KEPT {
                if let Some(oldest) = self.order.pop_front() {
                    self.scripts.remove(&oldest);
                    self.evicted += 1;
                }
            }
            self.order.push_back(digest);
        }
        self.scripts.insert(digest, Script { flags, function, source: source.into(), loaded: load });
        Ok(digest)
    }

    /// The script with a digest in any case.
    pub fn find(&self, digest: &[u8]) -> Option<(Digest, &Script)> {
        let mut key: Digest = digest.try_into().ok()?;
        key.make_ascii_lowercase();
        self.scripts.get(&key).map(|script| (key, script))
    }

    /// The machine.
    pub fn vm(&self) -> &Vm {
        &self.vm
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.scripts.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.scripts.is_empty()
    }

    /// Bytes the sources take.
    pub fn memory(&self) -> usize {
        self.scripts.values().map(|script| script.source.len() + size_of::<Script>()).sum()
    }
}

impl Script {
    /// What runs.
    pub fn function(&self) -> &RegistryKey {
        &self.function
    }

    /// Its text.
    pub fn source(&self) -> &[u8] {
        &self.source
    }
}

fn digest(source: &[u8]) -> Digest {
    use sha1::Digest as _;
    let bytes = sha1::Sha1::digest(source);
    let mut digits = [0; 40];
    for (pair, byte) in digits.chunks_exact_mut(2).zip(bytes) {
        pair[0] = b"0123456789abcdef"[usize::from(byte >> 4)];
        pair[1] = b"0123456789abcdef"[usize::from(byte & 15)];
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values held outside of the machine have a stack of 8,000 places.
    #[test]
    fn there_may_be_any_number_of_scripts() {
        let mut scripts = Scripts::default();
        for number in 0..9000 {
            scripts.add(format!("return {number}").as_bytes(), true).expect("there is room");
        }
        assert_eq!(scripts.len(), 9000);
    }
}
