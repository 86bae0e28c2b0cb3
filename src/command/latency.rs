//! LATENCY: moments in which the node was slow, and how long commands take.

use super::error::CmdError;
use super::server::{container, write_help};
use super::table::{self, Row};
use super::{Command, Cx, Flags, Group, command, flag, flags};
use crate::config::id;
use crate::state::histogram::Latencies;
use crate::state::latency::{Event, Sample};
use shoal_protocol::resp::Args;
use std::fmt::Write;

const ADMIN: Flags = flags([flag::ADMIN, flag::NOSCRIPT, flag::LOADING, flag::STALE]);
const TIPS: &[&str] = &["nondeterministic_output", "request_policy:all_nodes", "response_policy:special"];

const fn sub(name: &'static str, arity: i32, run: super::Run) -> Command {
    command(name, arity, Group::Server, run).flags(ADMIN).tips(TIPS)
}

/// The family's rows.
pub const COMMANDS: &[Command] = &[command("latency", -2, Group::Server, container)
    .doc("2.8.13", "", "A container for latency diagnostics commands.")
    .subcommands(&[
        sub("latency|doctor", 2, doctor).doc(
            "2.8.13",
            "",
            "Returns a human-readable latency analysis report.",
        ),
        sub("latency|graph", 3, graph).doc("2.8.13", "event", "Returns a latency graph for an event."),
        sub("latency|help", 2, help).flags(flags([flag::LOADING, flag::STALE])).tips(&[]).doc(
            "2.8.13",
            "",
            "Returns helpful text about the different subcommands.",
        ),
        sub("latency|histogram", -2, histogram).doc(
            "7.0.0",
            "[command [command ...]]",
            "Returns the cumulative distribution of latencies of a subset or all commands.",
        ),
        sub("latency|history", 3, history).doc(
            "2.8.13",
            "event",
            "Returns timestamp-latency samples for an event.",
        ),
        sub("latency|latest", 2, latest).doc(
            "2.8.13",
            "",
            "Returns the latest latency samples for all events.",
        ),
        sub("latency|reset", -2, reset)
            .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"])
            .doc("2.8.13", "[event [event ...]]", "Resets the latency data for one or more events."),
    ])];

/// LATENCY LATEST
fn latest(cx: &mut Cx, _: Args) -> Result<(), CmdError> {
    let events = cx.state.latency.all();
    cx.out.array(events.len());
    for (name, event) in events {
        let last = event.samples.last().copied().unwrap_or(Sample { at: 0, ms: 0 });
        cx.out.array(6);
        cx.out.bulk(name.as_bytes());
        for number in [last.at as u64, last.ms, event.max_ms, event.sum_ms, event.count] {
            cx.out.int(number as i64);
        }
    }
    Ok(())
}

/// LATENCY HISTORY event
fn history(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let samples = cx.state.latency.event(&args[2]).map(|(_, event)| event.samples).unwrap_or_default();
    cx.out.array(samples.len());
    for sample in samples {
        cx.out.array(2);
        cx.out.int(sample.at);
        cx.out.int(sample.ms as i64);
    }
    Ok(())
}

/// LATENCY RESET [event ...]
fn reset(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let latency = &cx.state.latency;
    let gone = match args.len() {
        2 => latency.reset_all(),
        _ => args.from(2).iter().filter(|name| latency.reset(name)).count(),
    };
    cx.out.int(gone as i64);
    Ok(())
}

/// LATENCY GRAPH event
fn graph(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let Some((name, event)) = cx.state.latency.event(&args[2]) else {
        let name = String::from_utf8_lossy(&args[2]);
        return Err(CmdError::with(format!("ERR No samples available for event '{name}'")));
    };
    cx.out.verbatim(*b"txt", draw(name, &event, crate::state::unix_ms() / 1000).as_bytes());
    Ok(())
}

/// Characters a graph is wide.
const WIDTH: usize = 80;
/// Lines a graph is high, and steps shown in a line.
const ROWS: usize = 4;
const STEPS: &[u8] = b"_o#";

/// The samples of an event as columns, each with its age written downwards below it.
fn draw(name: &str, event: &Event, now: i64) -> String {
    let shown = &event.samples[event.samples.len().saturating_sub(WIDTH)..];
    let high = shown.iter().map(|sample| sample.ms).max().unwrap_or(0);
    let low = shown.iter().map(|sample| sample.ms).min().unwrap_or(0);
    let mut text = format!(
        "{name} - high {high} ms, low {low} ms (all time high {} ms)\n{}\n",
        event.max_ms,
        "-".repeat(WIDTH)
    );
    let levels = (ROWS * STEPS.len()) as u64;
    let level = |sample: &Sample| ((sample.ms - low) * levels / (high - low).max(1)).min(levels - 1) as usize;
    for row in (0..ROWS).rev() {
        for sample in shown {
            let above = level(sample) as i64 - (row * STEPS.len()) as i64;
            text.push(match usize::try_from(above) {
                Err(_) => ' ',
                Ok(step) => STEPS.get(step).map_or('|', |&byte| char::from(byte)),
            });
        }
        text.push('\n');
    }
    text.push('\n');
    let ages: Vec<String> = shown.iter().map(|sample| age(now - sample.at)).collect();
    for row in 0..ages.iter().map(String::len).max().unwrap_or(0) {
        text.extend(ages.iter().map(|age| age.as_bytes().get(row).map_or(' ', |&byte| char::from(byte))));
        text.push('\n');
    }
    text
}

/// A number of seconds in the largest unit that fits.
fn age(seconds: i64) -> String {
    match seconds {
        ..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// LATENCY HISTOGRAM [command ...]
fn histogram(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let mut rows: Vec<&Row> = Vec::new();
    if args.len() == 2 {
        rows.extend(table::all());
    }
    for row in args.from(2).iter().filter_map(table::by_name) {
        rows.push(row);
        rows.extend(&row.subcommands);
    }
    let map = cx.out.deferred_map();
    let mut len = 0;
    for row in rows {
        let latencies = latencies(cx, row);
        if latencies.total() == 0 {
            continue;
        }
        len += 1;
        cx.out.bulk(row.command.name.as_bytes());
        cx.out.map(2);
        cx.out.bulk(b"calls");
        cx.out.int(latencies.total() as i64);
        cx.out.bulk(b"histogram_usec");
        let pairs = latencies.cumulative_usec();
        cx.out.map(pairs.len());
        for (bound, count) in pairs {
            cx.out.int(bound as i64);
            cx.out.int(count as i64);
        }
    }
    cx.out.set_deferred(map, len);
    Ok(())
}

/// How long the command of a row took, over all workers.
pub fn latencies(cx: &Cx, row: &Row) -> Latencies {
    let mut sum = Latencies::default();
    for worker in cx.state.stats.workers() {
        if let Some(histogram) = worker.commands[row.id].latency.get() {
            sum.add(histogram);
        }
    }
    sum
}

/// LATENCY DOCTOR
fn doctor(cx: &mut Cx, _: Args) -> Result<(), CmdError> {
    let threshold_ms = cx.state.config.int(id::LATENCY_MONITOR_THRESHOLD);
    let events = cx.state.latency.all();
    let mut text = String::new();
    if events.is_empty() && threshold_ms == 0 {
        text.push_str(
            "Latency is not monitored. CONFIG SET latency-monitor-threshold <milliseconds> begins to note what \
             takes at least so long.\n",
        );
    } else if events.is_empty() {
        let _ = writeln!(text, "Nothing took {threshold_ms} ms or longer.");
    }
    for (name, event) in &events {
        let count = event.samples.len() as u64;
        let sum: u64 = event.samples.iter().map(|sample| sample.ms).sum();
        let last = event.samples.last().map_or(0, |sample| crate::state::unix_ms() / 1000 - sample.at);
        let _ = writeln!(
            text,
            "{name}: {count} seconds with latency, {} ms on average, {} ms at worst, the latest {last} s ago.",
            sum / count.max(1),
            event.max_ms
        );
        text.push_str(match *name {
            "command" | "fast-command" => {
                "  SLOWLOG GET tells which commands were slow. Work on large keys in parts, and use SCAN, not KEYS.\n"
            }
            "expire-cycle" => "  Many keys expire together: spread their times to live.\n",
            "eviction-cycle" => "  Memory is short: raise maxmemory, or write less at a time.\n",
            _ => "",
        });
    }
    cx.out.verbatim(*b"txt", text.as_bytes());
    Ok(())
}

/// LATENCY HELP
fn help(cx: &mut Cx, _: Args) -> Result<(), CmdError> {
    write_help(
        cx.out,
        "LATENCY",
        &[
            "DOCTOR",
            "    Return a human readable latency analysis report.",
            "GRAPH <event>",
            "    Return an ASCII latency graph for the <event> class.",
            "HISTORY <event>",
            "    Return time-latency samples for the <event> class.",
            "LATEST",
            "    Return the latest latency samples for all events.",
            "RESET [<event> ...]",
            "    Reset latency data of one or more <event> classes.",
            "    (default: reset all data for all event classes)",
            "HISTOGRAM [COMMAND ...]",
            "    Return a cumulative distribution of latencies in the format of a histogram for the specified command names.",
            "    If no commands are specified then all histograms are replied.",
        ],
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_graph_shows_levels_and_ages() {
        let samples = [(1000, 10), (1900, 100), (1990, 55)].map(|(at, ms)| Sample { at, ms }).to_vec();
        let text = draw("command", &Event { samples, max_ms: 200, ..Event::default() }, 2000);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "command - high 100 ms, low 10 ms (all time high 200 ms)");
        assert_eq!(lines[2..], [" # ", " |_", " ||", "_||", "", "111", "6m0", "m s"].map(|line| line));
    }
}
