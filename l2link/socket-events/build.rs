//! Compiles the programs for the kernel, if the feature `ebpf` is on.

#[path = "../compile_bpf.rs"]
mod compile_bpf;

fn main() {
    // The third version of the instructions has those that change a word and tell what it was (Linux 5.12).
    compile_bpf::compile("socket_events", &["-mcpu=v3"]);
}
