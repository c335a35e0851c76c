//! A small client, as Docker Hub wants it: token first, no Authorization at the CDN.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::Once;

use bytes::Bytes;
use reqwest::{Method, Response};
use tests::hub::{Digest, Host, Hub, ImageInfo};

/// Somebody who asks the Hub.
pub(crate) struct Client {
    http: reqwest::Client,
    account: Option<(String, String)>,
    accept: Option<&'static str>,
}

impl Client {
    pub(crate) fn anonymous() -> Self {
        Self { http: builder().build().expect("a client"), account: None, accept: None }
    }

    pub(crate) fn of(account: &str, password: &str) -> Self {
        Self { account: Some((account.to_owned(), password.to_owned())), ..Self::anonymous() }
    }

    pub(crate) fn trusting(pem: &str) -> Self {
        let ca = reqwest::Certificate::from_pem(pem.as_bytes()).expect("PEM");
        Self { http: builder().tls_certs_only([ca]).build().expect("a client"), ..Self::anonymous() }
    }

    pub(crate) fn accept(&self, accept: &'static str) -> Self {
        Self { http: self.http.clone(), account: self.account.clone(), accept: Some(accept) }
    }

    pub(crate) async fn try_bare(&self, url: &str) -> reqwest::Result<Response> {
        self.http.get(url).send().await
    }

    pub(crate) async fn bare(&self, url: &str) -> Response {
        self.try_bare(url).await.expect("an answer")
    }

    pub(crate) async fn with_token(&self, url: &str, token: &str) -> Response {
        self.http.get(url).bearer_auth(token).send().await.expect("an answer")
    }

    pub(crate) async fn try_token(&self, hub: &Hub, repository: &str) -> reqwest::Result<Response> {
        let scope = format!("repository:{repository}:pull");
        let url = format!("{}/token?service=registry.docker.io&scope={scope}", hub.url_of(Host::Token));
        let mut request = self.http.get(url);
        if let Some((account, password)) = &self.account {
            request = request.basic_auth(account, Some(password));
        }
        request.send().await
    }

    pub(crate) async fn token(&self, hub: &Hub, repository: &str) -> Response {
        self.try_token(hub, repository).await.expect("an answer")
    }

    pub(crate) async fn token_text(&self, hub: &Hub, repository: &str) -> String {
        let body = self.token(hub, repository).await.bytes().await.expect("a body");
        let value: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
        value["token"].as_str().expect("a token").to_owned()
    }

    pub(crate) async fn try_ask(&self, method: &str, hub: &Hub, repository: &str, rest: &str) -> reqwest::Result<Response> {
        let token = self.token_text(hub, repository).await;
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        let mut request = self.http.request(method, format!("{}/v2/{repository}/{rest}", hub.url())).bearer_auth(token);
        if let Some(accept) = self.accept {
            request = request.header("accept", accept);
        }
        request.send().await
    }

    pub(crate) async fn ask(&self, method: &str, hub: &Hub, repository: &str, rest: &str) -> Response {
        self.try_ask(method, hub, repository, rest).await.expect("an answer")
    }

    pub(crate) async fn get(&self, hub: &Hub, repository: &str, rest: &str) -> Response {
        self.ask("GET", hub, repository, rest).await
    }

    pub(crate) async fn text(&self, hub: &Hub, repository: &str, rest: &str) -> String {
        self.get(hub, repository, rest).await.text().await.expect("a body")
    }

    /// The CDN's answer for a blob, headers only.
    pub(crate) async fn blob_head(&self, hub: &Hub, repository: &str, digest: &Digest, range: Option<&str>) -> Response {
        let redirect = self.get(hub, repository, &format!("blobs/{digest}")).await;
        let link = redirect.headers()["location"].to_str().expect("ASCII").to_owned();
        let mut request = self.http.get(link);
        if let Some(range) = range {
            request = request.header("range", range);
        }
        request.send().await.expect("an answer")
    }

    /// Status and bytes of a blob; an error when the body ends early.
    pub(crate) async fn blob(&self, hub: &Hub, repository: &str, digest: &Digest, range: Option<&str>) -> reqwest::Result<(u16, Bytes)> {
        let reply = self.blob_head(hub, repository, digest, range).await;
        Ok((reply.status().as_u16(), reply.bytes().await?))
    }
}

/// Pulls an image by tag and gives the sizes of its blobs, each checked against its digest.
pub(crate) async fn get_image(client: &Client, hub: &Hub, image: &ImageInfo) -> Vec<u64> {
    let manifest = client.get(hub, &image.repository, "manifests/latest").await;
    assert_eq!(manifest.bytes().await.expect("a manifest"), image.manifest);
    let mut sizes = Vec::new();
    for blob in image.blobs() {
        let (_, bytes) = client.blob(hub, &image.repository, &blob.digest, None).await.expect("a blob");
        let computed = if blob.digest.as_str().starts_with("sha512") { Digest::sha512(&bytes) } else { Digest::sha256(&bytes) };
        assert_eq!(computed, blob.digest);
        sizes.push(bytes.len() as u64);
    }
    sizes
}

/// Sends `request` as it is and reads to the end.
pub(crate) fn raw(address: SocketAddr, request: &str) -> String {
    let mut stream = std::net::TcpStream::connect(address).expect("a connection");
    stream.write_all(request.as_bytes()).expect("a request");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an answer");
    String::from_utf8_lossy(&answer).into_owned()
}

fn builder() -> reqwest::ClientBuilder {
    static PROVIDER: Once = Once::new();
    PROVIDER.call_once(|| {
        // Another test of this process may have been first.
        drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    });
    // A kept connection may be cut in the moment a test asks again: what fails then is the client's luck, not the Hub.
    reqwest::Client::builder().pool_max_idle_per_host(0).no_proxy().redirect(reqwest::redirect::Policy::none())
}
