//! One training step: loss and gradients of a batch.
//!
//! `L = L_col + w (alpha L_tag + (1 - alpha) L_cate)`, each a mean over its rows of the sampled
//! softmax of [`nn::sampled_softmax`] over the batch's item columns:
//!
//! ```text
//! L_col :  (u, v)   user to the item taken;              all columns
//! L_tag :  (t, v)   tag to its item;                     all columns but items of the same title
//! L_cate:  (t, v+)  tag to an item of v's category;      columns of other categories
//! ```
//!
//! Where tags may not move items, the last two send gradients into the tag tower alone: `h_v`, the words
//! and the temperature stand still for them.
//!
//! The logit of a user with several interests is what serving scores, `max_k h_uk . h_v`: the gradient of
//! each column goes to the interest that is nearest to it, so that the item taken teaches one of them.

use nn::{AdamSettings, Bags, Buffers, ContrastiveRow, SparseAdam, SparseGrad};
use rayon::prelude::*;

use crate::TowerConfig;
use crate::network::{Network, PARAM_ROW, Tower, Trace};
use crate::sequences::{N_POOLS, Token};
use crate::user_encoder::{Attention, Encoded};

/// Everything that one step reads.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Batch {
    /// Bags over the table: item columns, then history items, then users, then tags.
    pub(crate) lookups: Bags,
    pub(crate) n_cols: usize,
    pub(crate) n_history: usize,
    pub(crate) n_users: usize,
    pub(crate) n_tags: usize,
    /// Whether the losses of tags reach items and words.
    pub(crate) tags_move_items: bool,
    /// `N_POOLS` bags per user over the batch's history items.
    pub(crate) pools: Bags,
    /// Per user: what attention reads, items as rows of the batch's history items.
    pub(crate) tokens: Vec<Vec<Token>>,
    /// Number of the step; dropout draws by it.
    pub(crate) step: u64,
    /// One per user.
    pub(crate) col_rows: Vec<ContrastiveRow>,
    /// One per tag.
    pub(crate) tag_rows: Vec<ContrastiveRow>,
    /// One per tag where categories are known, else empty.
    pub(crate) cate_rows: Vec<ContrastiveRow>,
    /// Per column.
    pub(crate) log_q: Vec<f32>,
    /// Per column: items of one title share a number.
    pub(crate) titles: Vec<u32>,
    /// Per column: leaf category.
    pub(crate) categories: Vec<u32>,
}

/// Weighted parts of the loss.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Losses {
    pub(crate) col: f64,
    pub(crate) tag: f64,
    pub(crate) cate: f64,
}

/// Gradients of one step.
pub(crate) struct Gradients {
    pub(crate) table: SparseGrad,
    pub(crate) dense: Vec<f32>,
    pub(crate) attention: Vec<f32>, // empty for pools alone
}

/// What is learned: the table `[rows, dim]`, the dense part, and attention where there is some.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Weights {
    pub(crate) table: Vec<f32>,
    pub(crate) network: Network,
    pub(crate) attention: Option<Attention>,
}

/// What the user tower reads of `n` users.
#[derive(Clone, Copy)]
pub(crate) struct UserInput<'a> {
    /// Rows of the users, `[n, dim]`.
    pub(crate) ids: &'a [f32],
    /// `[n, N_POOLS * dim]`.
    pub(crate) pooled: &'a [f32],
    /// History items, `[items, dim]`.
    pub(crate) history: &'a [f32],
    /// Per user, items as rows of `history`.
    pub(crate) tokens: &'a [Vec<Token>],
    /// For dropout; none outside of training.
    pub(crate) step: Option<u64>,
}

/// User vectors, one per interest, and what the backward pass needs.
pub(crate) struct Users {
    pub(crate) out: Vec<f32>, // [users * interests, dim]
    pub(crate) c: Vec<f32>,   // [users * interests, user_width]
    trace: Trace,
    encoded: Option<Encoded>,
}

impl Weights {
    /// Vectors per user.
    pub(crate) fn n_interests(&self) -> usize {
        self.attention.as_ref().map_or(1, Attention::n_states)
    }

    /// The user tower.
    pub(crate) fn users(&self, input: &UserInput<'_>, buffers: &mut Buffers) -> Users {
        let encoded = self
            .attention
            .as_ref()
            .map(|attention| attention.forward(input.history, input.tokens, input.step));
        let (states, encoded) = encoded.unzip();
        let n = self.n_interests();
        let parts = (input.ids, input.pooled, states.as_deref().unwrap_or_default());
        let c = join_rows(parts, (n, self.network.dim), buffers);
        let mut out = self.network.user_base(&c, buffers);
        let trace = self.network.forward(Tower::User, &mut out, &c, buffers);
        Users { out, c, trace, encoded }
    }

    /// Gradient of [`Weights::users`]: adds to `dense` and `d_history`, gives those of ids, pools and
    /// attention.
    fn users_backward(
        &self,
        users: Users,
        mut d_out: Vec<f32>,
        (dense, d_history, buffers): (&mut [f32], &mut [f32], &mut Buffers),
    ) -> [Vec<f32>; 3] {
        let (net, n, dim) = (&self.network, self.n_interests(), self.network.dim);
        let Users { out, c, trace, encoded } = users;
        let mut d_c = net.backward(Tower::User, dense, &mut d_out, (&out, &c), (trace, buffers));
        net.user_base_backward(dense, &mut d_c, &d_out, &c);
        let n_users = c.len() / net.user_width() / n;
        let mut d_ids = buffers.zeros(n_users * dim);
        let mut d_pooled = buffers.zeros(n_users * N_POOLS * dim);
        let d_states = split_rows(&d_c, (n, net.user_width(), dim), (&mut d_ids, &mut d_pooled));
        [out, c, d_c, d_out].into_iter().for_each(|done| buffers.give(done));
        let through = self.attention.as_ref().zip(encoded);
        let attention = through.map(|(a, encoded)| a.backward(&encoded, &d_states, d_history));
        [d_ids, d_pooled, attention.unwrap_or_default()]
    }

    /// Loss and gradients of a batch.
    pub(crate) fn loss_and_grad(
        &self,
        batch: &Batch,
        buffers: &mut Buffers,
    ) -> (Losses, Gradients) {
        let (net, dim) = (&self.network, self.network.dim);
        let sizes = [batch.n_cols, batch.n_history, batch.n_users, batch.n_tags];
        let mut looked_up = buffers.any(sizes.iter().sum::<usize>() * dim);
        batch.lookups.sum(&self.table, dim, &mut looked_up);
        let (cols, rest) = looked_up.split_at(batch.n_cols * dim);
        let (history, rest) = rest.split_at(batch.n_history * dim);
        let (ids, tags) = rest.split_at(batch.n_users * dim);

        let mut pooled = buffers.any(batch.n_users * N_POOLS * dim);
        batch.pools.sum(history, dim, &mut pooled);
        let (tokens, step) = (&batch.tokens[..], Some(batch.step));
        let users = self.users(&UserInput { ids, pooled: &pooled, history, tokens, step }, buffers);
        let mut tag_out = buffers.copy(tags); // [tags, dim]
        let tag_trace = net.forward(Tower::Tag, &mut tag_out, tags, buffers);
        let mut keys = buffers.copy(cols); // [cols, dim]
        let key_trace = net.forward(Tower::Item, &mut keys, cols, buffers);

        let mut dense = buffers.zeros(net.params.len());
        let outs = (&users.out[..], &tag_out[..], &keys[..]);
        let (losses, [d_users, mut d_tags, mut d_keys]) =
            self.contrast(batch, outs, &mut dense, buffers);

        let trace = (key_trace, &mut *buffers);
        let through = net.backward(Tower::Item, &mut dense, &mut d_keys, (&keys, cols), trace);
        add(&mut d_keys, &through);
        buffers.give(through);
        let trace = (tag_trace, &mut *buffers);
        let through = net.backward(Tower::Tag, &mut dense, &mut d_tags, (&tag_out, tags), trace);
        add(&mut d_tags, &through);
        buffers.give(through);

        let mut d_looked_up = buffers.any(looked_up.len());
        let (d_cols, rest) = d_looked_up.split_at_mut(cols.len());
        d_cols.copy_from_slice(&d_keys);
        let (d_items, rest) = rest.split_at_mut(history.len());
        d_items.par_chunks_mut(1 << 16).for_each(|d| d.fill(0.0));
        let into = (&mut dense[..], &mut *d_items, &mut *buffers);
        let [d_ids, d_pooled, attention] = self.users_backward(users, d_users, into);
        batch.pools.backward_into(&d_pooled, dim, d_items);
        rest[..ids.len()].copy_from_slice(&d_ids);
        rest[ids.len()..].copy_from_slice(&d_tags);
        let still = if batch.tags_move_items { 0 } else { tags.len() };
        let moved = &d_looked_up[..d_looked_up.len() - still];
        let table = batch.lookups.backward(moved, dim, buffers);
        for done in [looked_up, pooled, tag_out, keys, d_ids, d_pooled, d_tags, d_keys] {
            buffers.give(done);
        }
        buffers.give(d_looked_up);
        (losses, Gradients { table, dense, attention })
    }

    /// The losses, and their gradients with respect to the vectors of users, tags and items.
    fn contrast(
        &self,
        batch: &Batch,
        (users, tags, keys): (&[f32], &[f32], &[f32]),
        dense: &mut [f32],
        buffers: &mut Buffers,
    ) -> (Losses, [Vec<f32>; 3]) {
        let mut d_keys = buffers.zeros(keys.len());
        let rows = [(&batch.col_rows, &batch.titles), (&Vec::new(), &batch.titles)];
        let users = (users, self.n_interests());
        let into = Some((&mut *dense, &mut d_keys[..]));
        let (l, d_users) = self.side(batch, (users, keys), rows, (into, buffers));
        let rows = [(&batch.tag_rows, &batch.titles), (&batch.cate_rows, &batch.categories)];
        let into = batch.tags_move_items.then_some((dense, &mut d_keys[..]));
        let (m, d_tags) = self.side(batch, ((tags, 1), keys), rows, (into, buffers));
        (Losses { col: l[0], tag: m[0], cate: m[1] }, [d_users, d_tags, d_keys])
    }

    /// Two losses (rows and the groups of columns that they exclude) over the logits of one kind of
    /// query, the best of each `interests` rows of `queries`; adds to the gradients of the scale and of
    /// the keys where these are given, returns that of the queries.
    fn side(
        &self,
        batch: &Batch,
        ((queries, interests), keys): ((&[f32], usize), &[f32]),
        losses: [(&Vec<ContrastiveRow>, &Vec<u32>); 2],
        (into, buffers): (Option<KeyGrads<'_>>, &mut Buffers),
    ) -> ([f64; 2], Vec<f32>) {
        let (n_cols, dim, scale) = (batch.n_cols, self.network.dim, self.network.scale());
        let n = queries.len() / dim;
        let mut queries = buffers.copy(queries);
        nn::scale(&mut queries, scale);
        let mut logits = buffers.any(n * n_cols);
        nn::par_gemm_nt(&mut logits, &queries, keys, (n, dim, n_cols), 0.0);
        let chosen = best_rows(&mut logits, interests, n_cols);
        let mut grads = buffers.zeros(logits.len());
        let values = losses.map(|(rows, groups)| {
            if rows.is_empty() {
                return 0.0;
            }
            nn::sampled_softmax(&mut grads, &logits, rows, &batch.log_q, groups)
        });
        let along = grads.chunks(n_cols).zip(logits.chunks(n_cols));
        let along: f64 = along.map(|(g, x)| f64::from(nn::dot(g, x))).sum();
        spread_rows(&mut grads, &chosen, interests, n_cols);
        let mut d_queries = buffers.any(queries.len());
        nn::par_gemm_nn(&mut d_queries, &grads, keys, (n, n_cols, dim), 0.0);
        nn::scale(&mut d_queries, scale);
        if let Some((dense, d_keys)) = into {
            self.network.add_scale_grad(dense, along as f32); // d s / d log_scale = s
            nn::par_gemm_tn(d_keys, &grads, &queries, (n_cols, n, dim), 1.0);
        }
        [logits, grads, queries].into_iter().for_each(|done| buffers.give(done));
        (values, d_queries)
    }
}

/// Gradients of the dense part, and of the keys.
type KeyGrads<'a> = (&'a mut [f32], &'a mut [f32]);

/// Leaves the largest of every `group` rows, column by column, and says which row it was of.
fn best_rows(logits: &mut Vec<f32>, group: usize, n_cols: usize) -> Vec<u32> {
    if group == 1 {
        return Vec::new();
    }
    let mut chosen = vec![0; logits.len() / group];
    let rows = logits.par_chunks_mut(group * n_cols).zip(chosen.par_chunks_mut(n_cols));
    rows.for_each(|(logits, chosen)| {
        let (best, others) = logits.split_at_mut(n_cols);
        for (row, other) in (1..).zip(others.chunks(n_cols)) {
            for ((best, chosen), &x) in best.iter_mut().zip(chosen.iter_mut()).zip(other) {
                if x > *best {
                    (*best, *chosen) = (x, row);
                }
            }
        }
    });
    for row in 1..logits.len() / (group * n_cols) {
        logits.copy_within(row * group * n_cols..(row * group + 1) * n_cols, row * n_cols);
    }
    logits.truncate(chosen.len());
    chosen
}

/// Gradient of [`best_rows`]: each number goes back to the row that it came from.
fn spread_rows(grads: &mut Vec<f32>, chosen: &[u32], group: usize, n_cols: usize) {
    if group == 1 {
        return;
    }
    let best = std::mem::replace(grads, vec![0.0; grads.len() * group]);
    let rows = grads.par_chunks_mut(group * n_cols).zip(best.par_chunks(n_cols));
    rows.zip(chosen.par_chunks(n_cols)).for_each(|((grads, best), chosen)| {
        for (column, (&grad, &row)) in best.iter().zip(chosen).enumerate() {
            grads[row as usize * n_cols + column] = grad;
        }
    });
}

/// Adam for both parts of the weights.
pub(crate) struct Optimiser {
    table: SparseAdam,
    dense: SparseAdam,
    attention: Option<SparseAdam>,
}

impl Optimiser {
    pub(crate) fn new(weights: &Weights, config: &TowerConfig) -> Self {
        let settings =
            AdamSettings { weight_decay: config.weight_decay, ..AdamSettings::default() };
        let rows = weights.table.len() / config.dim;
        let whole = |params: &[f32]| {
            SparseAdam::new(params.len() / PARAM_ROW, PARAM_ROW, AdamSettings::default())
        };
        Self {
            table: SparseAdam::new(rows, config.dim, settings),
            dense: whole(&weights.network.params),
            attention: weights.attention.as_ref().map(|attention| whole(attention.params())),
        }
    }

    /// Moves the touched rows and the whole dense part; returns the gradients' buffers.
    pub(crate) fn step(
        &mut self,
        weights: &mut Weights,
        grads: Gradients,
        rate: f32,
    ) -> [Vec<f32>; 2] {
        self.table.step(&mut weights.table, &grads.table, rate);
        let whole = |grads: Vec<f32>| SparseGrad {
            rows: (0..(grads.len() / PARAM_ROW) as u32).collect(),
            grads,
        };
        let dense = whole(grads.dense);
        self.dense.step(&mut weights.network.params, &dense, rate);
        if let Some((attention, adam)) = weights.attention.as_mut().zip(self.attention.as_mut()) {
            adam.step(attention.params_mut(), &whole(grads.attention), rate);
        }
        weights.network.clamp_scale();
        [grads.table.grads, dense.grads]
    }
}

/// `c` of every user and interest, `[users * n, user_width]`: id `[users, dim]`, pools
/// `[users, N_POOLS * dim]` and, where there are some, the interest's state `[users * n, dim]`.
fn join_rows(
    (ids, pooled, states): (&[f32], &[f32], &[f32]),
    (n, dim): (usize, usize),
    buffers: &mut Buffers,
) -> Vec<f32> {
    let width = (1 + N_POOLS + usize::from(!states.is_empty())) * dim;
    let mut out = buffers.any(ids.len() / dim * n * width);
    for (row, out) in out.chunks_mut(width).enumerate() {
        let user = row / n;
        let (own, state) = out.split_at_mut((1 + N_POOLS) * dim);
        own[..dim].copy_from_slice(&ids[user * dim..][..dim]);
        own[dim..].copy_from_slice(&pooled[user * N_POOLS * dim..][..N_POOLS * dim]);
        if !state.is_empty() {
            state.copy_from_slice(&states[row * dim..][..dim]);
        }
    }
    out
}

/// Gradient of [`join_rows`]: adds to ids and pools, returns that of the states.
fn split_rows(
    joined: &[f32],
    (n, width, dim): (usize, usize, usize),
    (ids, pooled): (&mut [f32], &mut [f32]),
) -> Vec<f32> {
    let mut states = Vec::new();
    for (row, joined) in joined.chunks(width).enumerate() {
        let user = row / n;
        let (own, state) = joined.split_at((1 + N_POOLS) * dim);
        add(&mut ids[user * dim..][..dim], &own[..dim]);
        add(&mut pooled[user * N_POOLS * dim..][..N_POOLS * dim], &own[dim..]);
        states.extend_from_slice(state);
    }
    states
}

fn add(out: &mut [f32], x: &[f32]) {
    out.iter_mut().zip(x).for_each(|(o, x)| *o += x);
}

#[cfg(test)]
mod tests {
    use nn::{Bags, Buffers, ContrastiveRow};

    use super::{Batch, Weights};
    use crate::chance::Chance;
    use crate::network::Network;
    use crate::sequences::N_POOLS;
    use crate::user_encoder::Attention;
    use crate::{TowerConfig, UserEncoder};

    const DIM: usize = 4;
    const ROWS: usize = 14;

    fn bags(lists: &[&[u32]]) -> Bags {
        let mut bags = Bags::default();
        for (bag, list) in lists.iter().enumerate() {
            list.iter().for_each(|&row| bags.push(row, 0.5 + 0.1 * (bag as f32 + row as f32)));
            bags.close();
        }
        bags
    }

    /// Three columns, two history items, two tags, two users; rows shared between them.
    fn batch() -> Batch {
        let row =
            |target, excluded_group, weight| ContrastiveRow { target, excluded_group, weight };
        Batch {
            lookups: bags(&[
                &[0, 3, 4],
                &[1, 3],
                &[2, 4, 5], // columns
                &[6, 3],
                &[7, 4], // history items
                &[8],
                &[], // users; the second one's id is hidden
                &[3, 5],
                &[4], // tags
            ]),
            n_cols: 3,
            n_history: 2,
            n_users: 2,
            n_tags: 2,
            tags_move_items: true,
            pools: bags(&[&[0, 1], &[], &[1], &[0], &[1], &[0], &[], &[1, 0]]),
            tokens: vec![vec![(1, 0), (0, 2), (1, 0)], vec![(0, 1), (1, 1)]],
            step: 0,
            col_rows: vec![row(0, None, 0.6), row(2, Some(8), 0.4)],
            tag_rows: vec![row(1, Some(9), 0.3), row(2, None, 0.2)],
            cate_rows: vec![row(0, Some(1), 0.1), row(2, Some(2), 0.5)],
            log_q: vec![0.1, -0.3, 0.2],
            titles: vec![8, 9, 9],
            categories: vec![1, 1, 2],
        }
    }

    fn weights(user_encoder: UserEncoder) -> Weights {
        let config = TowerConfig {
            user_encoder,
            interests: 3,
            attention_len: 5,
            attention_dropout: 0.0,
            dim: DIM,
            user_hidden: 6,
            item_hidden: 5,
            tag_hidden: 3,
            temperature: 0.5,
            ..TowerConfig::default()
        };
        let mut chance = Chance::new(1, 2, 3);
        let mut network = Network::init(&config);
        network.params.iter_mut().for_each(|p| *p += 0.3 * chance.normal());
        let mut attention = Attention::init(&config);
        if let Some(attention) = &mut attention {
            attention.params_mut().iter_mut().for_each(|p| *p += 0.3 * chance.normal());
        }
        Weights { table: (0..ROWS * DIM).map(|_| chance.normal()).collect(), network, attention }
    }

    fn loss(weights: &Weights) -> f64 {
        let (losses, _) = weights.loss_and_grad(&batch(), &mut Buffers::default());
        losses.col + losses.tag + losses.cate
    }

    /// Every gradient against central differences; returns how many there are.
    fn check_gradients(user_encoder: UserEncoder) -> usize {
        let weights = weights(user_encoder);
        assert_eq!(N_POOLS, 4);
        let (_, grads) = weights.loss_and_grad(&batch(), &mut Buffers::default());
        assert_eq!(grads.table.rows, [0, 1, 2, 3, 4, 5, 6, 7, 8], "untouched rows have none");
        let mut checked = 0;
        let mut check = |name: &str, got: f32, moved: &dyn Fn(f32) -> Weights| {
            let want = (loss(&moved(1e-3)) - loss(&moved(-1e-3))) / 2e-3;
            assert!((f64::from(got) - want).abs() < 2e-3, "{name}: {got} is not {want}");
            checked += 1;
        };
        for (place, &row) in grads.table.rows.iter().enumerate() {
            for k in 0..DIM {
                check(&format!("row {row}, {k}"), grads.table.grads[place * DIM + k], &|step| {
                    let mut weights = weights.clone();
                    weights.table[row as usize * DIM + k] += step;
                    weights
                });
            }
        }
        for (name, _, range) in weights.network.tensors() {
            for idx in range {
                check(&format!("{name}[{idx}]"), grads.dense[idx], &|step| {
                    let mut weights = weights.clone();
                    weights.network.params[idx] += step;
                    weights
                });
            }
        }
        for (name, _, range) in weights.attention.iter().flat_map(Attention::tensors) {
            for idx in range {
                check(&format!("{name}[{idx}]"), grads.attention[idx], &|step| {
                    let mut weights = weights.clone();
                    weights.attention.as_mut().expect("it has tensors").params_mut()[idx] += step;
                    weights
                });
            }
        }
        checked
    }

    #[test]
    fn gradients_of_all_weights_equal_finite_differences() {
        let checked = [UserEncoder::Pooled, UserEncoder::Attention, UserEncoder::MultiInterest]
            .map(check_gradients);
        assert!(checked[0] > 250 && checked[1] > checked[0] && checked[2] > checked[1]);
    }

    #[test]
    fn tags_that_may_not_move_items_teach_the_tag_tower_alone() {
        let weights = weights(UserEncoder::Pooled);
        let grads = |batch: &Batch| weights.loss_and_grad(batch, &mut Buffers::default()).1;
        let tagless = Batch { tag_rows: vec![], cate_rows: vec![], ..batch() };
        let (still, moving) = (Batch { tags_move_items: false, ..batch() }, batch());
        let (still, moving, tagless) = (grads(&still), grads(&moving), grads(&tagless));
        let rows = |grads: &super::Gradients| -> Vec<(u32, Vec<f32>)> {
            let values = grads.table.grads.chunks(DIM).map(<[f32]>::to_vec);
            grads.table.rows.iter().copied().zip(values).collect()
        };
        assert_eq!(rows(&still), rows(&tagless));
        assert_ne!(rows(&moving), rows(&tagless));
        for (name, _, range) in weights.network.tensors() {
            let like = if name.starts_with("tag.") { &moving } else { &tagless };
            assert_eq!(still.dense[range.clone()], like.dense[range], "{name}");
        }
    }

    #[test]
    fn reused_buffers_change_nothing() {
        let (weights, mut buffers) = (weights(UserEncoder::MultiInterest), Buffers::default());
        let (_, first) = weights.loss_and_grad(&batch(), &mut buffers);
        let (_, again) = weights.loss_and_grad(&batch(), &mut buffers);
        assert_eq!(
            (first.table, first.dense, first.attention),
            (again.table, again.dense, again.attention)
        );
    }
}
