//! Requests that look at every item: `lru_crawler metadump` and `mgdump`, `stats cachedump` and `sizes`.
//!
//! They go through the partitions a few hundred items at a time, and let others run and the output be sent in between. An item
//! that is there all the while is met exactly once.

use super::stats::Form;
use super::{FULL, Progress, meta};
use crate::command::call::{Flow, Site};
use crate::command::keys::text;
use crate::state::access::AccessClock;
use crate::state::partition::PARTITIONS;
use crate::store::entry::{Entry, ValueRef};
use crate::store::table::Keyed;
use shoal_protocol::memcache::{DumpFormat, write};
use std::collections::BTreeMap;

/// Items looked at before a partition is left.
const LOOKS: usize = 256;
/// Looks at a partition before others get their turn.
const STEPS: usize = 64;
/// Sizes are told rounded up to multiples of this, in bytes.
const SIZE_STEP: usize = 32;

/// How far a walk has got.
#[derive(Default)]
pub struct Walk {
    partition: usize,
    cursor: u64,
    /// Items met so far.
    count: usize,
    /// How many of them have which size.
    sizes: BTreeMap<usize, u64>,
}

impl Walk {
    /// Visits a part of the strings of the connection's database. [`Flow::Next`]: all were visited.
    fn go_on(&mut self, site: &mut Site, mut visit: impl FnMut(&mut Site, &Entry)) -> Flow {
        let (state, db, now_ms) = (site.state, site.client.db, site.clock.unix_ms);
        for _ in 0..STEPS {
            if self.partition == PARTITIONS {
                return Flow::Next;
            }
            if site.out.len() >= FULL {
                return Flow::Full;
            }
            let Some(guard) = state.keyspace.try_enter(self.partition as u8) else { return Flow::Contended };
            self.cursor = guard.dbs[db].scan(self.cursor, LOOKS, |entry| {
                if !entry.is_expired(now_ms) && !matches!(entry.value(), ValueRef::Object(_)) {
                    visit(site, entry);
                }
            });
            if self.cursor == 0 {
                self.partition += 1;
            }
        }
        Flow::Contended
    }
}

/// The walk under way, or a new one.
fn walk(progress: &mut Progress) -> &mut Walk {
    if !matches!(progress, Progress::Walk(_)) {
        *progress = Progress::Walk(Walk::default());
    }
    match progress {
        Progress::Walk(walk) => walk,
        _ => unreachable!("it was just made one"),
    }
}

/// `lru_crawler metadump`, `lru_crawler mgdump`
pub(super) fn keys(site: &mut Site, format: DumpFormat, progress: &mut Progress) -> Flow {
    let (clock, now_ms) = (AccessClock::of(&site.state.config), site.clock.unix_ms);
    let flow = walk(progress).go_on(site, |site, entry| match format {
        DumpFormat::Metadump => write::metadump(site.out, entry.key(), &meta::info(entry, clock, now_ms)),
        DumpFormat::Mgdump => write::mgdump(site.out, entry.key()),
    });
    if flow == Flow::Next {
        site.out.raw(match format {
            DumpFormat::Metadump => write::END,
            DumpFormat::Mgdump => write::EN,
        });
    }
    flow
}

/// `stats cachedump`: so many items, 0 being all.
pub(super) fn items(site: &mut Site, limit: usize, progress: &mut Progress) -> Flow {
    let limit = if limit == 0 { usize::MAX } else { limit };
    let walk = walk(progress);
    let mut count = walk.count;
    let flow = walk.go_on(site, |site, entry| {
        count += 1;
        if count > limit {
            return;
        }
        let len = text(entry).map_or(0, |mut text| text.len());
        let expires_at_s = entry.expires_at().map_or(0, |at_ms| at_ms / 1000);
        site.out.raw(b"ITEM ");
        site.out.raw(entry.key());
        site.out.raw(format!(" [{len} b; {expires_at_s} s]\r\n").as_bytes());
    });
    walk.count = count;
    if flow != Flow::Next && count < limit {
        return flow;
    }
    site.out.raw(write::END);
    Flow::Next
}

/// `stats sizes`: how many items there are of each size.
pub(super) fn sizes(site: &mut Site, form: Form, progress: &mut Progress) -> Flow {
    let walk = walk(progress);
    let mut sizes = std::mem::take(&mut walk.sizes);
    let flow = walk.go_on(site, |_, entry| {
        *sizes.entry(entry.memory_bytes().next_multiple_of(SIZE_STEP)).or_default() += 1;
    });
    if flow == Flow::Next {
        for (size, count) in &sizes {
            form.stat(site.out, &size.to_string(), count.to_string());
        }
        form.end(site.out, write::END);
    }
    walk.sizes = sizes;
    flow
}
