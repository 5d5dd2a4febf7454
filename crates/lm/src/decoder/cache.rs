//! Keys and values of one sequence, in pages that forks share until one of them writes.

use std::sync::Arc;

use half::f16;
use nn::{AttentionShape, KV_PAGE, KvNumber, KvPage, PagedAttention, Qkv};

use super::DecoderConfig;
use crate::error::LmError;

/// The cache of one sequence; grows by pages up to its capacity.
#[derive(Debug, Clone)]
pub struct KvCache {
    shape: AttentionShape,
    n_layers: usize,
    capacity: usize,
    len: usize,
    pages: Pages,
}

/// A page holds for each layer and head keys `[head_dim, KV_PAGE]`, then values
/// `[KV_PAGE, head_dim]`.
type Page<E> = Arc<Vec<E>>;

#[derive(Debug, Clone)]
enum Pages {
    Half(Vec<Page<f16>>),
    Exact(Vec<Page<f32>>),
}

/// The part of a page that belongs to one head of one layer.
#[derive(Clone, Copy)]
struct Place {
    layer: usize,
    head: usize,
    shape: AttentionShape,
}

impl KvCache {
    /// An empty cache in half precision for at most `capacity` tokens, and never more than the
    /// context window.
    pub fn new(config: &DecoderConfig, capacity: usize) -> Self {
        Self {
            shape: config.attention(),
            n_layers: config.num_hidden_layers,
            capacity: capacity.min(config.max_position_embeddings),
            len: 0,
            pages: Pages::Half(Vec::new()),
        }
    }

    /// As [`Self::new`] in single precision: twice the memory, the logits of training.
    pub fn exact(config: &DecoderConfig, capacity: usize) -> Self {
        Self { pages: Pages::Exact(Vec::new()), ..Self::new(config, capacity) }
    }

    /// Tokens held.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it holds no token.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Tokens it may hold.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// A cache that begins with the first `len` tokens of this one (all, if fewer are held).
    ///
    /// Pages are shared, and copied when one of the two writes to them.
    pub fn fork(&self, len: usize) -> Self {
        let mut fork = self.clone();
        fork.truncate(len);
        fork
    }

    /// Forgets all but the first `len` tokens.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
        let n_pages = self.len.div_ceil(KV_PAGE);
        match &mut self.pages {
            Pages::Half(pages) => pages.truncate(n_pages),
            Pages::Exact(pages) => pages.truncate(n_pages),
        }
    }

    /// Bytes of its pages, shared ones included.
    pub fn n_bytes(&self) -> usize {
        match &self.pages {
            Pages::Half(pages) => pages.len() * self.page_len() * size_of::<f16>(),
            Pages::Exact(pages) => pages.len() * self.page_len() * size_of::<f32>(),
        }
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
        let (page_len, tokens) = (self.page_len(), self.len..self.len + n);
        match &mut self.pages {
            Pages::Half(pages) => own_pages(pages, page_len, tokens),
            Pages::Exact(pages) => own_pages(pages, page_len, tokens),
        }
        Ok(())
    }

    /// Writes keys and values of new tokens of one layer behind the tokens held, and lets their
    /// queries attend to all of them; `qkv` and `out` have one row per new token.
    ///
    /// `reserve` made the room; [`Self::advance`] counts the tokens once all layers are done.
    pub(super) fn attend(
        &mut self,
        layer: usize,
        qkv: Qkv<'_>,
        attention: &mut PagedAttention,
        out: &mut [f32],
    ) {
        let (shape, start) = (self.shape, self.len);
        for head in 0..shape.n_kv_heads {
            let place = Place { layer, head, shape };
            match &mut self.pages {
                Pages::Half(pages) => {
                    place.write(pages, start, qkv);
                    attention.forward(qkv.q, (head, start), &place.view(pages), shape, out);
                }
                Pages::Exact(pages) => {
                    place.write(pages, start, qkv);
                    attention.forward(qkv.q, (head, start), &place.view(pages), shape, out);
                }
            }
        }
    }

    pub(super) fn advance(&mut self, n: usize) {
        self.len += n;
    }

    fn page_len(&self) -> usize {
        self.n_layers * self.shape.n_kv_heads * 2 * self.shape.head_dim * KV_PAGE
    }
}

fn own_pages<E: KvNumber>(
    pages: &mut Vec<Page<E>>,
    page_len: usize,
    tokens: std::ops::Range<usize>,
) {
    pages.resize_with(tokens.end.div_ceil(KV_PAGE), || Arc::new(vec![E::default(); page_len]));
    for page in &mut pages[tokens.start / KV_PAGE..] {
        Arc::make_mut(page);
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

    fn write<E: KvNumber>(&self, pages: &mut [Page<E>], start: usize, qkv: Qkv<'_>) {
        let hd = self.shape.head_dim;
        let width = self.shape.n_kv_heads * hd;
        let rows = qkv.k.chunks_exact(width).zip(qkv.v.chunks_exact(width));
        for (token, (k, v)) in (start..).zip(rows) {
            let (page, slot) = (&mut pages[token / KV_PAGE], token % KV_PAGE);
            let page = &mut Arc::make_mut(page)[self.at()..][..2 * self.size()];
            let (keys_t, values) = page.split_at_mut(self.size());
            let head = self.head * hd..(self.head + 1) * hd;
            for (d, &x) in k[head.clone()].iter().enumerate() {
                keys_t[d * KV_PAGE + slot] = E::narrow(x);
            }
            for (stored, &x) in values[slot * hd..].iter_mut().zip(&v[head]) {
                *stored = E::narrow(x);
            }
        }
    }

    fn view<'a, E: KvNumber>(&self, pages: &'a [Page<E>]) -> Vec<KvPage<'a, E>> {
        let view = |page: &'a Page<E>| {
            let (keys_t, values) = page[self.at()..][..2 * self.size()].split_at(self.size());
            KvPage { keys_t, values }
        };
        pages.iter().map(view).collect()
    }
}
