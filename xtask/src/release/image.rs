//! The image: an archive that `docker load` and `podman load` take, written without a container engine.
//!
//! It is an OCI layout with Docker's `manifest.json` beside it, over two layers: what the binary needs of the machine
//! that made it (glibc's shared objects, CA certificates, the account), and the binary with its settings. There is no
//! shell, no curl and no package manager in it: the compose file, whose health checks use curl, builds its own from
//! the Dockerfile.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::archive::{TIME, Tree};
use super::{Source, tools};

/// User and group of the node, as in the Dockerfile.
const USER: u32 = 10_001;
const CERTIFICATES: &str = "etc/ssl/certs/ca-certificates.crt";
/// Where distributions keep the bundle of CA certificates.
const BUNDLES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];
/// The licences of what is taken from this machine, where Debian keeps them.
const COPYRIGHTS: [&str; 3] = ["libc6", "libgcc-s1", "ca-certificates"];

const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// What the binary needs of a machine, by absolute path.
pub(super) struct Base {
    objects: Vec<(PathBuf, Vec<u8>)>,
    certificates: Vec<u8>,
    copyrights: Vec<(String, Vec<u8>)>,
}

impl Base {
    /// Takes it from the machine that makes the release.
    pub(super) fn of_this_machine(binary: &Path) -> Result<Base> {
        let read = |path: &Path| fs::read(path).with_context(|| format!("cannot read {}", path.display()));
        let objects = tools::shared_objects(binary)?;
        let objects: Result<_> = objects.into_iter().map(|path| Ok((path.clone(), read(&path)?))).collect();
        let Some(bundle) = BUNDLES.iter().map(Path::new).find(|path| path.is_file()) else {
            bail!("this machine has no CA certificates, which the image needs; install ca-certificates");
        };
        let copyright = |name: &str| Some((name.to_owned(), fs::read(doc(name)).ok()?));
        let copyrights = COPYRIGHTS.into_iter().filter_map(copyright).collect();
        Ok(Base { objects: objects?, certificates: read(bundle)?, copyrights })
    }

    fn layer(&self) -> Result<Tree> {
        let mut tree = Tree::default();
        for (path, bytes) in &self.objects {
            let path = path.to_str().context("a shared object's path is not UTF-8")?;
            tree.file(path.trim_start_matches('/'), 0o755, bytes.clone());
        }
        tree.file(CERTIFICATES, 0o644, self.certificates.clone());
        for (name, bytes) in &self.copyrights {
            tree.file(doc(name).trim_start_matches('/'), 0o644, bytes.clone());
        }
        let account = format!("bowline:x:{USER}");
        let passwd =
            format!("root:x:0:0:root:/:/nonexistent\n{account}:{USER}::/var/lib/bowline:/nonexistent\n");
        tree.file("etc/passwd", 0o644, passwd);
        tree.file("etc/group", 0o644, format!("root:x:0:\n{account}:\n"));
        tree.file("etc/nsswitch.conf", 0o644, "hosts: files dns\n");
        tree.folder("tmp", 0o1777, 0);
        Ok(tree)
    }
}

fn doc(package: &str) -> String {
    format!("/usr/share/doc/{package}/copyright")
}

pub(super) fn file_name(version: &str) -> Result<String> {
    Ok(format!("bowline-{version}-{}.image.tar", architecture()?))
}

/// The bytes of the archive.
pub(super) fn archive(source: &Source<'_>, base: &Base) -> Result<Vec<u8>> {
    let mut tree = Tree::default();
    let layers = [base.layer()?.tar("")?, product(source)?.tar("")?];
    let layers: Result<Vec<Blob>> =
        layers.into_iter().map(|bytes| Blob::put(&mut tree, LAYER, bytes)).collect();
    let layers = layers?;
    let config = Blob::put(&mut tree, CONFIG, text(&config(source, &layers)?))?;
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "config": config.descriptor(),
        "layers": layers.iter().map(Blob::descriptor).collect::<Vec<_>>(),
    });
    let manifest = Blob::put(&mut tree, MANIFEST, text(&manifest))?;
    let tag = format!("bowline:{}", source.version);
    let mut descriptor = manifest.descriptor();
    descriptor["annotations"] =
        json!({ "io.containerd.image.name": tag, "org.opencontainers.image.ref.name": source.version });
    let index = json!({ "schemaVersion": 2, "manifests": [descriptor] });
    let docker = json!([{
        "Config": config.path(), "RepoTags": [tag], "Layers": layers.iter().map(Blob::path).collect::<Vec<_>>(),
    }]);
    tree.file("oci-layout", 0o644, text(&json!({ "imageLayoutVersion": "1.0.0" })));
    tree.file("index.json", 0o644, text(&index));
    tree.file("manifest.json", 0o644, text(&docker));
    tree.tar("")
}

/// The layer with the product, at the places of the Dockerfile.
fn product(source: &Source<'_>) -> Result<Tree> {
    let mut tree = Tree::default();
    tree.file("usr/local/bin/bowline", 0o755, source.binary.clone());
    tree.link("usr/local/bin/stateset-sequencer-admin", "bowline");
    tree.file("etc/bowline/runbook.yaml", 0o644, source.file("config/runbook.yaml")?);
    for licence in ["LICENSE-MIT", "LICENSE-APACHE"] {
        tree.file(&format!("usr/share/doc/bowline/{licence}"), 0o644, source.file(licence)?);
    }
    tree.folder("var/lib/bowline", 0o700, USER);
    Ok(tree)
}

fn config(source: &Source<'_>, layers: &[Blob]) -> Result<Value> {
    let digests: Vec<String> = layers.iter().map(Blob::digest).collect();
    let step = |what: &str| json!({ "created": TIME, "created_by": what });
    Ok(json!({
        "architecture": architecture()?, "os": "linux", "created": TIME,
        "config": {
            "User": format!("{USER}:{USER}"),
            "Env": ["PATH=/usr/local/bin", "BOWLINE_DATA=/var/lib/bowline"],
            "Entrypoint": ["bowline"],
            "Cmd": ["serve", "--config", "/etc/bowline/runbook.yaml"],
            "ExposedPorts": { "8080/tcp": {}, "42069/tcp": {} },
            "WorkingDir": "/var/lib/bowline",
            "StopSignal": "SIGTERM",
            "Labels": {
                "org.opencontainers.image.title": "bowline",
                "org.opencontainers.image.version": source.version,
                "org.opencontainers.image.licenses": "MIT OR Apache-2.0",
            },
        },
        "rootfs": { "type": "layers", "diff_ids": digests },
        "history": [step("shared objects and CA certificates"), step("bowline")],
    }))
}

/// A blob in the archive, named by its hash.
struct Blob {
    kind: &'static str,
    hash: String,
    bytes_count: usize,
}

impl Blob {
    fn put(tree: &mut Tree, kind: &'static str, bytes: Vec<u8>) -> Result<Blob> {
        let blob = Blob { kind, hash: tools::sha256(&bytes)?, bytes_count: bytes.len() };
        tree.file(&blob.path(), 0o644, bytes);
        Ok(blob)
    }

    fn path(&self) -> String {
        format!("blobs/sha256/{}", self.hash)
    }

    fn digest(&self) -> String {
        format!("sha256:{}", self.hash)
    }

    fn descriptor(&self) -> Value {
        json!({ "mediaType": self.kind, "digest": self.digest(), "size": self.bytes_count })
    }
}

fn text(value: &Value) -> Vec<u8> {
    format!("{value}\n").into_bytes()
}

/// As OCI calls the architecture of this build.
fn architecture() -> Result<&'static str> {
    match std::env::consts::ARCH {
        "x86_64" => Ok("amd64"),
        "aarch64" => Ok("arm64"),
        other => bail!("a release for {other} was never made; add its OCI name here"),
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::workspace::Workspace;

    fn base() -> Base {
        Base {
            objects: vec![(PathBuf::from("/lib64/ld-linux-x86-64.so.2"), b"loader".to_vec())],
            certificates: b"certificates".to_vec(),
            copyrights: vec![("libc6".to_owned(), b"LGPL".to_vec())],
        }
    }

    fn image() -> Vec<u8> {
        let workspace = Workspace::find().unwrap();
        let source =
            Source { root: workspace.root(), version: "1.2.3".to_owned(), binary: b"program".to_vec() };
        archive(&source, &base()).unwrap()
    }

    fn unpack(bytes: &[u8], into: &Path) {
        fs::create_dir_all(into).unwrap();
        let file = into.join("a.tar");
        fs::write(&file, bytes).unwrap();
        let status =
            Command::new("tar").arg("-xf").arg(&file).arg("--no-same-owner").current_dir(into).status();
        assert!(status.unwrap().success());
        fs::remove_file(file).unwrap();
    }

    #[test]
    fn every_digest_is_that_of_its_blob_and_the_layers_make_the_root() {
        let folder = tempfile::tempdir().unwrap();
        unpack(&image(), folder.path());
        let read = |path: &str| fs::read(folder.path().join(path)).unwrap();
        let json_of = |path: &str| serde_json::from_slice::<Value>(&read(path)).unwrap();
        let blob = |descriptor: &Value| {
            let hash = descriptor["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap().to_owned();
            let path = format!("blobs/sha256/{hash}");
            let bytes = read(&path);
            assert_eq!(
                (tools::sha256(&bytes).unwrap(), Some(bytes.len() as u64)),
                (hash, descriptor["size"].as_u64())
            );
            path
        };
        let manifest = json_of(&blob(&json_of("index.json")["manifests"][0]));
        let config_path = blob(&manifest["config"]);
        let layers: Vec<String> = manifest["layers"].as_array().unwrap().iter().map(blob).collect();
        let docker = json_of("manifest.json");
        assert_eq!(docker[0]["RepoTags"], json!(["bowline:1.2.3"]));
        assert_eq!((&docker[0]["Config"], &docker[0]["Layers"]), (&json!(config_path), &json!(layers)));
        let digests: Vec<&Value> =
            manifest["layers"].as_array().unwrap().iter().map(|layer| &layer["digest"]).collect();
        assert_eq!(json_of(&config_path)["rootfs"]["diff_ids"], json!(digests));

        let root = folder.path().join("root");
        for layer in &layers {
            unpack(&read(layer), &root);
        }
        assert_eq!(fs::read(root.join("usr/local/bin/stateset-sequencer-admin")).unwrap(), b"program");
        assert_eq!(fs::read(root.join(CERTIFICATES)).unwrap(), b"certificates");
        assert_eq!(fs::read(root.join("lib64/ld-linux-x86-64.so.2")).unwrap(), b"loader");
        assert!(root.join("var/lib/bowline").is_dir() && root.join("etc/bowline/runbook.yaml").is_file());
    }

    #[test]
    fn the_same_binary_gives_the_same_image() {
        assert!(image() == image());
    }

    #[test]
    fn user_places_and_command_are_those_of_the_dockerfile() {
        let workspace = Workspace::find().unwrap();
        let dockerfile = fs::read_to_string(workspace.root().join("Dockerfile")).unwrap();
        for line in [
            format!("--uid {USER} "),
            "/usr/local/bin/bowline".to_owned(),
            "BOWLINE_DATA=/var/lib/bowline".to_owned(),
            "EXPOSE 8080 42069".to_owned(),
            "ENTRYPOINT [\"bowline\"]".to_owned(),
            "CMD [\"serve\", \"--config\", \"/etc/bowline/runbook.yaml\"]".to_owned(),
        ] {
            assert!(dockerfile.contains(&line), "{line}");
        }
    }
}
