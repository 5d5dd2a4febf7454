//! How a command ends: exit codes 0 done, 1 failed, 2 wrong usage or configuration, 3 data rejected.

use std::process::ExitCode;

use events::EventsError;

/// The command line or the configuration is wrong.
#[derive(Debug)]
pub(crate) struct Usage(pub(crate) String);

impl std::fmt::Display for Usage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// The exit code that an error deserves.
pub(crate) fn exit_code(error: &anyhow::Error) -> ExitCode {
    let of_events = || error.chain().filter_map(|cause| cause.downcast_ref::<EventsError>());
    let usage = error.chain().any(|cause| cause.is::<Usage>())
        || of_events().any(EventsError::is_configuration);
    let rejected = of_events().any(EventsError::is_data_rejected);
    ExitCode::from(match (usage, rejected) {
        (true, _) => 2,
        (false, true) => 3,
        (false, false) => 1,
    })
}
