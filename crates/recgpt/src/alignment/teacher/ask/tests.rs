//! Which failures of a teacher end the command.

use lm::LmError;

use super::{Asked, refusals};

fn status(status: u16) -> LmError {
    LmError::HttpStatus { url: String::new(), status, body: String::new(), retry_after: None }
}

#[test]
fn one_prompt_may_be_refused_but_nothing_else_may_fail() {
    let check = |errors: &[Option<LmError>], before: usize, want: Result<(), LmError>| {
        let asked = Asked { moments: before, ..Asked::default() };
        assert_eq!(refusals(errors.iter().map(Option::as_ref), &asked), want, "{errors:?}");
    };
    let down = LmError::Unreachable { url: "http://h".to_owned(), reason: "refused".to_owned() };
    check(&[None, None], 0, Ok(()));
    check(&[], 0, Ok(()));
    check(&[None, Some(status(400))], 0, Ok(()));
    check(&[Some(status(400)), Some(status(422))], 0, Err(status(400)));
    check(&[Some(status(400))], 3, Ok(()));
    check(&[None, Some(status(401))], 3, Err(status(401)));
    check(&[None, Some(down.clone()), Some(status(400))], 3, Err(down));
}
