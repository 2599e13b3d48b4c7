//! l2ctl.
fn main() {}
