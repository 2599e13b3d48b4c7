//! Compiles the programs for the kernel, if the feature `ebpf` is on.

#[path = "../compile_bpf.rs"]
mod compile_bpf;

fn main() {
    compile_bpf::compile("fast_path", &[]);
}
