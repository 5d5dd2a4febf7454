//! `recgpt bench`: measurements beside the peers. Figures depend on the machine; compare the ratios.

pub(crate) mod align;
pub(crate) mod cold;
pub(crate) mod digest;
pub(crate) mod index;
pub(crate) mod lm;
pub(crate) mod towers;
