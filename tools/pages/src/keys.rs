//! Which keys a configuration file can have, and which its manual page describes: tests hold the two together.

use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, BTreeSet};

/// The keys of a section, as the structure that reads it names them when it refuses another one.
///
/// # Panics
/// If the structure takes keys that it does not know.
#[must_use]
pub fn keys_of<T: DeserializeOwned>() -> BTreeSet<String> {
    let refused = toml::from_str::<T>("\"?\" = 0").err().expect("unknown keys are refused").to_string();
    let (_, expected) = refused.split_once(", expected ").unwrap_or_else(|| panic!("{refused}"));
    expected.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The keys that a manual page of section 5 describes, by the subsection in which they stand: after `.TP`, in bold.
#[must_use]
pub fn keys_in(page: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut keys: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut section = None;
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        if line.starts_with(".SH ") {
            section = None;
        } else if let Some(title) = line.strip_prefix(".SS ") {
            keys.entry(title.to_owned()).or_default();
            section = Some(title);
        } else if let Some(title) = section
            && line == ".TP"
            && let Some(key) = lines.next().and_then(|line| line.strip_prefix(".B "))
        {
            keys.entry(title.to_owned()).or_default().insert(key.to_owned());
        }
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Section {
        #[serde(rename = "one_ms", default)]
        _one: u8,
        #[serde(rename = "two", default)]
        _two: u8,
    }

    fn set(keys: &[&str]) -> BTreeSet<String> {
        keys.iter().map(|key| (*key).to_owned()).collect()
    }

    #[test]
    fn a_structure_tells_its_keys() {
        assert_eq!(keys_of::<Section>(), set(&["one_ms", "two"]));
    }

    #[test]
    fn a_page_tells_its_keys() {
        let page = ".SH A\n.TP\n.B no\n.SS [link]\nText\n.TP\n.B one_ms\nText\n.B bold\n.TP\n.B two\n.SS [[port]]\n.SH B\n.TP\n.B no\n";
        let keys = [("[link]", set(&["one_ms", "two"])), ("[[port]]", set(&[]))];
        assert_eq!(keys_in(page), keys.map(|(title, keys)| (title.to_owned(), keys)).into());
    }
}
