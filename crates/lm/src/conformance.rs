//! One suite of checks that every back end passes: what callers of [`LanguageModel`] may rely on.
//! Behind the feature `conformance`, for the tests of other crates.
#![allow(clippy::unwrap_used, reason = "a suite of assertions")]

use crate::error::LmError;
use crate::model::{Finish, LanguageModel, Prompt, Request, Sampling};

fn ask(user: &str, max_tokens: usize) -> Request {
    Request::greedy(Prompt::user(user), max_tokens)
}

/// Panics where the model breaks a promise of the trait.
pub fn conforms(model: &dyn LanguageModel) {
    assert!(!model.name().is_empty());
    assert!(model.generate(&[]).is_empty());
    counts_tokens(model);
    keeps_order_and_isolates_failures(model);
    repeats_itself(model);
    cuts_at_stop_strings_and_lengths(model);
    scores_or_says_that_it_cannot(model);
}

fn counts_tokens(model: &dyn LanguageModel) {
    assert_eq!(model.count_tokens(""), 0);
    let (short, long) = ("running shoes", "running shoes and coffee grinder for the trail");
    assert!(0 < model.count_tokens(short));
    assert!(model.count_tokens(short) < model.count_tokens(long));
}

fn keeps_order_and_isolates_failures(model: &dyn LanguageModel) {
    let users = ["trail shoes", "", "coffee", "espresso machine", "", "socks"];
    let requests: Vec<Request> = users.iter().map(|user| ask(user, 20)).collect();
    let together = model.generate(&requests);
    assert_eq!(together.len(), users.len());
    for (request, answer) in requests.iter().zip(together) {
        assert_eq!(model.generate(std::slice::from_ref(request)), std::slice::from_ref(&answer));
        match answer {
            Ok(done) => assert!(done.prompt_tokens > 0 && done.completion_tokens <= 20),
            Err(error) => {
                assert_eq!((error, request.prompt.user.as_str()), (LmError::EmptyPrompt, ""));
            }
        }
    }
}

fn repeats_itself(model: &dyn LanguageModel) {
    let drawn = |seed| Request {
        sampling: Sampling { temperature: 1.0, top_p: 0.9, seed },
        ..ask("trail shoes", 20)
    };
    let requests = [drawn(1), drawn(2), ask("trail shoes", 20)];
    assert_eq!(model.generate(&requests), model.generate(&requests));
}

/// A question that the built-in model answers at length; to others it is a text like any.
const ANSWERED: &str = "<|query|>needs: hiking\n<|answer|>";

fn cuts_at_stop_strings_and_lengths(model: &dyn LanguageModel) {
    let whole = model.generate(&[ask(ANSWERED, 30)]).remove(0).unwrap();
    assert!(whole.completion_tokens > 3, "{whole:?}");
    let short = model.generate(&[ask(ANSWERED, 2)]).remove(0).unwrap();
    assert_eq!((short.finish, short.completion_tokens), (Finish::Length, 2));
    assert!(whole.text.starts_with(&short.text), "{:?} {:?}", whole.text, short.text);

    let stop: String = whole.text.chars().skip(2).take(2).collect();
    let mut request = ask(ANSWERED, 30);
    request.stop = vec!["never to be seen".to_owned(), stop.clone()];
    let cut = model.generate(&[request]).remove(0).unwrap();
    assert_eq!(cut.finish, Finish::Stop);
    assert_eq!(cut.text, whole.text[..whole.text.find(&stop).unwrap()]);
}

fn scores_or_says_that_it_cannot(model: &dyn LanguageModel) {
    let prompt = Prompt::user("trail shoes");
    match model.score(&prompt, &["socks", "socks and boots", "socks"]) {
        Ok(scores) => {
            assert_eq!(scores.len(), 3);
            assert!(scores.iter().all(|score| score.is_finite() && *score <= 0.0), "{scores:?}");
            assert!(scores[1] < scores[0] && scores[0] == scores[2], "{scores:?}");
        }
        Err(error) => assert!(matches!(error, LmError::Unsupported { .. }), "{error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::conforms;
    use crate::engine::EngineConfig;
    use crate::scripted::Scripted;
    use crate::testing::tiny_engine;

    #[test]
    fn scripted_conforms() {
        conforms(&Scripted::new(|request| {
            let user = &request.prompt.user;
            Ok(format!("what goes well with {user} is {user}, seed {}", request.sampling.seed))
        }));
    }

    #[test]
    fn engine_conforms() {
        conforms(&tiny_engine(EngineConfig::STANDARD));
        conforms(&tiny_engine(EngineConfig {
            batch_size: 2,
            prefix_cache: false,
            ..EngineConfig::STANDARD
        }));
    }

    /// The stub answers as a server would: it cuts at stop strings and at `max_tokens` words.
    #[cfg(feature = "http-llm")]
    fn well_behaved(body: &serde_json::Value) -> crate::stub_server::Reply {
        use crate::stub_server::chat_reply;

        let user = body["messages"][0]["content"].as_str().unwrap();
        let seed = &body["seed"];
        let mut text = format!("what goes well with {user} is {user}, seed {seed}");
        let stops = body["stop"].as_array().into_iter().flatten();
        if let Some(at) = stops.filter_map(|stop| text.find(stop.as_str().unwrap())).min() {
            text.truncate(at);
        }
        let limit = body["max_tokens"].as_u64().unwrap() as usize;
        let words: Vec<&str> = text.split(' ').collect();
        match words.len() > limit {
            true => chat_reply(&words[..limit].join(" "), "length"),
            false => chat_reply(&text, "stop"),
        }
    }

    #[cfg(feature = "http-llm")]
    #[test]
    fn openai_client_conforms() {
        use crate::openai::{OpenAi, OpenAiConfig};
        use crate::stub_server::StubServer;

        let server = StubServer::start(well_behaved);
        let config =
            OpenAiConfig { concurrency: 3, ..OpenAiConfig::new(server.base_url(), "stub") };
        conforms(&OpenAi::new(config.clone()).unwrap());
        let dir = tempfile::tempdir().unwrap();
        let stored = OpenAiConfig { cache_dir: Some(dir.path().to_owned()), ..config };
        conforms(&OpenAi::new(stored).unwrap());
    }

    /// Every other call goes wrong, each time in another way.
    #[cfg(feature = "http-llm")]
    #[test]
    fn openai_client_conforms_against_a_server_that_misbehaves() {
        use std::sync::atomic::{AtomicUsize, Ordering};
        use std::time::Duration;

        use crate::openai::{OpenAi, OpenAiConfig};
        use crate::stub_server::{Reply, StubServer};

        let calls = AtomicUsize::new(0);
        let server =
            StubServer::start(move |body| match calls.fetch_add(1, Ordering::SeqCst) % 12 {
                1 => Reply::status(429, "slow down").header("Retry-After", "0.01"),
                3 => Reply::Stall(Duration::from_secs(1)),
                5 => Reply::Cut(r#"{"choices":[{"mess"#.to_owned()),
                7 => Reply::status(200, r#"{"choices":[}"#),
                9 => Reply::HangUp,
                11 => Reply::status(503, "restarting"),
                _ => well_behaved(body),
            });
        conforms(
            &OpenAi::new(OpenAiConfig {
                concurrency: 2,
                max_retries: 12,
                backoff_seconds: 0.001,
                timeout_seconds: 0.25,
                ..OpenAiConfig::new(server.base_url(), "stub")
            })
            .unwrap(),
        );
    }
}
