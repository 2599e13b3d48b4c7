//! Requests to the daemon.

use crate::Failure;
use crate::columns::Object;
use l2link_os::api::{ApiClient, ClientError};
use serde_json::{Value, json};
use std::path::Path;

/// The rows of a table.
pub(crate) fn show(socket: &Path, object: Object) -> Result<Vec<Value>, Failure> {
    Ok(ApiClient::connect(socket)?.request_all(&json!({"verb": "show", "object": object.name()}))?)
}

/// The differences between what the daemon means and what its kernel has.
pub(crate) fn verify(socket: &Path) -> Result<Vec<Value>, Failure> {
    Ok(ApiClient::connect(socket)?.request(&json!({"verb": "verify"}))?)
}

/// What the daemon has to say to a request.
pub(crate) fn request(socket: &Path, request: &Value) -> Result<Vec<Value>, Failure> {
    Ok(ApiClient::connect(socket)?.request(request)?)
}

/// Events as they happen. The iterator ends with the error that ended the connection.
pub(crate) fn monitor(socket: &Path) -> Result<impl Iterator<Item = Result<Value, Failure>>, Failure> {
    let mut client = ApiClient::connect(socket)?;
    let mut waiting = Some(client.request(&json!({"verb": "monitor"}))?.into_iter());
    Ok(std::iter::from_fn(move || {
        loop {
            if let Some(event) = waiting.as_mut()?.next() {
                return Some(Ok(event));
            }
            match client.next() {
                Ok(events) => waiting = Some(events.into_iter()),
                Err(error) => {
                    waiting = None;
                    return Some(Err(error.into()));
                }
            }
        }
    }))
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Denied { .. } => Self::Denied(error.to_string()),
            error => Self::Daemon(error.to_string()),
        }
    }
}
