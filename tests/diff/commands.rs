//! The commands, a row each, in families that are played together.

use crate::grammar::Arg::{self, *};
use crate::grammar::{Reply, Row, Type::*, row};

/// The families.
pub const FAMILIES: &[(&str, &[Row])] = &[
    ("string", STRING),
    ("bitmap", BITMAP),
    ("key", KEY),
    ("hash", HASH),
    ("list", LIST),
    ("set", SET),
    ("sorted_set", SORTED_SET),
    ("geo", GEO),
    ("hyperloglog", HYPERLOGLOG),
    ("stream", STREAM),
    ("transaction", TRANSACTION),
    ("script", SCRIPT),
];

const SET_TIME: &[&[Arg]] = &[
    &[Word("EX"), Seconds],
    &[Word("PX"), Millis],
    &[Word("EXAT"), Instant],
    &[Word("PXAT"), InstantMs],
    &[Word("KEEPTTL")],
    &[Word("NX")],
    &[Word("XX")],
    &[Word("GET")],
];

const STRING: &[Row] = &[
    row("SET", &[Key(Str), Value]).weight(30),
    row("SET", &[Key(Str), Value, Some(SET_TIME)]).weight(20),
    row("GET", &[Key(Str)]),
    row("GETSET", &[Key(Str), Value]),
    row("GETDEL", &[Key(Str)]),
    row(
        "GETEX",
        &[
            Key(Str),
            Some(&[
                &[Word("EX"), Seconds],
                &[Word("PX"), Millis],
                &[Word("EXAT"), Instant],
                &[Word("PXAT"), InstantMs],
                &[Word("PERSIST")],
            ]),
        ],
    ),
    row("SETNX", &[Key(Str), Value]),
    row("SETEX", &[Key(Str), Seconds, Value]),
    row("PSETEX", &[Key(Str), Millis, Value]),
    row("APPEND", &[Key(Str), Value]),
    row("STRLEN", &[Key(Str)]),
    row("GETRANGE", &[Key(Str), Index, Index]),
    row("SUBSTR", &[Key(Str), Index, Index]).weight(3),
    row("SETRANGE", &[Key(Str), Index, Value]),
    row("INCR", &[Key(Str)]),
    row("DECR", &[Key(Str)]),
    row("INCRBY", &[Key(Str), Int]),
    row("DECRBY", &[Key(Str), Int]),
    row("INCRBYFLOAT", &[Key(Str), Float]),
    row("MGET", &[Many(1, 4, &[Key(Str)])]),
    row("MSET", &[Many(1, 3, &[Key(Str), Value])]),
    row("MSETNX", &[Many(1, 3, &[Key(Str), Value])]),
    row(
        "LCS",
        &[
            Key(Str),
            Key(Str),
            Some(&[&[Word("LEN")], &[Word("IDX")], &[Word("MINMATCHLEN"), Count], &[Word("WITHMATCHLEN")]]),
        ],
    ),
];

const FIELD_TYPE: &[&str] =
    &["u1", "i1", "u8", "i8", "u16", "i16", "u32", "u63", "i64", "u64", "i65", "u0", "x8", "u3", "i5"];
const FIELD_OFFSET: &[&str] =
    &["0", "1", "8", "7", "#0", "#1", "#3", "100", "-1", "#-1", "4294967296", "abc"];

const BITMAP: &[Row] = &[
    row("SETBIT", &[Key(Bits), BitOffset, Of(&["0", "1", "1", "1", "2", "a"])]).weight(40),
    row("SET", &[Key(Bits), Value]),
    row("GETBIT", &[Key(Bits), BitOffset]),
    row("BITCOUNT", &[Key(Bits), Opt(&[Index, Index, Opt(&[Of(&["BYTE", "BIT", "X"])])])]),
    row(
        "BITPOS",
        &[Key(Bits), Of(&["0", "1", "2"]), Opt(&[Index, Opt(&[Index, Opt(&[Of(&["BYTE", "BIT"])])])])],
    ),
    row("BITOP", &[Of(&["AND", "OR", "XOR"]), Key(Bits), Many(1, 3, &[Key(Bits)])]),
    row("BITOP", &[Of(&["NOT", "NOT", "NAND"]), Key(Bits), Key(Bits)]),
    row(
        "BITFIELD",
        &[
            Key(Bits),
            Many(
                1,
                4,
                &[One(&[
                    &[Word("GET"), Of(FIELD_TYPE), Of(FIELD_OFFSET)],
                    &[Word("SET"), Of(FIELD_TYPE), Of(FIELD_OFFSET), Int],
                    &[Word("INCRBY"), Of(FIELD_TYPE), Of(FIELD_OFFSET), Int],
                    &[Word("OVERFLOW"), Of(&["WRAP", "SAT", "FAIL", "X"])],
                ])],
            ),
        ],
    )
    .weight(20),
    row("BITFIELD_RO", &[Key(Bits), Many(0, 3, &[Word("GET"), Of(FIELD_TYPE), Of(FIELD_OFFSET)])]),
    row("BITFIELD_RO", &[Key(Bits), Word("SET"), Of(FIELD_TYPE), Of(FIELD_OFFSET), Int]).weight(2),
    row("GETRANGE", &[Key(Bits), Index, Index]),
];

const EXPIRE_IF: &[&[Arg]] = &[&[Word("NX")], &[Word("XX")], &[Word("GT")], &[Word("LT")]];
const MADE: &[Arg] = &[Key(Any)];

const KEY: &[Row] = &[
    row("SET", &[Key(Str), Value]).weight(20),
    row("SADD", &[Key(Set), Many(1, 4, &[Member])]),
    row("RPUSH", &[Key(List), Many(1, 4, &[Member])]),
    row("HSET", &[Key(Hash), Many(1, 4, &[Member, Value])]),
    row("ZADD", &[Key(Zset), Many(1, 4, &[Score, Member])]),
    row("DEL", &[Many(1, 3, MADE)]),
    row("UNLINK", &[Many(1, 3, MADE)]),
    row("EXISTS", &[Many(1, 3, MADE)]),
    row("TOUCH", &[Many(1, 3, MADE)]),
    row("TYPE", MADE),
    row("OBJECT ENCODING", MADE).weight(20),
    row("OBJECT HELP", &[]).weight(1),
    row("OBJECT FREQ", MADE).weight(3),
    row("OBJECT IDLETIME", MADE).reply(Reply::Shape).weight(3),
    row("TIME", &[]).reply(Reply::Shape).weight(1),
    row("WAIT", &[Of(&["0", "0", "-1", "x"]), Of(&["1", "-1", "x"])]).weight(1),
    row("PUBLISH", &[Value, Value]).weight(1),
    row("EXPIRE", &[Key(Any), Seconds, Some(EXPIRE_IF)]).weight(20),
    row("PEXPIRE", &[Key(Any), Millis, Some(EXPIRE_IF)]),
    row("EXPIREAT", &[Key(Any), Instant, Some(EXPIRE_IF)]),
    row("PEXPIREAT", &[Key(Any), InstantMs, Some(EXPIRE_IF)]),
    row("TTL", MADE).reply(Reply::Near(1)),
    row("PTTL", MADE).reply(Reply::Near(1000)),
    row("EXPIRETIME", MADE).reply(Reply::Near(1)),
    row("PEXPIRETIME", MADE).reply(Reply::Near(1000)),
    row("PERSIST", MADE),
    row("RENAME", &[Key(Any), Key(Any)]),
    row("RENAMENX", &[Key(Any), Key(Any)]),
    row("COPY", &[Key(Any), Key(Any), Some(&[&[Word("DB"), Db], &[Word("REPLACE")]])]).weight(20),
    row("MOVE", &[Key(Any), Db]),
    row("KEYS", &[KeyGlob]).reply(Reply::Unordered),
    row("RANDOMKEY", &[]).reply(Reply::Shape).weight(3),
    row("DBSIZE", &[]),
    row("SELECT", &[Db]),
    row("SWAPDB", &[Db, Db]).weight(4),
    row("FLUSHDB", &[Opt(&[Of(&["SYNC", "ASYNC", "NOW"])])]).weight(1),
    row("FLUSHALL", &[Opt(&[Of(&["SYNC", "ASYNC", "NOW"])])]).weight(1),
    row(
        "SCAN",
        &[
            Word("0"),
            Some(&[
                &[Word("MATCH"), KeyGlob],
                &[Word("COUNT"), Size],
                &[Word("TYPE"), Of(&["string", "list", "set", "zset", "hash", "stream", "LIST", "none"])],
            ]),
        ],
    )
    .reply(Reply::Scan(1))
    .sound(),
    row("SCAN", &[Of(&["abc", "1.5"])]).weight(2).sound(),
    row("SCAN", &[Word("0"), Word("COUNT"), Of(&["0", "-1", "abc"])]).weight(2).sound(),
    row("ECHO", &[Value]).weight(2),
    row("PING", &[Opt(&[Value])]).weight(2),
    row("NOSUCH", &[Many(0, 3, &[Value])]).weight(1),
    row("OBJECT NOSUCH", &[Opt(MADE)]).weight(1),
];

const SORT_OPTIONS: &[&[Arg]] = &[
    &[Word("ASC")],
    &[Word("DESC")],
    &[Word("ALPHA")],
    &[Word("LIMIT"), Index, Count],
    &[Word("GET"), Of(&["#", "s*", "h*->a", "nothing", "s*->"])],
    &[Word("GET"), Of(&["#", "s*"])],
];

const HASH: &[Row] = &[
    row("HSET", &[Key(Hash), Many(1, 5, &[Member, Value])]).weight(40),
    row("HMSET", &[Key(Hash), Many(1, 3, &[Member, Value])]).weight(4),
    row("HSETNX", &[Key(Hash), Member, Value]),
    row("HGET", &[Key(Hash), Member]),
    row("HMGET", &[Key(Hash), Many(1, 4, &[Member])]),
    row("HGETALL", &[Key(Hash)]).reply(Reply::Pairs),
    row("HKEYS", &[Key(Hash)]).reply(Reply::Unordered),
    row("HVALS", &[Key(Hash)]).reply(Reply::Unordered),
    row("HLEN", &[Key(Hash)]),
    row("HSTRLEN", &[Key(Hash), Member]),
    row("HEXISTS", &[Key(Hash), Member]),
    row("HDEL", &[Key(Hash), Many(1, 3, &[Member])]),
    row("HINCRBY", &[Key(Hash), Member, Int]),
    row("HINCRBYFLOAT", &[Key(Hash), Member, Float]),
    row("HRANDFIELD", &[Key(Hash), Opt(&[Count, Opt(&[Word("WITHVALUES")])])]).reply(Reply::Shape),
    row("HSCAN", &[Key(Hash), Word("0"), Some(&[&[Word("MATCH"), MemberGlob], &[Word("COUNT"), Size]])])
        .reply(Reply::Scan(2))
        .sound(),
    row("HSCAN", &[Key(Hash), Word("0"), Of(&["COUNT", "X", "NOVALUES"]), Opt(&[Of(&["0", "x"])])])
        .weight(2)
        .sound(),
    row("HSCAN", &[Key(Hash), Of(&["abc", "1.5"]), Opt(&[Word("COUNT"), Count])]).weight(2).sound(),
    row("OBJECT ENCODING", &[Key(Hash)]),
];

const LIST: &[Row] = &[
    row("RPUSH", &[Key(List), Many(1, 5, &[Member])]).weight(30),
    row("LPUSH", &[Key(List), Many(1, 5, &[Member])]).weight(20),
    row("RPUSHX", &[Key(List), Many(1, 2, &[Value])]),
    row("LPUSHX", &[Key(List), Many(1, 2, &[Value])]),
    row("LPOP", &[Key(List), Opt(&[Count])]),
    row("RPOP", &[Key(List), Opt(&[Count])]),
    row("LLEN", &[Key(List)]),
    row("LINDEX", &[Key(List), Index]),
    row("LSET", &[Key(List), Index, Value]),
    row("LRANGE", &[Key(List), Index, Index]).weight(20),
    row("LTRIM", &[Key(List), Index, Index]).weight(4),
    row("LREM", &[Key(List), Count, Member]),
    row("LINSERT", &[Key(List), Of(&["BEFORE", "AFTER", "before", "AT"]), Member, Value]),
    row(
        "LPOS",
        &[
            Key(List),
            Member,
            Some(&[&[Word("RANK"), Count], &[Word("COUNT"), Count], &[Word("MAXLEN"), Count]]),
        ],
    ),
    row("RPOPLPUSH", &[Key(List), Key(List)]),
    row("LMOVE", &[Key(List), Key(List), Of(&["LEFT", "RIGHT", "UP"]), Of(&["LEFT", "RIGHT"])]),
    row("LMPOP", &[Keys(List), Of(&["LEFT", "RIGHT", "UP"]), Opt(&[Word("COUNT"), Count])]),
    row("BLPOP", &[Many(1, 2, &[Key(List)]), Of(&["0.01", "0.01", "0.01", "-1", "abc", "nan"])])
        .sound()
        .weight(2),
    row("BRPOP", &[Many(1, 2, &[Key(List)]), Of(&["0.01", "0.01", "-1", "1e400"])]).sound().weight(2),
    row(
        "BLMOVE",
        &[Key(List), Key(List), Of(&["LEFT", "RIGHT"]), Of(&["LEFT", "RIGHT"]), Of(&["0.01", "-1"])],
    )
    .sound()
    .weight(2),
    row("BRPOPLPUSH", &[Key(List), Key(List), Of(&["0.01", "-0.1"])]).sound().weight(1),
    row("BLMPOP", &[Of(&["0.01", "-1"]), Keys(List), Of(&["LEFT", "RIGHT"]), Opt(&[Word("COUNT"), Count])])
        .sound()
        .weight(2),
    row("BLPOP", &[Many(1, 3, &[Key(List)]), Word("0")]).waits().sound(),
    row("BRPOP", &[Many(1, 3, &[Key(List)]), Word("0")]).waits().sound().weight(4),
    row("BLMOVE", &[Key(List), Key(List), Of(&["LEFT", "RIGHT"]), Of(&["LEFT", "RIGHT"]), Word("0")])
        .waits()
        .sound()
        .weight(4),
    row("BRPOPLPUSH", &[Key(List), Key(List), Word("0")]).waits().sound().weight(2),
    row("BLMPOP", &[Word("0"), Keys(List), Of(&["LEFT", "RIGHT"]), Opt(&[Word("COUNT"), Size])])
        .waits()
        .sound()
        .weight(4),
    row("BLPOP", &[Key(List)]).weight(1).sound(),
    row("BLMOVE", &[Key(List), Key(List), Word("LEFT"), Word("RIGHT")]).weight(1).sound(),
    row("BLMPOP", &[Word("0.01"), Of(&["0", "-1", "x"]), Key(List), Word("LEFT")]).weight(1).sound(),
    row("SORT", &[Key(List), Some(SORT_OPTIONS)]),
    row(
        "SORT",
        &[Key(List), Word("BY"), Of(&["nosort", "s*", "h*->a", "h*->", "*", "*->a"]), Some(SORT_OPTIONS)],
    )
    .reply(Reply::Shape)
    .weight(4),
    row("SORT_RO", &[Key(List), Some(SORT_OPTIONS)]),
    row("SORT", &[Key(List), Some(SORT_OPTIONS), Word("STORE"), Key(List)]),
    row("OBJECT ENCODING", &[Key(List)]),
];

const SET: &[Row] = &[
    row("SADD", &[Key(Set), Many(1, 6, &[Member])]).weight(50),
    row("SADD", &[Key(Set), Many(1, 6, &[Size])]).weight(10),
    row("SREM", &[Key(Set), Many(1, 3, &[Member])]),
    row("SMEMBERS", &[Key(Set)]).reply(Reply::Unordered),
    row("SISMEMBER", &[Key(Set), Member]),
    row("SMISMEMBER", &[Key(Set), Many(1, 4, &[Member])]),
    row("SCARD", &[Key(Set)]),
    row("SMOVE", &[Key(Set), Key(Set), Member]),
    row("SPOP", &[Key(Set), Opt(&[Count])]).reply(Reply::Shape).chooses(),
    row("SRANDMEMBER", &[Key(Set), Opt(&[Count])]).reply(Reply::Shape),
    row("SINTER", &[Many(1, 3, &[Key(Set)])]).reply(Reply::Unordered),
    row("SUNION", &[Many(1, 3, &[Key(Set)])]).reply(Reply::Unordered),
    row("SDIFF", &[Many(1, 3, &[Key(Set)])]).reply(Reply::Unordered),
    row("SINTERSTORE", &[Key(Set), Many(1, 3, &[Key(Set)])]),
    row("SUNIONSTORE", &[Key(Set), Many(1, 3, &[Key(Set)])]),
    row("SDIFFSTORE", &[Key(Set), Many(1, 3, &[Key(Set)])]),
    row("SINTERCARD", &[Keys(Set), Opt(&[Word("LIMIT"), Count])]),
    row("SSCAN", &[Key(Set), Word("0"), Some(&[&[Word("MATCH"), MemberGlob], &[Word("COUNT"), Size]])])
        .reply(Reply::Scan(2))
        .sound(),
    row("SORT", &[Key(Set), Some(SORT_OPTIONS)]),
    row("SORT", &[Key(Set), Word("ALPHA"), Some(SORT_OPTIONS)]),
    row("SORT", &[Key(Set), Word("ALPHA"), Word("STORE"), Key(List)]).weight(4),
    row("OBJECT ENCODING", &[Key(Set)]),
];

const ZADD_OPTIONS: &[&[Arg]] = &[&[Word("NX")], &[Word("XX")], &[Word("GT")], &[Word("LT")], &[Word("CH")]];
const SCORES: &[Arg] = &[Opt(&[Word("WITHSCORES")])];
const LIMIT: &[Arg] = &[Word("LIMIT"), Index, Count];
const WEIGHTS: &[&[Arg]] =
    &[&[Word("WEIGHTS"), Many(1, 3, &[Score])], &[Word("AGGREGATE"), Of(&["SUM", "MIN", "MAX", "AVG"])]];
const WEIGHTS_AND_SCORES: &[&[Arg]] = &[WEIGHTS[0], WEIGHTS[1], &[Word("WITHSCORES")]];

/// Ranges by member are promised only where all scores are equal, so these keys no other row writes to.
const LEX_KEY: Arg = Of(&["y1", "y2", "y3"]);

const SORTED_SET: &[Row] = &[
    row("ZADD", &[LEX_KEY, Many(1, 5, &[Word("0"), Member])]).weight(30).sound(),
    row("ZADD", &[Key(Zset), Many(1, 5, &[Score, Member])]).weight(60),
    row("ZADD", &[Key(Zset), Some(ZADD_OPTIONS), Many(1, 3, &[Score, Member])]).weight(20),
    row("ZADD", &[Key(Zset), Some(ZADD_OPTIONS), Word("INCR"), Score, Member]),
    row("ZINCRBY", &[Key(Zset), Score, Member]),
    row("ZREM", &[Key(Zset), Many(1, 3, &[Member])]),
    row("ZCARD", &[Key(Zset)]),
    row("ZSCORE", &[Key(Zset), Member]),
    row("ZMSCORE", &[Key(Zset), Many(1, 4, &[Member])]),
    row("ZRANK", &[Key(Zset), Member]).sound(),
    row("ZREVRANK", &[Key(Zset), Member]).sound(),
    row("ZCOUNT", &[Key(Zset), ScoreBound, ScoreBound]),
    row("ZLEXCOUNT", &[LEX_KEY, LexBound, LexBound]),
    row("ZRANGE", &[Key(Zset), Index, Index, Some(&[&[Word("REV")], &[Word("WITHSCORES")]])]).weight(20),
    row(
        "ZRANGE",
        &[
            Key(Zset),
            ScoreBound,
            ScoreBound,
            Word("BYSCORE"),
            Some(&[&[Word("REV")], &[Word("WITHSCORES")], LIMIT]),
        ],
    ),
    row("ZRANGE", &[LEX_KEY, LexBound, LexBound, Word("BYLEX"), Some(&[&[Word("REV")], LIMIT])]),
    row(
        "ZRANGESTORE",
        &[Key(Zset), LEX_KEY, LexBound, LexBound, Word("BYLEX"), Some(&[&[Word("REV")], LIMIT])],
    ),
    row("ZRANGESTORE", &[Key(Zset), Key(Zset), Index, Index, Some(&[&[Word("REV")], LIMIT])]),
    row(
        "ZRANGESTORE",
        &[Key(Zset), Key(Zset), ScoreBound, ScoreBound, Word("BYSCORE"), Some(&[&[Word("REV")], LIMIT])],
    ),
    row("ZREVRANGE", &[Key(Zset), Index, Index, Opt(&[Word("WITHSCORES")])]),
    row("ZRANGEBYSCORE", &[Key(Zset), ScoreBound, ScoreBound, Some(&[&[Word("WITHSCORES")], LIMIT])]),
    row("ZREVRANGEBYSCORE", &[Key(Zset), ScoreBound, ScoreBound, Some(&[&[Word("WITHSCORES")], LIMIT])]),
    row("ZRANGEBYLEX", &[LEX_KEY, LexBound, LexBound, Opt(LIMIT)]),
    row("ZREVRANGEBYLEX", &[LEX_KEY, LexBound, LexBound, Opt(LIMIT)]),
    row("ZREMRANGEBYRANK", &[Key(Zset), Index, Index]).weight(5),
    row("ZREMRANGEBYSCORE", &[Key(Zset), ScoreBound, ScoreBound]).weight(5),
    row("ZREMRANGEBYLEX", &[LEX_KEY, LexBound, LexBound]).weight(5),
    row("ZPOPMIN", &[Key(Zset), Opt(&[Count])]),
    row("ZPOPMAX", &[Key(Zset), Opt(&[Count])]),
    row("ZMPOP", &[Keys(Zset), Of(&["MIN", "MAX", "MID"]), Opt(&[Word("COUNT"), Count])]),
    row("BZPOPMIN", &[Many(1, 2, &[Key(Zset)]), Of(&["0.01", "-1", "abc"])]).sound().weight(2),
    row("BZPOPMAX", &[Many(1, 2, &[Key(Zset)]), Of(&["0.01", "-1"])]).sound().weight(2),
    row("BZMPOP", &[Of(&["0.01", "-1"]), Keys(Zset), Of(&["MIN", "MAX"]), Opt(&[Word("COUNT"), Count])])
        .sound()
        .weight(2),
    row("BZPOPMIN", &[Many(1, 3, &[Key(Zset)]), Word("0")]).waits().sound(),
    row("BZPOPMAX", &[Many(1, 3, &[Key(Zset)]), Word("0")]).waits().sound().weight(4),
    row("BZMPOP", &[Word("0"), Keys(Zset), Of(&["MIN", "MAX"]), Opt(&[Word("COUNT"), Size])])
        .waits()
        .sound()
        .weight(4),
    row("ZUNION", &[Keys(Zset), Some(WEIGHTS_AND_SCORES)]),
    row("ZINTER", &[Keys(Zset), Some(WEIGHTS_AND_SCORES)]),
    row("ZDIFF", &[Keys(Zset), Opt(SCORES)]),
    row("ZUNIONSTORE", &[Key(Zset), Keys(Zset), Some(WEIGHTS)]),
    row("ZINTERSTORE", &[Key(Zset), Keys(Zset), Some(WEIGHTS)]),
    row("ZUNIONSTORE", &[Key(Zset), Keys(Set), Some(WEIGHTS)]).weight(4),
    row("ZDIFFSTORE", &[Key(Zset), Keys(Zset)]),
    row("ZINTERCARD", &[Keys(Zset), Opt(&[Word("LIMIT"), Count])]),
    row("ZRANDMEMBER", &[Key(Zset), Opt(&[Count, Opt(&[Word("WITHSCORES")])])]).reply(Reply::Shape),
    row("ZSCAN", &[Key(Zset), Word("0"), Some(&[&[Word("MATCH"), MemberGlob], &[Word("COUNT"), Size]])])
        .reply(Reply::Scan(2))
        .sound(),
    row("SADD", &[Key(Set), Many(1, 4, &[Member])]),
    row("SORT", &[Key(Zset), Word("ALPHA"), Some(SORT_OPTIONS)]),
    row("SORT", &[Key(Zset), Word("BY"), Word("nosort"), Some(SORT_OPTIONS)]).reply(Reply::Shape),
    row("OBJECT ENCODING", &[Key(Zset)]),
];

const UNIT: Arg = Of(&["m", "km", "ft", "mi", "KM", "cm"]);
const RADIUS: Arg = Of(&["0", "10", "100", "500.5", "1000", "2000000", "-1", "abc"]);
const CENTRE: &[&[Arg]] = &[&[Word("FROMMEMBER"), Member], &[Word("FROMLONLAT"), Longitude, Latitude]];
const AREA: &[&[Arg]] = &[&[Word("BYRADIUS"), RADIUS, UNIT], &[Word("BYBOX"), RADIUS, RADIUS, UNIT]];
const FOUND: &[&[Arg]] = &[
    &[Word("WITHCOORD")],
    &[Word("WITHDIST")],
    &[Word("WITHHASH")],
    &[Word("COUNT"), Count],
    &[Of(&["ASC", "DESC"])],
];

const GEO: &[Row] = &[
    row("GEOADD", &[Key(Geo), Many(1, 4, &[Longitude, Latitude, Member])]).weight(50),
    row(
        "GEOADD",
        &[Key(Geo), Some(&[&[Word("NX")], &[Word("XX")], &[Word("CH")]]), Longitude, Latitude, Member],
    ),
    row("GEOPOS", &[Key(Geo), Many(0, 3, &[Member])]),
    row("GEOHASH", &[Key(Geo), Many(0, 3, &[Member])]),
    row("GEODIST", &[Key(Geo), Member, Member, Opt(&[UNIT])]),
    row("GEOSEARCH", &[Key(Geo), One(CENTRE), One(AREA), Some(FOUND)]).reply(Reply::Unordered).weight(20),
    row("GEOSEARCH", &[Key(Geo), Some(CENTRE), Some(AREA), Word("COUNT"), Size, Word("ANY")])
        .reply(Reply::Shape),
    row(
        "GEOSEARCHSTORE",
        &[Key(Geo), Key(Geo), One(CENTRE), One(AREA), Some(&[&[Of(&["ASC", "DESC"])], &[Word("STOREDIST")]])],
    ),
    row("GEORADIUS", &[Key(Geo), Longitude, Latitude, RADIUS, UNIT, Some(FOUND)]).reply(Reply::Unordered),
    row("GEORADIUS_RO", &[Key(Geo), Longitude, Latitude, RADIUS, UNIT, Some(FOUND)]).reply(Reply::Unordered),
    row("GEORADIUSBYMEMBER", &[Key(Geo), Member, RADIUS, UNIT, Some(FOUND)]).reply(Reply::Unordered),
    row("GEORADIUSBYMEMBER_RO", &[Key(Geo), Member, RADIUS, UNIT, Some(FOUND)]).reply(Reply::Unordered),
    row("GEORADIUS", &[Key(Geo), Longitude, Latitude, RADIUS, UNIT, Word("STORE"), Key(Geo)]),
    row("GEORADIUSBYMEMBER", &[Key(Geo), Member, RADIUS, UNIT, Word("STOREDIST"), Key(Geo)]),
    row(
        "GEORADIUS",
        &[
            Key(Geo),
            Longitude,
            Latitude,
            RADIUS,
            UNIT,
            Some(&[&[Word("STORE"), Key(Geo)], &[Word("STOREDIST"), Key(Geo)], &[Word("STORE"), Key(Geo)]]),
        ],
    )
    .weight(5),
    row("ZSCORE", &[Key(Geo), Member]),
];

const HYPERLOGLOG: &[Row] = &[
    row("PFADD", &[Key(Hll), Many(0, 6, &[Member])]).weight(30),
    row("PFADD", &[Key(Hll), Many(1, 6, &[Value])]).weight(10),
    row("PFCOUNT", &[Many(1, 3, &[Key(Hll)])]),
    row("PFDEBUG", &[Of(&["ENCODING", "TODENSE", "DECODE", "X"]), Key(Hll)]).weight(4),
    row("PFMERGE", &[Key(Hll), Many(0, 3, &[Key(Hll)])]),
    row("STRLEN", &[Key(Hll)]),
    row("GETRANGE", &[Key(Hll), Word("0"), Word("-1")]),
    row("SET", &[Key(Hll), Value]).weight(1),
    row("SETRANGE", &[Key(Hll), Index, Value]).weight(1),
];

const GROUP: Arg = Of(&["g1", "g1", "g2", "none"]);
const CONSUMER: Arg = Of(&["c1", "c2"]);
const TRIM: &[&[Arg]] = &[
    &[Word("MAXLEN"), Opt(&[Word("=")]), Count],
    &[Word("MINID"), Opt(&[Word("=")]), StreamId],
    &[Word("MAXLEN"), Word("~"), Count, Word("LIMIT"), Count],
];
const RANGE_START: Arg = Of(&["-", "0", "5", "(3-1", "10-2", "abc", "(-"]);
const RANGE_END: Arg = Of(&["+", "20", "(9-0", "7-1", "100", "+"]);

const STREAM: &[Row] = &[
    row("XADD", &[Key(Stream), StreamId, Many(1, 3, &[Member, Value])]).weight(50),
    row(
        "XADD",
        &[Key(Stream), Opt(&[Word("NOMKSTREAM")]), Opt(&[One(TRIM)]), StreamId, Many(0, 2, &[Member, Value])],
    )
    .weight(10),
    row("XADD", &[Key(Stream), Of(&["40-*", "50-*", "1-*", "x-*"]), Member, Value]),
    row("XADD", &[Key(Stream), Opt(&[One(TRIM)]), Word("*"), Member, Value])
        .reply(Reply::Shape)
        .chooses()
        .weight(2),
    row("XADD", &[Key(Stream), One(TRIM), Opt(&[Word("LIMIT"), Count]), StreamId, Member, Value]).weight(4),
    row("XLEN", &[Key(Stream)]),
    row("XRANGE", &[Key(Stream), RANGE_START, RANGE_END, Opt(&[Word("COUNT"), Count])]),
    row("XREVRANGE", &[Key(Stream), RANGE_END, RANGE_START, Opt(&[Word("COUNT"), Count])]),
    row("XDEL", &[Key(Stream), Many(1, 3, &[StreamId])]),
    row("XTRIM", &[Key(Stream), One(TRIM)]),
    row("XSETID", &[Key(Stream), StreamId]).weight(2),
    row("XREAD", &[Opt(&[Word("COUNT"), Count]), Word("STREAMS"), Key(Stream), StreamId]),
    row("XREAD", &[Word("STREAMS"), Key(Stream), Key(Stream), StreamId, Of(&["0", "$", ">"])]),
    row("XREAD", &[Word("BLOCK"), Of(&["1", "-1", "x"]), Word("STREAMS"), Key(Stream), StreamId])
        .weight(2)
        .sound(),
    row(
        "XREAD",
        &[
            Opt(&[Word("COUNT"), Size]),
            Word("BLOCK"),
            Word("0"),
            Word("STREAMS"),
            Key(Stream),
            Key(Stream),
            Of(&["$", "$", "20-0"]),
            Of(&["$", "$", "25"]),
        ],
    )
    .waits()
    .sound(),
    row(
        "XREADGROUP",
        &[
            Word("GROUP"),
            GROUP,
            CONSUMER,
            Opt(&[Word("COUNT"), Size]),
            Word("BLOCK"),
            Word("0"),
            Opt(&[Word("NOACK")]),
            Word("STREAMS"),
            Key(Stream),
            Word(">"),
        ],
    )
    .waits()
    .sound(),
    row(
        "XREADGROUP",
        &[
            Word("GROUP"),
            GROUP,
            CONSUMER,
            Word("STREAMS"),
            Key(Stream),
            Key(Stream),
            Of(&[">", "0"]),
            Of(&[">", "5-1"]),
        ],
    ),
    row(
        "XSETID",
        &[Key(Stream), StreamId, Some(&[&[Word("ENTRIESADDED"), Count], &[Word("MAXDELETEDID"), StreamId]])],
    )
    .weight(3),
    row(
        "XGROUP CREATE",
        &[
            Key(Stream),
            GROUP,
            Of(&["0", "$", "5-1", "abc"]),
            Some(&[&[Word("MKSTREAM")], &[Word("ENTRIESREAD"), Count]]),
        ],
    )
    .weight(15),
    row("XGROUP SETID", &[Key(Stream), GROUP, Of(&["0", "$", "5-1"]), Opt(&[Word("ENTRIESREAD"), Count])]),
    row("XGROUP DESTROY", &[Key(Stream), GROUP]).weight(2),
    row("XGROUP CREATECONSUMER", &[Key(Stream), GROUP, CONSUMER]),
    row("XGROUP DELCONSUMER", &[Key(Stream), GROUP, CONSUMER]).weight(4),
    row(
        "XREADGROUP",
        &[
            Word("GROUP"),
            GROUP,
            CONSUMER,
            Some(&[&[Word("COUNT"), Count], &[Word("NOACK")]]),
            Word("STREAMS"),
            Key(Stream),
            Of(&[">", ">", ">", "0", "5", "$"]),
        ],
    )
    .weight(20),
    row("XACK", &[Key(Stream), GROUP, Many(1, 3, &[StreamId])]),
    row("XPENDING", &[Key(Stream), GROUP]),
    row("XPENDING", &[Key(Stream), GROUP, RANGE_START, RANGE_END, Count, Opt(&[CONSUMER])])
        .reply(Reply::Shape),
    row(
        "XPENDING",
        &[Key(Stream), GROUP, Word("IDLE"), Of(&["0", "100000", "x"]), Word("-"), Word("+"), Count],
    )
    .reply(Reply::Shape),
    row(
        "XCLAIM",
        &[
            Key(Stream),
            GROUP,
            CONSUMER,
            Of(&["0", "0", "1000000", "abc"]),
            Many(1, 3, &[StreamId]),
            Some(&[
                &[Word("JUSTID")],
                &[Word("FORCE")],
                &[Word("RETRYCOUNT"), Count],
                &[Word("IDLE"), Int],
                &[Word("TIME"), Of(&["0", "1700000000000", "-1", "x", "99999999999999"])],
                &[Word("LASTID"), StreamId],
            ]),
        ],
    ),
    row(
        "XAUTOCLAIM",
        &[
            Key(Stream),
            GROUP,
            CONSUMER,
            Of(&["0", "1000000"]),
            Of(&["0", "5", "-"]),
            Some(&[&[Word("COUNT"), Count], &[Word("JUSTID")]]),
        ],
    ),
    row("XINFO STREAM", &[Key(Stream)]).reply(Reply::Shape),
    row("XINFO STREAM", &[Key(Stream), Word("FULL"), Opt(&[Word("COUNT"), Count])]).reply(Reply::Shape),
    row("XINFO HELP", &[]).weight(1),
    row("XGROUP HELP", &[]).weight(1),
    row("DEL", &[Key(Stream)]).weight(2),
    row("RENAME", &[Key(Stream), Key(Stream)]).weight(2),
    row("XINFO GROUPS", &[Key(Stream)]),
    row("XINFO CONSUMERS", &[Key(Stream), GROUP]).reply(Reply::Shape),
    row("TYPE", &[Key(Stream)]).weight(2),
];

const TRANSACTION: &[Row] = &[
    row("MULTI", &[]).weight(30),
    row("EXEC", &[]).weight(20),
    row("DISCARD", &[]).weight(4),
    row("WATCH", &[Many(1, 2, &[Key(Str)])]).weight(20),
    row("UNWATCH", &[]).weight(4),
    row("SET", &[Key(Str), Value]).weight(20),
    row("GET", &[Key(Str)]).weight(20),
    row("INCR", &[Key(Str)]).weight(20),
    row("DEL", &[Key(Str)]),
    row("EXPIRE", &[Key(Str), Seconds]),
    row("SWAPDB", &[Db, Db]).weight(2),
    row("SELECT", &[Db]).weight(2),
    row("FLUSHDB", &[]).weight(2),
    row("RPUSH", &[Key(List), Many(1, 2, &[Member])]),
    row("LRANGE", &[Key(List), Index, Index]),
];

const SCRIPTS: Arg = Of(&[
    "return 1",
    "return {1,2,{3,'four'},nil,5}",
    "return {ok='fine'}",
    "return {err='ERR bad'}",
    "return redis.call('GET',KEYS[1])",
    "return redis.call('SET',KEYS[1],ARGV[1])",
    "return redis.call('INCR',KEYS[1])",
    "return redis.pcall('INCR',KEYS[1])",
    "return {KEYS[1],ARGV[1],#KEYS,#ARGV}",
    "return redis.call('LPUSH',KEYS[1],ARGV[1])",
    "return redis.pcall('LPUSH',KEYS[1],ARGV[1]).err",
    "return redis.call('TYPE',KEYS[1])",
    "return redis.call('TYPE',KEYS[1]).ok",
    "return 3.99",
    "return true",
    "return false",
    "return tostring(1e15)",
    "return redis.sha1hex(ARGV[1])",
    "return redis.status_reply('X')",
    "return redis.error_reply('X y')",
    "return cjson.encode({1,2,'x'})",
    "return cjson.decode('[1,2,{\"a\":3}]')[3].a",
    "return cmsgpack.unpack(cmsgpack.pack(7))",
    "return bit.band(12,10)",
    "return struct.pack('>I2',258)",
    "redis.setresp(3); return redis.call('HGETALL',KEYS[1])",
    "return redis.call('NOSUCH')",
    "return redis.call()",
    "return {double=3.5}",
    "return redis.setresp(4)",
    "return #redis.call('KEYS','*')",
    "local t={} for i=1,5 do t[i]=redis.call('INCRBY',KEYS[1],i) end return t",
    "return string.format('%s %d %5.2f',ARGV[1],7,2.5)",
    "return table.concat({'a','b'},',')",
    "return math.floor(7/2)",
    "return {1,false,3}",
    "return nil",
]);

/// What a script does with a request it is given as arguments.
const RUNNERS: Arg = Of(&[
    "return redis.call(unpack(ARGV))",
    "return redis.pcall(unpack(ARGV))",
    "redis.setresp(3); return redis.call(unpack(ARGV))",
    "redis.setresp(3); return redis.pcall(unpack(ARGV))",
    "local r = redis.pcall(unpack(ARGV)); return {type(r), r}",
    "local r = redis.pcall(unpack(ARGV)); if type(r) == 'table' then return {#r, r.ok, r.err} end; return type(r)",
    "redis.call('SET', KEYS[1], 'x'); return {redis.pcall(unpack(ARGV)), redis.pcall('GET', KEYS[1])}",
    "for i = 1, 3 do redis.pcall(unpack(ARGV)) end; return redis.call(unpack(ARGV))",
    "redis.setresp(3); local r = redis.call(unpack(ARGV)); redis.setresp(2); return r",
]);

const LIBRARIES: Arg = Of(&[
    "#!lua name=one\nredis.register_function('f', function(k, a) return {k[1], a[1], #k} end)",
    "#!lua name=one\nredis.register_function('f', function(k, a) return redis.call('SET', k[1], a[1]) end)",
    "#!lua name=two\nredis.register_function{function_name='g', callback=function(k, a) return redis.call('GET', k[1]) end, flags={'no-writes'}}",
    "#!lua name=two\nlocal n = 0 redis.register_function('f', function() n = n + 1 return n end)",
    "#!lua name=two\nreturn 1",
    "#!lua\nredis.register_function('f', function() end)",
    "#!lua name=bad name\nredis.register_function('f', function() end)",
    "#!nope name=one\nx",
    "redis.register_function('f', 1)",
]);

const SCRIPT: &[Row] = &[
    row("EVAL", &[RUNNERS, Word("0"), Request]).weight(60).sound(),
    row("EVAL", &[RUNNERS, Word("1"), Key(Str), Request]).weight(20).sound(),
    row("EVAL_RO", &[RUNNERS, Word("0"), Request]).weight(15).sound(),
    row("FUNCTION LOAD", &[Opt(&[Word("REPLACE")]), LIBRARIES]).weight(15),
    row("FUNCTION DELETE", &[Of(&["one", "two", "three"])]).weight(3),
    row("FUNCTION FLUSH", &[Opt(&[Of(&["SYNC", "ASYNC", "X"])])]).weight(1),
    row("FUNCTION LIST", &[Some(&[&[Word("LIBRARYNAME"), Of(&["one", "t*"])], &[Word("WITHCODE")]])])
        .reply(Reply::Unordered)
        .weight(3),
    row("FCALL", &[Of(&["f", "f", "g", "h"]), Of(&["1", "1", "1", "0", "-1", "9", "x"]), Key(Str), Value]),
    row("FCALL_RO", &[Of(&["f", "g", "g", "h"]), Word("1"), Key(Str), Value]),
    row("EVALSHA_RO", &[Of(&["e0e1f9fabfc9d4800c877a703b823ac0578ff8db", "ffff"]), Word("0")]).weight(3),
    row("EVAL", &[SCRIPTS, Word("1"), Key(Str), Value]).weight(40),
    row("EVAL", &[SCRIPTS, Of(&["1", "1", "1", "2", "0", "-1", "3", "x"]), Key(Str), Value]).weight(5),
    row("EVAL_RO", &[SCRIPTS, Word("1"), Key(Str), Value]).weight(5),
    row(
        "EVALSHA",
        &[
            Of(&[
                "e0e1f9fabfc9d4800c877a703b823ac0578ff8db",
                "ffff",
                "E0E1F9FABFC9D4800C877A703B823AC0578FF8DB",
            ]),
            Word("0"),
        ],
    ),
    row("SCRIPT LOAD", &[Of(&["return 1", "return", "if", "return 500"])]),
    row("SCRIPT EXISTS", &[Many(0, 2, &[Of(&["e0e1f9fabfc9d4800c877a703b823ac0578ff8db", "x"])])]),
    row("SCRIPT FLUSH", &[Opt(&[Of(&["SYNC", "ASYNC", "X"])])]).weight(1),
    row("SET", &[Key(Str), Value]),
    row("HSET", &[Key(Hash), Member, Value]),
];
