//! The conversations in `transcripts/*.txt`.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use shoal_testkit::Server;
use shoal_testkit::transcript::{Level, Transcript};

/// The files.
const NAMES: &[&str] = &["string"];

fn verdict(failures: &[String]) {
    assert!(failures.is_empty(), "{} wrong:\n{}", failures.len(), failures.join("\n"));
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/transcripts")
}

fn read(name: &str) -> Transcript {
    let file = format!("{name}.txt");
    let text = fs::read_to_string(directory().join(&file)).expect(&file);
    Transcript::parse(&file, &text).unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn every_file_is_a_test() {
    let files: BTreeSet<String> = fs::read_dir(directory())
        .expect("the directory of transcripts")
        .filter_map(|entry| Some(entry.ok()?.path().file_stem()?.to_string_lossy().into_owned()))
        .collect();
    let names: BTreeSet<String> = NAMES.iter().map(|n| n.to_string()).collect();
    assert_eq!(files, names);
}

/// What the transcripts expect is what the server they are taken from does.
#[test]
fn redis_says_the_same() {
    match Server::redis(&[]) {
        Ok(server) => {
            let failures = |name: &&str| read(name).run(&server, Level::Redis70);
            verdict(&NAMES.iter().flat_map(failures).collect::<Vec<_>>());
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => eprintln!("skipped: {e}"),
        Err(e) => panic!("{e}"),
    }
}
