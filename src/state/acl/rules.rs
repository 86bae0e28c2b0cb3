//! The rules of one user: may it log in, by which passwords, and what may it do.
//!
//! A rule is a word of ACL SETUSER or of a `user` line. [`Rules::describe`] gives words that make the same rules again.

use super::Terms;
use super::selector::{Denied, Request, Selector};
use sha2::{Digest, Sha256};

/// A user's rules.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rules {
    /// Whether one can log in as it.
    pub enabled: bool,
    /// Whether any password will do.
    pub no_password: bool,
    /// SHA-256 digests of its passwords in hexadecimal digits.
    pub passwords: Vec<Box<str>>,
    /// The rules outside of parentheses, then each selector.
    pub selectors: Vec<Selector>,
}

/// Why a rule cannot be applied.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RuleError {
    /// It names a command or a category that is not there.
    Unknown,
    /// It is no rule.
    Syntax,
    /// It adds keys to all keys.
    KeysAfterAll,
    /// It adds channels to all channels.
    ChannelsAfterAll,
    /// It removes a password that is not there.
    NoSuchPassword,
    /// It is no digest of a password.
    BadDigest,
    /// It allows a first argument of a subcommand.
    FirstArgOfSubcommand,
    /// It names a database by a number that no database can have.
    DatabaseOutOfRange,
}

impl RuleError {
    /// Its text.
    pub fn text(self) -> &'static str {
        match self {
            RuleError::Unknown => "Unknown command or category name in ACL",
            RuleError::Syntax => "Syntax error",
            RuleError::KeysAfterAll => {
                "Adding a pattern after the * pattern (or the 'allkeys' flag) is not valid and does not have any effect. Try \
                 'resetkeys' to start with an empty list of patterns"
            }
            RuleError::ChannelsAfterAll => {
                "Adding a pattern after the * pattern (or the 'allchannels' flag) is not valid and does not have any effect. Try \
                 'resetchannels' to start with an empty list of channels"
            }
            RuleError::NoSuchPassword => "The password you are trying to remove from the user does not exist",
            RuleError::BadDigest => {
                "The password hash must be exactly 64 characters and contain only lowercase hexadecimal characters"
            }
            RuleError::FirstArgOfSubcommand => "Allowing first-arg of a subcommand is not supported",
            RuleError::DatabaseOutOfRange => "The provided database ID is out of range",
        }
    }
}

impl Rules {
    /// The rules of a user just made: it cannot log in and may do nothing, except use all channels where that is the default.
    pub fn new(terms: Terms) -> Rules {
        Rules {
            enabled: false,
            no_password: false,
            passwords: Vec::new(),
            selectors: vec![Selector::new(terms)],
        }
    }

    /// The rules of the default user as long as nothing else is said: no password, and it may do everything.
    pub fn of_default(terms: Terms) -> Rules {
        let mut rules = Rules::new(terms);
        for rule in ["+@all", "~*", "&*", "on", "nopass"] {
            rules.apply(terms, rule.as_bytes()).expect("these are rules");
        }
        rules
    }

    /// Applies one rule; on an error nothing is changed.
    pub fn apply(&mut self, terms: Terms, rule: &[u8]) -> Result<(), RuleError> {
        match rule.to_ascii_lowercase().as_slice() {
            // Of old, whether dumps it restores are looked at closely: all are.
            b"" | b"skip-sanitize-payload" | b"sanitize-payload" => {}
            b"on" => self.enabled = true,
            b"off" => self.enabled = false,
            b"nopass" => {
                self.no_password = true;
                self.passwords.clear();
            }
            b"resetpass" => {
                self.no_password = false;
                self.passwords.clear();
            }
            b"clearselectors" => self.selectors.truncate(1),
            b"reset" => *self = Rules::new(terms),
            _ => match rule {
                [b'>', password @ ..] => self.add_password(digest(password)),
                [b'#', digest @ ..] => self.add_password(checked(digest)?.into()),
                [b'<', password @ ..] => self.remove_password(&digest(password))?,
                [b'!', digest @ ..] => self.remove_password(checked(digest)?)?,
                [b'(', inner @ .., b')'] => {
                    self.selectors.push(Selector::parse(terms, inner)?);
                }
                _ => self.selectors[0].apply(terms.catalogue, rule)?,
            },
        }
        Ok(())
    }

    fn add_password(&mut self, digest: Box<str>) {
        if !self.passwords.contains(&digest) {
            self.passwords.push(digest);
        }
        self.no_password = false;
    }

    fn remove_password(&mut self, digest: &str) -> Result<(), RuleError> {
        let known = self.passwords.iter().position(|known| **known == *digest);
        self.passwords.remove(known.ok_or(RuleError::NoSuchPassword)?);
        Ok(())
    }

    /// Whether one can log in with `password`. How long it takes tells nothing about where a wrong one differs.
    pub fn admits(&self, password: &[u8]) -> bool {
        if !self.enabled || self.no_password {
            return self.enabled;
        }
        let given = digest(password);
        let differs = |known: &str| known.bytes().zip(given.bytes()).fold(0, |sum, (a, b)| sum | (a ^ b));
        self.passwords.iter().fold(false, |admitted, known| admitted | (differs(known) == 0))
    }

    /// Whether one who has not logged in is this user, if it is the default one.
    pub fn is_open(&self) -> bool {
        self.enabled && self.no_password
    }

    /// Whether there is nothing to check.
    pub fn is_free(&self) -> bool {
        self.selectors.iter().any(Selector::is_free)
    }

    /// Whether a request is allowed, and if not, what it lacks.
    pub fn check(&self, terms: Terms, request: &Request) -> Result<(), Denied> {
        let mut lacks = Denied::Database(0);
        for selector in &self.selectors {
            match selector.check(terms.catalogue, request) {
                Ok(()) => return Ok(()),
                Err(denied) => lacks = lacks.max(denied),
            }
        }
        Err(lacks)
    }

    /// Whether the request is allowed and would be so whatever further keys it read.
    pub fn may_read_all(&self, terms: Terms, request: &Request) -> bool {
        let allows =
            |selector: &Selector| selector.may_read_all() && selector.check(terms.catalogue, request).is_ok();
        self.selectors.iter().any(allows)
    }

    /// Whether a channel, or a pattern of channels, may be listened to.
    pub fn may_use_channel(&self, channel: &[u8], is_pattern: bool) -> bool {
        self.selectors.iter().any(|selector| selector.may_use_channel(channel, is_pattern))
    }

    /// Its flags by their names.
    pub fn flags(&self) -> Vec<&'static str> {
        let mut flags = vec![if self.enabled { "on" } else { "off" }];
        if self.no_password {
            flags.push("nopass");
        }
        flags
    }

    /// Words, parted by blanks, that make these rules again.
    pub fn describe(&self) -> Vec<u8> {
        let mut parts: Vec<Vec<u8>> = self.flags().into_iter().map(|flag| flag.as_bytes().to_vec()).collect();
        parts.extend(self.passwords.iter().map(|digest| format!("#{digest}").into_bytes()));
        let mut selectors = self.selectors.iter().map(Selector::describe);
        parts.extend(selectors.next());
        parts.extend(selectors.map(|rules| [b"(".as_slice(), &rules, b")"].concat()));
        parts.join(&b' ')
    }
}

/// Joins the words of each selector that was given in several; an error is where one begins that does not end.
pub fn merge_selectors<'a>(words: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<Vec<u8>>, Vec<u8>> {
    let mut merged: Vec<Vec<u8>> = Vec::new();
    let mut open: Option<(&[u8], Vec<u8>)> = None;
    for word in words {
        match &mut open {
            None if word.starts_with(b"(") && !word.ends_with(b")") => open = Some((word, word.to_vec())),
            None => merged.push(word.to_vec()),
            Some((_, selector)) => {
                selector.push(b' ');
                selector.extend_from_slice(word);
                if word.ends_with(b")") {
                    merged.extend(open.take().map(|(_, selector)| selector));
                }
            }
        }
    }
    match open {
        None => Ok(merged),
        Some((start, _)) => Err(start.to_vec()),
    }
}

fn digest(password: &[u8]) -> Box<str> {
    let digits =
        |byte: u8| [byte >> 4, byte & 15].map(|digit| char::from(b"0123456789abcdef"[usize::from(digit)]));
    Sha256::digest(password).iter().flat_map(|byte| digits(*byte)).collect::<String>().into()
}

/// A digest as it is kept.
fn checked(digest: &[u8]) -> Result<&str, RuleError> {
    let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if digest.len() != 64 || !digest.iter().all(is_digit) {
        return Err(RuleError::BadDigest);
    }
    std::str::from_utf8(digest).map_err(|_| RuleError::BadDigest)
}

#[cfg(test)]
mod tests;
