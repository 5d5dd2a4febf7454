//! What a user said about themselves.

use serde::{Deserialize, Serialize};

/// A user and the attributes that they supplied (age, gender, city, ...).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct User {
    /// The id in the log.
    pub user_id: String,
    /// Names and values in the shop's order.
    pub attributes: Vec<(String, String)>,
}

impl User {
    /// The value of one attribute.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
}
