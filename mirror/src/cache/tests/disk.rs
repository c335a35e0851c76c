//! What lies on the disk: a stranger's claim about it, and a disk that does not give it back.

use super::*;

#[tokio::test]
async fn a_manifest_that_names_a_wrong_size_throws_out_nobodys_blob() {
    let bytes = hub::content(300_000);
    let setup = Setup::new(|_| Reply::new(404)).await;
    let digest = setup.found(&bytes);
    for size in [1, 299_999, 300_001, 10_000_000] {
        let stranger = setup.repo(&format!("evil/{size}")).await;
        Setup::claim(&stranger, &digest, size);
        let _ = setup.cache.blob(&stranger, &digest).await;
    }
    assert_eq!(setup.store.figures().quarantined, 0);
    let owner = setup.repo("library/app").await;
    Setup::claim(&owner, &digest, bytes.len() as u64);
    let answer = setup.cache.blob(&owner, &digest).await.expect("it is stored");
    assert_eq!(body(&setup.cache, &digest, answer).await.expect("whole"), bytes);
    assert_eq!(setup.server.count("/blobs/"), 0, "no network");
}
