//! Secrets, and where they are found.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// A secret, in every form that somebody could write it.
#[derive(Debug, Clone)]
pub struct Needle {
    /// What it is.
    pub name: String,
    /// Its bytes.
    pub raw: Vec<u8>,
    texts: Vec<Vec<u8>>,
}

impl Needle {
    /// A secret of these bytes.
    #[must_use]
    pub fn new(name: &str, raw: Vec<u8>) -> Self {
        let hex: String = raw.iter().map(|byte| format!("{byte:02x}")).collect();
        let list = |form: fn(&u8) -> String| raw.iter().map(form).collect::<Vec<_>>().join(", ");
        let base64 = STANDARD.encode(&raw).trim_end_matches('=').to_owned();
        // What is left of a key of which an end is cut is one as well.
        let texts = [
            base64[..base64.len() - 2].to_owned(),
            hex.to_uppercase(),
            hex,
            list(u8::to_string),
            list(|byte| format!("{byte:x}")),
        ];
        Self { name: name.to_owned(), raw, texts: texts.map(String::into_bytes).into() }
    }

    /// The secret that is in a key file.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn of_file(name: &str, path: &Path) -> Self {
        let text = fs::read_to_string(path).expect("a key file");
        Self::new(name, STANDARD.decode(text.trim()).expect("a key in base64"))
    }

    /// The keys of sessions that are in a key log.
    ///
    /// # Panics
    /// When it cannot be read.
    #[must_use]
    pub fn of_key_log(path: &Path) -> Vec<Self> {
        let text = fs::read_to_string(path).expect("a key log");
        let byte = |digits: &[u8]| u8::from_str_radix(core::str::from_utf8(digits).expect("digits"), 16);
        let key =
            |word: &str| word.as_bytes().chunks(2).map(|digits| byte(digits).expect("digits")).collect();
        let words = text.lines().flat_map(|line| line.split(' ').skip(4).map(str::to_owned));
        words.map(|word| Self::new(&format!("session key {word}"), key(&word))).collect()
    }

    /// Whether it is anywhere in a text or file, in any form.
    #[must_use]
    pub fn is_in(&self, haystack: &[u8]) -> bool {
        find(haystack, &self.raw).next().is_some() || self.is_written_in(haystack)
    }

    /// Whether somebody has written it there in letters.
    #[must_use]
    pub fn is_written_in(&self, haystack: &[u8]) -> bool {
        self.texts.iter().any(|text| find(haystack, text).next().is_some())
    }
}

/// Where in the memory of a process a secret is, by its bytes and in letters: each place as the mapping and the address.
///
/// # Panics
/// When there is no such process, or its memory may not be read.
#[must_use]
pub fn memory_places(pid: u32, needle: &Needle) -> [Vec<String>; 2] {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).expect("a running process");
    let memory = File::open(format!("/proc/{pid}/mem")).expect("memory that may be read");
    let (mut raw, mut written) = (Vec::new(), Vec::new());
    let mut read = 0;
    for line in maps.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let Some((from, to)) = words[0].split_once('-') else { continue };
        let address = |text| u64::from_str_radix(text, 16).expect("an address");
        let (from, to) = (address(from), address(to));
        // What nobody can write is of files.
        if !words[1].starts_with("rw") {
            continue;
        }
        let mut bytes = vec![0; usize::try_from(to - from).expect("a size")];
        // Guard pages, and what the process has given back meanwhile.
        let Ok(count) = memory.read_at(&mut bytes, from) else { continue };
        bytes.truncate(count);
        read += count;
        let name = words.get(5).copied().unwrap_or("anonymous");
        let place = |at: usize| format!("{name} {:#x}", from + at as u64);
        raw.extend(find(&bytes, &needle.raw).map(place));
        written.extend(needle.texts.iter().flat_map(|text| find(&bytes, text).map(place)));
    }
    assert!(read > 100_000, "only {read} bytes of {pid} could be read");
    [raw, written]
}

fn find<'a>(haystack: &'a [u8], needle: &'a [u8]) -> impl Iterator<Item = usize> + 'a {
    let first = needle.first().copied();
    haystack
        .iter()
        .enumerate()
        .filter(move |(at, byte)| Some(**byte) == first && haystack[*at..].starts_with(needle))
        .map(|(at, _)| at)
}
