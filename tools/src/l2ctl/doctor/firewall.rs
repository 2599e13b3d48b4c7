//! Filters of nftables through which link frames have to pass: they stand where every frame passes, not only packets of IP.

use super::Finding;
use std::process::Command;

const TOPIC: &str = "link";

/// Chains at the link's interface. Without nft there are none that could be seen.
pub(super) fn at(interface: &str) -> Vec<Finding> {
    // Its JSON does not tell the device (nftables 1.0.6).
    let listed = Command::new("nft").args(["list", "chains", "netdev"]).output();
    let text = listed.map(|output| output.stdout).unwrap_or_default();
    findings(&String::from_utf8_lossy(&text), interface)
}

/// Of what `nft list chains` prints: tables, in them chains, in these a line that begins with `type`.
fn findings(text: &str, interface: &str) -> Vec<Finding> {
    let (mut table, mut chain) = ("?", "?");
    let mut findings = Vec::new();
    for line in text.lines() {
        let words: Vec<&str> =
            line.split([' ', '\t', ',', ';', '"']).filter(|word| !word.is_empty()).collect();
        match words[..] {
            ["table", "netdev", name, ..] => table = name,
            ["chain", name, ..] => chain = name,
            ["type", ..] if words.contains(&interface) => {
                let behind = |key| words.iter().skip_while(|word| **word != key).nth(1).unwrap_or(&"?");
                let (hook, policy) = (behind("hook"), behind("policy"));
                findings.push(Finding::note(
                    TOPIC,
                    format!(
                        "chain {table} {chain} of nftables filters at {hook} of {interface}, policy {policy}: link frames \
                         pass through it"
                    ),
                    format!(
                        "`nft insert rule netdev {table} {chain} ether type 0x88b5 accept`, unless it lets them pass already"
                    ),
                ));
            }
            _ => {}
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As nftables 1.0.6 and 1.1 print them.
    const LISTED: &str = "table netdev f {
\tchain in {
\t\ttype filter hook ingress device \"lan0\" priority filter; policy drop;
\t}
\tchain other {
\t\ttype filter hook ingress device \"lan01\" priority filter; policy drop;
\t}
}
table netdev g {
\tchain all {
\t\ttype filter hook egress devices = { \"eth1\", \"lan0\" } priority -500; policy accept;
\t}
}
";

    #[test]
    fn chains_at_the_interface_are_told_with_what_lets_frames_pass() {
        let findings = findings(LISTED, "lan0");
        let found: Vec<&str> =
            findings.iter().map(|finding| finding.found.split(':').next().unwrap()).collect();
        assert_eq!(
            found,
            [
                "chain f in of nftables filters at ingress of lan0, policy drop",
                "chain g all of nftables filters at egress of lan0, policy accept",
            ]
        );
        let remedy = findings[0].remedy.as_ref().unwrap();
        assert!(remedy.starts_with("`nft insert rule netdev f in ether type 0x88b5 accept`"), "{remedy}");
    }
}
