//! The vectors that the index bench searches.

use anyhow::{Context as _, Result};
use rand::{Rng as _, SeedableRng as _};
use rand_pcg::Pcg64Mcg;
use rayon::prelude::*;
use retrieval::{ItemIndex, Towers};
use types::UserId;

use crate::steps::Context;
use crate::steps::shop::Shop;

/// Directions that clusters stretch along, and how many each of them takes.
const DIRECTIONS: usize = 512;
const AXES: usize = 16;

/// Vectors, queries, and where they come from.
pub(super) struct Vectors {
    pub(super) name: String,
    pub(super) dim: usize,
    pub(super) items: Vec<f32>,
    pub(super) queries: Vec<f32>,
}

impl Vectors {
    /// `n` unit vectors in clusters that overlap, and as many queries as asked for.
    ///
    /// One cluster per 200 vectors (100 to 5,000 of them), their sizes by Zipf's law (`1 / (rank + 5)^0.8`).
    /// A cluster's centre is the sum of a parent's (one per root of the number of clusters) and 0.8 of its
    /// own, as kinds of product lie below departments. An item is its centre, plus a normal vector of
    /// length .7 along 16 directions of a common pool (falling weights), plus one of length .35 in all
    /// dimensions. Half of the queries are drawn like items, half are the mean of two such
    /// vectors of neighbouring clusters, as the vectors of users are.
    pub(super) fn clustered(n: usize, dim: usize, n_queries: usize) -> Self {
        let law = Law::new(n, dim);
        let items = law.draw(n, 1);
        let pairs = law.draw_queries(n_queries);
        Self { name: format!("{n} clustered"), dim, items, queries: pairs }
    }

    /// Item vectors of a workspace's index; the queries are vectors of its users.
    pub(super) fn of_workspace(folder: &std::path::Path, n_queries: usize) -> Result<Self> {
        let ctx = Context::open(folder)?;
        let index = ItemIndex::load(&ctx.ws.path("index")).context("run `recgpt index` first")?;
        let towers = Towers::load(&ctx.ws.path("models/towers"))?;
        let log = Shop::load(&ctx)?.log(&ctx.settings)?;
        let histories = log.histories();
        let users: Vec<_> = (0..histories.len())
            .filter(|&row| !histories[row].is_empty())
            .take(n_queries)
            .map(|row| (UserId::from_idx(row), histories[row]))
            .collect();
        let (items, queries) = (index.exact().vectors().to_vec(), towers.user_vectors(&users));
        let name = format!("{} of {}", index.len(), ctx.settings.name);
        Ok(Self { name, dim: index.dim(), items, queries })
    }

    pub(super) fn len(&self) -> usize {
        self.items.len() / self.dim
    }
}

/// How clustered vectors are drawn.
struct Law {
    dim: usize,
    n_parents: usize,
    centres: Vec<f32>,    // [clusters, dim]
    directions: Vec<f32>, // [DIRECTIONS, dim]
    shares: Vec<f64>,     // cumulative
}

impl Law {
    fn new(n: usize, dim: usize) -> Self {
        let n_clusters = (n / 200).clamp(100, 5_000);
        let n_parents = (n_clusters as f64).sqrt() as usize;
        let unit = |key: u64, row: usize| {
            let mut vector = normals(&mut generator(key, row), dim);
            normalise(&mut vector);
            vector
        };
        let centre = |cluster: usize| {
            let own = unit(2, cluster);
            let mut centre = unit(3, cluster % n_parents);
            centre.iter_mut().zip(own).for_each(|(c, o)| *c += 0.8 * o);
            normalise(&mut centre);
            centre
        };
        let mut sum = 0.0;
        let shares = (0..n_clusters).map(|rank| {
            sum += (rank as f64 + 5.0).powf(-0.8);
            sum
        });
        Self {
            dim,
            n_parents,
            shares: shares.collect(),
            centres: (0..n_clusters).flat_map(centre).collect(),
            directions: (0..DIRECTIONS).flat_map(|row| unit(4, row)).collect(),
        }
    }

    fn draw(&self, n: usize, key: u64) -> Vec<f32> {
        let one = |row: usize| {
            let mut rng = generator(key << 8, row);
            self.item(self.cluster(&mut rng), &mut rng)
        };
        (0..n).into_par_iter().flat_map_iter(one).collect()
    }

    fn draw_queries(&self, n: usize) -> Vec<f32> {
        let one = |row: usize| {
            let mut rng = generator(5 << 8, row);
            let cluster = self.cluster(&mut rng);
            let mut query = self.item(cluster, &mut rng);
            if row % 2 == 1 {
                let kin = (cluster + self.n_parents) % self.shares.len();
                let other = self.item(kin, &mut rng);
                query.iter_mut().zip(other).for_each(|(q, o)| *q += o);
                normalise(&mut query);
            }
            query
        };
        (0..n).into_par_iter().flat_map_iter(one).collect()
    }

    fn cluster(&self, rng: &mut Pcg64Mcg) -> usize {
        let total = self.shares.last().copied().unwrap_or(0.0);
        let at = total * unit(rng);
        self.shares.partition_point(|share| *share <= at).min(self.shares.len() - 1)
    }

    fn item(&self, cluster: usize, rng: &mut Pcg64Mcg) -> Vec<f32> {
        let dim = self.dim;
        let mut vector = self.centres[cluster * dim..][..dim].to_vec();
        let mut axes = generator(6, cluster);
        let all: f32 = (0..AXES).map(weight).map(|w| w * w).sum::<f32>().sqrt();
        for (axis, z) in normals(rng, AXES).into_iter().enumerate() {
            let direction = axes.next_u64() as usize % DIRECTIONS;
            nn::axpy(
                &mut vector,
                0.7 * z * weight(axis) / all,
                &self.directions[direction * dim..][..dim],
            );
        }
        nn::axpy(&mut vector, 0.35 / (dim as f32).sqrt(), &normals(rng, dim));
        normalise(&mut vector);
        vector
    }
}

fn weight(axis: usize) -> f32 {
    1.0 / (axis as f32 + 1.0).sqrt()
}

fn generator(key: u64, row: usize) -> Pcg64Mcg {
    Pcg64Mcg::seed_from_u64((key << 40) ^ row as u64)
}

fn unit(rng: &mut Pcg64Mcg) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64
}

/// Standard normal numbers (Box and Muller, both of each pair).
fn normals(rng: &mut Pcg64Mcg, n: usize) -> Vec<f32> {
    let mut numbers = Vec::with_capacity(n + 1);
    while numbers.len() < n {
        let (radius, angle) = (1.0 - unit(rng), std::f64::consts::TAU * unit(rng));
        let radius = (-2.0 * radius.ln()).sqrt();
        numbers.extend([(radius * angle.cos()) as f32, (radius * angle.sin()) as f32]);
    }
    numbers.truncate(n);
    numbers
}

fn normalise(vector: &mut [f32]) {
    let n = vector.len();
    nn::l2_normalise(vector, n);
}
