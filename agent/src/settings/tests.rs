//! What `agent.yaml` and flags come to.

use super::*;

fn read(text: &str) -> Result<Read, String> {
    let path = Path::new("agent.yaml");
    let settings = parse(text, path).map_err(|error| mirror::chain(&error))?;
    Ok(Read { path: path.to_owned(), local: None, root: Root::machine(), settings })
}

fn wish(text: &str, flags: &WishArgs) -> Result<Wish, String> {
    read(text)?.wish(flags, &[]).map_err(|error| mirror::chain(&error))
}

#[test]
fn a_flag_beats_the_file() {
    let file = "{mirrors: [http://a:5000, http://b:5000, http://a:5000], registries: [ghcr.io, docker.io, ghcr.io], others: replace}";
    let of_file = wish(file, &WishArgs::default()).expect("right");
    assert_eq!(of_file.mirrors.iter().map(ToString::to_string).collect::<Vec<_>>(), ["http://a:5000", "http://b:5000"]);
    assert_eq!((of_file.registries, of_file.others), (vec!["ghcr.io".to_owned()], Others::Replace));
    let flags = WishArgs { mirror: vec!["http://c".parse().expect("a mirror")], mirrors: Some(OthersWord::Prepend), ..WishArgs::default() };
    let flagged = wish(file, &flags).expect("right");
    assert_eq!((flagged.mirrors[0].to_string(), flagged.others), ("http://c".to_owned(), Others::Keep));
}

#[test]
fn the_files_ca_is_not_taken_for_a_mirror_that_a_flag_names() {
    let flags = WishArgs { mirror: vec!["http://c".parse().expect("a mirror")], ..WishArgs::default() };
    assert_eq!(wish("{mirrors: [http://a], ca: /nowhere/ca.pem}", &flags).expect("right").anchors, None);
    assert!(
        wish("{mirrors: [http://a], ca: /nowhere/ca.pem}", &WishArgs::default()).expect_err("it is asked for").contains("/nowhere/ca.pem")
    );
}

#[test]
fn of_a_certificates_file_only_certificates_are_put_where_everybody_reads() {
    let both = "theirs\n-----BEGIN PRIVATE KEY-----\nS\n-----END PRIVATE KEY-----\n-----BEGIN CERTIFICATE-----\r\nA\r\n-----END CERTIFICATE-----\r\n";
    assert_eq!(blocks(both, |label| label == "CERTIFICATE"), "-----BEGIN CERTIFICATE-----\nA\n-----END CERTIFICATE-----\n");
    assert_eq!(blocks(both, |label| label.ends_with("PRIVATE KEY")), "-----BEGIN PRIVATE KEY-----\nS\n-----END PRIVATE KEY-----\n");
}

#[test]
fn a_pair_that_is_none_is_refused_before_anything_is_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("client.cert");
    std::fs::write(&file, "-----BEGIN PRIVATE KEY-----\nS\n-----END PRIVATE KEY-----\n").expect("written");
    let flags = WishArgs {
        mirror: vec!["https://a".parse().expect("a mirror")],
        client_cert: Some(file.clone()),
        client_key: Some(file),
        ..WishArgs::default()
    };
    let error = read("{}").expect("read").wish(&flags, &[]).expect_err("there is no certificate in it");
    assert!(matches!(error, SettingsError::Client(_)) && error.is_usage(), "{error}");
}

#[test]
fn the_mirror_on_this_machine_is_meant_where_that_is_said_and_no_flag_names_another() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = Root::below(folder.path()).expect("it is there");
    let local = |text: &str, flags: &WishArgs| {
        let mut read = read(text).expect("read");
        let found = read.find_local(flags, &root).map(|local| local.map(|local| local.url.to_string()));
        found.map_err(|error| error.to_string())
    };
    let named = WishArgs { mirror: vec!["http://c".parse().expect("a mirror")], ..WishArgs::default() };
    let asked = WishArgs { local: true, ..WishArgs::default() };
    assert_eq!(
        local("{local: true}", &WishArgs::default()),
        Err("there is no mirror on this machine: it has no /etc/chandler/mirror.yaml".into())
    );
    std::fs::create_dir_all(folder.path().join("etc/chandler")).expect("made");
    std::fs::write(folder.path().join("etc/chandler/mirror.yaml"), "listeners: 127.0.0.1:5007").expect("written");
    let here = Ok(Some("http://127.0.0.1:5007".to_owned()));
    assert_eq!(local("{local: true}", &WishArgs::default()), here);
    assert_eq!(local("{mirrors: [http://a]}", &asked), here);
    assert_eq!((local("{local: true}", &named), local("{mirrors: [http://a]}", &WishArgs::default())), (Ok(None), Ok(None)));
    assert!(local("{mirrors: [http://a], local: true}", &WishArgs::default()).is_err_and(|said| said.contains("one of them is meant")));
}

#[test]
fn what_is_wrong_is_told_with_its_key() {
    let told = |text: &str| wish(text, &WishArgs::default()).expect_err("wrong");
    insta::assert_snapshot!(
        [
            "",
            "# nothing yet",
            "{mirror: x}",
            "{mirrors: [mirror:5000]}",
            "{mirrors: [http://a], others: keep}",
            "{mirrors: [http://a], registries: [ghcr.io/x]}",
            "{mirrors: [http://a], registries: ['m\".evil']}",
            "{mirrors: [http://a], ca: sha256:12}",
            "{mirrors: [http://a], ca: sha256:0000000000000000000000000000000000000000000000000000000000000000}",
            "mirrors: http://a",
        ]
        .map(told)
        .join("\n"),
        @r#"
    no mirror is named
    no mirror is named
    agent.yaml is not understood: unknown field `mirror`, expected one of `mirrors`, `ca`, `client`, `engines`, `local`, `registries`, `others`, `system_trust` at line 1 column 2
    agent.yaml: mirrors: `mirror:5000` lacks its scheme: write http://HOST:PORT or https://HOST[:PORT]
    agent.yaml: others: `keep` is neither prepend nor replace
    `ghcr.io/x` is no registry: write a host, and its port where it has one, such as ghcr.io or registry.corp:5000
    `m".evil` is no registry: write a host, and its port where it has one, such as ghcr.io or registry.corp:5000
    agent.yaml: ca: no fingerprint: write sha256: and 64 hexadecimal digits, as `chandler ca export` prints it
    a CA by its fingerprint is fetched from a mirror over HTTPS, and none is named by https://
    agent.yaml is not understood: mirrors: invalid type: string "http://a", expected a sequence at line 1 column 10
    "#
    );
}
