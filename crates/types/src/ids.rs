//! Identifiers: newtypes over `u32` inside the program; strings exist only at the log boundary.

use serde::{Deserialize, Serialize};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default,
        )]
        #[serde(transparent)]
        pub struct $name(pub u32);

        impl $name {
            /// The id as an index into a table.
            #[must_use]
            pub fn idx(self) -> usize {
                self.0 as usize
            }

            /// The id of row `idx` of a table.
            ///
            /// # Panics
            /// When `idx` does not fit `u32`.
            #[must_use]
            pub fn from_idx(idx: usize) -> Self {
                Self(u32::try_from(idx).expect("tables hold fewer than 2^32 rows"))
            }
        }
    };
}

id!(
    /// Row of a user in the sorted list of the event store's users.
    UserId
);
id!(
    /// Row of an item in the [`Catalogue`](crate::Catalogue).
    ItemId
);
id!(
    /// Row of a category in the [`Taxonomy`](crate::Taxonomy).
    CategoryId
);

/// FNV-1a, 64 bits: the hash of the event layout (bucket = `fnv1a64(user_id) % n_buckets`).
///
/// Chosen because every language has it in ten lines, so any engine can write our layout.
#[must_use]
pub fn fnv1a64(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |h, &b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::fnv1a64;

    #[test]
    fn fnv1a64_agrees_with_the_published_vectors() {
        assert_eq!(fnv1a64(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a64(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv1a64(b"foobar"), 0x8594_4171_f739_67e8);
    }
}
