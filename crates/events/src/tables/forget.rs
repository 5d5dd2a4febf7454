//! Takes the rows of one user out of a table, whatever its other columns are.

use std::path::Path;

use arrow_array::BooleanArray;
use arrow_schema::Schema;

use super::columns::{Batch, ParquetFile, builder_of, open_table};
use crate::EventsError;

/// Writes the rows of `from` whose `column` `keep` wants to `to`; gives the number of the others. A
/// table without such a column is not written, and gives 0.
///
/// # Errors
/// [`EventsError`] when a file cannot be read or written.
pub fn write_without(
    from: &Path,
    to: &Path,
    column: &str,
    keep: &dyn Fn(&str) -> bool,
) -> Result<u64, EventsError> {
    let schema = schema_of(from)?;
    if schema.column_with_name(column).is_none() {
        return Ok(0);
    }
    let mut file = ParquetFile::create(to, schema.into())?;
    let mut removed = 0;
    for batch in open_table(from)? {
        let batch = batch?;
        let texts = Batch { path: from, batch: &batch }.text(column)?;
        let kept: BooleanArray =
            (0..batch.num_rows()).map(|row| Some(texts.opt(row).is_none_or(keep))).collect();
        removed += kept.false_count() as u64;
        let batch = arrow_select::filter::filter_record_batch(&batch, &kept)
            .map_err(EventsError::parquet(from))?;
        file.write(&batch)?;
    }
    file.finish()?;
    Ok(removed)
}

fn schema_of(path: &Path) -> Result<Schema, EventsError> {
    let builder = builder_of(path)?;
    Ok(builder.schema().as_ref().clone())
}

#[cfg(test)]
mod tests {
    use types::User;

    use super::write_without;
    use crate::tables::{read_users, write_users};

    #[test]
    fn the_rows_of_one_user_go_and_the_others_stay() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("a.parquet"), dir.path().join("b.parquet"));
        let user = |id: &str| User {
            user_id: id.to_owned(),
            attributes: vec![("k".to_owned(), id.to_owned())],
        };
        write_users(&from, &["a", "b", "a", "c"].map(user)).unwrap();
        assert_eq!(write_without(&from, &to, "user_id", &|id| id != "a").unwrap(), 2);
        assert_eq!(read_users(&to).unwrap(), ["b", "c"].map(user));
        assert_eq!(write_without(&from, &to, "no_such_column", &|_| false).unwrap(), 0);
    }
}
