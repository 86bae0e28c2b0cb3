//! The log: lines on standard output or in `logfile`, at the level of `loglevel`.
//!
//! The file is opened for every line, as Redis does, so whoever rotates logs need not tell this process.

use crate::config::{Config, id};
use crate::error::Error;
use std::fs::OpenOptions;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, filter_fn};
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::Registry;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;

/// The level of the log this process began, if it did.
static LEVEL: OnceLock<reload::Handle<LevelFilter, Registry>> = OnceLock::new();

static IN_A_FILE: AtomicBool = AtomicBool::new(false);

/// Whether this process logs to a file.
pub fn is_in_a_file() -> bool {
    IN_A_FILE.load(Ordering::Relaxed)
}

/// Begins logging for the whole process. Where the embedding program logs already, that stays.
pub fn start(config: &Config) -> Result<(), Error> {
    let path = config.path(id::LOGFILE);
    let colours = path.is_none() && io::stdout().is_terminal();
    let writer = match path {
        None => BoxMakeWriter::new(io::stdout),
        Some(path) => {
            append(&path).map_err(|source| Error::Write { path: path.clone(), source })?;
            IN_A_FILE.store(true, Ordering::Relaxed);
            BoxMakeWriter::new(move || -> Box<dyn Write> {
                // A disk that is full must not stop the node.
                append(&path).map_or_else(|_| Box::new(io::sink()) as Box<dyn Write>, |file| Box::new(file))
            })
        }
    };
    let lines = tracing_subscriber::fmt::layer().with_target(false).with_ansi(colours).with_writer(writer);
    // What libraries log is about their insides; what an administrator must know of it is said by us.
    let lines = lines.with_filter(filter_fn(|line| line.target().starts_with("shoal")));
    let (filter, handle) = reload::Layer::new(level(config));
    if tracing_subscriber::registry().with(filter).with(lines).try_init().is_ok() {
        let _ = LEVEL.set(handle);
    }
    Ok(())
}

/// Follows a change of `loglevel`.
pub fn set_level(config: &Config) {
    if let Some(handle) = LEVEL.get() {
        let _ = handle.reload(level(config));
    }
}

fn append(path: &Path) -> io::Result<std::fs::File> {
    OpenOptions::new().create(true).append(true).open(path)
}

/// The level as the log knows it.
fn level(config: &Config) -> LevelFilter {
    match config.choice(id::LOGLEVEL) {
        "debug" => LevelFilter::TRACE,
        "verbose" => LevelFilter::DEBUG,
        "warning" => LevelFilter::WARN,
        "nothing" => LevelFilter::OFF,
        _ => LevelFilter::INFO,
    }
}
