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

#[test]
fn who_writes_txt_records_is_said_once_and_whole() {
    let wrong = [
        "{wait: 1m}",
        "{route53: , hook: /x}",
        "{rfc2136: {server: ns1.corp}}",
        "{rfc2136: {server: 'http://ns1', key_name: k, key: x}}",
        "{rfc2136: {server: ns1, key: c2VjcmV0}}",
        "{rfc2136: {server: ns1, key_name: k, key_algorithm: md5, key_file: /nowhere}}",
        "{route53: off}",
        "{route53: {zone_id: ../x, endpoint: aws}, resolvers: [dns.corp]}",
        "{route53: {endpoint: 'http://aws.corp'}}",
    ];
    let told =
        wrong.map(|dns| problems(&format!("acme: {{dns: {dns}}}")).split_once('\n').map_or(String::new(), |(_, told)| told.to_owned()));
    insta::assert_snapshot!(told.join("\n"), @r#"
    chandler.yaml:1:13: acme.dns has no hook, rfc2136 or route53; say who writes TXT records
    chandler.yaml:1:21: acme.dns has hook, route53; one of them writes TXT records, so leave the others out
    chandler.yaml:1:23: acme.dns.rfc2136 has no key_file; `tsig-keygen` makes the key
    chandler.yaml:1:32: acme.dns.rfc2136.server: "http://ns1" is not a server: write its name or address, and a port where it is not 53
    chandler.yaml:1:64: acme.dns.rfc2136.key holds no secret: write it in base64 on the first line, or what `tsig-keygen` prints
    chandler.yaml:1:42: acme.dns.rfc2136.key: the secret alone does not say what the server calls it; write acme.dns.rfc2136.key_name
    chandler.yaml:1:65: acme.dns.rfc2136.key_algorithm: "md5" is not an algorithm: write hmac-sha256, hmac-sha384 or hmac-sha512
    chandler.yaml:1:80: acme.dns.rfc2136.key_file: /nowhere cannot be read: No such file or directory (os error 2)
    chandler.yaml:1:23: acme.dns.route53: "off" is not a section: write on, or keys below it
    chandler.yaml:1:33: acme.dns.route53.zone_id: "../x" is not a hosted zone's number: letters and digits, such as Z0123456789ABC
    chandler.yaml:1:49: acme.dns.route53.endpoint: "aws" is not a URL: the scheme is missing; write https://HOST or http://HOST
    chandler.yaml:1:67: acme.dns.resolvers: "dns.corp" is not a resolver: write its address, such as 10.0.0.2 or 10.0.0.2:5353
    chandler.yaml:1:34: acme.dns.route53.endpoint: "http://aws.corp" is not to be spoken with: anybody on the way can read and change plain HTTP; write https://HOST
    "#);
}

#[test]
fn a_password_in_the_url_of_a_ca_or_of_amazon_is_refused_and_not_repeated() {
    for url in ["https://user:geheim77@ca.example/dir", "https://geheim77@ca.example/dir"] {
        for keys in [format!("directories: ['{url}']"), format!("dns: {{route53: {{endpoint: '{url}'}}}}")] {
            let said = problems(&format!("acme: {{{keys}}}"));
            assert!(said.contains("a user or a password") && !said.contains("geheim77"), "{said}");
        }
    }
}

#[test]
fn scripts_do_not_get_the_variables_that_hold_passwords() {
    let upstreams = "upstreams: [{account: {user: a, password_env: HUBPW}}, {name: quay.io, url: 'https://quay.io'}]";
    let secrets = |acme: &str| {
        let sources = with_environment(&format!("{upstreams}\n{acme}"), &[("HUBPW", "hubsecret99")]);
        resolve(&sources).unwrap_or_else(|problems| panic!("{problems}")).config.acme.secrets
    };
    assert_eq!(secrets("acme: {dns: {hook: /h}}"), ["HUBPW"]);
    assert!(secrets("").is_empty(), "there is no script");
}

#[test]
fn a_name_servers_key_is_read_from_its_file_and_not_shown() {
    let read = |_: &std::path::Path| Ok("key \"chandler\" {\n\talgorithm hmac-sha512;\n\tsecret \"aHVudGVyMg==\";\n};\n".to_owned());
    let sources = Sources { read, ..Sources::yaml("acme: {dns: {rfc2136: {server: ns1.corp, key_file: /tsig.key}}}") };
    let shown = resolve(&sources).expect("it is right").show();
    let dns: Vec<&str> = shown.lines().skip_while(|line| !line.starts_with("  dns:")).take(8).collect();
    insta::assert_snapshot!(dns.join("\n"), @r"
    dns:
      rfc2136:
        server: ns1.corp:53  # chandler.yaml:1:32
        key_name: chandler  # default
        key_algorithm: hmac-sha512  # default
        key: (secret)  # chandler.yaml:1:52
        ttl: 1m  # default
      wait: 2m  # default
    ");
}

#[test]
fn amazons_zones_take_one_word() {
    for text in ["{route53: on}", "{route53: }", "{route53: {}}"] {
        let config = resolved(&format!("acme: {{dns: {text}}}")).config;
        assert!(matches!(config.acme.dns.expect("it is said").writer, DnsWriterConfig::Route53(_)), "{text}");
        assert_eq!(config.acme.ways, [certs::solve::Way::Dns], "{text}");
    }
    let of_variables = with_environment("", &[("CHANDLER_ACME_DNS_ROUTE53", "on"), ("CHANDLER_ACME_DNS_ROUTE53_PROFILE", "ci")]);
    let DnsWriterConfig::Route53(settings) = resolve(&of_variables).expect("it is right").config.acme.dns.expect("it is said").writer
    else {
        panic!("Route 53");
    };
    assert_eq!(settings.profile.as_deref(), Some("ci"));
}
