//! The house rules a compiler does not check: who may know whom, and who may touch the world.
//!
//! Idea: the rules are two tables, and the sources are read as text. Comments and what follows the first
//! `#[cfg(test)]` of a file do not count.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// From the lowest. A layer knows those before it.
const LAYERS: &[&str] =
    &["text", "cluster", "store", "script", "state", "command", "worker", "server", "main"];

/// Known by every layer from `store` on; these know `text`, and each other.
const EVERYWHERE: &[&str] = &["config", "error", "memory", "process"];

/// Known beside the layers before it: `(who, whom)`.
const ALSO: &[(&str, &str)] = &[];

/// Words that reach out of the program, and the places (files or directories under `src`) that may say them.
const REACH: &[(&str, &[&str])] = &[
    ("tokio::", &["cluster/link", "cluster/consensus", "worker/", "server/", "main.rs"]),
    ("TcpStream", &["cluster/link", "server/"]),
    ("TcpListener", &["cluster/link", "server/"]),
    // Asked from which address the way to another node begins.
    ("UdpSocket", &["server/member/joining.rs"]),
    ("UnixListener", &["server/"]),
    // The configuration is a file, the process and its machine are described by files.
    ("std::fs", &["cluster/consensus", "config/", "process.rs", "memory.rs", "server/", "main.rs"]),
    // One clock reading serves a batch of commands.
    (
        "Instant::now",
        &[
            "cluster/link",
            "cluster/consensus",
            "worker/",
            "server/",
            "state/mod.rs",
            "state/cluster.rs",
            "command/call.rs",
            "command/blocking.rs",
        ],
    ),
    // TIME answers with the clock itself, and what is recorded bears it.
    ("SystemTime::now", &["worker/", "server/", "state/mod.rs", "command/server.rs", "command/record.rs"]),
    ("std::process::exit", &["main.rs", "server/service.rs"]),
    ("println!", &["main.rs"]),
];

/// Words the protocol crate never says: it knows bytes only.
const BEYOND_PROTOCOL: &[&str] =
    &["tokio", "std::net", "std::fs", "std::time", "std::thread", "shoal::", "SystemTime", "Instant"];

/// Words nobody leaves behind.
const LEFTOVERS: &[&str] = &["TODO", "FIXME", "XXX", "HACK", "allow(dead_code)", "allow(unused"];

#[test]
fn layers_know_only_those_below() {
    let mut wrong = Vec::new();
    for file in sources("src") {
        let module = file.module();
        let Some(layer) = module.first().map(String::as_str) else { continue };
        for (line, known) in file.references() {
            if !may_know(layer, &known) {
                wrong.push(format!("{}:{line}: {layer} must not know {known}", file.name));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

fn may_know(layer: &str, known: &str) -> bool {
    let rank = |name: &str| LAYERS.iter().position(|l| *l == name);
    if layer == known || ALSO.contains(&(layer, known)) {
        return true;
    }
    match (rank(layer), rank(known)) {
        (Some(layer), Some(known)) => known < layer,
        // `text` is the ground: it knows nobody.
        (Some(layer), None) => !EVERYWHERE.contains(&known) || layer > 0,
        (None, _) => known == "text" || EVERYWHERE.contains(&known) || !EVERYWHERE.contains(&layer),
    }
}

#[test]
fn every_module_has_its_place() {
    let known = |name: &String| LAYERS.contains(&name.as_str()) || EVERYWHERE.contains(&name.as_str());
    let strangers: Vec<String> =
        sources("src").iter().filter_map(|f| f.module().first().cloned()).filter(|m| !known(m)).collect();
    assert!(strangers.is_empty(), "name them in the tables of tests/tidy.rs: {strangers:?}");
}

#[test]
fn the_world_is_reached_from_few_places() {
    let mut wrong = Vec::new();
    for file in sources("src") {
        for (word, places) in REACH {
            let path = file.name.trim_start_matches("src/");
            if places.iter().any(|place| path.starts_with(place)) {
                continue;
            }
            for (line, text) in file.code.iter().filter(|(_, text)| text.contains(word)) {
                wrong.push(format!("{}:{line}: {word} has no place here: {}", file.name, text.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn the_protocol_crate_knows_bytes_only() {
    let mut wrong = Vec::new();
    for file in sources("protocol/src") {
        for word in BEYOND_PROTOCOL {
            for (line, _) in file.code.iter().filter(|(_, text)| text.contains(word)) {
                wrong.push(format!("{}:{line}: {word}", file.name));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn files_open_with_what_they_are_for() {
    let mut wrong = Vec::new();
    for directory in ["src", "protocol/src", "tests", "benches"] {
        for file in sources(directory) {
            // The tests of a file belong to it and need no introduction.
            if !file.text.starts_with("//!") && !file.name.ends_with("/tests.rs") {
                wrong.push(format!("{} does not open with //!", file.name));
            }
            let this = file.name == "tests/tidy.rs";
            for (at, text) in file.text.lines().enumerate().filter(|_| !this) {
                if let Some(word) = LEFTOVERS.iter().find(|word| text.contains(**word)) {
                    wrong.push(format!("{}:{}: {word}", file.name, at + 1));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn references_are_found_however_they_are_written() {
    let text = "use crate::{a::{b, c}, d};\nuse crate::e;\nfn f() { crate::g::h() }\n// crate::i\nuse super::j;\n\
                use super::super::k;\n#[cfg(test)]\nuse crate::l;\n";
    let file = Source::new("src/command/string.rs".into(), text.into());
    let found: Vec<String> = file.references().into_iter().map(|(_, name)| name).collect();
    assert_eq!(found, ["a", "d", "e", "g", "k"]);
}

/// A source file.
struct Source {
    /// Its path from the root of the repository.
    name: String,
    text: String,
    /// Its lines of code outside tests, with their numbers.
    code: BTreeMap<usize, String>,
}

impl Source {
    fn new(name: String, text: String) -> Source {
        let code = text
            .lines()
            .enumerate()
            .take_while(|(_, line)| !line.trim_start().starts_with("#[cfg(test)]"))
            .filter(|(_, line)| !line.trim_start().starts_with("//"))
            .map(|(at, line)| (at + 1, line.to_string()))
            .collect();
        Source { name, text, code }
    }

    /// The modules it lies in and is, from the root of its crate; nothing for `lib.rs`.
    fn module(&self) -> Vec<String> {
        let path = self.name.trim_start_matches("src/").trim_end_matches(".rs");
        let path = path.trim_end_matches("/mod");
        if path == "lib" { Vec::new() } else { path.split('/').map(String::from).collect() }
    }

    /// Top-level modules of the crate it names, with the lines.
    fn references(&self) -> Vec<(usize, String)> {
        let up = "super::".repeat(self.module().len());
        let mut found = Vec::new();
        let code: String = self.code.iter().map(|(at, line)| format!("\u{1}{at}\u{2}{line}\n")).collect();
        for prefix in ["crate::", up.as_str()] {
            for (at, _) in code.match_indices(prefix) {
                let before = code[..at].chars().next_back();
                if before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '_' | ':' | '$')) {
                    continue;
                }
                let number = code[..at].rsplit('\u{1}').next().and_then(|l| l.split('\u{2}').next());
                let number = number.and_then(|n| n.parse().ok()).unwrap_or(0);
                found.extend(names(&code[at + prefix.len()..]).into_iter().map(|name| (number, name)));
            }
        }
        found
    }
}

/// The first names of the path, or of each path of the group, that `text` begins with.
fn names(text: &str) -> Vec<String> {
    let ident =
        |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let Some(group) = text.strip_prefix('{') else { return vec![ident(text)] };
    let (mut names, mut depth, mut fresh) = (Vec::new(), 0, true);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => fresh = true,
            c if fresh && c.is_alphabetic() => {
                names.push(ident(&group[at..]));
                fresh = false;
            }
            _ => {}
        }
    }
    names
}

/// The Rust sources under `directory`, benchmarks' and tests' packages included.
fn sources(directory: &str) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut left = vec![root.join(directory)];
    let mut files = Vec::new();
    while let Some(directory) = left.pop() {
        let entries = fs::read_dir(&directory).unwrap_or_else(|e| panic!("{}: {e}", directory.display()));
        for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
            if path.is_dir() {
                left.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    files.iter().map(|path| read(root, path)).collect()
}

fn read(root: &Path, path: &PathBuf) -> Source {
    let name = path.strip_prefix(root).unwrap_or(path).to_string_lossy().into_owned();
    let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{name}: {e}"));
    // A file of tests holds no code of the program.
    match name.starts_with("src/") && (name.ends_with("/tests.rs") || name.contains("/tests/")) {
        true => Source { name, text, code: BTreeMap::new() },
        false => Source::new(name, text),
    }
}
