//! The codec of the memcached binary protocol from outside: the fuzz corpus with mutations of it breaks nothing.

use std::path::Path;

use proptest::prelude::*;
use proptest::sample::Index;

#[path = "../fuzz/checks/memcache_binary.rs"]
mod memcache_binary;

/// The files of the fuzz corpus, in a fixed order.
fn corpus() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/memcache_binary");
    let mut files: Vec<_> = folder.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() > 10, "the corpus is in the repository");
    files.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

#[test]
fn corpus_holds() {
    corpus().iter().for_each(|data| memcache_binary::check(data));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Bytes changed here and there, small numbers most often: they are what lengths are made of.
    #[test]
    fn mutations_hold(
        file in any::<Index>(),
        changes in prop::collection::vec((any::<Index>(), prop_oneof![0_u8..40, any::<u8>()]), 1..5),
        other in any::<Index>(),
        cut in any::<Index>(),
    ) {
        thread_local!(static CORPUS: Vec<Vec<u8>> = corpus());
        CORPUS.with(|corpus| {
            let mut data = file.get(corpus).clone();
            for (place, byte) in changes {
                let at = place.index(data.len());
                data[at] = byte;
            }
            let other = other.get(corpus);
            data.extend_from_slice(&other[cut.index(other.len())..]);
            memcache_binary::check(&data);
        });
    }
}
