//! Property tests: no text makes a reader panic, and what is written of a configuration reads back as it.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::versions::TEXTS;
use super::*;

/// What YAML writers get wrong: words that some readers take for something else, and every character that a setting may hold.
fn text() -> impl Strategy<Value = String> {
    let word = proptest::sample::select(TEXTS.to_vec()).prop_filter("an empty one is often no value", |text| !text.is_empty());
    let any =
        "\\PC{1,6}|[\t -~]{1,12}".prop_filter("no setting holds a line break", |text: &String| !text.contains(['\u{2028}', '\u{2029}']));
    prop_oneof!["[a-z]{1,8}", word.prop_map(str::to_owned), any]
}

fn duration() -> impl Strategy<Value = Duration> {
    (1_u64..10_000_000).prop_map(Duration::from_millis)
}

fn size() -> impl Strategy<Value = ByteSize> {
    (1_u64 << 20..1 << 50).prop_map(ByteSize)
}

fn limit() -> impl Strategy<Value = Limit> {
    prop_oneof![size().prop_map(Limit::Bytes), (1_u8..100).prop_map(Limit::Percent)]
}

fn patterns() -> impl Strategy<Value = Vec<Pattern>> {
    vec("[a-z]{1,5}(/\\*{1,2}|/\\{a,b\\})?", 0..3).prop_map(|texts| texts.iter().map(|text| text.parse().expect("a pattern")).collect())
}

fn networks() -> impl Strategy<Value = Vec<IpNet>> {
    vec((any::<[u8; 4]>(), 0_u8..=32), 1..3)
        .prop_map(|nets| nets.into_iter().map(|(ip, prefix)| IpNet::new(ip.into(), prefix).expect("a prefix").trunc()).collect())
}

fn password() -> impl Strategy<Value = PasswordSource> {
    prop_oneof![
        text().prop_map(|text| PasswordSource::Value(Secret::new(&text))),
        "/[a-z]{1,9}".prop_map(|path| PasswordSource::File(path.into())),
        vec("[a-z-]{1,9}", 1..3).prop_map(PasswordSource::Helper),
    ]
}

fn upstream(index: usize) -> impl Strategy<Value = UpstreamConfig> {
    let account = option::of((text(), password()).prop_map(|(user, password)| AccountConfig { password, user }));
    let ca = option::of("/[a-z]{1,9}".prop_map(PathBuf::from));
    let proxy = option::of(Just("http://u:p@proxy.corp:3128/".parse::<Url>().expect("a URL")));
    let lists =
        (vec("[a-z]{1,5}\\.example", 0..3), vec("https://[a-z]{1,5}\\.example/", 0..3), option::of(patterns()), option::of(patterns()));
    (account, ca, proxy, lists, any::<bool>(), duration()).prop_map(
        move |(account, ca, proxy, (realms, alternates, private, repositories), hub, tag_window)| UpstreamConfig {
            account,
            alternates: alternates.iter().map(|url| url.parse().expect("a URL")).collect(),
            answers_to: vec![format!("up{index}.example:5000")],
            ca,
            hub,
            private,
            name: format!("up-{index}").parse().expect("a name"),
            proxy,
            realms,
            repositories,
            tag_window,
            url: format!("https://up{index}.example/base").parse().expect("a URL"),
        },
    )
}

fn store() -> impl Strategy<Value = StoreConfig> {
    let rest = ("/[a-z/]{1,9}", duration(), any::<bool>(), any::<bool>(), duration(), 1_u32..99);
    (option::of(duration()), option::of(limit()), limit(), option::of(size()), rest).prop_map(
        |(keep_unused, max_size, min_free, scrub_rate, (root, grace, keep, enabled, interval, threshold))| StoreConfig {
            deleted_tags: DeletedTags { grace, keep },
            health: HealthConfig { enabled, interval, threshold },
            keep_unused,
            max_size,
            min_free,
            root: root.into(),
            scrub_rate,
        },
    )
}

fn access() -> impl Strategy<Value = Access> {
    let clients = || {
        vec("[a-z]{1,5}(\\.\\*|\\.\\{a,b\\})?", 1..3).prop_map(|texts| texts.iter().map(|text| text.parse().expect("a pattern")).collect())
    };
    let who = prop_oneof![
        networks().prop_map(|networks| (networks, Vec::new())),
        clients().prop_map(|clients| (Vec::new(), clients)),
        (networks(), clients()),
    ];
    let rule = (text(), who, patterns()).prop_map(|(name, (networks, clients), repositories)| AccessRule {
        clients,
        name,
        networks,
        repositories,
    });
    prop_oneof![Just(Access::Open), vec(rule, 1..3).prop_map(Access::Rules)]
}

fn admin() -> impl Strategy<Value = Option<AdminConfig>> {
    let token = text().prop_map(|text| Secret::new(&text));
    option::of((any::<bool>(), token, any::<bool>()).prop_map(|(open_metrics, token, beyond)| {
        let address = if beyond { "0.0.0.0:9000" } else { "127.0.0.1:9000" };
        AdminConfig { address: address.parse().expect("an address"), open_metrics, token: Some(token) }
    }))
}

fn log() -> impl Strategy<Value = LogConfig> {
    let level = prop_oneof![Just("info"), Just("warn,mirror::upstream=debug")];
    (any::<[bool; 3]>(), vec(("[a-z.]{1,5}", text()), 0..2), level).prop_map(|([access, json, to_stdout], mut fields, level)| {
        fields.dedup_by(|a, b| a.0 == b.0);
        LogConfig { access, fields, format: if json { LogFormat::Json } else { LogFormat::Text }, level: level.into(), to_stdout }
    })
}

fn limits() -> impl Strategy<Value = LimitsConfig> {
    (size(), 1_usize..9999, duration(), 1_usize..99, 1_usize..99, option::of(size())).prop_map(
        |(buffers, connections, drain, upstream_blobs, upstream_manifests, upstream_min_rate)| LimitsConfig {
            buffers,
            connections,
            drain,
            upstream_blobs,
            upstream_manifests,
            upstream_min_rate,
        },
    )
}

fn tls() -> impl Strategy<Value = TlsConfig> {
    let files = || {
        ("/[a-z]{1,9}", "/[ -~]{1,9}")
            .prop_map(|(certificate, key): (String, String)| TlsFiles { certificate: certificate.into(), key: key.into() })
    };
    let names = || {
        (vec("[a-z]{1,5}\\.example|10\\.0\\.0\\.[1-9]", 1..3), any::<bool>()).prop_map(|(names, private)| {
            let issuer = if private { Issuer::Private } else { Issuer::Acme };
            let names: Vec<certs::Identifier> = names.iter().map(|name| name.parse().expect("an identifier")).collect();
            Names { name: (&names[0]).into(), issuer, identifiers: names.into_iter().collect() }
        })
    };
    prop_oneof![
        files().prop_map(TlsConfig::Files),
        names().prop_map(TlsConfig::Issued),
        (files(), names()).prop_map(|(files, names)| TlsConfig::FilesOrIssued(files, names)),
    ]
}

/// Only the first listener's, since two could give one name to two certificates.
fn listeners() -> impl Strategy<Value = Vec<ListenerConfig>> {
    (vec(any::<bool>(), 1..4), option::of(tls())).prop_map(|(listeners, tls)| {
        let listeners = listeners.into_iter().enumerate();
        let listener = |(index, proxy_protocol): (usize, bool)| ListenerConfig {
            address: SocketAddr::from(([127, 0, 0, 1], 5100 + u16::try_from(index).expect("few"))),
            proxy_protocol,
            tls: tls.clone().filter(|_| index == 0),
        };
        listeners.map(listener).collect()
    })
}

fn dns() -> impl Strategy<Value = DnsConfig> {
    use certs::dns::{TsigAlgorithm, TsigKey};
    use certs::solve::route53::Route53Settings;
    use certs::solve::{HookStyle, Rfc2136};
    let hook = ("/[a-z]{1,9}", option::of("/[a-z]{1,9}".prop_map(PathBuf::from)), any::<bool>(), duration()).prop_map(
        |(hook, cleanup, lego, timeout)| {
            let style = if lego { HookStyle::Lego } else { HookStyle::Certbot };
            DnsWriterConfig::Hook(DnsHookConfig { cleanup, hook: hook.into(), style, timeout })
        },
    );
    let name = || "_?[a-z][a-z0-9-]{0,5}(\\.[a-z]{1,5}){0,2}".prop_map(|name| name.parse().expect("a name"));
    let key = (name(), 0..3_usize, "([A-Za-z0-9+/]{4}){1,4}")
        .prop_map(|(name, index, secret)| TsigKey::new(name, TsigAlgorithm::ALL[index], &secret).expect("a key"));
    let server = prop_oneof!["[a-z]{1,9}\\.corp:5353", Just("[::1]:53".to_owned()), Just("10.0.0.1:53".to_owned())];
    let rfc2136 = (key, server, 1..99_999_u32, option::of(name()))
        .prop_map(|(key, server, ttl, zone)| DnsWriterConfig::Rfc2136(Rfc2136 { key, server, ttl, zone }));
    let endpoint = prop_oneof![Just("https://route53.amazonaws.com"), Just("http://127.0.0.1:4566")];
    let route53 = (endpoint, option::of("[a-z]{1,9}"), option::of("Z[A-Z0-9]{1,9}")).prop_map(|(endpoint, profile, zone_id)| {
        DnsWriterConfig::Route53(Route53Settings { endpoint: endpoint.parse().expect("a URL"), profile, zone_id })
    });
    let resolvers = vec(Just(SocketAddr::from(([10, 0, 0, 2], 53))), 0..2);
    (prop_oneof![hook, rfc2136, route53], option::of(duration()), resolvers).prop_map(|(writer, wait, resolvers)| DnsConfig {
        resolvers,
        wait,
        writer,
    })
}

fn acme() -> impl Strategy<Value = AcmeConfig> {
    use certs::KeyKind;
    use certs::acme::ExternalAccount;
    use certs::solve::Way;
    let external = ("[a-z0-9]{1,9}", "[A-Za-z0-9_-]{8}").prop_map(|(kid, key)| ExternalAccount::new(&kid, &key).expect("a key"));
    let key = prop_oneof![Just(KeyKind::P256), Just(KeyKind::P384), Just(KeyKind::Rsa2048)];
    let texts = (option::of("/[a-z]{1,9}"), option::of("[a-z]{1,5}@[a-z]{1,5}\\.example"), option::of("[a-z]{1,9}"), "/[a-z]{1,9}");
    (dns(), option::of(external), key, texts, 1_u16..9999).prop_map(|(dns, external, key, (ca, email, profile, path), port)| AcmeConfig {
        ca: ca.map(PathBuf::from),
        directories: vec!["https://ca.example/dir".parse().expect("a URL")],
        dns: Some(dns),
        email,
        external,
        http: ([127, 0, 0, 2], port).into(), // In no listener's way.
        key,
        path: path.into(),
        profile,
        secrets: Vec::new(),
        ways: vec![Way::TlsAlpn, Way::Http, Way::Dns],
    })
}

/// Names may hold dots, and be numbers: neither is a path.
fn headers() -> impl Strategy<Value = Vec<(HeaderName, HeaderValue)>> {
    let ours = (http::header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    option::of(("x[a-z0-9.-]{0,3}|[0-9]{1,3}", vec("[!-~]([ -~]{0,5}[!-~])?", 1..3))).prop_map(move |other| {
        let (name, values) = other.unwrap_or_default();
        let other = |value: String| (name.parse().expect("a header's name"), value.parse().expect("a header's value"));
        std::iter::once(ours.clone()).chain(values.into_iter().map(other)).collect()
    })
}

fn config() -> impl Strategy<Value = Config> {
    let parts = (access(), acme(), admin(), limits(), listeners(), log(), store());
    let cas = vec(prop_oneof![Just(ClientCa::Private), "/[a-z]{1,9}".prop_map(|path| ClientCa::File(path.into()))], 1..3);
    (parts, (cas, any::<bool>()), headers(), networks(), upstream(0), option::of(upstream(1))).prop_map(
        |((access, acme, admin, limits, listeners, log, store), (clients, tokens), headers, trusted_proxies, first, second)| Config {
            access,
            access_said: true,
            acme,
            admin,
            drop_in: false,
            headers,
            limits,
            listeners,
            log,
            store,
            tokens: tokens && clients.contains(&ClientCa::Private),
            clients,
            trusted_proxies,
            upstreams: std::iter::once(first).chain(second).collect(),
        },
    )
}

/// Words and marks that both readers know, so that much of what is made gets past YAML.
fn near_yaml() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        Just("upstreams"),
        Just("url"),
        Just("https://x"),
        Just("account"),
        Just("user"),
        Just("password"),
        Just("listeners"),
        Just("address"),
        Just(":5000"),
        Just("store"),
        Just("storage"),
        Just("filesystem"),
        Just("http"),
        Just("tls"),
        Just("proxy"),
        Just("remoteurl"),
        Just("access"),
        Just("open"),
        Just("admin"),
        Just("off"),
        Just("headers"),
        Just("log"),
        Just("fields"),
        Just("10s"),
        Just("version"),
        Just(": "),
        Just(":"),
        Just("\n"),
        Just("\n  "),
        Just("\n- "),
        Just("["),
        Just("]"),
        Just("{"),
        Just("}"),
        Just(", "),
        Just("&a "),
        Just("*a"),
        Just("!t "),
        Just("\""),
        Just("'"),
        Just("# "),
        Just("| "),
        Just("~"),
        Just("0"),
        Just("\t"),
        Just("---\n"),
        Just("? "),
    ];
    vec(word, 0..40).prop_map(|words| words.concat())
}

/// Each value with its path.
fn values(node: &tree::Node) -> Vec<(String, String)> {
    fn walk(node: &tree::Node, path: &str, found: &mut Vec<(String, String)>) {
        match &node.value {
            tree::Value::Map(entries) => entries.iter().for_each(|entry| walk(&entry.node, &format!("{path}.{}", entry.name), found)),
            tree::Value::List(items) => items.iter().enumerate().for_each(|(index, item)| walk(item, &format!("{path}.{index}"), found)),
            tree::Value::Null => found.push((path.to_owned(), "null".into())),
            tree::Value::Text(text) => found.push((path.to_owned(), format!("{text:?}"))),
        }
    }
    let mut found = Vec::new();
    walk(node, "", &mut found);
    found
}

fn read_all_ways(text: &str) {
    for drop_in in [false, true] {
        if let Ok(resolved) = resolve(&Sources { drop_in, ..Sources::yaml(text) }) {
            let shown = resolved.show();
            assert!(tree::parse("shown".as_ref(), &shown).is_ok(), "{shown}");
        }
    }
}

proptest! {
    #[test]
    fn no_text_makes_a_reader_panic(text in "\\PC{0,60}|[ -~\n]{0,120}") {
        read_all_ways(&text);
    }

    #[test]
    fn no_text_near_a_configuration_makes_a_reader_panic(text in near_yaml()) {
        read_all_ways(&text);
    }

    #[test]
    fn no_variable_makes_a_reader_panic(name in "(CHANDLER|REGISTRY)_(HTTP|PROXY|STORAGE|LOG|UPSTREAMS|AUTH|STORE)(_[A-Z0-9._-]{0,12}){0,3}", value in text()) {
        let sources = with_environment("", &[(&name, &value)]);
        let _ = resolve(&sources);
        let _ = resolve(&Sources { drop_in: true, ..sources });
    }

    #[test]
    fn what_is_shown_is_what_would_be_written_but_for_comments_and_secrets(config in config()) {
        let shown = show::with_origins(&config, &tree::Node::empty());
        let bare = shown.lines().map(|line| line.strip_suffix("  # default").unwrap_or(line)).collect::<Vec<_>>().join("\n");
        let [shown, bare] = [&shown, &bare].map(|text| values(&tree::parse("shown".as_ref(), text).expect("YAML")));
        prop_assert_eq!(&shown, &bare, "a comment changed a value");
        let written = values(&tree::parse("written".as_ref(), &render(&config)).expect("YAML"));
        prop_assert_eq!(shown.len(), written.len());
        let hidden = |path: &str| keys::is_secret(path.trim_start_matches('.')) || path.rsplit('.').next() == Some("proxy");
        for ((path, shown), (_, written)) in shown.iter().zip(&written).filter(|((path, _), _)| !hidden(path)) {
            prop_assert_eq!(shown, written, "{}", path);
        }
    }

    #[test]
    fn a_written_configuration_reads_back_as_itself(config in config()) {
        let text = render(&config);
        let back = resolve(&Sources::yaml(&text)).map_err(|problems| TestCaseError::fail(format!("{text}\n{problems}")))?;
        prop_assert_eq!(back.config, config, "{}", text);
    }
}
