//! Places: sorted sets whose scores are positions on earth.
//!
//! Adding, looking up and measuring are here, searching is in `geo_search.rs`.

use super::error::{self, CmdError};
use super::parse::{self, is};
use super::sorted_set::{self, Scored};
use super::{Command, Cx, Group, command, flag, flags, spec};
use crate::store::types::geohash::{Point, Unit};
use crate::store::types::zset::{AddOptions, Touch, ZSet};
use crate::text::number::format_fixed;
use shoal_protocol::resp::{Args, Output};

const fn row(name: &'static str, arity: i32, run: super::Run) -> Command {
    command(name, arity, Group::Geo, run).flags(flag::READONLY).keys(spec::READ)
}

/// The family's rows.
pub const COMMANDS: &[Command] = &[
    row("geoadd", -5, geoadd).flags(flags([flag::WRITE, flag::DENYOOM])).keys(spec::UPDATE).doc(
        "3.2.0",
        "key [NX | XX] [CH] longitude latitude member [longitude latitude member ...]",
        "Adds one or more members to a geospatial index. The key is created if it doesn't exist.",
    ),
    row("geodist", -4, geodist).doc(
        "3.2.0",
        "key member1 member2 [M | KM | FT | MI]",
        "Returns the distance between two members of a geospatial index.",
    ),
    row("geohash", -2, geohash).doc(
        "3.2.0",
        "key [member [member ...]]",
        "Returns members from a geospatial index as geohash strings.",
    ),
    row("geopos", -2, geopos).doc(
        "3.2.0",
        "key [member [member ...]]",
        "Returns the longitude and latitude of members from a geospatial index.",
    ),
];

/// A place given by two arguments.
pub(super) fn point(longitude: &[u8], latitude: &[u8]) -> Result<Point, CmdError> {
    let (longitude, latitude) = (parse::float(longitude)?, parse::float(latitude)?);
    Point::new(longitude, latitude).ok_or_else(|| {
        CmdError::with(format!("ERR invalid longitude,latitude pair {longitude:.6},{latitude:.6}"))
    })
}

/// A unit of length.
pub(super) fn unit(arg: &[u8]) -> Result<Unit, CmdError> {
    Unit::parse(arg).ok_or(CmdError::new("ERR unsupported unit provided. please use M, KM, FT, MI"))
}

/// Where a member is.
pub(super) fn position(zset: &ZSet, member: &[u8]) -> Option<Point> {
    zset.score(member).map(Point::from_score)
}

/// Answers with a place.
pub(super) fn reply_point(out: &mut Output, point: Point) {
    out.array(2);
    out.human_double(point.longitude);
    out.human_double(point.latitude);
}

/// Answers with a distance, which is a string in either version of the protocol.
pub(super) fn reply_distance(out: &mut Output, distance_m: f64, unit: Unit) {
    let mut text = Vec::with_capacity(24);
    format_fixed(distance_m / unit.metres(), 4, &mut text);
    out.bulk(&text);
}

/// GEOADD key [NX | XX] [CH] longitude latitude member [longitude latitude member ...]
fn geoadd(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let (mut absent, mut present, mut count_changed) = (false, false, false);
    let mut at = 2;
    while let Some(word) = args.get(at) {
        match word {
            _ if is(word, "nx") => absent = true,
            _ if is(word, "xx") => present = true,
            _ if is(word, "ch") => count_changed = true,
            _ => break,
        }
        at += 1;
    }
    let rest = args.from(at);
    if rest.is_empty() || !rest.len().is_multiple_of(3) || (absent && present) {
        return Err(error::SYNTAX);
    }
    let mut pairs = Scored::new();
    let mut words = rest.iter();
    while let (Some(longitude), Some(latitude), Some(member)) = (words.next(), words.next(), words.next()) {
        pairs.push((point(longitude, latitude)?.score(), member));
    }
    let touch = match (absent, present) {
        (true, _) => Touch::Absent,
        (_, true) => Touch::Present,
        _ => Touch::Any,
    };
    sorted_set::add(cx, &args[1], &pairs, AddOptions { touch, ..AddOptions::default() }, count_changed)
}

/// GEODIST key member1 member2 [M | KM | FT | MI]
fn geodist(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let unit = match args.get(4) {
        _ if args.len() > 5 => return Err(error::SYNTAX),
        Some(word) => unit(word)?,
        None => Unit::Metres,
    };
    let zset = cx.keys.read_as::<ZSet>(&args[1])?;
    let place = |member| zset.and_then(|zset| position(zset, member));
    match (place(&args[2]), place(&args[3])) {
        (Some(one), Some(other)) => reply_distance(cx.out, one.distance_m(other), unit),
        _ => cx.out.null(),
    }
    Ok(())
}

/// GEOHASH key [member [member ...]]
fn geohash(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let zset = cx.keys.read_as::<ZSet>(&args[1])?;
    cx.out.array(args.len() - 2);
    for member in args.from(2) {
        match zset.and_then(|zset| position(zset, member)) {
            Some(place) => cx.out.bulk(&place.geohash()),
            None => cx.out.null(),
        }
    }
    Ok(())
}

/// GEOPOS key [member [member ...]]
fn geopos(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let zset = cx.keys.read_as::<ZSet>(&args[1])?;
    cx.out.array(args.len() - 2);
    for member in args.from(2) {
        match zset.and_then(|zset| position(zset, member)) {
            Some(place) => reply_point(cx.out, place),
            None => cx.out.null_array(),
        }
    }
    Ok(())
}
