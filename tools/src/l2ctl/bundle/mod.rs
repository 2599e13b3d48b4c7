//! `l2ctl support-bundle`: one file with all that tells how this machine's daemons are, for who has to find out why something does
//! not work.
//!
//! | in the file | is |
//! |---|---|
//! | `README.txt` | what there is, and what could not be had and why |
//! | `versions.txt` | of l2ctl, the daemons, the system and the programs that they use |
//! | `relay/`, `control/` | of each daemon that runs: every table of `show` and the answer to `verify`, as JSON |
//! | `doctor.json` | the findings of `doctor` |
//! | `config/` | the configuration files, without secrets; key files are never opened |
//! | `kernel/` | interfaces, addresses, routes, rules, packet filter and settings of the namespace of l2ctl |
//! | `kernel/netns/NAME/` | the same of each namespace with a symbol |
//! | `log/` | the last lines of the daemons in the journal |
//!
//! What cannot be had is noted, and keeps nothing else from being there: it is most useful where something is broken.

mod archive;
mod facts;

use crate::calendar;
use crate::columns::Object;
use crate::{Failure, daemon, doctor, socket};
use archive::Archive;
use clap::ValueEnum;
use l2link_os::hidden;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Rows of one table. A full table of routes would hide the rest, and can be had by `show routes`.
const ROWS_MAX: usize = 20_000;

/// Gathers everything into a file, which must not be there yet, and tells its name; "-" is standard output.
///
/// # Errors
/// If the file cannot be written: then there is none. If standard output is a terminal.
pub(crate) fn run(
    out: &mut impl Write,
    file: Option<&Path>,
    config: &[PathBuf],
    sockets: &[PathBuf],
) -> Result<(), Failure> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let name = format!("l2link-{}-{}", facts::host(), calendar::basic(now.as_secs()));
    let path = file.map_or_else(|| PathBuf::from(format!("{name}.tar.gz")), Path::to_owned);
    let to_stdout = path == Path::new("-");
    if to_stdout && io::stdout().is_terminal() {
        return Err(Failure::Usage(
            "a bundle is nothing for a terminal: name a file, or let somebody read it, as in `l2ctl support-bundle - > FILE`"
                .to_owned(),
        ));
    }
    let place = if to_stdout { "the output".to_owned() } else { path.display().to_string() };
    let told = |error| Failure::Daemon(format!("cannot write {place}: {error}"));
    let time = now.as_secs();
    let archive =
        if to_stdout { Archive::to_stdout(&name, time) } else { Archive::create(&path, &name, time) };
    let mut archive = archive.map_err(told)?;
    gather(&mut archive, config, sockets).map_err(told)?;
    let left_out = archive.left_out();
    let size = archive.finish().map_err(told)?;
    let mut lines = Vec::new();
    if !to_stdout {
        lines.push(format!("{place}: {} kB", size.div_ceil(1_000)));
    }
    match left_out {
        0 => {}
        1 => lines.push("1 thing could not be had: README.txt in it tells which".to_owned()),
        count => lines.push(format!("{count} things could not be had: README.txt in it tells which")),
    }
    for line in lines {
        // Nothing stands in standard output but the bundle.
        if to_stdout { writeln!(io::stderr(), "{line}")? } else { writeln!(out, "{line}")? }
    }
    Ok(())
}

fn gather(archive: &mut Archive, config: &[PathBuf], sockets: &[PathBuf]) -> io::Result<()> {
    let configs = doctor::configs(config, sockets);
    for path in &configs {
        let entry = archive.file("config", path);
        match fs::read_to_string(path) {
            Ok(text) => archive.add(&entry, hidden::of_file(&text).as_bytes())?,
            Err(error) => archive.note(&entry, &error),
        }
    }
    if configs.is_empty() {
        let [relay, control] = doctor::CONFIGS;
        archive
            .note("config/", &format!("there is neither {relay} nor {control}, and no daemon names another"));
    }
    let mut namespaces = BTreeSet::new();
    let mut versions = facts::versions();
    // Those that were asked for, or of the configurations, or those of the usual places.
    let configured: Vec<PathBuf> = configs.iter().filter_map(|path| doctor::socket_of(path)).collect();
    match socket::all(if sockets.is_empty() { &configured } else { sockets }) {
        Ok(found) => {
            for socket in found {
                daemon_facts(archive, &socket, &mut namespaces, &mut versions)?;
            }
        }
        Err(error) => archive.note("relay/, control/", &error),
    }
    archive.add("versions.txt", versions.as_bytes())?;
    let sole = if let [one] = sockets { Some(one.as_path()) } else { None };
    let mut findings = doctor::examine(&configs, sole);
    for finding in &mut findings {
        // What is wrong in a configuration is shown with its line.
        finding.found = hidden::of_file(&finding.found).trim_end().to_owned();
    }
    match serde_json::to_string_pretty(&findings) {
        Ok(findings) => archive.add("doctor.json", findings.as_bytes())?,
        Err(error) => archive.note("doctor.json", &error),
    }
    facts::kernel(archive, None)?;
    for namespace in &namespaces {
        facts::kernel(archive, Some(namespace))?;
    }
    facts::logs(archive)
}

/// What a daemon tells; adds the namespaces of its symbols, and its version.
fn daemon_facts(
    archive: &mut Archive,
    socket: &Path,
    namespaces: &mut BTreeSet<String>,
    versions: &mut String,
) -> io::Result<()> {
    let device = match daemon::show(socket, Object::Device) {
        Ok(rows) => rows.into_iter().next().unwrap_or_default(),
        Err(error) => {
            archive.note(&socket.display().to_string(), &error);
            return Ok(());
        }
    };
    let word = |key: &str| device[key].as_str().unwrap_or("unknown").to_owned();
    let (role, name) = (word("role"), word("name"));
    versions.push_str(&format!("{role} {name}: {}\n", word("version")));
    let folder = archive.folder(&role, &name);
    for object in Object::value_variants() {
        let file = format!("{folder}/{object}.json");
        match daemon::show(socket, *object) {
            Ok(mut rows) => {
                if *object == Object::Symbols {
                    namespaces.extend(rows.iter().filter_map(|row| Some(row["netns"].as_str()?.to_owned())));
                }
                if rows.len() > ROWS_MAX {
                    archive.note(&file, &format!("the first {ROWS_MAX} of {} rows only", rows.len()));
                    rows.truncate(ROWS_MAX);
                }
                archive.add(&file, format!("{:#}\n", Value::from(rows)).as_bytes())?;
            }
            Err(error) => archive.note(&file, &error),
        }
    }
    let file = format!("{folder}/verify.json");
    match daemon::verify(socket) {
        Ok(rows) => archive.add(&file, format!("{:#}\n", Value::from(rows)).as_bytes()),
        Err(error) => {
            archive.note(&file, &error);
            Ok(())
        }
    }
}
