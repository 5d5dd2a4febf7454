//! Answers that must fit behind their prompts.

use lm::{Completion, LanguageModel, LmError, Request};

/// Tokens of the shortest answer that is worth asking for.
const LEAST: usize = 128;

/// The replies of `model`. How long an answer may be is a wish: where a long prompt leaves less room than that in the
/// window, but room for an answer, it is asked again for what fits.
pub(crate) fn generate(
    model: &dyn LanguageModel,
    requests: &[Request],
) -> Vec<Result<Completion, LmError>> {
    let mut replies = model.generate(requests);
    let shorter: Vec<(usize, Request)> = replies
        .iter()
        .zip(requests)
        .enumerate()
        .filter_map(|(row, (reply, request))| {
            let room = room(reply.as_ref().err()?)?;
            Some((row, Request { max_tokens: room, ..request.clone() }))
        })
        .collect();
    if !shorter.is_empty() {
        let (rows, requests): (Vec<usize>, Vec<Request>) = shorter.into_iter().unzip();
        for (row, reply) in rows.into_iter().zip(model.generate(&requests)) {
            replies[row] = reply;
        }
    }
    replies
}

/// What a refused prompt leaves of the window.
fn room(error: &LmError) -> Option<usize> {
    let LmError::ContextTooLong { prompt_tokens, window, .. } = error else { return None };
    window.checked_sub(*prompt_tokens).filter(|room| *room >= LEAST)
}

#[cfg(test)]
mod tests {
    use lm::{Finish, Prompt, PromptStyle};

    use super::*;

    /// A window of 1,000 tokens; the prompt's are its bytes.
    struct Narrow;

    impl LanguageModel for Narrow {
        fn name(&self) -> &'static str {
            "narrow"
        }

        fn style(&self) -> PromptStyle {
            PromptStyle::Terse
        }

        fn generate(&self, requests: &[Request]) -> Vec<Result<Completion, LmError>> {
            let answer = |request: &Request| {
                let (prompt_tokens, max_tokens) = (request.prompt.user.len(), request.max_tokens);
                if prompt_tokens + max_tokens > 1000 {
                    return Err(LmError::ContextTooLong {
                        prompt_tokens,
                        max_tokens,
                        window: 1000,
                    });
                }
                Ok(Completion {
                    text: String::new(),
                    finish: Finish::Length,
                    prompt_tokens,
                    completion_tokens: max_tokens,
                })
            };
            requests.iter().map(answer).collect()
        }

        fn score(&self, _: &Prompt, continuations: &[&str]) -> Result<Vec<f64>, LmError> {
            Ok(vec![0.0; continuations.len()])
        }

        fn count_tokens(&self, text: &str) -> usize {
            text.len()
        }
    }

    #[test]
    fn an_answer_is_asked_for_what_fits_and_no_less_than_is_worth_it() {
        let check = |prompts: &[usize], expect: &[Option<usize>]| {
            let request = |n: &usize| Request::greedy(Prompt::user("x".repeat(*n)), 400);
            let requests: Vec<Request> = prompts.iter().map(request).collect();
            let got: Vec<Option<usize>> = generate(&Narrow, &requests)
                .into_iter()
                .map(|reply| reply.ok().map(|c| c.completion_tokens))
                .collect();
            assert_eq!(got, expect);
        };
        check(&[100, 600], &[Some(400), Some(400)]);
        check(&[601, 100, 872], &[Some(399), Some(400), Some(128)]);
        check(&[873, 1000, 5000, 10], &[None, None, None, Some(400)]);
    }
}
