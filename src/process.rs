//! What the system says about this process: memory, time on the CPU, descriptors.
//!
//! Where the system does not say, the answer is 0: these are figures for people and dashboards, nothing depends on them.

use parking_lot::Mutex;
use std::io;
use std::time::Duration;

/// Bytes of the process that lie in memory.
pub fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: usize = statm.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(0);
    pages * page_size()
}

/// Bytes of memory this machine has.
pub fn machine_memory() -> usize {
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse().map_or(0, |kib: usize| kib * 1024)
}

/// The system's name, release and machine, as `uname` prints them.
pub fn system() -> String {
    let read = |name: &str| {
        let text = std::fs::read_to_string(format!("/proc/sys/kernel/{name}")).unwrap_or_default();
        text.trim().to_string()
    };
    format!("{} {} {}", read("ostype"), read("osrelease"), std::env::consts::ARCH)
}

/// Whose time on the CPU is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CpuOf {
    /// All threads of the process.
    Process,
    /// The thread that asks.
    Thread,
    /// Ended child processes.
    Children,
}

/// Time spent on the CPU: in the kernel, and in the program itself.
pub fn cpu_times(of: CpuOf) -> (Duration, Duration) {
    let who = match of {
        CpuOf::Process => libc::RUSAGE_SELF,
        CpuOf::Thread => libc::RUSAGE_THREAD,
        CpuOf::Children => libc::RUSAGE_CHILDREN,
    };
    // SAFETY: all zeros is a value of this plain struct of integers.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: `usage` is a struct of the type the call fills in.
    if unsafe { libc::getrusage(who, &mut usage) } != 0 {
        return Default::default();
    }
    let time = |time: libc::timeval| Duration::new(time.tv_sec as u64, time.tv_usec as u32 * 1000);
    (time(usage.ru_stime), time(usage.ru_utime))
}

/// Raises the number of descriptors the process may have to `wanted`, as far as the system lets it, and returns what it is.
pub fn raise_descriptor_limit(wanted: u64) -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a struct of the type the call fills in.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) } != 0 {
        return u64::MAX;
    }
    if limit.rlim_cur >= wanted {
        return limit.rlim_cur;
    }
    for maximum in [limit.rlim_max.max(wanted), limit.rlim_max] {
        let raised = libc::rlimit { rlim_cur: wanted.min(maximum), rlim_max: maximum };
        // SAFETY: the call only reads `raised`.
        if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raised) } == 0 {
            return raised.rlim_cur;
        }
    }
    limit.rlim_cur
}

/// How readily the kernel ends this process when memory is out: `value` more than before the first call (`relative` or `yes`),
/// `value` itself (`absolute`), or as it was (`no`).
pub fn adjust_oom_score(mode: &str, value: i32) -> io::Result<()> {
    const PATH: &str = "/proc/self/oom_score_adj";
    static BEFORE: Mutex<Option<i32>> = Mutex::new(None);
    let mut before = BEFORE.lock();
    if mode == "no" && before.is_none() {
        return Ok(());
    }
    let base = match *before {
        Some(score) => score,
        None => std::fs::read_to_string(PATH)?.trim().parse().map_err(io::Error::other)?,
    };
    let score = match mode {
        "no" => base,
        "absolute" => value,
        _ => base + value,
    };
    std::fs::write(PATH, score.clamp(-1000, 1000).to_string())?;
    *before = (mode != "no").then_some(base);
    Ok(())
}

fn page_size() -> usize {
    // SAFETY: the call only reads a number.
    usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_plausible() {
        assert!(resident() > 100 * 1024);
        assert!(machine_memory() > resident());
        assert!(system().starts_with("Linux "));
        let (_, of_thread) = cpu_times(CpuOf::Thread);
        assert!(cpu_times(CpuOf::Process).1 >= of_thread);
        assert!(raise_descriptor_limit(16) >= 16);
    }

    #[test]
    fn the_oom_score_comes_back() {
        let score =
            || std::fs::read_to_string("/proc/self/oom_score_adj").expect("readable").trim().to_string();
        let before = score();
        adjust_oom_score("no", 7).expect("nothing to do");
        assert_eq!(score(), before);
        adjust_oom_score("absolute", 900).expect("higher is allowed to all");
        assert_eq!(score(), "900");
        // Lowering it again is for the privileged.
        if adjust_oom_score("no", 0).is_ok() {
            assert_eq!(score(), before);
        }
    }
}
