//! Measures Shoal side by side with redis-server, memcached and a bare tokio loop, on this machine, now.
//!
//! Idea: seconds differ from machine to machine and from minute to minute, so what is reported are ratios
//! between servers that did the same work in turns, and the processor time a server used rather than the
//! time that passed. The bounds Shoal promises are printed beside.

mod collection;
mod contender;
mod cost;
mod failover;
mod floor;
mod forwarded;
mod growth;
mod load;
mod memory;
mod moving;
mod nodes;
mod scale;
mod workload;
mod writers;

use std::path::PathBuf;
use std::process::ExitCode;

const USAGE: &str = "usage: shoal-compare [cost|memory|growth|scale|cluster|all] [options]
  --quick         a look in under a minute instead of a measurement
  --shoal FILE    the binary to measure (target/dist/shoal)
  --only TEXT     only workloads whose name holds TEXT, or one of several texts with commas between
  --rounds N      measured rounds per workload and server
  --check         fail when a bound is passed";

/// What to measure and how long.
pub struct Options {
    quick: bool,
    shoal: PathBuf,
    only: String,
    rounds: usize,
    check: bool,
}

impl Options {
    /// Whether the row called `name` is asked for.
    fn names(&self, name: &str) -> bool {
        self.only.split(',').any(|text| name.contains(text))
    }
}

type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match args.split_first() {
        Some((first, rest)) if first == "floor" => floor::serve(rest).map(|()| true),
        _ => compare(&args),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("shoal-compare: {e}");
            ExitCode::from(2)
        }
    }
}

/// Whether every bound held, or nobody asked.
fn compare(args: &[String]) -> Result<bool, Failure> {
    let (what, options) = parse(args)?;
    if !options.shoal.exists() {
        eprintln!("{} is not there: measuring the others alone", options.shoal.display());
    }
    println!("{}", contender::machine());
    let all = what == "all";
    let mut held = true;
    if all || what == "cost" {
        held &= cost::report(&options)?;
    }
    if all || what == "memory" {
        held &= memory::report(&options)?;
    }
    if all || what == "growth" {
        growth::report(&options)?;
    }
    if all || what == "scale" {
        scale::report(&options)?;
    }
    if (all || what == "cluster") && options.shoal.exists() {
        held &= forwarded::report(&options)?;
        held &= failover::report(&options)?;
        held &= moving::report(&options)?;
    }
    Ok(held || !options.check)
}

fn parse(args: &[String]) -> Result<(String, Options), Failure> {
    let mut what = None;
    let mut options = Options {
        quick: false,
        shoal: PathBuf::from("target/dist/shoal"),
        only: String::new(),
        rounds: 0,
        check: false,
    };
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or(format!("{arg} needs a value\n{USAGE}"));
        match arg.as_str() {
            "--quick" => options.quick = true,
            "--check" => options.check = true,
            "--shoal" => options.shoal = PathBuf::from(value()?),
            "--only" => options.only = value()?.clone(),
            "--rounds" => options.rounds = value()?.parse()?,
            "cost" | "memory" | "growth" | "scale" | "cluster" | "all" if what.is_none() => {
                what = Some(arg.clone());
            }
            _ => return Err(USAGE.into()),
        }
    }
    if options.rounds == 0 {
        options.rounds = if options.quick { 3 } else { 7 };
    }
    // Servers are started in directories of their own.
    if let Ok(absolute) = options.shoal.canonicalize() {
        options.shoal = absolute;
    }
    Ok((what.unwrap_or_else(|| "all".into()), options))
}
