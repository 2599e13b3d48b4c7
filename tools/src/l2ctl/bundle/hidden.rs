//! Configuration files, and what is said about them, without secrets.
//!
//! Keys are in files of their own, and the daemons refuse a configuration that holds one. Somebody may have tried all the same:
//! whatever stands behind a word that speaks of a secret, or looks like a key, is left out. Public keys and names of files stay.

const HIDDEN: &str = "\"(hidden)\"";

/// The text, line by line, with secrets left out.
pub(super) fn without_secrets(text: &str) -> String {
    text.lines().map(|line| without_secret(line) + "\n").collect()
}

fn without_secret(line: &str) -> String {
    let key = match line.split_once('=') {
        Some((key, _)) if !key.trim_start().starts_with('#') => key,
        _ => "",
    };
    let name = key.trim().trim_matches(['"', '\'']).to_ascii_lowercase();
    let names_file = name.ends_with("_file");
    let is_secret = ["psk", "secret", "password", "private", "key"].iter().any(|word| name.contains(word));
    let without_keys =
        |text: &str| text.split_inclusive(['"', '\'', ' ', '#']).map(without_key).collect::<String>();
    match name.as_str() {
        "public_key" => line.to_owned(),
        _ if is_secret && !names_file => format!("{}= {HIDDEN}", without_keys(key)),
        _ => without_keys(line),
    }
}

/// A word, with its separator, unless it is 32 bytes in base64.
fn without_key(word: &str) -> String {
    let bare = word.trim_end_matches(['"', '\'', ' ', '#']);
    let is_base64 =
        bare.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'='));
    let is_key = is_base64 && matches!(bare.trim_end_matches('=').len(), 43);
    if is_key { word.replace(bare, "(hidden)") } else { word.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    const KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

    #[rstest]
    #[case("psk_file = \"psk\"   # beside this file", "psk_file = \"psk\"   # beside this file")]
    #[case("private_key_file = \"key\"", "private_key_file = \"key\"")]
    #[case("interface = \"eth1\"", "interface = \"eth1\"")]
    #[case("[link]", "[link]")]
    #[case("prefixes = [\"10.0.0.0/8\"]", "prefixes = [\"10.0.0.0/8\"]")]
    #[case("psk = \"short\"", "psk = \"(hidden)\"")]
    #[case("  3 | psk = \"short\"", "  3 | psk = \"(hidden)\"")]
    #[case("\"private_key\" = 'short'", "\"private_key\" = \"(hidden)\"")]
    fn files_stay_and_secrets_go(#[case] line: &str, #[case] expected: &str) {
        assert_eq!(without_secrets(line), format!("{expected}\n"));
    }

    #[test]
    fn a_key_goes_wherever_it_stands_but_a_public_one() {
        for line in [
            format!("psk_file = \"{KEY}\""),
            format!("# psk was {KEY}"),
            format!("name = '{}'", &KEY[..43]),
            KEY.to_owned(),
        ] {
            let text = without_secrets(&line);
            assert!(!text.contains(&KEY[..20]) && text.contains("(hidden)"), "{text}");
        }
        let public = format!("public_key = \"{KEY}\"\n");
        assert_eq!(without_secrets(&public), public);
    }
}
