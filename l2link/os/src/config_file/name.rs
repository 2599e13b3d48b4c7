//! Names in configuration files.

use super::{ConfigError, ConfigSource};
use frames::discovery::NAME_MAX;
use toml::Spanned;

/// Longest interface name of Linux in bytes (`IFNAMSIZ` without the terminator).
const INTERFACE_MAX: usize = 15;

/// Checks the name of a relay or control: 1 to 63 letters, digits, `.`, `-`, `_`, so that it stands in logs and permission lists
/// without quotes.
///
/// # Errors
/// If it is not.
pub fn device_name(name: &Spanned<String>, source: &ConfigSource) -> Result<String, ConfigError> {
    let text = name.get_ref();
    let error = |message: String| {
        source.error_at(name.span(), message).help("for example \"relay1\"; it must be unique on the segment")
    };
    if text.is_empty() || text.len() > NAME_MAX {
        return Err(error(format!(
            "a device name has 1 to {NAME_MAX} characters, this one has {}",
            text.len()
        )));
    }
    match text.chars().find(|letter| !(letter.is_ascii_alphanumeric() || ".-_".contains(*letter))) {
        Some(letter) => {
            Err(error(format!("a device name has letters, digits, '.', '-', '_' only, not {letter:?}")))
        }
        None => Ok(text.clone()),
    }
}

/// Checks the name of a network interface by Linux's rules. Whether there is such an interface is another question.
///
/// # Errors
/// If it cannot be one.
pub fn interface_name(name: &Spanned<String>, source: &ConfigSource) -> Result<String, ConfigError> {
    let text = name.get_ref();
    let message = if text.is_empty() {
        "an interface name cannot be empty".to_owned()
    } else if text.len() > INTERFACE_MAX {
        format!("an interface name has at most {INTERFACE_MAX} characters, this one has {}", text.len())
    } else if text == "." || text == ".." {
        format!("{text:?} cannot be an interface name")
    } else if let Some(letter) = text.chars().find(|letter| letter.is_whitespace() || "/:".contains(*letter))
    {
        format!("an interface name cannot hold {letter:?}")
    } else {
        return Ok(text.clone());
    };
    Err(source.error_at(name.span(), message).help("`ip link` lists the interfaces"))
}
