//! The command socket of both daemons: a UNIX stream socket, one JSON request per line, one JSON answer per line.
//!
//! A request is an object with the key `verb`. An answer is `{"ok":true,"data":[…]}` or `{"ok":false,"error":"…"}`, with
//! `"denied":true` if it is not for this user. A client that asked to monitor gets answers for as long as it stays; one that asked to
//! capture gets a capture file behind the answer, and says by shutting its end down for writing that it is enough.

mod client;
mod server;
mod verb;

pub use client::{ApiClient, ClientError};
pub use server::{ApiServer, ClientId, Request, Stream};
pub use verb::Verb;

use l2link::trace::Hop;
use serde_json::{Value, json};

/// Longest line that either side accepts, in bytes, of a request.
pub const REQUEST_MAX: usize = 64 * 1024;

/// The answer that carries `data`, an array.
#[must_use]
pub fn success(data: impl Into<Value>) -> Value {
    json!({ "ok": true, "data": data.into() })
}

/// The answer that says what went wrong.
#[must_use]
pub fn failure(error: impl core::fmt::Display) -> Value {
    json!({ "ok": false, "error": error.to_string() })
}

/// The answer to who may not do what it asks for.
#[must_use]
fn denial(error: impl core::fmt::Display) -> Value {
    let mut answer = failure(error);
    answer["denied"] = true.into();
    answer
}

/// The answer that carries the steps of a trace.
#[must_use]
pub fn hops(hops: &[Hop]) -> Value {
    success(hop_rows(hops))
}

/// The steps of a trace, as an answer has them.
#[must_use]
pub fn hop_rows(hops: &[Hop]) -> Vec<Value> {
    let row = |hop: &Hop| {
        json!({
            "stage": hop.stage.to_string(),
            "outcome": hop.outcome.to_string(),
            "peer": hop.peer,
            "up_tunnel": hop.up_tunnel,
            "reason": hop.reason,
            "text": hop.text,
        })
    };
    hops.iter().map(row).collect()
}
