//! Training data for other engines: one canonical record, and a writer for each format.
//!
//! Three kinds of rows come out of a record: a demonstration (`sft_*`: the conversation with its
//! answers), a preference (`preference_*`: a better and a worse answer), and a problem (`rl_*`: the
//! prompt with the truth that a reward compares an answer with). What a format has no place for is
//! left out and counted. Knows no training and no tokens.

mod folder;
mod llamafactory;
mod read;
mod record;
mod roll;
mod trl;
mod verl;

use std::path::Path;
use std::str::FromStr;

use self::folder::Folder;
pub use self::folder::{ExportSummary, LeftOut, WrittenFile};
pub use self::read::{read_records, records_from_samples};
pub use self::record::{ExportRecord, Split, split_of};
use crate::error::AlignError;

/// A training engine that we write data for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExportFormat {
    /// TRL 1.16: JSONL of messages; of prompt, chosen and rejected; of prompt and columns for rewards.
    Trl,
    /// LLaMA-Factory 0.9: JSONL of messages with `dataset_info.json`; no data for rewards.
    LlamaFactory,
    /// verl 0.9: Parquet of messages, and of problems for rewards; no preferences.
    Verl,
    /// ROLL: JSONL of single turns; of chosen and rejected; of messages as text for rewards.
    Roll,
}

impl FromStr for ExportFormat {
    type Err = AlignError;

    fn from_str(name: &str) -> Result<Self, AlignError> {
        match name {
            "trl" => Ok(Self::Trl),
            "llamafactory" => Ok(Self::LlamaFactory),
            "verl" => Ok(Self::Verl),
            "roll" => Ok(Self::Roll),
            other => Err(AlignError::Config {
                what: "format",
                detail: format!("{other:?} is not one of: trl, llamafactory, verl, roll"),
            }),
        }
    }
}

/// Writes `records` into `dir`, which is made where it is missing; rows keep their order.
///
/// Every file is written whole; one that would hold no row is left out, and removed where an earlier
/// export wrote it, so that a folder never mixes two exports of a format.
///
/// # Errors
/// [`AlignError::Config`] when a record is not well formed; [`AlignError::Io`], [`AlignError::Lm`] or
/// [`AlignError::Format`] when a file cannot be written.
pub fn write_export(
    format: ExportFormat,
    records: &[ExportRecord],
    dir: &Path,
) -> Result<ExportSummary, AlignError> {
    for record in records {
        record.check()?;
    }
    let mut folder = Folder::create(dir)?;
    match format {
        ExportFormat::Trl => trl::write(records, &mut folder)?,
        ExportFormat::LlamaFactory => llamafactory::write(records, &mut folder)?,
        ExportFormat::Verl => verl::write(records, &mut folder)?,
        ExportFormat::Roll => roll::write(records, &mut folder)?,
    }
    Ok(folder.into_summary())
}
