//! Figures for monitoring: every metric that the daemons have, their text form, and the server that hands it out.
//!
//! The cores know nothing of this. They give plain values, a daemon's shell puts them into an [`Exposition`] under the
//! names of [`Metric`], a closed list that the documentation and the dashboard are held to, and a [`MetricsServer`] gives
//! the text to whoever asks: in the form of OpenMetrics 1.0, or in the older text format of Prometheus to clients that
//! want only that.

mod exposition;
mod link;
mod metric;
mod process;
mod request;
mod server;

pub use exposition::{Exposition, Value};
pub use link::{Daemon, add_daemon};
pub use metric::{Family, Kind, Metric, Owner};
pub use server::MetricsServer;
