//! The golden frames: bytes written by hand from `PROTOCOL.md` (in `frames/`) and from the RFCs (in `packets/`), never by
//! this crate's encoder. They are also the fuzzer's seeds and the dissector's test.
//!
//! A line of a `.hex` file is one of
//! - `# ...`: what the frame is and where its bytes come from,
//! - `= ...`: the next line of text that the decoded frame prints: frame, body, then messages,
//! - `% FIELD VALUE`: a field as `tshark -T fields` prints it,
//! - bytes in hexadecimal, up to a `#`.
#![allow(dead_code, reason = "every test binary uses its own part")]

use std::path::PathBuf;

/// One golden frame.
#[derive(Debug, Clone)]
pub(crate) struct Golden {
    /// The file's name without `.hex`.
    pub(crate) name: String,
    /// Expected lines of text.
    pub(crate) lines: Vec<String>,
    /// Expected fields of the dissector: name and value.
    pub(crate) fields: Vec<(String, String)>,
    /// The frame.
    pub(crate) bytes: Vec<u8>,
}

/// All link frames, by name.
pub(crate) fn frames() -> Vec<Golden> {
    load("frames")
}

/// All packets of the outside world, by name.
pub(crate) fn packets() -> Vec<Golden> {
    load("packets")
}

/// One link frame.
pub(crate) fn frame(name: &str) -> Golden {
    frames()
        .into_iter()
        .find(|golden| golden.name == name)
        .unwrap_or_else(|| panic!("no golden frame {name}"))
}

/// One packet.
pub(crate) fn packet(name: &str) -> Golden {
    packets()
        .into_iter()
        .find(|golden| golden.name == name)
        .unwrap_or_else(|| panic!("no golden packet {name}"))
}

fn load(folder: &str) -> Vec<Golden> {
    // The crate `tools` has them for its tests, too.
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../frames/tests/golden").join(folder);
    let mut all: Vec<Golden> = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "hex"))
        .map(|path| {
            let name = path.file_stem().unwrap().to_str().unwrap();
            read(name, &std::fs::read_to_string(&path).unwrap())
        })
        .collect();
    all.sort_by(|a, b| a.name.cmp(&b.name));
    assert!(!all.is_empty(), "{} holds no golden frame", folder.display());
    all
}

fn read(name: &str, text: &str) -> Golden {
    let mut golden = Golden { name: name.into(), lines: vec![], fields: vec![], bytes: vec![] };
    for line in text.lines() {
        if let Some(expected) = line.strip_prefix("= ") {
            golden.lines.push(expected.into());
        } else if let Some(field) = line.strip_prefix("% ") {
            let (field, value) = field.split_once(' ').unwrap_or_else(|| panic!("{name}: {line}"));
            golden.fields.push((field.into(), value.into()));
        } else {
            let hex = line.split('#').next().unwrap_or_default().split_whitespace();
            golden.bytes.extend(hex.map(|byte| {
                assert_eq!(byte.len(), 2, "{name}: {line}");
                u8::from_str_radix(byte, 16).unwrap_or_else(|error| panic!("{name}: {line}: {error}"))
            }));
        }
    }
    golden
}
