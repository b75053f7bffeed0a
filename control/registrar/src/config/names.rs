//! Names of registrars and boxes.

use common::config::report::{At, Report};
use common::identity;

/// Whether it may be one; if not, that is reported.
pub fn named(name: &At<&str>, report: &mut Report<'_>) -> bool {
    match identity::check_name(name.value) {
        Ok(()) => true,
        Err(message) => {
            report.error(name.at, message, identity::NAME_REMEDY);
            false
        }
    }
}
