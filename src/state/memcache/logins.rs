//! Who may use the memcached protocol, where a file says so: lines of `user:password`, as memcached has them.
//!
//! Only digests of the passwords are kept. Whoever knows one is the default user: the file says who may come in, not what is allowed.

use super::super::State;
use crate::config::acl_file;
use crate::error::Error;
use parking_lot::RwLock;
use sha2::{Digest, Sha256};
use std::sync::atomic::{AtomicBool, Ordering};

/// The file's lines, if there is a file.
#[derive(Default)]
pub struct Logins {
    wanted: AtomicBool,
    known: RwLock<Vec<Login>>,
}

struct Login {
    user: Box<[u8]>,
    password: [u8; 32],
}

impl Logins {
    /// Whether clients must be in the file.
    pub fn are_wanted(&self) -> bool {
        self.wanted.load(Ordering::Relaxed)
    }

    /// Whether `user` is in the file with that password.
    pub fn know(&self, user: &[u8], password: &[u8]) -> bool {
        let password: [u8; 32] = Sha256::digest(password).into();
        self.known.read().iter().any(|login| *login.user == *user && login.password == password)
    }

    /// Makes the lines of `text` those that hold; an error says which line is none.
    fn replace(&self, text: &[u8]) -> Result<(), String> {
        let mut known = Vec::new();
        for (number, line) in text.split(|byte| *byte == b'\n').enumerate() {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.is_empty() {
                continue;
            }
            let Some(colon) = memchr::memchr(b':', line) else {
                return Err(format!("line {} is not user:password", number + 1));
            };
            let password = Sha256::digest(&line[colon + 1..]).into();
            known.push(Login { user: line[..colon].into(), password });
        }
        *self.known.write() = known;
        self.wanted.store(true, Ordering::Relaxed);
        Ok(())
    }
}

/// Reads the file the configuration names, or wants nobody to be in one. On an error all stays as it was.
pub fn load(state: &State) -> Result<(), Error> {
    let logins = &state.memcache.logins;
    let Some(path) = acl_file::memcached_path(&state.config) else {
        logins.wanted.store(false, Ordering::Relaxed);
        return Ok(());
    };
    match acl_file::read(&path) {
        Err(source) => Err(Error::Read { path, source }),
        Ok(text) => {
            logins.replace(&text).map_err(|why| Error::Conflict(format!("{}: {why}", path.display())))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_users_and_passwords() {
        let logins = Logins::default();
        assert!(!logins.are_wanted() && !logins.know(b"foo", b"bar"));
        logins.replace(b"foo:bar\r\n\nbaaaz:qu:ux\n:\nlast:").expect("correct");
        assert!(logins.are_wanted());
        for (user, password) in [("foo", "bar"), ("baaaz", "qu:ux"), ("", ""), ("last", "")] {
            assert!(logins.know(user.as_bytes(), password.as_bytes()), "{user}");
        }
        for (user, password) in [("foo", "ba"), ("fo", "bar"), ("baaaz", "qu"), ("foo", "")] {
            assert!(!logins.know(user.as_bytes(), password.as_bytes()), "{user} {password}");
        }
        assert_eq!(logins.replace(b"a:b\nnonsense\n"), Err("line 2 is not user:password".to_string()));
        assert!(logins.know(b"foo", b"bar"), "what held holds on");
        logins.replace(b"").expect("nobody");
        assert!(logins.are_wanted() && !logins.know(b"foo", b"bar"));
    }
}
