//! Configuration files: from bytes to directives.
//!
//! The idea: a file is lines of words, quoted as Redis quotes them; `#` starts a comment line; a later line
//! wins, except that `save` and `client-output-buffer-limit` add up; `include` reads another file in place.
//! The first wrong line ends the reading with an error that shows where it is, what it says and what was
//! expected. The command line goes through [`apply`] as well, a directive a line.
//!
//! It must never know: a directive by name, except those that are no rows: they have no value to get or set.

use std::path::{Path, PathBuf};

use super::table::Id;
use super::{Config, UserLine, id};
use crate::error::{BadDirective, Error, Place};
use crate::text::glob::glob_match;
use crate::text::words::{self, quote};

/// Files that include one another deeper than this do so in a circle.
const DEEPEST_INCLUDE: usize = 16;

/// Directives of older servers that are read and ignored.
const IGNORED: [&str; 3] = ["list-max-ziplist-entries", "list-max-ziplist-value", "lua-replicate-commands"];

/// Names of lines that are no rows of the table.
const NOT_ROWS: [&str; 6] = ["user", "cache", "include", "rename-command", "loadmodule", "sentinel"];

/// Reads a file into a configuration and notes it as its file.
pub(super) fn load(config: &mut Config, path: &Path) -> Result<(), Error> {
    config.file =
        Some(std::path::absolute(path).map_err(|source| Error::Read { path: path.into(), source })?);
    load_one(config, path, 0)
}

/// Reads lines that come from no file into a configuration.
pub(super) fn load_standard_input(config: &mut Config, text: &[u8]) -> Result<(), Error> {
    load_lines(config, text, 0, |line| Place::StandardInput { line })
}

fn load_one(config: &mut Config, path: &Path, depth: usize) -> Result<(), Error> {
    let text = std::fs::read(path).map_err(|source| Error::Read { path: path.into(), source })?;
    load_text(config, path, &text, depth)
}

/// Reads the lines of a file whose content is at hand.
pub(super) fn load_text(config: &mut Config, path: &Path, text: &[u8], depth: usize) -> Result<(), Error> {
    load_lines(config, text, depth, |line| Place::File { path: path.into(), line })
}

fn load_lines(
    config: &mut Config,
    text: &[u8],
    depth: usize,
    place: impl Fn(usize) -> Place,
) -> Result<(), Error> {
    for (number, line) in text.split(|&b| b == b'\n').enumerate() {
        let line = line.trim_ascii();
        if line.is_empty() || line[0] == b'#' {
            continue;
        }
        let place = place(number + 1);
        if let Some(user) = user_of(line) {
            config.users.push(user);
            continue;
        }
        let words = words_of(&place, line)?;
        apply(config, &place, &words, depth)?;
    }
    Ok(())
}

/// Carries out one directive: its name and the words after it. `depth` counts the files included so far.
pub(super) fn apply(config: &mut Config, place: &Place, words: &[String], depth: usize) -> Result<(), Error> {
    let Some((name, given)) = words.split_first() else { return Ok(()) };
    if let Some(id) = Id::find(name) {
        return assign(config, id, given).map_err(|reason| {
            let (reason, expected) = (String::from(reason), id.row().kind.expected());
            // What is wrong with a word may name all that there are already.
            let is_named = expected.split_once(" of ").is_some_and(|(_, all)| reason.ends_with(all));
            bad(place, words, reason, if is_named { "" } else { &expected })
        });
    }
    let refuse = |reason: &str, expected: &str| Err(bad(place, words, reason, expected));
    match name.to_ascii_lowercase().as_str() {
        "user" if !given.is_empty() => {
            config.users.push(given.iter().map(|word| word.clone().into_bytes()).collect());
        }
        "cache" if !given.is_empty() => config.caches.push(given.to_vec()),
        "include" if given.len() == 1 => {
            if depth == DEEPEST_INCLUDE {
                return refuse("files include one another in a circle", "");
            }
            for path in included(&given[0]) {
                load_one(config, &path, depth + 1)?;
            }
        }
        "user" | "cache" | "include" => return refuse("wrong number of arguments", ""),
        "rename-command" => {
            return refuse("commands cannot be renamed", "ACL rules that keep users from the command");
        }
        "loadmodule" => return refuse("modules cannot be loaded", "no such line"),
        "sentinel" => return refuse("there is no sentinel: a cluster fails over by itself", "no such line"),
        ignored if IGNORED.contains(&ignored) && given.len() == 1 => {}
        unknown => return refuse("no such directive", &nearest(unknown)),
    }
    Ok(())
}

/// Whether a line may begin with this name.
pub(super) fn is_directive(name: &str) -> bool {
    Id::find(name).is_some() || NOT_ROWS.iter().chain(&IGNORED).any(|known| known.eq_ignore_ascii_case(name))
}

/// The words of a directive as a line that reads back as them.
pub(super) fn join(words: &[String]) -> String {
    words.iter().map(|word| quote(word.as_bytes())).collect::<Vec<_>>().join(" ")
}

/// What a `user` line says of whom. Names and patterns are bytes, unlike all else in a file.
fn user_of(line: &[u8]) -> Option<UserLine> {
    let mut words = words::split(line)?;
    let is_user = words.len() > 1 && words[0].eq_ignore_ascii_case(b"user");
    is_user.then(|| words.split_off(1))
}

/// The words of a line, as text.
pub(super) fn words_of(place: &Place, line: &[u8]) -> Result<Vec<String>, Error> {
    let shown = || -> Vec<String> {
        String::from_utf8_lossy(line).split_ascii_whitespace().map(String::from).collect()
    };
    let words = words::split(line)
        .ok_or_else(|| bad(place, &shown(), "unbalanced quotes in configuration line", ""))?;
    let text = words.into_iter().map(String::from_utf8).collect::<Result<Vec<_>, _>>();
    text.map_err(|_| bad(place, &shown(), "the line is not valid UTF-8", ""))
}

/// Gives a directive its words, as a file means them.
fn assign(config: &mut Config, id: Id, given: &[String]) -> Result<(), super::Reason> {
    if given.is_empty() && id != id::SAVE {
        return Err("wrong number of arguments".into());
    }
    let mut words = match given {
        // `save "900 1"` is `save 900 1`, so that one argument of a shell can carry them all.
        [one] if id.row().kind.takes_words() && !one.is_empty() => {
            let split = words::split(one.as_bytes()).ok_or("unbalanced quotes in configuration line")?;
            split.into_iter().map(|word| String::from_utf8_lossy(&word).into_owned()).collect()
        }
        _ => given.to_vec(),
    };
    if id == id::SAVE && !given.is_empty() && words != [""] {
        let so_far = config.text(id::SAVE);
        words.splice(0..0, so_far.split_ascii_whitespace().map(String::from));
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    config.assign(id, &words)
}

/// The files an `include` names. A name without wildcards stands for itself, be it there or not; with
/// wildcards, for all files that match, sorted, be it none.
fn included(pattern: &str) -> Vec<PathBuf> {
    if !pattern.contains(['*', '?', '[']) {
        return vec![pattern.into()];
    }
    let mut paths = vec![PathBuf::from(if pattern.starts_with('/') { "/" } else { "" })];
    for part in pattern.split('/').filter(|part| !part.is_empty()) {
        if !part.contains(['*', '?', '[']) {
            paths.iter_mut().for_each(|path| path.push(part));
            continue;
        }
        let mut matches = Vec::new();
        for path in paths {
            let here = if path.as_os_str().is_empty() { Path::new(".") } else { &path };
            // A directory that is not there has no files that match.
            for entry in std::fs::read_dir(here).into_iter().flatten().flatten() {
                let name = entry.file_name();
                let bytes = name.as_encoded_bytes();
                if glob_match(part.as_bytes(), bytes, false)
                    && (!bytes.starts_with(b".") || part.starts_with('.'))
                {
                    matches.push(path.join(&name));
                }
            }
        }
        matches.sort();
        paths = matches;
    }
    paths.retain(|path| path.exists());
    paths
}

fn bad(place: &Place, words: &[String], reason: impl Into<String>, expected: &str) -> Error {
    let name = words.first().map(String::as_str).unwrap_or_default();
    Error::Directive(Box::new(BadDirective {
        place: place.clone(),
        name: name.into(),
        reason: reason.into(),
        expected: expected.into(),
        line: if may_be_secret(name) { format!("{name} <hidden>") } else { join(words) },
    }))
}

/// Whether what follows this name may be a secret: the name is that of one, or may be meant to be.
fn may_be_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let telling = ["pass", "auth", "user", "secret", "key", "token", "rename"];
    match Id::find(&name) {
        Some(id) => id.row().sensitive,
        None => {
            telling.iter().any(|part| name.contains(part))
                || closest(&name).is_some_and(|id| id.row().sensitive)
        }
    }
}

/// What to say to someone who wrote a name that is not there.
fn nearest(name: &str) -> String {
    closest(name).map(|id| format!("perhaps {}", id.name())).unwrap_or_default()
}

/// The directive whose name differs least from this one, if that is a slip of the pen: half of its letters,
/// and no more than three.
fn closest(name: &str) -> Option<Id> {
    let most = (name.len() / 2).min(3);
    let to = |id: Id| {
        let row = id.row();
        let alias = if row.has_alias() { distance(name, row.alias) } else { usize::MAX };
        distance(name, row.name).min(alias)
    };
    Id::all()
        .map(|id| (to(id), id))
        .min_by_key(|(slips, _)| *slips)
        .filter(|(slips, _)| *slips <= most)
        .map(|(_, id)| id)
}

/// Letters to insert, remove or replace to turn one name into the other.
fn distance(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in to.bytes().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[to.len()]
}
