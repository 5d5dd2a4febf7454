//! Handlers, and the router that names them.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::App;
use super::errors::{ApiError, ErrorReply};
use super::observe::{current_request_id, observe, on_panic};
use super::params::recommend_request;
use super::replies::{HealthReply, InterestReply, InterestsReply, SlateReply, TagReply, TagsReply};

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
        .routes(routes!(interests))
        .routes(routes!(tags))
        .routes(routes!(live))
        .routes(routes!(ready))
        .routes(routes!(metrics))
}

type Reply<T> = Result<Json<T>, ApiError>;
type UserPath = Result<Path<String>, PathRejection>;
type Pairs = Result<Query<Vec<(String, String)>>, QueryRejection>;

/// A slate for a user; an unknown user gets what is popular.
#[utoipa::path(
    get,
    path = "/api/v1/recommend/{user}",
    tag = "recommend",
    params(
        ("user" = String, Path, description = "User id of the log, percent-encoded"),
        ("n" = Option<u32>, Query, description = "Number of items, 1 to 200", minimum = 1, maximum = 200),
        ("beta" = Option<f32>, Query, description = "Weight of the user tower against the tags, 0 to 1", minimum = 0, maximum = 1),
        ("explain" = Option<bool>, Query, description = "Whether to give a reason for each item"),
        ("exclude" = Option<Vec<String>>, Query, description = "Item ids to leave out; may be repeated"),
        ("include_seen" = Option<bool>, Query, description = "Whether items of the user's history may come again")
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
    let request = recommend_request(&user, &pairs, &app.recommender.artefacts().catalogue)?;
    let request_id = current_request_id();
    on_cpu(app, move |app| {
        let slate = app.recommender.recommend(&request, app.reasoner.as_deref())?;
        app.meter.slate(&slate);
        Ok(SlateReply::new(slate, request_id, &app.recommender.artefacts().model_version))
    })
    .await
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
    let profile = app.recommender.interests(&user_id)?;
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
    let taxonomy = &app.recommender.artefacts().taxonomy;
    let tags = app.recommender.tags(&user_id)?;
    Ok(Json(TagsReply {
        request_id: current_request_id(),
        tags: tags.iter().map(|tag| TagReply::new(tag, taxonomy)).collect(),
        user_id,
    }))
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
    if user.chars().count() > MAX_USER_CHARS || user.chars().any(char::is_control) {
        let start: String = user.chars().filter(|c| !c.is_control()).take(40).collect();
        return Err(ApiError::parameter("user", &start, "at most 512 characters, none of control"));
    }
    Ok(user)
}

/// Runs `work` off the event loop, when there is a free slot for it.
async fn on_cpu<T, F>(app: Arc<App>, work: F) -> Reply<T>
where
    T: Send + 'static,
    F: FnOnce(&App) -> Result<T, ApiError> + Send + 'static,
{
    let task_app = Arc::clone(&app);
    let Ok(_slot) = app.slots.try_acquire() else { return Err(ApiError::overloaded()) };
    match tokio::task::spawn_blocking(move || work(&task_app)).await {
        Ok(result) => result.map(Json),
        Err(failed) => {
            tracing::error!(request_id = current_request_id(), %failed, "work panicked");
            Err(ApiError::internal())
        }
    }
}
