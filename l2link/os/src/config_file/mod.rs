//! Configuration files: TOML, with errors that name file, line and column, show the place and say how to mend it.
//!
//! [`load`] reads a file into the daemon's own structure. What serde cannot judge, the daemon judges afterwards: fields
//! that may need it are [`toml::Spanned`], and [`ConfigSource::error_at`] makes an error of the same form from a span.
//! The sections that both daemons share are in [`LinkSection`], [`ApiSection`] and [`MetricsSection`].

mod advice;
mod api;
pub mod edit;
mod metrics;
mod name;
mod peer;
mod restart;
mod routes;
pub mod saver;
mod section;
mod table;

pub use api::{ApiSection, ApiSettings, GroupWord};
pub use edit::{ConfigEdit, NewText};
pub use metrics::{MetricsSection, MetricsSettings};
pub use name::{device_name, interface_name};
pub use peer::{PeerSection, PeerSettings};
pub use restart::without_restart;
pub use routes::{remove_route, save_route, static_routes};
pub use saver::Saver;
pub use section::{Addressing, DataMode, LinkSection, LinkSettings, SecurityMode};
pub use table::{TableWord, routing_table};

use crate::hidden::{without_keys, without_secrets};
use core::fmt;
use core::ops::Range;
use serde::de::DeserializeOwned;
use std::io;
use std::path::{Path, PathBuf};

/// A configuration file as it was read.
#[derive(Debug, Clone)]
pub struct ConfigSource {
    path: PathBuf,
    text: String,
}

/// What is wrong with a configuration file. Its `Display` form is several lines. It holds nothing that looks like a key, whatever the
/// file has: errors go to terminals and into journals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    path: PathBuf,
    place: Option<Place>,
    message: String,
    help: Option<String>,
}

/// Part of a line. Line and column count from 1, in characters.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    line: usize,
    column: usize,
    text: String,
    width: usize,
}

/// Reads `path` into a structure.
///
/// # Errors
/// If the file cannot be read, is no TOML, or is not of the form that `T` has.
pub fn load<T: DeserializeOwned>(path: &Path) -> Result<(T, ConfigSource), ConfigError> {
    parse(path, read(path)?)
}

/// As [`load`], of a text that is, or is to be, that of the file.
///
/// # Errors
/// If it is no TOML, or is not of the form that `T` has.
pub fn parse<T: DeserializeOwned>(path: &Path, text: String) -> Result<(T, ConfigSource), ConfigError> {
    let source = ConfigSource { path: path.to_owned(), text };
    match toml::from_str(&source.text) {
        Ok(value) => Ok((value, source)),
        Err(error) => match error.span() {
            Some(span) => Err(source.error_of_form(span, error.message())),
            None => Err(source.error(error.message())),
        },
    }
}

fn read(path: &Path) -> Result<String, ConfigError> {
    let error = |message: String, help: &str| ConfigError::of_file(path, message).help(help);
    let bytes = std::fs::read(path).map_err(|cause| match cause.kind() {
        io::ErrorKind::NotFound => error("no such file".into(), &missing(path)),
        io::ErrorKind::PermissionDenied => {
            error("permission denied".into(), "run as root, or let this user read the file")
        }
        _ => error(format!("cannot be read: {cause}"), "`--config FILE` names the configuration file"),
    })?;
    String::from_utf8(bytes).map_err(|cause| {
        let offset = cause.utf8_error().valid_up_to();
        let text = String::from_utf8_lossy(cause.as_bytes()).into_owned();
        let source = ConfigSource { path: path.to_owned(), text };
        source.error_at(offset..offset, "this is not UTF-8").help("TOML files are UTF-8")
    })
}

/// What to do where there is no file: an example of this name may be installed.
fn missing(path: &Path) -> String {
    let named = "`--config FILE` names the configuration file".to_owned();
    let example = path.file_name().map(|name| Path::new(EXAMPLES).join(name)).filter(|file| file.exists());
    example.map_or(named.clone(), |example| {
        format!("{named}; an example is {}, other ones are in the folders beside it", example.display())
    })
}

/// Where the package puts the examples.
const EXAMPLES: &str = "/usr/share/doc/l2link/examples";

impl ConfigSource {
    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A path of the configuration file as the file system knows it: relative ones are relative to the file.
    #[must_use]
    pub fn resolve(&self, path: &Path) -> PathBuf {
        self.path.parent().unwrap_or(Path::new("")).join(path)
    }

    /// Where a UNIX socket is to be. `what` names it in errors.
    ///
    /// # Errors
    /// If the path is longer than the 107 bytes that Linux allows (unix(7)), or empty.
    pub fn socket_path(
        &self,
        configured: &toml::Spanned<PathBuf>,
        what: &str,
    ) -> Result<PathBuf, ConfigError> {
        let path = self.resolve(configured.get_ref());
        let error = |message: String| self.error_at(configured.span(), message);
        match path.as_os_str().len() {
            _ if configured.get_ref().as_os_str().is_empty() => {
                Err(error(format!("the path of the {what} is empty")))
            }
            0..=107 => Ok(path),
            length => Err(error(format!("the path of the {what} has {length} bytes; Linux allows 107"))),
        }
    }

    /// An error at a place of the file, for instance at a [`toml::Spanned::span`].
    #[must_use]
    pub fn error_at(&self, span: Range<usize>, message: impl Into<String>) -> ConfigError {
        ConfigError { place: Some(Place::of(&self.text, span)), ..ConfigError::of_file(&self.path, message) }
    }

    /// An error of the file's form, with advice if it is one that many make.
    fn error_of_form(&self, span: Range<usize>, message: &str) -> ConfigError {
        let text = self.text.get(span.clone()).unwrap_or_default();
        let error = self.error_at(span, message);
        let line = error.place.as_ref().map_or("", |place| &place.text);
        match advice::advice(message, line, text) {
            Some(advice) => error.help(advice),
            None => error,
        }
    }

    /// An error of the file as a whole.
    #[must_use]
    pub fn error(&self, message: impl Into<String>) -> ConfigError {
        ConfigError::of_file(&self.path, message)
    }

    /// `FILE:LINE:COLUMN` of a place, for messages at run time about something that is configured there.
    #[must_use]
    pub fn location(&self, span: Range<usize>) -> String {
        let place = Place::of(&self.text, span);
        format!("{}:{}:{}", self.path.display(), place.line, place.column)
    }
}

impl ConfigError {
    /// An error of a file as a whole.
    #[must_use]
    pub fn of_file(path: &Path, message: impl Into<String>) -> Self {
        Self { path: path.to_owned(), place: None, message: without_keys(&message.into()), help: None }
    }

    /// What is wrong and what to do about it, without the place: for a text that is in no file.
    #[must_use]
    pub fn brief(&self) -> String {
        match &self.help {
            Some(help) => format!("{}; {help}", self.message),
            None => self.message.clone(),
        }
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(without_keys(&help.into()));
        self
    }
}

impl Place {
    /// The place where `span` (bytes) begins; of a span of several lines the part on the first.
    fn of(text: &str, span: Range<usize>) -> Self {
        let floor = |offset: usize| {
            (0..=offset.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
        };
        let (mut start, mut end) = (floor(span.start), floor(span.end));
        // An error at the very end of the file is shown behind the last line that says something.
        if start == text.len() {
            start = text.trim_end().len();
            end = start;
        }
        let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
        let line_end = text[start..].find('\n').map_or(text.len(), |at| start + at);
        end = end.clamp(start, line_end);
        Self {
            line: 1 + text[..line_start].matches('\n').count(),
            column: 1 + text[line_start..start].chars().count(),
            text: without_secrets(&text[line_start..line_end].trim_end().replace('\t', " ")),
            width: text[start..end].chars().count().max(1),
        }
    }
}

impl core::error::Error for ConfigError {}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, place, message, help } = self;
        let path = path.display();
        match place {
            None => write!(f, "{path}: {message}")?,
            Some(Place { line, column, text, width }) => {
                let gutter = line.to_string().len();
                let caret = "^".repeat(*width);
                writeln!(f, "{path}:{line}:{column}: {message}")?;
                writeln!(f, "{:gutter$} |", "")?;
                writeln!(f, "{line} | {text}")?;
                write!(f, "{:gutter$} | {:indent$}{caret}", "", "", indent = column - 1)?;
            }
        }
        match help {
            Some(help) => write!(f, "\nhelp: {help}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde::Deserialize;
    use toml::Spanned;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        name: Spanned<String>,
        #[serde(default)]
        port: Vec<Port>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Port {
        interface: Spanned<String>,
    }

    fn error(text: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("relay.toml");
        std::fs::write(&path, text).unwrap();
        let error = load::<Sample>(&path).unwrap_err().to_string();
        error.replace(&format!("{}/", folder.path().display()), "")
    }

    #[test]
    fn an_unknown_field_is_shown_in_its_place() {
        let text = "name = \"r\"\n[[port]]\ninterface = \"eth1\"\n  color = \"red\"\n";
        assert_eq!(
            error(text),
            "relay.toml:4:3: unknown field `color`, expected `interface`\n  |\n4 |   color = \"red\"\n  |   ^^^^^"
        );
    }

    #[rstest]
    #[case::psk("name = \"r\"\npsk = \"@\"\n", "relay.toml:2:1: unknown field `psk`", "2 | psk = \"####\"")]
    #[case::short(
        "name = \"r\"\npsk = \"hunter2\"\n",
        "relay.toml:2:1: unknown field `psk`",
        "2 | psk = \"*******\""
    )]
    #[case::name("name = \"r\"\n@\n", "relay.toml:2:", "2 | ####")]
    #[case::word("name = \"r\"\n\"@\" = 1\n", "relay.toml:2:1: unknown field `####`", "2 | \"####\" = 1")]
    #[case::behind("name = 7 # @\n", "relay.toml:1:8: invalid type", "1 | name = 7 # ####")]
    #[case::value(
        "name = \"r\"\nport = \"@\"\n",
        "relay.toml:2:8: invalid type: string \"####\"",
        "2 | port = \"####\""
    )]
    fn a_key_in_the_wrong_place_is_not_shown(
        #[case] text: &str,
        #[case] message: &str,
        #[case] line: &str,
        #[values("MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=", "000102030405060708090a0b0c0d0e0f")]
        key: &str,
    ) {
        let shown = error(&text.replace('@', key));
        let masked = |expected: &str| expected.replace("####", &"*".repeat(key.len()));
        assert!(shown.starts_with(&masked(message)) && shown.contains(&masked(line)), "{shown}");
        assert!(!shown.contains(&key[..16]) && !shown.contains("hunter"), "{shown}");
    }

    #[rstest]
    #[case::missing("[[port]]\ninterface = \"a\"\n", "relay.toml:1:1: missing field `name`")]
    #[case::kind("name = 7\n", "relay.toml:1:8: invalid type: integer `7`, expected a string")]
    #[case::nested("name = \"r\"\n[[port]]\n", "relay.toml:2:1: missing field `interface`")]
    #[case::twice("name = \"r\"\nname = \"s\"\n", "relay.toml:2:1: duplicate key")]
    #[case::syntax("name = \"r\"\n[[port]\n", "relay.toml:2:")]
    #[case::open("name = \"r", "relay.toml:1:")]
    #[case::wide("# ü\nname = \"ü\" x", "relay.toml:2:12: ")]
    #[case::empty("", "relay.toml:1:1: missing field `name`")]
    fn errors_name_line_and_column(#[case] text: &str, #[case] expected: &str) {
        let error = error(text);
        assert!(error.starts_with(expected), "{error}");
    }

    #[test]
    fn an_error_of_meaning_has_the_same_form() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.toml");
        std::fs::write(&path, "name = \"böse\"\nport = []\n").unwrap();
        let (sample, source) = load::<Sample>(&path).unwrap();
        assert!(sample.port.iter().all(|port| port.interface.get_ref().is_empty()));
        let error = source.error_at(sample.name.span(), "bad name").help("take another one");
        let expected =
            "c.toml:1:8: bad name\n  |\n1 | name = \"böse\"\n  |        ^^^^^^\nhelp: take another one";
        assert_eq!(error.to_string(), format!("{}/{expected}", folder.path().display()));
        assert_eq!(source.resolve(Path::new("psk")), folder.path().join("psk"));
        assert_eq!(source.resolve(Path::new("/etc/psk")), Path::new("/etc/psk"));
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named() {
        let error = load::<Sample>(Path::new("/nowhere/relay.toml")).unwrap_err().to_string();
        assert!(error.starts_with("/nowhere/relay.toml: no such file\nhelp: "), "{error}");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        std::fs::write(&path, b"name = \"\xff\"").unwrap();
        let error = load::<Sample>(&path).unwrap_err().to_string();
        assert!(
            error.contains("x:1:9: this is not UTF-8\n  |\n1 | name = \"\u{fffd}\"\n  |         ^"),
            "{error}"
        );
    }

    #[test]
    fn any_span_is_shown_without_panic() {
        let source = ConfigSource { path: "x".into(), text: "a\nüb\n\n".into() };
        for start in 0..10 {
            for end in 0..10 {
                let _ = source.error_at(start..end, "m").to_string();
            }
        }
    }
}
