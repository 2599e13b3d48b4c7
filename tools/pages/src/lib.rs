//! Man pages and shell completions, which each program makes of its own command line.
//!
//! A program calls [`parse`] in the place of clap's own. `PROGRAM --generate DIR`, which its help does not show, then writes
//! into `DIR` what a package installs:
//!
//! ```text
//! man/PROGRAM.8, man/PROGRAM-VERB.8, …    completions/bash/PROGRAM
//!                                         completions/zsh/_PROGRAM
//!                                         completions/fish/PROGRAM.fish
//! ```
//!
//! What clap does not know of, such as exit codes, stands in a [`Page`]. Pages of configuration files are written by hand, and
//! [`keys_of`] and [`keys_in`] compare them with the code.

mod keys;

pub use clap_complete::Shell;
pub use keys::{keys_in, keys_of};

use clap::{Command, CommandFactory, Parser};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};
use core::fmt::Write as _;
use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::process;

/// What the man page of a program tells besides its command line.
#[derive(Debug, Clone, Copy)]
pub struct Page {
    /// More sections.
    pub sections: &'static [Section],
    /// Other pages, `NAME(SECTION)`.
    pub see_also: &'static [&'static str],
}

/// A list with a heading.
#[derive(Debug, Clone, Copy)]
pub struct Section {
    /// The heading, in capitals.
    pub title: &'static str,
    /// Words, and what they mean.
    pub entries: &'static [(&'static str, &'static str)],
}

/// All are tools of an administrator.
const SECTION: &str = "8";
const MANUAL: &str = "l2link";
/// The word that asks for pages.
const GENERATE: &str = "--generate";

/// The command line, unless it asks for pages: then writes them and ends the process, as for a wrong one.
#[must_use]
pub fn parse<T: Parser>(page: &Page) -> T {
    try_parse(page).unwrap_or_else(|error: clap::Error| error.exit())
}

/// The command line, unless it asks for pages: then writes them and ends the process.
///
/// # Errors
/// If it is wrong, or asks for help or the version.
pub fn try_parse<T: Parser>(page: &Page) -> Result<T, clap::Error> {
    let mut words = env::args_os().skip(1);
    if words.next().is_some_and(|word| word == GENERATE) {
        process::exit(answer(&T::command(), page, words.collect()));
    }
    T::try_parse()
}

/// Writes the completions of a program for a shell.
///
/// # Errors
/// If they cannot be written.
pub fn complete<T: CommandFactory>(shell: Shell, out: &mut dyn Write) -> io::Result<()> {
    out.write_all(&completions(&T::command(), shell))
}

fn answer(command: &Command, page: &Page, words: Vec<OsString>) -> i32 {
    let [folder] = &words[..] else {
        let _ = writeln!(io::stderr(), "error: {GENERATE} DIR");
        return 2;
    };
    match generate(command, page, Path::new(folder)) {
        Ok(()) => 0,
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {}: {error}", Path::new(folder).display());
            1
        }
    }
}

fn generate(command: &Command, page: &Page, folder: &Path) -> io::Result<()> {
    let man = folder.join("man");
    fs::create_dir_all(&man)?;
    // As the pages of the verbs: `help` is none, and the names are PROGRAM-VERB.
    let mut built = command.clone().disable_help_subcommand(true);
    built.build();
    write_pages(&built, page, &man)?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        let folder = folder.join("completions").join(shell.to_string());
        fs::create_dir_all(&folder)?;
        let name = command.get_name();
        let name = match shell {
            Shell::Zsh => format!("_{name}"),
            Shell::Fish => format!("{name}.fish"),
            _ => name.to_owned(),
        };
        fs::write(folder.join(name), completions(command, shell))?;
    }
    Ok(())
}

fn completions(command: &Command, shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command.clone(), command.get_name(), &mut script);
    if shell == Shell::Fish {
        script.extend(fish_words(command).into_bytes());
    }
    script
}

/// The words that an argument of a verb may be, which clap leaves out for fish.
fn fish_words(command: &Command) -> String {
    let name = command.get_name();
    let mut lines = String::new();
    for verb in command.get_subcommands() {
        for value in verb.get_positionals().flat_map(clap::Arg::get_possible_values) {
            let help = value.get_help().map(ToString::to_string).unwrap_or_default().replace('\'', "\\'");
            let _ = writeln!(
                lines,
                "complete -c {name} -n \"__fish_{name}_using_subcommand {}\" -f -a \"{}\" -d '{help}'",
                verb.get_name(),
                value.get_name(),
            );
        }
    }
    lines
}

/// The page of a program or verb, and those of the verbs below it.
fn write_pages(command: &Command, page: &Page, folder: &Path) -> io::Result<()> {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name());
    let version = command.get_version().unwrap_or_default();
    let man = Man::new(command.clone())
        .title(name)
        .section(SECTION)
        .source(format!("l2link {version}").trim_end())
        .manual(MANUAL)
        .date("");
    let mut out = File::create(folder.join(format!("{name}.{SECTION}")))?;
    man.render_title(&mut out)?;
    man.render_name_section(&mut out)?;
    man.render_synopsis_section(&mut out)?;
    man.render_description_section(&mut out)?;
    if command.get_arguments().any(|argument| !argument.is_hide_set()) {
        man.render_options_section(&mut out)?;
    }
    let verbs = || command.get_subcommands().filter(|verb| !verb.is_hide_set());
    if verbs().next().is_some() {
        man.render_subcommands_section(&mut out)?;
    }
    out.write_all(more(page).as_bytes())?;
    verbs().try_for_each(|verb| write_pages(verb, page, folder))
}

fn more(page: &Page) -> String {
    let mut roff = Roff::new();
    for section in page.sections {
        roff.control("SH", [section.title]);
        for (word, meaning) in section.entries {
            roff.control("TP", []).text([bold(*word)]).text([roman(*meaning)]);
        }
    }
    roff.control("SH", ["SEE ALSO"]).text([roman(page.see_also.join(", "))]);
    // Without the preamble, which the page has already.
    roff.to_roff()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Does things.
    #[derive(Debug, Parser)]
    #[command(name = "tool", version = "7.1")]
    struct Arguments {
        #[command(subcommand)]
        verb: Verb,
    }

    #[derive(Debug, clap::Subcommand)]
    enum Verb {
        /// Do it
        Go {
            /// How far
            #[arg(long)]
            far: bool,
            /// Where to
            place: Place,
        },
        /// Not for everybody
        #[command(hide = true)]
        Secret,
    }

    #[derive(Debug, Clone, clap::ValueEnum)]
    enum Place {
        /// Where one's at home
        Home,
    }

    const PAGE: Page = Page {
        sections: &[Section { title: "EXIT STATUS", entries: &[("0", "All is well.")] }],
        see_also: &["other(8)"],
    };

    fn generated() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        generate(&Arguments::command(), &PAGE, folder.path()).unwrap();
        folder
    }

    #[test]
    fn each_verb_has_a_page() {
        let folder = generated();
        let mut names: Vec<_> = fs::read_dir(folder.path().join("man"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        assert_eq!(names, ["tool-go.8", "tool.8"]);
        let page = fs::read_to_string(folder.path().join("man/tool.8")).unwrap();
        for part in [".TH tool 8", "l2link 7.1", "tool \\- Does things", "tool\\-go(8)", "other(8)"] {
            assert!(page.contains(part), "{part}\n{page}");
        }
        let page = fs::read_to_string(folder.path().join("man/tool-go.8")).unwrap();
        for part in [
            "tool\\-go \\- Do it",
            "\\-\\-far",
            "How far",
            ".SH \"EXIT STATUS\"\n.TP\n\\fB0\\fR\nAll is well.",
        ] {
            assert!(page.contains(part), "{part}\n{page}");
        }
    }

    #[test]
    fn each_shell_has_completions() {
        let folder = generated();
        for (file, part) in [
            ("bash/tool", "complete -F"),
            ("zsh/_tool", "#compdef tool"),
            ("fish/tool.fish", "complete -c tool"),
        ] {
            let script = fs::read_to_string(folder.path().join("completions").join(file)).unwrap();
            assert!(script.contains(part) && script.contains("far"), "{file}\n{script}");
            assert!(script.contains("home"), "{file}\n{script}");
        }
        let fish = fs::read_to_string(folder.path().join("completions/fish/tool.fish")).unwrap();
        let home =
            r#"complete -c tool -n "__fish_tool_using_subcommand go" -f -a "home" -d 'Where one\'s at home'"#;
        assert!(fish.ends_with(&format!("{home}\n")), "{fish}");
    }
}
