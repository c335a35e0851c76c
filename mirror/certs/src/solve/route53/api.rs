//! The few requests to Route 53 that are of use (its API of 2013-04-01), each with the IAM action that it needs.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use reqwest::{Client, Method};
use url::Url;

use super::sign::{Canonical, Scope, query};
use super::xml::{Element, escaped};
use super::{Credentials, Route53Error, TRIES, TRIES_UNHEARD};
use crate::Moment;
use crate::acme::with_causes;
use crate::dns::Name;

/// Whoever the credentials are of, at one endpoint.
#[derive(Debug)]
pub(super) struct Account<'a> {
    credentials: Credentials,
    endpoint: &'a Url,
    http: &'a Client,
    region: &'static str,
}

/// The TXT records of a name; none is the same as no set.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct RecordSet {
    ttl: u32,
    /// As they stand in a zone file, in quotes.
    values: Vec<String>,
}

/// One request.
struct Call<'a> {
    action: &'static str,
    body: String,
    doing: &'static str,
    method: Method,
    parameters: &'a [(&'a str, &'a str)],
    path: String,
}

impl RecordSet {
    pub(super) fn with(&self, value: &str) -> Self {
        let quoted = format!("\"{value}\"");
        let mut values = self.values.clone();
        if !values.contains(&quoted) {
            values.push(quoted);
        }
        Self { ttl: self.ttl, values }
    }

    pub(super) fn without(&self, value: &str) -> Self {
        let quoted = format!("\"{value}\"");
        Self { ttl: self.ttl, values: self.values.iter().filter(|value| **value != quoted).cloned().collect() }
    }

    fn read(set: &Element) -> Self {
        let ttl = set.text(&["TTL"]).and_then(|ttl| ttl.parse().ok()).unwrap_or(TTL);
        Self { ttl, values: set.all("Value").filter_map(|value| value.text(&[])).map(str::to_owned).collect() }
    }

    fn write(&self, out: &mut String, action: &str, name: &Name) {
        if self.values.is_empty() {
            return;
        }
        let _ = write!(
            out,
            "<Change><Action>{action}</Action><ResourceRecordSet><Name>{}.</Name><Type>TXT</Type><TTL>{}</TTL><ResourceRecords>",
            escaped(&name.to_string()),
            self.ttl
        );
        for value in &self.values {
            let _ = write!(out, "<ResourceRecord><Value>{}</Value></ResourceRecord>", escaped(value));
        }
        out.push_str("</ResourceRecords></ResourceRecordSet></Change>");
    }
}

impl<'a> Account<'a> {
    pub(super) fn new(http: &'a Client, endpoint: &'a Url, credentials: Credentials) -> Self {
        Self { credentials, endpoint, http, region: region(endpoint.host_str().unwrap_or_default()) }
    }

    /// The public zone with this very name. Zones come sorted from there on, the private ones among them.
    pub(super) async fn zone_called(&self, name: &Name) -> Result<Option<String>, Route53Error> {
        let called = format!("{name}.");
        let call = Call {
            action: "route53:ListHostedZonesByName",
            body: String::new(),
            doing: "find the hosted zone",
            method: Method::GET,
            parameters: &[("dnsname", &called), ("maxitems", "20")],
            path: "hostedzonesbyname".into(),
        };
        let answer = self.call(&call).await?;
        let is_it = |zone: &&Element| {
            let is_called_so = zone.text(&["Name"]).is_some_and(|text| text.parse::<Name>().is_ok_and(|one| one == *name));
            is_called_so && zone.text(&["Config", "PrivateZone"]) != Some("true")
        };
        let id = answer.all("HostedZone").find(is_it).and_then(|zone| zone.text(&["Id"]));
        Ok(id.map(|id| id.trim_start_matches("/hostedzone/").to_owned()))
    }

    /// The TXT records of this very name.
    pub(super) async fn records(&self, zone: &str, name: &Name) -> Result<RecordSet, Route53Error> {
        let called = format!("{name}.");
        let call = Call {
            action: "route53:ListResourceRecordSets",
            body: String::new(),
            doing: "read the records of the zone",
            method: Method::GET,
            parameters: &[("maxitems", "1"), ("name", &called), ("type", "TXT")],
            path: format!("hostedzone/{zone}/rrset"),
        };
        let answer = self.call(&call).await?;
        let is_it = |set: &&Element| {
            set.text(&["Type"]) == Some("TXT") && set.text(&["Name"]).is_some_and(|text| text.parse::<Name>().is_ok_and(|one| one == *name))
        };
        match answer.all("ResourceRecordSet").find(is_it) {
            Some(set) if !is_plain(set) => Err(Route53Error::Policy { name: name.clone() }),
            Some(set) => Ok(RecordSet::read(set)),
            None => Ok(RecordSet { ttl: TTL, values: Vec::new() }),
        }
    }

    /// Puts `after` in the place of `before`, and gives the change's number; `None` where it is not `before` any more. Both steps are made, or none.
    pub(super) async fn replace(
        &self,
        zone: &str,
        name: &Name,
        before: &RecordSet,
        after: &RecordSet,
    ) -> Result<Option<String>, Route53Error> {
        let mut changes = String::new();
        before.write(&mut changes, "DELETE", name);
        after.write(&mut changes, "CREATE", name);
        let call = Call {
            action: "route53:ChangeResourceRecordSets",
            body: format!(
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ChangeResourceRecordSetsRequest xmlns=\"https://route53.amazonaws.com/doc/2013-04-01/\">\
                 <ChangeBatch><Comment>chandler, dns-01</Comment><Changes>{changes}</Changes></ChangeBatch></ChangeResourceRecordSetsRequest>"
            ),
            doing: CHANGING,
            method: Method::POST,
            parameters: &[],
            path: format!("hostedzone/{zone}/rrset"),
        };
        match self.call(&call).await {
            Ok(answer) => Ok(answer.all("ChangeInfo").find_map(|info| info.text(&["Id"])).map(str::to_owned)),
            Err(Route53Error::Refused { code, said, .. }) if code == "InvalidChangeBatch" && is_of_another(&said) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All servers have the change.
    pub(super) async fn is_settled(&self, change: &str) -> Result<bool, Route53Error> {
        let call = Call {
            action: "route53:GetChange",
            body: String::new(),
            doing: "look whether the change is made",
            method: Method::GET,
            parameters: &[],
            path: format!("change/{}", change.trim_start_matches("/change/")),
        };
        let answer = self.call(&call).await?;
        Ok(answer.all("ChangeInfo").find_map(|info| info.text(&["Status"])) == Some("INSYNC"))
    }

    /// What is too much at the moment is asked again, with longer and longer pauses, and what reached nobody, too: a change that was heard all the same is
    /// not made twice, since it says what it replaces.
    async fn call(&self, call: &Call<'_>) -> Result<Element, Route53Error> {
        let (mut pause, mut unheard) = (FIRST_PAUSE, 0);
        let mut last = String::new();
        for _ in 0..TRIES {
            match self.send(call).await {
                Ok((status, text)) => match judge(call, status, &text) {
                    Err(Route53Error::Busy { code, .. }) => last = code,
                    judged => return judged,
                },
                Err(source) => {
                    unheard += 1;
                    if unheard == TRIES_UNHEARD {
                        return Err(Route53Error::Unreached { doing: call.doing, source });
                    }
                    last = with_causes(&source);
                }
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        Err(Route53Error::Busy { code: last, doing: call.doing })
    }

    async fn send(&self, call: &Call<'_>) -> Result<(u16, String), reqwest::Error> {
        let (path, query) = (format!("/2013-04-01/{}", call.path), query(call.parameters));
        let mut url = self.endpoint.clone();
        url.set_path(&path);
        url.set_query(Some(query.as_str()).filter(|query| !query.is_empty()));
        let time: String = Moment::from(SystemTime::now()).to_string().chars().filter(|c| !matches!(c, '-' | ':')).collect();
        let host = match (url.host_str().unwrap_or_default(), url.port()) {
            (host, Some(port)) => format!("{host}:{port}"),
            (host, None) => host.to_owned(),
        };
        let token = self.credentials.session_token.as_deref();
        let mut headers = vec![("host", host.as_str()), ("x-amz-date", time.as_str())];
        headers.extend(token.map(|token| ("x-amz-security-token", token)));
        let canonical = Canonical { method: call.method.as_str(), path: &path, query: &query, headers: &headers, body: &call.body };
        let authorization = self.credentials.authorization(&Scope { region: self.region, service: "route53", time: &time }, &canonical);
        let mut request = self.http.request(call.method.clone(), url).header("Authorization", authorization);
        for (name, value) in headers.iter().filter(|(name, _)| *name != "host") {
            request = request.header(*name, *value);
        }
        if !call.body.is_empty() {
            request = request.header("Content-Type", "text/xml").body(call.body.clone());
        }
        let answer = request.send().await?;
        let status = answer.status().as_u16();
        Ok((status, super::body(answer).await?))
    }
}

/// What came.
fn judge(call: &Call<'_>, status: u16, text: &str) -> Result<Element, Route53Error> {
    let doing = call.doing;
    match (Element::read(text), status) {
        (Some(answer), 200..300) => Ok(answer),
        (Some(answer), _) => Err(refusal(call, status, &answer)),
        (None, 500..) => Err(Route53Error::Busy { code: format!("HTTP {status}"), doing }), // A page of a proxy on the way.
        (None, _) => Err(Route53Error::Garbled { doing, status }),
    }
}

/// A set that is its values, and neither one of several nor another name's.
fn is_plain(set: &Element) -> bool {
    set.text(&["SetIdentifier"]).is_none() && set.all("AliasTarget").next().is_none()
}

/// What an answer that is no success means.
fn refusal(call: &Call<'_>, status: u16, answer: &Element) -> Route53Error {
    let doing = call.doing;
    let name = answer.name().to_owned();
    let code = answer.text(&["Error", "Code"]).map_or(if name == "ErrorResponse" { String::new() } else { name }, str::to_owned);
    let said = answer.text(&["Error", "Message"]).map(str::to_owned);
    let said = said.unwrap_or_else(|| answer.all("Message").filter_map(|one| one.text(&[])).collect::<Vec<_>>().join("; "));
    match code.as_str() {
        "PriorRequestNotComplete" | "ServiceUnavailable" | "Throttling" | "ThrottlingException" => Route53Error::Busy { code, doing },
        _ if status >= 500 => Route53Error::Busy { code, doing },
        "AccessDenied" | "AccessDeniedException" | "UnauthorizedOperation" => Route53Error::Denied { action: call.action, doing, said },
        _ => {
            let mend = match code.as_str() {
                "ExpiredToken" | "ExpiredTokenException" => "the credentials are over, get new ones: ",
                "InvalidClientTokenId" | "UnrecognizedClientException" => "AWS does not know the access key: ",
                "NoSuchHostedZone" => "look at acme.dns.route53.zone_id: ",
                "RequestExpired" | "RequestTimeTooSkewed" => "set this machine's clock (chrony, systemd-timesyncd): ",
                "SignatureDoesNotMatch" => "the secret access key is wrong, or this machine's clock: ",
                _ => "",
            };
            Route53Error::Refused { code, doing, mend, said }
        }
    }
}

/// Somebody else has changed the set since it was read: it is not as it was, or it is there now, or gone.
fn is_of_another(said: &str) -> bool {
    ["but it was not found", "do not match the current values", "but it already exists"].iter().any(|part| said.contains(part))
}

/// The partition that an endpoint is in says by which region requests to it are signed.
fn region(host: &str) -> &'static str {
    if host.ends_with(".amazonaws.com.cn") {
        "cn-northwest-1"
    } else if host.contains("us-gov") {
        "us-gov-west-1"
    } else {
        "us-east-1"
    }
}

/// What is being done when records are changed.
pub(super) const CHANGING: &str = "change the records of the zone";
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// Of a set that is new, in seconds.
const TTL: u32 = 60;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_that_is_chosen_by_a_policy_or_is_an_alias_is_not_ours_to_write() {
        let plain = |more: &str| {
            let text = format!("<ResourceRecordSet><Name>a.test.</Name><Type>TXT</Type>{more}</ResourceRecordSet>");
            is_plain(&Element::read(&text).expect("XML"))
        };
        assert!(plain("<TTL>60</TTL><ResourceRecords><ResourceRecord><Value>\"v\"</Value></ResourceRecord></ResourceRecords>"));
        assert!(!plain("<SetIdentifier>one</SetIdentifier><Weight>1</Weight>"));
        assert!(!plain("<AliasTarget><HostedZoneId>Z</HostedZoneId><DNSName>b.test.</DNSName></AliasTarget>"));
    }
}
