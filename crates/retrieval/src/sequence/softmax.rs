//! Cross-entropy of encodings over item vectors, in blocks of rows that stay in the cache.

/// Rows whose logits exist at a time.
const ROWS: usize = 64;

/// Encodings with the column that each should choose.
pub(super) struct Rows<'a> {
    /// `[n, dim]`.
    pub(super) encodings: &'a [f32],
    /// Column per row.
    pub(super) targets: &'a [u32],
    /// Weight of each row in the loss.
    pub(super) weight: f32,
}

/// Loss of the rows over `columns[n_columns, dim]`, logits lowered by `log_q` (empty for none); adds to
/// `d_columns`, returns the gradient of the encodings.
pub(super) fn softmax_loss(
    rows: &Rows<'_>,
    (columns, log_q, dim): (&[f32], &[f32], usize),
    d_columns: &mut [f32],
) -> (f64, Vec<f32>) {
    let n_columns = columns.len() / dim;
    let mut d_rows = vec![0.0; rows.encodings.len()];
    let mut logits = vec![0.0; ROWS.min(rows.targets.len()) * n_columns];
    let mut loss = 0.0;
    let blocks = rows.encodings.chunks(ROWS * dim).zip(rows.targets.chunks(ROWS));
    for ((encodings, targets), d_rows) in blocks.zip(d_rows.chunks_mut(ROWS * dim)) {
        let n = targets.len();
        let logits = &mut logits[..n * n_columns];
        nn::gemm_nt(logits, encodings, columns, (n, dim, n_columns), 0.0);
        if !log_q.is_empty() {
            for row in logits.chunks_mut(n_columns) {
                row.iter_mut().zip(log_q).for_each(|(x, q)| *x -= q);
            }
        }
        loss += nn::cross_entropy(logits, targets, &vec![rows.weight; n]).loss;
        nn::gemm_nn(d_rows, logits, columns, (n, n_columns, dim), 0.0);
        nn::gemm_tn(d_columns, logits, encodings, (n_columns, n, dim), 1.0);
    }
    (loss, d_rows)
}
