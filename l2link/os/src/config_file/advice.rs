//! What to do about the mistakes that people make first: a word misspelt, a section in one pair of brackets, one value where there is
//! a list, a number in quotation marks, the other daemon's file.
//!
//! It is read off what serde says, whose messages are for programmers. A message that it does not know gets no advice.

/// Advice for `message`, about the part `text` of a file that begins in `line`.
pub(super) fn advice(message: &str, line: &str, text: &str) -> Option<String> {
    if let Some(rest) = message.strip_prefix("unknown field ") {
        let (word, known) = unknown(rest)?;
        return owner(word, line, &known).or_else(|| similar(word, &known));
    }
    if let Some(rest) = message.strip_prefix("unknown variant ") {
        let (word, known) = unknown(rest)?;
        return similar(word, &known);
    }
    if message.starts_with("invalid IP") {
        return Some("write an address alone, such as \"192.0.2.2\": no length and no name".to_owned());
    }
    let (found, wanted) = message.strip_prefix("invalid type: ")?.split_once(", expected ")?;
    let kind = found.split(' ').next().unwrap_or_default();
    match (kind, wanted) {
        ("map", "a sequence") if text.starts_with('[') => {
            let name = text.trim_matches(['[', ']']);
            Some(format!("write it in two pairs of brackets, [[{name}]]: there may be several"))
        }
        ("string" | "integer" | "boolean", "a sequence") => {
            Some(format!("write a list, also of one: [{}]", text.trim()))
        }
        ("string", "a boolean") => Some("write true or false, without quotation marks".to_owned()),
        ("string", _) if is_number(wanted) => Some("write a number, without quotation marks".to_owned()),
        ("integer" | "float" | "boolean", _) if wanted.contains("string") => {
            Some(format!("write it in quotation marks: \"{}\"", text.trim()))
        }
        (_, "a boolean") => Some("write true or false".to_owned()),
        _ => None,
    }
}

/// The unknown word, and those that are known: "`a`, expected one of `b`, `c`".
fn unknown(rest: &str) -> Option<(&str, Vec<&str>)> {
    let mut words = rest.split('`').skip(1).step_by(2);
    Some((words.next()?, words.collect()))
}

/// Whose file has a section or key of this name, if it is not this daemon's, which has those of `known` there.
fn owner(word: &str, line: &str, known: &[&str]) -> Option<String> {
    let is_section = line.trim_start().starts_with('[');
    let daemon = match word {
        // Both have a section [routes].
        "enabled" if known.contains(&"hold_seconds") => "control",
        "hold_seconds" | "forwarding" if known.contains(&"enabled") => "relay",
        "port" if is_section => "relay",
        "symbol" | "files" if is_section => "control",
        "keep_symbols_ms" | "carrier_hold_ms" => "control",
        _ => return None,
    };
    Some(format!("that is of the file of a {daemon}, which l2{daemon} reads"))
}

/// The known word that was meant, if one is like it.
fn similar(word: &str, known: &[&str]) -> Option<String> {
    let likeness = |known: &str| strsim::jaro_winkler(word, known);
    let nearest = known.iter().max_by(|one, other| likeness(one).total_cmp(&likeness(other)))?;
    if likeness(nearest) <= 0.8 {
        return None;
    }
    Some(format!("is `{nearest}` meant?"))
}

fn is_number(wanted: &str) -> bool {
    ["u8", "u16", "u32", "u64", "usize", "i64", "f64"].contains(&wanted) || wanted.contains("integer")
}

#[cfg(test)]
mod tests {
    use crate::config_file::parse;
    use rstest::rstest;
    use serde::Deserialize;
    use std::path::Path;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only read from text")]
    struct Sample {
        name: Option<String>,
        kind: Option<Kind>,
        relay_services: Option<Vec<String>>,
        routes: Option<bool>,
        ethertype: Option<u32>,
        comment: Option<toml::Spanned<String>>,
        gateway: Option<std::net::IpAddr>,
        relays_routes: Option<RelaysRoutes>,
        #[serde(default)]
        allow: Vec<Allow>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Kind {
        Interface,
        Address,
    }

    #[derive(Debug, Deserialize)]
    struct Allow {}

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only read from text")]
    struct RelaysRoutes {
        hold_seconds: Option<u32>,
        forwarding: Option<bool>,
    }

    #[rstest]
    #[case::misspelt("relay_servces = []", "is `relay_services` meant?")]
    #[case::hyphen("relay-services = []", "is `relay_services` meant?")]
    #[case::variant("kind = \"adress\"", "is `address` meant?")]
    #[case::one_pair("[allow]", "write it in two pairs of brackets, [[allow]]: there may be several")]
    #[case::one("relay_services = \"tcp/22\"", "write a list, also of one: [\"tcp/22\"]")]
    #[case::quoted_number("ethertype = \"0x88b6\"", "write a number, without quotation marks")]
    #[case::quoted_truth("routes = \"true\"", "write true or false, without quotation marks")]
    #[case::list("routes = [\"10.0.0.0/8\"]", "write true or false")]
    #[case::unquoted("name = 7", "write it in quotation marks: \"7\"")]
    #[case::unquoted_spanned("comment = true", "write it in quotation marks: \"true\"")]
    #[case::address(
        "gateway = \"192.0.2.2/24\"",
        "write an address alone, such as \"192.0.2.2\": no length and no name"
    )]
    #[case::relays("[[port]]\ninterface = \"a\"", "that is of the file of a relay, which l2relay reads")]
    #[case::controls("[[symbol]]\nport = \"a\"", "that is of the file of a control, which l2control reads")]
    #[case::routes(
        "[relays_routes]\nenabled = true",
        "that is of the file of a control, which l2control reads"
    )]
    fn usual_mistakes(#[case] text: &str, #[case] expected: &str) {
        let error = parse::<Sample>(Path::new("f.toml"), text.to_owned()).unwrap_err().to_string();
        assert!(error.ends_with(&format!("\nhelp: {expected}")), "{error}");
    }

    #[rstest]
    #[case::like_nothing("colour = 7")]
    #[case::a_value_called_port("port = 7")]
    #[case::syntax("name = x")]
    #[case::missing("[[allow]]\nx")]
    fn other_mistakes_get_no_wrong_advice(#[case] text: &str) {
        let error = parse::<Sample>(Path::new("f.toml"), text.to_owned()).unwrap_err().to_string();
        assert!(!error.contains("help: "), "{error}");
    }
}
