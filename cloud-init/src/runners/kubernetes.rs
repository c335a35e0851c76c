//! Certificates as an object of Kubernetes, and how a pod's Docker has them.
//!
//! A path of a mount may have no colon in it, and a mirror's folder has: so the whole folder is mounted, and the objects' items say what is where in it.

use super::{CERTS_D, DIND, Inner};
use crate::PlacedFile;
use crate::yaml_tree::{Value, list, map};

/// The object with the files: a `Secret` if a key is among them. `None` where there are none.
pub(super) fn object(inner: &Inner) -> Option<Value> {
    let files = items(&inner.files).map(|(key, _, file)| (Value::from(key), Value::from(file.content.text.as_str())));
    let data = Value::Mapping(files.collect());
    let (kind, field) = if inner.has_key() { ("Secret", "stringData") } else { ("ConfigMap", "data") };
    let object = map([("apiVersion", "v1".into()), ("kind", kind.into()), ("metadata", map([("name", NAME.into())])), (field, data)]);
    (!inner.files.is_empty()).then_some(object)
}

/// A pod's volume of it.
pub(super) fn volume(inner: &Inner) -> Option<Value> {
    let entries = items(&inner.files).map(|(key, path, _)| map([("key", key.into()), ("path", path.into())]));
    let entries = list(entries);
    let source = if inner.has_key() {
        ("secret", map([("secretName", NAME.into()), ("items", entries)]))
    } else {
        ("configMap", map([("name", NAME.into()), ("items", entries)]))
    };
    (!inner.files.is_empty()).then(|| map([("name", NAME.into()), source]))
}

/// A container's mount of it.
pub(super) fn mount(inner: &Inner) -> Option<Value> {
    (!inner.files.is_empty()).then(|| map([("name", NAME.into()), ("mountPath", CERTS_D.into()), ("readOnly", true.into())]))
}

/// A Docker beside a pod's other containers, on the loopback address that they share.
pub(super) fn sidecar(inner: &Inner) -> Value {
    let container = map([
        ("name", "dind".into()),
        ("image", DIND.into()),
        ("args", list(inner.arguments.iter().map(String::as_str))),
        ("env", list([map([("name", "DOCKER_TLS_CERTDIR".into()), ("value", "".into())])])),
        ("securityContext", map([("privileged", true.into())])),
    ]);
    crate::yaml_tree::with(container, "volumeMounts", mount(inner).map(|mount| list([mount])))
}

/// Each file with its key in the object and its path below the folder.
pub(super) fn items(files: &[PlacedFile]) -> impl Iterator<Item = (String, &str, &PlacedFile)> {
    files.iter().enumerate().map(|(index, file)| {
        let name = file.path.rsplit('/').next().unwrap_or_default();
        (format!("{index}-{name}"), file.path.trim_start_matches(CERTS_D).trim_start_matches('/'), file)
    })
}

/// Of the object, and of its volume in a pod.
pub(super) const NAME: &str = "chandler-mirror";
