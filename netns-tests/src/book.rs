//! README and book, as tests read them: pages, their blocks of code, their headings and links.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A file of the documentation.
#[derive(Debug, Clone)]
pub struct Page {
    /// Its path from the workspace's folder.
    pub name: String,
    /// Its text as it is written, with includes.
    pub text: String,
}

/// A block of code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// The word behind the fence; empty if there is none.
    pub language: String,
    /// The number of its first line in the file.
    pub line: usize,
    /// Its lines.
    pub text: String,
}

/// The workspace's folder.
///
/// # Panics
/// Not in a workspace.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace's folder").to_owned()
}

/// The folder of the chapters, from the workspace's.
pub const CHAPTERS: &str = "docs/book/src";

/// The README.
///
/// # Panics
/// When it cannot be read.
#[must_use]
pub fn readme() -> Page {
    Page::read("README.md")
}

/// All chapters of the book, in the order of its summary.
///
/// # Panics
/// When one cannot be read.
#[must_use]
pub fn chapters() -> Vec<Page> {
    let summary = Page::read(&format!("{CHAPTERS}/SUMMARY.md"));
    summary.links().iter().map(|(_, link)| Page::read(&format!("{CHAPTERS}/{link}"))).collect()
}

impl Page {
    /// Reads a file of the workspace.
    ///
    /// # Panics
    /// When it cannot be read.
    #[must_use]
    pub fn read(name: &str) -> Self {
        let text = fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        Self { name: name.to_owned(), text }
    }

    /// Its folder.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        root().join(&self.name).parent().expect("a file's folder").to_owned()
    }

    /// The text with what it includes in the place of the includes, as mdBook does it: `{{#include FILE}}` or
    /// `{{#include FILE:ANCHOR}}`, on a line of its own.
    ///
    /// # Panics
    /// When that is not there.
    #[must_use]
    pub fn whole(&self) -> String {
        let mut text = String::new();
        for line in self.text.lines() {
            match line.strip_prefix("{{#include ").and_then(|rest| rest.strip_suffix("}}")) {
                Some(include) => text.push_str(&self.included(include)),
                None => text.extend([line, "\n"]),
            }
        }
        text
    }

    fn included(&self, include: &str) -> String {
        let (file, anchor) =
            include.split_once(':').map_or((include, None), |(file, anchor)| (file, Some(anchor)));
        let text = fs::read_to_string(self.folder().join(file))
            .unwrap_or_else(|error| panic!("{} includes {file}: {error}", self.name));
        let Some(anchor) = anchor else { return text };
        let (begin, end) = (format!("<!-- ANCHOR: {anchor} -->\n"), format!("<!-- ANCHOR_END: {anchor} -->"));
        let part = text.split_once(&begin).and_then(|(_, rest)| rest.split_once(&end));
        part.unwrap_or_else(|| panic!("{} includes {include}, which is not marked there", self.name))
            .0
            .to_owned()
    }

    /// Its blocks of code, in order.
    ///
    /// # Panics
    /// When one has no end.
    #[must_use]
    pub fn blocks(&self) -> Vec<Block> {
        let mut blocks = Vec::new();
        let mut open: Option<Block> = None;
        for (number, line) in (1..).zip(self.text.lines()) {
            match (line.strip_prefix("```"), &mut open) {
                (Some(language), None) => {
                    open =
                        Some(Block { language: language.to_owned(), line: number + 1, text: String::new() });
                }
                (Some(_), Some(_)) => blocks.extend(open.take()),
                (None, Some(block)) => block.text.extend([line, "\n"]),
                (None, None) => {}
            }
        }
        assert!(open.is_none(), "{}: a block has no end: {open:?}", self.name);
        blocks
    }

    /// The commands that it shows, with the numbers of their lines.
    #[must_use]
    pub fn commands(&self) -> Vec<(usize, String)> {
        let shown = self.blocks().into_iter().filter(|block| block.language == "sh");
        shown
            .flat_map(|block| (block.line..).zip(block.text.lines().map(str::to_owned).collect::<Vec<_>>()))
            .collect()
    }

    /// Its links and pictures: the text, and where they lead. Those that are code are none.
    #[must_use]
    pub fn links(&self) -> Vec<(String, String)> {
        let prose = self.prose();
        let mut parts = prose.split("](");
        let mut before = parts.next().unwrap_or_default().to_owned();
        let mut links = Vec::new();
        for part in parts {
            let text = before.rsplit('[').next().unwrap_or_default().to_owned();
            links.extend(part.split(')').next().map(|target| (text, target.to_owned())));
            before = part.to_owned();
        }
        links
    }

    /// The words that stand in it as code, outside blocks.
    #[must_use]
    pub fn quoted(&self) -> Vec<String> {
        self.prose().split('`').skip(1).step_by(2).map(str::to_owned).collect()
    }

    /// The anchors of its headings, as mdBook and GitHub make them.
    #[must_use]
    pub fn anchors(&self) -> BTreeSet<String> {
        let prose = self.prose();
        let headings = prose.lines().filter(|line| line.starts_with('#'));
        headings.map(|line| slug(line.trim_start_matches('#').trim())).collect()
    }

    /// The whole text without its blocks of code.
    fn prose(&self) -> String {
        let mut inside = false;
        let whole = self.whole();
        let lines = whole.lines().filter(|line| {
            let fence = line.starts_with("```");
            inside ^= fence;
            !(inside || fence)
        });
        lines.collect::<Vec<_>>().join("\n")
    }
}

fn slug(heading: &str) -> String {
    let kept = heading.chars().filter(|letter| letter.is_alphanumeric() || matches!(letter, ' ' | '-' | '_'));
    kept.map(|letter| if letter == ' ' { '-' } else { letter.to_ascii_lowercase() }).collect()
}
