//! What containerd's `config.toml` says of registries: where its CRI plugin looks for `hosts.toml`. Pure.
//!
//! The plugin has three names, by the file's version, and so does the folder of hosts. What `containerd config dump` prints is read the same way.

use std::path::PathBuf;

use toml_edit::{Document, Item, Table};

use crate::edit::{Misread, utf8};

/// What one file, or a dump of all, says.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Settings {
    /// Of the file's form: 1 where it says none.
    pub version: i64,
    /// The folders of `config_path`, in the order in which they are tried.
    pub config_path: Vec<String>,
    /// The line of `registry.mirrors`, the form from before `hosts.toml`: containerd refuses both together.
    pub old_mirrors: Option<usize>,
    /// Whether the CRI plugin, by which Kubernetes and `crictl` pull, is switched off.
    pub without_cri: bool,
    /// Further files that count, as they are written.
    pub imports: Vec<String>,
    /// The socket, where it is said.
    pub address: Option<PathBuf>,
}

impl Settings {
    /// Reads a file.
    pub fn parse(bytes: &[u8]) -> Result<Self, Misread> {
        let text = utf8(bytes)?;
        let document = Document::parse(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            let (line, column) = place(text, at);
            Misread { line, column, what: error.message().trim().replace('\n', " ") }
        })?;
        let root = document.as_table();
        let registries: Vec<&Item> = PLUGINS.iter().filter_map(|plugin| below(root, &["plugins", plugin, "registry"])).collect();
        let config_path = registries.iter().find_map(|registry| registry.get("config_path")?.as_str()).unwrap_or_default();
        let old = registries.iter().find_map(|registry| registry.get("mirrors").filter(|mirrors| has_tables(mirrors)));
        Ok(Self {
            version: root.get("version").and_then(Item::as_integer).unwrap_or(1),
            config_path: config_path.split(':').filter(|folder| !folder.is_empty()).map(str::to_owned).collect(),
            old_mirrors: old.map(|item| place(text, first(item)).0),
            without_cri: strings(root.get("disabled_plugins")).iter().any(|plugin| CRI.contains(&plugin.as_str())),
            imports: strings(root.get("imports")),
            address: SOCKETS.iter().find_map(|path| below(root, path)?.as_str().filter(|path| !path.is_empty())).map(PathBuf::from),
        })
    }

    /// What another file adds: it counts where it says something.
    pub fn merge(&mut self, other: Self) {
        if !other.config_path.is_empty() {
            self.config_path = other.config_path;
        }
        self.old_mirrors = self.old_mirrors.or(other.old_mirrors);
        self.without_cri |= other.without_cri;
        self.address = other.address.or(self.address.take());
    }

    /// The lines of `config.toml` that make it read `hosts.toml` files of the folder.
    pub fn lines(&self, folder: &str) -> String {
        let plugin = match self.version {
            1 => PLUGINS[0],
            2 => PLUGINS[1],
            _ => PLUGINS[2],
        };
        let plugin = if self.version == 1 { plugin.to_owned() } else { format!("\"{plugin}\"") };
        format!("[plugins.{plugin}.registry]\nconfig_path = \"{folder}\"")
    }
}

fn below<'a>(root: &'a Table, path: &[&str]) -> Option<&'a Item> {
    let mut item = root.get(path[0])?;
    for key in &path[1..] {
        item = item.get(key)?;
    }
    Some(item)
}

/// A dump prints an empty table where nothing is said.
fn has_tables(item: &Item) -> bool {
    item.as_table_like().is_some_and(|table| !table.is_empty())
}

/// Where the table, or the first one in it, begins.
fn first(item: &Item) -> usize {
    let own = item.span().map(|span| span.start);
    let inner = item.as_table_like().and_then(|table| table.iter().filter_map(|(_, item)| item.span()).map(|span| span.start).min());
    own.or(inner).unwrap_or_default()
}

fn strings(item: Option<&Item>) -> Vec<String> {
    let list = item.and_then(Item::as_array).into_iter().flatten();
    list.filter_map(|value| value.as_str()).map(str::to_owned).collect()
}

fn place(text: &str, at: usize) -> (usize, usize) {
    let before = &text[..text.floor_char_boundary(at.min(text.len()))];
    let line = before.rsplit('\n').next().unwrap_or_default();
    (before.matches('\n').count() + 1, line.chars().count() + 1)
}

/// The plugin that pulls, by the version of the file.
const PLUGINS: [&str; 3] = ["cri", "io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images"];
const CRI: [&str; 3] = PLUGINS;
/// Where the socket is said: in files of the fourth version, and in what containerd 2.4 prints of any; in older ones.
const SOCKETS: [&[&str]; 2] = [&["plugins", "io.containerd.server.v1.grpc", "address"], &["grpc", "address"]];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_of_hosts_is_found_in_every_version_of_the_file() {
        for (text, version) in [
            ("[plugins.cri.registry]\nconfig_path = \"/a:/b\"\n", 1),
            ("version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".registry]\nconfig_path = \"/a:/b\"\n", 2),
            ("version = 3\n[plugins.'io.containerd.cri.v1.images'.registry]\nconfig_path = '/a:/b'\n", 3),
            ("version = 2\nplugins.\"io.containerd.grpc.v1.cri\".registry.config_path = \"/a:/b\"\n", 2),
        ] {
            let settings = Settings::parse(text.as_bytes()).expect("valid");
            assert_eq!((settings.config_path, settings.version), (vec!["/a".to_owned(), "/b".to_owned()], version), "{text}");
        }
    }

    #[test]
    fn the_socket_is_found_in_every_version_of_the_file() {
        for (text, address) in [
            ("version = 3\n[grpc]\naddress = '/run/x.sock'\n", Some("/run/x.sock")),
            ("version = 4\n[plugins.'io.containerd.server.v1.grpc']\naddress = '/run/x.sock'\n", Some("/run/x.sock")),
            ("version = 4\n[plugins.'io.containerd.server.v1.grpc']\naddress = ''\n", None),
            ("version = 2\n", None),
        ] {
            assert_eq!(Settings::parse(text.as_bytes()).expect("valid").address, address.map(PathBuf::from), "{text}");
        }
    }

    #[test]
    fn the_lines_that_it_asks_for_are_the_ones_that_it_reads() {
        for version in [1, 2, 3, 4] {
            let asked = Settings { version, ..Settings::default() }.lines("/etc/containerd/certs.d");
            let read = Settings::parse(format!("version = {version}\n{asked}\n").as_bytes()).expect("valid");
            assert_eq!(read.config_path, ["/etc/containerd/certs.d"], "{asked}");
        }
    }

    #[test]
    fn mirrors_in_the_old_form_are_found_with_their_line_and_an_empty_table_is_none() {
        let old = "version = 2\n\n[plugins.\"io.containerd.grpc.v1.cri\".registry.mirrors.\"docker.io\"]\n  endpoint = [\"http://m\"]\n";
        assert_eq!(Settings::parse(old.as_bytes()).expect("valid").old_mirrors, Some(3));
        let dumped = "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".registry.mirrors]\n";
        assert_eq!(Settings::parse(dumped.as_bytes()).expect("valid").old_mirrors, None);
    }

    #[test]
    fn a_file_that_is_no_toml_is_named_by_line_and_column() {
        let error = Settings::parse(b"version = 2\n[plugins\n").expect_err("no TOML");
        assert_eq!(error.line, 2, "{error}");
    }

    #[test]
    fn the_plugin_that_pulls_may_be_off() {
        for plugin in CRI {
            let text = format!("disabled_plugins = [\"{plugin}\"]\nimports = [\"/etc/containerd/conf.d/*.toml\"]\n");
            let settings = Settings::parse(text.as_bytes()).expect("valid");
            assert!(settings.without_cri && settings.imports == ["/etc/containerd/conf.d/*.toml"]);
        }
    }
}
