//! The log: lines on standard output or in `logfile`, at the level of `loglevel`.

use crate::config::{Config, id};
use crate::error::Error;
use std::fs::OpenOptions;
use std::sync::Mutex;
use tracing::level_filters::LevelFilter;

/// Begins logging for the whole process. Where the embedding program logs already, that stays.
pub fn start(config: &Config) -> Result<(), Error> {
    let level = match config.choice(id::LOGLEVEL) {
        "debug" => LevelFilter::DEBUG,
        "warning" => LevelFilter::WARN,
        "nothing" => LevelFilter::OFF,
        _ => LevelFilter::INFO,
    };
    let path = config.text(id::LOGFILE);
    let log = tracing_subscriber::fmt().with_max_level(level).with_target(false);
    if path.is_empty() {
        let _ = log.try_init();
    } else {
        let file = OpenOptions::new().create(true).append(true).open(&*path);
        let file = file.map_err(|source| Error::Write { path: (&*path).into(), source })?;
        let _ = log.with_ansi(false).with_writer(Mutex::new(file)).try_init();
    }
    Ok(())
}
