//! [`ConfigEdit`]: a configuration file that a daemon changes, for an operator who wants a change by hand to last.
//!
//! Comments, order and layout stay as they are. The file on disk is read anew for every change, as somebody may have edited
//! it since the daemon started; the whole new text is checked before anything is written; and it is written in one step, so
//! that a reader sees the old file or the new one, and a crash leaves one of them.

use super::{ConfigError, read};
use nix::sys::stat::{Mode, fchmod};
use nix::unistd::{Gid, Uid, fchown};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use toml_edit::{Array, ArrayOfTables, DocumentMut, Item, Table, Value};

/// A configuration file as it is, and as it is to be.
#[derive(Debug)]
pub struct ConfigEdit {
    path: PathBuf,
    before: String,
    document: DocumentMut,
}

impl ConfigEdit {
    /// Reads the file.
    ///
    /// # Errors
    /// If it cannot be read, or is no TOML.
    pub fn open(path: &Path) -> Result<Self, ConfigError> {
        let text = read(path)?;
        let document = text.parse().map_err(|error: toml_edit::TomlError| {
            ConfigError::of_file(path, format!("is no TOML any more: {}", error.message()))
        })?;
        Ok(Self { path: path.to_owned(), before: text, document })
    }

    /// The first `[[list]]` that `which` picks.
    pub fn element(&mut self, list: &str, which: impl Fn(&Table) -> bool) -> Option<&mut Table> {
        self.document.get_mut(list)?.as_array_of_tables_mut()?.iter_mut().find(|table| which(table))
    }

    /// A new `[[list]]` at the end.
    ///
    /// # Errors
    /// If there is something else of this name.
    pub fn add_element(&mut self, list: &str, element: Table) -> Result<(), ConfigError> {
        let item = self.document.entry(list).or_insert_with(|| Item::ArrayOfTables(ArrayOfTables::new()));
        match item.as_array_of_tables_mut() {
            Some(tables) => tables.push(element),
            None => {
                return Err(ConfigError::of_file(&self.path, format!("{list} is not written as [[{list}]]")));
            }
        }
        Ok(())
    }

    /// Removes every `[[list]]` that `which` picks. Returns whether there was one.
    pub fn remove_elements(&mut self, list: &str, which: impl Fn(&Table) -> bool) -> bool {
        let Some(tables) = self.document.get_mut(list).and_then(Item::as_array_of_tables_mut) else {
            return false;
        };
        let before = tables.len();
        tables.retain(|table| !which(table));
        let removed = tables.len() < before;
        if tables.is_empty() {
            self.document.remove(list);
        }
        removed
    }

    /// The table `[name]`, made with `first` if there is none.
    ///
    /// # Errors
    /// If there is something else of this name.
    pub fn section(&mut self, name: &str, first: impl FnOnce(&mut Table)) -> Result<&mut Table, ConfigError> {
        let path = &self.path;
        let item = self.document.entry(name).or_insert_with(|| {
            let mut table = Table::new();
            first(&mut table);
            Item::Table(table)
        });
        item.as_table_mut()
            .ok_or_else(|| ConfigError::of_file(path, format!("{name} is not written as [{name}]")))
    }

    /// The table `[name]`, if there is one.
    pub fn existing_section(&mut self, name: &str) -> Option<&mut Table> {
        self.document.get_mut(name)?.as_table_mut()
    }

    /// Checks the new text, which is not written yet.
    ///
    /// # Errors
    /// Those of `check`, which gets the path and the text.
    pub fn finish(
        self,
        check: impl FnOnce(&Path, String) -> Result<(), ConfigError>,
    ) -> Result<NewText, ConfigError> {
        let text = self.document.to_string();
        check(&self.path, text.clone())?;
        Ok(NewText { path: self.path, before: self.before, text })
    }
}

/// A configuration file as it is to be: the text has been checked.
#[derive(Debug)]
pub struct NewText {
    path: PathBuf,
    /// What it was made of.
    before: String,
    text: String,
}

impl NewText {
    /// Puts the text in the place of the file, with its mode and owner. Waits for the disk.
    ///
    /// # Errors
    /// If the file cannot be written, or is not the one any more that was changed. It is as it was then.
    pub fn write(self) -> Result<(), ConfigError> {
        // One that cannot be read is told of below.
        if read(&self.path).is_ok_and(|now| now != self.before) {
            let help = "give the command once more";
            return Err(ConfigError::of_file(&self.path, "was changed meanwhile".to_owned()).help(help));
        }
        replace(&self.path, self.text.as_bytes()).map_err(|error| {
            let help = "the change is in force, and will be gone after a restart; let the daemon write the file and its folder, \
                        or write it there by hand";
            ConfigError::of_file(&self.path, format!("cannot be written: {error}")).help(help)
        })
    }
}

/// Adds a text to the list `key` of a table, unless it is there.
pub fn add_text(table: &mut Table, key: &str, text: &str) {
    let list = table.entry(key).or_insert_with(|| Item::Value(Value::Array(Array::new())));
    let Some(list) = list.as_array_mut() else { return };
    if list.iter().any(|known| known.as_str() == Some(text)) {
        return;
    }
    // One under the other if the others are.
    let decor = list.iter().last().map(|last| last.decor().clone());
    let mut value = Value::from(text);
    match decor.as_ref().and_then(|decor| decor.prefix()) {
        Some(prefix) if list.len() > 1 || prefix.as_str().is_some_and(|prefix| prefix.contains('\n')) => {
            value.decor_mut().set_prefix(prefix.clone());
        }
        Some(_) => value.decor_mut().set_prefix(" "),
        None => {}
    }
    list.push_formatted(value);
}

/// Removes the texts that `which` picks from the list `key` of a table, and the list with its last. Returns how many.
pub fn remove_texts(table: &mut Table, key: &str, which: impl Fn(&str) -> bool) -> usize {
    let Some(list) = table.get_mut(key).and_then(Item::as_array_mut) else { return 0 };
    let before = list.len();
    list.retain(|value| !value.as_str().is_some_and(&which));
    let removed = before - list.len();
    if list.is_empty() && removed > 0 {
        table.remove(key);
    } else if removed > 0
        && let Some(first) = list.get_mut(0)
        && first.decor().prefix().and_then(|prefix| prefix.as_str()) == Some(" ")
    {
        first.decor_mut().set_prefix("");
    }
    removed
}

/// Writes a file in one step. A link is followed, so that the file that it leads to is replaced, and not the link.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let path = fs::canonicalize(path)?;
    // Whoever may not write the file is not to get around that by way of its folder.
    let metadata = OpenOptions::new().write(true).open(&path)?.metadata()?;
    let folder = path.parent().unwrap_or(Path::new("/"));
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = folder.join(name);
    // What a killed process left, or a link that somebody laid there.
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let written = write_new(&new, bytes, &metadata).and_then(|()| fs::rename(&new, &path));
    if written.is_err() {
        let _ = fs::remove_file(&new);
        return written;
    }
    // So that the new name lasts, too.
    File::open(folder)?.sync_all()
}

fn write_new(path: &Path, bytes: &[u8], like: &fs::Metadata) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    let own = file.metadata()?;
    if (own.uid(), own.gid()) != (like.uid(), like.gid()) {
        fchown(&file, Some(Uid::from_raw(like.uid())), Some(Gid::from_raw(like.gid())))?;
    }
    fchmod(&file, Mode::from_bits_truncate(like.mode()))?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    const TEXT: &str = "# The control.\nname = \"c\"   # its name\n\n[[symbol]]\nport = \"eth1\"\nrules = [\"tcp/80\"] # by hand\n\n\
                        [[symbol]]\nport = \"eth2\"   # the other\n";

    fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.toml");
        fs::write(&path, text).unwrap();
        (folder, path)
    }

    fn is(port: &'static str) -> impl Fn(&Table) -> bool {
        move |table| table.get("port").and_then(Item::as_str) == Some(port)
    }

    fn edited(text: &str, change: impl FnOnce(&mut ConfigEdit)) -> String {
        let (_folder, path) = file(text);
        let mut edit = ConfigEdit::open(&path).unwrap();
        change(&mut edit);
        edit.finish(|_, _| Ok(())).unwrap().write().unwrap();
        fs::read_to_string(&path).unwrap()
    }

    #[test]
    fn comments_and_layout_stay() {
        let text = edited(TEXT, |edit| {
            add_text(edit.element("symbol", is("eth1")).unwrap(), "rules", "ip/ospf");
            add_text(edit.element("symbol", is("eth1")).unwrap(), "rules", "ip/ospf");
            add_text(edit.element("symbol", is("eth2")).unwrap(), "rules", "udp/53");
        });
        let expected = TEXT.replace("[\"tcp/80\"]", "[\"tcp/80\", \"ip/ospf\"]") + "rules = [\"udp/53\"]\n";
        assert_eq!(text, expected);
        let back = edited(&text, |edit| {
            let one = |known: &str| known == "ip/ospf";
            assert_eq!(remove_texts(edit.element("symbol", is("eth1")).unwrap(), "rules", one), 1);
            assert_eq!(remove_texts(edit.element("symbol", is("eth2")).unwrap(), "rules", |_| true), 1);
            assert_eq!(remove_texts(edit.element("symbol", is("eth2")).unwrap(), "rules", |_| true), 0);
        });
        assert_eq!(back, TEXT);
    }

    #[test]
    fn a_list_of_lines_stays_one() {
        let lines = "a = [\n    \"x\",   # first\n    \"y\",\n]\n";
        let text = edited(&format!("[s]\n{lines}"), |edit| {
            add_text(edit.section("s", |_| {}).unwrap(), "a", "z");
        });
        let values: toml::Table = toml::from_str(&text).unwrap();
        assert_eq!(values["s"]["a"].as_array().unwrap().len(), 3, "{text}");
        assert!(text.contains("# first") && text.contains("\n    \"z\""), "{text}");
    }

    #[test]
    fn sections_and_elements_come_and_go() {
        let text = edited(TEXT, |edit| {
            let section = edit.section("routes", |table| table["enabled"] = toml_edit::value(false)).unwrap();
            add_text(section, "static", "10.0.0.0/8 dev eth1");
            let mut peer = Table::new();
            peer["name"] = toml_edit::value("r");
            edit.add_element("peer", peer).unwrap();
            assert!(edit.remove_elements("symbol", is("eth2")));
            assert!(!edit.remove_elements("symbol", is("eth3")));
        });
        assert!(text.contains("[routes]\nenabled = false\nstatic = [\"10.0.0.0/8 dev eth1\"]"), "{text}");
        assert!(text.contains("[[peer]]\nname = \"r\"") && !text.contains("eth2"), "{text}");
        let without = edited(&text, |edit| assert!(edit.remove_elements("peer", |_| true)));
        assert!(!without.contains("peer"), "{without}");
    }

    #[test]
    fn mode_and_link_are_kept_and_nothing_is_left_behind() {
        let (folder, path) = file(TEXT);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let link = folder.path().join("link.toml");
        symlink("control.toml", &link).unwrap();
        let mut edit = ConfigEdit::open(&link).unwrap();
        edit.remove_elements("symbol", |_| true);
        edit.finish(|_, _| Ok(())).unwrap().write().unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o640);
        assert!(!fs::read_to_string(&path).unwrap().contains("symbol"));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn what_does_not_check_is_not_written() {
        let (_folder, path) = file(TEXT);
        let mut edit = ConfigEdit::open(&path).unwrap();
        edit.remove_elements("symbol", |_| true);
        let error = edit.finish(|path, _| Err(ConfigError::of_file(path, "wrong"))).unwrap_err();
        assert!(error.to_string().ends_with("control.toml: wrong"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), TEXT);
    }

    #[test]
    fn a_file_that_cannot_be_written_is_told() {
        let (folder, path) = file(TEXT);
        let edit = ConfigEdit::open(&path).unwrap();
        drop(folder);
        let error = edit.finish(|_, _| Ok(())).unwrap().write().unwrap_err().to_string();
        assert!(error.contains("cannot be written") && error.contains("in force"), "{error}");
    }

    #[test]
    fn what_somebody_wrote_meanwhile_stays() {
        let (_folder, path) = file(TEXT);
        let mut edit = ConfigEdit::open(&path).unwrap();
        edit.remove_elements("symbol", is("eth1"));
        let new = edit.finish(|_, _| Ok(())).unwrap();
        fs::write(&path, "name = \"d\"\n").unwrap();
        let error = new.write().unwrap_err().to_string();
        assert!(error.contains("was changed meanwhile") && error.contains("once more"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "name = \"d\"\n");
    }
}
