//! Handlers, and the router that names them.

use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Path, Query, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::App;
use super::bodies::{ItemBodies, ItemBody, RecommendBody, parse};
use super::errors::{ApiError, ErrorReply};
use super::observe::{current_request_id, observe, on_panic};
use super::params::recommend_request;
use super::replies::{
    HealthReply, InterestReply, InterestsReply, ItemsReply, ReloadReply, SlateReply, TagReply,
    TagsReply,
};
use crate::{RecommendRequest, Recommender, Refreshed};

/// Largest body.
const MAX_BODY_BYTES: usize = 16 << 20;

/// Most characters of a user id.
const MAX_USER_CHARS: usize = 512;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "RecGPT",
        description = "Recommendations that start from what a person wants. Every reply carries the header \
                       `x-request-id`; a request may bring its own.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    tags(
        (name = "recommend", description = "Slates and what they are made of"),
        (name = "items", description = "What is on sale"),
        (name = "operate", description = "Health and metrics")
    )
)]
struct ApiDoc;

/// Everything that the server answers.
pub(crate) fn router(app: &Arc<App>) -> axum::Router {
    let (router, _) = documented().split_for_parts();
    router
        .route("/users/{user}/interests", get(interests))
        .route("/users/{user}/tags", get(tags))
        .route("/api/health/live", get(live))
        .route("/api/health/ready", get(ready))
        .route("/api/v1/openapi.json", get(openapi))
        .fallback(unknown_route)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(CatchPanicLayer::custom(on_panic))
        .layer(from_fn_with_state(Arc::clone(app), observe))
        .with_state(Arc::clone(app))
}

/// The OpenAPI document.
pub(super) fn document() -> utoipa::openapi::OpenApi {
    documented().into_openapi()
}

fn documented() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::with_openapi(ApiDoc::openapi())
        .routes(routes!(recommend))
        .routes(routes!(recommend_post))
        .routes(routes!(interests))
        .routes(routes!(tags))
        .routes(routes!(put_items))
        .routes(routes!(reload))
        .routes(routes!(live))
        .routes(routes!(ready))
        .routes(routes!(metrics))
}

type Reply<T> = Result<Json<T>, ApiError>;
type UserPath = Result<Path<String>, PathRejection>;
type Body = Result<Bytes, BytesRejection>;
type Pairs = Result<Query<Vec<(String, String)>>, QueryRejection>;

/// A slate for a user: from what the request says is wanted, what the log knows, what the session holds;
/// of whom nothing is known gets what is popular.
#[utoipa::path(
    get,
    path = "/api/v1/recommend/{user}",
    tag = "recommend",
    params(
        ("user" = String, Path, description = "User id of the log, percent-encoded"),
        ("n" = Option<u32>, Query, description = "Number of items, 1 to 200", minimum = 1, maximum = 200),
        ("beta" = Option<f32>, Query, description = "Weight of the user tower against tags or texts, 0 to 1", minimum = 0, maximum = 1),
        ("explain" = Option<bool>, Query, description = "Whether to give a reason for each item"),
        ("text" = Option<Vec<String>>, Query, description = "What is wanted, such as `waterproof hiking boots`, in the place of predicted tags; may be repeated"),
        ("session" = Option<Vec<String>>, Query, description = "Item ids clicked just now, oldest first; may be repeated"),
        ("exclude" = Option<Vec<String>>, Query, description = "Item ids to leave out; may be repeated"),
        ("include_seen" = Option<bool>, Query, description = "Whether items of history and session may come again; where absent, as the shop is configured"),
        ("category" = Option<Vec<String>>, Query, description = "Category path; items of it and below; may be repeated"),
        ("merchant" = Option<Vec<String>>, Query, description = "Merchant id; may be repeated"),
        ("min_price" = Option<f64>, Query, description = "Least price", minimum = 0),
        ("max_price" = Option<f64>, Query, description = "Largest price", minimum = 0),
        ("per_category" = Option<u32>, Query, description = "Items of one category on ten places; 0 for no limit", minimum = 0),
        ("per_merchant" = Option<u32>, Query, description = "Items of one merchant on ten places; 0 for no limit", minimum = 0),
        ("new_places" = Option<u32>, Query, description = "The last places of every ten, for new items", minimum = 0, maximum = 10)
    ),
    responses(
        (status = 200, description = "The slate", body = SlateReply),
        (status = 400, description = "A parameter is wrong", body = ErrorReply),
        (status = 503, description = "Overloaded, or no answer in time", body = ErrorReply)
    )
)]
async fn recommend(State(app): State<Arc<App>>, user: UserPath, query: Pairs) -> Reply<SlateReply> {
    let user = user_id(user)?;
    let Query(pairs) = query.map_err(|rejection| {
        ApiError::parameter("query", &rejection.body_text(), "name=value&...")
    })?;
    on_cpu(app, move |app, request_id| {
        let recommender = app.recommender();
        let request = recommend_request(&user, &pairs, &|id| recommender.has_item(id))?;
        slate(app, &recommender, &request, request_id)
    })
    .await
}

/// As the route with a user in its path, with everything in the body: long lists, typed events, nobody
/// in particular.
#[utoipa::path(
    post,
    path = "/api/v1/recommend",
    tag = "recommend",
    request_body = RecommendBody,
    responses(
        (status = 200, description = "The slate", body = SlateReply),
        (status = 400, description = "The body or a value of it is wrong", body = ErrorReply),
        (status = 503, description = "Overloaded, or no answer in time", body = ErrorReply)
    )
)]
async fn recommend_post(State(app): State<Arc<App>>, body: Body) -> Reply<SlateReply> {
    let request = parse::<RecommendBody>(body)?.into_request()?;
    check_user_id(&request.user_id)?;
    on_cpu(app, move |app, request_id| slate(app, &app.recommender(), &request, request_id)).await
}

/// One version of the artefacts answers a request from beginning to end.
fn slate(
    app: &App,
    recommender: &Recommender,
    request: &RecommendRequest,
    request_id: String,
) -> Result<SlateReply, ApiError> {
    let slate = recommender.recommend(request, app.reasoner.as_deref())?;
    app.meter.slate(&slate);
    Ok(SlateReply::new(slate, request_id))
}

/// What a user is interested in, with the events that say so.
#[utoipa::path(
    get,
    path = "/api/v1/users/{user}/interests",
    tag = "recommend",
    params(("user" = String, Path, description = "User id of the log, percent-encoded")),
    responses(
        (status = 200, description = "Interests; empty when none were mined", body = InterestsReply),
        (status = 404, description = "No such user", body = ErrorReply)
    )
)]
async fn interests(State(app): State<Arc<App>>, user: UserPath) -> Reply<InterestsReply> {
    let user_id = user_id(user)?;
    let recommender = app.recommender();
    let profile = recommender.interests(&user_id)?;
    Ok(Json(InterestsReply {
        request_id: current_request_id(),
        mined_at: profile.map(|p| p.now.rfc3339()),
        interests: profile
            .map_or(&[][..], |p| &p.interests)
            .iter()
            .map(InterestReply::from)
            .collect(),
        user_id,
    }))
}

/// Kinds of product that would serve a user, with the interest behind each.
#[utoipa::path(
    get,
    path = "/api/v1/users/{user}/tags",
    tag = "recommend",
    params(("user" = String, Path, description = "User id of the log, percent-encoded")),
    responses(
        (status = 200, description = "Tags; empty when none were predicted", body = TagsReply),
        (status = 404, description = "No such user", body = ErrorReply)
    )
)]
async fn tags(State(app): State<Arc<App>>, user: UserPath) -> Reply<TagsReply> {
    let user_id = user_id(user)?;
    let recommender = app.recommender();
    let tags = recommender.tags(&user_id)?;
    Ok(Json(TagsReply {
        request_id: current_request_id(),
        tags: tags.iter().map(|tag| TagReply::new(tag, &recommender)).collect(),
        user_id,
    }))
}

/// Puts items on sale, or changes what is known of them: one item, or a list. When the reply is there they
/// are kept and every later request finds them, by their text and attributes.
#[utoipa::path(
    post,
    path = "/api/v1/items",
    tag = "items",
    request_body = Vec<ItemBody>,
    responses(
        (status = 200, description = "All are kept and on sale", body = ItemsReply),
        (status = 400, description = "The body or an item is wrong; nothing was kept", body = ErrorReply),
        (status = 409, description = "This server has no workspace behind it", body = ErrorReply),
        (status = 503, description = "Overloaded, or the items could not be kept", body = ErrorReply)
    )
)]
async fn put_items(State(app): State<Arc<App>>, body: Body) -> Reply<ItemsReply> {
    let items = parse::<ItemBodies>(body)?.into_items()?;
    on_cpu(app, move |app, request_id| {
        let started = Instant::now();
        let put = app.live.put_items(items)?;
        app.meter.items(put);
        Ok(ItemsReply::new(request_id, put, started.elapsed()))
    })
    .await
}

/// Looks at once for a newer version in the workspace, which otherwise takes a second, and says which one
/// answers. Also tries again what could not be loaded.
#[utoipa::path(
    post,
    path = "/api/v1/admin/reload",
    tag = "operate",
    responses(
        (status = 200, description = "What answers now", body = ReloadReply),
        (status = 409, description = "This server has no workspace behind it", body = ErrorReply),
        (status = 503, description = "It could not be loaded; the old one answers", body = ErrorReply)
    )
)]
async fn reload(State(app): State<Arc<App>>) -> Reply<ReloadReply> {
    on_cpu(app, move |app, request_id| {
        let refreshed = app.refresh(true)?;
        let model_version = app.recommender().model_version().to_owned();
        Ok(ReloadReply { request_id, model_version, swapped: refreshed == Refreshed::Swapped })
    })
    .await
}

/// Whether the process lives.
#[utoipa::path(
    get,
    path = "/health/live",
    tag = "operate",
    responses((status = 200, description = "It does", body = HealthReply))
)]
async fn live() -> Json<HealthReply> {
    Json(HealthReply { status: "live" })
}

/// Whether requests should be sent here; no longer once the server was told to stop.
#[utoipa::path(
    get,
    path = "/health/ready",
    tag = "operate",
    responses(
        (status = 200, description = "Ready", body = HealthReply),
        (status = 503, description = "Draining", body = HealthReply)
    )
)]
async fn ready(State(app): State<Arc<App>>) -> Response {
    if app.is_ready() {
        return Json(HealthReply { status: "ready" }).into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, Json(HealthReply { status: "draining" })).into_response()
}

/// Metrics in the text format of Prometheus.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "operate",
    responses((status = 200, description = "Metrics", body = String, content_type = "text/plain"))
)]
async fn metrics(State(app): State<Arc<App>>) -> Response {
    let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    (kind, app.meter.render()).into_response()
}

async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], super::openapi_json()).into_response()
}

async fn unknown_route(request: Request) -> ApiError {
    ApiError::unknown_route(request.uri().path())
}

async fn method_not_allowed(request: Request) -> ApiError {
    ApiError::method_not_allowed(request.method().as_str())
}

/// The user id of a path, percent-decoded.
fn user_id(path: UserPath) -> Result<String, ApiError> {
    let Path(user) = path.map_err(|rejection| {
        ApiError::parameter("user", &rejection.body_text(), "percent-encoded UTF-8")
    })?;
    check_user_id(&user)?;
    Ok(user)
}

fn check_user_id(user: &str) -> Result<(), ApiError> {
    if user.chars().count() > MAX_USER_CHARS || user.chars().any(char::is_control) {
        let start: String = user.chars().filter(|c| !c.is_control()).take(40).collect();
        return Err(ApiError::parameter("user", &start, "at most 512 characters, none of control"));
    }
    Ok(())
}

/// Runs `work` off the event loop, when there is a free slot for it.
async fn on_cpu<T, F>(app: Arc<App>, work: F) -> Reply<T>
where
    T: Send + 'static,
    F: FnOnce(&App, String) -> Result<T, ApiError> + Send + 'static,
{
    let (task_app, request_id) = (Arc::clone(&app), current_request_id());
    let Ok(_slot) = app.slots.try_acquire() else { return Err(ApiError::overloaded()) };
    match tokio::task::spawn_blocking(move || work(&task_app, request_id)).await {
        Ok(result) => result.map(Json),
        Err(failed) => {
            tracing::error!(request_id = current_request_id(), %failed, "work panicked");
            Err(ApiError::internal())
        }
    }
}
