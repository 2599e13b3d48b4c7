//! README and book agree with themselves and with the project: links lead somewhere, what they show of files is in the files,
//! and their lists are those of the programs. That their commands work is what `readme.rs` tests.

mod configuration;

use frames::DropReason;
use netns_tests::book::{CHAPTERS, Page, chapters, readme, root};
use netns_tests::{Finished, binary};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn chapter(name: &str) -> Page {
    Page::read(&format!("{CHAPTERS}/{name}"))
}

fn pages() -> Vec<Page> {
    std::iter::once(readme()).chain(chapters()).collect()
}

/// All files below a folder.
fn files(folder: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { assert!(found.insert(path)) }
    }
    found
}

#[test]
fn the_summary_lists_every_chapter_once() {
    let there: BTreeSet<_> = files(&root().join(CHAPTERS))
        .into_iter()
        .filter(|path| {
            path.extension().is_some_and(|extension| extension == "md") && !path.ends_with("SUMMARY.md")
        })
        .collect();
    let listed: Vec<PathBuf> = chapters().iter().map(|page| root().join(&page.name)).collect();
    assert_eq!(listed.len(), there.len(), "a chapter is listed twice, or is missing: {listed:?}");
    assert_eq!(listed.into_iter().collect::<BTreeSet<_>>(), there);
}

#[test]
fn chapters_have_titles_and_end_with_their_last_line() {
    for page in chapters() {
        let whole = page.whole();
        assert!(whole.ends_with('\n'), "{} ends within a line", page.name);
        let titles = whole.lines().filter(|line| line.starts_with("# ")).count();
        assert!(titles >= 1 && whole.starts_with("# "), "{} begins with no title", page.name);
    }
}

#[test]
fn links_lead_somewhere() {
    let mut used = BTreeSet::new();
    for page in pages() {
        let links = page.links();
        for (text, link) in links.iter().filter(|(_, link)| !link.contains("://")) {
            let (file, anchor) =
                link.split_once('#').map_or((link.as_str(), None), |(file, anchor)| (file, Some(anchor)));
            let target = if file.is_empty() { root().join(&page.name) } else { page.folder().join(file) };
            let target =
                target.canonicalize().unwrap_or_else(|error| panic!("{}: {link}: {error}", page.name));
            let chapters = root().join(CHAPTERS).canonicalize().unwrap();
            assert!(
                page.name == "README.md" || target.starts_with(chapters),
                "{}: {link} leads out of the book, where no reader of it can follow",
                page.name
            );
            if let Some(anchor) = anchor {
                let name = target.strip_prefix(root().canonicalize().unwrap()).unwrap().display().to_string();
                assert!(
                    Page::read(&name).anchors().contains(anchor),
                    "{}: there is no heading {link}",
                    page.name
                );
            }
            if target.extension().is_some_and(|extension| extension == "svg") {
                assert!(text.len() > 20, "{}: {link} has no text in its place", page.name);
                used.insert(target);
            }
        }
    }
    let pictures = root().join(CHAPTERS).join("pictures").canonicalize().unwrap();
    assert_eq!(used, files(&pictures), "pictures that are shown, and those that there are");
}

#[test]
fn pictures_can_be_read_by_day_and_night() {
    for path in files(&root().join(CHAPTERS).join("pictures")) {
        let text = fs::read_to_string(&path).unwrap();
        for part in ["<title", "<text", "prefers-color-scheme: dark", "viewBox"] {
            assert!(text.contains(part), "{} has no {part}", path.display());
        }
        assert!(!text.contains("<script") && !text.contains("<image"), "{}", path.display());
    }
}

#[test]
fn files_named_exist() {
    const FOLDERS: [&str; 7] =
        ["tools/", "examples/", "frames/", "docs/", "netns-tests/", "control/", "relay/"];
    let mut count = 0;
    for page in pages() {
        for quoted in page.quoted() {
            let word = quoted.trim_start_matches("sudo ").split(' ').next().unwrap_or_default().to_owned();
            let in_tree =
                FOLDERS.iter().any(|folder| word.starts_with(folder)) || word.starts_with("l2link/");
            if in_tree || word.ends_with(".rs") {
                // The specification names files from its own folder.
                let there = root().join(&word).exists() || root().join("frames").join(&word).exists();
                assert!(there, "{} names {word}, which is not there", page.name);
                count += 1;
            }
        }
    }
    assert!(count > 80, "{count} files are named");
}

#[test]
fn journeys_name_files() {
    let text = chapter("inside/architecture.md").text;
    for heading in
        ["## Application to wire", "## Wire to application", "## Relay to relay", "## Socket to rule"]
    {
        let section = text.split_once(heading).expect(heading).1.split("\n## ").next().unwrap();
        let hops =
            section.lines().filter(|line| line.starts_with(|first: char| first.is_ascii_digit())).count();
        assert!(hops >= 5 && section.matches(".rs`").count() >= hops, "{heading}: {hops} hops");
    }
}

#[test]
fn blocks_say_what_they_are() {
    let known = ["sh", "text", "toml", "frr", "python", "mermaid"];
    for page in pages() {
        for block in page.blocks() {
            let language = block.language;
            assert!(
                known.contains(&language.as_str()),
                "{}:{}: a block of {language:?}",
                page.name,
                block.line
            );
        }
    }
}

#[test]
fn files_shown_are_the_examples() {
    let mut shown = BTreeSet::new();
    // What the chapter of the metrics shows is a part of a file; `metrics.rs` runs it.
    for page in pages().into_iter().filter(|page| !page.name.ends_with("reference/metrics.md")) {
        let lines: Vec<&str> = page.text.lines().collect();
        for block in page.blocks() {
            if !["toml", "frr", "python"].contains(&block.language.as_str()) {
                continue;
            }
            let before = lines[..block.line].join("\n");
            let name = before.split('`').rfind(|word| word.starts_with("examples/") && !word.contains(' '));
            let name = name.unwrap_or_else(|| panic!("{}:{}: of which file?", page.name, block.line));
            let file = fs::read_to_string(root().join(name)).unwrap();
            assert_eq!(block.text, file, "{}:{} is not {name}", page.name, block.line);
            shown.insert(root().join(name));
        }
    }
    assert_eq!(shown, files(&root().join("examples")), "examples that are shown, and those that there are");
}

#[test]
fn every_drop_reason_is_explained() {
    let reference = chapter("reference/drop-reasons.md").whole();
    let troubleshooting = chapter("operation/troubleshooting.md").text;
    let (_, table) = troubleshooting.split_once("## What is dropped").unwrap();
    for reason in DropReason::ALL {
        let name = reason.name();
        assert!(reference.contains(&format!("**`{name}`**: ")), "{name} is not in the reference");
        let rows = table.lines().filter(|line| line.starts_with('|') && line.contains(&format!("`{name}`")));
        assert_eq!(rows.count(), 1, "rows of the table in *What is dropped* that name `{name}`");
    }
}

#[test]
fn every_state_has_a_symptom() {
    let metrics = chapter("reference/metrics.md").text;
    let states = metrics.lines().find(|line| line.starts_with("| `state` |")).expect("the label `state`");
    let troubleshooting = chapter("operation/troubleshooting.md").text;
    let mut count = 0;
    for objects in states.split(['|', ';']).filter_map(|part| part.trim().strip_prefix("of ")) {
        let (what, states) = objects.split_once(' ').unwrap();
        let heading = match what {
            "peers" => "The segment".to_owned(),
            _ => what[..1].to_uppercase() + &what[1..],
        };
        let section = troubleshooting.split_once(&format!("\n## {heading}\n")).expect(what).1;
        let section = section.split("\n## ").next().unwrap();
        for state in states.split('`').skip(1).step_by(2) {
            assert!(section.contains(&format!("| `{state}")), "*{heading}* does not tell of `{state}`");
            count += 1;
        }
    }
    assert!(count > 15, "{states}");
}

#[test]
fn exit_codes_are_those_of_the_manual_pages() {
    let folder = tempfile::tempdir().unwrap();
    let mut expected = Vec::new();
    for program in ["l2relay", "l2control", "l2ctl", "l2top", "l2dump", "l2replay"] {
        let made = Finished::new(Command::new(binary(program)).arg("--generate").arg(folder.path()));
        let _ = made.expect_success();
        let page = fs::read_to_string(folder.path().join(format!("man/{program}.8"))).unwrap();
        let section = page.split_once(".SH \"EXIT STATUS\"\n").expect("exit codes").1;
        let section = section.split("\n.SH").next().unwrap().replace('\\', "");
        for entry in section.split(".TP\n").skip(1) {
            let (code, meaning) = entry.split_once('\n').unwrap();
            let code = code.trim_start_matches("fB").trim_end_matches("fR");
            expected.push(format!("| `{program}` | {code} | {} |", meaning.trim_end()));
        }
    }
    let text = chapter("reference/exit-codes.md").text;
    let shown: Vec<&str> = text.lines().filter(|line| line.starts_with("| `")).collect();
    assert_eq!(shown, expected, "the table should be:\n{}", expected.join("\n"));
}
