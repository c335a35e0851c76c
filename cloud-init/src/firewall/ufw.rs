//! The same for ufw, whose rules are asked in their order: ours go before all that is there. Beside it, what closes the way past it.

use std::fmt::Write as _;

use super::{Rules, published};
use crate::document::Document;

/// A program, and those for published ports.
pub fn documents(rules: &Rules) -> Vec<Document> {
    let mut text = String::from(
        "#!/bin/sh\n# The mirror's ports for its clients and nobody else, before all other rules: the last line here is asked first. Run again, ufw skips what is there.\nset -eu\n",
    );
    for port in rules.ports() {
        let _ = writeln!(text, "ufw prepend reject proto tcp from any to any port {port}");
        for client in rules.clients() {
            let _ = writeln!(text, "ufw prepend allow proto tcp from {client} to any port {port}");
        }
    }
    let ufw = Document::program("chandler-ufw", "root runs it once; ufw keeps what it says", text);
    std::iter::once(ufw).chain(published::documents(rules)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_asked_for_before_everybody_is_refused() {
        insta::assert_snapshot!(documents(&super::super::tests::rules())[0].text, @r#"
        #!/bin/sh
        # The mirror's ports for its clients and nobody else, before all other rules: the last line here is asked first. Run again, ufw skips what is there.
        set -eu
        ufw prepend reject proto tcp from any to any port 443
        ufw prepend allow proto tcp from 10.20.0.0/16 to any port 443
        ufw prepend allow proto tcp from 192.0.2.7/32 to any port 443
        ufw prepend allow proto tcp from fd00:20::/32 to any port 443
        ufw prepend reject proto tcp from any to any port 5000
        ufw prepend allow proto tcp from 10.20.0.0/16 to any port 5000
        ufw prepend allow proto tcp from 192.0.2.7/32 to any port 5000
        ufw prepend allow proto tcp from fd00:20::/32 to any port 5000
        "#);
    }
}
