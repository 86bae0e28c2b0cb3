//! Transcripts: conversations with a server as data, one file per command family.
//!
//! ```text
//! # A comment.
//! == a title opens a section: an empty server, fresh connections
//! > SET k v                 send on the connection that needs no name
//! +OK                       the reply, as `notation` describes it; long ones may go on over several lines
//! b> BLPOP q 0              send on another connection
//! ...                       no reply comes (yet)
//! > RPUSH q x
//! :1
//! b<                        send nothing, read a reply that is due
//! ["q" "x"]
//! > QUIT
//! closed                    the connection is closed, replies before that being ignored
//! > !"PING\r\n"             send bytes as they stand
//! +PONG
//! > SMEMBERS s
//! 2| ["a"]                  a reply that differs between the protocols
//! 3| ~["a"]
//! @sleep 20                 milliseconds
//! @resp 3                   the rest of the section is for this version only
//! @newer why                the next step does what Redis 7.0 does not
//! @new why                  and so does the rest of the section
//! @one-node why             the section, or before the first one the file, is about a single node
//! ```
//!
//! A cluster is held the same conversations as one node; what an administrator says to each node of one (CONFIG SET and its like) is
//! said to all.
//!
//! A file that begins with `@memcached` speaks the memcached protocol: `>` lines are sent together as they
//! stand, and the lines up to the next blank one are all that may come back, `*` standing for any run of
//! characters. A line that starts with `"` is read as a quoted word, escapes and repetition included.

use std::collections::HashMap;
use std::io;
use std::time::Duration;

use crate::notation::{Pattern, words};
use crate::server::Server;
use crate::{memcache, resp};

/// How long "no reply comes" is watched for.
const SILENCE: Duration = Duration::from_millis(30);

/// What a cluster answers where one of its nodes was not given the time to keep its lease, on a machine that does too much at once.
/// A section that ends with it, or with a closed connection, is held again.
const STARVED: &[&str] = &["UNKNOWN the node", "CLUSTERDOWN"];
const ATTEMPTS: usize = 3;

/// A file of conversations.
pub struct Transcript {
    name: String,
    memcached: bool,
    sections: Vec<Section>,
}

struct Section {
    title: String,
    /// Whether a cluster does otherwise, for a reason that the file gives.
    one_node: bool,
    steps: Vec<Step>,
}

struct Step {
    line: usize,
    /// The protocol version the step is for, if not for both.
    only: Option<u8>,
    newer: bool,
    connection: String,
    action: Action,
    expected: Expected,
}

enum Action {
    Call(Vec<Vec<u8>>),
    Raw(Vec<u8>),
    Read,
    Sleep(Duration),
}

#[derive(Clone)]
enum Expected {
    Nothing,
    Silence,
    Closed,
    Reply {
        resp2: Written,
        resp3: Written,
    },
    /// Memcached: every line of the answer, without its CR LF.
    Lines(Vec<Vec<u8>>),
}

/// A reply as the file has it, and what it means.
#[derive(Clone)]
struct Written {
    text: String,
    pattern: Pattern,
}

impl Written {
    fn parse(text: &str) -> Result<Written, String> {
        Ok(Written { text: text.trim().into(), pattern: Pattern::parse(text)? })
    }
}

/// What a server is expected to know.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Everything in the transcript.
    Full,
    /// Redis 7.0: steps marked `@newer` are run but not judged.
    Redis70,
}

impl Transcript {
    /// Reads `text`; the error names the line.
    pub fn parse(name: &str, text: &str) -> Result<Transcript, String> {
        let memcached = text.starts_with("@memcached");
        let mut reader = Reader {
            lines: text.lines().enumerate().peekable(),
            only: None,
            newer: false,
            all_newer: false,
            one_node: false,
        };
        let mut sections = vec![Section { title: String::new(), one_node: false, steps: Vec::new() }];
        let mut file_is_one_node = false;
        while let Some((at, line)) = reader.lines.next() {
            let fail = |e: String| format!("{name}:{}: {e}", at + 1);
            if let Some(title) = line.strip_prefix("==") {
                if sections.len() == 1 {
                    file_is_one_node = reader.one_node;
                }
                let one_node = file_is_one_node;
                sections.push(Section { title: title.trim().into(), one_node, steps: Vec::new() });
                (reader.only, reader.all_newer, reader.one_node) = (None, false, false);
                continue;
            }
            let step = match memcached {
                true => reader.memcached_step(at + 1, line),
                false => reader.step(at + 1, line),
            };
            let section = sections.last_mut().expect("there is one from the start");
            section.steps.extend(step.map_err(fail)?);
            section.one_node |= reader.one_node;
        }
        sections.retain(|s| !s.steps.is_empty());
        Ok(Transcript { name: name.into(), memcached, sections })
    }

    /// Whether it speaks the memcached protocol.
    pub fn is_memcached(&self) -> bool {
        self.memcached
    }

    /// Holds every conversation with `server`, and returns what went wrong, one entry per step.
    pub fn run(&self, server: &Server, level: Level) -> Vec<String> {
        self.run_on(std::slice::from_ref(server), level)
    }

    /// Holds every conversation that is not about a single node with one node or another of a cluster.
    pub fn run_in_cluster(&self, nodes: &[Server]) -> Vec<String> {
        self.run_on(nodes, Level::Full)
    }

    fn run_on(&self, nodes: &[Server], level: Level) -> Vec<String> {
        let versions: &[u8] = if self.memcached { &[0] } else { &[2, 3] };
        let mut failures = Vec::new();
        for &version in versions {
            let held = self.sections.iter().filter(|section| nodes.len() == 1 || !section.one_node);
            for (at, section) in held.enumerate() {
                let (server, rest) = nodes[at % nodes.len()..].split_first().expect("there is a node");
                let others: Vec<&Server> = rest.iter().chain(&nodes[..at % nodes.len()]).collect();
                let before = failures.len();
                for _ in 0..ATTEMPTS {
                    failures.truncate(before);
                    let (others, resp, memcached) = (Vec::clone(&others), HashMap::new(), HashMap::new());
                    let mut run = Run { server, others, version, level, resp, memcached };
                    let ended = self.run_section(section, &mut run, &mut failures);
                    if let Err(e) = &ended {
                        failures.push(format!("{} in section {:?}: {e}", self.name, section.title));
                    }
                    let mut new = failures[before..].iter();
                    let is_starved =
                        ended.is_err() || new.any(|what| STARVED.iter().any(|text| what.contains(text)));
                    if nodes.len() == 1 || !is_starved {
                        break;
                    }
                }
            }
        }
        failures
    }

    fn run_section(&self, section: &Section, run: &mut Run, failures: &mut Vec<String>) -> io::Result<()> {
        run.reset(self.memcached)?;
        let version = run.version;
        for step in section.steps.iter().filter(|s| s.only.is_none_or(|v| v == version)) {
            let verdict = match self.memcached {
                true => run.memcached_step(step),
                false => run.step(step),
            };
            let verdict =
                verdict.map_err(|e| io::Error::new(e.kind(), format!("line {}: {e}", step.line)))?;
            if let Some(what) = verdict.filter(|_| !(step.newer && run.level == Level::Redis70)) {
                let protocol = if self.memcached { String::new() } else { format!(" (RESP{})", run.version) };
                failures.push(format!("{}:{}{protocol}: {what}", self.name, step.line));
            }
        }
        Ok(())
    }
}

/// The lines of a file and the marks that apply to what comes next.
struct Reader<'a> {
    lines: std::iter::Peekable<std::iter::Enumerate<std::str::Lines<'a>>>,
    only: Option<u8>,
    newer: bool,
    all_newer: bool,
    one_node: bool,
}

impl Reader<'_> {
    /// The step that begins at `line`, or `None` for a comment or a mark.
    fn step(&mut self, at: usize, line: &str) -> Result<Option<Step>, String> {
        if let Some(mark) = line.strip_prefix('@') {
            return self.mark(at, mark);
        }
        if line.trim().is_empty() || line.starts_with('#') {
            return Ok(None);
        }
        let end = line.find(['>', '<']).ok_or_else(|| format!("neither a request nor a mark: {line}"))?;
        let connection = line[..end].to_string();
        if !connection.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return Err(format!("an expected reply without a request: {line}"));
        }
        let rest = line[end + 1..].trim();
        let action = match (&line[end..=end], rest.strip_prefix('!')) {
            ("<", _) => Action::Read,
            (_, Some(raw)) => Action::Raw(words(raw)?.concat()),
            (_, None) => Action::Call(words(rest)?),
        };
        let expected = self.expected()?;
        Ok(Some(self.finish(at, connection, action, expected)))
    }

    fn mark(&mut self, at: usize, mark: &str) -> Result<Option<Step>, String> {
        match mark.split_once(' ').unwrap_or((mark, "")) {
            ("memcached", _) if at == 1 => Ok(None),
            ("newer", why) if !why.is_empty() => {
                self.newer = true;
                Ok(None)
            }
            ("new", why) if !why.is_empty() => {
                self.all_newer = true;
                Ok(None)
            }
            ("one-node", why) if !why.is_empty() => {
                self.one_node = true;
                Ok(None)
            }
            ("resp", version @ ("2" | "3")) => {
                self.only = Some(version.as_bytes()[0] - b'0');
                Ok(None)
            }
            ("sleep", ms) => {
                let ms = ms.parse().map_err(|_| "@sleep takes milliseconds")?;
                let action = Action::Sleep(Duration::from_millis(ms));
                Ok(Some(self.finish(at, String::new(), action, Expected::Nothing)))
            }
            _ => Err(format!("unknown mark @{mark}")),
        }
    }

    fn finish(&mut self, line: usize, connection: String, action: Action, expected: Expected) -> Step {
        let newer = std::mem::take(&mut self.newer) | self.all_newer;
        Step { line, only: self.only, newer, connection, action, expected }
    }

    fn expected(&mut self) -> Result<Expected, String> {
        let text = self.expression()?;
        Ok(match text.as_str() {
            "..." => Expected::Silence,
            "closed" => Expected::Closed,
            text => match text.strip_prefix("2|") {
                Some(two) => {
                    let three = self.expression()?;
                    let three = three.strip_prefix("3|").ok_or("after 2| comes 3|")?;
                    Expected::Reply { resp2: Written::parse(two)?, resp3: Written::parse(three)? }
                }
                None => {
                    let both = Written::parse(text)?;
                    Expected::Reply { resp2: both.clone(), resp3: both }
                }
            },
        })
    }

    /// The next line, and further ones while a bracket is open.
    fn expression(&mut self) -> Result<String, String> {
        let (_, line) = self.lines.next().ok_or("a request without an expected reply")?;
        let mut text = line.trim_end().to_string();
        while open_brackets(&text) {
            let (_, line) = self.lines.next().ok_or("a bracket is not closed")?;
            text.push(' ');
            text.push_str(line);
        }
        Ok(text)
    }

    fn memcached_step(&mut self, at: usize, line: &str) -> Result<Option<Step>, String> {
        if let Some(mark) = line.strip_prefix('@') {
            return self.mark(at, mark);
        }
        if line.is_empty() || line.starts_with('#') {
            return Ok(None);
        }
        let mut request = Vec::new();
        let mut next = Some(line.to_string());
        let mut connection = None;
        while let Some(line) = next.take() {
            let (name, line) = line.split_once('>').ok_or_else(|| format!("not a request: {line}"))?;
            connection.get_or_insert(name.to_string());
            request.extend(text_line(line.strip_prefix(' ').unwrap_or(line))?);
            request.extend_from_slice(b"\r\n");
            let follows = |(_, l): &(usize, &str)| l.split_once('>').is_some_and(|(n, _)| word_only(n));
            next = self.lines.next_if(follows).map(|(_, l)| l.to_string());
        }
        let mut lines = Vec::new();
        while let Some((_, line)) = self.lines.next_if(|(_, l)| !l.is_empty()) {
            lines.push(text_line(line)?);
        }
        let expected = match lines.as_slice() {
            [only] if only == b"closed" => Expected::Closed,
            _ => Expected::Lines(lines),
        };
        Ok(Some(self.finish(at, connection.unwrap_or_default(), Action::Raw(request), expected)))
    }
}

fn word_only(name: &str) -> bool {
    name.len() < 8 && name.bytes().all(|b| b.is_ascii_alphanumeric())
}

/// A line of a memcached transcript as bytes.
fn text_line(line: &str) -> Result<Vec<u8>, String> {
    match line.starts_with('"') {
        true => Ok(words(line)?.concat()),
        false => Ok(line.as_bytes().to_vec()),
    }
}

/// Whether a collection in `text` goes on in the next line; quoted brackets do not count.
fn open_brackets(text: &str) -> bool {
    // An error's text runs to the end of its line and may hold anything.
    if text.starts_with(['-', '+']) {
        return false;
    }
    let (mut depth, mut quoted, mut escaped) = (0, false, false);
    for b in text.bytes() {
        match b {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => quoted = !quoted,
            b'[' | b'{' if !quoted => depth += 1,
            b']' | b'}' if !quoted => depth -= 1,
            _ => {}
        }
    }
    depth > 0
}

/// One section being held with one server in one protocol version.
struct Run<'a> {
    /// The node its connections are made to.
    server: &'a Server,
    /// The other nodes of its cluster.
    others: Vec<&'a Server>,
    version: u8,
    level: Level,
    resp: HashMap<String, resp::Client>,
    memcached: HashMap<String, memcache::Client>,
}

impl Run<'_> {
    fn reset(&mut self, memcached: bool) -> io::Result<()> {
        match memcached {
            true => memcache::Client::connect(self.server.memcached_addr())?.line("flush_all").map(drop),
            false => resp::Client::connect(self.server.resp_addr())?.call(&["FLUSHALL"]).map(drop),
        }
    }

    /// Says to each of the other nodes what is set for each node of its own. What they answer, and whether they want a password
    /// first, is not what this is about.
    fn tell_others(&self, args: &[Vec<u8>]) {
        let is =
            |at: usize, word: &str| args.get(at).is_some_and(|arg| arg.eq_ignore_ascii_case(word.as_bytes()));
        let sets = is(1, "set") || is(1, "resetstat");
        let is_for_each = is(0, "config") && sets
            || is(0, "debug") && args.get(1).is_some_and(|arg| arg.to_ascii_lowercase().starts_with(b"set-"));
        if is_for_each {
            for node in &self.others {
                let _ = resp::Client::connect(node.resp_addr()).and_then(|mut client| client.call(args));
            }
        }
    }

    fn client(&mut self, name: &str) -> io::Result<&mut resp::Client> {
        if !self.resp.contains_key(name) {
            let addr = self.server.resp_addr();
            let client = match self.version {
                // RESP2 is what a connection speaks that has not said HELLO.
                2 => resp::Client::connect(addr)?,
                version => resp::Client::connect_resp(addr, version)?,
            };
            self.resp.insert(name.into(), client);
        }
        Ok(self.resp.get_mut(name).expect("it was just inserted"))
    }

    /// Takes the step, and says what was wrong with the reply.
    fn step(&mut self, step: &Step) -> io::Result<Option<String>> {
        let version = self.version;
        if let Action::Sleep(time) = step.action {
            std::thread::sleep(time);
            return Ok(None);
        }
        // What is not judged is not waited for.
        let is_judged = !step.newer || self.level != Level::Redis70;
        let client = self.client(&step.connection)?;
        match &step.action {
            Action::Call(args) => client.send(args)?,
            Action::Raw(bytes) => client.send_raw(bytes)?,
            Action::Read | Action::Sleep(_) => {}
        }
        Ok(match &step.expected {
            Expected::Nothing | Expected::Lines(_) => None,
            Expected::Silence => client.recv_within(SILENCE)?.map(|v| format!("expected no reply, got {v}")),
            Expected::Closed => {
                let closed = !is_judged || client.closes();
                self.resp.remove(&step.connection);
                (!closed).then(|| "the connection was not closed".to_string())
            }
            Expected::Reply { resp2, resp3 } => {
                let expected = if version == 2 { resp2 } else { resp3 };
                let got = client.recv()?;
                if let Action::Call(args) = &step.action {
                    self.tell_others(args);
                }
                let fits = expected.pattern.matches(&got, version);
                (!fits).then(|| format!("expected {}\n    got      {got}", expected.text))
            }
        })
    }

    fn memcached_step(&mut self, step: &Step) -> io::Result<Option<String>> {
        let request = match &step.action {
            Action::Raw(request) => request,
            Action::Sleep(time) => {
                std::thread::sleep(*time);
                return Ok(None);
            }
            Action::Call(_) | Action::Read => return Ok(None),
        };
        if !self.memcached.contains_key(&step.connection) {
            let client = memcache::Client::connect(self.server.memcached_addr())?;
            self.memcached.insert(step.connection.clone(), client);
        }
        let client = self.memcached.get_mut(&step.connection).expect("it was just inserted");
        let Expected::Lines(lines) = &step.expected else {
            let closed = client.closes_after(request)?;
            self.memcached.remove(&step.connection);
            return Ok((!closed).then(|| "the connection was not closed".to_string()));
        };
        let got = client.exchange(request)?;
        let mut glob = lines.join(&b"\r\n"[..]);
        if !lines.is_empty() {
            glob.extend_from_slice(b"\r\n");
        }
        Ok((!crate::notation::fits(&glob, &got)).then(|| {
            format!("expected \"{}\"\n    got      \"{}\"", glob.escape_ascii(), got.escape_ascii())
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_in_a_file_are_named_by_line() {
        for (text, line) in [
            ("> PING", 1),
            ("> PING\n+PONG\n+PONG", 3),
            ("> GET \"k\n+OK", 1),
            ("> A\n[:1", 1),
            ("> A\n2| :1\n:1", 1),
            ("@newer", 1),
        ] {
            let error = Transcript::parse("t", text).err().unwrap_or_default();
            assert!(error.starts_with(&format!("t:{line}:")), "{text:?}: {error}");
        }
    }

    #[test]
    fn sections_and_long_replies() {
        let text = "== one\n> A\n[:1\n :2]\n\n# c\n== two\nb> A\n...\nb<\n-ERR [\n@sleep 1\n";
        let transcript = Transcript::parse("t", text).expect("well formed");
        assert_eq!(transcript.sections.len(), 2);
        assert_eq!(transcript.sections[1].steps.len(), 3);
    }

    #[test]
    fn memcached_requests_of_several_lines() {
        let text = "@memcached\n> set k 0 0 1\n> v\nSTORED\n\n> mg k v\nVA 1\nv\n";
        let transcript = Transcript::parse("t", text).expect("well formed");
        assert_eq!(transcript.sections[0].steps.len(), 2);
    }
}
