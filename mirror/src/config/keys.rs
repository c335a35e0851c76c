//! Every key there is, once: what may be written in the file and the environment, and what the reference and the default file say of it.

use super::tree::{Node, Value};

/// A key of the configuration.
pub(super) struct Key {
    /// Its path; `[]` stands for each item of a list.
    pub(super) path: &'static str,
    /// What is written there, for people.
    pub(super) kind: &'static str,
    /// What holds without it; empty where there is nothing.
    pub(super) default: &'static str,
    /// What it does.
    pub(super) about: &'static str,
}

const fn key(path: &'static str, kind: &'static str, default: &'static str, about: &'static str) -> Key {
    Key { path, kind, default, about }
}

/// In the order of the reference.
pub(super) const KEYS: &[Key] = &[
    key("listeners", "list", "127.0.0.1:5000", "Where clients connect. A bare address stands for an item with that address."),
    key("listeners[].address", "IP:port", "", "Address and port; `:5000` is every interface, over IPv6 and IPv4."),
    key(
        "listeners[].tls.certificate",
        "file",
        "",
        "HTTPS with this PEM chain, the leaf first. Watched: a new valid pair is taken without a restart.",
    ),
    key("listeners[].tls.key", "file", "", "The chain's private key, PEM."),
    key(
        "listeners[].tls.acme",
        "list of names",
        "",
        "HTTPS with a certificate for these hosts and addresses, obtained and renewed by ACME. Beside `certificate` and `key`: for as long as those are not there or not valid.",
    ),
    key(
        "listeners[].tls.private",
        "list of names",
        "",
        "The same from the CA of `chandler ca`, which lies in the folder `ca` of `acme.path`.",
    ),
    key(
        "listeners[].proxy_protocol",
        "true or false",
        "false",
        "Each connection starts with a PROXY protocol header, believed from `trusted_proxies` only.",
    ),
    key(
        "upstreams",
        "list",
        "docker.io",
        "The registries that are mirrored; the first answers requests that name none. `NAME=URL` stands for an item with that name and URL.",
    ),
    key("upstreams[].name", "name", "the URL's host", "Its name in paths, logs and metrics."),
    key("upstreams[].url", "URL", "https://registry-1.docker.io", "Where it is. Only Docker Hub (`docker.io`) may leave it out."),
    key(
        "upstreams[].answers_to",
        "list of hosts",
        "its name and host",
        "What clients call it in `?ns=` and as a path's first component. Docker Hub's four names for Docker Hub.",
    ),
    key("upstreams[].hub", "true or false", "whether it is Docker Hub", "Docker Hub's naming holds: `alpine` means `library/alpine`."),
    key("upstreams[].account.user", "text", "", "The account to pull with; without one, pulls are anonymous."),
    key("upstreams[].account.password", "text", "", "Its password or access token; better in one of the next three."),
    key("upstreams[].account.password_file", "file", "", "A file whose first line is the password."),
    key("upstreams[].account.password_env", "variable", "", "An environment variable that holds the password."),
    key("upstreams[].account.credential_helper", "command", "", "A docker credential helper and its arguments, asked with `get`."),
    key("upstreams[].ca", "file", "", "A PEM bundle trusted for this upstream, besides the system's."),
    key("upstreams[].proxy", "URL", "the system's variables", "An HTTP proxy for this upstream."),
    key("upstreams[].alternates", "list of URLs", "", "Other addresses of the same content, tried in order when the first fails."),
    key(
        "upstreams[].realms",
        "list of hosts",
        "",
        "Token services outside its own domain that may have the account's password. Others are asked as nobody in particular, and not inside of your network.",
    ),
    key("upstreams[].repositories", "list of patterns", "all", "Which of its repositories are served."),
    key("upstreams[].private", "list of patterns", "all", "Which of the account's private repositories are served; `[]` is none."),
    key("upstreams[].tag_window", "duration", "tag_window", "As `tag_window`, for this upstream alone."),
    key(
        "tag_window",
        "duration",
        "1s",
        "How long a tag's answer holds before the upstream is asked again (by a HEAD, which costs no quota).",
    ),
    key("store.path", "folder", "/var/lib/chandler/cache", "Where content is kept; without root `$XDG_DATA_HOME/chandler/cache`."),
    key("store.max_size", "size, share or off", "off", "Most that the store takes; `80%` is a share of its file system."),
    key("store.min_free", "size or share", "5%", "What stays free on its file system."),
    key("store.keep_unused", "duration or off", "off", "Content that nobody read for so long is removed."),
    key("store.deleted_tags.grace", "duration", "1day", "How long a tag that the upstream deleted is still served, with a warning."),
    key("store.deleted_tags.then", "keep or remove", "keep", "What happens to it afterwards."),
    key("store.health.enabled", "true or false", "true", "Whether the store is checked by a small write and read."),
    key("store.health.interval", "duration", "10s", "Between two checks."),
    key("store.health.threshold", "number", "3", "So many failures in a row make it unhealthy: pulls then stream past it."),
    key("store.scrub_rate", "size a second or off", "4MiB", "How fast stored content is read again in the background to find damage."),
    key(
        "access",
        "open, networks, or list",
        "open on loopback or without an account",
        "Who may read: `open`, networks, or rules. Once there is a rule, what no rule allows is refused.",
    ),
    key("access[].name", "text", "rule-N", "What the log calls the rule."),
    key("access[].networks", "list of networks", "", "From where, such as `10.0.0.0/8`. May be left out beside `clients`."),
    key(
        "access[].clients",
        "list of patterns",
        "",
        "With a client certificate for whom: patterns on its DNS names and addresses, else its common name; `*` is any certificate of `clients.ca`.",
    ),
    key("access[].repositories", "list of patterns", "all", "What, as `upstream/repository`: `docker.io/acme/*`."),
    key(
        "clients.ca",
        "list of files",
        "",
        "The CAs whose client certificates are known, as PEM files; the word `private` is the one of `chandler ca`. Watched, with what that one takes back.",
    ),
    key(
        "clients.tokens",
        "true or false",
        "false",
        "Over HTTPS, `POST /chandler/certificate` gives a machine with a token of `chandler ca token` a certificate of the private CA, whatever `access` says.",
    ),
    key("acme", "map", "", "How certificates are obtained, and where they are kept."),
    key("acme.email", "address", "", "Whom the CA may write to."),
    key(
        "acme.directories",
        "list of URLs",
        "letsencrypt",
        "The CAs, by the URLs of their ACME directories, in the order in which they are asked. `letsencrypt` and `letsencrypt-staging` stand for theirs.",
    ),
    key("acme.ca", "file", "the system's roots", "A PEM bundle by which the ACME server itself is known, for a CA of your own."),
    key(
        "acme.challenges",
        "list",
        "tls-alpn-01,http-01; with `acme.dns` dns-01",
        "How names are proved: `tls-alpn-01` (port 443), `http-01` (port 80), `dns-01` (a TXT record, see `acme.dns`), `dns-persist-01` (a TXT record that stays).",
    ),
    key("acme.http", "IP:port", ":80", "Where http-01 is answered; a plain listener with this port does it too."),
    key("acme.dns", "map", "", "Who writes TXT records for dns-01: a script (`hook`), a name server (`rfc2136`), or Amazon (`route53`)."),
    key("acme.dns.hook", "file", "", "The script that puts a TXT record in place, and waits until it is seen."),
    key("acme.dns.cleanup", "file", "", "The script that takes it away; lego's do both."),
    key("acme.dns.style", "certbot or lego", "certbot", "How scripts are called: as certbot's manual hooks, or as lego's `EXEC_PATH`."),
    key("acme.dns.timeout", "duration", "5m", "How long a script may take."),
    key("acme.dns.rfc2136.server", "host or host:port", "", "The zone's primary server, which takes signed updates (RFC 2136)."),
    key("acme.dns.rfc2136.key_name", "name", "the key file's", "What the server calls the key that signs them (TSIG)."),
    key("acme.dns.rfc2136.key_algorithm", "hmac-sha256, hmac-sha384 or hmac-sha512", "the key file's, else hmac-sha256", "How it signs."),
    key("acme.dns.rfc2136.key", "text", "", "The key's secret, base64; better in a file."),
    key("acme.dns.rfc2136.key_file", "file", "", "A file as `tsig-keygen` prints it, or whose first line is the secret."),
    key("acme.dns.rfc2136.zone", "name", "what the server says", "The zone that is updated."),
    key("acme.dns.rfc2136.ttl", "duration", "1m", "How long others may keep a record."),
    key(
        "acme.dns.route53",
        "map, or on",
        "",
        "Amazon Route 53, with AWS credentials from the environment, `~/.aws/credentials`, the container or the instance.",
    ),
    key("acme.dns.route53.zone_id", "text", "the longest that fits", "The hosted zone."),
    key("acme.dns.route53.profile", "text", "", "The profile in the credentials file."),
    key("acme.dns.route53.endpoint", "URL", "https://route53.amazonaws.com", "Where its API is; other partitions of AWS have their own."),
    key(
        "acme.dns.wait",
        "duration or off",
        "2m; off with a hook",
        "How long the zone's own servers are asked whether they all show a record, before the CA is told to look. Then it is told all the same.",
    ),
    key(
        "acme.dns.resolvers",
        "list of IP:port",
        "those of /etc/resolv.conf",
        "Who is asked which servers a zone has, and where a CNAME leads.",
    ),
    key("acme.external.kid", "text", "", "The name of the key by which a CA knows its customer (external account binding)."),
    key("acme.external.key", "text", "", "This key, base64url; better in a file."),
    key("acme.external.key_file", "file", "", "A file whose first line is this key."),
    key("acme.key", "p256, p384 or rsa2048", "p256", "The kind of the certificates' keys."),
    key("acme.profile", "text", "the CA's choice", "The CA's profile, such as Let's Encrypt's `shortlived`."),
    key(
        "acme.path",
        "folder",
        "/var/lib/chandler/certs",
        "Where certificates, keys and accounts are kept; without root `$XDG_DATA_HOME/chandler/certs`.",
    ),
    key("trusted_proxies", "list of networks", "", "Whose `X-Forwarded-For` and PROXY headers are believed."),
    key("headers", "map", "", "Headers that every answer carries, besides `X-Content-Type-Options: nosniff`."),
    key("admin", "address, off, or map", "127.0.0.1:5001", "The operator's listener: `/metrics`, `/healthz`, `/readyz`, figures."),
    key("admin.address", "IP:port", "127.0.0.1:5001", "Its address; beyond loopback it needs a token or `open_metrics`."),
    key("admin.off", "true or false", "false", "No such listener."),
    key("admin.token", "text", "", "What `Authorization: Bearer` must carry."),
    key("admin.token_file", "file", "", "A file whose first line is the token."),
    key(
        "admin.open_metrics",
        "true or false",
        "false",
        "`/metrics`, `/healthz` and `/readyz` need no token; beyond loopback and without one, they are all there is.",
    ),
    key("log.level", "level", "info", "`error`, `warn`, `info`, `debug` or `trace`, or a filter such as `info,mirror::upstream=debug`."),
    key("log.format", "text or json", "text on a terminal, else json", "How a line looks."),
    key("log.output", "stderr or stdout", "stderr", "Where lines go."),
    key("log.access", "true or false", "true", "One line for each request."),
    key("log.fields", "map", "", "Fields that every line carries."),
    key(
        "limits.connections",
        "number",
        "4096",
        "Clients' connections at once, as far as the limit of open files goes. For more, those end that are idle longest; while all are busy, newcomers wait.",
    ),
    key("limits.buffers", "size", "16MiB", "What all readers' buffers take together; beyond that, 16 KiB a reader."),
    key(
        "limits.drain",
        "duration",
        "30s",
        "How long a stop waits for running requests; in place of the `registry` image 8s, since `docker stop` kills after 10.",
    ),
    key("limits.upstream_blobs", "number", "32", "Blob downloads at once from one upstream; more wait."),
    key("limits.upstream_manifests", "number", "32", "Manifest requests at once to one upstream."),
    key(
        "limits.upstream_min_rate",
        "size a second or off",
        "64B",
        "A blob that comes more slowly for a minute is gone on with over a new connection, and given up after three such minutes in a row.",
    ),
];

/// Keys under which any name may stand.
pub(super) fn is_open(path: &str) -> bool {
    matches!(path, "headers" | "log.fields")
}

/// Whether a value (rather than a section of further keys) is never to be shown.
pub(super) fn is_secret(path: &str) -> bool {
    path.ends_with(".password") || matches!(path, "admin.token" | "acme.dns.rfc2136.key" | "acme.external.key")
}

/// A path with each number replaced by the `[]` of the table.
pub(super) fn pattern_of(path: &str) -> String {
    let mut pattern = String::new();
    for name in path.split('.') {
        let is_number = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit());
        match (is_number, pattern.is_empty()) {
            (true, _) => pattern.push_str("[]"),
            (false, true) => pattern.push_str(name),
            (false, false) => pattern.extend([".", name]),
        }
    }
    pattern
}

/// Each key of `tree` that the table lacks, with its path: `report` is called with the path, the name and where it stands.
pub(super) fn unknown(tree: &Node, path: &str, report: &mut impl FnMut(&str, &super::tree::Entry)) {
    match &tree.value {
        // That it is a map is the mistake, and told.
        Value::Map(_) if is_list(&pattern_of(path)) => {}
        Value::Map(entries) => {
            for entry in entries {
                let child = if path.is_empty() { entry.name.clone() } else { format!("{path}.{}", entry.name) };
                let pattern = if entry.name.bytes().all(|byte| byte.is_ascii_digit()) { String::new() } else { pattern_of(&child) };
                if !exists(&pattern) {
                    report(path, entry);
                } else if !is_open(&pattern) {
                    unknown(&entry.node, &child, report);
                }
            }
        }
        Value::List(items) => {
            for (index, item) in items.iter().enumerate() {
                unknown(item, &format!("{path}.{index}"), report);
            }
        }
        Value::Null | Value::Text(_) => {}
    }
}

/// Whether items lie under this key.
fn is_list(pattern: &str) -> bool {
    KEYS.iter().any(|key| key.path.strip_prefix(pattern).is_some_and(|rest| rest.starts_with("[]")))
}

/// The key of this name that lies deeper in the section, where there is only one: it was written too far out.
pub(super) fn deeper(section: &str, name: &str) -> Option<&'static str> {
    let paths =
        KEYS.iter().filter_map(|key| if section.is_empty() { Some(key.path) } else { key.path.strip_prefix(section)?.strip_prefix('.') });
    let mut found = paths.filter(|path| path.rsplit_once('.').is_some_and(|(_, last)| last == name));
    found.next().filter(|_| found.next().is_none())
}

/// Whether the table has this key, or keys under it.
pub(super) fn exists(pattern: &str) -> bool {
    !pattern.is_empty()
        && KEYS.iter().any(|key| {
            key.path.strip_prefix(pattern).is_some_and(|rest| rest.is_empty() || rest.starts_with('.') || rest.starts_with("[]"))
        })
}

/// The names that may stand under a section.
pub(super) fn names_under(section: &str) -> Vec<&'static str> {
    let mut names: Vec<_> = KEYS
        .iter()
        .filter_map(|key| {
            let rest = if section.is_empty() { key.path } else { key.path.strip_prefix(section)?.strip_prefix('.')? };
            rest.split(['.', '[']).next().filter(|name| !name.is_empty())
        })
        .collect();
    names.dedup();
    names
}

/// The candidate that `word` was most likely meant to be, if one is near enough.
pub(super) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let score = |candidate: &str| strsim::jaro_winkler(&word.to_ascii_lowercase(), &candidate.to_ascii_lowercase());
    let best = candidates.into_iter().map(|candidate| (score(candidate), candidate)).max_by(|a, b| a.0.total_cmp(&b.0))?;
    (best.0 > 0.8).then_some(best.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_key_is_answered_with_the_one_that_was_meant() {
        for (section, word, meant) in [
            ("store", "max_sise", Some("max_size")),
            ("", "listener", Some("listeners")),
            ("upstreams[].account", "username", Some("user")),
            ("", "zebra", None),
        ] {
            assert_eq!(nearest(word, names_under(section)), meant, "{word}");
        }
    }

    #[test]
    fn numbers_in_a_path_stand_for_any_item() {
        assert_eq!(pattern_of("upstreams.12.account.user"), "upstreams[].account.user");
        assert!(exists("upstreams[].account") && exists("store") && !exists("sto") && !exists(""));
    }

    #[test]
    fn no_key_is_there_twice() {
        let mut paths: Vec<_> = KEYS.iter().map(|key| key.path).collect();
        paths.sort_unstable();
        let all = paths.len();
        paths.dedup();
        assert_eq!(paths.len(), all);
    }
}
