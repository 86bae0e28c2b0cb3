//! The rules of reading, changing and rewriting, against replies of redis-server 7.0 where it has them.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use super::*;

/// The replies of redis-server 7.0 to `CONFIG SET <name> <value>`; "" stands for OK.
const SET_REPLIES: &[(&str, &str, &str)] = &[
    ("appendonly", "maybe", "argument must be 'yes' or 'no'"),
    ("appendonly", "YES", ""),
    ("hz", "abc", "argument couldn't be parsed into an integer"),
    ("hz", "", "argument couldn't be parsed into an integer"),
    ("hz", " 1", "argument couldn't be parsed into an integer"),
    ("hz", "+5", "argument couldn't be parsed into an integer"),
    ("hz", "05", "argument couldn't be parsed into an integer"),
    ("hz", "5k", "argument couldn't be parsed into an integer"),
    ("hz", "0", ""),
    ("timeout", "-5", "argument must be between 0 and 2147483647 inclusive"),
    ("timeout", "99999999999999999999", "argument couldn't be parsed into an integer"),
    ("maxclients", "0", "argument must be between 1 and 4294967295 inclusive"),
    ("acllog-max-len", "-1", "argument must be between 0 and 9223372036854775807 inclusive"),
    ("slowlog-log-slower-than", "-5", "argument must be between -1 and 9223372036854775807 inclusive"),
    ("maxmemory", "abc", "argument must be a memory value"),
    ("maxmemory", "-1", "argument must be a memory value"),
    ("maxmemory", "10x", "argument must be a memory value"),
    ("maxmemory", " 1", "argument must be a memory value"),
    ("maxmemory", "10b", ""),
    ("proto-max-bulk-len", "1k", "argument must be between 1048576 and 9223372036854775807 inclusive"),
    ("proto-max-bulk-len", "-1k", "argument must be a memory value"),
    ("maxmemory-clients", "101%", "percentage argument must be less or equal to 100"),
    ("maxmemory-clients", "-3%", "argument must be a memory or percent value"),
    ("maxmemory-clients", "1.5%", "argument must be a memory or percent value"),
    ("maxmemory-clients", "%", "argument must be a memory or percent value"),
    ("oom-score-adj", "foo", "argument(s) must be one of the following: no, yes, relative, absolute"),
    (
        "maxmemory-policy",
        "allkeys-lru noeviction",
        "argument(s) must be one of the following: volatile-lru, volatile-lfu, volatile-random, volatile-ttl, \
         allkeys-lru, allkeys-lfu, allkeys-random, noeviction",
    ),
    (
        "shutdown-on-sigint",
        "foo",
        "argument(s) must be one of the following: default, save, nosave, now, force, safe, failover",
    ),
    ("shutdown-on-sigterm", "save nosave", "shutdown options SAVE and NOSAVE can't be used simultaneously"),
    ("save", "a b", "Invalid save parameters"),
    ("save", "900", "Invalid save parameters"),
    ("save", "-1 2", "Invalid save parameters"),
    ("save", "900 1 300 10", ""),
    ("save", "", ""),
    (
        "client-output-buffer-limit",
        "foo 1 2 3",
        "Invalid client class specified in buffer limit configuration.",
    ),
    (
        "client-output-buffer-limit",
        "master 1 2 3",
        "Invalid client class specified in buffer limit configuration.",
    ),
    ("client-output-buffer-limit", "normal 1 2", "Wrong number of arguments in buffer limit configuration."),
    (
        "client-output-buffer-limit",
        "normal 1 2 3  ",
        "Wrong number of arguments in buffer limit configuration.",
    ),
    (
        "client-output-buffer-limit",
        "normal 1 2 -3",
        "Error in hard, soft or soft_seconds setting in buffer limit configuration.",
    ),
    ("client-output-buffer-limit", "", ""),
    ("notify-keyspace-events", "XYZ", "Invalid event class character. Use 'Ag$lshzxeKEtmdn'."),
    ("oom-score-adj-values", "1 2", "wrong number of arguments"),
    (
        "oom-score-adj-values",
        "0 200 9000",
        "Invalid oom-score-adj-values, elements must be between -2000 and 2000.",
    ),
    ("oom-score-adj-values", "100 50 20", ""),
    (
        "latency-tracking-info-percentiles",
        "101",
        "latency-tracking-info-percentiles parameters should sit between [0.0,100.0]",
    ),
    (
        "latency-tracking-info-percentiles",
        "50 99.90 x",
        "Invalid latency-tracking-info-percentiles parameters",
    ),
    ("bind", "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17", "Too many bind addresses specified."),
    ("proc-title-template", "{nope}", "template format is invalid or contains unknown variables"),
    (
        "cluster-announce-hostname",
        "a b",
        "Hostnames may only contain alphanumeric characters, hyphens or dots",
    ),
    ("port", "70000", "argument must be between 0 and 65535 inclusive"),
    ("databases", "3", "can't set immutable config"),
    ("databases", "16", "can't set immutable config"),
    ("unixsocketperm", "9", "can't set immutable config"),
    ("dbfilename", "a/b", "can't set protected config"),
    ("dir", "/nonexistent", "can't set protected config"),
];

fn change(config: &Config, pairs: &[(&str, &str)]) -> Result<Change, SetError> {
    let pairs: Vec<(&[u8], &[u8])> = pairs.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes())).collect();
    config.change(&pairs, Caller::default())
}

fn one(config: &Config, name: &str) -> String {
    let found = config.get(&[name.as_bytes()]);
    assert_eq!(found.len(), 1, "{name}");
    found.into_iter().next().expect("counted").1
}

/// A configuration read from lines as if they stood in /x.conf.
fn read(lines: &str) -> Result<Config, Error> {
    let mut config = Config::default();
    file::load_text(&mut config, Path::new("/x.conf"), lines.as_bytes(), 0)?;
    Ok(config)
}

fn complaint(lines: &str) -> String {
    read(lines).expect_err("a wrong line").to_string()
}

fn start(args: &[&str]) -> Result<Startup, Error> {
    parse_command_line(args.iter().map(OsString::from))
}

fn served(args: &[&str]) -> Config {
    match start(args) {
        Ok(Startup::Serve(config)) => *config,
        other => panic!("{args:?} gave {other:?}"),
    }
}

fn user(words: &[&[u8]]) -> UserLine {
    words.iter().map(|word| word.to_vec()).collect()
}

/// A directory of its own for a test, removed with it.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let path = std::env::temp_dir().join(format!("shoal-config-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).expect("a directory for a test");
        Scratch(path)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).expect("a file for a test");
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn defaults_are_those_of_a_single_node_on_loopback() {
    let config = Config::default();
    for (name, value) in [
        ("port", "6379"),
        ("memcached-port", "11211"),
        ("maxmemory", "0"),
        ("maxmemory-policy", "noeviction"),
        ("save", ""),
        ("protected-mode", "yes"),
        ("client-output-buffer-limit", "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60"),
        ("latency-tracking-info-percentiles", "50 99 99.9"),
        ("shutdown-on-sigint", "default"),
        ("replicaof", ""),
        ("proto-max-bulk-len", "536870912"),
        ("notify-keyspace-events", ""),
    ] {
        assert_eq!(one(&config, name), value, "{name}");
    }
    let bind = |address: &str, optional| BindAddress { address: address.into(), optional };
    assert_eq!(config.bind_addresses(), [bind("127.0.0.1", false), bind("::1", true)]);
    assert!(config.workers() >= 1);
    assert_eq!(config.cluster_port(), Some(16379));
    assert!(one(&config, "dir").starts_with('/'));
    let limit = config.output_limit(ClientClass::PubSub);
    assert_eq!((limit.hard_bytes, limit.soft_bytes, limit.soft_seconds), (32 << 20, 8 << 20, 60));
}

#[test]
fn set_replies_as_redis_does() {
    for (name, value, reply) in SET_REPLIES {
        let config = Config::default();
        let got = change(&config, &[(name, value)]).map(|_| String::new()).unwrap_or_else(|e| e.to_string());
        let right = match *reply {
            "" => String::new(),
            reason => format!("CONFIG SET failed (possibly related to argument '{name}') - {reason}"),
        };
        assert_eq!(got, right, "{name} {value:?}");
    }
    let config = Config::default();
    for (pairs, reply) in [
        (
            &[("hz", "10"), ("nonexist", "3")][..],
            "Unknown option or number of arguments for CONFIG SET - 'nonexist'",
        ),
        (
            &[("HZ", "10"), ("hz", "20")],
            "CONFIG SET failed (possibly related to argument 'hz') - duplicate parameter",
        ),
    ] {
        assert_eq!(change(&config, pairs).expect_err("refused").to_string(), reply);
    }
    let reply = change(&config, &[("slave-priority", "x")]).expect_err("refused").to_string();
    assert!(reply.contains("'slave-priority'"), "the name it was called by: {reply}");
    // One directive under two names is no duplicate, and the later wins.
    let changed = change(&config, &[("slave-priority", "3"), ("replica-priority", "4")]).expect("both taken");
    assert!(changed.touches(Id::of("replica-priority")));
    assert_eq!(one(&config, "slave-priority"), "4");
}

#[test]
fn values_are_answered_in_canonical_spelling() {
    for (name, given, answered) in [
        ("maxmemory", "1G", "1000000000"),
        ("maxmemory", "64Kb", "65536"),
        ("maxmemory-clients", "5%", "5%"),
        ("maxmemory-policy", "ALLKEYS-LRU", "allkeys-lru"),
        ("hz", "0", "1"),
        ("hz", "99999", "500"),
        ("repl-backlog-size", "100", "16384"),
        ("shutdown-on-sigint", "now SAVE", "save now"),
        ("notify-keyspace-events", "KEA", "AKE"),
        ("latency-tracking-info-percentiles", "50 99.90", "50 99.9"),
        ("save", "900 1 300 10", "900 1 300 10"),
        ("bind", "", ""),
        (
            "client-output-buffer-limit",
            "pubsub 1 1 1 normal 1mb 2 2",
            "normal 1048576 2 2 slave 268435456 67108864 60 pubsub 1 1 1",
        ),
        ("requirepass", "two words", "two words"),
        ("rdb-key-save-delay", "-100", "-100"),
    ] {
        let config = Config::default();
        let _ = change(&config, &[(name, given)]).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(one(&config, name), answered, "{name} {given}");
    }
}

#[test]
fn a_change_is_whole_or_nothing() {
    let config = Config::default();
    change(&config, &[("maxmemory", "10"), ("hz", "abc")]).expect_err("hz is no number");
    assert_eq!(config.int(id::MAXMEMORY), 0);

    let changed =
        change(&config, &[("maxmemory", "10"), ("hz", "10"), ("port", "7000")]).expect("all correct");
    assert_eq!(changed.ids().collect::<Vec<_>>(), [id::MAXMEMORY, id::PORT], "hz was 10 before");
    config.roll_back(changed);
    assert_eq!((config.int(id::MAXMEMORY), config.int(id::PORT)), (0, 6379));

    let limits = change(&config, &[("client-output-buffer-limit", "normal 7 0 0")]).expect("correct");
    assert_eq!(config.output_limit(ClientClass::Normal).hard_bytes, 7);
    config.roll_back(limits);
    assert_eq!(config.output_limit(ClientClass::Normal).hard_bytes, 0);
}

#[test]
fn a_file_that_may_have_changed_counts_as_a_change() {
    let config = Config::default();
    let again = change(&config, &[("tls-cert-file", "")]).expect("correct");
    assert!(again.touches(Id::of("tls-cert-file")));
}

#[test]
fn directives_of_our_own_can_be_written_back_unchanged() {
    let config = Config::default();
    let all: Vec<_> = config
        .get(&[b"*"])
        .into_iter()
        .filter(|(name, _)| Id::find(name).is_some_and(|id| id.row().mutability == Mutability::Startup))
        .collect();
    assert!(!all.is_empty());
    for (name, value) in &all {
        let _ = change(&config, &[(name, value)]).unwrap_or_else(|error| panic!("{error}"));
    }
    change(&config, &[("workers", "3")]).expect_err("only at start");
}

#[test]
fn protection_and_loading_are_heeded() {
    let mut config = Config::default();
    let dir: &[(&[u8], &[u8])] = &[(b"dir", b"/")];
    config.set("enable-protected-configs", "local").expect("correct");
    config.change(dir, Caller::default()).expect_err("from afar");
    let _ = config.change(dir, Caller { local: true, loading: false }).expect("from here");
    assert_eq!(one(&config, "dir"), "/");
    let loading = config.change(dir, Caller { local: true, loading: true }).expect_err("not now");
    assert_eq!(loading, SetError::Loading);
}

#[test]
fn get_takes_patterns_names_and_aliases() {
    let config = Config::default();
    let names = |patterns: &[&str]| {
        let patterns: Vec<&[u8]> = patterns.iter().map(|pattern| pattern.as_bytes()).collect();
        config.get(&patterns).into_iter().map(|(name, _)| name).collect::<Vec<_>>()
    };
    assert_eq!(names(&["MAXMEMORY", "Slave-Priority"]), ["MAXMEMORY", "Slave-Priority"]);
    assert_eq!(names(&["maxmemory", "MAXMEMORY"]), ["maxmemory"]);
    assert_eq!(
        names(&["slave-priority", "replica-priority", "slave-prio*"]),
        ["slave-priority", "replica-priority"]
    );
    assert_eq!(names(&["*OF"]), ["replicaof", "slaveof"]);
    assert_eq!(names(&["no*such", "nor-this", "\u{e9}"]), [""; 0]);
    assert_eq!(names(&["key-load-delay"]), ["key-load-delay"]);
    assert_eq!(names(&["key-load-dela?"]), [""; 0], "hidden");
    assert_eq!(config.get(&[b"\xff", b"\xff*"]), []);
    assert!(names(&["*"]).len() > 200);
    assert!(Config::is_sensitive(b"RequirePass") && Config::is_sensitive(b"masterauth"));
    assert!(!Config::is_sensitive(b"port") && !Config::is_sensitive(b"\xff"));
}

#[test]
fn a_file_is_read_as_redis_reads_it() {
    let config = read(
        "# comment\n\
         \tport 7000 \r\n\
         PORT 7001\n\
         requirepass \"a \\\"b\\\" \\x41\\n\"\n\
         logfile 'it''s'\n",
    );
    assert!(config.is_err(), "a closing quote must end its word");
    let config = read(
        "port 7000\r\n\
         \n\
           PORT 7001\n\
         requirepass \"a \\\"b\\\" \\x41\\n\"\n\
         syslog-ident 'it\\'s'\n\
         save 900 1\n\
         save \"300 10 60 10000\"\n\
         client-output-buffer-limit normal 1kb 0 0\n\
         client-output-buffer-limit slave 2kb 0 0\n\
         bind 10.0.0.1 ::1\n\
         bind \"10.0.0.2 10.0.0.3\"\n\
         list-max-ziplist-value 64\n\
         user alice on \"> pw\" ~* +@all\n\
         cache sessions db=1 ttl=20m\n\
         slaveof no one\n",
    )
    .expect("correct lines");
    assert_eq!(config.int(id::PORT), 7001);
    assert_eq!(&*config.text(id::REQUIREPASS), "a \"b\" A\n");
    assert_eq!(one(&config, "syslog-ident"), "it's");
    assert_eq!(&*config.text(id::SAVE), "900 1 300 10 60 10000");
    assert!(
        one(&config, "client-output-buffer-limit")
            .starts_with("normal 1024 0 0 slave 2048 0 0 pubsub 33554432")
    );
    assert_eq!(&*config.text(id::BIND), "10.0.0.2 10.0.0.3");
    assert_eq!(config.users(), [user(&[b"alice", b"on", b"> pw", b"~*", b"+@all"])]);
    assert_eq!(config.caches(), [["sessions", "db=1", "ttl=20m"]]);
    assert_eq!(&*read("save 1 1\nsave \"\"\nsave 2 2\n").expect("correct").text(id::SAVE), "2 2");
}

#[test]
fn a_wrong_line_says_where_what_and_why() {
    assert_eq!(
        complaint("# first\nmaxclients many\n"),
        "/x.conf, line 2: maxclients: argument couldn't be parsed into an integer; \
         expected a whole number from 1 to 4294967295\n>>> maxclients many"
    );
    assert_eq!(
        complaint("appendonlly yes"),
        "/x.conf, line 1: appendonlly: no such directive; expected perhaps appendonly\n>>> appendonlly yes"
    );
    for (line, part) in [
        ("port", "wrong number of arguments"),
        ("port 1 2", "wrong number of arguments"),
        ("bind", "wrong number of arguments"),
        ("user", "wrong number of arguments"),
        ("port \"1", "unbalanced quotes"),
        ("syslog-ident 'a'b", "unbalanced quotes"),
        ("rename-command FLUSHALL x", "ACL"),
        ("loadmodule /x.so", "modules cannot be loaded"),
        ("sentinel monitor a b c", "no sentinel"),
        ("maxmemory-policy", "wrong number of arguments; expected one of volatile-lru, volatile-lfu"),
        ("maxmemory-policy lru", "allkeys-random, noeviction\n>>> maxmemory-policy lru"),
        ("dir /there/is/no/such", "an existing directory"),
        ("activedefrag yes", "Active defragmentation cannot be enabled"),
        ("join 10.0.0.1", "host:port"),
    ] {
        let complaint = complaint(line);
        assert!(complaint.contains(part), "{line}: {complaint}");
    }
}

#[test]
fn no_complaint_shows_a_secret() {
    for line in [
        "requirepass s3cret and more",
        "requirepass \"s3cret",
        "requirepas s3cret",
        "masterauth s3cret x",
        "requirepass_file s3cret",
        "rename-command CONFIG s3cret",
        "tls-key-file-pass s3cret x",
        "user \"s3cret",
    ] {
        let complaint = complaint(line);
        assert!(!complaint.contains("s3cret") && complaint.contains("<hidden>"), "{complaint}");
    }
    let mut config = Config::default();
    config.set("requirepass", "s3cret").expect("correct").set("port", "1").expect("correct");
    assert_eq!(format!("{config:?}"), "{port: \"1\", requirepass: \"<hidden>\"}");
}

#[test]
fn included_files_are_read_in_place() {
    let scratch = Scratch::new("include");
    let here = scratch.0.display();
    scratch.write("a.inc", "port 7001\nhz 20\n");
    scratch.write("b.inc", "port 7002\nmaxclients x\n");
    let path = scratch
        .write("main.conf", &format!("port 7000\ninclude {here}/a*.inc\nhz 30\ninclude {here}/none*.inc\n"));
    let config = Config::load(&path).expect("correct files");
    assert_eq!((config.int(id::PORT), config.int(id::HZ)), (7001, 30));
    assert_eq!(config.file(), Some(path.as_path()));

    let path = scratch.write("main.conf", &format!("include {here}/?.inc\n"));
    let error = Config::load(&path).expect_err("b.inc is wrong").to_string();
    assert!(error.starts_with(&format!("{here}/b.inc, line 2: maxclients")), "{error}");

    let path = scratch.write("main.conf", &format!("include {here}/none.inc\n"));
    assert!(matches!(Config::load(&path), Err(Error::Read { .. })));

    let path = scratch.write("main.conf", &format!("include {here}/main.conf\n"));
    assert!(Config::load(&path).expect_err("a circle").to_string().contains("circle"));
}

#[test]
fn directives_that_cannot_stand_together_are_refused() {
    let mut config = Config::default();
    config.set("port", "11211").expect("correct by itself");
    assert_eq!(
        config.check().expect_err("two on one port").to_string(),
        "port and memcached-port are both 11211: one of them must change"
    );
    config.set("port", "0").and_then(|config| config.set("memcached-port", "0")).expect("correct");
    config.check().expect("ports that are off do not clash");
    config.set("cluster-enabled", "yes").and_then(|config| config.set("replicaof", "h 1")).expect("correct");
    config.check().expect_err("replicaof in a cluster");
}

#[test]
fn the_command_line_overrides_the_file() {
    let scratch = Scratch::new("args");
    let path = scratch.write("x.conf", "port 7000\nhz 20\nsave 900 1\n");
    let path = path.to_str().expect("a plain path");
    let config =
        served(&[path, "--port", "7001", "--bind", "10.0.0.1", "-::1", "--requirepass", "--dashes--"]);
    assert_eq!((config.int(id::PORT), config.int(id::HZ)), (7001, 20));
    assert_eq!(&*config.text(id::BIND), "10.0.0.1 -::1");
    assert_eq!(&*config.text(id::REQUIREPASS), "--dashes--");
    let config = served(&[path, "--save", "--shutdown-on-sigint", "nosave now", "--maxmemory", "1gb"]);
    assert_eq!(&*config.text(id::SAVE), "");
    assert_eq!(one(&config, "shutdown-on-sigint"), "nosave now");
    assert_eq!(config.size(id::MAXMEMORY), 1 << 30);
    assert_eq!(&*served(&["--save", ""]).text(id::SAVE), "");
    assert_eq!(served(&["--user", "alice", "on"]).users(), [user(&[b"alice", b"on"])]);
    // Where a container's definition gives each directive as one argument.
    let config = served(&["--maxmemory 1gb", "--requirepass 'two words'"]);
    assert_eq!((config.size(id::MAXMEMORY), &*config.text(id::REQUIREPASS)), (1 << 30, "two words"));

    assert!(matches!(start(&["-v"]), Ok(Startup::Print(text)) if text.starts_with("Shoal ")));
    assert!(matches!(start(&["--help"]), Ok(Startup::Print(text)) if text.contains("--check-config")));
    assert!(matches!(start(&["--check-config", path]), Ok(Startup::Print(_))));
    for (args, complaint) in [
        (&["--port", "x"][..], "command line: port: argument couldn't be parsed into an integer"),
        (&["--prot", "1"], "command line: prot: no such directive; expected perhaps port"),
        (&["--port"], "command line: port: wrong number of arguments"),
        (&["-x"], "what is \"-x\"?"),
        (&["/there/is/no/such"], "cannot read /there/is/no/such"),
        (&["--port", "1", "--tls-port", "1"], "port and tls-port are both 1"),
    ] {
        let error = start(args).expect_err("wrong arguments").to_string();
        assert!(error.starts_with(complaint), "{error}");
    }
}

#[test]
fn rewrite_touches_only_what_changed() {
    let scratch = Scratch::new("rewrite");
    let text = "# mine\nport 7000\n\nmaxmemory 100mb\nsave 900 1\nsave 300 10\nslave-priority 5\nhz   20\n";
    let path = scratch.write("x.conf", text);
    let config = Config::load(&path).expect("correct");
    config.rewrite(None).expect("can be written");
    assert_eq!(fs::read_to_string(&path).expect("there"), text);

    let _ = change(
        &config,
        &[
            ("port", "7001"),
            ("save", ""),
            ("replica-priority", "7"),
            ("requirepass", "a b"),
            ("timeout", "5"),
        ],
    )
    .expect("correct");
    config.rewrite(None).expect("can be written");
    let rewritten = "# mine\nport 7001\n\nmaxmemory 100mb\nsave \"\"\nreplica-priority 7\nhz   20\n\
                     # Generated by CONFIG REWRITE\ntimeout 5\nrequirepass \"a b\"\n";
    assert_eq!(fs::read_to_string(&path).expect("there"), rewritten);
    assert_eq!(fs::read_dir(&scratch.0).expect("there").count(), 1, "nothing is left beside it");

    let _ = change(&config, &[("maxclients", "9"), ("timeout", "0")]).expect("correct");
    config.rewrite(None).expect("can be written");
    let rewritten = rewritten.replace("timeout 5", "timeout 0") + "maxclients 9\n";
    assert_eq!(fs::read_to_string(&path).expect("there"), rewritten, "one signature");

    let link = scratch.0.join("link.conf");
    std::os::unix::fs::symlink(&path, &link).expect("a link");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("mine");
    let linked = Config::load(&link).expect("correct");
    let _ = change(&linked, &[("maxclients", "8")]).expect("correct");
    linked.rewrite(None).expect("can be written");
    assert!(link.is_symlink() && fs::read_to_string(&path).expect("there").contains("maxclients 8"));
    assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o640);

    fs::remove_file(&path).expect("there");
    config.rewrite(None).expect("can be written");
    assert_eq!(format!("{config:?}"), format!("{:?}", Config::load(&path).expect("correct")));
    assert!(matches!(Config::default().rewrite(None), Err(Error::NoConfigFile)));
}

#[test]
fn a_rewritten_file_reads_back_as_what_was_so() {
    let scratch = Scratch::new("again");
    let here = scratch.0.display();
    scratch.write("late.inc", "port 7002\nsave 5 5\nclient-output-buffer-limit normal 1 1 1\n");
    let path =
        scratch.write("x.conf", &format!("port 7000\nuser a on\nuser b on\ninclude {here}/late.inc\n"));
    let config = Config::load(&path).expect("correct");
    let users = vec![user(&[b"c", b"on", b"> x", b"~\xff*"])];
    let _ = change(
        &config,
        &[
            ("port", "7003"),
            ("save", "60 1"),
            ("client-output-buffer-limit", "normal 2 2 2"),
            ("notify-keyspace-events", "KEA"),
            ("maxmemory-clients", "5%"),
            ("shutdown-on-sigterm", "nosave now"),
            ("latency-tracking-info-percentiles", ""),
            ("bind", ""),
            ("maxmemory-policy", "allkeys-lfu"),
        ],
    )
    .expect("correct");
    config.rewrite(Some(&users)).expect("can be written");
    let again = Config::load(&path).expect("correct");
    assert_eq!(format!("{config:?}"), format!("{again:?}"));
    assert_eq!(again.users(), users);
    let text = fs::read_to_string(&path).expect("there");
    assert!(
        text.starts_with(&format!("port 7003\nuser c on \"> x\" \"~\\xff*\"\ninclude {here}/late.inc\n")),
        "{text}"
    );
}

/// Tools write back all they have read, and skip only what Redis or Valkey would refuse.
#[test]
fn what_only_shoal_knows_takes_back_the_value_it_has() {
    let config = Config::default();
    let own = "ack admin-port cluster-port cluster-secret cluster-view copies join memcached-auth-file \
               memcached-max-item-size memcached-port memcached-unixsocket redirect witness workers";
    for name in own.split_ascii_whitespace() {
        let value = config.print(Id::find(name).expect(name));
        let set = change(&config, &[(name, &value)]);
        assert!(set.is_ok(), "{name}");
    }
}
