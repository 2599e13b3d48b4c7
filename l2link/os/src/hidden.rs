//! Texts for people, without the secrets that may have got into them.
//!
//! Keys are in files of their own. But somebody may have written one into a configuration, or where the name of a file belongs: then
//! the error that says so shows the line, and the journal keeps the error. So whatever looks like a key, or stands behind a word
//! that speaks of a secret, is shown as asterisks, as many as it has letters: a mark below still stands below its place. What
//! looks like a key is, without its context, no public one.

/// A text in which nothing is left that looks like a key: 32 bytes in base64, or 16 and more in hexadecimal digits.
#[must_use]
pub fn without_keys(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let word = rest.find(|letter| !is_base64(letter)).unwrap_or(rest.len());
        let (run, behind) = rest.split_at(word);
        let padding = behind.len() - behind.trim_start_matches('=').len();
        let hidden = key_at_end(run, padding.min(2));
        shown.push_str(&run[..run.len() - hidden]);
        shown.extend(core::iter::repeat_n(MASK, hidden + if hidden > 0 { padding } else { 0 }));
        let mut end = run.len();
        if hidden > 0 {
            end += padding;
        } else if let Some(other) = behind.chars().next() {
            shown.push(other);
            end += other.len_utf8();
        }
        rest = &rest[end..];
    }
    shown
}

/// A line of a configuration file, as it is shown: also without what stands behind `psk =`, `password =` and the like.
#[must_use]
pub fn without_secrets(line: &str) -> String {
    without_keys(&without_values(line))
}

/// The text of a configuration file, or of what is said about one. Public keys stay, where the file has them as such.
#[must_use]
pub fn of_file(text: &str) -> String {
    let line = |line: &str| {
        let is_public = line.trim_start().trim_start_matches('|').trim_start().starts_with("public_key");
        if is_public { line.to_owned() } else { without_secrets(line) }
    };
    text.lines().map(|each| line(each) + "\n").collect()
}

/// What a letter of a secret is shown as.
const MASK: char = '*';
/// Characters of a key in base64, without the `=` at its end.
const KEY: usize = 43;
/// Those of a key that was not copied as a whole.
const MOST_OF_KEY: usize = 40;
/// Hexadecimal digits of the shortest key, of a session.
const HEX_KEY: usize = 32;

const fn is_base64(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || matches!(letter, '+' | '/')
}

/// How many letters at the end of a run of base64 are a key. `/` is one of them: a run may be the end of a path as well.
fn key_at_end(run: &str, padding: usize) -> usize {
    let length = run.len();
    let has = |is: fn(&u8) -> bool| run.as_bytes().iter().any(is);
    let digits = run.bytes().rev().take_while(u8::is_ascii_hexdigit).count();
    if digits >= HEX_KEY && (digits == length || run.as_bytes()[length - digits - 1] == b'/') {
        return digits;
    }
    let is_mixed = has(u8::is_ascii_lowercase) && has(u8::is_ascii_uppercase);
    match padding {
        _ if !is_mixed || length < MOST_OF_KEY => 0,
        0 if length == KEY => length,
        // Half a key, or two without a word between.
        0 if length <= 2 * KEY && has(u8::is_ascii_digit) && !run.starts_with('/') => length,
        0 if length > KEY && run.as_bytes()[length - KEY - 1] == b'/' => KEY,
        0 => 0,
        _ => length.min(KEY),
    }
}

/// Masks values whose key speaks of a secret.
fn without_values(line: &str) -> String {
    let mut from = 0;
    while let Some(place) = line[from..].find('=') {
        let (before, value) = line.split_at(from + place + 1);
        let name = before.trim_end_matches('=').trim_end().trim_end_matches(['"', '\'']);
        let name =
            name.rsplit(|letter: char| !letter.is_ascii_alphanumeric() && !matches!(letter, '_' | '-'));
        let name = name.into_iter().next().unwrap_or_default().to_ascii_lowercase();
        if speaks_of_secret(&name) {
            let masked = value.chars().map(|letter| match letter {
                ' ' | '"' | '\'' => letter,
                _ => MASK,
            });
            return before.chars().chain(masked).collect();
        }
        from += place + 1;
    }
    line.to_owned()
}

fn speaks_of_secret(name: &str) -> bool {
    let secret =
        ["psk", "secret", "password", "passphrase", "private", "key"].iter().any(|word| name.contains(word));
    secret && !name.ends_with("_file") && name != "public_key"
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    const KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
    const SLASHES: &str = "a/EyMzQ1N/c4OWFiY2RlZjAx+jM0NTY3ODlhYmNkZ/Y=";
    const HEX: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191A1B1C1D1EFF";

    #[rstest]
    #[case("psk_file = \"psk\"   # beside this file", "psk_file = \"psk\"   # beside this file")]
    #[case("private_key_file = \"key\"", "private_key_file = \"key\"")]
    #[case("keep_symbols_ms = 60000", "keep_symbols_ms = 60000")]
    #[case("[link]", "[link]")]
    #[case("prefixes = [\"10.0.0.0/8\"]", "prefixes = [\"10.0.0.0/8\"]")]
    #[case("psk = \"short\"", "psk = \"*****\"")]
    #[case("  3 | psk = \"short\"", "  3 | psk = \"*****\"")]
    #[case("\"private_key\" = 'short one'", "\"private_key\" = '***** ***'")]
    #[case("link = { psk = \"short\", data = \"clear\" }", "link = { psk = \"******* **** * ********")]
    fn files_stay_and_secrets_go(#[case] line: &str, #[case] expected: &str) {
        let shown = without_secrets(line);
        if line.starts_with("link") {
            assert!(!shown.contains("short") && shown.starts_with("link = { psk = \"*"), "{shown}");
        } else {
            assert_eq!(shown, expected);
        }
        assert_eq!(shown.chars().count(), line.chars().count());
    }

    #[rstest]
    #[case::base64("MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=")]
    #[case::slashes(SLASHES)]
    #[case::no_padding(&KEY[..43])]
    #[case::cut(&KEY[..41])]
    #[case::hex(HEX)]
    #[case::session(&HEX[..32])]
    fn a_key_goes_wherever_it_stands(
        #[case] key: &str,
        #[values(
            "psk_file = \"@\"",
            "# psk was @",
            "name = '@'",
            "@",
            "key file /etc/l2link/@ cannot be read",
            "unknown field `@`, expected",
            "@: é",
            "a=@"
        )]
        line: &str,
    ) {
        // Of a path, a key that is not whole is not told from a name.
        if line.contains("/@") && key.len() < 43 && !key.starts_with("00") {
            return;
        }
        let shown = without_secrets(&line.replace('@', key));
        assert_eq!(shown, line.replace('@', &"*".repeat(key.len())));
        assert_eq!(without_keys(&line.replace('@', key)), shown);
    }

    #[rstest]
    #[case("key file /home/somebody/a/rather/long/path/to/a/folder/x86/psk cannot be read")]
    #[case("unknown field `interfaec`, expected one of `interface`, `ethertype`")]
    #[case("drop.handshake-limit 00:11:22:33:44:55 2001:db8:1111:2222:3333:4444:5555:6666")]
    #[case("L2LINK == 5 = x ==")]
    #[case("")]
    fn other_words_stay(#[case] line: &str) {
        assert_eq!(without_keys(line), line);
    }

    #[test]
    fn a_public_key_stays_in_a_file_and_not_in_what_is_said() {
        let line = format!("public_key = \"{KEY}\"");
        assert_eq!(of_file(&line), format!("{line}\n"));
        assert!(!without_secrets(&line).contains(KEY));
        assert_eq!(of_file("a = 1\npsk = \"x\""), "a = 1\npsk = \"*\"\n");
    }
}
