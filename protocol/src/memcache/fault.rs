//! Every error line a memcached client can see, in memcached's words.
//!
//! Clients and test suites compare these byte for byte, so they stand in one place. Some are found by the parser, the
//! others by whoever runs the request.

/// Why a request was not run. Each has one fixed line of text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// No such command, or the wrong number of arguments for it.
    Unknown,
    /// An argument that is no number, a key that is too long, a length that cannot be.
    BadFormat,
    /// The data block does not end where its length says.
    BadDataChunk,
    /// An expiration time that is no number.
    InvalidExptime,
    /// The amount of `incr` or `decr` is no number.
    InvalidDelta,
    /// `delete` with an argument other than `0` and `noreply`.
    DeleteUsage,
    /// The value to be counted up or down is no number.
    NonNumeric,
    /// The item exceeds what the server stores.
    TooLarge,
    /// There is no memory for the item and nothing may be evicted.
    OutOfMemory,
    /// The same, of a number that `ma` was to make.
    OutOfMemoryForNumber,
    /// The key holds a value of another protocol that is no string.
    WrongType,
    /// `flush_all` is switched off.
    FlushRefused,
    /// `shutdown` is switched off.
    ShutdownRefused,
    /// `shutdown` with something other than `graceful`.
    ShutdownMode,
    /// `watch` is switched off.
    WatchRefused,
    /// Listing the keys is switched off.
    DumpRefused,
    /// A command before the client has said who it is.
    Unauthenticated,
    /// A command that the client's user may not run, or not with this key.
    Forbidden,
    /// A script runs, and no command until it ends.
    Busy,
    /// A name and password nobody has.
    AuthenticationFailure,
    /// What was sent as name and password is not two words.
    BadCredentials,
    /// `stats detail` with something other than `on`, `off` and `dump`.
    DetailUsage,
    /// `stats cachedump` without its arguments.
    BadCommandLine,
    /// `stats cachedump` of a slab class that cannot exist.
    IllegalSlabId,
    /// A meta flag whose token is no number.
    BadToken,
    /// A meta flag given twice.
    DuplicateFlag,
    /// A meta flag that does not exist.
    InvalidFlag,
    /// Either of the two above, or a bad token, said by `md` and `ma`.
    InvalidOrDuplicateFlag,
    /// More meta flags than are allowed, said by `mg`.
    FlagsAreTooLong,
    /// More meta flags than are allowed, said by the other meta commands.
    FlagsTooLong,
    /// A key that should be base64 and is not.
    BadKeyEncoding,
    /// The opaque exceeds 32 bytes.
    OpaqueTooLong,
    /// The mode is not one character.
    ModeLength,
    /// No such mode of `ms`.
    InvalidSetMode,
    /// No such mode of `ma`.
    InvalidArithMode,
    /// The initial value of `ma` is no number.
    InvalidInitial,
    /// The amount of `ma` is no number.
    InvalidMetaDelta,
    /// `cache_memlimit` below 8 MB.
    MemlimitTooSmall,
    /// `cache_memlimit` with a number that must be meant in bytes.
    MemlimitNotMegabytes,
    /// `cache_memlimit` with a number that cannot be had.
    MemlimitRefused,
    /// `slabs reassign` from a class to itself.
    SameSlabClass,
    /// `slabs reassign` with a class that cannot exist.
    BadSlabClass,
    /// `slabs reassign`: nothing to be had from that class.
    NoSparePages,
    /// `lru tune`: the shares leave nothing for the cold items.
    LruShares,
    /// `lru tune`: an age that is not positive.
    LruFactors,
    /// `lru_crawler` with a class that cannot exist.
    BadCrawlerClass,
    /// `lru_crawler sleep` of more than a second.
    CrawlerSleep,
}

impl Fault {
    /// The line to send, line end included.
    pub fn line(self) -> &'static [u8] {
        match self {
            Fault::Unknown => b"ERROR\r\n",
            Fault::BadFormat => b"CLIENT_ERROR bad command line format\r\n",
            Fault::BadDataChunk => b"CLIENT_ERROR bad data chunk\r\n",
            Fault::InvalidExptime => b"CLIENT_ERROR invalid exptime argument\r\n",
            Fault::InvalidDelta => b"CLIENT_ERROR invalid numeric delta argument\r\n",
            Fault::DeleteUsage => b"CLIENT_ERROR bad command line format.  Usage: delete <key> [noreply]\r\n",
            Fault::NonNumeric => b"CLIENT_ERROR cannot increment or decrement non-numeric value\r\n",
            Fault::TooLarge => b"SERVER_ERROR object too large for cache\r\n",
            Fault::OutOfMemory => b"SERVER_ERROR out of memory storing object\r\n",
            Fault::OutOfMemoryForNumber => b"SERVER_ERROR Out of memory allocating new item\r\n",
            Fault::WrongType => b"SERVER_ERROR the key holds a value that is not a string\r\n",
            Fault::FlushRefused => b"CLIENT_ERROR flush_all not allowed\r\n",
            Fault::ShutdownRefused => b"ERROR: shutdown not enabled\r\n",
            Fault::ShutdownMode => b"CLIENT_ERROR invalid shutdown mode\r\n",
            Fault::WatchRefused => b"CLIENT_ERROR watch commands not allowed\r\n",
            Fault::DumpRefused => b"ERROR metadump not allowed\r\n",
            Fault::Forbidden => b"CLIENT_ERROR permission denied\r\n",
            Fault::Busy => b"SERVER_ERROR busy running a script\r\n",
            Fault::Unauthenticated => b"CLIENT_ERROR unauthenticated\r\n",
            Fault::AuthenticationFailure => b"CLIENT_ERROR authentication failure\r\n",
            Fault::BadCredentials => b"CLIENT_ERROR bad authentication token format\r\n",
            Fault::DetailUsage => b"CLIENT_ERROR usage: stats detail on|off|dump\r\n",
            Fault::BadCommandLine => b"CLIENT_ERROR bad command line\r\n",
            Fault::IllegalSlabId => b"CLIENT_ERROR Illegal slab id\r\n",
            Fault::BadToken => b"CLIENT_ERROR bad token in command line format\r\n",
            Fault::DuplicateFlag => b"CLIENT_ERROR duplicate flag\r\n",
            Fault::InvalidFlag => b"CLIENT_ERROR invalid flag\r\n",
            Fault::InvalidOrDuplicateFlag => b"CLIENT_ERROR invalid or duplicate flag\r\n",
            Fault::FlagsAreTooLong => b"CLIENT_ERROR options flags are too long\r\n",
            Fault::FlagsTooLong => b"CLIENT_ERROR options flags too long\r\n",
            Fault::BadKeyEncoding => b"CLIENT_ERROR error decoding key\r\n",
            Fault::OpaqueTooLong => b"CLIENT_ERROR opaque token too long\r\n",
            Fault::ModeLength => b"CLIENT_ERROR incorrect length for M token\r\n",
            Fault::InvalidSetMode => b"CLIENT_ERROR invalid mode for ms M token\r\n",
            Fault::InvalidArithMode => b"CLIENT_ERROR invalid mode for ma M token\r\n",
            Fault::InvalidInitial => b"CLIENT_ERROR invalid numeric initial value\r\n",
            Fault::InvalidMetaDelta => b"CLIENT_ERROR invalid numeric delta value\r\n",
            Fault::MemlimitTooSmall => b"MEMLIMIT_TOO_SMALL cannot set maxbytes to less than 8m\r\n",
            Fault::MemlimitNotMegabytes => b"MEMLIMIT_ADJUST_FAILED input value is megabytes not bytes\r\n",
            Fault::MemlimitRefused => b"MEMLIMIT_ADJUST_FAILED out of bounds or unable to adjust\r\n",
            Fault::SameSlabClass => b"SAME src and dst class are identical\r\n",
            Fault::BadSlabClass => b"BADCLASS invalid src or dst class id\r\n",
            Fault::NoSparePages => b"NOSPARE source class has no spare pages\r\n",
            Fault::LruShares => b"ERROR hot and warm pcts must not exceed 80\r\n",
            Fault::LruFactors => b"ERROR hot/warm age factors must be greater than 0\r\n",
            Fault::BadCrawlerClass => b"BADCLASS invalid class id\r\n",
            Fault::CrawlerSleep => b"CLIENT_ERROR sleep must be one second or less\r\n",
        }
    }
}
