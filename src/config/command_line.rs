//! The command line: which file to read, and directives that stand in for its lines.
//!
//! The idea: `--name word...` is the line `name word...` of a file that is read last, so every directive works
//! in both places and the command line wins.

use std::ffi::OsString;
use std::io::Read;
use std::path::Path;

use super::{Config, file};
use crate::error::{Error, Place};

const USAGE: &str = "\
Usage: shoal [FILE] [-] [--DIRECTIVE VALUE...]...

  FILE                  read this configuration file (conf/shoal.conf lists all directives)
  -                     read more lines from the standard input
  --DIRECTIVE VALUE...  set a directive, over what the file says
  --check-config        as the first argument: check the configuration and exit
  -v, --version         print the version and exit
  -h, --help            print this and exit

Examples:
  shoal                                     a node on 127.0.0.1, ports 6379 and 11211
  shoal /etc/shoal.conf --port 7000
  shoal --bind '* -::*' --maxmemory 4gb --maxmemory-policy allkeys-lru
  shoal --port 7001 --memcached-port 0 --join 10.0.0.1:6379
";

/// What the command line asks for.
#[derive(Debug)]
pub enum Startup {
    /// Serve with this configuration.
    Serve(Box<Config>),
    /// Print this text to the standard output and exit with code 0.
    Print(String),
}

/// Reads the arguments that follow the program's name, and the file and standard input they name.
pub fn parse_command_line(args: impl IntoIterator<Item = OsString>) -> Result<Startup, Error> {
    let text = |arg: OsString| {
        let wrong = |arg: OsString| Error::CommandLine(format!("argument {arg:?} is not valid UTF-8"));
        arg.into_string().map_err(wrong)
    };
    let args = args.into_iter().map(text).collect::<Result<Vec<String>, Error>>()?;
    let mut args = args.as_slice();
    match args.first().map(String::as_str) {
        Some("-v" | "--version") => return Ok(Startup::Print(version())),
        Some("-h" | "--help") => return Ok(Startup::Print(USAGE.into())),
        _ => {}
    }
    let only_check = skip(&mut args, |arg| arg == "--check-config").is_some();
    let mut config = Config::default();
    if let Some(path) = skip(&mut args, |arg| !arg.starts_with('-')) {
        file::load(&mut config, Path::new(path))?;
    }
    if skip(&mut args, |arg| arg == "-").is_some() {
        let mut text = Vec::new();
        let read = std::io::stdin().read_to_end(&mut text);
        read.map_err(|source| Error::Read { path: "the standard input".into(), source })?;
        file::load_standard_input(&mut config, &text)?;
    }
    for words in directives(args)? {
        file::apply(&mut config, &Place::CommandLine, &words, 0)?;
    }
    config.check()?;
    match only_check {
        true => Ok(Startup::Print("The configuration is correct.\n".into())),
        false => Ok(Startup::Serve(Box::new(config))),
    }
}

/// Takes the first argument off if it is such a one.
fn skip<'a>(args: &mut &'a [String], is_such: impl Fn(&str) -> bool) -> Option<&'a str> {
    let (first, rest) = args.split_first().filter(|(first, _)| is_such(first))?;
    *args = rest;
    Some(first)
}

/// Parts arguments into directives: the name without its dashes, then its words.
///
/// An argument with two dashes is a name, except right after a name, where it is one only if there is such a
/// directive: a password may begin with dashes, and `--save --port 7000` must not take a port for a word.
fn directives(args: &[String]) -> Result<Vec<Vec<String>>, Error> {
    let mut all: Vec<Vec<String>> = Vec::new();
    for arg in args {
        let name = arg.strip_prefix("--").filter(|name| !name.is_empty());
        match (name, all.last_mut()) {
            (Some(name), Some(last)) if last.len() == 1 && !file::is_directive(name) => {
                last.push(arg.clone())
            }
            // `"--maxmemory 1gb"` as one argument is the whole line.
            (Some(line), _) if line.contains(' ') => {
                all.push(file::words_of(&Place::CommandLine, line.as_bytes())?)
            }
            (Some(name), _) => all.push(vec![name.into()]),
            (None, Some(last)) => last.push(arg.clone()),
            (None, None) => {
                return Err(Error::CommandLine(format!("what is {arg:?}? Try shoal --help")));
            }
        }
    }
    Ok(all)
}

fn version() -> String {
    format!("Shoal {}\n", env!("CARGO_PKG_VERSION"))
}
