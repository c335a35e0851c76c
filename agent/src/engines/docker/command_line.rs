//! dockerd's command line: which of its flags were given, with what, and where that is written. Pure.
//!
//! dockerd reads flags as pflag does: `--name=value`, `--name value`, `-Hvalue`, `-H value`, `-DH value`. A flag that is not known here stands for itself: what follows it
//! is looked at as if it had no value, which misleads nobody, since no value of dockerd's begins with a dash.

use std::fmt;
use std::path::{Path, PathBuf};

/// Where something is written.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Place {
    /// In a file, at a line.
    File(PathBuf, usize),
    /// In the environment of a process that runs.
    Environment(u32),
    /// On the command line of a process that runs.
    Process(u32),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path, line) => write!(f, "{}:{line}", path.display()),
            Self::Environment(pid) => write!(f, "the environment of dockerd, process {pid}"),
            Self::Process(pid) => write!(f, "the command line of dockerd, process {pid}"),
        }
    }
}

/// A word of a command line.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Word {
    /// Without quotes.
    pub text: String,
    /// Where it is written.
    pub place: Place,
}

/// A flag of dockerd.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Flag {
    /// Its long name, without dashes: `host` for `-H` as well.
    pub name: String,
    /// Its value; empty for a switch.
    pub value: String,
    /// Where it is written.
    pub place: Place,
}

/// The words of a process's command line.
pub fn words(pid: u32, arguments: &[String]) -> Vec<Word> {
    arguments.iter().map(|text| Word { text: text.clone(), place: Place::Process(pid) }).collect()
}

/// The flags among the words, of which the first is the program.
pub fn flags(words: &[Word]) -> Vec<Flag> {
    let mut flags = Vec::new();
    let mut words = words.iter().skip(1).take_while(|word| word.text != "--");
    while let Some(word) = words.next() {
        let mut push = |name: &str, value: Option<&str>, next: &mut dyn Iterator<Item = &Word>| {
            let value = value.map(str::to_owned).or_else(|| next.next().map(|word| word.text.clone()));
            flags.push(Flag { name: name.to_owned(), value: value.unwrap_or_default(), place: word.place.clone() });
        };
        if let Some(long) = word.text.strip_prefix("--") {
            match long.split_once('=') {
                Some((name, value)) => push(name, Some(value), &mut words),
                None if VALUED.contains(&long) => push(long, None, &mut words),
                None => push(long, Some(""), &mut words),
            }
        } else if let Some(cluster) = word.text.strip_prefix('-') {
            for (at, letter) in cluster.char_indices() {
                let rest = &cluster[at + letter.len_utf8()..];
                let value = rest.strip_prefix('=').unwrap_or(rest);
                if let Some((_, name)) = LETTERS.iter().find(|(short, _)| *short == letter) {
                    push(name, (!rest.is_empty()).then_some(value), &mut words);
                    break;
                }
            }
        }
    }
    flags
}

/// The values of a flag that may be given several times.
pub fn values<'a>(flags: &'a [Flag], name: &str) -> impl Iterator<Item = &'a Flag> {
    let name = name.to_owned();
    flags.iter().filter(move |flag| flag.name == name)
}

/// The file that dockerd is told to read: of several flags the last counts.
pub fn config_file(flags: &[Flag]) -> Option<PathBuf> {
    values(flags, "config-file").last().map(|flag| PathBuf::from(&flag.value))
}

/// Where its API listens on a Unix socket: the first of the addresses that is one, or systemd's.
///
/// No address at all is Docker's own default, which is the caller's to know; `Err` names addresses of which none is a socket.
pub fn socket(hosts: &[&str], default: &Path) -> Result<PathBuf, String> {
    if hosts.is_empty() {
        return Ok(default.to_owned());
    }
    let found = hosts.iter().find_map(|host| match host.strip_prefix("unix://") {
        Some("") => Some(default.to_owned()),
        Some(path) => Some(PathBuf::from(path)),
        // systemd's docker.socket, which every package puts at the default path.
        None => host.starts_with("fd://").then(|| default.to_owned()),
    });
    found.ok_or_else(|| hosts.join(", "))
}

/// Flags with a value that matter here.
const VALUED: [&str; 8] =
    ["config-file", "host", "http-proxy", "https-proxy", "insecure-registry", "no-proxy", "registry-mirror", "data-root"];
/// Letters with a value.
const LETTERS: [(char, &str); 6] =
    [('H', "host"), ('l', "log-level"), ('g', "data-root"), ('G', "group"), ('p', "pidfile"), ('b', "bridge")];

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Vec<(String, String)> {
        let arguments: Vec<String> = line.split(' ').map(str::to_owned).collect();
        flags(&words(7, &arguments)).into_iter().map(|flag| (flag.name, flag.value)).collect()
    }

    #[test]
    fn a_flag_is_read_in_every_form_that_dockerd_takes() {
        for (line, name, value) in [
            ("dockerd --registry-mirror=http://m:5000", "registry-mirror", "http://m:5000"),
            ("dockerd --registry-mirror http://m:5000", "registry-mirror", "http://m:5000"),
            ("dockerd -D --registry-mirror http://m:5000", "registry-mirror", "http://m:5000"),
            ("dockerd --debug --registry-mirror=http://m:5000/?a=b", "registry-mirror", "http://m:5000/?a=b"),
            ("dockerd -H unix:///run/d.sock", "host", "unix:///run/d.sock"),
            ("dockerd -Hunix:///run/d.sock", "host", "unix:///run/d.sock"),
            ("dockerd -H=unix:///run/d.sock", "host", "unix:///run/d.sock"),
            ("dockerd -DH unix:///run/d.sock", "host", "unix:///run/d.sock"),
            ("dockerd -l debug -H fd://", "host", "fd://"),
            ("dockerd --host fd:// --containerd=/run/c.sock", "containerd", "/run/c.sock"),
            ("dockerd --insecure-registry 10.0.0.1:5000", "insecure-registry", "10.0.0.1:5000"),
            ("dockerd --live-restore", "live-restore", ""),
            ("dockerd --registry-mirror", "registry-mirror", ""),
        ] {
            assert!(read(line).contains(&(name.to_owned(), value.to_owned())), "{line}: {:?}", read(line));
        }
    }

    #[test]
    fn what_is_no_flag_is_none() {
        for line in ["dockerd", "dockerd registry-mirror=x", "dockerd -- --registry-mirror=x", "--registry-mirror=x"] {
            assert_eq!(read(line), [], "{line}");
        }
    }

    #[test]
    fn the_last_configuration_file_counts_and_all_mirrors_do() {
        let flags = flags(&words(
            7,
            &"dockerd --config-file /a --config-file=/b --registry-mirror a --registry-mirror=b"
                .split(' ')
                .map(str::to_owned)
                .collect::<Vec<_>>(),
        ));
        assert_eq!(config_file(&flags), Some(PathBuf::from("/b")));
        assert_eq!(values(&flags, "registry-mirror").map(|flag| flag.value.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(flags[0].place.to_string(), "the command line of dockerd, process 7");
    }

    #[test]
    fn the_socket_is_the_first_that_is_one() {
        let default = Path::new("/run/docker.sock");
        for (hosts, found) in [
            (&[][..], Ok("/run/docker.sock")),
            (&["fd://"], Ok("/run/docker.sock")),
            (&["tcp://0.0.0.0:2375", "unix:///var/run/other.sock"], Ok("/var/run/other.sock")),
            (&["unix://"], Ok("/run/docker.sock")),
            (&["tcp://0.0.0.0:2375"], Err("tcp://0.0.0.0:2375")),
        ] {
            assert_eq!(socket(hosts, default), found.map(PathBuf::from).map_err(str::to_owned), "{hosts:?}");
        }
    }
}
