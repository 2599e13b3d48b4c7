//! Compiles the programs for the kernel, if the feature `ebpf` is on.

use std::env;
use std::path::PathBuf;
use std::process::Command;

const SOURCE: &str = "src/socket_events.bpf.c";

fn main() {
    println!("cargo::rerun-if-changed={SOURCE}");
    println!("cargo::rerun-if-env-changed=CLANG");
    if env::var_os("CARGO_FEATURE_EBPF").is_none() {
        return;
    }
    let clang = env::var("CLANG").unwrap_or_else(|_| "clang".to_owned());
    let folder = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    let mut command = Command::new(&clang);
    // The third version of the instructions has those that change a word and tell what it was (Linux 5.12).
    command.args(["-O2", "-g", "-Wall", "-Werror", "-target", "bpf", "-mcpu=v3", "-c", SOURCE, "-o"]);
    command.arg(folder.join("socket_events.o"));
    // Debian keeps <asm/types.h> in a folder of the architecture, which clang for BPF does not look into.
    let arch = env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_default();
    command.arg(format!("-I/usr/include/{arch}-linux-gnu"));
    let made = command.status();
    assert!(
        made.as_ref().is_ok_and(|status| status.success()),
        "the feature `ebpf` needs clang and the headers of libbpf (Debian: clang, libbpf-dev): {clang}: {made:?}"
    );
}
