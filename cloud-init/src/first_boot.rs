//! The program with which a machine that has no agent tells its Docker of the mirrors: `first_boot.py`, with the keys in it.
//!
//! `daemon.json` is also the image's and a provisioner's, so it is merged, by what every machine with cloud-init has: Python, 3.4 or newer, and nothing but its own library. A file that it cannot read is left as it
//! is, and said with line and column. A running dockerd is signalled and asked, never restarted; one that is not yet there reads the file when it starts.
//!
//! It is run twice. First as a boot command, which cloud-init runs before dockerd starts and before anybody can log in: so no job is there before the mirror is. Then at the end of the boot, for images whose dockerd is
//! early, or came with the boot's packages. Neither run asks the mirror anything.

use crate::cloud_config::Command;
use crate::provision::DockerKeys;

/// Where the program is on the machine: an operator may run it again.
pub const PATH: &str = "/usr/local/sbin/chandler-first-boot";

/// The program for these keys.
pub fn script(keys: &DockerKeys) -> String {
    let list = |values: &[String]| serde_json::to_string(values).expect("a list of strings is JSON");
    // JSON's strings are Python's too, character by character. Each line is in the program once: a test sees to it.
    SOURCE.replacen("\nMIRRORS = []\n", &format!("\nMIRRORS = {}\n", list(&keys.mirrors)), 1).replacen(
        "\nINSECURE = []\n",
        &format!("\nINSECURE = {}\n", list(&keys.insecure)),
        1,
    )
}

/// Puts the program in its place and runs it, once in a machine's life: an operator who takes the mirror out again has it his way at the next boot.
pub fn at_boot(keys: &DockerKeys) -> Command {
    let install = format!("mkdir -p /usr/local/sbin && printf %s \"$0\" > {PATH} && chmod 755 {PATH} && {RUN}");
    Command::Args(["cloud-init-per", "instance", "chandler_first_boot", "sh", "-c", &install, &script(keys)].map(str::to_owned).to_vec())
}

/// Runs it once more.
pub fn at_end() -> Command {
    Command::Args(["sh", "-c", RUN].map(str::to_owned).to_vec())
}

const SOURCE: &str = include_str!("first_boot.py");

/// RHEL 8 has no `python3` in the path, and the one that cloud-init itself runs by.
pub(crate) const RUN: &str = "exec \"$(command -v python3 || echo /usr/libexec/platform-python)\" /usr/local/sbin/chandler-first-boot";

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(mirrors: &[&str], insecure: &[&str]) -> DockerKeys {
        let owned = |list: &[&str]| list.iter().map(|&one| one.to_owned()).collect();
        DockerKeys { mirrors: owned(mirrors), insecure: owned(insecure) }
    }

    #[test]
    fn the_program_differs_from_its_source_in_two_lines_alone() {
        let made = script(&keys(&["https://mirror.example:5000", "http://10.0.0.7"], &["10.0.0.7"]));
        let changed: Vec<&str> = made.lines().zip(SOURCE.lines()).filter(|(made, source)| made != source).map(|(made, _)| made).collect();
        assert_eq!(changed, [r#"MIRRORS = ["https://mirror.example:5000","http://10.0.0.7"]"#, r#"INSECURE = ["10.0.0.7"]"#]);
        assert_eq!(made.lines().count(), SOURCE.lines().count());
    }

    #[test]
    fn a_program_with_nothing_to_say_is_its_source() {
        assert_eq!(script(&DockerKeys::default()), SOURCE);
    }

    #[test]
    fn it_is_put_where_it_is_run() {
        assert!(RUN.ends_with(PATH));
        let Command::Args(words) = at_boot(&keys(&["http://m"], &[])) else { panic!("a boot command is a list of words") };
        assert_eq!(words.last(), Some(&script(&keys(&["http://m"], &[]))));
    }
}
