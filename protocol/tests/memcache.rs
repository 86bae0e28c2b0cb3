//! The memcached codec from outside: the fuzz corpus with mutations of it breaks nothing.

use std::path::Path;

use proptest::prelude::*;
use proptest::sample::Index;

#[path = "../fuzz/checks/memcache.rs"]
mod memcache;

/// The files of the fuzz corpus, in a fixed order.
fn corpus() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/memcache");
    let mut files: Vec<_> = folder.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() > 20, "the corpus is in the repository");
    files.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

/// What is done to a file of the corpus, at some place in it.
#[derive(Debug, Clone)]
enum Mutation {
    Overwrite(u8),
    Remove(usize),
    Insert(&'static [u8]),
    /// The end of another file, from some place on.
    Append(Index, Index),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    const TOKENS: [&[u8]; 12] = [
        b"\r\n",
        b"\n",
        b" ",
        b"noreply",
        b"set a 0 0 2\r\n",
        b"ms a 2 ",
        b"mg a ",
        b" O1",
        b" T",
        b" b",
        b"-1",
        b"99999999999",
    ];
    prop_oneof![
        any::<u8>().prop_map(Mutation::Overwrite),
        (1_usize..8).prop_map(Mutation::Remove),
        prop::sample::select(TOKENS.to_vec()).prop_map(Mutation::Insert),
        (any::<Index>(), any::<Index>()).prop_map(|(file, from)| Mutation::Append(file, from)),
    ]
}

#[test]
fn corpus_holds() {
    corpus().iter().for_each(|data| memcache::check(data));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn mutations_hold(file in any::<Index>(), changes in prop::collection::vec((any::<Index>(), mutation()), 1..5)) {
        thread_local!(static CORPUS: Vec<Vec<u8>> = corpus());
        CORPUS.with(|corpus| {
            let mut data = file.get(corpus).clone();
            for (place, change) in changes {
                let at = place.index(data.len() + 1);
                match change {
                    Mutation::Overwrite(byte) => data.splice(at..(at + 1).min(data.len()), [byte]).for_each(drop),
                    Mutation::Remove(len) => data.drain(at..(at + len).min(data.len())).for_each(drop),
                    Mutation::Insert(token) => data.splice(at..at, token.iter().copied()).for_each(drop),
                    Mutation::Append(file, from) => {
                        let other = file.get(corpus);
                        data.extend_from_slice(&other[from.index(other.len())..]);
                    }
                }
            }
            memcache::check(&data);
        });
    }
}
