//! Each place where credentials may be, the services among them as real servers on a port of their own.

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;

const GIVEN: &str =
    r#"{"Code": "Success", "AccessKeyId": "AKGIVEN", "SecretAccessKey": "secret", "Token": "token", "Expiration": "2099-01-01T00:00:00Z"}"#;

/// Answers each request by `answer`, from its head; gives its address, and the heads that came.
async fn service(answer: fn(&str) -> (u16, &'static str)) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    let heads = Arc::<Mutex<Vec<String>>>::default();
    let seen = heads.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                if stream.read_exact(&mut byte).await.is_err() {
                    break;
                }
                head.push(byte[0]);
            }
            let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
            let (status, body) = answer(&head);
            seen.lock().expect("no holder panics").push(head);
            let reply = format!("HTTP/1.1 {status} x\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
            let _ = stream.write_all(reply.as_bytes()).await;
        }
    });
    (url, heads)
}

fn client() -> Client {
    crate::acme::client(rustls::RootCertStore::empty()).expect("a client").no_proxy().build().expect("a client")
}

async fn find(profile: Option<&str>, variables: &[(&str, &str)]) -> Result<Credentials, CredentialsError> {
    Credentials::find(profile, &variables.iter().copied().collect(), &client()).await
}

fn credentials_file(folder: &Path) -> String {
    let file = folder.join("credentials");
    let text = "# two\n[default]\naws_access_key_id = AKDEFAULT\naws_secret_access_key=one=two\n\n\
        [ci]\naws_access_key_id=AKCI\naws_secret_access_key=x\naws_session_token = t\n[empty]\n";
    std::fs::write(&file, text).expect("written");
    file.to_str().expect("text").to_owned()
}

#[tokio::test]
async fn the_environment_comes_first_and_a_named_profile_before_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = credentials_file(folder.path());
    let own = [("AWS_ACCESS_KEY_ID", "AKENV"), ("AWS_SECRET_ACCESS_KEY", "s"), ("AWS_SHARED_CREDENTIALS_FILE", file.as_str())];
    let found = find(None, &own).await.expect("in the environment");
    assert_eq!((found.access_key.as_str(), found.session_token), ("AKENV", None));
    let found = find(Some("ci"), &own).await.expect("in the file");
    assert_eq!((found.access_key.as_str(), found.session_token.as_deref()), ("AKCI", Some("t")));
    let found = find(None, &own[2..]).await.expect("in the file");
    assert_eq!((found.access_key.as_str(), found.secret_key.as_str()), ("AKDEFAULT", "one=two"));
    let of_variable = [own[2], ("AWS_PROFILE", "ci")];
    assert_eq!(find(None, &of_variable).await.expect("in the file").access_key, "AKCI");
    for profile in ["empty", "none"] {
        let error = find(Some(profile), &own).await.expect_err("it has no keys");
        assert!(error.to_string().contains(&format!("has no keys for the profile {profile}")), "{error}");
    }
}

#[tokio::test]
async fn a_container_is_asked_with_its_token() {
    let (url, heads) = service(|_| (200, GIVEN)).await;
    let own =
        [("HOME", "/nowhere"), ("AWS_CONTAINER_CREDENTIALS_FULL_URI", url.as_str()), ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "Basic xyz")];
    let found = find(None, &own).await.expect("the container's");
    assert_eq!((found.access_key.as_str(), found.session_token.as_deref()), ("AKGIVEN", Some("token")));
    assert!(heads.lock().expect("no holder panics")[0].contains("authorization: basic xyz"));
    let elsewhere = [("HOME", "/nowhere"), ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://192.0.2.1/")];
    assert!(matches!(find(None, &elsewhere).await, Err(CredentialsError::Elsewhere { .. })));
}

#[tokio::test]
async fn an_instance_is_asked_with_a_token_that_it_gave() {
    let (url, heads) = service(|head| match head {
        head if head.starts_with("put /latest/api/token") => (200, "imds-token"),
        head if !head.contains("x-aws-ec2-metadata-token: imds-token") => (401, ""),
        head if head.starts_with("get /latest/meta-data/iam/security-credentials/ ") => (200, "mirror-role"),
        head if head.starts_with("get /latest/meta-data/iam/security-credentials/mirror-role ") => (200, GIVEN),
        _ => (404, ""),
    })
    .await;
    let own = [("HOME", "/nowhere"), ("AWS_EC2_METADATA_SERVICE_ENDPOINT", url.as_str())];
    assert_eq!(find(None, &own).await.expect("the instance's").access_key, "AKGIVEN");
    assert_eq!(heads.lock().expect("no holder panics").len(), 3);
}

#[tokio::test]
async fn without_any_it_is_told_where_they_were_looked_for() {
    let (url, _) = service(|head| if head.starts_with("put") { (200, "t") } else { (404, "") }).await;
    let error = find(None, &[("HOME", "/nowhere"), ("AWS_EC2_METADATA_SERVICE_ENDPOINT", &url)]).await.expect_err("there are none");
    let said = error.to_string();
    assert!(said.contains("/nowhere/.aws/credentials") && said.contains("the instance has no role: HTTP 404"), "{said}");
    let error = find(None, &[("HOME", "/nowhere"), ("AWS_EC2_METADATA_DISABLED", "true")]).await.expect_err("there are none");
    assert!(error.to_string().contains("AWS_EC2_METADATA_DISABLED"), "{error}");
}

#[test]
fn what_is_secret_is_not_printed() {
    let credentials = Credentials { access_key: "AK".into(), secret_key: "hidden".into(), session_token: Some("hidden".into()) };
    let environment: Environment = [("AWS_SECRET_ACCESS_KEY", "hidden")].into_iter().collect();
    assert!(!format!("{credentials:?} {environment:?}").contains("hidden"));
}

#[tokio::test]
async fn credentials_of_a_kind_that_is_not_read_are_told_and_nobody_elses_are_taken_in_their_place() {
    let folder = tempfile::tempdir().expect("a folder");
    let home = folder.path().to_str().expect("text");
    let (url, heads) = service(|_| (200, GIVEN)).await;
    let instance = ("AWS_EC2_METADATA_SERVICE_ENDPOINT", url.as_str());
    let role = [("AWS_ROLE_ARN", "arn:aws:iam::1:role/x"), ("AWS_WEB_IDENTITY_TOKEN_FILE", "/x")];
    let error = find(None, &[&[("HOME", home), instance], &role[..]].concat()).await.expect_err("it is not read");
    assert!(error.to_string().starts_with("AWS_WEB_IDENTITY_TOKEN_FILE"), "{error}");
    let keys = [("AWS_ACCESS_KEY_ID", "AK"), ("AWS_SECRET_ACCESS_KEY", "x")];
    assert_eq!(find(None, &[&keys[..], &role].concat()).await.expect("the environment comes first").access_key, "AK");
    let file = credentials_file(folder.path());
    let shared = [("HOME", home), ("AWS_SHARED_CREDENTIALS_FILE", file.as_str()), role[0]];
    assert_eq!(find(None, &shared).await.expect("a role without a token asks for nothing").access_key, "AKDEFAULT");
    let [config, shared] = ["config", "shared"].map(|name| folder.path().join(name));
    for line in ["role_arn = arn:aws:iam::1:role/x", "credential_process=/bin/x", "sso_session = s"] {
        for (variable, file) in [("AWS_CONFIG_FILE", &config), ("AWS_SHARED_CREDENTIALS_FILE", &shared)] {
            std::fs::write(file, format!("[profile x]\nregion = y\n[default]\n{line}\n")).expect("written");
            let (name, key) = (file.to_str().expect("text"), line.split(['=', ' ']).next().expect("a key"));
            let error = find(None, &[("HOME", home), (variable, name), instance]).await.expect_err("it is not read").to_string();
            assert!(error.starts_with(&format!("{key} in {name} asks")), "{error}");
        }
    }
    assert_eq!(heads.lock().expect("no holder panics").len(), 0, "the instance was not asked");
    std::fs::write(&config, "[default]\nregion = y\n[profile x]\nrole_arn = z\n").expect("written");
    let variables = [("HOME", home), ("AWS_CONFIG_FILE", config.to_str().expect("text")), instance];
    assert_eq!(find(None, &variables).await.expect("it says nothing of ours").access_key, "AKGIVEN");
}
