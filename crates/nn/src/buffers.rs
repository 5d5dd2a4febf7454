//! Reuse of large buffers between steps: fresh pages from the system cost more than the arithmetic
//! on them.

/// Buffers that wait to be used again.
#[derive(Debug, Default)]
pub struct Buffers {
    free: Vec<Vec<f32>>,
}

impl Buffers {
    /// `len` zeros, in the smallest waiting buffer that holds them, else the largest one, grown.
    #[must_use]
    pub fn zeros(&mut self, len: usize) -> Vec<f32> {
        let mut buffer = self.take(len);
        buffer.resize(len, 0.0);
        buffer
    }

    /// `len` numbers that mean nothing, for whoever writes all of them.
    #[must_use]
    pub fn any(&mut self, len: usize) -> Vec<f32> {
        let mut buffer = self.pick(len);
        buffer.resize(len, 0.0);
        buffer
    }

    /// A copy of `x`.
    #[must_use]
    pub fn copy(&mut self, x: &[f32]) -> Vec<f32> {
        let mut buffer = self.take(x.len());
        buffer.extend_from_slice(x);
        buffer
    }

    /// Keeps a buffer for later.
    pub fn give(&mut self, buffer: Vec<f32>) {
        if buffer.capacity() > 0 {
            self.free.push(buffer);
        }
    }

    /// An empty buffer for `len` numbers.
    fn take(&mut self, len: usize) -> Vec<f32> {
        let mut buffer = self.pick(len);
        buffer.clear();
        buffer
    }

    /// The buffer that fits `len` numbers best, with what was left in it.
    fn pick(&mut self, len: usize) -> Vec<f32> {
        let fits = |b: &Vec<f32>| (b.capacity() < len, b.capacity().abs_diff(len));
        let best = (0..self.free.len()).min_by_key(|&idx| fits(&self.free[idx]));
        best.map(|idx| self.free.swap_remove(idx)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::Buffers;

    #[test]
    fn buffers_come_back_zeroed_and_the_best_fit_is_taken() {
        let mut buffers = Buffers::default();
        let (small, large) = (vec![1.0; 8], vec![1.0; 100]);
        let place = small.as_ptr();
        buffers.give(large);
        buffers.give(small);
        let again = buffers.zeros(6);
        assert_eq!((again.as_ptr(), &again[..]), (place, &[0.0; 6][..]));
        assert_eq!(buffers.copy(&[2.0; 50]).len(), 50);
        assert_eq!(buffers.zeros(3), [0.0; 3]);
        buffers.give(vec![5.0; 200]);
        assert_eq!(buffers.any(150).len(), 150);
    }
}
