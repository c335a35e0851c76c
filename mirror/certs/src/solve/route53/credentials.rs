//! Where credentials for AWS are found, in the order in which its own tools look: the environment, the shared credentials file, a container's role, and
//! the role of the instance (`IMDSv2`). Where something asks for others that those tools would take before, that is an error. They are looked for anew for each errand, since most of them end within hours.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::{Client, RequestBuilder};
use serde::Deserialize;
use url::{Host, Url};

use super::Credentials;

/// Variables of the environment. No `Debug`: there are secrets among them.
#[derive(Clone, Default)]
pub struct Environment(HashMap<String, String>);

/// Why there are none.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// Nobody has any.
    #[error(
        "there are no AWS credentials: neither in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, nor in {}, nor of a container, nor of an instance ({instance})",
        file.display()
    )]
    Absent {
        /// Where a file was looked for.
        file: PathBuf,
        /// What the instance's service says.
        instance: String,
    },
    /// A service that gives them.
    #[error("{url} gives no AWS credentials: {said}")]
    Service {
        /// Its address.
        url: String,
        /// What it says.
        said: String,
    },
    /// Such as are not read here. Others in their place would be somebody else's.
    #[error(
        "{found} asks for AWS credentials of a kind that chandler does not read: give it keys in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or in a profile of the shared credentials file, or the role of the container or the instance (in EKS a Pod Identity), and take that away"
    )]
    Unread {
        /// What asks for them.
        found: String,
    },
    /// A container's service that is not on this machine.
    #[error("AWS_CONTAINER_CREDENTIALS_FULL_URI is {url}, where no credentials are asked for: it is neither https nor on this machine")]
    Elsewhere {
        /// Its address.
        url: String,
    },
    /// The profile that was asked for.
    #[error("{} has no keys for the profile {profile}: write aws_access_key_id and aws_secret_access_key under [{profile}]", file.display())]
    Profile {
        /// Where it was looked for.
        file: PathBuf,
        /// Which.
        profile: String,
    },
    /// A file.
    #[error("cannot read {}", file.display())]
    Read {
        /// Which.
        file: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// As the services of containers and instances answer.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Given {
    access_key_id: String,
    secret_access_key: String,
    token: Option<String>,
}

impl Environment {
    /// This process's, as far as AWS's tools look at it.
    pub fn of_process() -> Self {
        let text = |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value.into_string().ok()?));
        std::env::vars_os().filter_map(text).filter(|(name, _)| name == "HOME" || name.starts_with("AWS_")).collect()
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    fn file(&self) -> PathBuf {
        let home = || PathBuf::from(self.get("HOME").unwrap_or("/root")).join(".aws/credentials");
        self.get("AWS_SHARED_CREDENTIALS_FILE").map_or_else(home, PathBuf::from)
    }

    fn config_file(&self) -> PathBuf {
        let home = || PathBuf::from(self.get("HOME").unwrap_or("/root")).join(".aws/config");
        self.get("AWS_CONFIG_FILE").map_or_else(home, PathBuf::from)
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Environment")
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(variables: I) -> Self {
        Self(variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

impl Credentials {
    /// The first that are found; those of `profile`, where one is named.
    pub(super) async fn find(profile: Option<&str>, environment: &Environment, http: &Client) -> Result<Self, CredentialsError> {
        if profile.is_none()
            && let Some(found) = Self::of_environment(environment)
        {
            return Ok(found);
        }
        // AWS_ROLE_ARN beside it says which role; alone it says nothing, to those tools as to us.
        if profile.is_none() && environment.get(TOKEN_FILE).is_some() {
            return Err(CredentialsError::Unread { found: TOKEN_FILE.to_owned() });
        }
        let (file, named) = (environment.file(), profile.or_else(|| environment.get("AWS_PROFILE")));
        let text = read(&file).await?;
        match (Self::of_file(&text, named.unwrap_or("default")), named) {
            (Some(found), _) => return Ok(found),
            (None, Some(profile)) => return Err(CredentialsError::Profile { file, profile: profile.to_owned() }),
            (None, None) => {}
        }
        let config = environment.config_file();
        let config_text = read(&config).await?;
        if let Some(found) = unread(&text, &file).or_else(|| unread(&config_text, &config)) {
            return Err(CredentialsError::Unread { found });
        }
        if let Some(found) = Self::of_container(environment, http).await? {
            return Ok(found);
        }
        Self::of_instance(environment, http).await.map_err(|instance| CredentialsError::Absent { file, instance })
    }

    fn of_environment(environment: &Environment) -> Option<Self> {
        Some(Self {
            access_key: environment.get("AWS_ACCESS_KEY_ID")?.to_owned(),
            secret_key: environment.get("AWS_SECRET_ACCESS_KEY")?.to_owned(),
            session_token: environment.get("AWS_SESSION_TOKEN").map(str::to_owned),
        })
    }

    /// The section `[profile]`.
    fn of_file(text: &str, profile: &str) -> Option<Self> {
        let mut is_in = false;
        let mut values = HashMap::new();
        for line in text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';'])) {
            if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                is_in = name.trim() == profile;
            } else if let Some((name, value)) = line.split_once('=').filter(|_| is_in) {
                values.insert(name.trim(), value.trim().to_owned());
            }
        }
        Some(Self {
            access_key: values.remove("aws_access_key_id")?,
            secret_key: values.remove("aws_secret_access_key")?,
            session_token: values.remove("aws_session_token"),
        })
    }

    /// ECS and EKS tell by variables where to ask.
    async fn of_container(environment: &Environment, http: &Client) -> Result<Option<Self>, CredentialsError> {
        let relative = environment.get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI").map(|path| format!("http://169.254.170.2{path}"));
        let Some(url) = relative.or_else(|| environment.get("AWS_CONTAINER_CREDENTIALS_FULL_URI").map(str::to_owned)) else {
            return Ok(None);
        };
        if !url.parse().is_ok_and(|url| is_trusted(&url)) {
            return Err(CredentialsError::Elsewhere { url });
        }
        let mut request = http.get(&url);
        if let Some(token) = container_token(environment).await? {
            request = request.header("Authorization", token);
        }
        let given = given(request).await.map_err(|said| CredentialsError::Service { url, said })?;
        Ok(Some(given))
    }

    /// With a token, so that nobody who can make us send a plain GET gets them (`IMDSv2`).
    async fn of_instance(environment: &Environment, http: &Client) -> Result<Self, String> {
        if environment.get("AWS_EC2_METADATA_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return Err("AWS_EC2_METADATA_DISABLED is set".to_owned());
        }
        let base = environment.get("AWS_EC2_METADATA_SERVICE_ENDPOINT").unwrap_or("http://169.254.169.254").trim_end_matches('/');
        let token = http.put(format!("{base}/latest/api/token")).header("X-aws-ec2-metadata-token-ttl-seconds", "300");
        let token = text(token).await?;
        let get = |path: &str| {
            http.get(format!("{base}/latest/meta-data/iam/security-credentials/{path}")).header("X-aws-ec2-metadata-token", &token)
        };
        let role = text(get("")).await.map_err(|said| format!("the instance has no role: {said}"))?;
        given(get(role.lines().next().unwrap_or_default().trim())).await
    }
}

/// A file of AWS's tools, which need not be there.
async fn read(file: &Path) -> Result<String, CredentialsError> {
    match tokio::fs::read_to_string(file).await {
        Ok(text) => Ok(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(source) => Err(CredentialsError::Read { file: file.to_owned(), source }),
    }
}

/// What either file says of the default profile that AWS's tools would take credentials from, before a container's or an instance's.
fn unread(text: &str, file: &Path) -> Option<String> {
    let lines = text.lines().map(str::trim).skip_while(|line| *line != "[default]").skip(1).take_while(|line| !line.starts_with('['));
    let mut keys = lines.filter_map(|line| Some(line.split_once('=')?.0.trim()));
    keys.find(|key| UNREAD.contains(key)).map(|key| format!("{key} in {}", file.display()))
}

/// Better from a file, which is renewed.
async fn container_token(environment: &Environment) -> Result<Option<String>, CredentialsError> {
    let Some(file) = environment.get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE").map(PathBuf::from) else {
        return Ok(environment.get("AWS_CONTAINER_AUTHORIZATION_TOKEN").map(str::to_owned));
    };
    let token = tokio::fs::read_to_string(&file).await.map_err(|source| CredentialsError::Read { file, source })?;
    Ok(Some(token.trim().to_owned()))
}

/// Who answers there is this machine's own, or has proved who they are.
fn is_trusted(url: &Url) -> bool {
    let is_own = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback() || ["169.254.170.2", "169.254.170.23"].contains(&address.to_string().as_str()),
        Some(Host::Ipv6(address)) => address.is_loopback() || address.to_string() == "fd00:ec2::23",
        None => false,
    };
    url.scheme() == "https" || (url.scheme() == "http" && is_own)
}

async fn given(request: RequestBuilder) -> Result<Credentials, String> {
    let text = text(request).await?;
    // Not the reader's own words: they may quote what is secret.
    let given: Given = serde_json::from_str(&text).map_err(|_| "what it answers are no credentials".to_owned())?;
    Ok(Credentials { access_key: given.access_key_id, secret_key: given.secret_access_key, session_token: given.token })
}

async fn text(request: RequestBuilder) -> Result<String, String> {
    let answer = request.timeout(PATIENCE).send().await.map_err(|error| crate::acme::with_causes(&error.without_url()))?;
    if !answer.status().is_success() {
        return Err(format!("HTTP {}", answer.status().as_u16()));
    }
    super::body(answer).await.map_err(|error| crate::acme::with_causes(&error.without_url()))
}

/// Keys by which AWS's tools get credentials in ways of their own.
const UNREAD: [&str; 6] =
    ["aws_access_key_id", "credential_process", "role_arn", "sso_account_id", "sso_session", "web_identity_token_file"];
/// The variable that stands for a role that is assumed by a token.
const TOKEN_FILE: &str = "AWS_WEB_IDENTITY_TOKEN_FILE";
/// It is next door, or it is not there.
const PATIENCE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests;
