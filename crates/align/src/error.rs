//! What can go wrong in this crate.

/// An error of making samples, training a tokenizer or training a model.
#[derive(Debug, thiserror::Error)]
pub enum AlignError {
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// Which file.
        path: String,
        /// The system's words.
        source: std::io::Error,
    },
    /// A file does not hold what it should.
    #[error("{path}: {detail}")]
    Format {
        /// Which file.
        path: String,
        /// What was found, with line and column where known.
        detail: String,
    },
    /// The tokenizer could not be built or read.
    #[error("tokenizer: {0}")]
    Tokenizer(String),
    /// Settings that cannot work.
    #[error("{what}: {detail}")]
    Config {
        /// Which setting.
        what: &'static str,
        /// What is wrong and how to mend it.
        detail: String,
    },
    /// The language model failed.
    #[error(transparent)]
    Lm(#[from] lm::LmError),
}
