//! Times products of packed weights against plain matrix products: `cargo bench -p nn --bench packed`.
//! Not part of the tests: figures depend on the machine.
#![allow(clippy::print_stdout, reason = "the result of a bench")]

use std::time::Instant;

use nn::{PackedMatrix, WeightFormat, gemm_rowwise};

fn main() {
    for (n_in, n_out) in [(256, 256), (512, 256), (256, 4096), (1024, 3072)] {
        let w: Vec<f32> = (0..n_in * n_out).map(|i| (i as f32 * 0.37).sin()).collect();
        for rows in [1, 4, 8, 16, 256] {
            let x: Vec<f32> = (0..rows * n_in).map(|i| (i as f32 * 0.7).cos()).collect();
            let mut out = vec![0.0; rows * n_out];
            let plain = median(|| gemm_rowwise(&mut out, &x, &w, (rows, n_in, n_out), 0.0));
            print!("{n_in:>5} x {n_out:<5} {rows:>4} rows: gemm {plain:>8.1} us");
            for format in [WeightFormat::Bf16, WeightFormat::Fp8] {
                let packed = PackedMatrix::new(&w, (n_out, n_in), format);
                let us = median(|| packed.product(&x, &mut out, false, false));
                let rate = (rows * n_in * n_out) as f64 / us / 1e3;
                print!("  {format:?} {us:>8.1} us ({rate:>5.1} GMAC/s)");
            }
            println!();
        }
    }
}

fn median(mut run: impl FnMut()) -> f64 {
    let mut times: Vec<f64> = (0..41)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
