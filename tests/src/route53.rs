//! A server that behaves like Amazon Route 53 as far as TXT records go: hosted zones, record sets as a whole, changes that take a while, IAM, throttling.
//!
//! Every request's signature is checked by code of its own. What a change brings is told to a DNS server once the change is in sync, not before.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::convert::Infallible;
use std::fmt;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener as StdListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_lc_rs::{digest, hmac};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// The service, on a port of its own. Its tasks end when it is dropped.
pub struct Route53 {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    _tasks: JoinSet<()>,
}

/// A set of TXT records.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Set {
    ttl: String,
    values: Vec<String>,
}

type Publish = dyn Fn(&str, &[String]) + Send;

struct State {
    asked: Vec<&'static str>,
    /// The names that each change is about, and how often it was looked at.
    changes: Vec<(HashSet<String>, usize)>,
    denied: HashSet<&'static str>,
    /// Answers in the place of the right one, by action.
    faults: HashMap<&'static str, Vec<&'static str>>,
    /// What somebody else adds before the next change.
    meanwhile: Option<(String, String)>,
    publish: Box<Publish>,
    sets: BTreeMap<String, Set>,
    token: Option<String>,
    zones: Vec<(String, String, bool)>,
}

/// What is answered in the place of what was asked for.
struct Refusal(u16, String, String);

impl Route53 {
    /// The access key that it knows.
    pub const ACCESS_KEY: &str = "AKIATEST";
    /// Its secret.
    pub const SECRET_KEY: &str = "secret/of+the=test";

    /// `publish` is told the values of a name, without their quotes, when a change to it is in sync.
    pub fn start(publish: impl Fn(&str, &[String]) + Send + 'static) -> Self {
        let listener = StdListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has free ports");
        let address = listener.local_addr().expect("it is bound");
        listener.set_nonblocking(true).expect("a socket can be asynchronous");
        let listener = TcpListener::from_std(listener).expect("it is nonblocking");
        let state = State {
            asked: Vec::new(),
            changes: Vec::new(),
            denied: HashSet::new(),
            faults: HashMap::new(),
            meanwhile: None,
            publish: Box::new(publish),
            sets: BTreeMap::new(),
            token: None,
            zones: Vec::new(),
        };
        let state = Arc::new(Mutex::new(state));
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, state.clone()));
        Self { address, state, _tasks: tasks }
    }

    /// Where it is.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Makes a hosted zone.
    pub fn zone(&self, id: &str, name: &str, is_private: bool) {
        self.state().zones.push((id.to_owned(), format!("{name}."), is_private));
    }

    /// Somebody else's record, with quotes as in a zone file.
    pub fn put(&self, name: &str, value: &str) {
        self.state().add(&format!("{name}."), value);
    }

    /// The values of a name, with their quotes.
    pub fn values(&self, name: &str) -> Vec<String> {
        self.state().sets.get(&format!("{name}.")).map(|set| set.values.clone()).unwrap_or_default()
    }

    /// The next answers to an action are these errors.
    pub fn fail(&self, action: &'static str, codes: &[&'static str]) {
        self.state().faults.insert(action, codes.to_vec());
    }

    /// The credentials may not do this; or they may again, and all others.
    pub fn deny(&self, action: Option<&'static str>) {
        self.state().denied = action.into_iter().collect();
    }

    /// Requests must carry this session token.
    pub fn want_token(&self, token: &str) {
        self.state().token = Some(token.to_owned());
    }

    /// Just before the next change, somebody else adds this.
    pub fn meanwhile(&self, name: &str, value: &str) {
        self.state().meanwhile = Some((format!("{name}."), value.to_owned()));
    }

    /// How often an action was asked for.
    pub fn asked(&self, action: &str) -> usize {
        self.state().asked.iter().filter(|one| **one == action).count()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Route53 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Route53").field("address", &self.address).finish_non_exhaustive()
    }
}

async fn accept(listener: TcpListener, state: Arc<Mutex<State>>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let state = state.clone();
        connections.spawn(async move {
            let service = service_fn(move |request| answer(state.clone(), request));
            drop(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn answer(state: Arc<Mutex<State>>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map(|body| String::from_utf8_lossy(&body.to_bytes()).into_owned()).unwrap_or_default();
    let request = Request::from_parts(parts, body);
    let answered = state.lock().unwrap_or_else(PoisonError::into_inner).answer(&request);
    let (status, text) = answered.map_or_else(
        |Refusal(status, code, said)| {
            let kind = "<ErrorResponse xmlns=\"https://route53.amazonaws.com/doc/2013-04-01/\"><Error><Type>Sender</Type>";
            (status, format!("{kind}<Code>{code}</Code><Message>{said}</Message></Error><RequestId>1</RequestId></ErrorResponse>"))
        },
        |text| (200, text),
    );
    let mut response = Response::new(Full::new(Bytes::from(format!("<?xml version=\"1.0\"?>\n{text}"))));
    *response.status_mut() = http::StatusCode::from_u16(status).expect("a status");
    Ok(response)
}

impl State {
    fn answer(&mut self, request: &Request<String>) -> Result<String, Refusal> {
        check_signature(request, self.token.as_deref())?;
        let path = request.uri().path().strip_prefix("/2013-04-01/").unwrap_or_default().to_owned();
        let parts: Vec<&str> = path.split('/').collect();
        let action = match (request.method().as_str(), parts.as_slice()) {
            ("GET", ["hostedzonesbyname"]) => "route53:ListHostedZonesByName",
            ("GET", ["hostedzone", _, "rrset"]) => "route53:ListResourceRecordSets",
            ("POST", ["hostedzone", _, "rrset"]) => "route53:ChangeResourceRecordSets",
            ("GET", ["change", _]) => "route53:GetChange",
            _ => return Err(Refusal(404, "UnknownOperationException".into(), path.clone())),
        };
        self.asked.push(action);
        if self.denied.contains(action) {
            let said = format!("User: arn:aws:iam::1:user/ci is not authorized to perform: {action}");
            return Err(Refusal(403, "AccessDenied".into(), said));
        }
        if let Some(code) = self.faults.get_mut(action).filter(|codes| !codes.is_empty()).map(|codes| codes.remove(0)) {
            return Err(Refusal(400, code.to_owned(), "Rate exceeded".into()));
        }
        let asked = parameters(request.uri().query().unwrap_or_default());
        let asked = |name: &str| asked.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone()).unwrap_or_default();
        match (action, parts.as_slice()) {
            ("route53:ListHostedZonesByName", _) => Ok(self.zones_from(&asked("dnsname"))),
            ("route53:GetChange", [_, number]) => self.look(number),
            (_, [_, zone, _]) if !self.zones.iter().any(|(id, _, _)| id == zone) => {
                Err(Refusal(404, "NoSuchHostedZone".into(), format!("No hosted zone found with ID: {zone}")))
            }
            ("route53:ListResourceRecordSets", _) => Ok(self.sets_from(&asked("name"), asked("maxitems").parse().unwrap_or(100))),
            _ => self.change(request.body()),
        }
    }

    /// Sorted by their labels from the last one on, as the service sorts.
    fn zones_from(&self, name: &str) -> String {
        let turned = |name: &str| name.trim_end_matches('.').rsplit('.').map(str::to_owned).collect::<Vec<_>>();
        let mut zones: Vec<_> = self.zones.iter().filter(|(_, zone, _)| turned(zone) >= turned(name)).collect();
        zones.sort_by_key(|(id, zone, _)| (turned(zone), id.clone()));
        let one = |(id, name, is_private): &(String, String, bool)| {
            format!(
                "<HostedZone><Id>/hostedzone/{id}</Id><Name>{name}</Name><CallerReference>1</CallerReference><Config><Comment>a &amp; b</Comment>\
                 <PrivateZone>{is_private}</PrivateZone></Config><ResourceRecordSetCount>3</ResourceRecordSetCount></HostedZone>"
            )
        };
        let zones: String = zones.into_iter().map(one).collect();
        format!(
            "<ListHostedZonesByNameResponse><HostedZones>{zones}</HostedZones><IsTruncated>false</IsTruncated></ListHostedZonesByNameResponse>"
        )
    }

    /// From this name on: the first may be another's.
    fn sets_from(&self, name: &str, most: usize) -> String {
        let mut out = String::new();
        let other = Set { ttl: "300".into(), values: vec!["\"another name's\"".into()] };
        let others = [("zzz.".to_owned(), other)];
        let from = self.sets.range(name.to_owned()..).chain(others.iter().map(|(name, set)| (name, set)));
        for (name, set) in from.take(most) {
            let _ = write!(out, "<ResourceRecordSet><Name>{name}</Name><Type>TXT</Type><TTL>{}</TTL><ResourceRecords>", set.ttl);
            for value in &set.values {
                let _ = write!(out, "<ResourceRecord><Value>{}</Value></ResourceRecord>", value.replace('"', "&quot;"));
            }
            out.push_str("</ResourceRecords></ResourceRecordSet>");
        }
        format!("<ListResourceRecordSetsResponse><ResourceRecordSets>{out}</ResourceRecordSets></ListResourceRecordSetsResponse>")
    }

    /// All of it, or nothing.
    fn change(&mut self, body: &str) -> Result<String, Refusal> {
        if let Some((name, value)) = self.meanwhile.take() {
            self.add(&name, &value);
        }
        let (mut sets, mut names) = (self.sets.clone(), HashSet::new());
        let wrong = |said: String| Refusal(400, "InvalidChangeBatch".into(), format!("[{said}]"));
        for change in all(body, "Change") {
            let one = |tag: &str| all(change, tag).first().copied().unwrap_or_default().to_owned();
            let (name, set) = (one("Name"), Set { ttl: one("TTL"), values: all(change, "Value").into_iter().map(str::to_owned).collect() });
            let about = format!("[name='{name}', type='TXT']");
            match (one("Action").as_str(), sets.get(&name)) {
                ("CREATE", Some(_)) => return Err(wrong(format!("Tried to create resource record set {about} but it already exists"))),
                ("DELETE", None) => return Err(wrong(format!("Tried to delete resource record set {about} but it was not found"))),
                ("DELETE", Some(there)) if *there != set => {
                    let said =
                        format!("Tried to delete resource record set {about} but the values provided do not match the current values");
                    return Err(wrong(said));
                }
                ("DELETE", Some(_)) => drop(sets.remove(&name)),
                ("CREATE" | "UPSERT", _) => drop(sets.insert(name.clone(), set)),
                (other, _) => return Err(wrong(format!("{other} is no action"))),
            }
            names.insert(name);
        }
        self.sets = sets;
        self.changes.push((names, 0));
        let number = self.changes.len();
        Ok(format!(
            "<ChangeResourceRecordSetsResponse><ChangeInfo><Id>/change/C{number}</Id><Status>PENDING</Status></ChangeInfo></ChangeResourceRecordSetsResponse>"
        ))
    }

    /// At the second look a change is in sync.
    fn look(&mut self, number: &str) -> Result<String, Refusal> {
        let index = number.strip_prefix('C').and_then(|number| number.parse::<usize>().ok()).and_then(|number| number.checked_sub(1));
        let change = index.and_then(|index| self.changes.get_mut(index));
        let (names, looks) = change.ok_or_else(|| Refusal(404, "NoSuchChange".into(), number.to_owned()))?;
        *looks += 1;
        let is_done = *looks > 1;
        for name in names.iter().filter(|_| is_done) {
            let values = self.sets.get(name).map(|set| set.values.clone()).unwrap_or_default();
            let bare: Vec<String> = values.iter().map(|value| value.trim_matches('"').to_owned()).collect();
            (self.publish)(name.trim_end_matches('.'), &bare);
        }
        let status = if is_done { "INSYNC" } else { "PENDING" };
        Ok(format!("<GetChangeResponse><ChangeInfo><Id>/change/{number}</Id><Status>{status}</Status></ChangeInfo></GetChangeResponse>"))
    }

    fn add(&mut self, name: &str, value: &str) {
        let set = self.sets.entry(name.to_owned()).or_insert_with(|| Set { ttl: "300".into(), values: Vec::new() });
        set.values.push(value.to_owned());
    }
}

/// What stands between each `<tag>` and `</tag>`.
fn all<'a>(text: &'a str, tag: &str) -> Vec<&'a str> {
    let (open, close) = (format!("<{tag}>"), format!("</{tag}>"));
    text.split(&open).skip(1).filter_map(|rest| rest.split(&close).next()).collect()
}

fn parameters(query: &str) -> Vec<(String, String)> {
    url::form_urlencoded::parse(query.as_bytes()).into_owned().collect()
}

/// As AWS documents it, from what has arrived.
fn check_signature(request: &Request<String>, token: Option<&str>) -> Result<(), Refusal> {
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let given = header("authorization").strip_prefix("AWS4-HMAC-SHA256 ").unwrap_or_default();
    let part = |name: &str| given.split(", ").find_map(|part| part.strip_prefix(name)?.strip_prefix('=')).unwrap_or_default();
    let scope: Vec<&str> = part("Credential").split('/').collect();
    let [Route53::ACCESS_KEY, day, "us-east-1", "route53", "aws4_request"] = scope.as_slice() else {
        return Err(Refusal(403, "InvalidClientTokenId".into(), "The security token included in the request is invalid".into()));
    };
    if token.is_some_and(|token| header("x-amz-security-token") != token) {
        return Err(Refusal(403, "ExpiredToken".into(), "The security token included in the request is expired".into()));
    }
    let names: Vec<&str> = part("SignedHeaders").split(';').collect();
    let must = request.headers().keys().map(http::HeaderName::as_str).filter(|name| name.starts_with("x-amz-")).chain(["host"]);
    for name in must {
        assert!(names.contains(&name), "{name} is not signed");
    }
    let mut query: Vec<String> = parameters(request.uri().query().unwrap_or_default())
        .iter()
        .map(|(name, value)| [name, value].map(|text| strictly(text)).join("="))
        .collect();
    query.sort();
    let headers = names.iter().map(|name| format!("{name}:{}\n", header(name))).collect::<Vec<_>>().concat();
    let sha = |text: &str| hex::encode(digest::digest(&digest::SHA256, text.as_bytes()));
    let canonical =
        [request.method().as_str(), request.uri().path(), &query.join("&"), &headers, &names.join(";"), &sha(request.body())].join("\n");
    let date = header("x-amz-date");
    assert!(date.starts_with(day) && date.len() == 16 && date.ends_with('Z'), "{date}");
    let to_sign = format!("AWS4-HMAC-SHA256\n{date}\n{day}/us-east-1/route53/aws4_request\n{}", sha(&canonical));
    let step = |key: Vec<u8>, text: &str| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), text.as_bytes()).as_ref().to_vec();
    let first = format!("AWS4{}", Route53::SECRET_KEY).into_bytes();
    let key = [*day, "us-east-1", "route53", "aws4_request"].into_iter().fold(first, step);
    if hex::encode(step(key, &to_sign)) == part("Signature") {
        return Ok(());
    }
    Err(Refusal(403, "SignatureDoesNotMatch".into(), "The request signature we calculated does not match".into()))
}

/// RFC 3986: everything but letters, digits and four marks.
fn strictly(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}
