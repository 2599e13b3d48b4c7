//! The binaries under test.

use std::env;
use std::path::PathBuf;

/// Path of a binary of the workspace: `$L2LINK_BIN_DIR/NAME`, or the one in the folder in which cargo built this test.
///
/// # Panics
/// When it has not been built; the message says how.
#[must_use]
pub fn binary(name: &str) -> PathBuf {
    let path = folder().join(name);
    assert!(
        path.is_file(),
        "{} is not there: build it first by `cargo build --workspace`, with --release if these tests run with it",
        path.display()
    );
    path
}

fn folder() -> PathBuf {
    if let Some(folder) = env::var_os("L2LINK_BIN_DIR") {
        return folder.into();
    }
    // target/PROFILE/deps/THIS-TEST
    let test = env::current_exe().expect("path of this test");
    test.ancestors().nth(2).expect("a folder two above this test").to_owned()
}
