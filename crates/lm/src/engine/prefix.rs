//! Caches of keys and values of earlier sequences, found again by the tokens they begin with.
//!
//! Bounded in bytes; the entry used longest ago goes first. Reuse is by equal tokens only and changes no
//! result: the kernels give the same keys and values whatever goes beside them.

use crate::decoder::KvCache;

/// Shorter common beginnings are not worth a fork.
pub(super) const MIN_SHARED: usize = 16;

/// Past sequences.
#[derive(Debug)]
pub(super) struct PrefixCache {
    entries: Vec<Entry>,
    n_bytes: usize,
    limit: usize,
    clock: u64,
}

#[derive(Debug)]
struct Entry {
    tokens: Vec<u32>,
    kv: KvCache,
    used: u64,
}

impl PrefixCache {
    /// An empty store of at most `limit` bytes.
    pub(super) fn new(limit: usize) -> Self {
        Self { entries: Vec::new(), n_bytes: 0, limit, clock: 0 }
    }

    /// A cache that holds the longest known beginning of these tokens, but not the last of them: its
    /// logits are still to be computed. None if nothing worth it is known.
    pub(super) fn fork(&mut self, tokens: &[u32]) -> Option<KvCache> {
        let reusable = &tokens[..tokens.len().saturating_sub(1)];
        let shared = |entry: &Entry| common_prefix(&entry.tokens, reusable);
        let best = self.entries.iter_mut().max_by_key(|entry| shared(entry))?;
        let n_shared = shared(best);
        if n_shared < MIN_SHARED {
            return None;
        }
        self.clock += 1;
        best.used = self.clock;
        Some(best.kv.fork(n_shared))
    }

    /// Keeps a sequence; `kv` holds exactly `tokens`. Entries that it continues are dropped.
    pub(super) fn insert(&mut self, tokens: Vec<u32>, kv: KvCache) {
        let known = |entry: &Entry| entry.tokens.starts_with(&tokens);
        if kv.n_bytes() > self.limit || self.entries.iter().any(known) {
            return;
        }
        self.entries.retain(|entry| !tokens.starts_with(&entry.tokens));
        self.clock += 1;
        self.entries.push(Entry { tokens, kv, used: self.clock });
        self.n_bytes = self.entries.iter().map(|entry| entry.kv.n_bytes()).sum();
        while self.n_bytes > self.limit {
            let oldest = (0..self.entries.len()).min_by_key(|&i| self.entries[i].used);
            let oldest = oldest.expect("bytes are held, so there are entries");
            self.n_bytes -= self.entries.swap_remove(oldest).kv.n_bytes();
        }
    }

    /// Bytes held; pages that entries share count for each.
    pub(super) fn n_bytes(&self) -> usize {
        self.n_bytes
    }
}

/// Length of the common beginning.
pub(super) fn common_prefix(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::{PrefixCache, common_prefix};
    use crate::decoder::{Decoder, DecoderConfig, KvCache};

    fn entry(decoder: &Decoder, tokens: &[u32]) -> (Vec<u32>, KvCache) {
        let mut kv = KvCache::new(decoder.config(), 200);
        decoder.prefill(&mut kv, tokens).unwrap();
        (tokens.to_vec(), kv)
    }

    /// `n` tokens of one of several sequences that differ from the first token on.
    fn text(which: u32, n: u32) -> Vec<u32> {
        (0..n).map(|i| (which + i) % 23).collect()
    }

    #[test]
    fn the_longest_known_beginning_is_forked() {
        let decoder = Decoder::init(DecoderConfig::tiny(), 0).unwrap();
        let mut cache = PrefixCache::new(1 << 20);
        for (tokens, kv) in [entry(&decoder, &text(1, 40)), entry(&decoder, &text(2, 50))] {
            cache.insert(tokens, kv);
        }
        let mut check = |tokens: &[u32], want: Option<usize>| {
            assert_eq!(cache.fork(tokens).map(|kv| kv.len()), want);
        };
        check(&text(1, 60), Some(40));
        check(&text(1, 40), Some(39));
        check(&text(2, 30), Some(29));
        check(&text(2, 17), Some(16));
        check(&text(2, 16), None);
        check(&text(3, 60), None);
        check(&[], None);
    }

    #[test]
    fn bytes_are_bounded_and_the_oldest_goes_first() {
        let decoder = Decoder::init(DecoderConfig::tiny(), 0).unwrap();
        let one = entry(&decoder, &text(0, 40)).1.n_bytes();
        let mut cache = PrefixCache::new(2 * one);
        let insert = |cache: &mut PrefixCache, which| {
            let (tokens, kv) = entry(&decoder, &text(which, 40));
            cache.insert(tokens, kv);
        };
        insert(&mut cache, 1);
        insert(&mut cache, 2);
        assert!(cache.fork(&text(1, 60)).is_some());
        insert(&mut cache, 3);
        assert!(cache.fork(&text(1, 60)).is_some());
        assert!(cache.fork(&text(2, 60)).is_none(), "used longest ago");
        assert!(cache.fork(&text(3, 60)).is_some());
        assert_eq!(cache.n_bytes(), 2 * one);
        let mut none = PrefixCache::new(one - 1);
        insert(&mut none, 1);
        assert_eq!(none.n_bytes(), 0);
    }

    #[test]
    fn a_continuation_replaces_its_beginning() {
        let decoder = Decoder::init(DecoderConfig::tiny(), 0).unwrap();
        let mut cache = PrefixCache::new(1 << 20);
        for n in [40, 60, 50] {
            let (tokens, kv) = entry(&decoder, &text(1, n));
            cache.insert(tokens, kv);
        }
        assert_eq!(cache.entries.len(), 1);
        assert_eq!(cache.fork(&text(1, 100)).map(|kv| kv.len()), Some(60));
    }

    #[test]
    fn common_beginnings() {
        assert_eq!(common_prefix(&[1, 2, 3], &[1, 2, 4]), 2);
        assert_eq!(common_prefix(&[], &[1]), 0);
        assert_eq!(common_prefix(&[1], &[1, 2]), 1);
    }
}
