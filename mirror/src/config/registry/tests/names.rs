//! Names that are nearly the image's, and those that are and mean nothing to a mirror.

use super::*;

#[test]
fn a_slip_of_the_pen_is_told_with_what_was_meant() {
    let remote = ("REGISTRY_PROXY_REMOTURL", "https://registry-1.docker.io");
    insta::assert_snapshot!(wrong("", &[remote]), @r"
    the configuration has 2 problems
      proxy.remoteurl (REGISTRY_PROXY_REMOTEURL) is missing: chandler mirrors a registry and takes no pushes; for Docker Hub write https://registry-1.docker.io
      REGISTRY_PROXY_REMOTURL is not used: did you mean REGISTRY_PROXY_REMOTEURL?
    ");
    let half = [HUB, ("REGISTRY_PROXY_USERNAME", "a"), ("REGISTRY_PROXY_PASSWROD", "hunter2")];
    insta::assert_snapshot!(wrong("", &half), @r"
    the configuration has 2 problems
      REGISTRY_PROXY_USERNAME: proxy.username needs proxy.password too: set REGISTRY_PROXY_PASSWORD, or neither for anonymous pulls
      REGISTRY_PROXY_PASSWROD is not used: did you mean REGISTRY_PROXY_PASSWORD?
    ");
    let notes = |file: &str, variables: &[(&str, &str)]| {
        right(file, &[&[HUB], variables].concat()).notes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    insta::assert_snapshot!(notes("log: {hooks: [x]}", &[("REGISTRY_LOG_LEVLE", "debug"), ("REGISTRY_POLICY_X", "x")]), @r"
    REGISTRY_LOG_LEVLE is not used: did you mean REGISTRY_LOG_LEVEL?
    not used by chandler, and harmless: REGISTRY_POLICY_X, log.hooks
    ");
}

#[test]
fn what_was_to_guard_something_is_never_passed_over() {
    for (file, part) in [
        ("http: {tls: {cert: /c}}", "http.tls.cert is not used: did you mean http.tls.certificate?"),
        ("http: {tls: {clientca: [/ca]}}", "did you mean http.tls.clientcas?"),
        ("proxy: {remoteurl: 'https://registry-1.docker.io', user: a, pass: b}", "did you mean proxy.username?"),
        ("storage: {filesystem: {rootdir: /data}}", "did you mean storage.filesystem.rootdirectory?"),
        ("storage: {inmemory: }", "storage.inmemory names another storage driver"),
    ] {
        let told = wrong(file, &[HUB]);
        assert!(told.contains(part) && told.contains("config.yml:1:"), "{told}");
    }
}

#[test]
fn keys_of_the_image_that_mean_nothing_to_a_mirror_are_not_taken_for_slips() {
    let file = "
http: {http2: {h2c: {enabled: true}}, tls: {ciphersuites: [x]}}
log: {hooks: [x], environment: y}
health: {file: [{file: /x}], http: [{uri: x}], tcp: [{addr: x}]}
catalog: {maxentries: 100}
compatibility: {schema1: {enabled: true}}
policy: {repository: {classes: [image]}}
validation: {disabled: true}
redis: {addrs: [x]}
reporting: {bugsnag: {apikey: x}}
notifications: {endpoints: [{name: x}]}
";
    let notes = right(file, &[HUB]).notes;
    assert_eq!(notes.len(), 1, "{notes:?}");
    assert!(notes[0].text.starts_with("not used by chandler, and harmless: "), "{notes:?}");
}
