//! What people run with the `registry` image runs here, and what would be less safe is refused by name.

mod names;
mod values;

use std::time::Duration;

use super::is_drop_in;
use super::keys::go_duration;
use crate::config::{Access, ClientCa, PasswordSource, Problems, Resolved, Secret, Sources, TlsConfig, TlsFiles, resolve};

fn stand_in(file: &str, variables: &[(&str, &str)]) -> Result<Resolved, Problems> {
    let environment = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let file = (!file.is_empty()).then(|| ("config.yml".into(), file.to_owned()));
    resolve(&Sources { drop_in: true, environment, file, ..Sources::default() })
}

fn right(file: &str, variables: &[(&str, &str)]) -> Resolved {
    stand_in(file, variables).unwrap_or_else(|problems| panic!("{file}\n{variables:?}\n{problems}"))
}

fn wrong(file: &str, variables: &[(&str, &str)]) -> String {
    stand_in(file, variables).map_or_else(|problems| problems.to_string(), |resolved| panic!("resolved: {:?}", resolved.config))
}

const HUB: (&str, &str) = ("REGISTRY_PROXY_REMOTEURL", "https://registry-1.docker.io");

#[test]
fn the_classic_docker_run_line_is_understood() {
    let resolved = right("", &[HUB, ("REGISTRY_PROXY_USERNAME", "acme"), ("REGISTRY_PROXY_PASSWORD", "p#1: 'x")]);
    let config = &resolved.config;
    let upstream = &config.upstreams[0];
    let account = upstream.account.as_ref().expect("an account");
    assert_eq!((account.user.as_str(), &account.password), ("acme", &PasswordSource::Value(Secret::new("p#1: 'x"))));
    assert_eq!((upstream.name.as_str(), upstream.hub, config.drop_in, &config.access), ("docker.io", true, true, &Access::Open));
    assert_eq!((config.listeners[0].address.to_string(), config.store.root.to_str()), ("[::]:5000".into(), Some("/var/lib/registry")));
    assert!(config.log.to_stdout);
    assert_eq!(config.limits.drain, Duration::from_secs(8), "`docker stop` kills after 10 s");
    insta::assert_snapshot!(resolved.notes[0], @"private images of acme at docker.io are open to everybody who reaches [::]:5000; CHANDLER_ACCESS=10.0.0.0/8,… names who may read, CHANDLER_UPSTREAMS_0_PRIVATE=… which of them, CHANDLER_ACCESS=open ends this warning");
}

#[test]
fn the_same_over_https_is_understood() {
    let resolved = right(
        "",
        &[
            HUB,
            ("REGISTRY_HTTP_ADDR", "0.0.0.0:443"),
            ("REGISTRY_HTTP_TLS_CERTIFICATE", "/data/tls/fullchain.pem"),
            ("REGISTRY_HTTP_TLS_KEY", "/data/tls/privkey.pem"),
        ],
    );
    let listener = &resolved.config.listeners[0];
    assert_eq!(listener.address.to_string(), "0.0.0.0:443");
    assert_eq!(
        listener.tls,
        Some(TlsConfig::Files(TlsFiles { certificate: "/data/tls/fullchain.pem".into(), key: "/data/tls/privkey.pem".into() }))
    );
    assert!(wrong("", &[HUB, ("REGISTRY_HTTP_TLS_CERTIFICATE", "/c")]).contains("HTTPS needs both"));
}

#[test]
fn the_config_file_of_an_https_mirror_is_understood() {
    let resolved = right(include_str!("../../../seeds/config/registry-2.1-https.yaml"), &[]);
    assert_eq!(resolved.notes, []);
    insta::assert_snapshot!(resolved.show(), @r"
    listeners:
    - address: '[::]:5000'  # config.yml:11:9
      tls:
        certificate: /certs/proxy.altus5.local.pem  # config.yml:13:18
        key: /certs/proxy.altus5.local-key.pem  # config.yml:14:10
      proxy_protocol: false  # default
    upstreams:
    - name: docker.io  # default
      url: https://registry-1.docker.io  # config.yml:23:14
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
      path: /var/lib/registry  # config.yml:9:20
      max_size: off  # default
      min_free: 5%  # default
      keep_unused: off  # default
      deleted_tags:
        grace: 1day  # default
        then: keep  # default
      health:
        enabled: true  # config.yml:19:14
        interval: 10s  # config.yml:20:15
        threshold: 3  # config.yml:21:16
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
      path: /var/lib/registry/chandler-certs  # default
    trusted_proxies: []  # default
    headers:
      x-content-type-options:  # config.yml:16:29
      - nosniff
    admin:
      address: 127.0.0.1:5001  # default
      open_metrics: false  # default
    log:
      level: info  # default
      format: text  # default
      output: stdout  # default
      access: true  # default
      fields:
        service: registry  # config.yml:4:14
    limits:
      connections: 4096  # default
      buffers: 16MiB  # default
      drain: 8s  # default
      upstream_blobs: 32  # default
      upstream_manifests: 32  # default
      upstream_min_rate: 64B  # default
    ");
}

#[test]
fn the_documentations_placeholders_are_understood() {
    let resolved = right(include_str!("../../../seeds/config/registry-proxy-placeholders.yaml"), &[]);
    let notes: Vec<_> = resolved.notes.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(notes.join("\n"), @r"
    config.yml:3:13: proxy.username stands in brackets, which are taken off; write username: followed by the text alone
    config.yml:4:13: proxy.password stands in brackets, which are taken off; write password: followed by the text alone
    private images of username at docker.io are open to everybody who reaches [::]:5000; CHANDLER_ACCESS=10.0.0.0/8,… names who may read, CHANDLER_UPSTREAMS_0_PRIVATE=… which of them, CHANDLER_ACCESS=open ends this warning
    ");
    assert_eq!(resolved.config.upstreams[0].account.as_ref().expect("an account").user, "username");
}

#[test]
fn a_variable_beats_the_file_and_our_own_variable_beats_both() {
    let file = "storage: {filesystem: {rootdirectory: /file}}\nhttp: {addr: ':1'}\nlog: {level: debug}\nproxy: {remoteurl: 'https://file'}";
    let resolved = right(
        file,
        &[
            HUB,
            ("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", "/variable"),
            ("REGISTRY_HTTP_ADDR", ":2"),
            ("CHANDLER_LISTENERS_0_ADDRESS", ":3"),
            ("CHANDLER_STORE_MAX_SIZE", "80%"),
        ],
    );
    let config = resolved.config;
    assert_eq!(
        (config.store.root.to_str(), config.listeners[0].address.port(), config.log.level.as_str()),
        (Some("/variable"), 3, "debug")
    );
    assert!(config.store.max_size.is_some() && config.upstreams[0].hub);
}

#[test]
fn in_front_of_another_registry_it_answers_for_docker_io_and_that_host() {
    for (url, name, host) in
        [("https://ghcr.io", "ghcr.io", "ghcr.io"), ("http://registry.corp:5000", "registry.corp-5000", "registry.corp:5000")]
    {
        let upstream = right("", &[("REGISTRY_PROXY_REMOTEURL", url)]).config.upstreams.remove(0);
        assert_eq!((upstream.name.as_str(), upstream.hub), (name, false));
        assert_eq!(upstream.answers_to, ["docker.io", host]);
    }
}

#[test]
fn an_account_is_whole_or_anonymous() {
    let account = |variables: &[(&str, &str)]| {
        stand_in("", &[&[HUB], variables].concat()).map(|mut resolved| resolved.config.upstreams.remove(0).account.is_some())
    };
    assert_eq!(account(&[("REGISTRY_PROXY_USERNAME", ""), ("REGISTRY_PROXY_PASSWORD", "")]), Ok(false));
    assert_eq!(account(&[("REGISTRY_PROXY_USERNAME", "a"), ("REGISTRY_PROXY_PASSWORD", "b")]), Ok(true));
    insta::assert_snapshot!(account(&[("REGISTRY_PROXY_USERNAME", "a")]).expect_err("half"), @r"
    the configuration has a problem
      REGISTRY_PROXY_USERNAME: proxy.username needs proxy.password too: set REGISTRY_PROXY_PASSWORD, or neither for anonymous pulls
    ");
    insta::assert_snapshot!(account(&[("REGISTRY_PROXY_PASSWORD", "a")]).expect_err("half"), @r"
    the configuration has a problem
      REGISTRY_PROXY_PASSWORD: proxy.password needs proxy.username too: set REGISTRY_PROXY_USERNAME, or neither for anonymous pulls
    ");
}

#[test]
fn certificates_by_acme_are_got_as_the_file_says() {
    let file = "\
version: 0.1
http:
  addr: :443
  tls: {letsencrypt: {cachefile: /var/lib/registry/acme, email: ops@example.com, hosts: [mirror.example.com, b.example.com]}}
proxy: {remoteurl: 'https://registry-1.docker.io'}
";
    let config = right(file, &[("REGISTRY_HTTP_TLS_LETSENCRYPT_DIRECTORYURL", "https://ca.example/dir")]).config;
    let names = config.listeners[0].tls.as_ref().and_then(TlsConfig::names).expect("names");
    assert_eq!((names.name.as_str(), names.identifiers.len()), ("mirror.example.com", 2));
    assert_eq!((config.acme.email.as_deref(), config.acme.path.to_str()), (Some("ops@example.com"), Some("/var/lib/registry/acme")));
    assert_eq!(config.acme.directories.iter().map(url::Url::as_str).collect::<Vec<_>>(), ["https://ca.example/dir"]);
}

#[test]
fn what_guards_or_moves_data_is_refused_with_what_replaces_it() {
    let file = "\
version: 0.1
storage: {s3: {bucket: x}}
auth: {htpasswd: {realm: basic, path: /p}}
middleware: {registry: [{name: x}]}
http:
  addr: :5000
  net: unix
  prefix: /mirror/
  tls: {clientcas: [/ca], clientauth: verify-client-cert-if-given, letsencrypt: {email: a@b}, minimumtls: tls1.3}
proxy: {remoteurl: 'https://registry-1.docker.io'}
";
    insta::assert_snapshot!(wrong(file, &[]), @r"
    the configuration has 8 problems
      config.yml:2:15: storage.s3 names another storage driver: chandler keeps plain files on a disk of its own; write storage.filesystem.rootdirectory (REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY) instead
      config.yml:3:7: auth is not done here: a challenge makes engines send their users' Docker Hub passwords; CHANDLER_ACCESS=10.0.0.0/8,… names the networks that may read
      config.yml:4:13: middleware has no counterpart; take it out, or put a reverse proxy in front
      config.yml:7:8: http.net asks for a socket that is not TCP; write an address in http.addr
      config.yml:8:11: http.prefix moves the registry to a path where no engine looks; take it out, or let a reverse proxy rewrite the path
      config.yml:9:39: http.tls.clientauth lets clients without a certificate read, too; leave it out, so that they are refused, or write who may read in chandler's own keys
      config.yml:9:81: http.tls.letsencrypt has no hosts: name those that engines use, such as hosts: [mirror.example.com]
      config.yml:9:107: http.tls.minimumtls cannot be raised: TLS 1.2 and 1.3 are spoken; take it out
    ");
    for variable in [
        ("REGISTRY_AUTH", "htpasswd"),
        ("REGISTRY_AUTH_HTPASSWD_PATH", "/p"),
        ("REGISTRY_STORAGE", "s3"),
        ("REGISTRY_STORAGE_S3_BUCKET", "x"),
        ("REGISTRY_HTTP_PREFIX", "/x"),
        ("REGISTRY_HTTP_TLS_CLIENTCAS_0", "/ca"),
        ("REGISTRY_HTTP_TLS_CLIENTCAS_X", "/ca"),
        ("REGISTRY_HTTP_TLS_CLIENTAUTH", "require-and-verify-client-cert"),
        ("REGISTRY_HTTP_TLS_LETSENCRYPT_CACHEFILE", "/x"),
        ("REGISTRY_PROXY_EXEC_COMMAND", "x"),
    ] {
        let problems = wrong("", &[HUB, variable]);
        assert!(problems.contains(variable.0), "{variable:?}: {problems}");
    }
}

#[test]
fn client_cas_let_in_whom_the_image_lets_in() {
    let pair = [("REGISTRY_HTTP_TLS_CERTIFICATE", "/c"), ("REGISTRY_HTTP_TLS_KEY", "/k")];
    let by_variable = [&[HUB, ("REGISTRY_HTTP_TLS_CLIENTCAS", "[/ca, /other]")], &pair[..]].concat();
    let by_file = "http: {tls: {certificate: /c, key: /k, clientcas: [/ca, /other], clientauth: require-and-verify-client-cert}}";
    for resolved in [right("", &by_variable), right(by_file, &[HUB])] {
        assert_eq!(resolved.config.clients, [ClientCa::File("/ca".into()), ClientCa::File("/other".into())]);
        let Access::Rules(rules) = &resolved.config.access else { panic!("it is closed") };
        assert!(rules.len() == 1 && rules[0].networks.is_empty() && rules[0].repositories.is_empty(), "{rules:?}");
        assert_eq!((rules[0].name.as_str(), rules[0].clients[0].as_str()), ("http.tls.clientcas", "*"));
        assert!(resolved.notes.is_empty(), "{:?}", resolved.notes);
    }
    let narrowed = right("", &[&by_variable[..], &[("CHANDLER_ACCESS_0_NETWORKS", "10.0.0.0/8")]].concat()).config;
    assert!(matches!(&narrowed.access, Access::Rules(rules) if rules[0].networks.len() == 1 && rules[0].clients.len() == 1));
    let opened = right("", &[&by_variable[..], &[("CHANDLER_ACCESS", "10.0.0.0/8")]].concat());
    insta::assert_snapshot!(opened.notes[0], @"REGISTRY_HTTP_TLS_CLIENTCAS: http.tls.clientcas is not used: no rule in access has clients, so a certificate opens and closes nothing");
    let plain = right("", &by_variable[..2]);
    insta::assert_snapshot!(plain.notes[0], @"REGISTRY_HTTP_TLS_CLIENTCAS: http.tls.clientcas allows nobody: certificates are shown over HTTPS, and no listener has tls");
}

#[test]
fn a_key_of_our_own_in_the_images_file_is_never_passed_over() {
    let hub = "proxy: {remoteurl: 'https://registry-1.docker.io'}";
    assert!(wrong(&format!("{hub}\naccess: 10.0.0.0/8"), &[]).contains("CHANDLER_ACCESS"));
    let as_ours = resolve(&Sources::yaml(&format!("version: 0.1\n{hub}"))).expect_err("not ours");
    insta::assert_snapshot!(as_ours, @r"
    the configuration has a problem
      chandler.yaml:2:20: this is a config.yml of the `registry` image; name it with --registry-config instead of --config
    ");
}

#[test]
fn what_is_harmless_starts_with_one_note_at_most() {
    let file = "\
version: 0.1
log: {level: warning, formatter: logstash, accesslog: {disabled: true}, hooks: [{type: mail}]}
storage:
  filesystem: {rootdirectory: /x, maxthreads: 100}
  delete: {enabled: true}
  cache: {blobdescriptor: redis}
  maintenance: {uploadpurging: {enabled: false}}
redis: {addrs: [x]}
http: {addr: 'localhost:5000', host: 'https://x', secret: s, http2: {disabled: false}, draintimeout: 1m30s, debug: {addr: ':5001', prometheus: {enabled: true, path: /metrics}}}
health: {storagedriver: {enabled: false, interval: 500ms, threshold: 5}, tcp: [{addr: x}]}
notifications: {endpoints: []}
proxy: {remoteurl: 'https://index.docker.io', ttl: 168h}
";
    let resolved = right(
        file,
        &[("REGISTRY_VERSION", "2"), ("OTEL_TRACES_EXPORTER", "none"), ("REGISTRY_LOG_HOOKS", "x"), ("REGISTRY_PORT_5000_TCP", "tcp://x")],
    );
    let notes: Vec<_> = resolved.notes.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(notes.join("\n"), @r"
    config.yml:12:52: proxy.ttl is not used: content stays until room is needed; CHANDLER_STORE_KEEP_UNUSED=168h removes what nobody read for so long
    not used by chandler, and harmless: REGISTRY_LOG_HOOKS, log.hooks, redis, health.tcp
    ");
    let config = resolved.config;
    assert_eq!((config.log.level.as_str(), config.log.access, config.limits.drain), ("warn", false, Duration::from_secs(90)));
    assert_eq!(
        (config.store.health.enabled, config.store.health.interval, config.store.health.threshold),
        (false, Duration::from_millis(500), 5)
    );
    let admin = config.admin.expect("the debug server's place");
    assert!(admin.address.port() == 5001 && admin.open_metrics && admin.token.is_none());
}

#[test]
fn headers_are_sent_as_configured() {
    let header = |variables: &[(&str, &str)]| {
        let config = right("http: {headers: {X-A: [one, two]}}", &[&[HUB], variables].concat()).config;
        config.headers.iter().map(|(name, value)| format!("{name}={}", value.to_str().expect("text"))).collect::<Vec<_>>()
    };
    assert_eq!(header(&[]), ["x-content-type-options=nosniff", "x-a=one", "x-a=two"]);
    assert_eq!(
        header(&[("REGISTRY_HTTP_HEADERS_X-CONTENT-TYPE-OPTIONS", "[nosniff]")]),
        ["x-a=one", "x-a=two", "x-content-type-options=nosniff"]
    );
    assert_eq!(header(&[("REGISTRY_HTTP_HEADERS", "{X-B: [b]}")]), ["x-content-type-options=nosniff", "x-b=b"]);
}

#[test]
fn without_an_upstream_it_says_that_it_takes_no_pushes() {
    insta::assert_snapshot!(wrong("version: 0.1\n", &[]), @r"
    the configuration has a problem
      proxy.remoteurl (REGISTRY_PROXY_REMOTEURL) is missing: chandler mirrors a registry and takes no pushes; for Docker Hub write https://registry-1.docker.io
    ");
    assert!(wrong("", &[("REGISTRY_PROXY_REMOTEURL", "registry-1.docker.io")]).contains("scheme is missing"));
    assert!(stand_in("", &[("CHANDLER_UPSTREAMS", "docker.io")]).is_ok());
}

#[test]
fn what_is_wrong_is_said_in_the_images_words() {
    let variable = ("REGISTRY_HTTP_TLS_CERTIFICATE", "/c");
    insta::assert_snapshot!(wrong("", &[HUB, variable]), @r"
    the configuration has a problem
      REGISTRY_HTTP_TLS_CERTIFICATE: http.tls has a certificate and no key; HTTPS needs both: add http.tls.key (REGISTRY_HTTP_TLS_KEY)
    ");
    let file = "http: {addr: 5000, debug: {addr: x:1}, draintimeout: 60}\nproxy: {remoteurl: registry-1.docker.io}\nhealth: {storagedriver: {enabled: sure}}\nlog: {level: loud}\nversion: 1";
    insta::assert_snapshot!(wrong(file, &[]), @r#"
    the configuration has 7 problems
      config.yml:1:14: http.addr: "5000" is not an address: a port alone; write an IP address and a port, such as 127.0.0.1:5000, or :5000 for every interface
      config.yml:1:34: http.debug.addr: "x:1" is not an address: a host's name does not say on which interface to listen; write an IP address and a port, such as 127.0.0.1:5000, or :5000 for every interface
      config.yml:1:54: http.draintimeout: "60" is not a duration; write a number with a unit, such as 10s
      config.yml:2:20: proxy.remoteurl: "registry-1.docker.io" is not a URL: the scheme is missing; write https://HOST or http://HOST
      config.yml:3:35: health.storagedriver.enabled: "sure" is not true or false
      config.yml:4:14: log.level: "loud" is not a level; write error, warn, info or debug
      config.yml:5:10: version: "1" is not known; write 0.1
    "#);
}

#[test]
fn only_the_images_own_variables_switch_to_it() {
    for (name, is) in [
        ("REGISTRY_PROXY_REMOTEURL", true),
        ("REGISTRY_HTTP_ADDR", true),
        ("REGISTRY_AUTH", true),
        ("REGISTRY_AUTH_FILE", false),
        ("REGISTRY_SERVICE_HOST", false),
        ("REGISTRY_PORT_5000_TCP_ADDR", false),
        ("REGISTRY_HTTPS", false),
        ("REGISTRY_URL", false),
        ("REGISTRY_VERSION", false),
    ] {
        assert_eq!(is_drop_in(&[(name.to_owned(), "x".to_owned())]), is, "{name}");
    }
}
