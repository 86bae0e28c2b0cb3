//! The servers measured: started on chosen cores, and what the kernel says they used.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;

use shoal_testkit::Server;
use shoal_testkit::server::free_port;

use crate::workload::{Protocol, Workload};
use crate::{Failure, Options};

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The bare loop of [`crate::floor`].
    Floor,
    /// redis-server.
    Redis,
    /// memcached with so many worker threads.
    Memcached(usize),
    /// Shoal with so many workers.
    Shoal(usize),
}

impl Kind {
    /// Its name in a report.
    pub fn name(self) -> String {
        match self {
            Kind::Floor => "floor".into(),
            Kind::Redis => "redis".into(),
            Kind::Memcached(1) => "memcached".into(),
            Kind::Memcached(n) => format!("memcached -t {n}"),
            Kind::Shoal(1) => "shoal".into(),
            Kind::Shoal(n) => format!("shoal x{n}"),
        }
    }
}

/// A running server.
pub struct Contender {
    /// Which.
    pub kind: Kind,
    server: Server,
    resp: Option<SocketAddr>,
    memcached: Option<SocketAddr>,
}

impl Contender {
    /// Starts `kind` on `cores` (as `taskset -c` names them); the floor answers as `workload` needs.
    pub fn start(
        kind: Kind,
        cores: &str,
        workload: &Workload,
        options: &Options,
    ) -> Result<Contender, Failure> {
        let port = free_port()?;
        let text = port.to_string();
        let here = |port| Some(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        let mut command = Command::new("taskset");
        command.args(["-c", cores]);
        let (mut resp, mut memcached) = (here(port), None);
        match kind {
            Kind::Floor => {
                let reply = std::env::temp_dir().join(format!("shoal-floor-{}", std::process::id()));
                fs::write(&reply, workload.constant_reply())?;
                let protocol = match workload.protocol {
                    Protocol::Resp => "resp",
                    Protocol::Memcached => "memcached",
                };
                command.arg(std::env::current_exe()?).args(["floor", protocol, &text]).arg(reply);
                memcached = resp;
            }
            Kind::Redis => {
                command.args(["redis-server", "--port", &text, "--bind", "127.0.0.1", "--save", ""]);
                command.args(["--appendonly", "no"]).stdout(std::process::Stdio::null());
            }
            Kind::Memcached(threads) => {
                command.args(["memcached", "-p", &text, "-U", "0", "-l", "127.0.0.1", "-u", "nobody"]);
                command.args(["-m", "16384", "-t", &threads.to_string()]);
                (resp, memcached) = (None, here(port));
            }
            Kind::Shoal(workers) => {
                let other = free_port()?;
                command.arg(&options.shoal).args(["--bind", "127.0.0.1", "--port", &text]);
                command.args(["--memcached-port", &other.to_string(), "--workers", &workers.to_string()]);
                command.stdout(std::process::Stdio::null());
                memcached = here(other);
            }
        }
        let server = Server::other(command, resp, if kind == Kind::Floor { None } else { memcached })?;
        Ok(Contender { kind, server, resp, memcached })
    }

    /// Where it speaks `protocol`.
    pub fn addr(&self, protocol: Protocol) -> SocketAddr {
        let addr = match protocol {
            Protocol::Resp => self.resp,
            Protocol::Memcached => self.memcached,
        };
        addr.expect("no workload is given to a server that does not speak it")
    }

    /// Removes every key.
    pub fn flush(&self, protocol: Protocol) -> io::Result<()> {
        match (self.kind, protocol) {
            (Kind::Floor, _) => Ok(()),
            (_, Protocol::Resp) => self.server.connect().line("FLUSHALL SYNC").map(drop),
            (_, Protocol::Memcached) => self.server.connect_memcached().line("flush_all").map(drop),
        }
    }

    /// Processor time it has used, in nanoseconds, all threads together.
    pub fn cpu_ns(&self) -> io::Result<u64> {
        cpu_ns(self.server.pid())
    }

    /// Memory it occupies, in bytes.
    pub fn resident(&self) -> io::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.server.pid()))?;
        let kb =
            status.lines().find_map(|l| l.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse().ok());
        kb.map(|kb: u64| kb * 1024).ok_or_else(|| io::Error::other("no VmRSS"))
    }
}

/// Processor time that the living threads of process `pid` have used, in nanoseconds.
pub fn cpu_ns(pid: u32) -> io::Result<u64> {
    let mut total = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread may end while the directory is read.
        let Ok(stat) = fs::read_to_string(task?.path().join("schedstat")) else { continue };
        total += stat.split_whitespace().next().and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
    }
    Ok(total)
}

/// Keeps the calling thread, and threads it starts, on `core`; on all cores for `None`.
pub fn pin(core: Option<usize>) {
    // SAFETY: a cpu_set_t is plain bits, valid when zero, and lives through the call; CPU_SET checks the
    // index against its size. A refusal leaves the thread where it was, which the figures will show.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        match core {
            Some(core) => libc::CPU_SET(core, &mut set),
            None => (0..cores()).for_each(|core| libc::CPU_SET(core, &mut set)),
        }
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set);
    }
}

/// Cores of this machine.
pub fn cores() -> usize {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    info.lines().filter(|l| l.starts_with("processor")).count().max(1)
}

/// One line that says what the figures were taken on.
pub fn machine() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        info.lines().find_map(|l| l.strip_prefix("model name")?.split_once(": ")).map_or("?", |m| m.1);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let version = |program: &str| {
        let output = Command::new(program).arg("--version").output().ok()?;
        Some(String::from_utf8_lossy(&output.stdout).lines().next()?.to_string())
    };
    let redis = version("redis-server").unwrap_or("no redis-server".into());
    let memcached = version("memcached").unwrap_or("no memcached".into());
    format!("{model}, {} cores, Linux {}\n{redis}\n{memcached}", cores(), kernel.trim())
}
