//! What `l2ctl` and `l2top` share: the tables that daemons tell, and the picture that follows from those of several.

pub mod sample;
pub mod topology;
