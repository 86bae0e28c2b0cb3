//! Servers under test and the servers they are compared with, as child processes.
//!
//! Invariant: a [`Server`] answers when its constructor returns, and is gone, with its directory, when it
//! is dropped. Well-known ports are never used.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::{memcache, resp};

/// How long a server may take to answer its first request.
const START: Duration = Duration::from_secs(20);

/// The file in its directory to which Shoal's log goes.
const LOG: &str = "log";

/// A running server.
pub struct Server {
    child: Child,
    dir: PathBuf,
    resp: Option<SocketAddr>,
    memcached: Option<SocketAddr>,
}

impl Server {
    /// A redis-server that keeps nothing on disk, with further command line `args`.
    pub fn redis(args: &[&str]) -> io::Result<Server> {
        // Between choosing a port and listening on it somebody else may take it: try again on another.
        retry(|| {
            let port = free_port()?;
            let dir = scratch_dir()?;
            let mut command = Command::new("redis-server");
            command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""]);
            command.args(["--appendonly", "no", "--enable-debug-command", "yes", "--daemonize", "no"]);
            command.args(args).current_dir(&dir).stdout(Stdio::null());
            let addr = local(port);
            Server::spawn(command, dir, Some(addr), None)?.ready()
        })
    }

    /// A memcached with further command line `args`.
    pub fn memcached(args: &[&str]) -> io::Result<Server> {
        retry(|| {
            let port = free_port()?;
            let dir = scratch_dir()?;
            let mut command = Command::new("memcached");
            // As root memcached refuses to start without a user to become; as anyone else it ignores -u.
            command.args(["-p", &port.to_string(), "-U", "0", "-l", "127.0.0.1", "-u", "nobody"]);
            command.args(args).stdout(Stdio::null());
            let addr = local(port);
            Server::spawn(command, dir, None, Some(addr))?.ready()
        })
    }

    /// The Shoal at `binary`, with further directives in `args`.
    pub fn shoal(binary: &Path, args: &[&str]) -> io::Result<Server> {
        retry(|| {
            let (port, other) = (free_port()?, free_port()?);
            let dir = scratch_dir()?;
            let mut command = Command::new(binary);
            command.args(["--bind", "127.0.0.1", "--port", &port.to_string()]);
            command.args(["--memcached-port", &other.to_string(), "--enable-debug-command", "yes"]);
            command.args(args).current_dir(&dir).env("NO_COLOR", "1");
            command.stdout(File::create(dir.join(LOG))?);
            Server::spawn(command, dir, Some(local(port)), Some(local(other)))?.ready()
        })
    }

    /// Any other server: `command` runs in its own directory, where its output goes too, and answers at `resp` or `memcached`.
    pub fn other(
        mut command: Command,
        resp: Option<SocketAddr>,
        memcached: Option<SocketAddr>,
    ) -> io::Result<Server> {
        let dir = scratch_dir()?;
        command.current_dir(&dir).stdout(File::create(dir.join(LOG))?);
        Server::spawn(command, dir, resp, memcached)?.ready()
    }

    /// Where it speaks RESP.
    pub fn resp_addr(&self) -> SocketAddr {
        self.resp.expect("this server speaks RESP")
    }

    /// Where it speaks the memcached protocol.
    pub fn memcached_addr(&self) -> SocketAddr {
        self.memcached.expect("this server speaks the memcached protocol")
    }

    /// A new RESP2 connection.
    pub fn connect(&self) -> resp::Client {
        resp::Client::connect(self.resp_addr()).expect("a running server accepts connections")
    }

    /// A new memcached connection.
    pub fn connect_memcached(&self) -> memcache::Client {
        memcache::Client::connect(self.memcached_addr()).expect("a running server accepts connections")
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The directory it was started in.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Waits for the process to end on its own.
    pub fn wait(&mut self, patience: Duration) -> io::Result<std::process::ExitStatus> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if Instant::now() > deadline {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "the server is still running"));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn spawn(
        mut command: Command,
        dir: PathBuf,
        resp: Option<SocketAddr>,
        memcached: Option<SocketAddr>,
    ) -> io::Result<Server> {
        command.stdin(Stdio::null());
        let child = command.spawn().map_err(|e| {
            io::Error::new(e.kind(), format!("{}: {e}", command.get_program().to_string_lossy()))
        })?;
        Ok(Server { child, dir, resp, memcached })
    }

    fn ready(mut self) -> io::Result<Server> {
        let deadline = Instant::now() + START;
        loop {
            if let Some(status) = self.child.try_wait()? {
                let log = fs::read_to_string(self.dir.join(LOG)).unwrap_or_default();
                return Err(io::Error::other(format!("the server ended at once: {status}\n{log}")));
            }
            // A server listens on all its ports before it accepts on one.
            if self.resp.or(self.memcached).is_none_or(|addr| TcpStream::connect(addr).is_ok()) {
                return Ok(self);
            }
            if Instant::now() > deadline {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "the server does not answer"));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only if the process or the directory is already gone.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// Where a node of Shoal lives that may be started again: its ports and its directory outlast its processes.
pub struct Place {
    /// Where it speaks RESP.
    pub addr: SocketAddr,
    /// Where it speaks to other nodes.
    pub cluster_port: u16,
    /// Its `dir`, which somebody else makes and removes.
    pub dir: PathBuf,
}

impl Place {
    /// One on free ports.
    pub fn new(dir: PathBuf) -> io::Result<Place> {
        Ok(Place { addr: local(free_port()?), cluster_port: free_port()?, dir })
    }

    /// Adds to a `command` that runs Shoal the directives by which it lives here.
    pub fn tell(&self, command: &mut Command) {
        command.args(["--bind", "127.0.0.1", "--port", &self.addr.port().to_string()]);
        command.args(["--memcached-port", "0", "--cluster-port", &self.cluster_port.to_string()]);
        command.arg("--dir").arg(&self.dir).env("NO_COLOR", "1");
    }
}

/// A port nobody listens on at the moment, and that this process has not been given before.
pub fn free_port() -> io::Result<u16> {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    loop {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        if GIVEN.lock().unwrap_or_else(PoisonError::into_inner).insert(port) {
            return Ok(port);
        }
    }
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

fn retry(start: impl Fn() -> io::Result<Server>) -> io::Result<Server> {
    let missing = |e: &io::Error| e.kind() == io::ErrorKind::NotFound;
    start().or_else(|e| if missing(&e) { Err(e) } else { start() })
}

/// A new directory of our own under the system's temporary one.
fn scratch_dir() -> io::Result<PathBuf> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = format!("shoal-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let dir = std::env::temp_dir().join(name);
    fs::create_dir_all(&dir)?;
    Ok(dir)
}
