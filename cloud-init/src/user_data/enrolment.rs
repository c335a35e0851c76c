//! A client certificate by one-time enrolment: the machine makes its key, and gets a certificate for it with the token in its user data.
//!
//! No agent is needed: Python, which cloud-init runs by, asks, and `openssl` makes key and signing request. `enrol.py` does it, at the end of each boot until it has worked, for seconds at most. What it is
//! told is in a file of its own that only root reads and that goes when it is done, so that nothing has to be quoted into the program.
//!
//! An engine's file that names the certificate is there under another name until then: containerd and Docker refuse every pull by a `hosts.toml` whose certificate is missing, where without one they
//! ask the mirror as nobody and go on to the Hub.

use serde_json::json;

use crate::provision::{Content, PlacedFile, Provision};
use crate::{ClientPair, MirrorUrl};

/// How a machine gets its certificate.
#[derive(Clone, Eq, PartialEq)]
pub struct Enrolment {
    /// Who gives it, one after another until one does; those that speak HTTPS.
    pub mirrors: Vec<MirrorUrl>,
    /// As `chandler ca token` prints it.
    pub token: String,
    /// By what the mirrors are known (PEM); `None`: by the roots that the token names.
    pub anchors: Option<String>,
}

impl std::fmt::Debug for Enrolment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Enrolment").field("mirrors", &self.mirrors).finish_non_exhaustive()
    }
}

/// Where a certificate and its key are to be.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PairPlace {
    /// The chain's path.
    pub chain: String,
    /// The key's.
    pub key: String,
}

/// A provision is made for this pair where the real one is not there yet: planners say by it where they want one, and [`Enrolment::provided`] takes it out.
pub fn to_come() -> ClientPair {
    ClientPair { chain: format!("{TO_COME}chain\n"), key: format!("{TO_COME}key\n") }
}

impl Enrolment {
    /// The same provision with the enrolment in the place of the pair that is [to come](to_come).
    pub fn provided(&self, provision: &Provision) -> Provision {
        let pair = to_come();
        let (to_come, mut files): (Vec<_>, Vec<_>) =
            provision.files.iter().cloned().partition(|file| file.content.text == pair.chain || file.content.text == pair.key);
        let pairs = pairs(&to_come, &pair);
        let mut waiting = Vec::new();
        for file in &mut files {
            if pairs.iter().any(|place| file.content.text.contains(&place.chain)) {
                waiting.push(file.path.clone());
                file.path.push_str(SUFFIX);
            }
        }
        files.extend(self.files(&pairs, &waiting));
        Provision { files, ..provision.clone() }
    }

    fn files(&self, pairs: &[PairPlace], waiting: &[String]) -> [PlacedFile; 3] {
        let order = json!({
            "mirrors": self.mirrors.iter().filter(|mirror| mirror.is_secure()).map(ToString::to_string).collect::<Vec<_>>(),
            "token": self.token,
            "anchors": self.anchors,
            "pairs": pairs.iter().map(|place| json!({"chain": place.chain, "key": place.key})).collect::<Vec<_>>(),
            "waiting": waiting,
            "suffix": SUFFIX,
        });
        [
            file(ORDER, 0o600, format!("{order}\n"), true),
            file(PROGRAM, 0o755, SOURCE.to_owned(), false),
            file(EACH_BOOT, 0o755, each_boot(&format!("[ ! -e {ORDER} ] || {PYTHON} {PROGRAM}")), false),
        ]
    }
}

/// A script that runs `line` at the end of each boot. It is no failure of the boot if that fails: who waits for `cloud-init status --wait` gets a machine, without the mirror.
pub(super) fn each_boot(line: &str) -> String {
    format!("#!/bin/sh\n{line}\nexit 0\n")
}

/// Each chain with the key that the same planner put behind or before it: in the order of the provision they come in pairs.
fn pairs(files: &[PlacedFile], pair: &ClientPair) -> Vec<PairPlace> {
    let of = |text: &str| files.iter().filter(move |file| file.content.text == *text).map(|file| file.path.clone()).collect::<Vec<_>>();
    of(&pair.chain).into_iter().zip(of(&pair.key)).map(|(chain, key)| PairPlace { chain, key }).collect()
}

fn file(path: &str, mode: u32, text: String, secret: bool) -> PlacedFile {
    PlacedFile { path: path.to_owned(), mode, content: Content { text, secret } }
}

const SOURCE: &str = include_str!("enrol.py");
const TO_COME: &str = "chandler: to be enrolled, ";
const ORDER: &str = "/etc/chandler/enrolment.json";
/// RHEL 8 has no `python3` in the path.
const PYTHON: &str = "\"$(command -v python3 || echo /usr/libexec/platform-python)\"";
const PROGRAM: &str = "/usr/local/sbin/chandler-enrol";
/// Scripts here run at the end of each boot, before those of the user data.
const EACH_BOOT: &str = "/var/lib/cloud/scripts/per-boot/00-chandler-enrol";
/// No engine reads a file with this at its end.
const SUFFIX: &str = ".chandler-enrolling";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provision::Means;
    use insta::assert_snapshot;

    #[test]
    fn what_names_the_certificate_waits_until_it_is_there() {
        let pair = to_come();
        let provision = Provision {
            files: vec![
                file("/certs.d/m:5000/chandler-ca.crt", 0o644, "ROOTS\n".to_owned(), false),
                file("/certs.d/m:5000/chandler.key", 0o600, pair.key, true),
                file("/certs.d/m:5000/chandler.cert", 0o644, pair.chain, false),
                file(
                    "/certs.d/docker.io/hosts.toml",
                    0o644,
                    "client = [[\"/certs.d/m:5000/chandler.cert\", \"…key\"]]\n".to_owned(),
                    false,
                ),
            ],
            docker: None,
            means: Means::Script,
        };
        let mirrors = ["https://m:5000", "http://plain"].map(|url| url.parse().expect("a mirror")).to_vec();
        let enrolment = Enrolment { mirrors, token: "chandler1.id.secret.roots".to_owned(), anchors: None };
        let files = enrolment.provided(&provision).files;
        let shown: Vec<String> = files.iter().map(|file| format!("{} {:o}", file.path, file.mode)).collect();
        assert_snapshot!(shown.join("\n"), @r"
        /certs.d/m:5000/chandler-ca.crt 644
        /certs.d/docker.io/hosts.toml.chandler-enrolling 644
        /etc/chandler/enrolment.json 600
        /usr/local/sbin/chandler-enrol 755
        /var/lib/cloud/scripts/per-boot/00-chandler-enrol 755
        ");
        assert_snapshot!(files[2].content.text, @r#"
        {"anchors":null,"mirrors":["https://m:5000"],"pairs":[{"chain":"/certs.d/m:5000/chandler.cert","key":"/certs.d/m:5000/chandler.key"}],"suffix":".chandler-enrolling","token":"chandler1.id.secret.roots","waiting":["/certs.d/docker.io/hosts.toml"]}
        "#);
        assert!(!format!("{enrolment:?}{:?}", files[2]).contains("secret.roots"));
    }

    #[test]
    fn the_program_and_its_order_agree_on_names() {
        assert!(SOURCE.contains(&format!("ORDER = \"{ORDER}\"\n")));
    }
}
