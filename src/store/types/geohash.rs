//! Places as sorted-set scores: the arithmetic of GEOADD, GEOPOS, GEOHASH, GEODIST and GEOSEARCH.
//!
//! A place is a cell of a 2^26 x 2^26 grid over the Mercator part of the world, its two indices interleaved to
//! a score of 52 bits. Places near each other mostly share a prefix, so the places of a coarser cell are one
//! range of scores, and a search reads the ranges of at most nine: the cell of the centre and its neighbours,
//! coarse enough to cover the shape, less those it cannot reach. What they hold is then measured one by one.
//!
//! This file knows scores, not members: whoever owns the sorted set walks the ranges.
//!
//! Invariant: the same floating-point operations in the same order as Redis, so scores, digits and borderline
//! cases agree.

use std::f64::consts::PI;

/// Longitudes a place can have, in degrees, both ends included.
pub const LONGITUDES: (f64, f64) = (-180.0, 180.0);
/// Latitudes a place can have: those of the square Mercator map.
pub const LATITUDES: (f64, f64) = (-85.05112878, 85.05112878);

/// Bits of each index of the finest grid.
const FINEST: u32 = 26;
const EARTH_RADIUS_M: f64 = 6372797.560856;
/// Half the equator on the map.
const MERCATOR_MAX_M: f64 = 20037726.37;

/// A place on earth.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Degrees east.
    pub longitude: f64,
    /// Degrees north.
    pub latitude: f64,
}

impl Point {
    /// A place, if it is one that can be stored.
    pub fn new(longitude: f64, latitude: f64) -> Option<Self> {
        let on_map = (LONGITUDES.0..=LONGITUDES.1).contains(&longitude)
            && (LATITUDES.0..=LATITUDES.1).contains(&latitude);
        on_map.then_some(Self { longitude, latitude })
    }

    /// The score the place is stored under.
    pub fn score(self) -> f64 {
        Cell::of(self, FINEST, LATITUDES).hash() as f64
    }

    /// The middle of the cell a score stands for. Any score is read as one; some place comes out.
    pub fn from_score(score: f64) -> Self {
        let area = Cell::from_hash(score as u64, FINEST).area();
        let middle =
            |range: (f64, f64), limits: (f64, f64)| ((range.0 + range.1) / 2.0).clamp(limits.0, limits.1);
        Self { longitude: middle(area.longitudes, LONGITUDES), latitude: middle(area.latitudes, LATITUDES) }
    }

    /// The standard geohash of the place, 11 letters. The last is always `0`: 52 bits make ten and a half.
    pub fn geohash(self) -> [u8; 11] {
        const ALPHABET: &[u8; 32] = b"0123456789bcdefghjkmnpqrstuvwxyz";
        // The standard divides all latitudes, not just those of the map.
        let hash = Cell::of(self, FINEST, (-90.0, 90.0)).hash();
        let mut text = [b'0'; 11];
        for (i, letter) in text[..10].iter_mut().enumerate() {
            *letter = ALPHABET[(hash >> (52 - (i + 1) * 5)) as usize & 0x1f];
        }
        text
    }

    /// The great-circle distance in metres, on a sphere.
    pub fn distance_m(self, other: Point) -> f64 {
        let v = ((radians(other.longitude) - radians(self.longitude)) / 2.0).sin();
        if v == 0.0 {
            return meridian_distance_m(self.latitude, other.latitude);
        }
        let (here, there) = (radians(self.latitude), radians(other.latitude));
        let u = ((there - here) / 2.0).sin();
        let a = u * u + here.cos() * there.cos() * v * v;
        2.0 * EARTH_RADIUS_M * a.sqrt().asin()
    }
}

/// A unit of length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// `m`
    Metres,
    /// `km`
    Kilometres,
    /// `ft`
    Feet,
    /// `mi`
    Miles,
}

impl Unit {
    /// The unit of that abbreviation, in any case.
    pub fn parse(text: &[u8]) -> Option<Self> {
        match text.to_ascii_lowercase().as_slice() {
            b"m" => Some(Unit::Metres),
            b"km" => Some(Unit::Kilometres),
            b"ft" => Some(Unit::Feet),
            b"mi" => Some(Unit::Miles),
            _ => None,
        }
    }

    /// How many metres it is.
    pub fn metres(self) -> f64 {
        match self {
            Unit::Metres => 1.0,
            Unit::Kilometres => 1000.0,
            Unit::Feet => 0.3048,
            Unit::Miles => 1609.34,
        }
    }
}

/// The form of a search area around its centre, in the unit of the search.
#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    /// All within a distance.
    Circle {
        /// That distance.
        radius: f64,
    },
    /// All within half a width to the east and west and half a height to the north and south.
    Box {
        /// From west to east.
        width: f64,
        /// From south to north.
        height: f64,
    },
    /// All within these corners, whose sides are straight in degrees; on no side of it goes on around the world.
    Polygon(Box<[Point]>),
}

/// A search area.
#[derive(Clone, Debug, PartialEq)]
pub struct Search {
    /// Its middle.
    pub centre: Point,
    /// Its form.
    pub shape: Shape,
    /// What the lengths of the form are in.
    pub unit: Unit,
}

impl Search {
    /// The area within `corners`, whose centre is the middle of them on the sphere.
    pub fn polygon(corners: Box<[Point]>) -> Self {
        let (mut x, mut y, mut z) = (0.0, 0.0, 0.0);
        for corner in &corners {
            let (longitude, latitude) = (radians(corner.longitude), radians(corner.latitude));
            x += latitude.cos() * longitude.cos();
            y += latitude.cos() * longitude.sin();
            z += latitude.sin();
        }
        let latitude = z.atan2((x * x + y * y).sqrt());
        let centre = Point { longitude: degrees(y.atan2(x)), latitude: degrees(latitude) };
        Self { centre, shape: Shape::Polygon(corners), unit: Unit::Metres }
    }

    /// The distance in metres from the centre to the place a score stands for, and that place, if it is in
    /// the area.
    pub fn measure(&self, score: f64) -> Option<(f64, Point)> {
        let point = Point::from_score(score);
        let distance_m = match &self.shape {
            Shape::Circle { radius } => {
                let distance_m = self.centre.distance_m(point);
                (distance_m <= radius * self.unit.metres()).then_some(distance_m)
            }
            Shape::Box { width, height } => {
                let (width_m, height_m) = (width * self.unit.metres(), height * self.unit.metres());
                // Along the point's own parallel, for that is what bounds the box there.
                let beside = Point { longitude: self.centre.longitude, latitude: point.latitude };
                let within = meridian_distance_m(point.latitude, self.centre.latitude) <= height_m / 2.0
                    && point.distance_m(beside) <= width_m / 2.0;
                within.then(|| self.centre.distance_m(point))
            }
            Shape::Polygon(corners) => is_within(corners, point).then(|| self.centre.distance_m(point)),
        };
        distance_m.map(|distance_m| (distance_m, point))
    }

    /// The ranges of scores, start included and end not, that hold every place in the area, and more. At most
    /// nine, in the order in which Redis reads them, which is that of unsorted results.
    pub fn ranges(&self) -> impl Iterator<Item = (f64, f64)> + use<> {
        let bounds = self.bounds();
        let mut steps = self.first_steps();
        let mut centre = Cell::of(self.centre, steps, LATITUDES);
        // Near the edge of its cell, an area may reach beyond the neighbours.
        let reaches_beyond = centre.moved(0, 1).area().latitudes.1 < bounds.latitudes.1
            || centre.moved(0, -1).area().latitudes.0 > bounds.latitudes.0
            || centre.moved(1, 0).area().longitudes.1 < bounds.longitudes.1
            || centre.moved(-1, 0).area().longitudes.0 > bounds.longitudes.0;
        if steps > 1 && reaches_beyond {
            steps -= 1;
            centre = Cell::of(self.centre, steps, LATITUDES);
        }
        let own = centre.area();
        let useless = move |east: i32, north: i32| {
            // With four cells in all, neighbours are on both sides.
            steps >= 2
                && ((north < 0 && own.latitudes.0 < bounds.latitudes.0)
                    || (north > 0 && own.latitudes.1 > bounds.latitudes.1)
                    || (east < 0 && own.longitudes.0 < bounds.longitudes.0)
                    || (east > 0 && own.longitudes.1 > bounds.longitudes.1))
        };
        let mut previous = None;
        [(0, 0), (0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, 1), (1, -1), (-1, -1)]
            .into_iter()
            .filter(move |&(east, north)| !useless(east, north))
            .map(move |(east, north)| centre.moved(east, north))
            // Around the world, a cell may be the neighbour on both sides.
            .filter(move |&cell| previous.replace(cell) != Some(cell))
            .map(Cell::scores)
    }

    /// The box around the area, in degrees.
    fn bounds(&self) -> Area {
        let (width_m, height_m) = match &self.shape {
            Shape::Circle { radius } => (self.unit.metres() * radius, self.unit.metres() * radius),
            Shape::Box { width, height } => {
                (self.unit.metres() * width / 2.0, self.unit.metres() * height / 2.0)
            }
            Shape::Polygon(corners) => return Area::around(corners),
        };
        let Point { longitude, latitude } = self.centre;
        let to_pole = degrees(height_m / EARTH_RADIUS_M);
        // The side nearer the pole spans more degrees.
        let far = if latitude < 0.0 { latitude - to_pole } else { latitude + to_pole };
        let aside = degrees(width_m / EARTH_RADIUS_M / radians(far).cos());
        Area {
            longitudes: (longitude - aside, longitude + aside),
            latitudes: (latitude - to_pole, latitude + to_pole),
        }
    }

    /// The finest grid three cells of which are likely to cover the area.
    fn first_steps(&self) -> u32 {
        let radius = match &self.shape {
            Shape::Circle { radius } => *radius,
            Shape::Box { width, height } => {
                (width / 2.0 * (width / 2.0) + height / 2.0 * (height / 2.0)).sqrt()
            }
            Shape::Polygon(corners) => {
                let Area { longitudes: (west, east), latitudes: (south, north) } = Area::around(corners);
                let reach = |longitude, latitude| self.centre.distance_m(Point { longitude, latitude });
                [(west, north), (east, north), (west, south), (east, south)]
                    .into_iter()
                    .fold(0.0, |far: f64, (longitude, latitude)| far.max(reach(longitude, latitude)))
            }
        };
        let mut range_m = radius * self.unit.metres();
        if range_m == 0.0 {
            return FINEST;
        }
        let mut steps = -1;
        while range_m < MERCATOR_MAX_M {
            range_m *= 2.0;
            steps += 1;
        }
        // Cells are narrow near the poles.
        let latitude = self.centre.latitude.abs();
        steps -= i32::from(latitude > 66.0) + i32::from(latitude > 80.0);
        steps.clamp(1, FINEST as i32) as u32
    }
}

/// A cell of a grid of 2^steps by 2^steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cell {
    /// Index from the west. One too many for the easternmost meridian, which Redis stores so.
    x: u32,
    /// Index from the south.
    y: u32,
    steps: u32,
}

/// What a cell or a search spans, in degrees.
#[derive(Clone, Copy)]
struct Area {
    longitudes: (f64, f64),
    latitudes: (f64, f64),
}

impl Area {
    fn around(points: &[Point]) -> Self {
        let span = |coordinate: fn(&Point) -> f64| {
            points
                .iter()
                .map(coordinate)
                .fold((f64::MAX, f64::MIN), |(min, max), at| (min.min(at), max.max(at)))
        };
        Self { longitudes: span(|point| point.longitude), latitudes: span(|point| point.latitude) }
    }
}

/// Whether a ray from `point` to the east leaves the polygon more often than it enters it.
fn is_within(corners: &[Point], point: Point) -> bool {
    let (mut inside, mut before) = (false, corners.len() - 1);
    for (at, a) in corners.iter().enumerate() {
        let b = &corners[before];
        let crosses = (a.latitude > point.latitude) != (b.latitude > point.latitude);
        let side = |a: &Point, b: &Point| {
            (b.longitude - a.longitude) * (point.latitude - a.latitude) / (b.latitude - a.latitude)
                + a.longitude
        };
        inside ^= crosses && point.longitude < side(a, b);
        before = at;
    }
    inside
}

impl Cell {
    fn of(point: Point, steps: u32, latitudes: (f64, f64)) -> Self {
        let index = |value: f64, (min, max): (f64, f64)| {
            let share = (value - min) / (max - min);
            (share * (1u64 << steps) as f64) as u32
        };
        Self { x: index(point.longitude, LONGITUDES), y: index(point.latitude, latitudes), steps }
    }

    /// The cell of an interleaved hash.
    fn from_hash(hash: u64, steps: u32) -> Self {
        Self { x: every_other_bit(hash >> 1), y: every_other_bit(hash), steps }
    }

    /// Both indices interleaved.
    fn hash(self) -> u64 {
        spread(self.y) | spread(self.x) << 1
    }

    fn area(self) -> Area {
        let side = |index: u32, (min, max): (f64, f64)| {
            let share = |index: u32| f64::from(index) / (1u64 << self.steps) as f64;
            (min + share(index) * (max - min), min + share(index.wrapping_add(1)) * (max - min))
        };
        Area { longitudes: side(self.x, LONGITUDES), latitudes: side(self.y, LATITUDES) }
    }

    /// The cell so many to the east and to the north, around the world.
    fn moved(self, east: i32, north: i32) -> Self {
        let step = |index: u32, by: i32| match by {
            0 => index,
            _ => index.wrapping_add_signed(by) & ((1 << self.steps) - 1),
        };
        Self { x: step(self.x, east), y: step(self.y, north), steps: self.steps }
    }

    /// The scores of the places in the cell: the first, and the first behind them.
    fn scores(self) -> (f64, f64) {
        let finer = 2 * (FINEST - self.steps);
        ((self.hash() << finer) as f64, ((self.hash() + 1) << finer) as f64)
    }
}

/// Moves the bits of `index` to the even places.
fn spread(index: u32) -> u64 {
    let mut bits = u64::from(index);
    bits = (bits | bits << 16) & 0x0000_ffff_0000_ffff;
    bits = (bits | bits << 8) & 0x00ff_00ff_00ff_00ff;
    bits = (bits | bits << 4) & 0x0f0f_0f0f_0f0f_0f0f;
    bits = (bits | bits << 2) & 0x3333_3333_3333_3333;
    (bits | bits << 1) & 0x5555_5555_5555_5555
}

/// Gathers the bits in the even places.
fn every_other_bit(hash: u64) -> u32 {
    let mut bits = hash & 0x5555_5555_5555_5555;
    bits = (bits | bits >> 1) & 0x3333_3333_3333_3333;
    bits = (bits | bits >> 2) & 0x0f0f_0f0f_0f0f_0f0f;
    bits = (bits | bits >> 4) & 0x00ff_00ff_00ff_00ff;
    bits = (bits | bits >> 8) & 0x0000_ffff_0000_ffff;
    (bits | bits >> 16) as u32
}

/// The distance between two latitudes along a meridian, in metres.
fn meridian_distance_m(a: f64, b: f64) -> f64 {
    EARTH_RADIUS_M * (radians(b) - radians(a)).abs()
}

/// Not `to_radians`: the last bit matters.
fn radians(degrees: f64) -> f64 {
    degrees * (PI / 180.0)
}

fn degrees(radians: f64) -> f64 {
    radians / (PI / 180.0)
}

#[cfg(test)]
mod tests;
