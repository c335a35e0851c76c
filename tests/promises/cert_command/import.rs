//! `chandler cert import` where several listeners have files: a pair goes where its names are served.

use std::fs;
use std::path::{Path, PathBuf};

use tests::hub::Hub;
use tests::program::Program;

use super::{cert, edit, right, wrong};

/// A pair for `name` in `folder`.
fn pair(folder: &Path, name: &str) -> (PathBuf, PathBuf) {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).expect("a certificate");
    let (chain, key) = (folder.join(format!("{name}.pem")), folder.join(format!("{name}.key")));
    fs::write(&chain, made.cert.pem()).expect("written");
    fs::write(&key, made.signing_key.serialize_pem()).expect("written");
    (chain, key)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pair_goes_to_the_listener_whose_names_it_has() {
    let (hub, folder) = (Hub::start(), tempfile::tempdir().expect("a folder"));
    let (brought, live) = (folder.path().join("brought"), folder.path().join("live"));
    fs::create_dir_all(&brought).and_then(|()| fs::create_dir_all(&live)).expect("made");
    for name in ["one.test", "two.test"] {
        pair(&live, name);
    }
    let listener = |port: u16, name: &str| {
        let (chain, key) = (live.join(format!("{name}.pem")), live.join(format!("{name}.key")));
        format!("{{address: \"127.0.0.1:{port}\", tls: {{certificate: \"{}\", key: \"{}\"}}}}", chain.display(), key.display())
    };
    let builder = Program::of_hub(&hub.url());
    let builder = builder.listeners(&format!("[{}, {}]", listener(7001, "one.test"), listener(7002, "two.test")));
    let config = builder.write();
    let import = |name: &str, more: &[&str]| {
        let (chain, key) = pair(&brought, name);
        let arguments = ["import", "--cert", chain.to_str().expect("text"), "--key", key.to_str().expect("text")];
        cert(&config, &[&arguments[..], more].concat())
    };
    let same = |one: &str, other: &str| {
        let read = |path: PathBuf| fs::read(path).expect("it is there");
        read(brought.join(format!("{one}.pem"))) == read(live.join(format!("{other}.pem")))
            && read(brought.join(format!("{one}.key"))) == read(live.join(format!("{other}.key")))
    };

    let said = right(&import("two.test", &[]));
    assert!(said.contains("two.test.pem: for two.test"), "{said}");
    assert!(same("two.test", "two.test"));

    let said = wrong(&import("three.test", &[]), 2);
    assert!(said.contains("127.0.0.1:7001 is for one.test") && said.contains("hint: --listener ADDR"), "{said}");
    let said = wrong(&import("three.test", &["--listener", "127.0.0.1:9"]), 2);
    assert!(said.contains("127.0.0.1:9"), "{said}");
    right(&import("three.test", &["--listener", "127.0.0.1:7001"]));
    assert!(same("three.test", "one.test"));

    edit(&config, "two.test.pem", "one.test.pem");
    edit(&config, "two.test.key", "one.test.key");
    right(&import("four.test", &[])); // One pair for both: there is nothing to choose.
    assert!(same("four.test", "one.test"));
}

/// certbot's `live` holds links into `archive`, and it renews no lineage whose links became files.
#[tokio::test(flavor = "multi_thread")]
async fn links_stay_links_and_what_the_mirror_reads_already_is_left_alone() {
    let (hub, folder) = (Hub::start(), tempfile::tempdir().expect("a folder"));
    let [archive, live, own] = ["archive", "live", "own"].map(|name| folder.path().join(name));
    for one in [&archive, &live, &own] {
        fs::create_dir(one).expect("made");
    }
    pair(&archive, "one.test");
    let (chain, key) = (live.join("fullchain.pem"), live.join("privkey.pem"));
    std::os::unix::fs::symlink(archive.join("one.test.pem"), &chain).expect("linked");
    std::os::unix::fs::symlink(archive.join("one.test.key"), &key).expect("linked");
    let listener = format!("[{{address: \"127.0.0.1:7001\", tls: {{certificate: \"{}\", key: \"{}\"}}}}]", chain.display(), key.display());
    let builder = Program::of_hub(&hub.url()).listeners(&listener);
    let config = builder.write();
    let import = |chain: &Path, key: &Path| {
        cert(&config, &["import", "--cert", chain.to_str().expect("text"), "--key", key.to_str().expect("text")])
    };
    let before = fs::read(&chain).expect("read");
    let said = right(&import(&chain, &key));
    assert!(said.contains("nothing to do"), "{said}");
    assert_eq!(fs::read(&chain).expect("read"), before);

    let (other, other_key) = pair(&own, "one.test");
    right(&import(&other, &other_key));
    assert!(chain.is_symlink() && key.is_symlink(), "what they lead to is replaced");
    assert_eq!(fs::read(archive.join("one.test.pem")).expect("read"), fs::read(&other).expect("read"));
}
