//! Keys and values of one sequence, in pages that forks share until one of them writes.

use std::sync::Arc;

use half::f16;
use nn::{AttentionShape, Fp8, KV_PAGE, KvPage, PagedAttention, Qkv};
use rayon::prelude::*;

use super::pages::{KvFormat, KvPool, Page, Stored};
use crate::error::LmError;

/// Rows from which the heads of a chunk are worth several threads.
const PARALLEL_ROWS: usize = 32;

/// The cache of one sequence; grows by pages up to its capacity.
#[derive(Debug)]
pub struct KvCache {
    pool: Arc<KvPool>,
    capacity: usize,
    len: usize,
    pages: Vec<Arc<Page>>,
    /// Pages of the pool that were promised to this cache and not yet taken.
    promised: usize,
}

/// The part of a page that belongs to one head of one layer.
#[derive(Clone, Copy)]
struct Place {
    layer: usize,
    head: usize,
    shape: AttentionShape,
}

impl KvCache {
    /// An empty cache for at most `capacity` tokens.
    pub fn new(pool: &Arc<KvPool>, capacity: usize) -> Self {
        Self::of_pages(pool, Vec::new(), 0, capacity)
    }

    /// A cache that begins with `len` tokens in pages that others hold too.
    pub(crate) fn of_pages(
        pool: &Arc<KvPool>,
        pages: Vec<Arc<Page>>,
        len: usize,
        capacity: usize,
    ) -> Self {
        Self { pool: Arc::clone(pool), capacity, len, pages, promised: 0 }
    }

    /// Tokens held.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it holds no token.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// A cache that begins with the first `len` tokens of this one (all, if fewer are held).
    ///
    /// Pages are shared, and copied when one of the two writes to them.
    pub fn fork(&self, len: usize) -> Self {
        let len = len.min(self.len);
        let pages = self.pages[..len.div_ceil(KV_PAGE)].to_vec();
        Self::of_pages(&self.pool, pages, len, self.capacity)
    }

    /// Forgets the tokens behind the first `len`; their pages, which no other cache holds, are promised again.
    pub(crate) fn truncate(&mut self, len: usize) {
        let pages = len.div_ceil(KV_PAGE);
        let spared = self.pages.len().saturating_sub(pages);
        self.pool.promise_again(spared);
        self.promised += spared;
        self.pages.truncate(pages);
        self.len = self.len.min(len);
    }

    /// Gives all pages and promises back.
    pub(crate) fn clear(&mut self) {
        (self.pages, self.len) = (Vec::new(), 0);
        self.pool.release(std::mem::take(&mut self.promised));
    }

    /// The pages of the tokens held.
    pub(crate) fn pages(&self) -> &[Arc<Page>] {
        &self.pages
    }

    /// Makes `n` pages of the pool, which were promised before, this cache's own to take.
    pub(crate) fn adopt_promise(&mut self, n: usize) {
        self.promised += n;
    }

    /// Replaces what is held by a longer beginning that others know, and gives back the promise of the
    /// pages that need not be written any more.
    pub(crate) fn begin_with(&mut self, pages: Vec<Arc<Page>>, len: usize) {
        let spared = (len / KV_PAGE - self.len / KV_PAGE).min(self.promised);
        self.pool.release(spared);
        self.promised -= spared;
        (self.pages, self.len) = (pages, len);
    }

    /// Makes room for `n` more tokens, in pages that no other cache holds.
    pub(super) fn reserve(&mut self, n: usize) -> Result<(), LmError> {
        if self.len + n > self.capacity {
            return Err(LmError::ContextTooLong {
                prompt_tokens: self.len,
                max_tokens: n,
                window: self.capacity,
            });
        }
        let n_pages = (self.len + n).div_ceil(KV_PAGE);
        // Only the last page may be half full and shared.
        if let Some(last) = self.pages.get_mut(self.len / KV_PAGE) {
            Arc::make_mut(last);
        }
        while self.pages.len() < n_pages {
            let page = self.pool.take(self.promised > 0);
            self.promised = self.promised.saturating_sub(1);
            self.pages.push(Arc::new(page));
        }
        Ok(())
    }

    /// Writes keys and values of new tokens of one layer behind the tokens held, and lets their
    /// queries attend to all of them; `qkv` and `out` have one row per new token. With `parallel`, heads
    /// of many rows go to the threads of the current pool.
    ///
    /// `reserve` made the room; [`Self::advance`] counts the tokens once all layers are done.
    pub(super) fn attend(
        &mut self,
        layer: usize,
        qkv: Qkv<'_>,
        (attention, parallel): (&mut PagedAttention, bool),
        out: &mut [f32],
    ) {
        let attention = (attention, parallel);
        match self.pool.format() {
            KvFormat::F32 => self.attend_as::<f32>(layer, qkv, attention, out),
            KvFormat::F16 => self.attend_as::<f16>(layer, qkv, attention, out),
            KvFormat::Fp8 => self.attend_as::<Fp8>(layer, qkv, attention, out),
        }
    }

    pub(super) fn advance(&mut self, n: usize) {
        self.len += n;
    }

    fn attend_as<E: Stored>(
        &mut self,
        layer: usize,
        qkv: Qkv<'_>,
        (attention, parallel): (&mut PagedAttention, bool),
        out: &mut [f32],
    ) {
        let (shape, start) = (self.pool.shape(), self.len);
        let places = (0..shape.n_kv_heads).map(|head| Place { layer, head, shape });
        places.clone().for_each(|place| place.write::<E>(&mut self.pages, start, qkv));
        let pages = &self.pages;
        let forward = |place: Place, attention: &mut PagedAttention, out: &mut [f32]| {
            attention.forward(qkv.q, (place.head, start), &place.view::<E>(pages), shape, out);
        };
        let q_width = shape.n_heads * shape.head_dim;
        if !parallel || out.len() < PARALLEL_ROWS * q_width {
            places.for_each(|place| forward(place, attention, out));
            return;
        }
        let parts: Vec<(Place, Vec<f32>)> = places
            .collect::<Vec<_>>()
            .into_par_iter()
            .map(|place| {
                let mut part = vec![0.0; out.len()];
                forward(place, &mut PagedAttention::default(), &mut part);
                (place, part)
            })
            .collect();
        let width = shape.group() * shape.head_dim;
        for (place, part) in parts {
            let columns = place.head * width..(place.head + 1) * width;
            let rows = out.chunks_exact_mut(q_width).zip(part.chunks_exact(q_width));
            for (out, part) in rows {
                out[columns.clone()].copy_from_slice(&part[columns.clone()]);
            }
        }
    }
}

impl Drop for KvCache {
    fn drop(&mut self) {
        self.pool.release(self.promised);
    }
}

impl Place {
    fn size(&self) -> usize {
        self.shape.head_dim * KV_PAGE
    }

    /// Where the keys begin in a page; the values follow.
    fn at(&self) -> usize {
        (self.layer * self.shape.n_kv_heads + self.head) * 2 * self.size()
    }

    /// Where the scales of the keys begin in a page; those of the values follow.
    fn scales_at(&self) -> usize {
        (self.layer * self.shape.n_kv_heads + self.head) * 2 * KV_PAGE
    }

    fn write<E: Stored>(&self, pages: &mut [Arc<Page>], start: usize, qkv: Qkv<'_>) {
        let hd = self.shape.head_dim;
        let width = self.shape.n_kv_heads * hd;
        let rows = qkv.k.chunks_exact(width).zip(qkv.v.chunks_exact(width));
        for (token, (k, v)) in (start..).zip(rows) {
            let (page, slot) = (&mut pages[token / KV_PAGE], token % KV_PAGE);
            let page = Arc::get_mut(page).expect("`reserve` made the pages this cache's own");
            let (numbers, scales) = E::of_mut(page);
            let (keys_t, values) =
                numbers[self.at()..][..2 * self.size()].split_at_mut(self.size());
            let [k, v] = [k, v].map(|row| &row[self.head * hd..(self.head + 1) * hd]);
            let [(by_k, scale_k), (by_v, scale_v)] = [k, v].map(E::token_scale);
            if E::SCALED {
                scales[self.scales_at() + slot] = scale_k;
                scales[self.scales_at() + KV_PAGE + slot] = scale_v;
            }
            for (d, &x) in k.iter().enumerate() {
                keys_t[d * KV_PAGE + slot] = E::narrow(x * by_k);
            }
            for (stored, &x) in values[slot * hd..].iter_mut().zip(v) {
                *stored = E::narrow(x * by_v);
            }
        }
    }

    fn view<'a, E: Stored>(&self, pages: &'a [Arc<Page>]) -> Vec<KvPage<'a, E>> {
        let view = |page: &'a Arc<Page>| {
            let numbers = &E::of(page)[self.at()..][..2 * self.size()];
            let (keys_t, values) = numbers.split_at(self.size());
            let scales = match E::SCALED {
                true => &page.scales[self.scales_at()..][..2 * KV_PAGE],
                false => &[],
            };
            KvPage { keys_t, values, scales }
        };
        pages.iter().map(view).collect()
    }
}
