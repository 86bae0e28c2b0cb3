//! What can stop a node from starting, or an embedded one from being built.
//!
//! The idea: one error, printed once with its chain by whoever started the node. Errors a client sees are
//! another matter and another type. Secrets never reach a message: a line that may hold one is shown by its
//! first word only.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// Why a node could not be started or built.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// A directive is unknown, or its value is not one it can have.
    Directive(Box<BadDirective>),
    /// Two directives, each correct, cannot stand together. The text names both.
    Conflict(String),
    /// A file could not be read.
    Read {
        /// Its path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file could not be written.
    Write {
        /// Its path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// An address could not be listened on.
    Listen {
        /// The directive that says so.
        directive: String,
        /// Host and port.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// A worker's thread could not be started.
    Thread {
        /// What the system said.
        source: io::Error,
    },
    /// The command line makes no sense. The text says why.
    CommandLine(String),
    /// The configuration file cannot be rewritten, as this node was started without one.
    NoConfigFile,
    /// A node that ran cannot go on. The text says why.
    Failed(String),
}

/// A directive that could not be taken.
#[derive(Debug)]
pub struct BadDirective {
    /// Where it stands.
    pub place: Place,
    /// Its name as written, or "" when the line has none.
    pub name: String,
    /// What is wrong.
    pub reason: String,
    /// What would be right, or "" when the reason says it.
    pub expected: String,
    /// The line as written, its secrets left out.
    pub line: String,
}

/// Where a directive stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A line of a file, counted from 1.
    File {
        /// The file.
        path: PathBuf,
        /// The line.
        line: usize,
    },
    /// A line of the standard input, counted from 1.
    StandardInput {
        /// The line.
        line: usize,
    },
    /// The command line.
    CommandLine,
    /// The program this node is embedded in.
    Program,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Directive(bad) => bad.fmt(f),
            Error::Conflict(text) | Error::CommandLine(text) | Error::Failed(text) => f.write_str(text),
            Error::Read { path, .. } => write!(f, "cannot read {}", path.display()),
            Error::Write { path, .. } => write!(f, "cannot write {}", path.display()),
            Error::Listen { directive, address, .. } => write!(f, "{directive}: cannot listen on {address}"),
            Error::Thread { .. } => f.write_str("cannot start a thread"),
            Error::NoConfigFile => f.write_str("The server is running without a config file"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Read { source, .. }
            | Error::Write { source, .. }
            | Error::Listen { source, .. }
            | Error::Thread { source } => Some(source),
            Error::Directive(_)
            | Error::Conflict(_)
            | Error::CommandLine(_)
            | Error::NoConfigFile
            | Error::Failed(_) => None,
        }
    }
}

impl fmt::Display for BadDirective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.place)?;
        if !self.name.is_empty() {
            write!(f, "{}: ", self.name)?;
        }
        f.write_str(&self.reason)?;
        if !self.expected.is_empty() {
            write!(f, "; expected {}", self.expected)?;
        }
        write!(f, "\n>>> {}", self.line)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::File { path, line } => write!(f, "{}, line {line}", path.display()),
            Place::StandardInput { line } => write!(f, "standard input, line {line}"),
            Place::CommandLine => f.write_str("command line"),
            Place::Program => f.write_str("configuration"),
        }
    }
}

/// An error and what caused it, on one line.
pub fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
