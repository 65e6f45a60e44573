//! A bar on standard error that tells how far a long command is: redrawn on a terminal, a line each tenth elsewhere.

use std::io::IsTerminal as _;
use std::io::Write as _;

/// So far of so many.
#[derive(Debug)]
pub(in crate::cli::cache) struct Progress {
    total: usize,
    done: usize,
}

impl Progress {
    /// Nothing of so many.
    pub(in crate::cli::cache) fn of(total: usize) -> Self {
        Self { total: total.max(1), done: 0 }
    }

    /// One more is done.
    pub(in crate::cli::cache) fn step(&mut self, what: &str) {
        self.done += 1;
        let mut err = std::io::stderr().lock();
        // nobody is harmed by a bar that cannot be drawn
        let _drawn = if err.is_terminal() {
            let what: String = what.chars().take(WHAT_CHARS).collect();
            let end = if self.done == self.total { "\n" } else { "" };
            write!(err, "\r[{}] {}/{} {what:WHAT_CHARS$}{end}", self.bar(), self.done, self.total)
        } else if self.done * 10 / self.total > (self.done - 1) * 10 / self.total {
            writeln!(err, "[{}] {}/{}", self.bar(), self.done, self.total)
        } else {
            Ok(())
        };
    }

    fn bar(&self) -> String {
        let full = self.done * BAR_CHARS / self.total;
        format!("{}{}", "#".repeat(full), " ".repeat(BAR_CHARS.saturating_sub(full)))
    }
}

/// The width of the bar.
const BAR_CHARS: usize = 30;
/// The width of what is told beside it.
const WHAT_CHARS: usize = 40;
