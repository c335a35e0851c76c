//! What one data listener answers: the registry API by itself, and the pages beside it through warp.
//!
//! `/v2/…` is by far the most of it and goes straight to the registry: routing it through a filter tree costs a tenth of the small answers.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE};
use http::{HeaderValue, Request, Response, StatusCode, Version};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde_json::json;
use warp::Filter as _;
use warp::filters::BoxedFilter;

use crate::canary::{Canaries, Nonce};
use crate::enrolment::Enrolment;
use crate::programs::Programs;
use crate::registry::{Answering, Registry, RegistryBody};
use crate::server::{FilterBody, serve_filter};
use crate::telemetry::Origin;
use crate::tls::Certificates;

/// The service of the data listeners.
pub(crate) struct Surface<P> {
    enrolment: Option<Arc<Enrolment>>,
    pages: Arc<P>,
    programs: Arc<Programs>,
    registry: Arc<ArcSwap<Registry>>,
}

/// Builds the service: the registry that is current at each request, and the pages.
pub(crate) fn surface(
    registry: Arc<ArcSwap<Registry>>,
    canaries: Arc<Canaries>,
    certificates: Arc<Certificates>,
    enrolment: Option<Arc<Enrolment>>,
) -> impl Serve {
    let pages = serve_filter(proof(certificates).or(pages(canaries)).unify().boxed());
    Surface { enrolment, pages: Arc::new(pages), programs: Programs::new(), registry }
}

/// What a listener answers that is there for CAs only.
pub(crate) fn proving(certificates: Arc<Certificates>) -> BoxedFilter<(warp::reply::Response,)> {
    let nothing = warp::any().map(|| {
        let text = "chandler: here certificate authorities look for proofs; the registry answers over https\n";
        let mut response = warp::reply::Response::new(text.into());
        *response.status_mut() = StatusCode::NOT_FOUND;
        response
    });
    proof(certificates).or(nothing).unify().boxed()
}

/// What the listener calls.
pub(crate) trait Serve: Send + Sync + 'static {
    /// Answers a request.
    fn serve(&self, request: Request<Incoming>) -> Serving;
}

impl<P, F> Serve for Surface<P>
where
    P: Fn(Request<Incoming>) -> F + Send + Sync + 'static,
    F: Future<Output = Response<FilterBody>> + Send + 'static,
{
    fn serve(&self, mut request: Request<Incoming>) -> Serving {
        let registry = self.registry.load();
        let is_uploader = request.version() == Version::HTTP_2 && !request.body().is_end_stream();
        if !Registry::serves(request.uri().path()) {
            let is_last = request.extensions().get::<Origin>().is_some_and(|origin| registry.is_strangers(origin));
            let enrolment = self.enrolment.as_ref().filter(|enrolment| enrolment.serves(&request)).map(Arc::clone);
            let programs = Programs::serves(request.uri().path()).then(|| Arc::clone(&self.programs));
            let pages = Arc::clone(&self.pages);
            return Serving::Page(Box::pin(async move {
                // A page that has a use for the body reads it by itself.
                if is_uploader && !enrolment.as_ref().is_some_and(|enrolment| enrolment.reads(&request)) {
                    read_on(request.body_mut()).await;
                }
                let mut response = match (enrolment, programs) {
                    (Some(enrolment), _) => enrolment.answer(request).await,
                    (None, Some(programs)) => programs.answer(request).await,
                    (None, None) => pages(request).await,
                };
                if is_last {
                    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
                response
            }));
        }
        let (mut parts, mut body) = request.into_parts();
        let origin = parts.extensions.remove::<Origin>().expect("the access log is the outermost layer");
        if !is_uploader {
            return Serving::Registry(registry.answer(parts, origin));
        }
        let registry = Arc::clone(&registry);
        Serving::Uploader(Box::pin(async move {
            read_on(&mut body).await;
            registry.answer(parts, origin).await
        }))
    }
}

/// The answer of a page.
type Page = Pin<Box<dyn Future<Output = Response<FilterBody>> + Send>>;

/// An answer on its way. Small, because it is moved for every request.
pub(crate) enum Serving {
    /// A page's.
    Page(Page),
    /// The registry's.
    Registry(Answering),
    /// The registry's to who sends something.
    Uploader(Pin<Box<dyn Future<Output = Response<RegistryBody>> + Send>>),
}

impl Future for Serving {
    type Output = Response<SurfaceBody>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut *self {
            Self::Page(answer) => answer.as_mut().poll(context).map(|response| response.map(SurfaceBody::Page)),
            Self::Registry(answer) => Pin::new(answer).poll(context).map(|response| response.map(SurfaceBody::Registry)),
            Self::Uploader(answer) => answer.as_mut().poll(context).map(|response| response.map(SurfaceBody::Registry)),
        }
    }
}

/// Nobody here has a use for it. But a stream of HTTP/2 whose answer comes first is reset, and to curl that is an error in the place of the answer.
async fn read_on(body: &mut Incoming) {
    let mut came = 0;
    let reading = async {
        while let Some(Ok(frame)) = body.frame().await {
            came += frame.data_ref().map_or(0, Bytes::len);
            if came > PATIENTLY {
                return;
            }
        }
    };
    let _ = tokio::time::timeout(BRIEFLY, reading).await; // Whoever is slower sees the reset.
}

/// More than any command of a push has, and less than a layer.
const PATIENTLY: usize = 64 << 10;
const BRIEFLY: Duration = Duration::from_secs(2);

/// `GET /chandler/receipt/NONCE`: who pulled that canary. The nonce is the right to ask. `GET /`: that something is here.
fn pages(canaries: Arc<Canaries>) -> BoxedFilter<(warp::reply::Response,)> {
    let receipt = warp::path!("chandler" / "receipt" / String).and(warp::get()).map(move |nonce: String| receipt(&canaries, &nonce));
    let nothing = warp::any().map(|| {
        page(
            StatusCode::NOT_FOUND,
            &json!({ "errors": [{ "code": "UNSUPPORTED", "message": "no such page; the registry's API is under /v2/" }] }),
        )
    });
    // What people and load balancers ask the `registry` image for.
    let root = warp::path::end().and(warp::get()).map(|| warp::reply::Response::new("chandler: the registry's API is under /v2/\n".into()));
    receipt.or(root).unify().or(nothing).unify().boxed()
}

/// `GET /.well-known/acme-challenge/TOKEN` (RFC 8555 8.3). No access rule applies: CAs look from anywhere.
fn proof(certificates: Arc<Certificates>) -> BoxedFilter<(warp::reply::Response,)> {
    let find = move |token: String| {
        let certificates = Arc::clone(&certificates);
        async move { certificates.proof(&token).await.map(|proof| warp::reply::Response::new(proof.into())).ok_or_else(warp::reject::not_found) }
    };
    warp::path!(".well-known" / "acme-challenge" / String).and(warp::get()).and_then(find).boxed()
}

fn receipt(canaries: &Canaries, nonce: &str) -> warp::reply::Response {
    match nonce.parse::<Nonce>() {
        Ok(nonce) => page(StatusCode::OK, &json!({ "nonce": nonce.to_string(), "receipts": canaries.receipts(&nonce) })),
        Err(error) => page(StatusCode::BAD_REQUEST, &json!({ "errors": [{ "code": "NONCE_INVALID", "message": error.to_string() }] })),
    }
}

fn page(status: StatusCode, body: &serde_json::Value) -> warp::reply::Response {
    let mut response = warp::reply::Response::new(body.to_string().into());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The body of any answer of a data listener.
pub(crate) enum SurfaceBody {
    /// Of a page.
    Page(FilterBody),
    /// Of the registry.
    Registry(RegistryBody),
}

impl Body for SurfaceBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match &mut *self {
            Self::Page(body) => Pin::new(body).poll_frame(context),
            Self::Registry(body) => Pin::new(body).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Page(body) => body.is_end_stream(),
            Self::Registry(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Page(body) => body.size_hint(),
            Self::Registry(body) => body.size_hint(),
        }
    }
}
