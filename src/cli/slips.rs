//! Commands that change or read what the audit must know of tell the gateway beside them.

use crate::audit::slip;
use crate::audit::slip::Deed;
use crate::cli::complain;
use crate::config::Config;

/// The same of what a running gateway sees by itself: then it records it, and a slip would make it two.
pub(in crate::cli) fn leave_if_unseen(config: &Config, deed: &Deed) {
    if !slip::is_owned(&config.audit.dir) {
        leave(config, deed);
    }
}

/// Tells the gateway that owns a log what is about to be done.
pub(in crate::cli) fn leave(config: &Config, deed: &Deed) {
    let directory = &config.audit.dir;
    // where no gateway ever was there is no log to write into
    if !directory.is_dir() {
        return;
    }
    if let Err(error) = slip::leave(directory, deed) {
        let directory = directory.display();
        complain(&format!(
            "modgate: this is not recorded in the audit, whose directory {directory} cannot be written: {error}"
        ));
    }
}
