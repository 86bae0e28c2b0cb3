//! Keyspace event classes: the letters of `notify-keyspace-events` as bits.
//!
//! A writer tests `config.int(id::NOTIFY_KEYSPACE_EVENTS) & notify::STRING` and so pays one relaxed load when
//! nobody listens.

/// K: publish on `__keyspace@<db>__` channels.
pub const KEYSPACE: i64 = 1 << 0;
/// E: publish on `__keyevent@<db>__` channels.
pub const KEYEVENT: i64 = 1 << 1;
/// g: commands of no one type: DEL, EXPIRE, RENAME...
pub const GENERIC: i64 = 1 << 2;
/// $: strings.
pub const STRING: i64 = 1 << 3;
/// l: lists.
pub const LIST: i64 = 1 << 4;
/// s: sets.
pub const SET: i64 = 1 << 5;
/// h: hashes.
pub const HASH: i64 = 1 << 6;
/// z: sorted sets.
pub const SORTED_SET: i64 = 1 << 7;
/// x: a key expired.
pub const EXPIRED: i64 = 1 << 8;
/// e: a key was evicted.
pub const EVICTED: i64 = 1 << 9;
/// t: streams.
pub const STREAM: i64 = 1 << 10;
/// d: types of modules.
pub const MODULE: i64 = 1 << 11;
/// n: a key was created. Not among [`ALL`].
pub const NEW_KEY: i64 = 1 << 12;
/// m: a key was asked for and not there. Not among [`ALL`].
pub const KEY_MISS: i64 = 1 << 13;
/// A: every class except new keys and misses.
pub const ALL: i64 = GENERIC | STRING | LIST | SET | HASH | SORTED_SET | EXPIRED | EVICTED | STREAM | MODULE;

/// Letters in the order CONFIG GET prints them.
const LETTERS: [(char, i64); 14] = [
    ('g', GENERIC),
    ('$', STRING),
    ('l', LIST),
    ('s', SET),
    ('h', HASH),
    ('z', SORTED_SET),
    ('x', EXPIRED),
    ('e', EVICTED),
    ('t', STREAM),
    ('d', MODULE),
    ('n', NEW_KEY),
    ('K', KEYSPACE),
    ('E', KEYEVENT),
    ('m', KEY_MISS),
];

/// The bits of a text of letters, or `None` when one is not known.
pub(super) fn parse(text: &str) -> Option<i64> {
    text.chars().try_fold(0, |bits, letter| match letter {
        'A' => Some(bits | ALL),
        _ => LETTERS.iter().find(|(known, _)| *known == letter).map(|(_, bit)| bits | bit),
    })
}

/// The letters of bits, `A` in place of all it stands for.
pub(super) fn print(bits: i64) -> String {
    let all = bits & ALL == ALL;
    let shown = LETTERS.iter().filter(|(_, bit)| bits & bit != 0 && !(all && ALL & bit != 0));
    all.then_some('A').into_iter().chain(shown.map(|(letter, _)| *letter)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_come_back_in_canonical_order() {
        for (given, printed) in
            [("", ""), ("KEA", "AKE"), ("Kg$lshzxetd", "AK"), ("mE", "Em"), ("nKA", "AnK"), ("xElg", "glxE")]
        {
            assert_eq!(print(parse(given).expect("known letters")), printed, "{given}");
        }
        assert_eq!(parse("KEq"), None);
    }
}
