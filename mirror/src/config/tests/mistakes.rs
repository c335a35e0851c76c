//! What people get wrong: each is told once, and with its mend.

use super::*;

#[test]
fn names_that_meet_are_told() {
    for (text, part) in [
        ("upstreams: [docker.io, 'https://registry-1.docker.io']", "is also upstreams.0"),
        ("upstreams: ['a=https://x', 'b=https://x']", "is also upstreams.0"),
        ("upstreams: ['v2=https://x']", "path of the mirror's own"),
        ("upstreams: [{name: a, url: 'https://x', answers_to: [chandler-canary]}]", "path of the mirror's own"),
        ("upstreams: []", "nothing to mirror"),
        ("upstreams: [{name: ghcr.io}]", "url: https://ghcr.io"),
        ("listeners: ':5000,:5000'", "is also listeners.0"),
        ("listeners: [{address: ':5000', proxy_protocol: true}]", "trusted_proxies"),
        ("access: [{networks: [10.0.0.0/8], repositories: []}]", "allows nothing"),
        ("access: [{name: a}]", "has no networks"),
        ("{access: [{networks: [10.0.0.0/8], clients: []}], clients: {ca: [private]}}", "access.0.clients is empty"),
        ("{access: [{networks: [10.0.0.0/8], clients: \"\"}], clients: {ca: [private]}}", "access.0.clients is empty"),
        ("{access: [{networks: [], clients: [a]}], clients: {ca: [private]}}", "access.0.networks is empty"),
        ("{access: [{clients: [\"a[\"]}], clients: {ca: [private]}}", "a name, or one with *"),
        ("access: [{clients: [a.test]}]", "access.0.clients needs clients.ca"),
        ("clients: {ca: []}", "clients.ca is empty"),
        ("clients: [private]", "clients is a section with the keys ca"),
        ("clients: {tokens: true}", "add clients.ca: [private]"),
        ("clients: {ca: [/ca.pem], tokens: true}", "add private to clients.ca"),
        ("headers: {WWW-Authenticate: Basic}", "registry protocol's own"),
        ("{listeners: [{address: ':443', tls: {acme: [a.test]}}], acme: {http: ':443'}}", "which does not speak plain HTTP to everybody"),
        ("{listeners: [{address: ':443', tls: {acme: [a.test]}}], acme: {http: '127.0.0.1:5001'}}", "is the admin listener's"),
    ] {
        assert!(problems(text).contains(part), "{text}: {}", problems(text));
    }
}

#[test]
fn two_listeners_with_the_same_names_in_another_order_share_one_certificate() {
    let config =
        resolved("listeners: [{address: ':443', tls: {acme: [b.test, a.test]}}, {address: ':444', tls: {acme: [a.test, b.test]}}]").config;
    assert_eq!(config.certificates().iter().map(|names| names.name.to_string()).collect::<Vec<_>>(), ["b.test"]);
}

#[test]
fn a_mistake_is_told_once_and_with_its_mend() {
    for (text, part) in [
        ("store:\n\tmax_size: 1GiB", "indent with spaces"),
        ("listeners: 5000", "a port alone"),
        ("listeners: ['::1:5000']", "IPv6 stands in brackets"),
        ("listeners: ['http://127.0.0.1:5000']", "leave the scheme out"),
        ("listeners: {address: ':5000'}", "begin each item with `- `"),
        ("listeners:", "has no value; write a list"),
        ("upstreams: {docker.io: {account: {}}}", "begin each item with `- `"),
        ("upstreams: [{name: docker.io, password: hunter2}]", "it stands further in: account.password"),
        ("upstreams: [{name: a, url: 'https://registry.corp/v2/'}]", "ends in /v2"),
        ("max_size: 20GiB", "it stands further in: store.max_size"),
        ("store: {max_size: 20}", "the unit is missing"),
        ("store: {min_free: 5}", "80% of the file system"),
        ("store: {path: ~/cache}", "write the whole path"),
        ("access:", "has no value"),
        ("access: Open", "the one word `open`"),
        ("access: [open, 10.0.0.0/8]", "and nothing beside it"),
        ("access: [{networks: 10.0.0.1/8}]", "10.0.0.0/8"),
        ("access: [{networks: 10.0.0.0/8, repositories: ['a[']}]", "not a pattern"),
        ("access: [10.0.0.0/8, {networks: 192.0.2.0/24}]", "is a section with the keys name"),
        ("headers: {X-A: \"b\\nc\"}", "line break"),
    ] {
        let told = problems(text);
        assert!(told.contains(part) && told.contains("a problem"), "{text}: {told}");
    }
    assert!(!problems("listeners: ['x:1', 'y:1']").contains("is also"), "what is wrong stands in nobody's way");
    for (variable, part) in [
        ("chandler_access", "write it in capitals: CHANDLER_ACCESS"),
        ("CHANDLER_LISTENERS_99999999999999999999_ADDRESS", "no list is so long"),
        ("CHANDLER_UPSTREAMS_O_URL", "CHANDLER_UPSTREAMS_0_URL"),
    ] {
        let told = resolve(&with_environment("", &[(variable, "open")])).expect_err(variable).to_string();
        assert!(told.contains(part) && told.contains("a problem"), "{told}");
    }
    assert!(resolve(&with_environment("", &[("chandler_home", "/x")])).is_ok(), "somebody's own");
}

#[test]
fn a_rule_that_fits_no_upstream_is_pointed_out() {
    let notes = |pattern: &str| resolved(&format!("access: [{{networks: 10.0.0.0/8, repositories: ['{pattern}']}}]")).notes;
    insta::assert_snapshot!(notes("acme/*")[0], @r"chandler.yaml:1:47: access.0.repositories: acme/* allows nothing, since no upstream is called acme; a pattern is upstream/repository, such as docker.io/acme/*");
    for pattern in ["docker.io/acme/*", "*/acme/*", "{docker.io,ghcr.io}/**", "**"] {
        assert_eq!(notes(pattern), [], "{pattern}");
    }
}
