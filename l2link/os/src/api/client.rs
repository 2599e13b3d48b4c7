//! [`ApiClient`]: the asking end, blocking, for command-line tools.

use nix::unistd::{Gid, Group};
use serde_json::Value;
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// A connection to a daemon.
#[derive(Debug)]
pub struct ApiClient {
    path: PathBuf,
    stream: BufReader<UnixStream>,
    /// Where the next page begins, if the last answer was not all of a table.
    more: Option<String>,
}

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error(
        "no daemon listens at {}: is l2relay or l2control running? `--socket PATH` names another socket",
        .path.display()
    )]
    NotRunning {
        /// The socket.
        path: PathBuf,
    },
    /// The socket may not be used by this user, or not for this.
    #[error("{}: {error}", .path.display())]
    Denied {
        /// The socket.
        path: PathBuf,
        /// Who is refused what, and what would help.
        error: String,
    },
    /// The connection broke.
    #[error("connection to {} failed: {source}", .path.display())]
    Io {
        /// The socket.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The daemon ended the connection.
    #[error("the daemon closed the connection: it was stopped, or this client read too slowly")]
    Closed,
    /// The answer makes no sense.
    #[error("unintelligible answer: {0}")]
    Answer(String),
    /// The daemon refused.
    #[error("{0}")]
    Refused(String),
}

impl ApiClient {
    /// Connects to the daemon that listens at `path`.
    ///
    /// # Errors
    /// [`ClientError::NotRunning`], [`ClientError::Denied`], [`ClientError::Io`].
    pub fn connect(path: &Path) -> Result<Self, ClientError> {
        let owned = path.to_owned();
        match UnixStream::connect(path) {
            Ok(stream) => Ok(Self { path: owned, stream: BufReader::new(stream), more: None }),
            Err(source) => Err(match source.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                    ClientError::NotRunning { path: owned }
                }
                io::ErrorKind::PermissionDenied => {
                    ClientError::Denied { error: not_for_this_user(path), path: owned }
                }
                _ => ClientError::Io { path: owned, source },
            }),
        }
    }

    /// Asks, and waits for the answer's data.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with the daemon's words, and those of [`ApiClient::next`].
    pub fn request(&mut self, request: &Value) -> Result<Vec<Value>, ClientError> {
        let mut line = request.to_string();
        line.push('\n');
        match self.stream.get_mut().write_all(line.as_bytes()) {
            // A daemon that refuses a client says why before it closes.
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(self.broken(error)),
            _ => self.next(),
        }
    }

    /// Asks for a table page by page until it is whole: an answer with a `next` is asked again `after` that.
    ///
    /// # Errors
    /// Those of [`ApiClient::request`].
    pub fn request_all(&mut self, request: &Value) -> Result<Vec<Value>, ClientError> {
        let mut request = request.clone();
        let mut rows = self.request(&request)?;
        while let Some(next) = self.more.take() {
            request["after"] = next.into();
            rows.extend(self.request(&request)?);
        }
        Ok(rows)
    }

    /// Waits for the data of the next answer of a stream that [`ApiClient::request`] began.
    ///
    /// # Errors
    /// [`ClientError::Closed`] at its end, [`ClientError::Io`], [`ClientError::Answer`], [`ClientError::Refused`],
    /// [`ClientError::Denied`].
    #[allow(clippy::should_implement_trait, reason = "an iterator has no errors")]
    pub fn next(&mut self) -> Result<Vec<Value>, ClientError> {
        let mut line = String::new();
        match self.stream.read_line(&mut line) {
            Ok(0) => return Err(ClientError::Closed),
            Ok(_) if !line.ends_with('\n') => return Err(ClientError::Closed),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Err(ClientError::Closed),
            Err(error) => return Err(self.broken(error)),
        }
        let strange = || ClientError::Answer(line.trim_end().chars().take(200).collect());
        let mut answer: Value = serde_json::from_str(&line).map_err(|_| strange())?;
        self.more = answer.get("next").and_then(Value::as_str).map(str::to_owned);
        match (answer.get("ok").and_then(Value::as_bool), answer.get_mut("data").map(Value::take)) {
            (Some(true), Some(Value::Array(data))) => Ok(data),
            (Some(false), _) => match answer.get("error").and_then(Value::as_str) {
                Some(error) if answer.get("denied").and_then(Value::as_bool) == Some(true) => {
                    Err(ClientError::Denied { path: self.path.clone(), error: error.to_owned() })
                }
                Some(error) => Err(ClientError::Refused(error.to_owned())),
                None => Err(strange()),
            },
            _ => Err(strange()),
        }
    }

    /// The connection, for the stream of bytes that follows an answer.
    #[must_use]
    pub fn into_stream(self) -> BufReader<UnixStream> {
        self.stream
    }

    fn broken(&self, source: io::Error) -> ClientError {
        ClientError::Io { path: self.path.clone(), source }
    }
}

/// Who may open a socket that this user may not.
fn not_for_this_user(path: &Path) -> String {
    let user = nix::unistd::geteuid();
    let group = fs::metadata(path).ok().filter(|file| file.mode() & 0o060 == 0o060).map(|file| {
        let group = Group::from_gid(Gid::from_raw(file.gid())).ok().flatten();
        group.map_or_else(|| file.gid().to_string(), |group| group.name)
    });
    match group {
        Some(group) => format!("no permission for user {user}: it is for root and members of group {group}"),
        None => format!("no permission for user {user}: it is for root alone"),
    }
}
