//! Texts behind the numbers of [`super::facts`]: items, queries and event ids of one user.

use ahash::AHashMap;
use serde::{Deserialize, Serialize};

/// Distinct texts in order of first use.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "Vec<String>", into = "Vec<String>")]
pub(super) struct Names {
    texts: Vec<String>,
    rows: AHashMap<String, u32>,
}

impl Names {
    /// The row of a text, which is added where it is new.
    pub(super) fn row(&mut self, text: &str) -> u32 {
        if let Some(row) = self.rows.get(text) {
            return *row;
        }
        let row = self.texts.len() as u32;
        self.texts.push(text.to_owned());
        self.rows.insert(text.to_owned(), row);
        row
    }

    pub(super) fn texts(&self) -> &[String] {
        &self.texts
    }
}

impl From<Vec<String>> for Names {
    fn from(texts: Vec<String>) -> Self {
        let rows = texts.iter().enumerate().map(|(row, t)| (t.clone(), row as u32)).collect();
        Self { texts, rows }
    }
}

impl From<Names> for Vec<String> {
    fn from(names: Names) -> Self {
        names.texts
    }
}

/// Texts one behind the other, by row.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Texts {
    text: String,
    ends: Vec<usize>,
}

impl Texts {
    pub(super) fn clear(&mut self) {
        self.text.clear();
        self.ends.clear();
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Adds a text; gives its row.
    #[inline]
    pub(super) fn push(&mut self, text: &str) -> u32 {
        let row = self.ends.len() as u32;
        self.text.push_str(text);
        self.ends.push(self.text.len());
        row
    }

    #[inline]
    pub(super) fn get(&self, row: u32) -> &str {
        let row = row as usize;
        let start = if row == 0 { 0 } else { self.ends[row - 1] };
        &self.text[start..self.ends[row]]
    }
}

/// Event ids with their moments.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct EventIds {
    #[serde(flatten)]
    ids: Texts,
    times: Vec<i64>,
}

impl EventIds {
    pub(super) fn clear(&mut self) {
        self.ids.clear();
        self.times.clear();
    }

    /// Adds an id; gives its row.
    #[inline]
    pub(super) fn push(&mut self, id: &str, time: i64) -> u32 {
        self.times.push(time);
        self.ids.push(id)
    }

    pub(super) fn id(&self, row: u32) -> &str {
        self.ids.get(row)
    }

    #[inline]
    pub(super) fn time(&self, row: u32) -> i64 {
        self.times[row as usize]
    }
}
