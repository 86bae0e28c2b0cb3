//! What init scripts and service managers expect of a server: that it goes to the background, leaves its process
//! id in a file, and says when it is ready.

use crate::config::{Config, id};
use crate::error::Error;
use std::fs;
use std::io::{self, PipeWriter, Read, Write};
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::PathBuf;

/// A process in the background whose parent waits to hear that it is ready.
pub struct Background {
    parent: PipeWriter,
}

/// Goes to the background if `config` says so and nobody supervises this process. Call before there are threads.
///
/// Only the child returns. The parent ends with exit code 0 once the child is ready, with 1 if it never will be.
pub fn detach(config: &Config) -> Result<Option<Background>, Error> {
    if !config.flag(id::DAEMONIZE) || config.choice(id::SUPERVISED) != "no" {
        return Ok(None);
    }
    let fail = |source| Error::Thread { source };
    let (mut child, parent) = io::pipe().map_err(fail)?;
    // SAFETY: there is one thread, so the child finds no lock taken by another.
    match unsafe { libc::fork() } {
        -1 => Err(fail(io::Error::last_os_error())),
        0 => {
            drop(child);
            // SAFETY: the call has no arguments. It only fails for the leader of a group, which a child is not.
            unsafe { libc::setsid() };
            Ok(Some(Background { parent }))
        }
        _ => {
            drop(parent);
            let is_ready = child.read_exact(&mut [0]).is_ok();
            std::process::exit(i32::from(!is_ready));
        }
    }
}

impl Background {
    /// Leaves the terminal and lets the parent end.
    pub fn ready(mut self) -> io::Result<()> {
        let nothing = fs::OpenOptions::new().read(true).write(true).open("/dev/null")?;
        for stream in 0..3 {
            // SAFETY: both are open descriptors of this process.
            if unsafe { libc::dup2(nothing.as_raw_fd(), stream) } < 0 {
                return Err(io::Error::last_os_error());
            }
        }
        self.parent.write_all(&[1])
    }
}

/// The file with this process's id, removed when this is dropped.
pub struct PidFile(PathBuf);

impl PidFile {
    /// Writes it, if `config` names one. As with Redis, one that cannot be written stops nothing.
    pub fn write(config: &Config) -> Option<PidFile> {
        let path = config.path(id::PIDFILE)?;
        match fs::write(&path, format!("{}\n", std::process::id())) {
            Ok(()) => Some(PidFile(path)),
            Err(error) => {
                tracing::warn!("cannot write pidfile {}: {error}", path.display());
                None
            }
        }
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Tells systemd, if it started this process and `config` says so, how things stand: `READY=1` or `STOPPING=1`.
pub fn notify(config: &Config, news: &str) {
    if !matches!(config.choice(id::SUPERVISED), "systemd" | "auto") {
        return;
    }
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let send = || {
        let path = path.as_encoded_bytes();
        let to = match path.strip_prefix(b"@") {
            Some(name) => SocketAddr::from_abstract_name(name)?,
            None => SocketAddr::from_pathname(std::path::Path::new(&*String::from_utf8_lossy(path)))?,
        };
        UnixDatagram::unbound()?.send_to_addr(news.as_bytes(), &to)
    };
    if let Err(error) = send() {
        tracing::warn!("cannot tell the service manager {news}: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pid_file_lives_as_long_as_its_owner() {
        let path = std::env::temp_dir().join(format!("shoal-pid-{}", std::process::id()));
        let mut config = Config::default();
        assert!(PidFile::write(&config).is_none());
        config.set("pidfile", &path.to_string_lossy()).expect("a path");
        let file = PidFile::write(&config).expect("can be written");
        assert_eq!(fs::read_to_string(&path).expect("is there"), format!("{}\n", std::process::id()));
        drop(file);
        assert!(!path.exists());
        config.set("pidfile", "/no/such/directory/pid").expect("a path");
        assert!(PidFile::write(&config).is_none());
    }
}
