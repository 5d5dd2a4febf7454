//! Splits of a log into what may be learned from and what is asked.
//!
//! Ties: interactions of one user at one moment keep the order of the input; a log without an order of
//! its own is sorted by [`Interaction`]'s `Ord` first (user, time, item id, event type).

use types::{Interaction, Timestamp};

use crate::EvalError;

/// Before and after a moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Split {
    /// Strictly before the cut.
    pub train: Vec<Interaction>,
    /// At the cut or after.
    pub test: Vec<Interaction>,
}

/// The last interactions of every user, apart.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LeaveOneOut {
    /// All but the last two of each user.
    pub train: Vec<Interaction>,
    /// The one before the last, one per user.
    pub validation: Vec<Interaction>,
    /// The last, one per user.
    pub test: Vec<Interaction>,
}

/// `train`: timestamp < `cut`; `test`: the others. Both keep the order of the input.
#[must_use]
pub fn by_time(interactions: &[Interaction], cut: Timestamp) -> Split {
    let (train, test) = interactions.iter().partition(|i| i.timestamp < cut);
    Split { train, test }
}

/// Last interaction of each user to test, the one before to validation; a user with fewer than three
/// stays whole in train. Needs the order (user, time).
///
/// # Errors
/// [`EvalError::Unsorted`] when the order is another.
pub fn leave_one_out(interactions: &[Interaction]) -> Result<LeaveOneOut, EvalError> {
    let key = |row: usize| (interactions[row].user, interactions[row].timestamp);
    if let Some(row) = (1..interactions.len()).find(|&row| key(row) < key(row - 1)) {
        return Err(EvalError::Unsorted { row, before: row - 1 });
    }
    let mut split = LeaveOneOut::default();
    for history in interactions.chunk_by(|a, b| a.user == b.user) {
        let Some((&[validation, test], train)) =
            history.split_last_chunk::<2>().map(|(rest, last)| (last, rest))
        else {
            split.train.extend(history);
            continue;
        };
        if train.is_empty() {
            split.train.extend(history);
            continue;
        }
        split.train.extend(train);
        split.validation.push(validation);
        split.test.push(test);
    }
    Ok(split)
}

#[cfg(test)]
mod tests {
    use types::{EventType, Interaction, ItemId, Timestamp, UserId};

    use super::{by_time, leave_one_out};
    use crate::EvalError;

    fn log(rows: &[(u32, i64, u32)]) -> Vec<Interaction> {
        let row = |&(user, at, item): &(u32, i64, u32)| Interaction {
            user: UserId(user),
            timestamp: Timestamp(at),
            item: ItemId(item),
            event_type: EventType::Click,
        };
        rows.iter().map(row).collect()
    }

    fn items(interactions: &[Interaction]) -> Vec<u32> {
        interactions.iter().map(|i| i.item.0).collect()
    }

    #[test]
    fn the_cut_itself_is_held_out() {
        let split = by_time(&log(&[(0, 9, 1), (0, 10, 2), (1, 3, 3), (1, 11, 4)]), Timestamp(10));
        assert_eq!((items(&split.train), items(&split.test)), (vec![1, 3], vec![2, 4]));
    }

    #[test]
    fn the_last_is_test_the_one_before_validation_and_short_users_stay() {
        let rows = log(&[(0, 1, 1), (0, 2, 2), (0, 2, 3), (1, 5, 4), (1, 6, 5), (2, 0, 6)]);
        let split = leave_one_out(&rows).unwrap();
        assert_eq!(items(&split.train), [1, 4, 5, 6]);
        assert_eq!(items(&split.validation), [2]);
        assert_eq!(items(&split.test), [3], "equal times keep the order of the input");
    }

    #[test]
    fn the_wrong_order_is_refused_with_its_row() {
        let got = leave_one_out(&log(&[(0, 1, 1), (1, 1, 2), (0, 2, 3)]));
        assert!(matches!(got, Err(EvalError::Unsorted { row: 2, before: 1 })), "{got:?}");
        assert!(leave_one_out(&[]).unwrap().test.is_empty());
    }
}
