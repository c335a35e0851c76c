//! A cloud-config: the part of user data that cloud-init reads as YAML. A typed value in, its text out.
//!
//! cloud-init runs its parts in this order, whatever the text's: `bootcmd`, `write_files`, `ca_certs`, and at the end of the boot `runcmd`. A list of a later part of user data replaces an earlier part's,
//! unless the later one says how to [merge](CloudConfig::merge).

use std::fmt::{self, Write as _};

use crate::first_boot;
use crate::layers::yaml;
use crate::provision::{Means, PlacedFile, Provision};

/// What is written in it; an empty list is not.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct CloudConfig {
    /// Its lists are added behind those of the parts before it, and nothing of them is replaced.
    pub merge: bool,
    /// Owned by root.
    pub write_files: Vec<PlacedFile>,
    /// Certificates (PEM) that the machine trusts from now on, for every program; Docker needs them elsewhere.
    pub ca_certs: Vec<String>,
    /// Under which key they are written.
    pub ca_spelling: CaSpelling,
    /// Run at every boot, before the network's users start.
    pub bootcmd: Vec<Command>,
    /// Run at the end of the first boot.
    pub runcmd: Vec<Command>,
}

/// How the certificates of [`CloudConfig::ca_certs`] are called, which has changed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum CaSpelling {
    /// `ca_certs`, from 22.3 on.
    #[default]
    Underscored,
    /// `ca-certs`, which every release reads, and those from 22.3 on call deprecated.
    Dashed,
    /// Both: old ones pass over the key that they do not know, and new ones say that they pass over the old key.
    Both,
}

/// One command of a list.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Command {
    /// A program and its arguments, with no shell between.
    Args(Vec<String>),
    /// A line for `sh`.
    Shell(String),
}

impl CloudConfig {
    /// What a provision comes to: its files, and for Docker the program that merges our keys. Whoever gives a machine the agent ([`Means::Agent`]) adds the commands that fetch and run it.
    pub fn of(provision: &Provision) -> Self {
        let mut config = Self { merge: true, write_files: provision.files.clone(), ..Self::default() };
        if let (Some(keys), Means::Script) = (&provision.docker, &provision.means) {
            config.bootcmd.push(first_boot::at_boot(keys));
            config.runcmd.push(first_boot::at_end());
        }
        config
    }

    /// Its keys without the first line, for a document that has further ones.
    pub fn body(&self) -> String {
        let mut out = String::new();
        self.write(&mut out).expect("a String takes all");
        out
    }

    fn write(&self, out: &mut String) -> fmt::Result {
        if self.merge {
            writeln!(out, "merge_how: {}", yaml::quoted(MERGE))?;
        }
        commands(out, "bootcmd", &self.bootcmd)?;
        if !self.write_files.is_empty() {
            writeln!(out, "write_files:")?;
        }
        for file in &self.write_files {
            writeln!(out, "- path: {}", yaml::quoted(&file.path))?;
            writeln!(out, "  owner: \"root:root\"\n  permissions: \"{:04o}\"", file.mode)?;
            writeln!(out, "  content: {}", yaml::scalar(&file.content.text, 2))?;
        }
        for key in self.ca_spelling.keys().iter().filter(|_| !self.ca_certs.is_empty()) {
            writeln!(out, "{key}:\n  trusted:")?;
            for certificate in &self.ca_certs {
                writeln!(out, "  - {}", yaml::scalar(certificate, 2))?;
            }
        }
        commands(out, "runcmd", &self.runcmd)
    }
}

impl CaSpelling {
    fn keys(self) -> &'static [&'static str] {
        match self {
            Self::Underscored => &["ca_certs"],
            Self::Dashed => &["ca-certs"],
            Self::Both => &["ca_certs", "ca-certs"],
        }
    }
}

impl fmt::Display for CloudConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{FIRST_LINE}\n{}", self.body())
    }
}

fn commands(out: &mut String, key: &str, commands: &[Command]) -> fmt::Result {
    if !commands.is_empty() {
        writeln!(out, "{key}:")?;
    }
    for command in commands {
        match command {
            Command::Shell(line) => writeln!(out, "- {}", yaml::scalar(line, 0))?,
            Command::Args(words) => {
                for (index, word) in words.iter().enumerate() {
                    writeln!(out, "{} - {}", if index == 0 { "-" } else { " " }, yaml::scalar(word, 2))?;
                }
            }
        }
    }
    Ok(())
}

/// By which cloud-init knows it.
pub const FIRST_LINE: &str = "#cloud-config";

/// Lists are appended, maps joined, and nothing that stands is replaced.
const MERGE: &str = "list(append)+dict(recurse_list,no_replace)+str()";

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;
    use crate::provision::{Content, DockerKeys};

    fn file(path: &str, mode: u32, text: &str) -> PlacedFile {
        PlacedFile { path: path.to_owned(), mode, content: Content { text: text.to_owned(), secret: false } }
    }

    #[test]
    fn it_is_written_in_the_order_in_which_it_is_done() {
        let config = CloudConfig {
            merge: true,
            write_files: vec![file("/etc/docker/certs.d/mirror:5000/ca.crt", 0o644, "PEM\nPEM\n"), file("/etc/on", 0o600, "1:30")],
            ca_certs: vec!["ONE\nTWO\n".to_owned()],
            ca_spelling: CaSpelling::Underscored,
            bootcmd: vec![Command::Args(vec!["sh".to_owned(), "-c".to_owned(), "one\n  two\n".to_owned()])],
            runcmd: vec![Command::Shell("echo \"a\\b\" 100%".to_owned()), Command::Args(vec!["true".to_owned()])],
        };
        assert_snapshot!(config, @r##"
        #cloud-config
        merge_how: "list(append)+dict(recurse_list,no_replace)+str()"
        bootcmd:
        - - "sh"
          - "-c"
          - |
            one
              two
        write_files:
        - path: "/etc/docker/certs.d/mirror:5000/ca.crt"
          owner: "root:root"
          permissions: "0644"
          content: |
            PEM
            PEM
        - path: "/etc/on"
          owner: "root:root"
          permissions: "0600"
          content: "1:30"
        ca_certs:
          trusted:
          - |
            ONE
            TWO
        runcmd:
        - "echo \"a\\b\" 100%"
        - - "true"
        "##);
    }

    #[test]
    fn what_is_read_is_what_was_meant() {
        let keys = DockerKeys { mirrors: vec!["https://mirror.example".to_owned()], insecure: Vec::new() };
        let provision = Provision { files: vec![file("/a", 0o644, "x: \"y\"\n")], docker: Some(keys.clone()), means: Means::Script };
        let value: serde_yaml::Value = serde_yaml::from_str(&CloudConfig::of(&provision).to_string()).expect("it is YAML");
        assert_eq!(value["write_files"][0]["content"].as_str(), Some("x: \"y\"\n"));
        assert_eq!(value["write_files"][0]["permissions"].as_str(), Some("0644"));
        let program = value["bootcmd"][0].as_sequence().and_then(|words| words.last()).and_then(serde_yaml::Value::as_str);
        assert_eq!(program, Some(first_boot::script(&keys).as_str()));
        assert_eq!(value["runcmd"][0][0].as_str(), Some("sh"));
    }

    #[test]
    fn nothing_to_do_is_an_empty_cloud_config() {
        assert_eq!(CloudConfig::default().to_string(), "#cloud-config\n");
    }
}
