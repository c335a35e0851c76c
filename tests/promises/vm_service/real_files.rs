//! A shell file that a shell reads is not refused: our scanner and `bash -n` agree on what people wrote.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use cloud_init::vm_service::statements::statements;
use tests::tools;

#[test]
fn no_script_that_a_shell_reads_is_taken_for_broken() {
    if tools::require("bash").is_none() {
        return;
    }
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files: Vec<PathBuf> =
        ["setup", "run", "bench", "../.ci/run", "../agent/src/debian/postinst"].iter().map(|name| own.join(name)).collect();
    for folder in ["/etc/init.d", "/usr/share/bash-completion/completions", "/etc/profile.d"] {
        files.extend(fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()));
    }
    let mut wrong = Vec::new();
    for file in files {
        let Ok(text) = fs::read_to_string(&file) else { continue };
        if let Err(broken) = statements(&text) {
            let whole = Command::new("bash").arg("-n").arg(&file).stderr(Stdio::null()).status().expect("bash starts").success();
            wrong.extend(whole.then(|| format!("{}, {broken}", file.display())));
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}
