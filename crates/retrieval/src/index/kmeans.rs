//! k-means: the centroids of inverted lists, and which one a vector belongs to.

use rayon::prelude::*;

use crate::chance::Chance;

/// Vectors of one task.
const TASK: usize = 256;

/// Centroids whose products are computed at a time.
const BLOCK: usize = 512;

/// How centroids are found.
#[derive(Debug, Clone, Copy)]
pub(super) struct KMeans {
    pub(super) n: usize,
    /// Most vectors per centroid that are looked at.
    pub(super) sample: usize,
    pub(super) rounds: usize,
    pub(super) seed: u64,
}

impl KMeans {
    /// Centroids `[n, dim]` of `vectors[_, dim]` (Lloyd's rounds from randomly chosen vectors).
    pub(super) fn fit(&self, vectors: &[f32], dim: usize) -> Vec<f32> {
        let sample = self.sample_of(vectors, dim);
        let n = self.n.min(sample.len() / dim);
        let mut centroids = sample[..n * dim].to_vec();
        for round in 0..self.rounds {
            let nearest = assign(&sample, &centroids, dim);
            self.move_centroids(&mut centroids, (&sample, &nearest), dim, round);
        }
        centroids
    }

    fn sample_of(&self, vectors: &[f32], dim: usize) -> Vec<f32> {
        let mut rows: Vec<u32> = (0..(vectors.len() / dim) as u32).collect();
        Chance::new(self.seed, 0x6b6d, 0).shuffle(&mut rows);
        rows.truncate(self.n * self.sample);
        rows.iter().flat_map(|&row| &vectors[row as usize * dim..][..dim]).copied().collect()
    }

    /// Every centroid goes to the mean of its vectors; one without any takes half of a large one's.
    fn move_centroids(
        &self,
        centroids: &mut [f32],
        (sample, nearest): (&[f32], &[u32]),
        dim: usize,
        round: usize,
    ) {
        let n = centroids.len() / dim;
        let mut counts = vec![0usize; n];
        centroids.fill(0.0);
        for (vector, &list) in sample.chunks(dim).zip(nearest) {
            counts[list as usize] += 1;
            nn::axpy(&mut centroids[list as usize * dim..][..dim], 1.0, vector);
        }
        for (centroid, &count) in centroids.chunks_mut(dim).zip(&counts) {
            nn::scale(centroid, 1.0 / count.max(1) as f32);
        }
        let mut chance = Chance::new(self.seed, 0x6b6e, round as u64);
        for empty in 0..n {
            if counts[empty] > 0 {
                continue;
            }
            // drawn by size: the vector drawn belongs to a large list more often than to a small one
            let drawn = chance.below(nearest.len());
            centroids[empty * dim..][..dim].copy_from_slice(&sample[drawn * dim..][..dim]);
            counts[empty] = 1;
        }
    }
}

/// The nearest centroid of each of `vectors[_, dim]` (smallest distance; the first of equal ones).
pub(super) fn assign(vectors: &[f32], centroids: &[f32], dim: usize) -> Vec<u32> {
    let offsets = offsets(centroids, dim);
    vectors
        .par_chunks(TASK * dim)
        .flat_map_iter(|vectors| {
            let n = vectors.len() / dim;
            let mut best = vec![(f32::NEG_INFINITY, 0u32); n];
            let mut scores = vec![0.0; n * BLOCK];
            for (block, centroids) in centroids.chunks(BLOCK * dim).enumerate() {
                let len = centroids.len() / dim;
                let scores = &mut scores[..n * len];
                nn::gemm_nt(scores, vectors, centroids, (n, dim, len), 0.0);
                for (best, scores) in best.iter_mut().zip(scores.chunks(len)) {
                    nearer(best, scores, &offsets[block * BLOCK..][..len], block * BLOCK);
                }
            }
            best.into_iter().map(|(_, list)| list)
        })
        .collect()
}

/// `|c|^2 / 2` of every centroid: the nearest one has the largest `v . c - |c|^2 / 2`.
fn offsets(centroids: &[f32], dim: usize) -> Vec<f32> {
    centroids.chunks(dim).map(|c| nn::dot(c, c) / 2.0).collect()
}

fn nearer(best: &mut (f32, u32), scores: &[f32], offsets: &[f32], first: usize) {
    for (list, (score, offset)) in scores.iter().zip(offsets).enumerate() {
        if score - offset > best.0 {
            *best = (score - offset, (first + list) as u32);
        }
    }
}
