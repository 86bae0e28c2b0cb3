//! The files named by `aclfile` and `memcached-auth-file`: users, a line each. What the lines mean is not known here.

use super::table::Id;
use super::{Config, id, rewrite};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Where the file is: its name, in `dir` unless it says otherwise. Nothing if no such file is used.
pub fn path(config: &Config) -> Option<PathBuf> {
    named(config, id::ACLFILE)
}

/// The same of the file of those who use the memcached protocol.
pub fn memcached_path(config: &Config) -> Option<PathBuf> {
    named(config, id::MEMCACHED_AUTH_FILE)
}

fn named(config: &Config, directive: Id) -> Option<PathBuf> {
    let name = config.text(directive);
    (!name.is_empty()).then(|| Path::new(&*config.text(id::DIR)).join(&*name))
}

/// What stands in the file at `path`.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    fs::read(path)
}

/// Puts `text` in its place, whole or not at all.
pub fn write(config: &Config, text: &[u8]) -> io::Result<()> {
    rewrite::replace(&path(config).ok_or(io::ErrorKind::NotFound)?, text)
}
