//! What the log lines themselves are measured by.

use prometheus::IntCounter;

pub(super) fn lost() -> Result<IntCounter, prometheus::Error> {
    IntCounter::new("martingale_log_lines_lost_total", "Log lines that standard error did not take, and are gone.")
}
