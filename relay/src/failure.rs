//! Why the daemon cannot start, or cannot go on.

use l2link_os::SetupError;
use l2link_os::config_file::ConfigError;
use std::io;
use std::process::ExitCode;

/// Printed once, by `main`.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The configuration file is wrong.
    #[error("{0}")]
    Config(#[from] ConfigError),
    /// Something of the system could not be set up.
    #[error("{0}")]
    Setup(#[from] SetupError),
    /// The event loop broke.
    #[error("waiting for events: {0}")]
    Poll(#[from] io::Error),
}

impl Failure {
    /// 2 if the configuration file is to be mended, 1 otherwise.
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Config(_) => ExitCode::from(2),
            Self::Setup(_) | Self::Poll(_) => ExitCode::from(1),
        }
    }
}
