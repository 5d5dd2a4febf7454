//! Writes an invented report into the folder given as argument, to look at the page.

#[path = "../tests/fixture/mod.rs"]
#[expect(dead_code, reason = "the tests use more of the fixture")]
mod fixture;

fn main() -> Result<(), eval::EvalError> {
    let folder = std::env::args().nth(1).unwrap_or_else(|| "target/report-example".to_owned());
    fixture::example().write(std::path::Path::new(&folder)).map(drop)
}
