//! What tests of the real binary share.

/// The exit code of a program, and what its message names. No bad input is met with a panic.
#[track_caller]
pub(crate) fn check((code, text): (i32, String), expect_code: i32, expect: &[&str]) {
    assert_eq!(code, expect_code, "{text}");
    for part in expect {
        assert!(text.contains(part), "{part:?} is not in: {text}");
    }
    assert!(!text.contains("panicked"), "{text}");
}
