//! What an operator does by hand that the relay else does by itself (M18): routes, and decisions about controls.
//!
//! Rules and symbols are a control's: it asks for those by hand as for the others, and the relay does not tell them apart.

mod error;
mod peers;
mod routes;

pub use error::HandError;
pub use l2link::by_hand::{Decided, Standing};
