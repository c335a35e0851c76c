//! The flights that are in the air: one a digest and upstream, from the question to the upstream until the blob is published.
//!
//! A question that has no answer yet may end with the last who waits for it (`shared`); a download that has one goes on whoever leaves.
//! What one upstream sends wrong, or slowly, is nothing to those who ask another: they have a flight of their own, and the first that lands is stored.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;

use super::flight::{Fetch, Flight, FlightError};
use super::proof::{as_somebody, blob_identity};
use super::repo::RepoKey;
use super::shared::Place;
use super::{Cache, CacheError, Deadline, Repo};
use crate::config::UpstreamName;
use crate::oci::Digest;
use crate::upstream::BlobStream;

/// Those that run, by digest: seldom more than one of each.
#[derive(Debug, Default)]
pub(crate) struct Flights(Mutex<HashMap<Digest, Vec<Started>>>);

/// One of them.
#[derive(Debug)]
struct Started {
    leader: RepoKey,
    opening: Opening,
    /// Its name: positions may change with the configuration.
    upstream: UpstreamName,
}

/// A flight, once the upstream has answered.
type Opening = watch::Sender<Opened>;
type Opened = Option<Result<Arc<Flight>, CacheError>>;

/// A flight that will open, and the repository whose request started it; `None`: this very request.
type Joined = (watch::Receiver<Opened>, Option<RepoKey>);

/// A flight that was joined or started, once its upstream has answered.
pub(crate) struct Boarding {
    pub(crate) flight: Result<Arc<Flight>, CacheError>,
    /// The repository whose request started it; `None`: this very request.
    pub(crate) leader: Option<RepoKey>,
}

impl Cache {
    /// Waits until the flight's upstream has answered. Nothing where one has landed since the store was looked into, and the index
    /// told whether the blob `was_known`: then it is there.
    pub(crate) async fn open(
        &self,
        repo: &Arc<Repo>,
        digest: &Digest,
        was_known: bool,
        deadline: Deadline,
    ) -> Result<Option<Boarding>, CacheError> {
        let Some((mut opening, leader)) = self.join_flight(repo, digest, was_known)? else { return Ok(None) };
        let opened = deadline.wait(digest, opening.wait_for(Option::is_some)).await?.map_err(|_| CacheError::Stopping)?;
        Ok(Some(Boarding { flight: opened.clone().unwrap_or(Err(CacheError::Stopping)), leader }))
    }

    /// The flight of `digest` from the repository's upstream: the one in the air, or a new one.
    fn join_flight(&self, repo: &Arc<Repo>, digest: &Digest, was_known: bool) -> Result<Option<Joined>, CacheError> {
        let mut flights = self.0.lasting.flights.0.lock().expect("no holder panics");
        let upstream = &repo.upstream.config().name;
        if let Some(Started { leader, opening, .. }) = flights.get(digest).and_then(|all| of(all, upstream)) {
            return Ok(Some((opening.subscribe(), Some(leader.clone()))));
        }
        if !was_known && self.store().knows(digest) {
            return Ok(None); // A flight is in the store before it is off this list.
        }
        let place = self.room(repo).enter().map_err(CacheError::busy(digest))?;
        let (tell, opening) = watch::channel(None);
        let started = Started { leader: repo.key.clone(), opening: tell.clone(), upstream: upstream.clone() };
        flights.entry(digest.clone()).or_default().push(started);
        self.0.lasting.metrics.flight_started();
        let landing = Landing { cache: self.clone(), digest: digest.clone(), is_on: true, upstream: upstream.clone() };
        self.0.lasting.tasks.spawn(self.clone().fly(repo.clone(), tell, landing, place));
        Ok(Some((opening, None)))
    }

    /// From the question to the upstream to the blob in the store. The question may end with the last who waits for it; what has an answer does not.
    async fn fly(self, repo: Arc<Repo>, tell: Opening, mut landing: Landing, place: Place) {
        let digest = landing.digest.clone();
        let asked = Box::pin(self.ask_for_flight(&repo, &digest));
        let answer = self.room(&repo).see_through(asked, &tell, || landing.leave(&tell)).await;
        drop(place); // From now on it is bounded by its lane.
        let stop = &self.0.lasting.cancel;
        let opened = match answer.unwrap_or(Err(CacheError::Stopping)) {
            Ok(stream) => stop.run_until_cancelled(self.take_off(&repo, &digest, stream)).await.unwrap_or(Err(CacheError::Stopping)),
            Err(error) => Err(error),
        };
        match opened {
            Ok(fetch) => {
                let flight = fetch.flight.clone();
                tell.send_replace(Some(Ok(flight.clone())));
                fetch.run(move || drop(landing)).await;
                if let Some(FlightError::Upstream { digest, source }) = flight.failure() {
                    self.refused(&repo, &digest, source).await; // Access can be lost in the middle of a download.
                }
            }
            Err(error) => {
                drop(landing);
                tell.send_replace(Some(Err(error)));
            }
        }
    }

    async fn ask_for_flight(&self, repo: &Arc<Repo>, digest: &Digest) -> Result<BlobStream, CacheError> {
        match as_somebody(blob_identity(repo), |who| repo.upstream.blob(&repo.key.name, digest, 0, who)).await {
            Ok(stream) => Ok(stream),
            Err(error) => Err(self.refused(repo, digest, error).await),
        }
    }

    /// The upstream has answered: the store is asked for room.
    async fn take_off(&self, repo: &Arc<Repo>, digest: &Digest, stream: BlobStream) -> Result<Fetch, CacheError> {
        let held = repo.records.held(digest);
        let size = stream.size().or(held.as_ref().map(|held| held.size));
        if let (Some(held), Some(size)) = (&held, size)
            && held.size != size
        {
            let what = format!("{digest}: {size} bytes where the manifest says {}", held.size);
            return Err(CacheError::Flight { digest: digest.clone(), source: Arc::new(io::Error::new(io::ErrorKind::InvalidData, what)) });
        }
        if let Some(size) = size.filter(|_| held.is_none()) {
            self.prove(repo, digest, size);
        }
        let spool = self.spool(digest, size).await;
        let flight = Flight::new(digest, size, spool.as_ref());
        let (cancel, metrics) = (self.0.lasting.cancel.clone(), self.0.lasting.metrics.clone());
        let (store, upstream) = (self.store().clone(), repo.upstream.config().name.clone());
        Ok(Fetch { cancel, flight, metrics, spool, store, stream, upstream })
    }

    /// Room for the blob; without any, it is passed through.
    async fn spool(&self, digest: &Digest, size: Option<u64>) -> Option<crate::store::Spool> {
        let (store, owned) = (self.store().clone(), digest.clone());
        let room = tokio::task::spawn_blocking(move || store.spool(&owned, size));
        let why: Box<dyn std::error::Error + Send + Sync> = match tokio::time::timeout(ROOM_WAIT, room).await {
            Ok(Ok(Ok(spool))) => return Some(spool),
            Ok(Ok(Err(error))) => error.into(),
            Ok(Err(error)) => error.into(),
            Err(late) => late.into(), // A disk that hangs must not hold up the pull; the room comes back when it does.
        };
        tracing::warn!(blob.digest = %digest, error = &*why as &dyn std::error::Error, "no room to keep a download; it is passed through");
        None
    }
}

impl Flights {
    /// Whether one of `digest` from `upstream` is in the air.
    pub(crate) fn contains_from(&self, upstream: &UpstreamName, digest: &Digest) -> bool {
        self.0.lock().expect("no holder panics").get(digest).is_some_and(|all| of(all, upstream).is_some())
    }

    /// Whether one of `digest` is in the air, from wherever.
    pub(crate) fn contains(&self, digest: &Digest) -> bool {
        self.0.lock().expect("no holder panics").contains_key(digest)
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.lock().expect("no holder panics").values().map(Vec::len).sum()
    }
}

fn of<'a>(all: &'a [Started], upstream: &UpstreamName) -> Option<&'a Started> {
    all.iter().find(|started| started.upstream == *upstream)
}

/// Takes a flight off the list, however it ends.
struct Landing {
    cache: Cache,
    digest: Digest,
    is_on: bool,
    upstream: UpstreamName,
}

impl Landing {
    /// Takes it off unless somebody waits. Who comes later starts anew, since joining takes the same lock.
    fn leave(&mut self, tell: &Opening) -> bool {
        let mut flights = self.cache.0.lasting.flights.0.lock().expect("no holder panics");
        if tell.receiver_count() > 0 {
            return false;
        }
        self.take_off_list(&mut flights);
        self.is_on = false;
        true
    }

    fn take_off_list(&self, flights: &mut HashMap<Digest, Vec<Started>>) {
        if let Some(all) = flights.get_mut(&self.digest) {
            all.retain(|started| started.upstream != self.upstream);
            if all.is_empty() {
                flights.remove(&self.digest);
            }
        }
    }
}

impl Drop for Landing {
    fn drop(&mut self) {
        self.cache.0.lasting.metrics.flight_ended();
        if self.is_on
            && let Ok(mut flights) = self.cache.0.lasting.flights.0.lock()
        {
            self.take_off_list(&mut flights);
        }
    }
}

/// What making room may take before the download goes on without it.
const ROOM_WAIT: Duration = Duration::from_secs(2);
