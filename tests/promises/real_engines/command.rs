//! "Every change to a machine is shown before, applied atomically, verified by what the engine *does*, and undone to the byte." "No running job is disturbed." "'The mirror is used' is proved by a pull that
//! only the mirror can answer, never assumed."
//!
//! Each engine's whole story, as an operator types it: `chandler plan`, `apply`, a private image with no login, `verify`, `apply` again, `undo`. No engine is named: `chandler` finds what is on the
//! machine. All of `/etc` is compared.

mod buildkit;
mod containerd;
mod docker;
mod podman;
mod rootless;
mod trees;

use std::path::PathBuf;

use tests::engine::{Answer, Machine, Tree, User};
use tests::program::program_path;

use super::Site;

/// Somebody with a shell on a machine, and the machine as it was when they came.
struct Operator<'a> {
    machine: &'a Machine,
    mirror: String,
    user: Option<User>,
    before: Tree,
}

impl<'a> Operator<'a> {
    fn of(machine: &'a Machine, site: &Site) -> Self {
        let before = Tree::of(&machine.inside("/etc"));
        Self { machine, mirror: format!("http://{}", site.tap.host()), user: None, before }
    }

    /// A user, whose files are at home.
    fn login(machine: &'a Machine, site: &Site, user: User) -> Self {
        let whole = Self::of(machine, site);
        Self { before: Tree::of(&settings(machine, user)), user: Some(user), ..whole }
    }

    /// `chandler WORDS`.
    async fn chandler(&self, words: &[&str]) -> Answer {
        let mut command = match self.user {
            None => self.machine.command(&program_path()),
            Some(user) => self.machine.command_of(user, &program_path()),
        };
        Answer::of(command.args(words)).await
    }

    /// `chandler VERB --mirror URL`.
    async fn on_mirror(&self, verb: &str) -> Answer {
        self.chandler(&[verb, "--mirror", &self.mirror]).await
    }

    /// It shows all this, and changes nothing.
    async fn plans(&self, parts: &[&str]) -> String {
        let before = self.files();
        let shown = self.on_mirror("plan").await.expect_success();
        assert_says(&shown, parts);
        assert_eq!(self.chandler(&["plan", "--check", "--mirror", &self.mirror]).await.status.code(), Some(3), "there is something to do");
        before.assert_untouched(&self.files());
        shown
    }

    async fn applies(&self, parts: &[&str]) {
        assert_says(&self.on_mirror("apply").await.expect_success(), parts);
    }

    /// Nothing is touched: neither a file nor, by what is said, an engine. What a person must know is said again.
    async fn has_nothing_left_to_do(&self) -> String {
        let [files, ours] = [self.files(), self.record()];
        let said = self.on_mirror("apply").await;
        assert!(said.stderr.contains("everything is as it should be already"), "{said:?}");
        let said = said.expect_success();
        assert!(!["is made", "is changed", "is gone", "reloaded"].iter().any(|word| said.contains(word)), "{said}");
        assert_eq!(self.chandler(&["plan", "--check", "--mirror", &self.mirror]).await.status.code(), Some(0));
        files.assert_untouched(&self.files());
        ours.assert_untouched(&self.record());
        said
    }

    /// The mirror itself says that it gave the whole canary, which nobody else has.
    async fn proves(&self, whose: &str) {
        let proof = self.on_mirror("verify").await.expect_success();
        assert_says(&proof, &[&format!("good  {whose} pulls through {}", self.mirror)]);
    }

    /// And the machine has nothing else that is against it.
    async fn is_well(&self) {
        self.chandler(&["doctor", "--mirror", &self.mirror]).await.expect_success();
    }

    async fn disproves(&self, whose: &str) {
        let said = self.on_mirror("verify").await.expect_failure();
        assert_says(&said, &[&format!("bad   {whose} does not pull through the mirror"), "the mirror is not used"]);
    }

    /// Every file is as it was, and none of chandler's own is left.
    async fn undoes(&self, parts: &[&str]) {
        let said = self.chandler(&["undo"]).await.expect_success();
        assert_says(&said, parts);
        assert_eq!(said.contains("pending restart"), parts.iter().any(|part| part.contains("pending restart")), "{said}");
        self.before.assert_same(&self.files());
        assert!(!self.state().join("record.json").exists(), "{said}");
        let again = self.chandler(&["undo"]).await;
        assert!(again.stderr.contains("nothing of chandler's is left"), "{again:?}");
    }

    fn files(&self) -> Tree {
        match self.user {
            None => Tree::of(&self.machine.inside("/etc")),
            Some(user) => Tree::of(&settings(self.machine, user)),
        }
    }

    fn record(&self) -> Tree {
        Tree::of(&self.state())
    }

    fn state(&self) -> PathBuf {
        match self.user {
            None => self.machine.inside("/var/lib/chandler/agent"),
            Some(user) => home(self.machine, user).join(".local/state/chandler/agent"),
        }
    }
}

/// What of a home is no image.
fn settings(machine: &Machine, user: User) -> PathBuf {
    home(machine, user).join(".config")
}

fn home(machine: &Machine, user: User) -> PathBuf {
    machine.inside(user.home().to_str().expect("text"))
}

#[track_caller]
fn assert_says(said: &str, parts: &[&str]) {
    for part in parts {
        assert!(said.contains(part), "not a word of `{part}`:\n{said}");
    }
}

/// The file gets an owner, a mode and an attribute that only it has.
fn mark(machine: &Machine, path: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    let file = machine.inside(path);
    std::os::unix::fs::chown(&file, Some(1234), Some(4321)).expect("root gives files away");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).expect("root sets modes");
    rustix::fs::setxattr(&file, "trusted.noted", b"by somebody", rustix::fs::XattrFlags::empty()).expect("root notes what it likes");
}

/// The name by which this machine's engines take an image from the mirror itself, without being behind it.
fn direct(site: &Site, image: &str) -> String {
    format!("{}/{image}", site.tap.host())
}

/// What it ran before it runs still, and there is no other.
#[track_caller]
fn assert_runs_on(machine: &Machine, program: &str, before: &[tests::engine::Running]) {
    assert!(!before.is_empty());
    assert_eq!(machine.running(program), before, "{program} is the same process");
}

/// What a container of the tests runs until somebody ends it. `sleep` is in the shell of test images.
const SLEEPS: [&str; 3] = ["/bin/sh", "-c", "sleep 3600"];
