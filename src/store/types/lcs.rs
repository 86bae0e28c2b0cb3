//! The longest common subsequence of two strings: what the LCS command computes.
//!
//! The textbook table: one cell for each pair of prefixes, filled from the front, read back from the end. It
//! takes time and memory in proportion to the product of the lengths, so the caller gives a limit.
//!
//! Invariant: where several subsequences are longest, the one found, and its division into matches, is Redis's.

/// A run of bytes the two strings have in common as part of the subsequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Match {
    /// Where it starts in the first string.
    pub a: usize,
    /// Where it starts in the second string.
    pub b: usize,
    /// Its length in bytes, at least one.
    pub len: usize,
}

/// The limit does not allow the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLarge;

/// The longest common subsequence as its matches, from the last to the first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subsequence {
    /// The sum of the matches' lengths.
    pub len: usize,
    /// Its parts.
    pub matches: Vec<Match>,
}

impl Subsequence {
    /// Finds the longest common subsequence of `a` and `b`, with a table of at most `max_bytes`.
    pub fn find(a: &[u8], b: &[u8], max_bytes: u64) -> Result<Self, TooLarge> {
        let width = b.len() + 1;
        let table = Table::fill(a, b, max_bytes)?;
        let mut matches: Vec<Match> = Vec::new();
        let (mut i, mut j) = (a.len(), b.len());
        while i > 0 && j > 0 {
            if a[i - 1] == b[j - 1] {
                (i, j) = (i - 1, j - 1);
                match matches.last_mut() {
                    Some(last) if last.a == i + 1 && last.b == j + 1 => {
                        *last = Match { a: i, b: j, len: last.len + 1 };
                    }
                    _ => matches.push(Match { a: i, b: j, len: 1 }),
                }
            } else if table.cells[(i - 1) * width + j] > table.cells[i * width + j - 1] {
                i -= 1;
            } else {
                j -= 1;
            }
        }
        Ok(Self { len: table.last(), matches })
    }

    /// Its bytes, given the first string.
    pub fn text(&self, a: &[u8]) -> Vec<u8> {
        self.matches.iter().rev().flat_map(|part| &a[part.a..part.a + part.len]).copied().collect()
    }
}

/// The length of the longest common subsequence of `a` and `b`, under the same limit as [`Subsequence::find`].
pub fn length(a: &[u8], b: &[u8], max_bytes: u64) -> Result<usize, TooLarge> {
    Table::check(a, b, max_bytes)?;
    // One row is enough; the limit still bounds the time.
    let mut row = vec![0u32; b.len() + 1];
    for &byte in a {
        let mut diagonal = 0;
        let mut left = 0;
        for (cell, &other) in row[1..].iter_mut().zip(b) {
            let above = *cell;
            left = if byte == other { diagonal + 1 } else { above.max(left) };
            *cell = left;
            diagonal = above;
        }
    }
    Ok(row[b.len()] as usize)
}

/// Lengths for all pairs of prefixes, a row for each prefix of the first string.
struct Table {
    cells: Vec<u32>,
}

impl Table {
    /// The number of cells, if the limit allows them.
    fn check(a: &[u8], b: &[u8], max_bytes: u64) -> Result<usize, TooLarge> {
        let cells = (a.len() as u64 + 1).checked_mul(b.len() as u64 + 1).ok_or(TooLarge)?;
        // Lengths are kept in 32 bits.
        let longest = a.len().max(b.len()) as u64;
        if longest >= u64::from(u32::MAX) || cells > max_bytes / 4 {
            return Err(TooLarge);
        }
        usize::try_from(cells).map_err(|_| TooLarge)
    }

    fn fill(a: &[u8], b: &[u8], max_bytes: u64) -> Result<Self, TooLarge> {
        let mut cells = vec![0; Self::check(a, b, max_bytes)?];
        let width = b.len() + 1;
        for (i, &byte) in a.iter().enumerate() {
            let (above, row) = cells[i * width..(i + 2) * width].split_at_mut(width);
            let mut left = 0;
            for (j, &other) in b.iter().enumerate() {
                left = if byte == other { above[j] + 1 } else { above[j + 1].max(left) };
                row[j + 1] = left;
            }
        }
        Ok(Self { cells })
    }

    fn last(&self) -> usize {
        self.cells.last().map_or(0, |&len| len as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX_BYTES: u64 = 512 << 20;

    #[test]
    fn the_example_of_the_manual() {
        let (a, b) = (b"ohmytext", b"mynewtext");
        let found = Subsequence::find(a, b, MAX_BYTES).unwrap();
        assert_eq!(found.text(a), b"mytext");
        assert_eq!(found.len, 6);
        assert_eq!(found.matches, [Match { a: 4, b: 5, len: 4 }, Match { a: 2, b: 0, len: 2 }]);
        assert_eq!(length(a, b, MAX_BYTES), Ok(6));
    }

    #[test]
    fn edges() {
        for (a, b, expected) in
            [("", "", ""), ("a", "", ""), ("", "a", ""), ("abc", "abc", "abc"), ("ab", "cd", "")]
        {
            let found = Subsequence::find(a.as_bytes(), b.as_bytes(), MAX_BYTES).unwrap();
            assert_eq!(found.text(a.as_bytes()), expected.as_bytes());
            assert_eq!(length(a.as_bytes(), b.as_bytes(), MAX_BYTES), Ok(expected.len()));
        }
    }

    #[test]
    fn the_limit_counts_four_bytes_a_cell() {
        let (a, b) = ([b'x'; 9], [b'x'; 19]);
        assert_eq!(length(&a, &b, 800), Ok(9));
        assert_eq!(length(&a, &b, 799), Err(TooLarge));
        assert_eq!(Subsequence::find(&a, &b, 799), Err(TooLarge));
    }

    #[test]
    fn matches_are_where_they_say() {
        let mut rng = fastrand::Rng::with_seed(3);
        for _ in 0..500 {
            let mut text = || (0..rng.usize(..40)).map(|_| rng.u8(b'a'..b'e')).collect::<Vec<_>>();
            let (a, b) = (text(), text());
            let found = Subsequence::find(&a, &b, MAX_BYTES).unwrap();
            assert_eq!(Ok(found.len), length(&a, &b, MAX_BYTES));
            assert_eq!(found.text(&a).len(), found.len);
            for part in &found.matches {
                assert_eq!(a[part.a..part.a + part.len], b[part.b..part.b + part.len]);
            }
            for pair in found.matches.windows(2) {
                assert!(pair[1].a + pair[1].len <= pair[0].a && pair[1].b + pair[1].len <= pair[0].b);
            }
        }
    }
}
