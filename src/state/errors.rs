//! How often each error was answered, by its code.

use parking_lot::Mutex;
use std::collections::BTreeMap;

/// Codes told apart when scripts bring new ones, which they can make up without end.
const MAX_CODES: usize = 128;
/// What new codes of scripts are counted as from then on.
const OVERFLOW: &str = "ERRORSTATS_OVERFLOW";

/// Counts by code.
#[derive(Default)]
pub struct Errors {
    counts: Mutex<BTreeMap<String, u64>>,
}

impl Errors {
    /// Counts an error whose text begins with its code; `made_up` says that a script may have made it up.
    pub fn count(&self, text: &[u8], made_up: bool) {
        let code = match text.iter().position(u8::is_ascii_whitespace) {
            Some(end) if end < 32 => String::from_utf8_lossy(&text[..end]),
            _ => "ERR".into(),
        };
        let mut counts = self.counts.lock();
        if let Some(count) = counts.get_mut(&*code) {
            *count += 1;
        } else if made_up && counts.len() >= MAX_CODES {
            *counts.entry(OVERFLOW.into()).or_default() += 1;
        } else {
            counts.insert(code.into_owned(), 1);
        }
    }

    /// All codes and their counts.
    pub fn all(&self) -> Vec<(String, u64)> {
        self.counts.lock().iter().map(|(code, count)| (code.clone(), *count)).collect()
    }

    /// Forgets all.
    pub fn reset(&self) {
        self.counts.lock().clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_counted_up_to_a_number() {
        let errors = Errors::default();
        errors.count(b"WRONGTYPE Operation", false);
        errors.count(b"WRONGTYPE Operation", true);
        errors.count(b"nocode", true);
        errors.count(b"ERR\r\n-ERR made up", true);
        assert_eq!(errors.all(), [("ERR".to_string(), 2), ("WRONGTYPE".to_string(), 2)]);
        (0..300).for_each(|n| errors.count(format!("{n} made up").as_bytes(), true));
        errors.count(b"1 made up", true);
        errors.count(b"NOAUTH of ours", false);
        let all = errors.all();
        let of = |code: &str| all.iter().find(|(known, _)| known == code).map_or(0, |(_, count)| *count);
        assert_eq!((of(OVERFLOW), of("1"), of("NOAUTH"), of("299")), (300 - 126, 2, 1, 0));
        errors.reset();
        assert!(errors.all().is_empty());
    }
}
