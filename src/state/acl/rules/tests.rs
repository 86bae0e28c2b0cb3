use super::super::Terms;
use super::super::catalogue::{Catalogue, Named};
use super::super::selector::Access;
use super::*;

fn catalogue() -> Catalogue {
    let named =
        |name, categories, subcommands| Named { name, categories, for_all: name == "auth", subcommands };
    Catalogue::new(
        vec![
            named("auth", 4, 0),
            named("get", 1, 0),
            named("set", 2, 0),
            named("select", 4, 0),
            named("config", 0, 2),
            named("config|get", 8, 0),
            named("config|set", 8, 0),
            named("publish", 4, 0),
        ],
        &["read", "write", "connection", "admin"],
    )
}

fn made(catalogue: &Catalogue, words: &str) -> Result<Rules, RuleError> {
    let terms = Terms { catalogue, all_channels: false };
    let mut rules = Rules::new(terms);
    for word in merge_selectors(words.split(' ').map(str::as_bytes)).expect("closed") {
        rules.apply(terms, &word)?;
    }
    Ok(rules)
}

fn described(words: &str) -> String {
    let catalogue = catalogue();
    let rules = made(&catalogue, words).unwrap_or_else(|error| panic!("{words}: {error:?}"));
    let text = String::from_utf8(rules.describe()).expect("text");
    assert_eq!(made(&catalogue, &text).expect("its own words"), rules, "{text}");
    text
}

#[test]
fn rules_are_described_as_they_were_given_without_what_became_void() {
    for (given, told) in [
        ("", "off resetchannels -@all"),
        ("on nopass +@all ~* &*", "on nopass ~* &* +@all"),
        ("+get +@read -get", "off resetchannels -@all +@read -get"),
        ("+config|get +config|set +config", "off resetchannels -@all +config"),
        ("+config -config|set", "off resetchannels -@all +config -config|set"),
        ("+@all -@admin +config|get", "off resetchannels +@all -@admin +config|get"),
        ("+get +@all", "off resetchannels +@all"),
        ("+GET +Select|0 +select|1", "off resetchannels -@all +get +select|0 +select|1"),
        ("~a %R~b %w~b %W~c &x &x", "off ~a ~b %W~c resetchannels &x -@all"),
        ("~a allkeys &a allchannels", "off ~* &* -@all"),
        (
            "(~a +get) ( %R~b +@write )",
            "off resetchannels -@all (~a resetchannels -@all +get) (%R~b resetchannels -@all +@write)",
        ),
        ("(~a) clearselectors skip-sanitize-payload", "off resetchannels -@all"),
        ("on +get ~a reset", "off resetchannels -@all"),
        ("db=3,1,1 +get DB=2", "off resetchannels db=2 -@all +get"),
        ("db=3,+1,-0,1 (alldbs)", "off resetchannels db=0,1,3 -@all (resetchannels -@all)"),
        ("resetdbs (db=2147483647)", "off resetchannels resetdbs -@all (resetchannels db=2147483647 -@all)"),
        ("db=1 alldbs", "off resetchannels -@all"),
        ("db=1 reset", "off resetchannels -@all"),
    ] {
        assert_eq!(described(given), told, "{given}");
    }
}

#[test]
fn wrong_rules_say_what_is_wrong() {
    let catalogue = catalogue();
    for (given, error) in [
        ("+nothing", RuleError::Unknown),
        ("+@nothing", RuleError::Unknown),
        ("+config|nothing", RuleError::Unknown),
        ("-select|0", RuleError::Unknown),
        ("+config|get|x", RuleError::FirstArgOfSubcommand),
        ("+select|", RuleError::Syntax),
        ("%~a", RuleError::Syntax),
        ("%RR~a", RuleError::Syntax),
        ("%X~a", RuleError::Syntax),
        ("(>password)", RuleError::Syntax),
        ("(on)", RuleError::Syntax),
        ("nonsense", RuleError::Syntax),
        ("db=", RuleError::Syntax),
        ("db=,1", RuleError::Syntax),
        ("db=1,", RuleError::Syntax),
        ("db=1,,2", RuleError::Syntax),
        ("db=1x", RuleError::Syntax),
        ("db=-", RuleError::Syntax),
        ("db=-1", RuleError::DatabaseOutOfRange),
        ("db=2147483648", RuleError::DatabaseOutOfRange),
        ("db=12345678987654321234567", RuleError::DatabaseOutOfRange),
        ("~* ~a", RuleError::KeysAfterAll),
        ("&* &a", RuleError::ChannelsAfterAll),
        ("<none", RuleError::NoSuchPassword),
        ("#123", RuleError::BadDigest),
        ("#C3AB8FF13720E8AD9047DD39466B3C8974E592C2FA383D4A3960714CAEF0C4F2", RuleError::BadDigest),
    ] {
        assert_eq!(made(&catalogue, given).err(), Some(error), "{given}");
    }
    assert_eq!(merge_selectors([&b"~a"[..], b"(~b", b"+get"]), Err(b"(~b".to_vec()));
}

#[test]
fn passwords_are_kept_as_digests_and_any_of_them_will_do() {
    let catalogue = catalogue();
    let mut rules = made(&catalogue, "on >foo >bar >foo").expect("rules");
    assert_eq!(&*rules.passwords[0], "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae");
    assert_eq!(rules.passwords.len(), 2);
    assert!(rules.admits(b"foo") && rules.admits(b"bar") && !rules.admits(b"fo") && !rules.admits(b""));
    let terms = Terms { catalogue: &catalogue, all_channels: false };
    rules.apply(terms, b"<foo").expect("it is there");
    assert!(!rules.admits(b"foo"));
    rules.apply(terms, b"nopass").expect("a rule");
    assert!(rules.admits(b"anything") && rules.passwords.is_empty());
    rules.apply(terms, b"off").expect("a rule");
    assert!(!rules.admits(b"anything"));
    assert!(!made(&catalogue, "on").expect("rules").admits(b""));
}

const READ: Access = Access { read: true, write: false };
const WRITE: Access = Access { read: false, write: true };

/// Whether `rules` allow `command` on a key and a channel, if any.
fn check(
    rules: &str,
    command: &str,
    key: Option<(&str, Access)>,
    channel: Option<(&str, bool)>,
) -> Result<(), Denied> {
    let catalogue = catalogue();
    let rules = made(&catalogue, rules).expect("rules");
    let mut words = command.split(' ');
    let number = words.next().and_then(|name| catalogue.find(name)).expect("a command");
    let keys: Vec<_> = key.iter().map(|(key, access)| (1, key.as_bytes(), *access)).collect();
    let channels: Vec<_> =
        channel.iter().map(|(name, is_pattern)| (2, name.as_bytes(), *is_pattern)).collect();
    let first_arg = words.next().map(str::as_bytes);
    let request = Request { command: number, first_arg, keys: &keys, channels: &channels, databases: &[] };
    rules.check(Terms { catalogue: &catalogue, all_channels: false }, &request)
}

#[test]
fn commands_are_allowed_one_by_one_by_category_and_by_first_argument() {
    let may = |rules, command| check(rules, command, None, None).is_ok();
    assert!(may("+get", "get") && !may("+get", "set"));
    assert!(may("", "auth"), "anybody may log in");
    assert!(may("+@write", "set") && !may("+@write -set", "set") && may("-set +@write", "set"));
    assert!(may("+@all -config", "get") && !may("+@all -config", "config|get"));
    assert!(may("+config|get", "config|get") && !may("+config|get", "config|set"));
    assert!(may("+@all -@admin +config|get", "config|get"));
    assert!(may("+select|0", "select 0") && !may("+select|0", "select 1") && !may("+select|0", "select"));
    assert!(
        may("+select|0 +@connection", "select 1"),
        "a rule for the whole command takes the place of arguments"
    );
    assert!(!may("+select|0 -select", "select 0"));
}

#[test]
fn keys_are_allowed_by_pattern_and_by_what_is_done_to_them() {
    let may = |rules, key, access| check(rules, "get", Some((key, access)), None).is_ok();
    assert!(may("+get ~a*", "ab", Access::ALL) && !may("+get ~a*", "b", Access::default()));
    assert!(may("+get %R~a*", "ab", READ) && !may("+get %R~a*", "ab", WRITE));
    assert!(may("+get %W~a*", "ab", WRITE) && !may("+get %W~a*", "ab", READ));
    assert!(
        may("+get %W~a*", "ab", Access::default()),
        "any permission is enough to ask whether it is there"
    );
    assert!(!may("+get %R~a* %W~*b", "ab", Access::ALL), "rights of two patterns do not add up");
    assert!(may("+get %R~a* %W~a*", "ab", Access::ALL));
}

#[test]
fn channels_match_patterns_and_patterns_must_be_the_same() {
    let may = |rules, name, is_pattern| check(rules, "publish", None, Some((name, is_pattern))).is_ok();
    assert!(may("+publish &a*", "ab", false) && !may("+publish &a*", "b", false));
    assert!(may("+publish &a*", "a*", true) && !may("+publish &a*", "ab*", true));
    assert!(may("+publish &*", "ab*", true) && !may("+publish", "a", false));
}

#[test]
fn databases_are_allowed_by_number_and_come_before_all_else() {
    let catalogue = catalogue();
    let terms = Terms { catalogue: &catalogue, all_channels: false };
    let may = |rules, databases: &[(usize, usize)]| {
        let command = catalogue.find("set").expect("a command");
        let request = Request { command, first_arg: None, keys: &[], channels: &[], databases };
        made(&catalogue, rules).expect("rules").check(terms, &request)
    };
    assert_eq!(may("+set", &[(0, 7)]), Ok(()));
    assert_eq!(may("+set db=1,7", &[(2, 1), (0, 7)]), Ok(()));
    assert_eq!(may("+set db=1,7", &[(2, 2), (0, 7)]), Err(Denied::Database(2)));
    assert_eq!(may("resetdbs", &[(0, 0)]), Err(Denied::Database(0)));
    assert_eq!(may("resetdbs +set", &[]), Ok(()));
    assert_eq!(may("db=1 +set (db=2)", &[(1, 2)]), Err(Denied::Command), "which got further");
    assert_eq!(may("db=1 +set (db=2 +@write)", &[(1, 2)]), Ok(()));
}

#[test]
fn a_request_is_allowed_by_one_selector_alone_and_refused_by_the_one_that_came_closest() {
    let two = "+get ~a (+set ~b)";
    assert_eq!(check(two, "get", Some(("a", READ)), None), Ok(()));
    assert_eq!(check(two, "set", Some(("b", WRITE)), None), Ok(()));
    assert_eq!(check(two, "get", Some(("b", READ)), None), Err(Denied::Key(1)));
    assert_eq!(check(two, "publish", None, Some(("b", false))), Err(Denied::Command));
    assert_eq!(check("+@all ~* (+publish)", "publish", None, Some(("b", false))), Err(Denied::Channel(2)));
}

#[test]
fn a_user_is_free_if_one_selector_allows_everything() {
    let catalogue = catalogue();
    let free = |words| made(&catalogue, words).expect("rules").is_free();
    assert!(free("+@all ~* &*") && free("+get (+@all ~* &*)"));
    assert!(!free("+@all ~* &* -get") && !free("+@all ~*") && !free("+@all %RW~* &*"));
    assert!(!free("+@all ~* &* db=0") && free("+@all ~* &* db=0 alldbs"));
    assert!(!free("+@all ~* &* -get +get"), "a command that comes later would not be allowed");
}
