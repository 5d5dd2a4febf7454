//! The order in which subtasks are learnt.

use super::Subtask;
use crate::error::AlignError;

/// Sorts topologically by prerequisites; of those that could come next, the lowest level first, then the
/// given order (Kahn 1962).
///
/// # Errors
/// [`AlignError::Config`] when a prerequisite is not among the subtasks, or some wait for each other.
pub fn topological_order(subtasks: &[Subtask]) -> Result<Vec<&Subtask>, AlignError> {
    let fail = |detail: String| AlignError::Config { what: "curriculum", detail };
    for subtask in subtasks {
        let known = |name: &&str| subtasks.iter().any(|s| s.name == *name);
        if let Some(missing) = subtask.prerequisites.iter().find(|name| !known(name)) {
            let detail = format!("{} needs {missing:?}, which is no subtask", subtask.name);
            return Err(fail(detail));
        }
    }
    let mut order: Vec<&Subtask> = Vec::new();
    while order.len() < subtasks.len() {
        let done = |name: &&str| order.iter().any(|s| s.name == *name);
        let open = subtasks.iter().filter(|s| !done(&s.name));
        let ready = open.clone().filter(|s| s.prerequisites.iter().all(&done));
        let Some(next) = ready.min_by_key(|s| s.level) else {
            let names: Vec<&str> = open.map(|s| s.name).collect();
            return Err(fail(format!("{} wait for each other", names.join(", "))));
        };
        order.push(next);
    }
    Ok(order)
}
