//! The tokenizer that we train, and samples in tokens.

use std::ops::Range;

use align::{RejectedPart, SPECIAL_TOKENS, Sample, Segment, encode_samples, train_tokenizer};
use lm::Tokenizer;
use proptest::prelude::*;

const TEXTS: [&str; 4] = [
    "<|mine|>2026-07 summer|34,f\n3d(cart)|trail shoes;wool socks\n<|interests|>",
    "trail shoes;wool socks|hiking|long\n",
    "hiking|loves hiking|light trail shoes;thick wool socks;trail hat\n",
    "a 12-cup coffee maker for 2026",
];

fn tokenizer() -> Tokenizer {
    let json = train_tokenizer(TEXTS, 320).expect("a vocabulary");
    Tokenizer::from_bytes(&json).expect("own bytes")
}

#[test]
fn training_is_deterministic() {
    let first = train_tokenizer(TEXTS, 320).expect("a vocabulary");
    let mut turned = TEXTS;
    turned.reverse();
    assert_eq!(train_tokenizer(turned, 320).expect("a vocabulary"), first);
    let error = train_tokenizer(TEXTS, 100).expect_err("too small").to_string();
    assert!(error.contains("at least 265"), "{error}");
}

#[test]
fn special_tokens_come_first_and_digits_stand_alone() {
    let tokenizer = tokenizer();
    for (id, name) in (0..).zip(SPECIAL_TOKENS) {
        assert_eq!(tokenizer.special(name), Some(id), "{name}");
    }
    assert_eq!(tokenizer.eos(), 0);
    assert_eq!(tokenizer.count("2026"), 4);
    assert!(tokenizer.vocab_size() > 265 && tokenizer.vocab_size() <= 320);
    assert_eq!(tokenizer.count(" socks"), 1, "frequent words are one token");
}

#[test]
fn the_loss_lies_on_answers_and_their_ends() {
    let tokenizer = tokenizer();
    let segment = |text: &str, loss| Segment { text: text.to_owned(), loss };
    let segments = vec![
        segment("<|mine|>x\n<|interests|>", false),
        segment("b|a|long\n", true),
        segment("<|recent|>c\n<|tags|>", false),
        segment("<|mine|>", true), // in an answer this is no special token
    ];
    let sample = Sample::of_segments("t", segments);
    let encoded = encode_samples(&tokenizer, &[sample]).remove(0);
    assert_eq!(encoded.tokens.len(), encoded.loss.len());
    let part = |loss: bool| {
        let tokens = encoded.tokens.iter().zip(&encoded.loss);
        tokens.filter(|&(_, &l)| l == loss).map(|(&t, _)| t).collect::<Vec<u32>>()
    };
    let eos = tokenizer.eos();
    let answers: Vec<u32> =
        [tokenizer.encode("b|a|long\n"), vec![eos], tokenizer.encode("<|mine|>"), vec![eos]]
            .concat();
    assert_eq!(part(true), answers);
    assert_eq!(part(false).first(), tokenizer.special("<|mine|>").as_ref());
    // The prefix of the sequence is what inference feeds for the tag prompt.
    let prompt = tokenizer
        .encode_prompt("<|mine|>x\n<|interests|>b|a|long\n<|endoftext|><|recent|>c\n<|tags|>");
    assert_eq!(encoded.tokens[..prompt.len()], prompt);
}

#[test]
fn what_was_rejected_in_an_answer_is_read_and_not_learnt() {
    let tokenizer = tokenizer();
    let check = |answer: &str, bytes: Range<usize>, expect: &str| {
        let mut sample = Sample::new("t", "<|mine|>x\n<|tags|>".to_owned(), answer.to_owned());
        let whole = encode_samples(&tokenizer, std::slice::from_ref(&sample)).remove(0);
        sample.rejected = vec![RejectedPart { segment: 1, bytes }];
        let encoded = encode_samples(&tokenizer, &[sample]).remove(0);
        assert_eq!(encoded.tokens, whole.tokens);
        let learnt = encoded.tokens.iter().zip(&encoded.loss).filter(|(_, loss)| **loss);
        let learnt: Vec<u32> = learnt.map(|(token, _)| *token).collect();
        assert_eq!(tokenizer.decode(&learnt), expect);
        assert!(!encoded.loss[encoded.loss.len() - 1], "where it ends is not learnt");
    };
    check("q|w|12\nj|k|34\n", 0..7, "j|k|34\n");
    check("q|w|12\nj|k|34\n", 7..14, "q|w|12\n");
    check("q|w|12;34;56\n", 7..10, "q|w|12;56\n");
    check("q|w|12\n", 0..7, "");
}

proptest! {
    #[test]
    fn every_text_survives(text in "(?s).{0,80}") {
        let tokenizer = tokenizer();
        prop_assert_eq!(tokenizer.decode(&tokenizer.encode(&text)), text);
    }
}

#[test]
fn branches_are_the_same_tokens_as_plain_samples() {
    let tokenizer = tokenizer();
    let question = |n: &str, answer: &str| {
        (format!("<|query|>judge interest: {n}\n<|answer|>"), answer.to_owned())
    };
    let questions = vec![question("a", "f s"), question("bb", "d w")];
    let branched = Sample::branched("j", "<|mine|>x\n<|interests|>".to_owned(), questions);
    let whole = encode_samples(&tokenizer, std::slice::from_ref(&branched)).remove(0);
    let alone = encode_samples(&tokenizer, &branched.unbranched());
    assert_eq!((whole.branches.len(), alone.len()), (2, 2));
    let first = whole.branches[0];
    let ends = [whole.branches[1], whole.tokens.len()];
    for ((start, end), alone) in whole.branches.iter().zip(ends).zip(&alone) {
        let joined = [&whole.tokens[..first], &whole.tokens[*start..end]].concat();
        assert_eq!(joined, alone.tokens);
        assert_eq!([&whole.loss[..first], &whole.loss[*start..end]].concat(), alone.loss);
    }
    assert_eq!(branched.unbranched()[1].segments.len(), 2, "question and answer");
}
