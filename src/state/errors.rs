//! How often each error was answered, by its code.

use parking_lot::Mutex;
use std::collections::BTreeMap;

/// Codes told apart. Scripts can make up codes without end.
const MAX_CODES: usize = 128;
/// What is counted in place of codes once there were too many.
const DISABLED: &str = "ERRORSTATS_DISABLED";

/// Counts by code.
#[derive(Default)]
pub struct Errors {
    counts: Mutex<BTreeMap<String, u64>>,
}

impl Errors {
    /// Counts an error whose text begins with its code.
    pub fn count(&self, text: &[u8]) {
        let code = match memchr::memchr(b' ', text) {
            Some(end) if end < 32 => String::from_utf8_lossy(&text[..end]),
            _ => "ERR".into(),
        };
        let mut counts = self.counts.lock();
        if let Some(count) = counts.get_mut(&*code) {
            *count += 1;
        } else if counts.len() < MAX_CODES {
            if !counts.contains_key(DISABLED) {
                counts.insert(code.into_owned(), 1);
            }
        } else {
            let codes: Vec<&str> = counts.keys().map(String::as_str).collect();
            tracing::warn!(
                "Errorstats stopped adding new errors because the number of errors reached the limit. \
                 Current errors code list: {}",
                codes.join(", ")
            );
            counts.clear();
            counts.insert(DISABLED.to_string(), 1);
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
        errors.count(b"WRONGTYPE Operation");
        errors.count(b"WRONGTYPE Operation");
        errors.count(b"nocode");
        assert_eq!(errors.all(), [("ERR".to_string(), 1), ("WRONGTYPE".to_string(), 2)]);
        (0..300).for_each(|n| errors.count(format!("{n} made up").as_bytes()));
        assert_eq!(errors.all(), [(DISABLED.to_string(), 1)]);
        errors.reset();
        errors.count(b"ERR x");
        assert_eq!(errors.all().len(), 1);
    }
}
