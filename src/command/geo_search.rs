//! Searching places: GEOSEARCH, and GEORADIUS and GEORADIUSBYMEMBER, which came before it.
//!
//! All six commands are one query with differing words; how it is asked is read here, what lies where is known to
//! `store/types/geohash.rs`.

use super::error::{self, CmdError};
use super::geo::{point, position, reply_distance, reply_point, unit};
use super::parse::{self, is, operand};
use super::sorted_set::{limits, store};
use super::{Command, Cx, Flags, Group, command, flag, flags, reply, spec};
use crate::store::types::geohash::{Point, Search, Shape, Unit};
use crate::store::types::pack::Element;
use crate::store::types::zset::{AddOptions, ScoreRange, ZSet, ZSetLimits};
use shoal_protocol::resp::Args;
use std::cmp::Ordering;

const READ: Flags = flag::READONLY;
const WRITE: Flags = flags([flag::WRITE, flag::DENYOOM]);

const fn row(name: &'static str, arity: i32, run: super::Run) -> Command {
    command(name, arity, Group::Geo, run)
}

/// The family's rows.
pub const COMMANDS: &[Command] = &[
    row("georadius", -6, georadius).flags(WRITE).keys(spec::GEO_STORE_BY_POINT).doc(
        "3.2.0",
        "key longitude latitude radius <M | KM | FT | MI> [WITHCOORD] [WITHDIST] [WITHHASH] [COUNT count [ANY]] [ASC | DESC] [STORE key | STOREDIST key]",
        "Queries a geospatial index for members within a distance from a coordinate, optionally stores the result.",
    ),
    row("georadius_ro", -6, georadius_ro).flags(READ).keys(spec::READ).doc(
        "3.2.10",
        "key longitude latitude radius <M | KM | FT | MI> [WITHCOORD] [WITHDIST] [WITHHASH] [COUNT count [ANY]] [ASC | DESC]",
        "Returns members from a geospatial index that are within a distance from a coordinate.",
    ),
    row("georadiusbymember", -5, georadiusbymember).flags(WRITE).keys(spec::GEO_STORE_BY_MEMBER).doc(
        "3.2.0",
        "key member radius <M | KM | FT | MI> [WITHCOORD] [WITHDIST] [WITHHASH] [COUNT count [ANY]] [ASC | DESC] [STORE key | STOREDIST key]",
        "Queries a geospatial index for members within a distance from a member, optionally stores the result.",
    ),
    row("georadiusbymember_ro", -5, georadiusbymember_ro).flags(READ).keys(spec::READ).doc(
        "3.2.10",
        "key member radius <M | KM | FT | MI> [WITHCOORD] [WITHDIST] [WITHHASH] [COUNT count [ANY]] [ASC | DESC]",
        "Returns members from a geospatial index that are within a distance from a member.",
    ),
    row("geosearch", -7, geosearch).flags(READ).keys(spec::READ).doc(
        "6.2.0",
        "key [FROMMEMBER member | FROMLONLAT longitude latitude] <BYRADIUS radius <M | KM | FT | MI> | BYBOX width height <M | KM | FT | MI> | BYPOLYGON num-vertices longitude latitude [longitude latitude ...]> [ASC | DESC] [COUNT count [ANY]] [WITHCOORD] [WITHDIST] [WITHHASH]",
        "Queries a geospatial index for members inside an area of a box, circle, or a polygon.",
    ),
    row("geosearchstore", -8, geosearchstore).flags(WRITE).keys(spec::STORE_ONE).doc(
        "6.2.0",
        "destination source [FROMMEMBER member | FROMLONLAT longitude latitude] <BYRADIUS radius <M | KM | FT | MI> | BYBOX width height <M | KM | FT | MI> | BYPOLYGON num-vertices longitude latitude [longitude latitude ...]> [ASC | DESC] [COUNT count [ANY]] [STOREDIST]",
        "Queries a geospatial index for members inside an area of a box, circle, or a polygon, optionally stores the result.",
    ),
];

/// How the area is given.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// Two coordinates and a radius behind the key.
    Point,
    /// A member and a radius behind the key.
    Member,
    /// By words.
    Words,
}

/// Which of the six commands it is.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Kind {
    asked: Asked,
    /// Whether it can store its result.
    stores: bool,
}

/// Where the result is to be stored.
#[derive(Clone, Copy)]
struct Destination<'a> {
    key: &'a [u8],
    /// Whether members score by their distance rather than by their place.
    by_distance: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sort {
    None,
    Nearest,
    Farthest,
}

/// A query as its arguments describe it. What cannot be told without the source is left at a default.
struct Query<'a> {
    search: Search,
    destination: Option<Destination<'a>>,
    with_distance: bool,
    with_hash: bool,
    with_point: bool,
    sort: Sort,
    /// How many to answer with at most; 0 is all.
    count: usize,
    /// Whether any so many will do.
    any: bool,
}

/// GEORADIUS key longitude latitude radius <M | KM | FT | MI> ...
fn georadius(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    run(cx, args, Kind { asked: Asked::Point, stores: true })
}

/// GEORADIUS_RO key longitude latitude radius <M | KM | FT | MI> ...
fn georadius_ro(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    run(cx, args, Kind { asked: Asked::Point, stores: false })
}

/// GEORADIUSBYMEMBER key member radius <M | KM | FT | MI> ...
fn georadiusbymember(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    run(cx, args, Kind { asked: Asked::Member, stores: true })
}

/// GEORADIUSBYMEMBER_RO key member radius <M | KM | FT | MI> ...
fn georadiusbymember_ro(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    run(cx, args, Kind { asked: Asked::Member, stores: false })
}

/// GEOSEARCH key [FROMMEMBER member | FROMLONLAT longitude latitude] <BYRADIUS ... | BYBOX ... | BYPOLYGON ...> ...
fn geosearch(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    run(cx, args, Kind { asked: Asked::Words, stores: false })
}

/// GEOSEARCHSTORE destination source [FROMMEMBER member | FROMLONLAT longitude latitude] <BYRADIUS ... | BYBOX ... | BYPOLYGON ...> ...
fn geosearchstore(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    run(cx, args, Kind { asked: Asked::Words, stores: true })
}

fn run(cx: &mut Cx, args: Args, kind: Kind) -> Result<(), CmdError> {
    let source = if kind == (Kind { asked: Asked::Words, stores: true }) { 2 } else { 1 };
    // The source comes first: members named as the middle are looked up while the words are read.
    let zset = cx.keys.read_as::<ZSet>(&args[source])?;
    let query = Query::parse(args, kind, zset)?;
    if let Some(destination) = query.destination
        && !names(cx.command, args, destination.key)
    {
        return Err(error::SYNTAX);
    }
    let found = zset.map_or_else(Vec::new, |zset| query.find(zset));
    if let Some(destination) = query.destination {
        let result = query.build(&found, destination, limits(cx.state));
        let event = if kind.asked == Asked::Words { "geosearchstore" } else { "georadiusstore" };
        store(cx, destination.key, result, event);
        return Ok(());
    }
    let out = &mut *cx.out;
    out.array(found.len());
    let more =
        [query.with_distance, query.with_hash, query.with_point].into_iter().filter(|with| *with).count();
    for found in found {
        if more > 0 {
            out.array(1 + more);
        }
        reply::element(out, found.member);
        if query.with_distance {
            reply_distance(out, found.distance_m, query.search.unit);
        }
        if query.with_hash {
            out.int(found.score as i64);
        }
        if query.with_point {
            reply_point(out, found.point);
        }
    }
    Ok(())
}

/// Whether the row's specs name `key`.
fn names(command: &Command, args: Args, key: &[u8]) -> bool {
    let mut named = false;
    for spec in command.keys {
        spec.visit(args, &mut |at| named |= std::ptr::eq(&args[at], key));
    }
    named
}

/// The corners of a polygon, behind their number, which follows argument `at`.
fn corners(args: &Args, at: &mut usize) -> Result<Box<[Point]>, CmdError> {
    let count = parse::int(operand(args, at)?).ok().and_then(|count| i32::try_from(count).ok());
    let count = count.ok_or(CmdError::new("ERR invalid number of vertices"))?;
    if count < 3 || (args.len() - *at - 1) / 2 < count as usize {
        return Err(CmdError::new("ERR GEOSEARCH BYPOLYGON must have at least 3 vertices"));
    }
    (0..count).map(|_| point(operand(args, at)?, operand(args, at)?)).collect()
}

/// A place found.
struct Found<'z> {
    member: Element<'z>,
    score: f64,
    distance_m: f64,
    point: Point,
}

impl<'a> Query<'a> {
    fn parse(args: Args<'a>, kind: Kind, zset: Option<&ZSet>) -> Result<Self, CmdError> {
        let mut query = Query {
            search: Search {
                centre: Point { longitude: 0.0, latitude: 0.0 },
                shape: Shape::Circle { radius: 0.0 },
                unit: Unit::Metres,
            },
            destination: None,
            with_distance: false,
            with_hash: false,
            with_point: false,
            sort: Sort::None,
            count: 0,
            any: false,
        };
        match kind.asked {
            Asked::Point => {
                query.search.centre = point(&args[2], &args[3])?;
                query.circle(&args[4], &args[5])?;
                query.words(args, 6, kind, zset)?;
            }
            Asked::Member => {
                // Without a source Redis does not look at what depends on it.
                if let Some(zset) = zset {
                    query.centre_on(zset, &args[2])?;
                    query.circle(&args[3], &args[4])?;
                }
                query.words(args, 5, kind, zset)?;
            }
            Asked::Words if kind.stores => {
                query.destination = args.get(1).map(|key| Destination { key, by_distance: false });
                query.words(args, 3, kind, zset)?;
            }
            Asked::Words => query.words(args, 2, kind, zset)?,
        }
        if query.any && query.count == 0 {
            return Err(CmdError::new("ERR the ANY argument requires COUNT argument"));
        }
        // The nearest are meant where nothing else is said.
        if query.count > 0 && query.sort == Sort::None && !query.any {
            query.sort = Sort::Nearest;
        }
        Ok(query)
    }

    /// Reads the words from argument `at` on.
    fn words(
        &mut self,
        args: Args<'a>,
        mut at: usize,
        kind: Kind,
        zset: Option<&ZSet>,
    ) -> Result<(), CmdError> {
        let by_words = kind.asked == Asked::Words;
        let (mut from_member, mut from_point) = (false, false);
        let (mut by_radius, mut by_box, mut by_polygon) = (false, false, false);
        while at < args.len() {
            let (word, left) = (&args[at], args.len() - at - 1);
            if is(word, "withdist") {
                self.with_distance = true;
            } else if is(word, "withhash") {
                self.with_hash = true;
            } else if is(word, "withcoord") {
                self.with_point = true;
            } else if is(word, "any") {
                self.any = true;
            } else if is(word, "asc") {
                self.sort = Sort::Nearest;
            } else if is(word, "desc") {
                self.sort = Sort::Farthest;
            } else if is(word, "count") {
                self.count = match parse::int(operand(&args, &mut at)?)? {
                    ..=0 => return Err(CmdError::new("ERR COUNT must be > 0")),
                    count => count as usize,
                };
            } else if !by_words && kind.stores && (is(word, "store") || is(word, "storedist")) {
                let key = operand(&args, &mut at)?;
                self.destination = Some(Destination { key, by_distance: is(word, "storedist") });
            } else if by_words && is(word, "frommember") && left >= 1 && !from_point && !by_polygon {
                let member = operand(&args, &mut at)?;
                if let Some(zset) = zset {
                    self.centre_on(zset, member)?;
                }
                from_member = true;
            } else if by_words && is(word, "fromlonlat") && left >= 2 && !from_member && !by_polygon {
                self.search.centre = point(operand(&args, &mut at)?, operand(&args, &mut at)?)?;
                from_point = true;
            } else if by_words && is(word, "byradius") && left >= 2 && !by_box && !by_polygon {
                self.circle(operand(&args, &mut at)?, operand(&args, &mut at)?)?;
                by_radius = true;
            } else if by_words && is(word, "bybox") && left >= 3 && !by_radius && !by_polygon {
                self.rectangle([
                    operand(&args, &mut at)?,
                    operand(&args, &mut at)?,
                    operand(&args, &mut at)?,
                ])?;
                by_box = true;
            } else if by_words
                && is(word, "bypolygon")
                && left >= 2
                && !(by_radius || by_box || from_member || from_point)
            {
                self.search = Search::polygon(corners(&args, &mut at)?);
                by_polygon = true;
            } else if let (true, true, Some(destination)) =
                (by_words, is(word, "storedist"), &mut self.destination)
            {
                destination.by_distance = true;
            } else {
                return Err(error::SYNTAX);
            }
            at += 1;
        }
        if self.destination.is_some() && (self.with_distance || self.with_hash || self.with_point) {
            let what = if by_words { "GEOSEARCHSTORE" } else { "STORE option in GEORADIUS" };
            return Err(CmdError::with(format!(
                "ERR {what} is not compatible with WITHDIST, WITHHASH and WITHCOORD options"
            )));
        }
        let missing = match by_words {
            true if !(from_member || from_point || by_polygon) => "FROMMEMBER or FROMLONLAT",
            true if !(by_radius || by_box || by_polygon) => "BYRADIUS, BYBOX and BYPOLYGON",
            _ => return Ok(()),
        };
        let missing = missing.as_bytes();
        Err(CmdError::quoting(&[b"ERR exactly one of ", missing, b" can be specified for ", &args[0]]))
    }

    fn centre_on(&mut self, zset: &ZSet, member: &[u8]) -> Result<(), CmdError> {
        let missing = || CmdError::quoting(&[b"ERR member ", member, b" does not exist"]);
        self.search.centre = position(zset, member).ok_or_else(missing)?;
        Ok(())
    }

    fn circle(&mut self, radius: &[u8], unit_name: &[u8]) -> Result<(), CmdError> {
        let radius = parse::float(radius).map_err(|_| CmdError::new("ERR need numeric radius"))?;
        if radius < 0.0 {
            return Err(CmdError::new("ERR radius cannot be negative"));
        }
        self.search.shape = Shape::Circle { radius };
        self.search.unit = unit(unit_name)?;
        Ok(())
    }

    fn rectangle(&mut self, [width, height, unit_name]: [&[u8]; 3]) -> Result<(), CmdError> {
        let width = parse::float(width).map_err(|_| CmdError::new("ERR need numeric width"))?;
        let height = parse::float(height).map_err(|_| CmdError::new("ERR need numeric height"))?;
        if width < 0.0 || height < 0.0 {
            return Err(CmdError::new("ERR height or width cannot be negative"));
        }
        self.search.shape = Shape::Box { width, height };
        self.search.unit = unit(unit_name)?;
        Ok(())
    }

    /// The places asked for, in the order asked for.
    fn find<'z>(&self, zset: &'z ZSet) -> Vec<Found<'z>> {
        let enough = if self.any { self.count } else { usize::MAX };
        let inside = |(min, max): (f64, f64)| {
            let range = ScoreRange { min, max, min_exclusive: false, max_exclusive: true };
            zset.range_by_score(&range, false)
        };
        let measured = |(member, score): (Element<'z>, f64)| {
            let (distance_m, point) = self.search.measure(score)?;
            Some(Found { member, score, distance_m, point })
        };
        let mut found: Vec<_> =
            self.search.ranges().flat_map(inside).filter_map(measured).take(enough).collect();
        let nearest =
            |a: &Found, b: &Found| a.distance_m.partial_cmp(&b.distance_m).unwrap_or(Ordering::Equal);
        match self.sort {
            Sort::None => {}
            Sort::Nearest => found.sort_by(nearest),
            Sort::Farthest => found.sort_by(|a, b| nearest(b, a)),
        }
        if self.count > 0 {
            found.truncate(self.count);
        }
        found
    }

    /// A sorted set of what was found.
    fn build(&self, found: &[Found<'_>], destination: Destination<'_>, limits: ZSetLimits) -> ZSet {
        let mut zset = ZSet::new();
        let longest = found.iter().map(|found| found.member.text_len()).max().unwrap_or(0);
        zset.expect_members(found.len(), longest, limits);
        let mut buffer = itoa::Buffer::new();
        for found in found {
            let score = if destination.by_distance {
                found.distance_m / self.search.unit.metres()
            } else {
                found.score
            };
            zset.add(found.member.as_bytes(&mut buffer), score, AddOptions::default(), limits);
        }
        zset
    }
}
