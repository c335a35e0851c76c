//! Values as shells, YAML and Go write them.

use super::*;

#[test]
fn blanks_and_line_breaks_around_a_variable_are_nothing() {
    let resolved =
        right("", &[HUB, ("REGISTRY_PROXY_USERNAME", " a "), ("REGISTRY_PROXY_PASSWORD", "hunter2\n"), ("REGISTRY_HTTP_ADDR", ":80 ")]);
    let account = resolved.config.upstreams[0].account.clone().expect("an account");
    assert_eq!((account.user.as_str(), account.password), ("a", PasswordSource::Value(Secret::new("hunter2"))));
    assert_eq!(resolved.config.listeners[0].address.port(), 80);
}

#[test]
fn quotes_that_yaml_would_take_off_are_taken_off() {
    let password = |text| {
        let upstream = right("", &[HUB, ("REGISTRY_PROXY_USERNAME", "a"), ("REGISTRY_PROXY_PASSWORD", text)]).config.upstreams.remove(0);
        upstream.account.expect("an account").password
    };
    for (text, meant) in [("\"a b\"", "a b"), ("'x'", "x"), ("'x", "'x"), ("1e5", "1e5"), ("no", "no"), ("a,b", "a,b")] {
        assert_eq!(password(text), PasswordSource::Value(Secret::new(meant)), "{text}");
    }
}

#[test]
fn durations_read_as_go_writes_them() {
    for (text, duration) in [
        ("10s", Some(10_000)),
        ("1h30m", Some(5_400_000)),
        ("1.5h", Some(5_400_000)),
        ("100ms", Some(100)),
        ("0", Some(0)),
        ("", None),
        ("10", None),
        ("-1s", None),
        ("1d", None),
    ] {
        assert_eq!(go_duration(text), duration.map(Duration::from_millis), "{text}");
    }
}
