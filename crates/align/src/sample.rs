//! One training text, cut into what the model reads and what it must write.

use std::ops::Range;

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

/// A part of an answer that is not learnt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RejectedPart {
    /// Place of the answer among the segments.
    pub segment: usize,
    /// Its bytes there.
    pub bytes: Range<usize>,
}

/// One training sequence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// The parts in order.
    pub segments: Vec<Segment>,
    /// Parts at which branches begin: questions side by side about what stands before the first of them,
    /// none of which sees another. Empty for a plain sequence.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub branches: Vec<usize>,
    /// Parts of answers that are read and not learnt, as a judge rejected them. Where such an answer ends is not
    /// learnt, either. Exports know no such parts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rejected: Vec<RejectedPart>,
    /// Which task it teaches: `mine_tag`, `reason`, `query`, `taxonomy`, `interests`, `needs`, `shop`, `own`,
    /// `judge_interests`, `judge_tags`, or the name of a [`crate::Subtask`].
    pub task: String,
}

impl Sample {
    /// A plain sequence.
    #[must_use]
    pub fn of_segments(task: &str, segments: Vec<Segment>) -> Self {
        let (branches, rejected) = (Vec::new(), Vec::new());
        Self { segments, branches, rejected, task: task.to_owned() }
    }

    /// A sample of one prompt and one answer.
    #[must_use]
    pub fn new(task: &str, prompt: String, answer: String) -> Self {
        let segments =
            vec![Segment { text: prompt, loss: false }, Segment { text: answer, loss: true }];
        Self::of_segments(task, segments)
    }

    /// Many questions, each with its answer, about one beginning, which is read once for all of them.
    #[must_use]
    pub fn branched(task: &str, beginning: String, questions: Vec<(String, String)>) -> Self {
        let mut segments = vec![Segment { text: beginning, loss: false }];
        let branches = (0..questions.len()).map(|row| 1 + 2 * row).collect();
        for (question, answer) in questions {
            segments.push(Segment { text: question, loss: false });
            segments.push(Segment { text: answer, loss: true });
        }
        Self { branches, ..Self::of_segments(task, segments) }
    }

    /// The same without branches: every branch behind a copy of the beginning, for trainers that know
    /// plain sequences only.
    #[must_use]
    pub fn unbranched(&self) -> Vec<Sample> {
        let Some(&first) = self.branches.first() else { return vec![self.clone()] };
        let ends = self.branches.iter().skip(1).copied().chain([self.segments.len()]);
        let alone = |(&start, end): (&usize, usize)| {
            let mut segments: Vec<Segment> = self.segments[..first].to_vec();
            for segment in &self.segments[start..end] {
                match segments.last_mut() {
                    // What is read in one go is one part.
                    Some(last) if !last.loss && !segment.loss => last.text.push_str(&segment.text),
                    _ => segments.push(segment.clone()),
                }
            }
            Self::of_segments(&self.task, segments)
        };
        self.branches.iter().zip(ends).map(alone).collect()
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
    /// Tokens at which branches begin, as [`Sample::branches`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub branches: Vec<usize>,
}
