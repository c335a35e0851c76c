//! What the configuration promises: right values, every problem at once with its place, and nothing that depends on a reader of YAML.

mod arbitrary;
mod mistakes;
mod seeds;
mod versions;

use super::*;

fn resolved(text: &str) -> Resolved {
    resolve(&Sources::yaml(text)).unwrap_or_else(|problems| panic!("{text}\n{problems}"))
}

fn problems(text: &str) -> String {
    resolve(&Sources::yaml(text)).map_or_else(|problems| problems.to_string(), |resolved| panic!("resolved: {:?}", resolved.config))
}

fn with_environment(text: &str, variables: &[(&str, &str)]) -> Sources {
    let environment = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Sources { environment, ..Sources::yaml(text) }
}

#[test]
fn nothing_said_mirrors_docker_hub_on_loopback() {
    insta::assert_snapshot!(resolve(&Sources::default()).expect("the defaults are right").show(), @r"
    listeners:
    - address: 127.0.0.1:5000  # default
      proxy_protocol: false  # default
    upstreams:
    - name: docker.io  # default
      url: https://registry-1.docker.io  # default
      answers_to:  # default
      - docker.io
      - index.docker.io
      - registry-1.docker.io
      - registry.hub.docker.com
      hub: true  # default
      alternates: []  # default
      realms: []  # default
      tag_window: 1s  # default
    store:
      path: /var/lib/chandler/cache  # default
      max_size: off  # default
      min_free: 5%  # default
      keep_unused: off  # default
      deleted_tags:
        grace: 1day  # default
        then: keep  # default
      health:
        enabled: true  # default
        interval: 10s  # default
        threshold: 3  # default
      scrub_rate: 4MiB  # default
    access: open  # default
    acme:
      directories:  # default
      - https://acme-v02.api.letsencrypt.org/directory
      challenges:  # default
      - tls-alpn-01
      - http-01
      http: '[::]:80'  # default
      key: p256  # default
      path: /var/lib/chandler/certs  # default
    trusted_proxies: []  # default
    headers:
      x-content-type-options:  # default
      - nosniff
    admin:
      address: 127.0.0.1:5001  # default
      open_metrics: false  # default
    log:
      level: info  # default
      format: json  # default
      output: stderr  # default
      access: true  # default
      fields: {}  # default
    limits:
      connections: 4096  # default
      buffers: 16MiB  # default
      drain: 30s  # default
      upstream_blobs: 32  # default
      upstream_manifests: 32  # default
      upstream_min_rate: 64B  # default
    ");
}

#[test]
fn the_defaults_of_the_reference_are_the_defaults() {
    let resolved = resolve(&Sources::default()).expect("the defaults are right");
    let shown = tree::parse("shown".as_ref(), &render(&resolved.config)).expect("what is shown is YAML");
    for key in keys::KEYS.iter().filter(|key| !key.default.is_empty() && !key.default.contains([' ', '$'])) {
        let path = key.path.replace("[]", ".0");
        let Some(text) = shown.at(&path).and_then(tree::Node::as_text) else { continue };
        let said = if key.default == "tag_window" { "1s" } else { key.default };
        let text = text.trim_start_matches("[::]").trim_end_matches('/'); // Every interface is written shorter.
        assert_eq!(text, said, "{}", key.path);
    }
}

#[test]
fn every_key_of_the_reference_is_read() {
    for key in keys::KEYS {
        // No key takes a list of lists, so whoever reads this one complains.
        let yaml = key.path.split('.').rev().fold("[[]]".to_owned(), |value, name| match name.strip_suffix("[]") {
            Some(list) => format!("{{{list}: [{value}]}}"),
            None => format!("{{{name}: {value}}}"),
        });
        let path = key.path.replace("[]", ".0");
        let (told, name) = (problems(&yaml), path.rsplit('.').next().unwrap_or_default());
        assert!(told.contains(&path) || told.contains(&format!("has a {name} and no user")), "{yaml}: {told}");
    }
}

#[test]
fn a_flag_beats_a_variable_beats_the_file_beats_the_default() {
    let mut sources = with_environment(
        "tag_window: 2s\nstore: {max_size: 1GiB, min_free: 7%}\n",
        &[("CHANDLER_TAG_WINDOW", "3s"), ("CHANDLER_STORE_MAX_SIZE", "2GiB")],
    );
    sources.flags.push(Flag::one("store.max_size", "--max-size", "80%"));
    let shown = resolve(&sources).expect("all of it is right").show();
    let lines: Vec<_> =
        shown.lines().filter(|line| line.contains("tag_window") || line.contains("_size") || line.contains("_free")).collect();
    insta::assert_snapshot!(lines.join("\n"), @r"
    tag_window: 3s  # CHANDLER_TAG_WINDOW
    max_size: 80%  # --max-size
    min_free: 7%  # chandler.yaml:2:35
    ");
}

#[test]
fn every_problem_is_told_at_once_with_its_place_and_mend() {
    let text = "\
listeners:
  - address: 127.0.0.1
  - address: :5000
    tls: {certificate: /x}
upstreams:
  - name: GHCR
    url: https://ghcr.io
  - name: quay.io
    account: {user: a, password: hunter2, password_file: /p}
store:
  max_sise: 20GiB
  min_free: 20 apples
  health: {interval: 10, threshold: 012}
tag_window: [1s]
colour: blue
";
    let mut sources = with_environment(text, &[("CHANDLER_LIMIT_DRAIN", "5s"), ("CHANDLER_LOG_LEVEL", "loud")]);
    sources.flags.push(Flag::one("store.max_size", "--max-size", "0"));
    insta::assert_snapshot!(resolve(&sources).expect_err("all of it is wrong"), @r#"
    the configuration has 14 problems
      chandler.yaml:2:14: listeners.0.address: "127.0.0.1" is not an address: the port is missing; write an IP address and a port, such as 127.0.0.1:5000, or :5000 for every interface
      chandler.yaml:4:10: listeners.1.tls has a certificate and no key; HTTPS needs both: add listeners.1.tls.key (--tls-key)
      chandler.yaml:6:11: upstreams.0.name: "GHCR" does not fit: an upstream's name has lower-case letters, digits, dots and dashes, and starts and ends with a letter or digit
      chandler.yaml:8:5: upstreams.1 (quay.io) has no url; add one, such as url: https://quay.io
      chandler.yaml:9:58: upstreams.1.account has password and password_file; keep one of them
      chandler.yaml:11:3: unknown key `max_sise` in store; did you mean `max_size`?
      chandler.yaml:12:13: store.min_free: "20 apples" is not a size: write a whole number with a unit, such as 512MiB or 20GiB
      chandler.yaml:13:22: store.health.interval: "10" is not a duration: it needs a unit, such as 30s, 10m or 24h
      chandler.yaml:13:37: store.health.threshold: "012" is not a plain number: leave the leading zero out
      chandler.yaml:14:13: tag_window is a single value, not a list
      chandler.yaml:15:1: unknown key `colour`; there are listeners, upstreams, tag_window, store, access, clients, acme, trusted_proxies, headers, admin, log, limits
      CHANDLER_LIMIT_DRAIN: no such setting; did you mean CHANDLER_LIMITS_DRAIN?
      CHANDLER_LOG_LEVEL: log.level: "loud" is not a level: write error, warn, info, debug or trace, or a filter such as info,mirror::upstream=debug
      --max-size: store.max_size: "0" must be more than zero, or off
    "#);
}

#[test]
fn text_that_yaml_readers_guess_at_stays_what_was_written() {
    let text = "upstreams: [{account: {user: no, password: 1e5}}]\nlog: {fields: {build: 0123, at: 12:30:00}}\n";
    let config = resolved(text).config;
    let account = config.upstreams[0].account.clone().expect("an account");
    assert_eq!((account.user.as_str(), account.password), ("no", PasswordSource::Value(Secret::new("1e5"))));
    assert_eq!(config.log.fields, [("build".to_owned(), "0123".to_owned()), ("at".to_owned(), "12:30:00".to_owned())]);
    for (text, part) in [
        ("upstreams: [{account: {user: a, password: null}}]", "has no value"),
        ("limits: {connections: 0123}", "leading zero"),
        ("limits: {connections: 1e5}", "whole number"),
        ("private: x", "unknown key"),
        ("upstreams: [{private: }]", "has no value"),
        ("tag_window: 1s\ntag_window: 2s", "said twice, first at chandler.yaml:1:1"),
        ("a: &a [*a]", "alias"),
        ("store: !env X", "tags"),
        ("- a", "no map"),
        ("a: b\n---\nc: d", "second document"),
        ("store: [", "not YAML"),
    ] {
        assert!(problems(text).contains(part), "{text}: {}", problems(text));
    }
}

#[test]
fn a_line_break_at_the_end_is_no_part_of_a_value_and_one_within_is_told() {
    let password = |sources: &Sources| resolve(sources).expect("right").config.upstreams.remove(0).account.expect("an account").password;
    let hunter2 = PasswordSource::Value(Secret::new("hunter2"));
    assert_eq!(password(&Sources::yaml("upstreams:\n- account:\n    user: a\n    password: |\n      hunter2\n")), hunter2);
    for (key, variable) in [("user: a", "CHANDLER_UPSTREAMS_0_ACCOUNT_PASSWORD"), ("user: a, password_env: TOKEN", "TOKEN")] {
        let text = format!("upstreams: [{{account: {{{key}}}}}]");
        assert_eq!(password(&with_environment(&text, &[(variable, "hunter2\r\n")])), hunter2, "{variable}");
    }
    let text = "upstreams: [{account: {user: a, password: \"hun\\nter2\"}}]\nlog: {fields: {\"a\\eb\": c}}\nstore: {path: \"/a\\u2028b\"}";
    insta::assert_snapshot!(problems(text), @r"
    the configuration has 3 problems
      chandler.yaml:1:43: upstreams.0.account.password holds a line break or another control character, which no setting may; write it on one line
      chandler.yaml:2:16: log.fields.a\u{1b}b holds a line break or another control character, which no setting may; write it on one line
      chandler.yaml:3:15: store.path holds a line break or another control character, which no setting may; write it on one line
    ");
}

#[test]
fn no_message_holds_a_secret() {
    for text in [
        "upstreams: [{url: 'https://u:hunter2@hub.corp'}]",
        "upstreams: [{account: {password: hunter2}}]",
        "admin: {token: hunter2, address: 'x'}",
        "upstreams: [{proxy: 'socks://u:hunter2@proxy'}]",
        "upstreams: [{account: {user: a, password: hunter2, password_env: X}}]",
    ] {
        assert!(!problems(text).contains("hunter2"), "{}", problems(text));
    }
    let text = "upstreams: [{account: {user: a, password: hunter2}, proxy: 'http://u:hunter2@proxy'}]\nadmin: {token: hunter2}";
    let resolved = resolved(text);
    assert!(resolved.show().contains("(secret)"));
    assert!(!resolved.show().contains("hunter2") && !format!("{resolved:?}").contains("hunter2"), "{resolved:?}");
}

#[test]
fn an_account_is_not_opened_to_others_without_a_word() {
    let account = "upstreams: [{account: {user: acme, password: x}}]\n";
    insta::assert_snapshot!(problems(&format!("{account}listeners: ':5000'")), @r"
    the configuration has a problem
      chandler.yaml:2:12: [::]:5000 is reached by others, who could then read the private images of acme at docker.io: say who may (access: [10.0.0.0/8], --allow 10.0.0.0/8), or that everybody may (access: open, --allow open), or listen on 127.0.0.1
    ");
    for (rest, fine) in [
        ("", true),
        ("listeners: '[::1]:5000'", true),
        ("listeners: ':5000'\naccess: open", true),
        ("listeners: ':5000'\naccess: 10.0.0.0/8,192.168.0.0/16", true),
        ("listeners: ':5000'\naccess: [{name: ci, networks: [10.0.0.0/8], repositories: ['docker.io/acme/*']}]", true),
        ("listeners: '127.0.0.1:5000,0.0.0.0:80'", false),
        ("listeners: ':5000'\naccess: []", false),
    ] {
        assert_eq!(resolve(&Sources::yaml(&format!("{account}{rest}"))).is_ok(), fine, "{rest}");
    }
    assert!(resolve(&Sources::yaml("listeners: ':5000'")).is_ok(), "without an account there is nothing to guard");
}

#[test]
fn the_operators_listener_is_not_opened_to_others_unguarded() {
    for (text, fine) in [
        ("admin: off", true),
        ("admin: {address: ':9000'}", false),
        ("admin: {address: ':9000', open_metrics: true}", true),
        ("admin: {address: ':9000', token: x}", true),
        ("admin: {address: ':9000', token_file: /nowhere/at/all}", false),
        ("admin: 127.0.0.1:5000", false),
    ] {
        assert_eq!(resolve(&Sources::yaml(text)).is_ok(), fine, "{text}");
    }
    let taken = resolved("listeners: 127.0.0.1:5001");
    assert!(taken.config.admin.is_none() && taken.notes[0].text.contains("admin listener is off"), "{:?}", taken.notes);
}

#[test]
fn tokens_are_off_unless_asked_for_and_of_no_use_over_plain_http() {
    let notes = |text: &str| resolved(text).notes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    let rules = "access: [{clients: [a.test]}]";
    assert!(!resolved(&format!("{{clients: {{ca: [private]}}, {rules}}}")).config.tokens);
    let plain = format!("{{clients: {{ca: [private], tokens: true}}, {rules}}}");
    assert!(
        resolved(&plain).config.tokens && notes(&plain).contains("clients.tokens is not used: a token is a secret"),
        "{}",
        notes(&plain)
    );
    let secure = plain.replacen('{', "{listeners: [{address: ':443', tls: {private: [m.test]}}], ", 1);
    assert_eq!(notes(&secure), "");
}

#[test]
fn an_upstreams_name_and_host_say_what_it_answers_to() {
    let hub = ["docker.io", "index.docker.io", "registry-1.docker.io", "registry.hub.docker.com"];
    for (upstream, name, answers, is_hub) in [
        ("docker.io", "docker.io", hub.to_vec(), true),
        ("https://registry-1.docker.io", "docker.io", hub.to_vec(), true),
        ("https://ghcr.io", "ghcr.io", vec!["ghcr.io"], false),
        ("corp=https://registry.corp:5000", "corp", vec!["corp", "registry.corp:5000"], false),
        ("http://[::1]:5000", "1-5000", vec!["1-5000", "[::1]:5000"], false),
        ("docker.io=http://127.0.0.1:9", "docker.io", [&hub[..], &["127.0.0.1:9"]].concat(), true),
    ] {
        let upstream = resolved(&format!("upstreams: ['{upstream}']")).config.upstreams.remove(0);
        assert_eq!((upstream.name.as_str(), upstream.hub), (name, is_hub));
        assert_eq!(upstream.answers_to, answers);
    }
}

#[test]
fn a_web_site_is_not_taken_for_the_registry() {
    let hub = resolved("upstreams: ['https://docker.io']");
    assert_eq!(hub.config.upstreams[0].url.as_str(), "https://registry-1.docker.io/");
    assert!(hub.notes[0].text.contains("web site"), "{:?}", hub.notes);
}

#[test]
fn an_account_is_whole_or_not_there() {
    let account = |text: &str, variables: &[(&str, &str)]| {
        let sources = with_environment(&format!("upstreams: [{{account: {text}}}]"), variables);
        resolve(&sources).map(|mut resolved| resolved.config.upstreams.remove(0).account.map(|account| account.password))
    };
    let secret = |text| Ok(Some(PasswordSource::Value(Secret::new(text))));
    assert_eq!(account("{user: '', password: ''}", &[]), Ok(None));
    assert_eq!(account("{}", &[]), Ok(None));
    assert_eq!(account("{user: a, password_env: TOKEN}", &[("TOKEN", "t")]), secret("t"));
    assert_eq!(account("{user: a}", &[("CHANDLER_UPSTREAMS_0_ACCOUNT_PASSWORD", "x,y")]), secret("x,y"));
    assert_eq!(account("{user: a, password_file: /p}", &[]), Ok(Some(PasswordSource::File("/p".into()))));
    let helper = vec!["docker-credential-pass".to_owned(), "--x".to_owned()];
    assert_eq!(account("{user: a, credential_helper: docker-credential-pass --x}", &[]), Ok(Some(PasswordSource::Helper(helper))));
    for text in [
        "{user: a}",
        "{password: b}",
        "{user: a, password_env: TOKEN}",
        "{user: a, password: x, password_file: /p}",
        "{user: a, password: ''}",
    ] {
        assert!(account(text, &[]).is_err(), "{text}");
    }
}

#[test]
fn who_signs_in_to_nothing_needs_no_password_but_a_right_configuration() {
    let resolved =
        |text: &str| resolve(&Sources { accounts: false, ..with_environment(&format!("upstreams: [{{account: {text}}}]"), &[]) });
    for text in ["{user: a, password_env: TOKEN}", "{user: a}"] {
        assert!(resolved(text).expect(text).config.upstreams[0].account.is_some(), "private images have an account all the same: {text}");
    }
    for text in ["{password_env: TOKEN}", "{user: a, password: x, password_file: /p}"] {
        assert!(resolved(text).is_err(), "{text}");
    }
}

#[test]
fn without_root_content_lies_in_the_users_data_folder() {
    for (variables, root) in [
        (&[("XDG_DATA_HOME", "/data"), ("HOME", "/home/a")][..], "/data/chandler/cache"),
        (&[("XDG_DATA_HOME", "relative"), ("HOME", "/home/a")], "/home/a/.local/share/chandler/cache"),
        (&[], "/var/tmp/chandler/cache"),
    ] {
        let sources = Sources { root: false, ..with_environment("", variables) };
        assert_eq!(resolve(&sources).expect("right").config.store.root, PathBuf::from(root));
    }
}

#[test]
fn an_item_beyond_the_end_of_a_list_is_told() {
    let sources = with_environment("", &[("CHANDLER_UPSTREAMS_1_URL", "https://ghcr.io")]);
    insta::assert_snapshot!(resolve(&sources).expect_err("there is no upstream 0"), @r"
    the configuration has a problem
      CHANDLER_UPSTREAMS_1_URL: upstreams.1.url: upstreams has 0 items, so the next number is 0
    ");
}

#[test]
fn a_nest_of_aliases_does_not_exhaust_the_machine() {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for level in 1..20 {
        let items = vec![format!("*a{}", level - 1); 9].join(", ");
        text.extend([format!("a{level}: &a{level} [{items}]\n")]);
    }
    assert!(problems(&text).contains("more than"));
    assert!(problems(&format!("{}{}", "[".repeat(100), "]".repeat(100))).contains("nested deeper"));
}

#[test]
fn the_reference_in_the_readme_is_the_codes() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md");
    let readme = std::fs::read_to_string(path).expect("the README is there");
    let (_, rest) = readme.split_once("<!-- config-reference:start -->\n").expect("the README has the block's start");
    let (block, _) = rest.split_once("<!-- config-reference:end -->").expect("the README has the block's end");
    assert!(block.trim() == markdown().trim(), "replace the block with what `chandler mirror --config-reference` prints");
}

#[test]
fn the_default_file_says_nothing_and_its_lines_are_right_once_uncommented() {
    let file = default_file();
    assert_eq!(resolved(&file).config, resolve(&Sources::default()).expect("right").config);
    let keys = |line: &&str| !line.trim_start_matches(['#', ' ']).is_empty() && !line[1..].trim_start().starts_with('#');
    let lines: Vec<_> = file.lines().filter(keys).map(|line| &line[1..]).collect();
    let uncommented = lines.join("\n");
    let tree = tree::parse("default".as_ref(), &uncommented).unwrap_or_else(|problems| panic!("{uncommented}\n{problems:?}"));
    keys::unknown(&tree, "", &mut |section, entry| panic!("{section}.{} is unknown", entry.name));
    for key in keys::KEYS {
        assert!(tree.at(&key.path.replace("[]", ".0")).is_some(), "{} is missing", key.path);
    }
}
