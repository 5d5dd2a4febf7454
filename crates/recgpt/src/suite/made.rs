//! What several rows of the table are made of, made once per set: the towers are those of two_tower and
//! of recgpt, and both views of a set read the same epochs of an encoder.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use retrieval::baselines::{Ease, Ials};
use retrieval::{SequenceModel, Towers};
use serde::Serialize;
use types::Interaction;

/// The models of one set so far.
#[derive(Default)]
pub(crate) struct Made {
    pub(super) towers: Shelf<Towers>,
    /// The encoder after each of its epochs.
    pub(super) epochs: Shelf<Vec<SequenceModel>>,
    pub(super) ease: Shelf<Ease>,
    pub(super) ials: Shelf<Ials>,
}

/// Models by their settings and the log that they learned from.
pub(super) struct Shelf<T>(Mutex<HashMap<String, Arc<T>>>);

impl<T> Default for Shelf<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Shelf<T> {
    /// The model of these settings and this log: the one that is there, where it is `enough`, or the one
    /// that `make` gives.
    pub(super) fn get(
        &self,
        settings: &impl Serialize,
        log: &[Interaction],
        enough: impl Fn(&T) -> bool,
        make: impl FnOnce() -> Result<T>,
    ) -> Result<Arc<T>> {
        let key = serde_json::to_string(&(settings, log.as_ptr() as usize, log.len()))?;
        let known = self.lock().get(&key).filter(|model| enough(model)).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let made = Arc::new(make()?);
        self.lock().insert(key, Arc::clone(&made));
        Ok(made)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<T>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner) // a map is whole at any time
    }
}

#[cfg(test)]
mod tests {
    use super::Shelf;

    #[test]
    fn a_model_is_made_once_for_its_settings_and_again_where_it_is_not_enough() {
        let shelf: Shelf<usize> = Shelf::default();
        let mut made = 0;
        let mut get = |settings: &str, least: usize, size: usize| {
            let model = shelf.get(
                &settings,
                &[],
                |model| *model >= least,
                || {
                    made += 1;
                    Ok(size)
                },
            );
            *model.unwrap()
        };
        let got = [get("a", 0, 3), get("a", 0, 5), get("b", 0, 7), get("a", 4, 5), get("a", 4, 9)];
        assert_eq!((got, made), ([3, 3, 7, 5, 5], 3));
    }
}
