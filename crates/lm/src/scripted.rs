//! A language model that answers from a script: for tests of everything that asks one.
//!
//! It reads no weights and checks no constraint: what the script says is what comes out, so that tests
//! can also feed nonsense to parsers.

use std::collections::BTreeMap;
use std::sync::Mutex;

use crate::error::LmError;
use crate::model::{Completion, Finish, LanguageModel, Prompt, PromptStyle, Request};

type Answer = dyn Fn(&Request) -> Result<String, LmError> + Send + Sync;

/// A model whose answers a closure or a table gives.
pub struct Scripted {
    style: PromptStyle,
    answer: Box<Answer>,
    asked: Mutex<Vec<Request>>,
}

impl Scripted {
    /// A terse model that answers with the closure.
    pub fn new(
        answer: impl Fn(&Request) -> Result<String, LmError> + Send + Sync + 'static,
    ) -> Self {
        Self { style: PromptStyle::Terse, answer: Box::new(answer), asked: Mutex::new(Vec::new()) }
    }

    /// A terse model that answers with the value of the first key (in alphabetical order) that stands in
    /// the user message; a prompt without any key gets an error that quotes its beginning.
    pub fn from_map<K: Into<String>, V: Into<String>>(
        map: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        let map: BTreeMap<String, String> =
            map.into_iter().map(|(key, answer)| (key.into(), answer.into())).collect();
        Self::new(move |request| {
            let user = &request.prompt.user;
            let hit = map.iter().find(|(key, _)| user.contains(key.as_str()));
            hit.map(|(_, answer)| answer.clone()).ok_or_else(|| LmError::BadReply {
                url: "scripted".to_owned(),
                reason: "no key of the script stands in the prompt".to_owned(),
                body: user.chars().take(120).collect(),
            })
        })
    }

    /// The same script for prompts of the other style.
    pub fn with_style(mut self, style: PromptStyle) -> Self {
        self.style = style;
        self
    }

    /// Every request so far, in order.
    pub fn asked(&self) -> Vec<Request> {
        self.asked.lock().expect("no panic happens under this lock").clone()
    }
}

impl LanguageModel for Scripted {
    fn name(&self) -> &str {
        "scripted"
    }

    fn style(&self) -> PromptStyle {
        self.style
    }

    fn generate(&self, requests: &[Request]) -> Vec<Result<Completion, LmError>> {
        self.asked.lock().expect("no panic happens under this lock").extend_from_slice(requests);
        requests.iter().map(|request| self.complete(request)).collect()
    }

    /// Minus the count of tokens: shorter continuations are likelier. A fixed rule, for tests only.
    fn score(&self, _prompt: &Prompt, continuations: &[&str]) -> Result<Vec<f64>, LmError> {
        Ok(continuations.iter().map(|text| -(self.count_tokens(text) as f64)).collect())
    }

    /// Words between white space.
    fn count_tokens(&self, text: &str) -> usize {
        text.split_whitespace().count()
    }
}

impl Scripted {
    fn complete(&self, request: &Request) -> Result<Completion, LmError> {
        let prompt = &request.prompt;
        let system = prompt.system.as_deref().unwrap_or_default();
        let prompt_tokens = self.count_tokens(system) + self.count_tokens(&prompt.user);
        if prompt_tokens == 0 {
            return Err(LmError::EmptyPrompt);
        }
        let mut text = (self.answer)(request)?;
        if let Some(at) = request.stop.iter().filter_map(|stop| text.find(stop.as_str())).min() {
            text.truncate(at);
        }
        let (text, finish) = first_words(&text, request.max_tokens);
        let completion_tokens = self.count_tokens(text);
        Ok(Completion { text: text.to_owned(), finish, prompt_tokens, completion_tokens })
    }
}

/// The text up to the end of its `limit`-th word.
fn first_words(text: &str, limit: usize) -> (&str, Finish) {
    let mut words = 0;
    let mut in_word = false;
    for (at, c) in text.char_indices() {
        if c.is_whitespace() {
            in_word = false;
        } else if !in_word {
            if words == limit {
                return (text[..at].trim_end(), Finish::Length);
            }
            in_word = true;
            words += 1;
        }
    }
    (text, Finish::Stop)
}

#[cfg(test)]
mod tests {
    use super::{Scripted, first_words};
    use crate::model::{Finish, LanguageModel, Prompt, Request};

    #[test]
    fn map_answers_by_key_and_names_what_it_misses() {
        let model = Scripted::from_map([("hiking", "boots"), ("coffee", "grinder")]);
        let ask = |user: &str| model.generate(&[Request::greedy(Prompt::user(user), 9)]).remove(0);
        assert_eq!(ask("loves hiking").unwrap().text, "boots");
        assert_eq!(ask("drinks coffee").unwrap().text, "grinder");
        assert!(ask("nothing known").unwrap_err().to_string().contains("nothing known"));
        assert_eq!(model.asked().len(), 3);
    }

    #[test]
    fn words_are_cut_at_the_limit() {
        let check = |text: &str, limit: usize, want: (&str, Finish)| {
            assert_eq!(first_words(text, limit), want, "{text} to {limit}");
        };
        check("a b\nc", 3, ("a b\nc", Finish::Stop));
        check("a b\nc", 2, ("a b", Finish::Length));
        check("", 2, ("", Finish::Stop));
        check("a b", 0, ("", Finish::Length));
    }
}
