//! The memcached protocol, classic and meta: requests drawn from a table of forms, answers compared as text.
//!
//! In a form, a word in braces is drawn: `{k}` a key, `{v}` a block with its length before it, and so on
//! (see [`draw`]). Only the `cas unique` numbers are each server's own: they are compared by the order in which they
//! first came.

use std::collections::BTreeMap;
use std::io;

use fastrand::Rng;
use shoal_testkit::Server;
use shoal_testkit::memcache::Client;

/// A form and how often it is drawn. The first line of a request; `{v}` ends it and brings the block.
const FORMS: &[(&str, u32)] = &[
    ("set {k} {flags} {time} {v}", 40),
    ("set {k} {flags} {time} {v} noreply", 5),
    ("add {k} {flags} {time} {v}", 10),
    ("replace {k} {flags} {time} {v}", 10),
    ("append {k} {flags} {time} {v}", 10),
    ("prepend {k} {flags} {time} {v}", 10),
    ("cas {k} {flags} {time} {cas}", 10),
    ("get {k}", 20),
    ("get {k} {k} {k}", 10),
    ("gets {k}", 20),
    ("gets {k} {k}", 5),
    ("gat {seconds} {k}", 5),
    ("gats {seconds} {k} {k}", 5),
    ("delete {k}", 10),
    ("delete {k} noreply", 3),
    ("delete {k} 0", 3),
    ("delete {k} 5", 2),
    ("incr {k} {n}", 15),
    ("decr {k} {n}", 15),
    ("incr {k} {n} noreply", 3),
    ("touch {k} {seconds}", 5),
    ("mg {k}", 5),
    ("mg {k} {mgflags}", 40),
    ("ms {k} {mv} {msflags}", 40),
    ("md {k} {mdflags}", 15),
    ("ma {k} {maflags}", 20),
    ("verbosity 1", 1),
    ("nosuch", 1),
    ("get", 1),
    ("set {k}", 1),
    ("set {k} 0 0 abc", 1),
    ("set {k} 0 0 -1", 1),
    ("incr {k}", 1),
    ("incr {k} abc", 1),
    ("touch {k}", 1),
    ("mg", 1),
    ("ms {k}", 1),
    ("md", 1),
];

const KEYS: &[&str] = &["a", "b", "c", "n1", "n2", "cmVk"];
const FLAGS: &[&str] = &["0", "0", "1", "32", "4294967295"];
/// Nothing near 2^63: memcached looks for a minus sign in what lies behind such a counter in memory, so the
/// same request fails or not by chance. A transcript has the wrap at 2^64.
const NUMBERS: &[&str] = &["0", "1", "2", "10", "1000000", "18446744073709551616", "-1", "1.5"];
const VALUES: &[&str] =
    &["", "x", "abc", "0", "5", "99", "100", "18446744073709551616", "-3", "7 ", "hello world"];
/// Not `E`, `x`, and `N` of `ms`: Shoal knows them from later releases than Debian's.
const META_GET: &[&str] =
    &["v", "f", "k", "s", "c", "t", "q", "O1", "Oab", "b", "h", "N100", "R30", "T1000", "!"];
const META_SET: &[&str] =
    &["T0", "T1000", "F5", "I", "c", "q", "k", "O9", "b", "MS", "MA", "MP", "ME", "MR", "MX", "C5", "!"];
const META_DELETE: &[&str] = &["q", "k", "O2", "b", "C5", "I", "T30", "!"];
/// Not `q`: of an item made for `N`, Debian's release answers all the same.
const META_ARITHMETIC: &[&str] =
    &["v", "t", "c", "k", "O3", "N0", "N60", "J13", "D2", "D5", "MI", "MD", "M+", "MX", "T90", "!", "b"];

/// One request: its bytes whole, with the block.
type Request = Vec<u8>;

fn draw(rng: &mut Rng) -> Request {
    let total: u32 = FORMS.iter().map(|f| f.1).sum();
    let mut ticket = rng.u32(..total);
    let form = FORMS.iter().find(|(_, weight)| {
        let here = ticket < *weight;
        ticket = ticket.wrapping_sub(*weight);
        here
    });
    let (form, _) = form.expect("the ticket is below the total of the weights");
    let mut line = Vec::new();
    let mut block = None;
    for word in form.split(' ') {
        let drawn = match word {
            "{k}" => of(rng, KEYS).to_string(),
            "{flags}" => of(rng, FLAGS).to_string(),
            "{time}" => of(rng, &["0", "0", "0", "1000", "100000"]).to_string(),
            "{seconds}" => of(rng, &["0", "1000", "100000"]).to_string(),
            "{n}" => of(rng, NUMBERS).to_string(),
            "{v}" | "{mv}" => {
                let value = value(rng);
                let len = value.len();
                block = Some(value);
                len.to_string()
            }
            "{cas}" => {
                let value = value(rng);
                let text = format!("{} {}", value.len(), rng.u32(1..30));
                block = Some(value);
                text
            }
            "{mgflags}" => flags(rng, META_GET),
            "{msflags}" => flags(rng, META_SET),
            "{mdflags}" => flags(rng, META_DELETE),
            "{maflags}" => flags(rng, META_ARITHMETIC),
            literal => literal.to_string(),
        };
        line.push(drawn);
    }
    let mut request = line.join(" ").into_bytes();
    request.extend_from_slice(b"\r\n");
    if let Some(block) = block {
        request.extend(block);
        request.extend_from_slice(b"\r\n");
    }
    request
}

fn of<'a>(rng: &mut Rng, texts: &[&'a str]) -> &'a str {
    texts[rng.usize(..texts.len())]
}

fn value(rng: &mut Rng) -> Vec<u8> {
    match rng.u32(..12) {
        0 => vec![b'v'; rng.usize(..3000)],
        // No letters: a block must not look like the end of an answer.
        // Nor of blanks alone, behind which memcached looks for a number in what lies there in memory.
        1 => (0..rng.usize(..20)).map(|at| if at == 0 { b'#' } else { rng.u8(..b'A') }).collect(),
        _ => of(rng, VALUES).into(),
    }
}

/// Up to four different flags.
fn flags(rng: &mut Rng, all: &[&str]) -> String {
    let mut all = all.to_vec();
    rng.shuffle(&mut all);
    all.truncate(rng.usize(..5));
    all.join(" ")
}

/// Where and how two servers first differed.
pub struct Difference {
    at: usize,
    reference: Vec<u8>,
    subject: Vec<u8>,
}

/// A sequence of requests.
pub struct Sequence(Vec<Request>);

impl Sequence {
    /// Draws one.
    pub fn draw(seed: u64) -> Sequence {
        let mut rng = Rng::with_seed(seed);
        Sequence((0..rng.usize(20..80)).map(|_| draw(&mut rng)).collect())
    }

    /// Its number of requests.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Plays it to both servers, emptied before.
    pub fn play(&self, reference: &Server, subject: &Server) -> io::Result<Option<Difference>> {
        let mut sides = [Side::new(reference)?, Side::new(subject)?];
        for (at, request) in self.0.iter().enumerate() {
            let left = sides[0].exchange(request)?;
            let right = sides[1].exchange(request).unwrap_or_else(|e| format!("(no answer: {e})").into());
            if left != right {
                return Ok(Some(Difference { at, reference: left, subject: right }));
            }
            if is_padded(request, &mut sides)? {
                return Ok(None);
            }
        }
        Ok(None)
    }

    /// The shortest sequence found that still shows a difference of the same kind.
    pub fn shrink(
        &self,
        found: Difference,
        reference: &Server,
        subject: &Server,
    ) -> io::Result<(Sequence, Difference)> {
        let kind = self.kind(&found);
        let mut best = Sequence(self.0[..=found.at].to_vec());
        let mut difference = found;
        // Sequences are short: leaving out one request at a time is quick enough.
        let mut at = best.len();
        while at > 0 {
            at -= 1;
            let mut shorter = best.0.clone();
            shorter.remove(at);
            let shorter = Sequence(shorter);
            if let Some(d) = shorter.play(reference, subject)?.filter(|d| shorter.kind(d) == kind) {
                best = Sequence(shorter.0[..=d.at].to_vec());
                at = at.min(best.len());
                difference = d;
            }
        }
        Ok((best, difference))
    }

    /// Differences with the same text are taken for the same mistake.
    pub fn kind(&self, d: &Difference) -> String {
        let first = |bytes: &[u8]| {
            let line = bytes.split(|b| b" \r\n".contains(b)).next().unwrap_or_default();
            String::from_utf8_lossy(line).into_owned()
        };
        let verb = first(&self.0[d.at]);
        format!("{verb}: {:?} for {:?}", first(&d.subject), first(&d.reference))
    }

    /// What to show of a difference.
    pub fn report(&self, d: &Difference) -> String {
        let mut out = String::new();
        for request in &self.0 {
            out.push_str(&format!("> {}\n", request.escape_ascii()));
        }
        out.push_str(&format!("  reference: {}\n", d.reference.escape_ascii()));
        out.push_str(&format!("  subject:   {}\n", d.subject.escape_ascii()));
        out
    }
}

/// Whether `request` has made a number shorter: memcached leaves blanks behind it, and says not to rely on that. What comes of
/// them later is not compared.
fn is_padded(request: &[u8], sides: &mut [Side; 2]) -> io::Result<bool> {
    let mut words = request.split(|&b| b" \r".contains(&b));
    if !words.next().is_some_and(|verb| [&b"incr"[..], b"decr", b"ma"].contains(&verb)) {
        return Ok(false);
    }
    let key = String::from_utf8_lossy(words.next().unwrap_or_default()).into_owned();
    for key in [&key, "red"] {
        let look = format!("mg {key} v u\r\n").into_bytes();
        let [left, right] = sides;
        let (left, right) = (left.exchange(&look)?, right.exchange(&look)?);
        // Blanks at the end are not in what is compared; the length that counts them is.
        let value = |answer: &[u8]| answer.split(|&b| b == b'\n').nth(1).map(<[u8]>::to_vec);
        if left != right && value(&left) == value(&right) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// One server's side of a sequence.
struct Side {
    client: Client,
    /// Unique numbers seen, and the order in which they first came.
    uniques: BTreeMap<Vec<u8>, usize>,
}

impl Side {
    fn new(server: &Server) -> io::Result<Side> {
        let mut client = server.connect_memcached();
        // Not flush_all: memcached's works by the second, and would reach into what follows.
        for key in KEYS.iter().chain(&["red"]) {
            client.line(&format!("delete {key}"))?;
        }
        Ok(Side { client, uniques: BTreeMap::new() })
    }

    fn exchange(&mut self, request: &[u8]) -> io::Result<Vec<u8>> {
        let answer = self.client.exchange(request)?;
        let unique = request.starts_with(b"gets ") || request.starts_with(b"gats ");
        let mut out = Vec::new();
        for line in answer.split_inclusive(|&b| b == b'\n') {
            let words: Vec<&[u8]> = line.trim_ascii_end().split(|&b| b == b' ').collect();
            let rewritten = words.iter().enumerate().map(|(i, word)| match word.first() {
                // VALUE key flags bytes unique
                _ if unique && i == 4 && words[0] == b"VALUE" => self.number(word),
                // A `c` flag of a meta answer.
                Some(b'c') if i > 0 && word.len() > 1 && request.starts_with(b"m") => self.number(&word[1..]),
                // memcached gives a key back as the one wrote it who stored the item, Shoal as the one who asks.
                Some(b'k') if i > 0 && **word == *b"kcmVk" => b"kred".to_vec(),
                Some(b'b') if i > 0 && word.len() == 1 && words[i - 1].starts_with(b"k") => Vec::new(),
                // Time left: a second may have passed on one side.
                Some(b't') if i > 0 && word.len() > 2 && request.starts_with(b"m") => b"t(some)".to_vec(),
                _ => word.to_vec(),
            });
            let rewritten = rewritten.filter(|word| !word.is_empty() || words.len() == 1);
            out.extend(rewritten.collect::<Vec<_>>().join(&b' '));
            out.push(b'\n');
        }
        Ok(out)
    }

    fn number(&mut self, unique: &[u8]) -> Vec<u8> {
        let next = self.uniques.len();
        let order = *self.uniques.entry(unique.to_vec()).or_insert(next);
        format!("(unique {order})").into()
    }
}
