//! The counts as a program and as a person read them: both are made from the table of figures.

use super::counts::Counts;
use super::figures::BOOK;
use common::metrics::{json, print};
use serde::{Serialize, Serializer};
use std::fmt;

/// The JSON object.
impl Serialize for Counts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        json::object(&BOOK, self).serialize(serializer)
    }
}

/// The table on the terminal.
impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&print::table(&BOOK, self))
    }
}
