//! Expected values are redis-server's.

use shoal_protocol::resp::format_human_double;

use super::*;
use crate::text::number::format_fixed;

const PALERMO: (f64, f64) = (13.361389, 38.115556);
const CATANIA: (f64, f64) = (15.087269, 37.502669);

fn score((longitude, latitude): (f64, f64)) -> f64 {
    Point::new(longitude, latitude).unwrap().score()
}

/// The place as it comes back from the sorted set.
fn stored(place: (f64, f64)) -> Point {
    Point::from_score(score(place))
}

fn text(write: impl Fn(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    write(&mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn scores_positions_and_hashes() {
    for (place, expected_score, longitude, latitude, geohash) in [
        (PALERMO, 3479099956230698.0, "13.36138933897018433", "38.11555639549629859", "sqc8b49rny0"),
        (CATANIA, 3479447370796909.0, "15.08726745843887329", "37.50266842333162032", "sqdtr74hyu0"),
        ((-180.0, -85.05112878), 0.0, "-179.99999731779098511", "-85.05112751263942528", "00bh0hbj200"),
        ((180.0, 85.05112878), 13510798882111488.0, "180", "85.0511287799999991", "bp05b5048p0"),
        ((0.0, 0.0), 3377699720527872.0, "0.00000268220901489", "0.00000126736058093", "s0000000000"),
        (
            (-0.1278, 51.5074),
            2163557714755072.0,
            "-0.12779921293258667",
            "51.50740077990133159",
            "gcpvj0duq50",
        ),
        (
            (151.2093, -33.8688),
            3252046221964352.0,
            "151.20929986238479614",
            "-33.86880091934155956",
            "r3gx2f77bj0",
        ),
    ] {
        assert_eq!(score(place), expected_score);
        let point = stored(place);
        assert_eq!(text(|out| format_human_double(point.longitude, out)), longitude);
        assert_eq!(text(|out| format_human_double(point.latitude, out)), latitude);
        assert_eq!(point.geohash(), geohash.as_bytes());
    }
}

#[test]
fn distances() {
    for (a, b, unit, expected) in [
        (PALERMO, CATANIA, "m", "166274.1516"),
        (PALERMO, CATANIA, "KM", "166.2742"),
        ((-0.1278, 51.5074), (151.2093, -33.8688), "km", "16998.7282"),
        ((-180.0, -85.05112878), (180.0, 85.05112878), "mi", "11756.2756"),
        (PALERMO, PALERMO, "ft", "0.0000"),
    ] {
        let metres = Unit::parse(unit.as_bytes()).unwrap().metres();
        let distance = stored(a).distance_m(stored(b)) / metres;
        assert_eq!(text(|out| format_fixed(distance, 4, out)), expected);
    }
    assert_eq!(Unit::parse(b"yd"), None);
}

#[test]
fn limits() {
    for (longitude, latitude) in
        [(180.1, 0.0), (-180.1, 0.0), (0.0, 85.0512), (0.0, -85.0512), (f64::NAN, 0.0)]
    {
        assert_eq!(Point::new(longitude, latitude), None);
    }
}

/// What a search finds among `places`, nearest cell first, and how far it is.
fn find(search: Search, places: &[(f64, f64)]) -> Vec<(usize, String)> {
    let mut scores: Vec<(f64, usize)> = places.iter().copied().map(score).zip(0..).collect();
    scores.sort_by(|a, b| a.partial_cmp(b).unwrap());
    let mut found = Vec::new();
    for (start, end) in search.ranges() {
        for &(score, place) in scores.iter().filter(|(score, _)| (start..end).contains(score)) {
            if let Some((distance_m, _)) = search.measure(score) {
                found.push((place, text(|out| format_fixed(distance_m / search.unit.metres(), 4, out))));
            }
        }
    }
    found
}

#[test]
fn searching() {
    let places =
        [PALERMO, CATANIA, (-180.0, -85.05112878), (0.0, 0.0), (-0.1278, 51.5074), (151.2093, -33.8688)];
    let search = |longitude, latitude, shape, unit| {
        let centre = Point::new(longitude, latitude).unwrap();
        let found = find(Search { centre, shape, unit }, &places);
        found.into_iter().map(|(place, distance)| format!("{place}:{distance}")).collect::<Vec<_>>().join(" ")
    };
    let (km, m) = (Unit::Kilometres, Unit::Metres);
    assert_eq!(search(15.0, 37.0, Shape::Circle { radius: 200.0 }, km), "0:190.4424 1:56.4413");
    assert_eq!(search(15.0, 37.0, Shape::Circle { radius: 100.0 }, km), "1:56.4413");
    assert_eq!(search(15.0, 37.0, Shape::Box { width: 400.0, height: 400.0 }, km), "0:190.4424 1:56.4413");
    assert_eq!(search(15.0, 37.0, Shape::Box { width: 200.0, height: 400.0 }, km), "1:56.4413");
    assert_eq!(
        search(0.0, 0.0, Shape::Circle { radius: f64::INFINITY }, m),
        "3:0.3300 0:4454733.2399 1:4449696.1236 5:15203738.5927 4:5728990.2180 2:10560811.7759",
    );
    assert_eq!(search(0.0, 0.0, Shape::Circle { radius: 0.0 }, m), "");
}

/// The grid must never hide a place that measuring would accept. (Redis's does near the poles and across the
/// edge of the map; ours is the same, so the test keeps away from both.)
#[test]
fn the_ranges_cover_the_area() {
    let mut rng = fastrand::Rng::with_seed(7);
    for _ in 0..2000 {
        let centre = Point::new(rng.f64() * 240.0 - 120.0, rng.f64() * 120.0 - 60.0).unwrap();
        let radius = 10f64.powf(rng.f64() * 5.0);
        let search = Search { centre, shape: Shape::Circle { radius }, unit: Unit::Metres };
        let ranges: Vec<_> = search.ranges().collect();
        assert!(ranges.len() <= 9);
        for _ in 0..20 {
            let span = radius / 50_000.0;
            let near = |at: f64| at + (rng.f64() - 0.5) * span;
            let (longitude, latitude) = [centre.longitude, centre.latitude].map(near).into();
            let score = score((longitude, latitude));
            if search.measure(score).is_some() {
                assert!(ranges.iter().any(|&(start, end)| (start..end).contains(&score)));
            }
        }
    }
}

#[test]
fn any_score_is_some_place() {
    for score in [-1.0, 0.5, 1e300, f64::INFINITY, f64::NEG_INFINITY, f64::NAN] {
        let point = Point::from_score(score);
        assert!(Point::new(point.longitude, point.latitude).is_some());
        point.geohash();
    }
}
