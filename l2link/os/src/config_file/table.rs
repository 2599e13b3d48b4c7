//! Names of routing tables.

use super::{ConfigError, ConfigSource};
use serde::Deserialize;
use toml::Spanned;

/// A routing table: its number, or a name that every Linux has.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum TableWord {
    /// A number.
    Number(u32),
    /// A name.
    Name(String),
}

// linux/rtnetlink.h
const MAIN: u32 = 254;
const DEFAULT: u32 = 253;
const LOCAL: u32 = 255;

/// The number of a routing table in which there can be routes to other machines.
///
/// # Errors
/// Says where the word is, and what may be there.
pub fn routing_table(word: &Spanned<TableWord>, source: &ConfigSource) -> Result<u32, ConfigError> {
    match word.get_ref() {
        TableWord::Number(number) if *number > 0 && *number != LOCAL => Ok(*number),
        TableWord::Name(name) if name == "main" => Ok(MAIN),
        TableWord::Name(name) if name == "default" => Ok(DEFAULT),
        TableWord::Number(_) | TableWord::Name(_) => Err(source
            .error_at(word.span(), "this is not a routing table that can be used")
            .help("write \"main\", \"default\", or the number of a table other than 0 and 255")),
    }
}
