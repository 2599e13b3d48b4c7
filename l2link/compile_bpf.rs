// Compiles programs for the kernel: a module of the build scripts of the crates that have some.

use std::env;
use std::path::PathBuf;
use std::process::Command;

/// Compiles `src/NAME.bpf.c` to `NAME.o` in `OUT_DIR`, if the feature `ebpf` is on. `more`: what clang is told besides.
pub(crate) fn compile(name: &str, more: &[&str]) {
    let source = format!("src/{name}.bpf.c");
    println!("cargo::rerun-if-changed={source}");
    println!("cargo::rerun-if-changed=../compile_bpf.rs");
    println!("cargo::rerun-if-env-changed=CLANG");
    if env::var_os("CARGO_FEATURE_EBPF").is_none() {
        return;
    }
    let clang = env::var("CLANG").unwrap_or_else(|_| "clang".to_owned());
    let folder = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    let mut command = Command::new(&clang);
    command.args(["-O2", "-g", "-Wall", "-Werror", "-target", "bpf"]).args(more);
    command.args(["-c", &source, "-o"]).arg(folder.join(format!("{name}.o")));
    // Debian keeps <asm/types.h> in a folder of the architecture, which clang for BPF does not look into.
    let arch = env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_default();
    command.arg(format!("-I/usr/include/{arch}-linux-gnu"));
    let made = command.status();
    assert!(
        made.as_ref().is_ok_and(|status| status.success()),
        "the feature `ebpf` needs clang and the headers of libbpf (Debian: clang, libbpf-dev): {clang}: {made:?}"
    );
}
