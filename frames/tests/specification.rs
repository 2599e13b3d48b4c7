//! `PROTOCOL.md` against the code: the same numbers, names, bit pictures and drop reasons.

use frames::DropReason;
use frames::discovery::{Mode, Protection, Role};
use frames::header::{Flags, Kind, KindRange};
use frames::message::{MessageType, Status};
use frames::route::RouteKind;
use frames::session::{CloseReason, Stream};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Rows of a table by number: the cells behind the number.
type Table = BTreeMap<u32, Vec<String>>;

#[test]
fn kinds() {
    let table = rows(&section("Kinds"), "kind");
    assert_eq!(names(&table), Kind::ALL.iter().map(|(kind, name)| (u32::from(kind.0), *name)).collect());
    let reserved = section("Kinds");
    assert!(reserved.contains(&format!("`{:#04x}` for", Kind::COOKIE.0)));
    assert_eq!(Kind::COOKIE.name(), None);
}

#[test]
fn kind_ranges() {
    let text = section("Kinds");
    for (first, last, name, range) in [
        (0x01, 0x1f, "discovery", KindRange::Discovery),
        (0x20, 0x3f, "session", KindRange::Session),
        (0x40, 0x5f, "data", KindRange::Data),
        (0x60, 0xff, "reserved", KindRange::Reserved),
    ] {
        let row =
            text.lines().find(|line| line.contains(&format!("`{first:#04x}`-`{last:#04x}` | {name} |")));
        assert!(row.is_some(), "{name}");
        for kind in first..=last {
            assert_eq!(Kind(kind).range(), range, "{kind:#x}");
        }
    }
    assert_eq!(Kind(0).range(), KindRange::Reserved);
}

#[test]
fn flags() {
    let table = table("bit");
    let code = [
        (Flags::SEALED, "SEALED"),
        (Flags::ENCRYPTED, "ENCRYPTED"),
        (Flags::GATED, "GATED"),
        (Flags::BULK, "BULK"),
    ];
    assert_eq!(names(&table), code.iter().map(|(flag, name)| (u32::from(flag.bits()), *name)).collect());
}

#[test]
fn message_types_and_their_streams() {
    let messages = rows(&section("Control messages"), "type");
    let code = MessageType::ALL.iter().map(|(kind, name, _)| (u32::from(kind.0), *name));
    assert_eq!(names(&messages), code.collect());
    for (kind, name, stream) in MessageType::ALL {
        assert_eq!(messages[&u32::from(kind.0)][2], stream.to_string(), "{name}");
    }
}

#[test]
fn tlvs() {
    let rows = rows(&section("TLVs"), "type");
    assert_eq!(names(&rows), frames::tlv::ALL.iter().map(|(kind, name)| (u32::from(*kind), *name)).collect());
    assert!(section("TLVs").contains(&format!("below `{:#06x}`", frames::tlv::MANDATORY)));
}

#[test]
fn statuses() {
    let code = Status::ALL.iter().map(|(status, name)| (u32::from(status.0), *name));
    assert_eq!(names(&table("status")), code.collect());
}

#[test]
fn route_kinds() {
    let code = RouteKind::ALL.iter().map(|(kind, name)| (*kind as u32, *name));
    assert_eq!(names(&rows(&section("ROUTE_ADD"), "kind")), code.collect());
}

#[test]
fn close_reasons() {
    let code = CloseReason::ALL.iter().map(|(reason, name)| (u32::from(reason.0), *name));
    assert_eq!(names(&table("reason")), code.collect());
}

#[test]
fn streams() {
    let code = Stream::ALL.map(|stream| (stream as u32, stream.to_string()));
    assert_eq!(owned(&table("stream")), BTreeMap::from(code));
}

#[test]
fn roles_modes_and_protections() {
    let roles = [Role::Relay, Role::Control].map(|role| (role as u32, role.to_string()));
    assert_eq!(owned(&table("role")), BTreeMap::from(roles));
    let modes = [Mode::NONE, Mode::PSK, Mode::KEYS].map(|mode| (u32::from(mode.0), mode.to_string()));
    assert_eq!(owned(&table("mode")), BTreeMap::from(modes));
    let protections = [Protection::CLEAR, Protection::SEALED, Protection::ENCRYPTED];
    let protections = protections.map(|protection| (u32::from(protection.0), protection.to_string()));
    assert_eq!(owned(&table("protection")), BTreeMap::from(protections));
}

#[test]
fn every_drop_reason_has_a_paragraph_that_begins_with_its_explanation() {
    let text = section("Drop reasons");
    let paragraphs: Vec<String> = text
        .split("\n\n")
        .filter(|text| text.starts_with("**`"))
        .map(|text| text.replace('\n', " "))
        .collect();
    for (reason, paragraph) in DropReason::ALL.iter().zip(&paragraphs) {
        let expected = format!("**`{}`**: {} ", reason.name(), reason.explanation());
        assert!(paragraph.starts_with(&expected), "expected: {expected}\nfound: {paragraph}");
    }
    assert_eq!(paragraphs.len(), DropReason::COUNT);
}

#[test]
fn drop_reasons_are_numbered_in_order_and_named_once() {
    let names: BTreeSet<&str> = DropReason::ALL.iter().map(|reason| reason.name()).collect();
    assert_eq!(names.len(), DropReason::COUNT);
    for (number, reason) in DropReason::ALL.iter().enumerate() {
        assert_eq!(*reason as usize, number);
        let is_kebab = reason.name().chars().all(|c| c.is_ascii_lowercase() || c == '-');
        assert!(is_kebab, "{reason}");
        assert!(reason.explanation().ends_with('.'), "{reason}");
    }
}

#[test]
fn every_kind_and_message_has_a_section_of_its_own() {
    let text = specification();
    let kinds = Kind::ALL.iter().map(|(_, name)| *name);
    for name in kinds.chain(MessageType::ALL.iter().map(|(_, name, _)| *name)) {
        assert!(text.contains(&format!("\n### {name}\n")), "{name}");
    }
}

#[test]
fn limits() {
    let text = specification();
    for limit in [frames::message::MESSAGE_MAX, frames::data::PARCEL_MAX] {
        assert!(text.contains(&grouped(limit)), "{limit}");
    }
    for (text, limit) in [
        (section("TLVs"), frames::discovery::NAME_MAX),
        (section("TLVs"), frames::message::TEXT_MAX),
        (section("TLVs"), frames::message::PortAttributes::ROUTES_MAX),
        (section("ACK"), frames::session::Ack::RANGES_MAX),
        (section("ROUTE_ADD"), frames::message::RouteNexthop::MAX),
        (section("ROUTES_BEGIN"), frames::route::Slice::BITS_MAX.into()),
    ] {
        assert!(text.contains(&format!("to {limit} ")), "{limit}");
    }
    assert!(section("TLVs").contains(&grouped(frames::message::PortAttributes::ADDRESSES_MAX)));
}

/// The bit pictures of the code stand in the specification as they are, and none else.
#[test]
fn bit_pictures_are_the_same() {
    let structs = structs();
    let text = specification();
    for wire in &structs {
        assert!(text.contains(&wire.picture), "PROTOCOL.md lacks this picture:\n{}", wire.picture);
    }
    let ours: BTreeSet<&str> = structs.iter().map(|wire| wire.picture.as_str()).collect();
    for block in text.split("```text\n").skip(1).filter_map(|rest| rest.split("\n```").next()) {
        assert!(
            !block.starts_with(" 0     ") || ours.contains(block),
            "no struct has this picture:\n{block}"
        );
    }
}

/// Every field of a wire struct stands in its picture under its own name.
#[test]
fn bit_pictures_name_the_fields() {
    let structs = structs();
    assert!(structs.len() >= 25, "{} structs found", structs.len());
    for wire in structs {
        let body = wire.picture.split_once("\n+").map_or("", |(_ruler, body)| body);
        for field in &wire.fields {
            let labels = match field.as_str() {
                "version_flags" => vec!["version", "flags"],
                "last_offset" => vec!["L", "offset"],
                "kind" if matches!(wire.name.as_str(), "MessageHeader" | "TlvHeader") => vec!["type"],
                "tunnel" if wire.name.starts_with("Rule") => vec!["up tunnel"],
                "tunnel" if wire.name.starts_with("Tunnel") => vec!["down tunnel"],
                "local" => vec!["local address"],
                "remote" => vec!["remote address"],
                field => vec![field],
            };
            for label in labels {
                let label = label.replace('_', " ").to_lowercase();
                let named = body.to_lowercase();
                assert!(named.contains(&label), "{}: {label} is not in\n{body}", wire.name);
            }
        }
    }
}

struct WireStruct {
    name: String,
    fields: Vec<String>,
    picture: String,
}

/// The structs of `src` with a bit picture, the views of the outside world's packets left out.
fn structs() -> Vec<WireStruct> {
    sources(&folder().join("src")).iter().flat_map(|source| structs_of(source)).collect()
}

fn sources(folder: &Path) -> Vec<String> {
    let mut all = vec![];
    for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() && entry.file_name().unwrap() != "inet" {
            all.extend(sources(&entry));
        } else if entry.extension().is_some_and(|extension| extension == "rs") {
            all.push(std::fs::read_to_string(entry).unwrap());
        }
    }
    all
}

fn structs_of(source: &str) -> Vec<WireStruct> {
    let mut found = vec![];
    let mut picture: Option<String> = None;
    let mut lines = source.lines();
    while let Some(line) = lines.next() {
        if line == "/// ```text" {
            let picked: Vec<&str> = lines.by_ref().take_while(|line| *line != "/// ```").collect();
            let picked: Vec<&str> = picked.iter().map(|line| line.trim_start_matches("///")).collect();
            picture = Some(
                picked
                    .iter()
                    .map(|line| line.strip_prefix(' ').unwrap_or(line))
                    .collect::<Vec<_>>()
                    .join("\n"),
            );
        } else if let Some((_, name)) = line.split_once("struct ").filter(|_| !line.starts_with("//"))
            && let Some(picture) = picture.take()
        {
            let name = name.trim_end_matches(" {").to_string();
            let fields = lines.by_ref().take_while(|line| *line != "}");
            let fields = fields.filter(|line| !line.trim().starts_with("//")).filter_map(|line| {
                let (field, _) = line.trim().trim_start_matches("pub ").split_once(": ")?;
                Some(field.to_string())
            });
            found.push(WireStruct { name, fields: fields.collect(), picture });
        }
    }
    found
}

/// All tables whose first column has this head, by the number in it.
fn table(head: &str) -> Table {
    rows(&specification(), head)
}

fn rows(text: &str, head: &str) -> Table {
    let mut table = Table::new();
    let mut inside = false;
    for line in text.lines() {
        inside = line.starts_with('|') && (inside || line.starts_with(&format!("| {head} |")));
        let mut cells = line.trim_matches('|').split('|').map(|cell| cell.trim().trim_matches('`'));
        let Some(number) = cells.next().filter(|_| inside).and_then(number) else { continue };
        let cells: Vec<String> = cells.map(String::from).collect();
        assert_eq!(table.insert(number, cells), None, "{head} {number} stands twice");
    }
    assert!(!table.is_empty(), "no table of {head}");
    table
}

fn number(text: &str) -> Option<u32> {
    match text.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}

fn names(table: &Table) -> BTreeMap<u32, &str> {
    table.iter().map(|(number, cells)| (*number, cells[0].as_str())).collect()
}

fn owned(table: &Table) -> BTreeMap<u32, String> {
    table.iter().map(|(number, cells)| (*number, cells[0].clone())).collect()
}

/// From a heading to the next one of any level but deeper ones of level four.
fn section(title: &str) -> String {
    let text = specification();
    let mut lines = text.lines().skip_while(|line| line.trim_start_matches('#').trim() != title);
    let heading = lines.next().unwrap_or_else(|| panic!("no heading {title}"));
    assert!(heading.starts_with('#'), "{title} is no heading");
    let end = |line: &&str| !line.starts_with("## ") && !line.starts_with("### ");
    lines.take_while(end).collect::<Vec<_>>().join("\n")
}

fn grouped(number: usize) -> String {
    if number < 1000 { number.to_string() } else { format!("{},{:03}", number / 1000, number % 1000) }
}

fn specification() -> String {
    std::fs::read_to_string(folder().join("PROTOCOL.md")).unwrap()
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
