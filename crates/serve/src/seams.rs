//! The seams of serving: what encodes users, tags and items, and what writes reasons.

use intent::ReasonInput;
use types::{Interaction, Item, UserId};

/// Encodes users, tags and new items into the space of the index.
pub trait Encoder: Send + Sync {
    /// The user's vector, `[dim]`; `history` is the user's own, in time order.
    fn user_vector(&self, user: UserId, history: &[Interaction]) -> Vec<f32>;

    /// The tag's vector, `[dim]`.
    fn tag_vector(&self, tag: &str) -> Vec<f32>;

    /// The vector of an item by what is said of it, `[dim]`.
    fn item_vector(&self, item: &Item) -> Vec<f32>;

    /// From now on histories may hold this item, whose number is the next one of the catalogue.
    fn push_item(&mut self, item: &Item);
}

/// Writes one-line reasons.
pub trait Reasoner: Send + Sync {
    /// One reason per input, in order; `None` (or a missing entry) where it has none to give, and a
    /// template answers.
    fn reasons(&self, inputs: &[ReasonInput<'_>]) -> Vec<Option<String>>;
}

/// A closure that writes one reason at a time.
pub struct ReasonFn<F>(pub F);

impl<F> Reasoner for ReasonFn<F>
where
    F: Fn(&ReasonInput<'_>) -> Option<String> + Send + Sync,
{
    fn reasons(&self, inputs: &[ReasonInput<'_>]) -> Vec<Option<String>> {
        inputs.iter().map(&self.0).collect()
    }
}

impl Encoder for retrieval::Towers {
    fn user_vector(&self, user: UserId, history: &[Interaction]) -> Vec<f32> {
        self.user_vector(user, history)
    }

    fn tag_vector(&self, tag: &str) -> Vec<f32> {
        self.tag_vector(tag)
    }

    fn item_vector(&self, item: &Item) -> Vec<f32> {
        self.encode_item(&by_path(item))
    }

    fn push_item(&mut self, item: &Item) {
        self.push_item(&by_path(item));
    }
}

/// The item with its category by path alone: the towers number categories as their training did.
fn by_path(item: &Item) -> Item {
    Item { category: None, ..item.clone() }
}
