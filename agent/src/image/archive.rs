//! The archive around a layer: an OCI image layout in a tar file that has Docker's `manifest.json` too.
//!
//! Docker before 25 reads only `manifest.json`; everything else reads `index.json`, where containerd takes the name from one annotation and
//! Skopeo and Podman from the other.

use mirror::oci::{Algorithm, Digest};
use serde_json::{Value, json};

use super::elf::Platform;
use super::name::ImageName;
use super::root::Layer;

/// The archive's bytes, and the digest of the image's manifest.
pub(super) fn write(name: &ImageName, platform: &Platform, layer: &Layer) -> (Vec<u8>, Digest) {
    let mut files = Files::default();
    let packed = files.blob(LAYER, &layer.gzip);
    let config = files.blob(CONFIG, config(platform, &layer.diff_id).to_string().as_bytes());
    let manifest = json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config.descriptor, "layers": [packed.descriptor] });
    let mut root = files.blob(MANIFEST, manifest.to_string().as_bytes());
    root.descriptor["annotations"] = json!({ "io.containerd.image.name": name.in_full(), "org.opencontainers.image.ref.name": name.tag() });
    root.descriptor["platform"] = words(platform);
    let docker = json!([{ "Config": config.path, "RepoTags": [name.to_string()], "Layers": [packed.path] }]);
    files.json("index.json", &json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [root.descriptor] }));
    files.json("manifest.json", &docker);
    files.json("oci-layout", &json!({ "imageLayoutVersion": "1.0.0" }));
    (files.tar(), root.digest)
}

/// What a container of it runs and has. `serve` makes it the `registry` image's stand-in even with no variable set; that image's own
/// arguments in its place do the same.
fn config(platform: &Platform, diff_id: &Digest) -> Value {
    let mut config = words(platform);
    config["created"] = json!(LONG_AGO);
    config["config"] = json!({
        "Cmd": ["serve"],
        "Entrypoint": ["/chandler"],
        "Env": ["PATH=/"],
        "ExposedPorts": { "5000/tcp": {} },
        "Labels": { "org.opencontainers.image.title": "chandler", "org.opencontainers.image.version": env!("CARGO_PKG_VERSION") },
        "Volumes": { "/var/lib/registry": {} },
        "WorkingDir": "/",
    });
    config["history"] = json!([{ "created": LONG_AGO, "created_by": "chandler image" }]);
    config["rootfs"] = json!({ "type": "layers", "diff_ids": [diff_id] });
    config
}

fn words(platform: &Platform) -> Value {
    let mut words = json!({ "architecture": platform.architecture, "os": "linux" });
    if let Some(variant) = platform.variant {
        words["variant"] = json!(variant);
    }
    words
}

/// The archive's files by their path; sorted, as folders come before what is in them.
#[derive(Default)]
struct Files(std::collections::BTreeMap<String, Vec<u8>>);

struct Blob {
    descriptor: Value,
    digest: Digest,
    path: String,
}

impl Files {
    fn blob(&mut self, media_type: &str, bytes: &[u8]) -> Blob {
        let digest = Digest::of(Algorithm::Sha256, bytes);
        let path = format!("blobs/sha256/{}", digest.hex());
        self.0.insert(path.clone(), bytes.to_vec());
        Blob { descriptor: json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() }), digest, path }
    }

    fn json(&mut self, path: &str, value: &Value) {
        self.0.insert(path.to_owned(), value.to_string().into_bytes());
    }

    fn tar(self) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        let folders = ["blobs/", "blobs/sha256/"].map(|path| (path.to_owned(), Vec::new()));
        for (path, content) in folders.into_iter().chain(self.0) {
            let mode = if path.ends_with('/') { 0o755 } else { 0o644 };
            super::append(&mut tar, &path, mode, &content).expect("writing to memory cannot fail");
        }
        tar.into_inner().expect("writing to memory cannot fail")
    }
}

const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const LONG_AGO: &str = "1970-01-01T00:00:00Z";

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::super::elf::Executable;
    use super::super::elf::tests::elf;
    use super::super::root::pack;
    use super::*;

    fn made() -> (Vec<u8>, Digest) {
        let program = elf(183, None);
        let name = "chandler".parse().expect("a name");
        write(&name, &Executable::parse(&program).expect("headers").platform, &pack(&program, Some(b"roots")))
    }

    fn files(archive: &[u8]) -> Vec<(String, Vec<u8>)> {
        let mut archive = tar::Archive::new(archive);
        let entries = archive.entries().expect("a tar file").map(|entry| {
            let mut entry = entry.expect("whole");
            let mut content = Vec::new();
            entry.read_to_end(&mut content).expect("whole");
            let header = entry.header();
            assert_eq!((header.mtime().expect("a time"), header.uid().expect("a user"), header.gid().expect("a group")), (0, 0, 0));
            (entry.path().expect("a path").display().to_string(), content)
        });
        entries.collect()
    }

    #[test]
    fn the_same_program_gives_the_same_bytes() {
        assert_eq!(made(), made());
    }

    #[test]
    fn every_reference_in_the_archive_leads_to_what_it_says() {
        let (archive, root) = made();
        let files: std::collections::HashMap<_, _> = files(&archive).into_iter().collect();
        let json = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).expect("JSON");
        let blob = |descriptor: &Value| {
            let digest: Digest = descriptor["digest"].as_str().expect("a digest").parse().expect("a digest");
            let bytes = &files[&format!("blobs/sha256/{}", digest.hex())];
            assert_eq!((Digest::of(Algorithm::Sha256, bytes), Some(bytes.len() as u64)), (digest, descriptor["size"].as_u64()));
            bytes
        };
        let index = json(&files["index.json"]);
        assert_eq!(index["manifests"][0]["digest"], json!(root));
        assert_eq!(index["manifests"][0]["annotations"]["io.containerd.image.name"], "docker.io/library/chandler:latest");
        let manifest = json(blob(&index["manifests"][0]));
        let config = json(blob(&manifest["config"]));
        let docker = json(&files["manifest.json"]);
        assert_eq!(docker[0]["RepoTags"], json!(["chandler:latest"]));
        assert_eq!(json(&files[docker[0]["Config"].as_str().expect("a path")]), config);
        assert_eq!((&config["architecture"], &config["variant"]), (&json!("arm64"), &json!("v8")));

        let mut layer = Vec::new();
        flate2::read::GzDecoder::new(blob(&manifest["layers"][0]).as_slice()).read_to_end(&mut layer).expect("gzip");
        assert_eq!(config["rootfs"]["diff_ids"][0], json!(Digest::of(Algorithm::Sha256, &layer)));
        let paths: Vec<String> = self::files(&layer).into_iter().map(|(path, _)| path).collect();
        insta::assert_snapshot!(paths.join("\n"), @r"
        chandler
        etc/
        etc/group
        etc/passwd
        etc/ssl/
        etc/ssl/certs/
        etc/ssl/certs/ca-certificates.crt
        tmp/
        var/
        var/lib/
        var/lib/registry/
        ");
    }
}
