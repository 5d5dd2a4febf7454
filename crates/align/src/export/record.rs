//! The canonical record: a conversation, what is known about its answer, and where it comes from.

use lm::Message;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::error::AlignError;
use crate::sample::Sample;

/// Whether a record trains or tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// To be trained on.
    Train,
    /// Held out.
    Test,
}

impl Split {
    /// Both, in the order of files.
    pub const ALL: [Self; 2] = [Self::Train, Self::Test];

    /// `train` or `test`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Test => "test",
        }
    }
}

/// The split of all records with this key (a user's id, or the input where there is none): about
/// `test_percent` of the keys test, whatever other records there are.
#[must_use]
pub fn split_of(key: &str, test_percent: u32) -> Split {
    let is_test = xxh3_64(key.as_bytes()) % 100 < u64::from(test_percent);
    if is_test { Split::Test } else { Split::Train }
}

/// One record, from which every format is written.
///
/// `messages` are an optional `system` message, then `user` and `assistant` in turn. They end with
/// `assistant` in a demonstration; with `user` where `chosen` and `rejected` answer, or where the
/// `ground_truth` stands alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExportRecord {
    /// Unique within an export.
    pub id: String,
    /// The conversation; special tokens of the terse form stand in it as text.
    pub messages: Vec<Message>,
    /// The better answer to the last message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chosen: Option<String>,
    /// The worse answer to the last message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejected: Option<String>,
    /// What a reward compares an answer to the last `user` message with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ground_truth: Option<String>,
    /// Which task it teaches; see [`Sample::task`].
    pub task: String,
    /// Where it comes from, such as `samples.jsonl:12`.
    pub provenance: String,
    /// Whether it trains or tests.
    pub split: Split,
}

impl ExportRecord {
    /// A demonstration from a sample: prompts become `user`, answers `assistant`; the last answer is the
    /// ground truth as well. The split is that of the first prompt.
    ///
    /// # Errors
    /// [`AlignError::Config`] when prompts and answers do not alternate from a prompt to an answer.
    pub fn from_sample(
        sample: &Sample,
        provenance: String,
        test_percent: u32,
    ) -> Result<Self, AlignError> {
        let role = |is_answer: bool| if is_answer { "assistant" } else { "user" };
        let messages: Vec<Message> =
            sample.segments.iter().map(|s| Message::new(role(s.loss), &s.text)).collect();
        let input = messages.first().map_or("", |message| &message.content);
        let record = Self {
            id: id_of(&sample.task, &messages),
            split: split_of(input, test_percent),
            ground_truth: messages
                .last()
                .filter(|last| last.role == "assistant")
                .map(|answer| answer.content.clone()),
            chosen: None,
            rejected: None,
            messages,
            task: sample.task.clone(),
            provenance,
        };
        record.check()?;
        Ok(record)
    }

    /// The messages up to the last `user` message.
    #[must_use]
    pub fn prompt(&self) -> &[Message] {
        match self.messages.split_last() {
            Some((last, before)) if last.role == "assistant" => before,
            _ => &self.messages,
        }
    }

    /// Whether the record is well formed, as the type describes it.
    ///
    /// # Errors
    /// [`AlignError::Config`] with the first fault and how to mend it.
    pub fn check(&self) -> Result<(), AlignError> {
        let fail = |detail: String| {
            let detail = format!("{}: {detail}", self.id);
            Err(AlignError::Config { what: "record", detail })
        };
        let is_system = |message: &&Message| message.role == "system";
        let n_system = self.messages.iter().take(1).filter(is_system).count();
        let turns = &self.messages[n_system..];
        for (i, message) in turns.iter().enumerate() {
            let expected = ["user", "assistant"][i % 2];
            if message.role != expected {
                return fail(format!(
                    "message {} is of {:?}, must be of {expected:?}: after an optional system \
                     message, user and assistant take turns; join neighbours of one role",
                    n_system + i + 1,
                    message.role
                ));
            }
        }
        let is_answered = turns.len().is_multiple_of(2);
        match (&self.chosen, &self.rejected) {
            _ if turns.is_empty() => fail("no messages: give at least a user's".to_owned()),
            (Some(_), None) | (None, Some(_)) => {
                fail("only one of chosen and rejected: give both or none".to_owned())
            }
            (Some(chosen), Some(rejected)) if chosen == rejected => {
                fail("chosen and rejected are the same: give two answers".to_owned())
            }
            (Some(_), Some(_)) if is_answered => {
                fail("messages end with an answer: leave it to chosen and rejected".to_owned())
            }
            (None, None) if !is_answered && self.ground_truth.is_none() => fail(
                "messages end without an answer: give it, or chosen and rejected, or ground_truth"
                    .to_owned(),
            ),
            (Some(_), Some(_)) | (None, None) => Ok(()),
        }
    }

    /// The two answers of a preference, the better one first.
    pub(super) fn preference(&self) -> Option<(&str, &str)> {
        self.chosen.as_deref().zip(self.rejected.as_deref())
    }

    /// Whether the conversation itself is to be learned.
    pub(super) fn is_demonstration(&self) -> bool {
        self.messages.last().is_some_and(|last| last.role == "assistant")
    }
}

/// The same content gives the same id.
fn id_of(task: &str, messages: &[Message]) -> String {
    let mut hash = Xxh3::new();
    for part in messages.iter().flat_map(|message| [&message.role, &message.content]) {
        hash.update(&(part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    }
    format!("{task}-{:016x}", hash.digest())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::Segment;

    fn record(roles: &str, chosen: Option<&str>, rejected: Option<&str>) -> ExportRecord {
        let role = |letter: char| match letter {
            's' => "system",
            'u' => "user",
            _ => "assistant",
        };
        ExportRecord {
            id: "r".to_owned(),
            messages: roles.chars().map(|letter| Message::new(role(letter), "text")).collect(),
            chosen: chosen.map(ToOwned::to_owned),
            rejected: rejected.map(ToOwned::to_owned),
            ground_truth: None,
            task: "t".to_owned(),
            provenance: "here".to_owned(),
            split: Split::Train,
        }
    }

    #[test]
    fn what_is_not_well_formed_is_refused_with_its_mend() {
        let check = |record: &ExportRecord, expect: &str| match record.check() {
            Ok(()) => assert_eq!(expect, "ok", "{record:?}"),
            Err(error) => assert!(error.to_string().contains(expect), "{expect:?}: {error}"),
        };
        let plain = |roles: &str| record(roles, None, None);
        check(&plain("ua"), "ok");
        check(&plain("suaua"), "ok");
        check(&record("su", Some("a"), Some("b")), "ok");
        check(&ExportRecord { ground_truth: Some("g".to_owned()), ..plain("u") }, "ok");
        check(&plain(""), "no messages");
        check(&plain("s"), "no messages");
        check(&plain("u"), "without an answer");
        check(&plain("au"), "message 1 is of \"assistant\"");
        check(&plain("suu"), "message 3 is of \"user\"");
        check(&plain("uasa"), "message 3 is of \"system\"");
        check(&record("u", Some("a"), None), "only one of");
        check(&record("u", Some("a"), Some("a")), "are the same");
        check(&record("ua", Some("a"), Some("b")), "end with an answer");
    }

    #[test]
    fn a_sample_becomes_turns_and_keeps_its_text() {
        let segment = |text: &str, loss| Segment { text: text.to_owned(), loss };
        let mut sample = Sample::new("t", "<|mine|>x<|interests|>".to_owned(), "a\n".to_owned());
        sample.segments.extend([segment("<|recent|>y<|tags|>", false), segment("b\n", true)]);
        let record = ExportRecord::from_sample(&sample, "f:1".to_owned(), 5).unwrap();
        let roles: Vec<&str> = record.messages.iter().map(|m| m.role.as_str()).collect();
        assert_eq!(roles, ["user", "assistant", "user", "assistant"]);
        let texts = record.messages.iter().map(|m| &m.content);
        assert!(texts.eq(sample.segments.iter().map(|s| &s.text)));
        assert_eq!(record.prompt().len(), 3);
        assert_eq!(record.ground_truth.as_deref(), Some("b\n"));
        sample.segments.push(segment("c\n", true));
        let error = ExportRecord::from_sample(&sample, "f:1".to_owned(), 5).unwrap_err();
        assert!(error.to_string().contains("message 5"), "{error}");
        sample.segments.truncate(3);
        let error = ExportRecord::from_sample(&sample, "f:1".to_owned(), 5).unwrap_err();
        assert!(error.to_string().contains("end without an answer"), "{error}");
    }

    #[test]
    fn the_split_is_a_share_of_the_keys_and_grows_with_it() {
        let keys: Vec<String> = (0..4000).map(|i| format!("user {i}")).collect();
        let is_test = |key: &str, percent| split_of(key, percent) == Split::Test;
        let n_tests = keys.iter().filter(|key| is_test(key, 5)).count();
        assert!((150..250).contains(&n_tests), "{n_tests} of 4000");
        assert!(keys.iter().all(|key| !is_test(key, 0) && is_test(key, 100)));
        assert!(keys.iter().all(|key| !is_test(key, 5) || is_test(key, 20)));
    }
}
