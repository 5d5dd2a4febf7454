//! Progress bars with the time left, on standard error; quiet where nobody looks.

use std::io::IsTerminal;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// One step's bar. On a terminal it is drawn; elsewhere a line is logged at most every ten seconds.
pub(crate) struct Progress {
    bar: ProgressBar,
    name: String,
    plain: bool,
    last: Mutex<Instant>,
}

impl Progress {
    /// A bar of unknown length for the step `name`.
    pub(crate) fn new(name: &str) -> Self {
        let plain = !std::io::stderr().is_terminal();
        let target =
            if plain { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bar = ProgressBar::with_draw_target(None, target);
        let style = ProgressStyle::with_template(
            "{msg:12} [{bar:32}] {human_pos}/{human_len}  {elapsed}, {eta} left",
        )
        .unwrap_or_else(|_| ProgressStyle::default_bar());
        bar.set_style(style.progress_chars("=> "));
        bar.set_message(name.to_owned());
        Self { bar, name: name.to_owned(), plain, last: Mutex::new(Instant::now()) }
    }

    /// Says how far the step is.
    pub(crate) fn set(&self, done: u64, total: u64) {
        self.bar.set_length(total);
        self.bar.set_position(done);
        if !self.plain || total == 0 {
            return;
        }
        let Ok(mut last) = self.last.lock() else { return };
        if last.elapsed() >= Duration::from_secs(10) {
            *last = Instant::now();
            let left = self.bar.eta().as_secs();
            say(&format!("{:12} {done}/{total}, about {left} s left", self.name));
        }
    }

    /// Takes the bar away.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

/// One line for the person who started the command, on standard error.
#[expect(clippy::print_stderr, reason = "the command line talks to a person here")]
pub(crate) fn say(line: &str) {
    eprintln!("{line}");
}

/// One line of a command's result, on standard output.
#[expect(clippy::print_stdout, reason = "results of a command go to standard output")]
pub(crate) fn print(text: &str) {
    println!("{text}");
}
