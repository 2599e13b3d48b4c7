//! The chapter of the configuration keys is made of the manual pages of both files, which tests hold to the daemons.

use netns_tests::book::{CHAPTERS, root};
use std::env;
use std::fmt::Write;
use std::fs;

const CHAPTER: &str = "reference/configuration.md";
/// With this in the environment the chapter is written.
const WRITE: &str = "L2LINK_WRITE_BOOK";

const BEGIN: &str = "# Configuration

<!-- Made of tools/package.d/man/ by netns-tests/tests/book/configuration.rs, with L2LINK_WRITE_BOOK=1. -->

A relay reads `/etc/l2link/relay.toml`, a control `/etc/l2link/control.toml`, unless `--config` names another file. They are TOML:
keys with values, in sections. A relative path is relative to the file. What is not known is refused, with line and column; `--check`
tells whether a file is right. The same stands in `man l2relay.toml` and `man l2control.toml`.
";

#[test]
fn the_chapter_is_made_of_the_manual_pages() {
    let page = |name: &str| fs::read_to_string(root().join("tools/package.d/man").join(name)).unwrap();
    // What a page has of its own: from the first of its sections of keys on.
    let own = |name: &str| {
        let page = page(name).replace("@SECTIONS@\n", "");
        let begin = page.find(".SS ").expect("keys");
        page[begin..].split("\n.SH ").next().unwrap().to_owned()
    };
    let mut chapter = BEGIN.to_owned();
    for (title, text) in [
        ("Relay", own("l2relay.toml.5")),
        ("Control", own("l2control.toml.5")),
        ("Both", page("sections.5")),
        ("Services", page("services.5")),
    ] {
        write!(chapter, "\n## {title}\n{}", markdown(&text)).unwrap();
    }
    let path = root().join(CHAPTERS).join(CHAPTER);
    if env::var_os(WRITE).is_some() {
        fs::write(&path, &chapter).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == chapter,
        "{CHAPTER} differs from the manual pages: `{WRITE}=1 cargo test --workspace --test book` writes it"
    );
}

/// A manual page's section in Markdown: its subsections are headings, its lists are tables.
fn markdown(page: &str) -> String {
    let mut text = String::new();
    for (place, part) in page.split(".SS ").enumerate() {
        let part = if place == 0 {
            part
        } else {
            let (title, rest) = part.split_once('\n').unwrap_or((part, ""));
            let title = if title.starts_with('[') { format!("`{title}`") } else { title.to_owned() };
            write!(text, "\n### {title}\n").unwrap();
            rest
        };
        let mut entries = part.split(".TP\n");
        let prose = sentence(entries.next().unwrap_or_default());
        if !prose.is_empty() {
            write!(text, "\n{prose}\n").unwrap();
        }
        let mut head = "\n| | |\n|---|---|\n";
        for entry in entries {
            let (key, meaning) = entry.split_once('\n').unwrap_or((entry, ""));
            writeln!(text, "{head}| {} | {} |", words(key), sentence(meaning)).unwrap();
            head = "";
        }
    }
    text
}

fn sentence(lines: &str) -> String {
    lines.lines().map(words).collect::<Vec<_>>().join(" ").replace("`SERVICES`", "[Services](#services)")
}

/// A line of a page: what is bold or slanted there is code here.
fn words(line: &str) -> String {
    let Some((font, rest)) = line.strip_prefix('.').and_then(|line| line.split_once(' ')) else {
        return plain(line);
    };
    if font.len() == 1 {
        return format!("`{}`", plain(rest));
    }
    let parts = arguments(rest).into_iter().zip(font.chars().cycle());
    parts.map(|(part, font)| if font == 'R' { part } else { format!("`{part}`") }).collect()
}

/// The arguments of a request: words, or what stands between quotation marks.
fn arguments(mut rest: &str) -> Vec<String> {
    let mut found = Vec::new();
    loop {
        rest = rest.trim_start();
        if rest.is_empty() {
            return found;
        }
        let (argument, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => rest.split_once(' ').unwrap_or((rest, "")),
        };
        found.push(plain(argument));
        rest = after;
    }
}

fn plain(text: &str) -> String {
    text.replace("\\(dq", "\"").replace("\\-", "-").replace('|', "\\|")
}
