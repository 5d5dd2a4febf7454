//! Pages of keys and values, and the pool that all caches of an engine draw them from.

use std::sync::{Arc, Mutex, MutexGuard};

use half::f16;
use nn::{AttentionShape, Fp8, KV_PAGE, KvNumber};

use super::DecoderConfig;

/// How a cache stores its numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KvFormat {
    /// Single precision: the logits of training.
    F32,
    /// Half precision.
    F16,
    /// E4M3 with a scale for the keys and one for the values of each token and head.
    Fp8,
}

/// Where pages come from and go back to; bounded.
///
/// A sequence promises the pages it may come to need before it begins, so that no sequence under way
/// ever lacks one.
#[derive(Debug)]
pub struct KvPool {
    format: KvFormat,
    shape: AttentionShape,
    n_layers: usize,
    limit: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Pages that wait to be used again.
    free: Vec<(Numbers, Vec<f32>)>,
    /// Pages in use.
    live: usize,
    /// Pages that sequences under way may still take.
    promised: usize,
}

/// The numbers of [`KV_PAGE`] tokens: for each layer and head keys `[head_dim, KV_PAGE]`, then values
/// `[KV_PAGE, head_dim]`. Goes back to its pool when dropped.
#[derive(Debug)]
pub(crate) struct Page {
    numbers: Numbers,
    /// `[layers, heads, 2, KV_PAGE]` for formats with scales, else empty.
    pub(super) scales: Vec<f32>,
    pool: Arc<KvPool>,
}

#[derive(Debug)]
enum Numbers {
    F32(Vec<f32>),
    F16(Vec<f16>),
    Fp8(Vec<Fp8>),
}

impl KvPool {
    /// A pool of as many pages as fit in `limit` bytes, at least one.
    pub fn new(config: &DecoderConfig, format: KvFormat, limit: usize) -> Arc<Self> {
        let (shape, n_layers) = (config.attention(), config.num_hidden_layers);
        let mut pool = Self { format, shape, n_layers, limit: 0, state: Mutex::default() };
        pool.limit = (limit / pool.page_bytes()).max(1);
        Arc::new(pool)
    }

    /// The format of its pages.
    pub fn format(&self) -> KvFormat {
        self.format
    }

    /// Pages that it may give out.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Pages in use now.
    pub fn live(&self) -> usize {
        self.state().live
    }

    /// Pages that sequences under way may still take.
    pub fn promised(&self) -> usize {
        self.state().promised
    }

    /// Bytes of a page.
    pub fn page_bytes(&self) -> usize {
        let size = match self.format {
            KvFormat::F32 => 4,
            KvFormat::F16 => 2,
            KvFormat::Fp8 => 1,
        };
        self.n_numbers() * size + self.n_scales() * size_of::<f32>()
    }

    /// Bytes that a token takes.
    pub fn token_bytes(&self) -> usize {
        self.page_bytes() / KV_PAGE
    }

    /// Sets `n` pages aside; false if there are not as many.
    pub(crate) fn promise(&self, n: usize) -> bool {
        let mut state = self.state();
        let fits = state.live + state.promised + n <= self.limit;
        state.promised += if fits { n } else { 0 };
        fits
    }

    /// Sets `n` pages aside that are given back right after.
    pub(super) fn promise_again(&self, n: usize) {
        self.state().promised += n;
    }

    /// Gives a promise of `n` pages back.
    pub(crate) fn release(&self, n: usize) {
        self.state().promised -= n;
    }

    /// A page; `promised` says that it was set aside before.
    pub(super) fn take(self: &Arc<Self>, promised: bool) -> Page {
        let mut state = self.state();
        state.live += 1;
        state.promised -= usize::from(promised);
        let (numbers, scales) = state.free.pop().unwrap_or_else(|| {
            let n = self.n_numbers();
            let numbers = match self.format {
                KvFormat::F32 => Numbers::F32(vec![0.0; n]),
                KvFormat::F16 => Numbers::F16(vec![f16::ZERO; n]),
                KvFormat::Fp8 => Numbers::Fp8(vec![Fp8::default(); n]),
            };
            (numbers, vec![0.0; self.n_scales()])
        });
        Page { numbers, scales, pool: Arc::clone(self) }
    }

    pub(super) fn shape(&self) -> AttentionShape {
        self.shape
    }

    fn n_numbers(&self) -> usize {
        self.n_layers * self.shape.n_kv_heads * 2 * self.shape.head_dim * KV_PAGE
    }

    fn n_scales(&self) -> usize {
        match self.format {
            KvFormat::Fp8 => self.n_layers * self.shape.n_kv_heads * 2 * KV_PAGE,
            KvFormat::F32 | KvFormat::F16 => 0,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic happens under this lock")
    }
}

impl Clone for Page {
    fn clone(&self) -> Self {
        let mut copy = self.pool.take(false);
        match (&mut copy.numbers, &self.numbers) {
            (Numbers::F32(to), Numbers::F32(from)) => to.copy_from_slice(from),
            (Numbers::F16(to), Numbers::F16(from)) => to.copy_from_slice(from),
            (Numbers::Fp8(to), Numbers::Fp8(from)) => to.copy_from_slice(from),
            (Numbers::F32(_) | Numbers::F16(_) | Numbers::Fp8(_), _) => {
                unreachable!("a pool has pages of one format")
            }
        }
        copy.scales.copy_from_slice(&self.scales);
        copy
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        let numbers = std::mem::replace(&mut self.numbers, Numbers::F32(Vec::new()));
        let scales = std::mem::take(&mut self.scales);
        let mut state = self.pool.state();
        state.live -= 1;
        state.free.push((numbers, scales));
    }
}

/// Numbers that a page can hold.
pub(super) trait Stored: KvNumber {
    /// The numbers of a page of this format.
    fn of(page: &Page) -> &[Self];

    /// As [`Self::of`], to be written.
    fn of_mut(page: &mut Page) -> (&mut [Self], &mut [f32]);
}

macro_rules! stored {
    ($number:ty, $variant:ident) => {
        impl Stored for $number {
            fn of(page: &Page) -> &[Self] {
                match &page.numbers {
                    Numbers::$variant(numbers) => numbers,
                    _ => unreachable!("a pool has pages of one format"),
                }
            }

            fn of_mut(page: &mut Page) -> (&mut [Self], &mut [f32]) {
                match &mut page.numbers {
                    Numbers::$variant(numbers) => (numbers, &mut page.scales),
                    _ => unreachable!("a pool has pages of one format"),
                }
            }
        }
    };
}

stored!(f32, F32);
stored!(f16, F16);
stored!(Fp8, Fp8);
