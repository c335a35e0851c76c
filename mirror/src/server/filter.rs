//! A warp filter as a service of ours: for surfaces where a box per request does not matter (admin, certificates).

use std::convert::Infallible;
use std::io;
use std::pin::Pin;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use tower_service::Service as _;
use warp::Filter as _;

/// What [`serve_filter`] answers with.
pub type FilterBody = UnsyncBoxBody<Bytes, io::Error>;

/// The service that answers as `filter` does. Its rejections must have been recovered, else warp's own texts are the answer.
pub fn serve_filter(
    filter: warp::filters::BoxedFilter<(warp::reply::Response,)>,
) -> impl Fn(Request<Incoming>) -> Pin<Box<dyn Future<Output = Response<FilterBody>> + Send>> + Clone + Send + Sync + 'static {
    let service = warp::service(filter.map(|reply: warp::reply::Response| reply));
    move |request| {
        let mut service = service.clone();
        Box::pin(async move {
            let answer: Result<_, Infallible> = service.call(request).await;
            let Ok(response) = answer;
            response.map(|body| body.map_err(io::Error::other).boxed_unsync())
        })
    }
}
