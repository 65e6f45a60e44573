//! Commands that change or read what the audit must know of tell the gateway beside them.

use crate::audit::slip;
use crate::audit::slip::Deed;
use crate::cli::complain;
use crate::config::Config;

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
