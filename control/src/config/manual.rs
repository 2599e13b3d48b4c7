//! The manual page of the file names every key that there is, and no other.

use super::*;
use l2link_pages::{keys_in, keys_of};
use std::collections::BTreeMap;

const PAGE: &str = include_str!("../../../tools/package.d/man/l2control.toml.5");
const SECTIONS: &str = include_str!("../../../tools/package.d/man/sections.5");

#[test]
fn every_key_is_in_the_manual_page() {
    let described = keys_in(&PAGE.replace("@SECTIONS@", SECTIONS));
    let sections = [
        ("[link]", keys_of::<LinkSection>()),
        ("[api]", keys_of::<ApiSection>()),
        ("[metrics]", keys_of::<MetricsSection>()),
        ("[[peer]]", keys_of::<PeerSection>()),
        ("[routes]", keys_of::<RoutesSection>()),
        ("[files]", keys_of::<FilesSection>()),
        ("[[symbol]]", keys_of::<SymbolSection>()),
    ];
    let is_section = |key: &String| {
        sections.iter().any(|(title, _)| *title == format!("[{key}]") || *title == format!("[[{key}]]"))
    };
    let mut before = keys_of::<File>();
    before.retain(|key| !is_section(key));
    let sections = sections.into_iter().chain([("Keys before all sections", before)]);
    let there_are: BTreeMap<_, _> = sections.map(|(title, keys)| (title.to_owned(), keys)).collect();
    assert_eq!(described, there_are);
}
