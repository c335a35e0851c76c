//! The kept files: each is read both ways at every run, and those that say so must be right.

use super::*;

#[test]
fn each_kept_file_is_read_without_a_panic_and_as_its_name_says() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/seeds/config");
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).expect("the seeds are there") {
        let path = entry.expect("a readable folder").path();
        let name = path.file_name().expect("a file").to_string_lossy().into_owned();
        let bytes = std::fs::read(&path).expect("a readable file");
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let read = |drop_in| resolve(&Sources { drop_in, ..Sources::yaml(&text) });
        let (own, image) = (read(false), read(true));
        match name.split('-').next().expect("a first word") {
            "own" => assert!(own.is_ok(), "{name}: {}", own.expect_err("checked")),
            "registry" => assert!(image.is_ok(), "{name}: {}", image.expect_err("checked")),
            "wrong" => assert!(own.is_err() && image.is_err(), "{name}"),
            other => panic!("{name}: {other} is none of own, registry, wrong"),
        }
        seen += 1;
    }
    assert!(seen >= 10, "only {seen} seeds");
}
