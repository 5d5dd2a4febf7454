//! One file per subcommand, or per group that differs in a word.

pub(crate) mod align;
pub(crate) mod demo;
pub(crate) mod digest;
pub(crate) mod export;
pub(crate) mod forget;
pub(crate) mod items;
pub(crate) mod lm;
pub(crate) mod recommend;
pub(crate) mod rollback;
pub(crate) mod run;
pub(crate) mod serve;
pub(crate) mod sql;
pub(crate) mod step;
pub(crate) mod summary;
pub(crate) mod validate;
