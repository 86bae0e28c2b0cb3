//! Glob patterns, as KEYS, SCAN MATCH, PSUBSCRIBE, CONFIG GET and ACL rules use them.
//!
//! `*` any run of bytes, `?` one byte, `[abc]`, `[a-z]`, `[^a]` one byte of a class, `\x` the byte x itself.
//! The idea: only the last `*` passed ever needs a second try. Whatever an earlier `*` could swallow instead
//! leaves the rest of the pattern a shorter text, in which it has just failed at every position. So matching
//! is a loop with one point of return, at most pattern length x text length steps, and no recursion.
//!
//! This file knows bytes only: no keys, slots or channels.
//!
//! Invariant: the verdict equals that of Redis's `stringmatchlen`, its oddities included (see the tests).

/// Runs of `*` passed after which Redis gives up: for it each is a call deeper.
const MOST_STARS: usize = 1000;

/// Whether the whole of `text` matches `pattern`; with `nocase`, ASCII letters match either case.
///
/// Three oddities are Redis's own. An empty `text` is matched by the empty pattern alone, so `*` does not match
/// it. A class that is never closed ends with the pattern. Past the thousandth run of `*` nothing matches.
pub fn glob_match(pattern: &[u8], text: &[u8], nocase: bool) -> bool {
    let (mut p, mut t) = (0, 0);
    // Where to go on after the last `*`: the pattern behind it, and the text it has not swallowed.
    let mut retry: Option<(usize, usize)> = None;
    let mut stars = 0;
    loop {
        if p < pattern.len() && t < text.len() {
            if pattern[p] == b'*' {
                while pattern.get(p + 1) == Some(&b'*') {
                    p += 1;
                }
                p += 1;
                if p == pattern.len() {
                    return true;
                }
                stars += 1;
                if stars > MOST_STARS {
                    return false;
                }
                retry = Some((p, t));
                continue;
            }
            if let Some(next) = match_one(pattern, p, text[t], nocase) {
                p = next;
                t += 1;
                continue;
            }
        } else if t == text.len() {
            // Stars left over match nothing; but only after something was matched.
            if t > 0 {
                while pattern.get(p) == Some(&b'*') {
                    p += 1;
                }
            }
            if p == pattern.len() {
                return true;
            }
        }
        match retry {
            Some((after_star, from)) if from + 1 < text.len() => {
                p = after_star;
                t = from + 1;
                retry = Some((p, t));
            }
            _ => return false,
        }
    }
}

/// The part of `pattern` that decides the hash slot of everything it can match, or `None` where it can match
/// keys of several slots: `{user1}:*` gives `{user1}`, `plain` gives `plain`, `user*` gives `None`.
///
/// The slot of the bytes returned, tag rule applied, is the slot of every match.
pub fn slot_bytes(pattern: &[u8]) -> Option<&[u8]> {
    let Some(special) = pattern.iter().position(|b| matches!(b, b'*' | b'?' | b'[' | b'\\')) else {
        return Some(pattern);
    };
    let prefix = &pattern[..special];
    let open = prefix.iter().position(|&b| b == b'{')?;
    let tag_len = prefix[open + 1..].iter().position(|&b| b == b'}')?;
    // An empty tag does not count: such keys are hashed whole.
    (tag_len > 0).then(|| &prefix[..open + tag_len + 2])
}

/// Matches `byte` against the one-byte element at `pattern[p]`; gives the position behind the element.
fn match_one(pattern: &[u8], p: usize, byte: u8, nocase: bool) -> Option<usize> {
    match pattern[p] {
        b'?' => Some(p + 1),
        b'[' => match_class(pattern, p + 1, byte, nocase),
        // A backslash that ends the pattern stands for itself.
        b'\\' if p + 1 < pattern.len() => same(pattern[p + 1], byte, nocase).then_some(p + 2),
        literal => same(literal, byte, nocase).then_some(p + 1),
    }
}

/// Matches `byte` against the class whose first byte behind the `[` is at `p`.
fn match_class(pattern: &[u8], mut p: usize, byte: u8, nocase: bool) -> Option<usize> {
    let negated = pattern.get(p) == Some(&b'^');
    if negated {
        p += 1;
    }
    let mut found = false;
    while let Some(&b) = pattern.get(p) {
        match b {
            b']' => {
                p += 1;
                break;
            }
            // Escaped bytes match exactly, whatever `nocase` says.
            b'\\' if p + 1 < pattern.len() => {
                found |= pattern[p + 1] == byte;
                p += 2;
            }
            start if p + 2 < pattern.len() && pattern[p + 1] == b'-' => {
                found |= in_range(start, pattern[p + 2], byte, nocase);
                p += 3;
            }
            literal => {
                found |= same(literal, byte, nocase);
                p += 1;
            }
        }
    }
    (found != negated).then_some(p)
}

/// Bytes compare as signed ones, as they do in the C this follows: above 0x7f they sort before letters.
fn in_range(start: u8, end: u8, byte: u8, nocase: bool) -> bool {
    let fold = |b: u8| if nocase { b.to_ascii_lowercase() as i8 } else { b as i8 };
    let (low, high) = if (start as i8) <= (end as i8) { (start, end) } else { (end, start) };
    (fold(low)..=fold(high)).contains(&fold(byte))
}

fn same(a: u8, b: u8, nocase: bool) -> bool {
    a == b || (nocase && a.eq_ignore_ascii_case(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, text: &str) -> bool {
        glob_match(pattern.as_bytes(), text.as_bytes(), false)
    }

    #[test]
    fn gives_up_at_many_stars() {
        let text = "a".repeat(2000);
        assert!(matches(&"a*".repeat(1000), &text));
        assert!(matches(&"*a".repeat(1000), &text));
        assert!(matches(&"a*".repeat(1001), &text), "the last one ends the pattern");
        assert!(!matches(&"*a".repeat(1001), &text));
    }

    #[test]
    fn ordinary_patterns() {
        for (pattern, text, expected) in [
            ("hello", "hello", true),
            ("hello", "hell", false),
            ("h?llo", "hallo", true),
            ("h*llo", "hllo", true),
            ("h*llo", "heeello", true),
            ("h[ae]llo", "hello", true),
            ("h[ae]llo", "hillo", false),
            ("h[^e]llo", "hallo", true),
            ("h[^e]llo", "hello", false),
            ("h[a-b]llo", "hbllo", true),
            ("h[b-a]llo", "hallo", true),
            ("*", "anything", true),
            ("*:*:c", "a:b:c", true),
            ("*:*:c", "a:b", false),
            ("a\\*b", "a*b", true),
            ("a\\*b", "axb", false),
            ("a*", "a", true),
            ("*a", "ba", true),
            ("*a*b*c*", "xaxbxcx", true),
            ("user:[0-9][0-9]", "user:42", true),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} against {text}");
        }
    }

    #[test]
    fn oddities() {
        for (pattern, text, expected) in [
            ("", "", true),
            ("*", "", false),
            ("**", "", false),
            ("", "a", false),
            ("a**", "a", true),
            ("a***b", "ab", true),
            ("[", "a", false),
            ("[^", "a", true),
            ("[^]", "a", true),
            ("[]", "a", false),
            ("[]a]", "]", false),
            ("[abc", "b", true),
            ("[abc", "d", false),
            ("[a-", "-", true),
            ("[a-]", "_", true),
            ("[\\]]", "]", true),
            ("[\\", "\\", true),
            ("\\", "\\", true),
            ("a\\", "a", false),
            ("?", "", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} against {text}");
        }
        // A range from a letter to a byte above 0x7f runs downwards.
        assert!(glob_match(b"[a-\xff]", b"A", false));
        assert!(!glob_match(b"[a-\xff]", b"b", false));
    }

    #[test]
    fn either_case() {
        assert!(glob_match(b"HeLLo*", b"hEllO world", true));
        assert!(glob_match(b"[A-C]x", b"bX", true));
        assert!(glob_match(b"[XYZ]", b"y", true));
        assert!(!glob_match(b"[\\X]", b"x", true));
        assert!(glob_match(b"\\X", b"x", true));
    }

    /// Redis once took exponential time here (and recursed once per star).
    #[test]
    fn many_stars_stay_cheap() {
        let text = vec![b'a'; 2000];
        let pattern = b"a*".repeat(1000);
        assert!(!glob_match(&[&pattern[..], b"b"].concat(), &text, false));
        assert!(glob_match(&pattern, &text, false));
        assert!(!glob_match(&b"*?".repeat(50_000), &text, false));
    }

    #[test]
    fn the_bytes_that_pin_a_slot() {
        for (pattern, expected) in [
            ("plain", Some("plain")),
            ("", Some("")),
            ("{a}b", Some("{a}b")),
            ("{a}*", Some("{a}")),
            ("x{a}:?", Some("x{a}")),
            ("{a*}", None),
            ("a*{b}", None),
            ("{}*", None),
            ("{}{a}*", None),
            ("{a\\}*", None),
            ("{{a}}*", Some("{{a}")),
            ("user*", None),
        ] {
            assert_eq!(slot_bytes(pattern.as_bytes()), expected.map(str::as_bytes), "{pattern}");
        }
    }
}
