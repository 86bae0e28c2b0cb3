//! The file named by `aclfile`: users, a line each. What the lines mean is not known here.

use super::{Config, id, rewrite};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Where the file is: its name, in `dir` unless it says otherwise. Nothing if no such file is used.
pub fn path(config: &Config) -> Option<PathBuf> {
    let name = config.text(id::ACLFILE);
    (!name.is_empty()).then(|| Path::new(&*config.text(id::DIR)).join(&*name))
}

/// What stands in it.
pub fn read(config: &Config) -> io::Result<Vec<u8>> {
    fs::read(path(config).ok_or(io::ErrorKind::NotFound)?)
}

/// Puts `text` in its place, whole or not at all.
pub fn write(config: &Config, text: &[u8]) -> io::Result<()> {
    rewrite::replace(&path(config).ok_or(io::ErrorKind::NotFound)?, text)
}
