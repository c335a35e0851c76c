use std::collections::BTreeMap;

use super::*;

#[tokio::test]
async fn what_an_image_under_construction_would_start_is_read_from_its_files() {
    let tree = Files::of(&[
        (
            "/usr/lib/systemd/system/docker.service",
            "[Service]\nEnvironmentFile=-/etc/sysconfig/docker\nExecStart=/usr/bin/dockerd -H fd:// $OPTIONS\n",
        ),
        (
            "/etc/systemd/system/docker.service.d/proxy.conf",
            "[Service]\nEnvironment=\"HTTPS_PROXY=http://proxy:3128\" NO_PROXY=localhost\n",
        ),
        ("/run/systemd/system/docker.service.d/proxy.conf", "[Service]\nEnvironment=HTTPS_PROXY=http://hidden\n"),
        ("/etc/sysconfig/docker", "# options\nOPTIONS='--config-file /etc/other.json --registry-mirror=http://old'\n"),
        ("/etc/default/docker", "DOCKER_OPTS=--registry-mirror=http://nobody\n"),
        ("/etc/other.json", "{\"proxies\": {\"no-proxy\": \"mirror\"}}"),
        ("/etc/docker/certs.d/mirror:5000/ca.crt", "PEM"),
        ("/etc/docker/certs.d/mirror:5000/README", "no"),
    ]);
    let found = look(&tree).await.expect("it can be read");
    let [facts] = &found[..] else { panic!("one engine: {found:?}") };
    assert_eq!((&facts.owner, facts.running.is_none(), &facts.config_file), (&Owner::Machine, true, &PathBuf::from("/etc/other.json")));
    assert!(facts.daemon_json.is_some());
    assert_eq!(facts.trust.keys().collect::<Vec<_>>(), [&PathBuf::from("/etc/docker/certs.d/mirror:5000/ca.crt")]);
    let shown = |flags: &[Flag]| flags.iter().map(|flag| format!("{} {}={}", flag.place, flag.name, flag.value)).collect::<Vec<_>>();
    assert_eq!(
        shown(&facts.flags),
        [
            "/usr/lib/systemd/system/docker.service:3 host=fd://",
            "/etc/sysconfig/docker:2 config-file=/etc/other.json",
            "/etc/sysconfig/docker:2 registry-mirror=http://old"
        ]
    );
    assert_eq!(shown(&facts.idle_flags), ["/etc/default/docker:1 registry-mirror=http://nobody"]);
    let proxy = facts.proxies.https.as_ref().expect("a proxy");
    assert_eq!((proxy.url.as_str(), proxy.place.as_str()), ("http://proxy:3128", "/etc/systemd/system/docker.service.d/proxy.conf:2"));
    assert_eq!(facts.proxies.except, "mirror", "daemon.json wins");
}

#[tokio::test]
async fn without_a_unit_the_options_file_counts() {
    let tree = Files::of(&[("/usr/bin/dockerd", ""), ("/etc/default/docker", "#\nDOCKER_OPTS=\"-D --registry-mirror http://old\"\n")]);
    let found = look(&tree).await.expect("it can be read");
    assert!(found[0].idle_flags.is_empty());
    assert_eq!(found[0].flags.last().map(|flag| flag.place.to_string()).as_deref(), Some("/etc/default/docker:2"));
    assert_eq!(found[0].config_file, PathBuf::from("/etc/docker/daemon.json"));
}

#[tokio::test]
async fn where_no_docker_is_there_is_none() {
    assert!(look(&Files::of(&[("/etc/default/docker", "DOCKER_OPTS=-D")])).await.expect("it can be read").is_empty());
}

#[test]
fn a_user_s_engine_has_its_files_below_the_home() {
    let tree = Files::of(&[("/etc/passwd", "root:x:0:0::/root:/bin/sh\nci:x:1000:1000::/home/ci:/bin/sh\n")]);
    let daemon = |environment: &[(&str, &str)]| Process {
        pid: 7,
        uid: 1000,
        arguments: vec!["dockerd".to_owned()],
        environment: environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
    };
    let site = user(&tree, &daemon(&[])).expect("a user's");
    assert_eq!(site.owner, Owner::User { uid: 1000, name: "ci".to_owned() });
    assert_eq!(site.config, PathBuf::from("/home/ci/.config/docker/daemon.json"));
    assert_eq!(site.socket, PathBuf::from("/run/user/1000/docker.sock"));
    let site =
        user(&tree, &daemon(&[("HOME", "/srv/ci"), ("XDG_RUNTIME_DIR", "/tmp/run"), ("XDG_CONFIG_HOME", "/srv/conf")])).expect("a user's");
    assert_eq!((site.certs_d, site.socket), (PathBuf::from("/srv/conf/docker/certs.d"), PathBuf::from("/tmp/run/docker.sock")));
    assert!(user(&tree, &Process { uid: 0, ..daemon(&[]) }).is_none());
}

/// A tree in memory.
struct Files(BTreeMap<PathBuf, String>);

impl Files {
    fn of(files: &[(&str, &str)]) -> Self {
        Self(files.iter().map(|(path, text)| (PathBuf::from(path), (*text).to_owned())).collect())
    }
}

impl Tree for Files {
    fn read(&self, path: &Path) -> Result<Option<Vec<u8>>, HostError> {
        Ok(self.0.get(path).map(|text| text.clone().into_bytes()))
    }

    fn list(&self, folder: &Path) -> Vec<PathBuf> {
        let below = self.0.keys().filter_map(|path| Some(folder.join(path.strip_prefix(folder).ok()?.components().next()?)));
        let mut found: Vec<PathBuf> = below.collect();
        found.dedup();
        found
    }

    fn exists(&self, path: &Path) -> bool {
        self.0.contains_key(path) || !self.list(path).is_empty()
    }

    fn is_this_machine(&self) -> bool {
        false
    }
}
