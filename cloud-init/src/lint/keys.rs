//! The keys of a cloud-config: which there are, on two levels, what they were called before, and which of their values YAML reads as something else.

mod table;

use super::Finding;
use super::scalar::Reading;
use super::tree::{Entry, Node};

pub use self::table::KEYS;

/// What is below a key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Below {
    /// Whatever it is.
    Anything,
    /// A map of these keys.
    Map(&'static [&'static str]),
    /// A list of maps of these keys, or one such map.
    Maps(&'static [&'static str]),
}

/// Whether cloud-init has something for a key.
pub fn is_known(key: &str) -> bool {
    KEYS.iter().any(|(known, _)| *known == key) || UNLISTED.contains(&key)
}

/// Names, and values that are read as something else.
pub(super) fn check(tree: &Node, findings: &mut Vec<Finding>) {
    twice(tree, findings);
    for entry in tree.entries() {
        of_name(entry, findings);
        let below = KEYS.iter().find(|(known, _)| *known == entry.key).map(|(_, below)| *below);
        match below {
            Some(Below::Map(known)) => of_names(&entry.key, &entry.value, known, findings),
            Some(Below::Maps(known)) => {
                of_names(&entry.key, &entry.value, known, findings);
                entry.value.items().iter().for_each(|item| of_names(&entry.key, item, known, findings));
            }
            Some(Below::Anything) | None => {}
        }
        if !matches!(entry.key.as_str(), "runcmd" | "bootcmd" | "write_files") {
            of_values(&entry.key, &entry.value, findings);
        }
    }
}

/// A key that is said again within one map.
fn twice(node: &Node, findings: &mut Vec<Finding>) {
    let entries = node.entries();
    for (index, entry) in entries.iter().enumerate() {
        if let Some(first) = entries[..index].iter().find(|before| before.key == entry.key && entry.key != "<<") {
            let what = format!(
                "`{}` is said twice, first in line {}: the last one counts, and what the first one says is lost",
                entry.key, first.at.line
            );
            findings.push(Finding::error(entry.at, what, "put both under one key"));
        }
        twice(&entry.value, findings);
    }
    node.items().iter().for_each(|item| twice(item, findings));
}

fn of_name(entry: &Entry, findings: &mut Vec<Finding>) {
    let key = entry.key.as_str();
    if key == "network" {
        let what = "`network` in user data is passed over: networks are set up before it is read";
        return findings.push(Finding::warning(entry.at, what, "give it to the provider as network configuration"));
    }
    if let Some((_, now, since)) = RENAMED.iter().find(|(before, ..)| *before == key) {
        return findings.push(Finding::warning(
            entry.at,
            format!("`{key}` is an old name, deprecated in {since}"),
            format!("write `{now}`, unless older releases are to read it"),
        ));
    }
    if is_known(key) {
        return;
    }
    let near = nearest(key, KEYS.iter().map(|(known, _)| *known));
    findings.push(unknown(entry, &format!("cloud-init knows no key `{key}`, and passes over what is below it"), near));
}

fn of_names(parent: &str, node: &Node, known: &[&'static str], findings: &mut Vec<Finding>) {
    for entry in node.entries().iter().filter(|entry| !known.contains(&entry.key.as_str()) && entry.key != "<<") {
        let near = nearest(&entry.key, known.iter().copied());
        let is_old = RENAMED_BELOW.iter().find(|(above, before, _)| *above == parent && *before == entry.key);
        if let Some((_, before, now)) = is_old {
            findings.push(Finding::warning(
                entry.at,
                format!("`{parent}.{before}` is an old name"),
                format!("write `{now}`, unless older releases are to read it"),
            ));
        } else {
            findings.push(unknown(entry, &format!("`{parent}` has no key `{}`", entry.key), near));
        }
    }
}

fn unknown(entry: &Entry, what: &str, near: Option<&str>) -> Finding {
    match near {
        Some(near) => Finding::error(entry.at, what, format!("did you mean `{near}`?")),
        None => Finding::warning(entry.at, what, "take it out, unless a newer release or a part handler knows it"),
    }
}

/// The known name that differs by a slip of the finger, or by dashes for underscores.
fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |text: &str| text.to_lowercase().replace('-', "_");
    let name = plain(name);
    let most = if name.len() < 5 { 1 } else { 2 };
    let near = known.map(|known| (strsim::osa_distance(&name, &plain(known)), known));
    near.filter(|(distance, _)| *distance <= most).min_by_key(|(distance, _)| *distance).map(|(_, known)| known)
}

/// Values without quotes that are read as something else than they look like, where a text is meant or nobody means that.
fn of_values(path: &str, node: &Node, findings: &mut Vec<Finding>) {
    for entry in node.entries() {
        of_values(&format!("{path}.{}", entry.key), &entry.value, findings);
    }
    for item in node.items() {
        of_values(path, item, findings);
    }
    let Some(plain) = node.plain() else { return };
    let reading = Reading::of(plain);
    let is_text = TEXTS.contains(&path);
    let is_never_meant = matches!(reading, Reading::Sexagesimal | Reading::Octal);
    let Some(words) = reading.words().filter(|_| !node.is_null() && (is_text || is_never_meant)) else { return };
    let make = if is_text { Finding::error } else { Finding::warning };
    findings.push(make(
        node.at,
        format!("`{plain}` in `{path}` is for cloud-init (YAML 1.1) {words}"),
        format!("put it in quotes: '{plain}'"),
    ));
}

/// What cloud-init has a use for and its schema does not list.
const UNLISTED: [&str; 12] = [
    "cloud_dir",
    "datasource",
    "datasource_list",
    "def_log_file",
    "launch-index",
    "log_cfgs",
    "merge_type",
    "network",
    "system_info",
    "syslog_fix_perms",
    "unverified_modules",
    "vendor_data2",
];

/// Old name, new name, the release that said so.
const RENAMED: [(&str, &str, &str); 6] = [
    ("apt_reboot_if_required", "package_reboot_if_required", "22.2"),
    ("apt_update", "package_update", "22.2"),
    ("apt_upgrade", "package_upgrade", "22.2"),
    ("ca-certs", "ca_certs", "22.3"),
    ("grub-dpkg", "grub_dpkg", "22.2"),
    ("ubuntu_advantage", "ubuntu_pro", "24.1"),
];

/// The same one level down.
const RENAMED_BELOW: [(&str, &str, &str); 4] = [
    ("ca_certs", "remove-defaults", "remove_defaults"),
    ("ca-certs", "remove-defaults", "remove_defaults"),
    ("user", "lock-passwd", "lock_passwd"),
    ("users", "lock-passwd", "lock_passwd"),
];

/// Where a text is meant. `write_files` and the commands have modules of their own.
const TEXTS: [&str; 18] = [
    "ca-certs.trusted",
    "ca_certs.trusted",
    "fqdn",
    "hostname",
    "locale",
    "packages",
    "password",
    "ssh_authorized_keys",
    "timezone",
    "user",
    "users.gecos",
    "users.hashed_passwd",
    "users.homedir",
    "users.name",
    "users.passwd",
    "users.plain_text_passwd",
    "users.primary_group",
    "users.shell",
];
