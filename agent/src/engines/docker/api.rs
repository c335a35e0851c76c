//! What is asked of dockerd over its socket, in the API's version that it speaks. Effects; `bollard` carries the requests.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use bollard::models::SystemInfo;
use bollard::query_parameters::{CreateImageOptionsBuilder, EventsOptionsBuilder, RemoveImageOptions, RemoveImageOptionsBuilder};
use bollard::{API_DEFAULT_VERSION, Docker};
use futures_util::{Stream, StreamExt as _, TryStreamExt as _};
use tokio::time::timeout;

use super::facts::{Api, Report};
use super::reload::Shown;

/// Why dockerd says nothing that can be used.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// What dockerd, or the way to it, says.
    #[error("{0}")]
    Said(String),
    /// It accepts and does not answer.
    #[error("no answer within {0:?}")]
    Silent(Duration),
    /// An answer without what every dockerd says.
    #[error("it says no version of its API: is it a dockerd?")]
    Strange,
}

impl From<bollard::errors::Error> for ApiError {
    fn from(error: bollard::errors::Error) -> Self {
        // Its own texts are long, and the cause is in what is below.
        let mut text = error.to_string();
        let mut below: Option<&dyn std::error::Error> = std::error::Error::source(&error);
        while let Some(cause) = below {
            let said = cause.to_string();
            if !text.contains(&said) {
                text = format!("{text}: {said}");
            }
            below = cause.source();
        }
        Self::Said(text)
    }
}

/// What the engine at the socket says of itself.
pub async fn ask(socket: &Path) -> Result<Report, ApiError> {
    let docker = connect(socket).await?;
    patiently(async {
        let version = docker.version().await?;
        let api = version.api_version.as_deref().and_then(Api::parse).ok_or(ApiError::Strange)?;
        Ok(report(version.version.unwrap_or_default(), api, docker.info().await?))
    })
    .await
}

/// The mirrors and the insecure registries that it uses now.
pub async fn shown(docker: &Docker) -> Result<Shown, ApiError> {
    let report = patiently(async { Ok(report(String::new(), Api(0, 0), docker.info().await?)) }).await?;
    Ok(Shown { mirrors: report.mirrors, insecure: report.insecure })
}

/// A client that speaks the newest version of the API that both know.
pub async fn connect(socket: &Path) -> Result<Docker, ApiError> {
    let docker = Docker::connect_with_unix(&socket.to_string_lossy(), LONGEST_REQUEST, API_DEFAULT_VERSION)?;
    patiently(async { Ok(docker.negotiate_version().await?) }).await
}

/// The daemon's own events since a time, in seconds since 1970 with a fraction: those that it still knows, and then those that come.
pub fn events(docker: &Docker, since: &str) -> impl Stream<Item = Result<String, ApiError>> + use<> {
    let filters = HashMap::from([("type".to_owned(), vec!["daemon".to_owned()])]);
    let options = EventsOptionsBuilder::default().since(since).filters(&filters).build();
    docker.events(Some(options)).map(|event| Ok(event?.action.unwrap_or_default()))
}

/// Pulls an image. The engine's own words are the error.
pub async fn pull(docker: &Docker, repository: &str, tag: &str) -> Result<(), ApiError> {
    let options = CreateImageOptionsBuilder::default().from_image(repository).tag(tag).build();
    let mut progress = docker.create_image(Some(options), None, None);
    while let Some(step) = progress.try_next().await? {
        if let Some(error) = step.error_detail {
            return Err(ApiError::Said(error.message.unwrap_or_default()));
        }
    }
    Ok(())
}

/// The names of an image; `None`: it is not there.
pub async fn names(docker: &Docker, image: &str) -> Result<Option<Vec<String>>, ApiError> {
    patiently(async {
        match docker.inspect_image(image).await {
            Ok(found) => Ok(Some(found.repo_tags.unwrap_or_default())),
            Err(bollard::errors::Error::DockerResponseServerError { status_code: 404, .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    })
    .await
}

/// Removes an image, if no container has it.
pub async fn remove_unused(docker: &Docker, image: &str) -> Result<(), ApiError> {
    patiently(async { Ok(docker.remove_image(image, None::<RemoveImageOptions>, None).await.map(drop)?) }).await
}

/// Removes an image, by force.
pub async fn remove(docker: &Docker, image: &str) -> Result<(), ApiError> {
    let options = RemoveImageOptionsBuilder::default().force(true).build();
    patiently(async { Ok(docker.remove_image(image, Some(options), None).await.map(drop)?) }).await
}

async fn patiently<T>(asking: impl Future<Output = Result<T, ApiError>>) -> Result<T, ApiError> {
    timeout(PATIENCE, asking).await.unwrap_or(Err(ApiError::Silent(PATIENCE)))
}

fn report(version: String, api: Api, info: SystemInfo) -> Report {
    let registries = info.registry_config.unwrap_or_default();
    let status = info.driver_status.unwrap_or_default();
    let mut insecure = registries.insecure_registry_cidrs.unwrap_or_default();
    let named = registries.index_configs.unwrap_or_default();
    let mut unsafe_ones: Vec<String> = named.into_iter().filter(|(_, index)| index.secure == Some(false)).map(|(name, _)| name).collect();
    unsafe_ones.sort_unstable();
    insecure.extend(unsafe_ones);
    Report {
        version,
        api,
        has_containerd_store: status
            .iter()
            .any(|pair| matches!(&pair[..], [name, value] if name == "driver-type" && value.starts_with("io.containerd."))),
        mirrors: registries.mirrors.unwrap_or_default(),
        insecure,
        live_restore: info.live_restore_enabled.unwrap_or_default(),
    }
}

/// For an answer that an engine gives from memory, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);
/// Seconds that bollard waits for the beginning of an answer; a pull's comes when the first mirror was tried.
const LONGEST_REQUEST: u64 = 600;
