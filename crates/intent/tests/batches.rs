//! Many users at once, through a scripted model.

mod common;

use std::sync::atomic::{AtomicU64, Ordering};

use common::{digest, profile, user};
use intent::{BatchOptions, MineInput, TagInput, TagLexicon, TagToCategory, mine_batch, tag_batch};
use lm::{LmError, Scripted};
use types::{CategoryId, InterestProfile, InterestSource, TagConstraint, User};

fn failure() -> LmError {
    LmError::BadReply { url: "x".to_owned(), reason: "down".to_owned(), body: String::new() }
}

/// Users whose city is their name.
fn users(names: &[&str]) -> Vec<User> {
    let attributes = |name: &str| vec![("city".to_owned(), name.to_owned())];
    names
        .iter()
        .map(|name| User { user_id: (*name).to_owned(), attributes: attributes(name) })
        .collect()
}

#[test]
fn one_bad_reply_never_stops_the_others() {
    let model = Scripted::new(|request| {
        let prompt = &request.prompt.user;
        if prompt.contains("anna") {
            return Ok("trail shoes|hiking|long\nnonsense\n".to_owned());
        }
        if prompt.contains("bert") { Err(failure()) } else { Ok("\u{fffd}|||;;".to_owned()) }
    });
    let users = users(&["anna", "bert", "carl"]);
    let digest = digest();
    let inputs: Vec<MineInput<'_>> =
        users.iter().map(|user| MineInput { user, digest: &digest }).collect();
    let done = AtomicU64::new(0);
    let progress = |now: u64, total: u64| {
        assert_eq!(total, 3);
        done.store(now, Ordering::Relaxed);
    };
    let options = BatchOptions { chunk: 2, ..BatchOptions::mining(100, 1) };
    let outcomes = mine_batch(&model, &inputs, &[], &options, &progress);
    let found: Vec<(usize, usize, bool)> = outcomes
        .iter()
        .map(|o| (o.profile.interests.len(), o.issues.len(), o.error.is_some()))
        .collect();
    assert_eq!(found, [(1, 1, false), (0, 0, true), (0, 1, false)]);
    assert_eq!(done.load(Ordering::Relaxed), 3);
}

#[test]
fn later_rounds_are_sampled_and_their_union_is_checked() {
    let model = Scripted::new(|request| {
        let sampled = request.sampling.temperature > 0.0;
        let tags =
            if sampled { "steel flask;wool hat" } else { "light trekking poles;steel flask" };
        Ok(format!("hiking|loves hiking|{tags}\ncamping|x|dome tent\n"))
    });
    let (user, digest, profile) = (user(), digest(), profile(&["hiking"]));
    let nobody = InterestProfile { interests: vec![], ..profile.clone() };
    let inputs = [
        TagInput { user: &user, digest: &digest, profile: &profile },
        TagInput { user: &user, digest: &digest, profile: &nobody },
    ];
    let lexicon = TagLexicon::default();
    let options = BatchOptions { rounds: 2, constrain: false, ..BatchOptions::tagging(100, 7) };
    let outcomes = tag_batch(&model, &inputs, (&lexicon, None), &options, &|_, _| {});
    let texts: Vec<&str> = outcomes[0].tags.iter().map(|t| t.text.as_str()).collect();
    assert_eq!(texts, ["light trekking poles", "steel flask", "wool hat"]);
    let breaches: Vec<TagConstraint> = outcomes[0].breaches.iter().map(|b| b.constraint).collect();
    assert_eq!(breaches, [TagConstraint::InterestConsistency, TagConstraint::Diversity]);
    assert_eq!((outcomes[0].rounds, outcomes[1].rounds), (2, 0));
    assert!(model.asked().iter().all(|request| request.constraint.is_none()));
}

#[test]
fn tags_of_every_category_take_turns() {
    let answer = "hiking|winter|light trekking poles;folding trekking poles;steel flask;wool hat\n";
    let model = Scripted::new(move |_| Ok(answer.to_owned()));
    let (user, digest, profile) = (user(), digest(), profile(&["hiking"]));
    let inputs = [TagInput { user: &user, digest: &digest, profile: &profile }];
    let pairs =
        [("trekking poles", CategoryId(0)), ("flask", CategoryId(1)), ("hat", CategoryId(2))];
    let to_category = TagToCategory::train(pairs);
    let options = BatchOptions { rounds: 1, constrain: false, ..BatchOptions::tagging(100, 7) };
    let shop = (&TagLexicon::default(), Some(&to_category));
    let outcomes = tag_batch(&model, &inputs, shop, &options, &|_, _| {});
    let texts: Vec<&str> = outcomes[0].tags.iter().map(|t| t.text.as_str()).collect();
    assert_eq!(
        texts,
        ["light trekking poles", "steel flask", "wool hat", "folding trekking poles"]
    );
}

#[test]
fn mining_by_vote_adds_up_answers_and_what_single_texts_speak_for() {
    let n_asked = std::sync::atomic::AtomicUsize::new(0);
    let answers =
        ["trail shoes|hiking|long\nwool socks|knitting|long\n", "trail shoes|hiking|long\n"];
    let model = Scripted::new(move |request| {
        let asked = &request.prompt.user;
        if let Some(text) = asked.strip_prefix("<|query|>interests: ") {
            // Two texts speak for camping, which no answer names; one for sailing.
            let says = [("trail shoes", "camping;hiking"), ("wool socks", "camping;sailing")];
            let says = says.iter().find(|(product, _)| text.starts_with(product));
            return Ok(says.map_or("", |(_, interests)| interests).to_owned());
        }
        let round = n_asked.fetch_add(1, Ordering::Relaxed);
        Ok(answers[round.min(1)].to_owned())
    });
    let (user, digest) = (user(), digest());
    let inputs = [MineInput { user: &user, digest: &digest }];
    let mine = |most: usize| {
        let options = BatchOptions { rounds: 3, ..BatchOptions::voting(most, 7) };
        let pool = ["camping".to_owned()];
        mine_batch(&model, &inputs, &pool, &options, &|_, _| {}).remove(0)
    };
    let outcome = mine(2);
    let found: Vec<(&str, bool)> = outcome
        .profile
        .interests
        .iter()
        .map(|i| (i.text.as_str(), i.source == InterestSource::Listed))
        .collect();
    assert_eq!((found, outcome.rounds), (vec![("hiking", false), ("camping", true)], 3));
    let camping = &outcome.profile.interests[1];
    assert!(camping.reason.contains("“trail shoes”") && !camping.evidence.is_empty());
    let names: Vec<String> = mine(9).profile.interests.into_iter().map(|i| i.text).collect();
    assert!(!names.contains(&"sailing".to_owned()), "{names:?}");
}

#[test]
fn a_model_that_fails_at_single_texts_is_not_taken_for_one_that_has_nothing_to_say() {
    let model = Scripted::new(|request| {
        if request.prompt.user.starts_with("<|query|>interests: ") {
            return Err(failure());
        }
        Ok("trail shoes|hiking|long\n".to_owned())
    });
    let (user, digest) = (user(), digest());
    let inputs = [MineInput { user: &user, digest: &digest }];
    let outcomes = mine_batch(&model, &inputs, &[], &BatchOptions::voting(3, 7), &|_, _| {});
    assert_eq!(outcomes[0].error, Some(failure()));
}

#[test]
fn enough_tags_end_the_rounds_and_equal_seeds_ask_equally() {
    let ask = |seed: u64, enough: usize| {
        let model = Scripted::new(|_| Ok("hiking|winter|steel flask\n".to_owned()));
        let (user, digest, profile) = (user(), digest(), profile(&["hiking"]));
        let inputs = [TagInput { user: &user, digest: &digest, profile: &profile }];
        let options = BatchOptions { enough, ..BatchOptions::tagging(100, seed) };
        let lexicon = TagLexicon::default();
        let outcomes = tag_batch(&model, &inputs, (&lexicon, None), &options, &|_, _| {});
        assert_eq!(outcomes.len(), 1);
        let asked = model.asked();
        asked.iter().map(|r| (r.sampling.temperature, r.sampling.seed)).collect::<Vec<_>>()
    };
    assert_eq!(ask(1, 1).len(), 1);
    assert_eq!(ask(1, 50), ask(1, 50));
    assert_eq!(ask(1, 50).len(), 3);
    assert_ne!(ask(1, 50)[1], ask(2, 50)[1]);
    assert_ne!(ask(1, 50)[1].1, ask(1, 50)[2].1);
}
