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

use nn::{AdamSettings, Bags, Buffers, ContrastiveRow, SparseAdam, SparseGrad};
use rayon::prelude::*;

use crate::TowerConfig;
use crate::network::{Network, PARAM_ROW, Tower};
use crate::sequences::N_POOLS;

/// Everything that one step reads.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Batch {
    /// Bags over the table: item columns, then history items, then tags, then users.
    pub(crate) lookups: Bags,
    pub(crate) n_cols: usize,
    pub(crate) n_history: usize,
    pub(crate) n_tags: usize,
    pub(crate) n_users: usize,
    /// `N_POOLS` bags per user over the batch's history items.
    pub(crate) pools: Bags,
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
}

/// What is learned: the table `[rows, dim]` and the dense part.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Weights {
    pub(crate) table: Vec<f32>,
    pub(crate) network: Network,
}

impl Weights {
    /// Loss and gradients of a batch.
    pub(crate) fn loss_and_grad(
        &self,
        batch: &Batch,
        buffers: &mut Buffers,
    ) -> (Losses, Gradients) {
        let dim = self.network.dim;
        let sizes = [batch.n_cols, batch.n_history, batch.n_tags, batch.n_users];
        let mut looked_up = buffers.zeros(sizes.iter().sum::<usize>() * dim);
        batch.lookups.sum(&self.table, dim, &mut looked_up);
        let (cols, rest) = looked_up.split_at(batch.n_cols * dim);
        let (history, rest) = rest.split_at(batch.n_history * dim);
        let (tags, users) = rest.split_at(batch.n_tags * dim);

        let mut pooled = buffers.zeros(batch.n_users * N_POOLS * dim);
        batch.pools.sum(history, dim, &mut pooled);
        let user_c = join_rows(users, &pooled, dim, buffers); // [users, 5 dim]
        let mut user_out = self.network.user_base(&user_c, buffers); // [users, dim]
        let user_trace = self.network.forward(Tower::User, &mut user_out, &user_c, buffers);
        let mut tag_out = buffers.copy(tags); // [tags, dim]
        let tag_trace = self.network.forward(Tower::Tag, &mut tag_out, tags, buffers);
        let mut keys = buffers.copy(cols); // [cols, dim]
        let key_trace = self.network.forward(Tower::Item, &mut keys, cols, buffers);

        let mut dense = buffers.zeros(self.network.params.len());
        let outs = (&user_out[..], &tag_out[..], &keys[..]);
        let (losses, [mut d_users, mut d_tags, mut d_keys]) =
            self.contrast(batch, outs, &mut dense, buffers);

        let net = &self.network;
        let trace = (key_trace, &mut *buffers);
        let through = net.backward(Tower::Item, &mut dense, &mut d_keys, (&keys, cols), trace);
        add(&mut d_keys, &through);
        buffers.give(through);
        let trace = (tag_trace, &mut *buffers);
        let through = net.backward(Tower::Tag, &mut dense, &mut d_tags, (&tag_out, tags), trace);
        add(&mut d_tags, &through);
        buffers.give(through);
        let (out_c, trace) = ((&user_out[..], &user_c[..]), (user_trace, &mut *buffers));
        let mut d_c = net.backward(Tower::User, &mut dense, &mut d_users, out_c, trace);
        net.user_base_backward(&mut dense, &mut d_c, &d_users, &user_c);
        split_rows(&d_c, dim, (&mut d_users, &mut pooled));

        let d_history = batch.pools.backward(&pooled, dim, buffers);
        let mut d_looked_up = buffers.zeros(looked_up.len());
        let (d_cols, rest) = d_looked_up.split_at_mut(cols.len());
        d_cols.copy_from_slice(&d_keys);
        let (d_items, rest) = rest.split_at_mut(history.len());
        for (&row, grad) in d_history.rows.iter().zip(d_history.grads.chunks(dim)) {
            d_items[row as usize * dim..][..dim].copy_from_slice(grad);
        }
        rest[..tags.len()].copy_from_slice(&d_tags);
        rest[tags.len()..].copy_from_slice(&d_users);
        let table = batch.lookups.backward(&d_looked_up, dim, buffers);
        for done in [looked_up, pooled, user_c, user_out, tag_out, keys, d_users, d_tags, d_keys] {
            buffers.give(done);
        }
        [d_c, d_history.grads, d_looked_up].into_iter().for_each(|done| buffers.give(done));
        (losses, Gradients { table, dense })
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
        let (l, d_users) = self.side(batch, (users, keys), rows, (dense, &mut d_keys, buffers));
        let rows = [(&batch.tag_rows, &batch.titles), (&batch.cate_rows, &batch.categories)];
        let (m, d_tags) = self.side(batch, (tags, keys), rows, (dense, &mut d_keys, buffers));
        (Losses { col: l[0], tag: m[0], cate: m[1] }, [d_users, d_tags, d_keys])
    }

    /// Two losses (rows and the groups of columns that they exclude) over the logits of one kind of
    /// query; adds to the gradients of the keys and of the scale, returns that of the queries.
    fn side(
        &self,
        batch: &Batch,
        (queries, keys): (&[f32], &[f32]),
        losses: [(&Vec<ContrastiveRow>, &Vec<u32>); 2],
        (dense, d_keys, buffers): (&mut [f32], &mut [f32], &mut Buffers),
    ) -> ([f64; 2], Vec<f32>) {
        let (n_cols, dim, scale) = (batch.n_cols, self.network.dim, self.network.scale());
        let n = queries.len() / dim;
        let mut logits = buffers.zeros(n * n_cols);
        nn::par_gemm_nt(&mut logits, queries, keys, (n, dim, n_cols), 0.0);
        logits.par_iter_mut().with_min_len(1 << 16).for_each(|x| *x *= scale);
        let mut grads = buffers.zeros(n * n_cols);
        let values = losses.map(|(rows, groups)| {
            if rows.is_empty() {
                return 0.0;
            }
            nn::sampled_softmax(&mut grads, &logits, rows, &batch.log_q, groups)
        });
        let along = grads.chunks(n_cols).zip(logits.chunks(n_cols));
        let along: f64 = along.map(|(g, x)| f64::from(nn::dot(g, x))).sum();
        self.network.add_scale_grad(dense, along as f32); // d s / d log_scale = s
        grads.par_iter_mut().with_min_len(1 << 16).for_each(|g| *g *= scale);
        let mut d_queries = buffers.zeros(queries.len());
        nn::par_gemm_nn(&mut d_queries, &grads, keys, (n, n_cols, dim), 0.0);
        nn::par_gemm_tn(d_keys, &grads, queries, (n_cols, n, dim), 1.0);
        buffers.give(logits);
        buffers.give(grads);
        (values, d_queries)
    }
}

/// Adam for both parts of the weights.
pub(crate) struct Optimiser {
    table: SparseAdam,
    dense: SparseAdam,
}

impl Optimiser {
    pub(crate) fn new(weights: &Weights, config: &TowerConfig) -> Self {
        let settings =
            AdamSettings { weight_decay: config.weight_decay, ..AdamSettings::default() };
        let rows = weights.table.len() / config.dim;
        let dense_rows = weights.network.params.len() / PARAM_ROW;
        Self {
            table: SparseAdam::new(rows, config.dim, settings),
            dense: SparseAdam::new(dense_rows, PARAM_ROW, AdamSettings::default()),
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
        let rows = (0..(grads.dense.len() / PARAM_ROW) as u32).collect();
        let dense = SparseGrad { rows, grads: grads.dense };
        self.dense.step(&mut weights.network.params, &dense, rate);
        weights.network.clamp_scale();
        [grads.table.grads, dense.grads]
    }
}

/// `[n, dim]` and `[n, N_POOLS * dim]` side by side.
pub(crate) fn join_rows(
    users: &[f32],
    pooled: &[f32],
    dim: usize,
    buffers: &mut Buffers,
) -> Vec<f32> {
    let mut out = buffers.zeros(users.len() + pooled.len());
    let rows = out.chunks_mut((1 + N_POOLS) * dim).zip(users.chunks(dim));
    for ((out, user), pools) in rows.zip(pooled.chunks(N_POOLS * dim)) {
        out[..dim].copy_from_slice(user);
        out[dim..].copy_from_slice(pools);
    }
    out
}

/// The inverse of [`join_rows`].
fn split_rows(joined: &[f32], dim: usize, (users, pooled): (&mut [f32], &mut [f32])) {
    let rows = joined.chunks((1 + N_POOLS) * dim).zip(users.chunks_mut(dim));
    for ((row, user), pools) in rows.zip(pooled.chunks_mut(N_POOLS * dim)) {
        user.copy_from_slice(&row[..dim]);
        pools.copy_from_slice(&row[dim..]);
    }
}

fn add(out: &mut [f32], x: &[f32]) {
    out.iter_mut().zip(x).for_each(|(o, x)| *o += x);
}

#[cfg(test)]
mod tests {
    use nn::{Bags, Buffers, ContrastiveRow};

    use super::{Batch, Weights};
    use crate::TowerConfig;
    use crate::chance::Chance;
    use crate::network::Network;
    use crate::sequences::N_POOLS;

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
                &[3, 5],
                &[4], // tags
                &[8],
                &[], // users; the second one's id is hidden
            ]),
            n_cols: 3,
            n_history: 2,
            n_tags: 2,
            n_users: 2,
            pools: bags(&[&[0, 1], &[], &[1], &[0], &[1], &[0], &[], &[1, 0]]),
            col_rows: vec![row(0, None, 0.6), row(2, Some(8), 0.4)],
            tag_rows: vec![row(1, Some(9), 0.3), row(2, None, 0.2)],
            cate_rows: vec![row(0, Some(1), 0.1), row(2, Some(2), 0.5)],
            log_q: vec![0.1, -0.3, 0.2],
            titles: vec![8, 9, 9],
            categories: vec![1, 1, 2],
        }
    }

    fn weights() -> Weights {
        let config = TowerConfig {
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
        Weights { table: (0..ROWS * DIM).map(|_| chance.normal()).collect(), network }
    }

    fn loss(weights: &Weights) -> f64 {
        let (losses, _) = weights.loss_and_grad(&batch(), &mut Buffers::default());
        losses.col + losses.tag + losses.cate
    }

    #[test]
    fn gradients_of_all_weights_equal_finite_differences() {
        let weights = weights();
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
        assert!(checked > 250, "{checked}");
    }

    #[test]
    fn reused_buffers_change_nothing() {
        let (weights, mut buffers) = (weights(), Buffers::default());
        let (_, first) = weights.loss_and_grad(&batch(), &mut buffers);
        let (_, again) = weights.loss_and_grad(&batch(), &mut buffers);
        assert_eq!((first.table, first.dense), (again.table, again.dense));
    }
}
