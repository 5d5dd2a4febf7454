//! What only the outermost crate may ask of the machine: the time, and the memory used so far.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Result, anyhow};
use types::{Clock, Timestamp};

use crate::failure::Usage;

/// The clock of the machine.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the Clock that all others take")]
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }
}

/// The secret in the environment variable that a setting names.
#[expect(clippy::disallowed_methods, reason = "this crate may read the environment: keys")]
pub(crate) fn secret(setting: &str, variable: Option<&str>) -> Result<Option<String>> {
    let Some(name) = variable else { return Ok(None) };
    let missing =
        |_| anyhow!(Usage(format!("{setting} names {name}, which is not in the environment")));
    std::env::var(name).map(Some).map_err(missing)
}

/// The largest resident size of this process so far, in bytes; `None` where `/proc` is absent.
pub(crate) fn peak_memory_bytes() -> Option<u64> {
    status_bytes("VmHWM:")
}

/// The resident size of this process now, in bytes; `None` where `/proc` is absent.
pub(crate) fn memory_bytes() -> Option<u64> {
    status_bytes("VmRSS:")
}

fn status_bytes(field: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|l| l.starts_with(field))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib * 1024)
}
