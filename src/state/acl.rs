//! Who may do what: the users of a node and their rules.
//!
//! A connection holds its user for as long as it is that user; the rules behind it can be exchanged at any time, and hold for the
//! next request. Almost all users may do everything, which is one flag; what others may do is looked up in [`Rules`]. Requests come
//! in as numbers and names: what a command is, and which of its arguments are keys, is not known here.
//!
//! Invariant: a user that was removed is free of nothing, so a connection that still holds it can do nothing more.

pub mod catalogue;
pub mod log;
pub mod rules;
pub mod selector;

use catalogue::Catalogue;
use parking_lot::RwLock;
use rules::{RuleError, Rules, merge_selectors};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The name of the user that connections are which have not logged in.
pub const DEFAULT: &[u8] = b"default";

/// What rules are read against.
#[derive(Clone, Copy)]
pub struct Terms<'a> {
    /// What there is to allow.
    pub catalogue: &'a Catalogue,
    /// Whether new users, and selectors, may use all channels (`acl-pubsub-default`).
    pub all_channels: bool,
}

/// A user.
pub struct User {
    /// Its name.
    pub name: Box<[u8]>,
    rules: RwLock<Arc<Rules>>,
    free: AtomicBool,
    open: AtomicBool,
    gone: AtomicBool,
}

impl User {
    fn new(name: &[u8], rules: Rules) -> User {
        User {
            name: name.into(),
            free: AtomicBool::new(rules.is_free()),
            open: AtomicBool::new(rules.is_open()),
            rules: RwLock::new(Arc::new(rules)),
            gone: AtomicBool::new(false),
        }
    }

    /// Its rules.
    pub fn rules(&self) -> Arc<Rules> {
        Arc::clone(&self.rules.read())
    }

    /// Whether it may do everything.
    #[inline]
    pub fn is_free(&self) -> bool {
        self.free.load(Ordering::Relaxed)
    }

    /// Whether one can be it without a password.
    pub fn is_open(&self) -> bool {
        self.open.load(Ordering::Relaxed)
    }

    /// Whether it was removed.
    pub fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Relaxed)
    }

    fn set(&self, rules: Rules) {
        let mut held = self.rules.write();
        self.free.store(rules.is_free(), Ordering::Relaxed);
        self.open.store(rules.is_open(), Ordering::Relaxed);
        *held = Arc::new(rules);
    }

    fn remove(&self) {
        self.gone.store(true, Ordering::Relaxed);
        self.free.store(false, Ordering::Relaxed);
        self.open.store(false, Ordering::Relaxed);
    }
}

/// The users of a node.
pub struct Acl {
    /// What there is to allow.
    pub catalogue: Catalogue,
    /// Who was refused what.
    pub log: log::Log,
    default: Arc<User>,
    /// Stands for other nodes, which have checked what they pass on; none of the users.
    peer: Arc<User>,
    /// Whoever has to log in first though the default user needs no password; none of the users, and allowed nothing.
    stranger: Arc<User>,
    users: RwLock<BTreeMap<Box<[u8]>, Arc<User>>>,
}

/// Why users cannot be made of rules.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SetError {
    /// A selector begins with this word and does not end.
    OpenSelector(Vec<u8>),
    /// This rule cannot be applied.
    Rule(Vec<u8>, RuleError),
}

/// What a change of all users amounts to.
#[derive(Default)]
pub struct Changed {
    /// Users that are no more.
    pub gone: Vec<Arc<User>>,
    /// Users that have other rules.
    pub changed: Vec<Arc<User>>,
}

impl Acl {
    /// A node's users: the default one, which needs no password and may do everything.
    pub fn new(catalogue: Catalogue, all_channels: bool) -> Acl {
        let terms = Terms { catalogue: &catalogue, all_channels };
        let stranger = Arc::new(User::new(DEFAULT, Rules::new(terms)));
        let rules = Rules::of_default(terms);
        let peer = Arc::new(User::new(b"", rules.clone()));
        let default = Arc::new(User::new(DEFAULT, rules));
        let users = RwLock::new(BTreeMap::from([(DEFAULT.into(), Arc::clone(&default))]));
        Acl { catalogue, log: log::Log::default(), default, peer, stranger, users }
    }

    /// What rules are read against.
    pub fn terms(&self, all_channels: bool) -> Terms<'_> {
        Terms { catalogue: &self.catalogue, all_channels }
    }

    /// Whoever another node speaks for: what that is allowed was checked there.
    pub fn peer(&self) -> &Arc<User> {
        &self.peer
    }

    /// Whoever has to log in first, whatever the default user's password.
    pub fn stranger(&self) -> &Arc<User> {
        &self.stranger
    }

    /// The default user.
    pub fn default_user(&self) -> &Arc<User> {
        &self.default
    }

    /// The user called `name`.
    pub fn user(&self, name: &[u8]) -> Option<Arc<User>> {
        self.users.read().get(name).cloned()
    }

    /// All users by name.
    pub fn users(&self) -> Vec<Arc<User>> {
        self.users.read().values().cloned().collect()
    }

    /// The user called `name`, if one can log in as it with `password`.
    pub fn authenticate(&self, name: &[u8], password: &[u8]) -> Option<Arc<User>> {
        self.user(name).filter(|user| user.rules().admits(password))
    }

    /// Applies rules to a user, which is made if need be: all of them or none. Returns the user.
    pub fn set_user<'a>(
        &self,
        name: &[u8],
        words: impl IntoIterator<Item = &'a [u8]>,
        all_channels: bool,
    ) -> Result<Arc<User>, SetError> {
        let words = merge_selectors(words).map_err(SetError::OpenSelector)?;
        let terms = self.terms(all_channels);
        let mut users = self.users.write();
        let user = users.get(name);
        let mut rules = user.map_or_else(|| Rules::new(terms), |user| (*user.rules()).clone());
        for word in words {
            rules.apply(terms, &word).map_err(|error| SetError::Rule(word, error))?;
        }
        Ok(match user {
            Some(user) => {
                user.set(rules);
                Arc::clone(user)
            }
            None => {
                let user = Arc::new(User::new(name, rules));
                users.insert(name.into(), Arc::clone(&user));
                user
            }
        })
    }

    /// Gives the default user this password and no other; none if it is empty.
    pub fn set_default_password(&self, password: &str) {
        let words = match password {
            "" => vec![b"nopass".to_vec()],
            password => vec![b"resetpass".to_vec(), [b">", password.as_bytes()].concat()],
        };
        let set = self.set_user(DEFAULT, words.iter().map(Vec::as_slice), false);
        debug_assert!(set.is_ok(), "passwords are rules");
    }

    /// Removes a user. The default one stays.
    pub fn remove(&self, name: &[u8]) -> Option<Arc<User>> {
        if name == DEFAULT {
            return None;
        }
        let user = self.users.write().remove(name)?;
        user.remove();
        Some(user)
    }

    /// Makes `wanted` all users there are. Without a default user among them it is as if nothing were said about it.
    pub fn replace(&self, mut wanted: BTreeMap<Box<[u8]>, Rules>, all_channels: bool) -> Changed {
        wanted.entry(DEFAULT.into()).or_insert_with(|| Rules::of_default(self.terms(all_channels)));
        let mut users = self.users.write();
        let mut changes = Changed::default();
        users.retain(|name, user| {
            let stays = wanted.contains_key(name);
            if !stays {
                user.remove();
                changes.gone.push(Arc::clone(user));
            }
            stays
        });
        for (name, rules) in wanted {
            match users.get(&name) {
                Some(user) => {
                    user.set(rules);
                    changes.changed.push(Arc::clone(user));
                }
                None => {
                    let user = Arc::new(User::new(&name, rules));
                    users.insert(name, user);
                }
            }
        }
        changes
    }
}

/// Whether a name has blanks or zeros in it, which lines of rules have no way to write.
pub fn has_blanks(name: &[u8]) -> bool {
    name.iter().any(|byte| byte.is_ascii_whitespace() || matches!(byte, 0 | 0x0b))
}
