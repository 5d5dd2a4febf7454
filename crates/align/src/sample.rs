//! One training text, cut into what the model reads and what it must write.

use serde::{Deserialize, Serialize};

/// A part of a training text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// The text; `<|name|>` in a prompt segment is a special token, in a loss segment it is not.
    pub text: String,
    /// Whether the model is trained to write this part; such a part ends with `<|endoftext|>`, which
    /// the encoder adds and which is trained as well.
    pub loss: bool,
}

/// One training sequence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// The parts in order.
    pub segments: Vec<Segment>,
    /// Which task it teaches: `mine_tag`, `reason`, `query`, `taxonomy`, `interests`, `needs`, `shop`, `own`,
    /// `judge_interests`, `judge_tags`, or the name of a [`crate::Subtask`].
    pub task: String,
}

impl Sample {
    /// A sample of one prompt and one answer.
    #[must_use]
    pub fn new(task: &str, prompt: String, answer: String) -> Self {
        let segments =
            vec![Segment { text: prompt, loss: false }, Segment { text: answer, loss: true }];
        Self { segments, task: task.to_owned() }
    }
}

/// A sample in tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenSample {
    /// The sequence, `<|endoftext|>` after every answer included.
    pub tokens: Vec<u32>,
    /// `loss[i]`: token `i` is a target, to be predicted from the tokens before it; `loss[0]` is
    /// never set. Same length as `tokens`.
    pub loss: Vec<bool>,
}
