//! Queries that are refused, and errors of the engine in words that name the place and the mend.

use anyhow::{Error, Result, anyhow};
use datafusion::common::SchemaError;
use datafusion::error::DataFusionError;
use datafusion::sql::parser::{DFParser, Statement};
use datafusion::sql::sqlparser::ast::Statement as Sql;

use super::Query;
use crate::failure::Usage;

/// The one statement of a query.
///
/// # Errors
/// [`Usage`] where it does not parse, where there is more than one, or where it writes.
pub(super) fn parse(query: &str) -> Result<Statement> {
    let mut statements = DFParser::parse_sql(query).map_err(|e| does_not_parse(&e))?;
    match (statements.pop_front(), statements.len()) {
        (Some(statement), 0) if only_reads(&statement) => Ok(statement),
        (Some(statement), 0) => {
            let text = statement.to_string();
            let verb = text.split_whitespace().next().unwrap_or_default().to_uppercase();
            Err(anyhow!(Usage(format!(
                "{verb} is refused: `recgpt sql` only reads; ask with SELECT, EXPLAIN, DESCRIBE or SHOW"
            ))))
        }
        (None, _) => Err(anyhow!(Usage("the query is empty".to_owned()))),
        (Some(_), more) => Err(anyhow!(Usage(format!("{} queries; ask one at a time", more + 1)))),
    }
}

fn only_reads(statement: &Statement) -> bool {
    match statement {
        Statement::Statement(sql) => matches!(
            **sql,
            Sql::Query(_)
                | Sql::Explain { .. }
                | Sql::ExplainTable { .. }
                | Sql::ShowTables { .. }
                | Sql::ShowColumns { .. }
                | Sql::ShowFunctions { .. }
        ),
        Statement::Explain(explain) => only_reads(&explain.statement),
        Statement::CreateExternalTable(_) | Statement::CopyTo(_) | Statement::Reset(_) => false,
    }
}

/// The parser's words, which name line and column.
pub(super) fn does_not_parse(error: &DataFusionError) -> Error {
    let root = error.find_root();
    let text = if let DataFusionError::SQL(error, _) = root {
        error.to_string()
    } else {
        root.strip_backtrace()
    };
    anyhow!(Usage(format!("the query does not parse: {text}")))
}

/// What the engine says of a query, with its place; [`Usage`] where the query is at fault.
pub(super) fn explained(error: &DataFusionError, query: &Query<'_>) -> Error {
    let place = error.diagnostic().and_then(|d| d.span);
    let place = place.map_or_else(String::new, |span| {
        format!(" (line {}, column {})", span.start.line, span.start.column)
    });
    let root = error.find_root();
    if let DataFusionError::SchemaError(fault, _) = root {
        anyhow!(Usage(format!("{}{place}", of_schema(fault, query.text))))
    } else if let DataFusionError::SQL(..) = root {
        does_not_parse(error)
    } else if let DataFusionError::Plan(text) | DataFusionError::NotImplemented(text) = root {
        anyhow!(Usage(format!("{}{place}", text.trim_end())))
    } else if let DataFusionError::ResourcesExhausted(text) = root {
        anyhow!(
            "the query needs more than {} MiB of memory, also with files to spill to; raise --memory-mib, or ask \
             for less. {text}",
            query.memory_mib
        )
    } else {
        anyhow!("{}{place}", error.strip_backtrace())
    }
}

fn of_schema(fault: &SchemaError, query: &str) -> String {
    let SchemaError::FieldNotFound { field, valid_fields } = fault else {
        return fault.to_string();
    };
    let there: Vec<String> = valid_fields.iter().map(|c| c.flat_name()).collect();
    let quoted = query.contains(&format!("\"{}\"", field.name()));
    let hint = if quoted { " (a text stands in single quotes)" } else { "" };
    if there.is_empty() {
        return format!("no column {:?}{hint}; the query names no table", field.flat_name());
    }
    format!("no column {:?}{hint}; there are {}", field.flat_name(), there.join(", "))
}
