//! The commands that tune memcached's own machinery: slabs, the segments of its LRU, the crawler.
//!
//! Shoal has none of these, but tools and start-up scripts send the commands, so each is checked as memcached checks it. What
//! would succeed there and changes nothing here is [`Request::Tuning`], to be answered `OK`; what would fail fails
//! in the same words.

use super::fault::Fault;
use super::text::{DumpFormat, Line, Request, is_noreply};
use super::token::{Tokens, parse_f64, parse_i64, parse_u32};

/// Slab classes of memcached are numbered 1 to 63.
const SLAB_CLASSES: std::ops::RangeInclusive<i64> = 1..=63;

const ACCEPTED: Line<'static> = Line::Request(Request::Tuning { noreply: false });

/// The words of a command after its name, as many as any of these commands looks at.
struct Words<'a> {
    words: [&'a [u8]; 5],
    count: usize,
    noreply: bool,
}

impl<'a> Words<'a> {
    fn new(tokens: Tokens<'a>) -> Self {
        let mut words: [&[u8]; 5] = [b""; 5];
        let (mut count, mut noreply) = (0, false);
        for token in tokens {
            if let Some(word) = words.get_mut(count) {
                *word = token;
            }
            count += 1;
            noreply = is_noreply(token);
        }
        Words { words, count, noreply }
    }

    /// `OK`, or that `fault`, each unless silence was asked for.
    fn judge(&self, verdict: Result<(), Fault>) -> Line<'a> {
        match verdict {
            Ok(()) => Line::Request(Request::Tuning { noreply: self.noreply }),
            Err(fault) => Line::refused_unless(self.noreply, fault),
        }
    }
}

/// `cache_memlimit <megabytes> [noreply]`
pub(super) fn cache_memlimit(tokens: Tokens<'_>) -> Line<'_> {
    let args = Words::new(tokens);
    if !(1..=2).contains(&args.count) {
        return Line::refused(Fault::Unknown);
    }
    let fault = match parse_u32(args.words[0]) {
        None => Fault::Unknown,
        Some(..8) => Fault::MemlimitTooSmall,
        Some(1_000_000_001..) => Fault::MemlimitNotMegabytes,
        Some(megabytes) => {
            return Line::Request(Request::CacheMemlimit { megabytes, noreply: args.noreply });
        }
    };
    Line::refused_unless(args.noreply, fault)
}

/// `slabs reassign <source> <dest>`, `slabs automove <0|1|2>|ratio <f>|freeratio <f>|window <n> [noreply]`
pub(super) fn slabs(tokens: Tokens<'_>) -> Line<'_> {
    let args = Words::new(tokens);
    match (args.words[0], args.count) {
        (b"reassign", 3) => Line::refused(reassign(args.words[1], args.words[2])),
        (b"automove", 2..) => args.judge(automove(&args)),
        _ => Line::refused(Fault::Unknown),
    }
}

/// There is never a page to move, so this is only about why not.
fn reassign(source: &[u8], dest: &[u8]) -> Fault {
    let (Some(source), Some(dest)) = (parse_i64(source), parse_i64(dest)) else {
        return Fault::BadFormat;
    };
    if source == dest {
        Fault::SameSlabClass
    } else if SLAB_CLASSES.contains(&source) && SLAB_CLASSES.contains(&dest) {
        Fault::NoSparePages
    } else {
        Fault::BadSlabClass
    }
}

fn automove(args: &Words<'_>) -> Result<(), Fault> {
    match args.words[1] {
        b"ratio" | b"freeratio" => parse_f64(args.words[2]).map(drop).ok_or(Fault::Unknown),
        b"window" => parse_u32(args.words[2]).map(drop).ok_or(Fault::BadFormat),
        level => match parse_u32(level).ok_or(Fault::BadFormat)? {
            0..=2 => Ok(()),
            _ => Err(Fault::Unknown),
        },
    }
}

/// `lru tune <hot %> <warm %> <hot age> <warm age>`, `lru mode flat|segmented`, `lru temp_ttl <seconds>`, each `[noreply]`
pub(super) fn lru(tokens: Tokens<'_>) -> Line<'_> {
    let args = Words::new(tokens);
    if args.count == 0 {
        return Line::refused(Fault::Unknown);
    }
    args.judge(match (args.words[0], args.count) {
        (b"tune", 5..) => tune(&args.words),
        (b"mode", 2..) if matches!(args.words[1], b"flat" | b"segmented") => Ok(()),
        (b"temp_ttl", 2..) => parse_i64(args.words[1]).map(drop).ok_or(Fault::Unknown),
        _ => Err(Fault::Unknown),
    })
}

fn tune(words: &[&[u8]; 5]) -> Result<(), Fault> {
    let (Some(hot), Some(warm)) = (parse_u32(words[1]), parse_u32(words[2])) else {
        return Err(Fault::Unknown);
    };
    let (Some(hot_age), Some(warm_age)) = (parse_f64(words[3]), parse_f64(words[4])) else {
        return Err(Fault::Unknown);
    };
    if hot.saturating_add(warm) > 80 {
        Err(Fault::LruShares)
    } else if hot_age > 0.0 && warm_age > 0.0 {
        Ok(())
    } else {
        Err(Fault::LruFactors)
    }
}

/// `lru_crawler enable|disable`, `lru_crawler sleep|tocrawl <n>`, `lru_crawler crawl|metadump|mgdump <classes>`. Knows no `noreply`.
pub(super) fn lru_crawler(tokens: Tokens<'_>) -> Line<'_> {
    let args = Words::new(tokens);
    let value = args.words[1];
    match (args.words[0], args.count) {
        (b"enable" | b"disable", 1) => ACCEPTED,
        (b"sleep", 2) => match parse_u32(value) {
            Some(0..=1_000_000) => ACCEPTED,
            Some(_) => Line::refused(Fault::CrawlerSleep),
            None => Line::refused(Fault::BadFormat),
        },
        (b"tocrawl", 2) if parse_u32(value).is_some() => ACCEPTED,
        (b"tocrawl", 2) => Line::refused(Fault::BadFormat),
        (b"crawl" | b"metadump" | b"mgdump", 2) if !are_classes(value) => {
            Line::refused(Fault::BadCrawlerClass)
        }
        (b"crawl", 2) => ACCEPTED,
        (b"metadump", 2) => Line::Request(Request::Dump(DumpFormat::Metadump)),
        (b"mgdump", 2) => Line::Request(Request::Dump(DumpFormat::Mgdump)),
        _ => Line::refused(Fault::Unknown),
    }
}

/// Whether this names slab classes: `all`, `hash` or a list of numbers.
fn are_classes(word: &[u8]) -> bool {
    matches!(word, b"all" | b"hash")
        || word
            .split(|&byte| byte == b',')
            .all(|class| parse_i64(class).is_some_and(|class| SLAB_CLASSES.contains(&class)))
}
