//! Servers under test and the servers they are compared with, as child processes.
//!
//! Invariant: a [`Server`] answers when its constructor returns, and is gone, with its directory, when it
//! is dropped. Well-known ports are never used.

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::{memcache, resp};

/// How long a server may take to answer its first request.
const START: Duration = Duration::from_secs(20);

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

    /// The Shoal at `binary`, with both its ports, and further directives in `args`.
    ///
    /// Both ports are asked for as 0 and read from the line it logs when it is ready.
    pub fn shoal(binary: &Path, args: &[&str]) -> io::Result<Server> {
        let dir = scratch_dir()?;
        let mut command = Command::new(binary);
        command.args(["--bind", "127.0.0.1", "--port", "0", "--memcached-port", "0"]);
        command.args(["--enable-debug-command", "yes"]).args(args).current_dir(&dir);
        command.env("NO_COLOR", "1").stdout(Stdio::piped());
        let mut server = Server::spawn(command, dir, None, None)?;
        let (resp, memcached) = server.announced_ports()?;
        server.resp = Some(resp);
        server.memcached = Some(memcached);
        server.ready()
    }

    /// Any other server: `command` runs in its own directory and answers at `resp` or `memcached`.
    pub fn other(
        mut command: Command,
        resp: Option<SocketAddr>,
        memcached: Option<SocketAddr>,
    ) -> io::Result<Server> {
        let dir = scratch_dir()?;
        command.current_dir(&dir);
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
                return Err(io::Error::other(format!("the server ended at once: {status}")));
            }
            let answers = |addr: Option<SocketAddr>| addr.is_none_or(|a| TcpStream::connect(a).is_ok());
            if answers(self.resp) && answers(self.memcached) {
                return Ok(self);
            }
            if Instant::now() > deadline {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "the server does not answer"));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Reads the log until a line names both ports, then keeps draining it so the server never blocks.
    fn announced_ports(&mut self) -> io::Result<(SocketAddr, SocketAddr)> {
        let out = self.child.stdout.take().expect("stdout is piped");
        let (found, wait) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                if let Some(ports) = ports_in(&line) {
                    // The receiver may be gone: it waits for the first line only.
                    let _ = found.send(ports);
                }
            }
        });
        wait.recv_timeout(START).map_err(|_| io::Error::other("the server did not say its ports"))
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

/// The addresses in a line that says `resp=127.0.0.1:1 memcached=127.0.0.1:2` among other words.
fn ports_in(line: &str) -> Option<(SocketAddr, SocketAddr)> {
    let field = |name: &str| line.split_whitespace().find_map(|w| w.strip_prefix(name)?.parse().ok());
    Some((field("resp=")?, field("memcached=")?))
}

/// A port nobody listens on at the moment.
pub fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
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
