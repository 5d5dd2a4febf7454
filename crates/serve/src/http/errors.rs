//! Errors as replies: `{"error": {"code", "message", "request_id"}}`.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::observe::current_request_id;
use crate::ServeError;

/// What went wrong, as every failed request is answered.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ErrorReply {
    error: ErrorBody,
}

/// One error.
#[derive(Debug, Serialize, ToSchema)]
struct ErrorBody {
    /// Stable name: `invalid_parameter`, `invalid_body`, `invalid_item`, `unknown_user`, `unknown_route`,
    /// `method_not_allowed`, `fixed`, `not_kept`, `overloaded`, `timeout`, `internal`.
    #[schema(example = "invalid_parameter")]
    code: &'static str,
    /// For people: what was found, and what is allowed.
    #[schema(example = "parameter \"n\" is \"0\", it must be a whole number from 1 to 200")]
    message: String,
    /// As in the header `x-request-id` and in the log.
    request_id: String,
}

/// An error on its way out.
#[derive(Debug)]
pub(super) struct ApiError {
    status: StatusCode,
    code: &'static str,
    message: String,
}

impl ApiError {
    pub(super) fn unknown_route(path: &str) -> Self {
        Self {
            status: StatusCode::NOT_FOUND,
            code: "unknown_route",
            message: format!("nothing answers at {path}; see /api/v1/openapi.json"),
        }
    }

    pub(super) fn method_not_allowed(method: &str) -> Self {
        Self {
            status: StatusCode::METHOD_NOT_ALLOWED,
            code: "method_not_allowed",
            message: format!("{method} is not allowed here; see /api/v1/openapi.json"),
        }
    }

    pub(super) fn overloaded() -> Self {
        Self {
            status: StatusCode::SERVICE_UNAVAILABLE,
            code: "overloaded",
            message: "too many requests at once; try again".to_owned(),
        }
    }

    pub(super) fn timeout(limit: std::time::Duration) -> Self {
        Self {
            status: StatusCode::SERVICE_UNAVAILABLE,
            code: "timeout",
            message: format!("no answer within {limit:?}; try again, or ask for less"),
        }
    }

    /// A fault of ours; what happened stands in the log, not in the reply.
    pub(super) fn internal() -> Self {
        Self {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            code: "internal",
            message: "a fault of the server; its log names it under this request id".to_owned(),
        }
    }

    pub(super) fn body(detail: &str) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            code: "invalid_body",
            message: format!("the body is not what /api/v1/openapi.json says: {detail}"),
        }
    }

    pub(super) fn parameter(name: &str, got: &str, expected: &str) -> Self {
        let (name, got) = (name.to_owned(), got.to_owned());
        ServeError::Parameter { name, got, expected: expected.to_owned() }.into()
    }
}

impl From<ServeError> for ApiError {
    fn from(error: ServeError) -> Self {
        let message = error.to_string();
        match error {
            ServeError::Parameter { .. } => {
                Self { status: StatusCode::BAD_REQUEST, code: "invalid_parameter", message }
            }
            ServeError::Item { .. } => {
                Self { status: StatusCode::BAD_REQUEST, code: "invalid_item", message }
            }
            ServeError::UnknownUser(_) => {
                Self { status: StatusCode::NOT_FOUND, code: "unknown_user", message }
            }
            ServeError::Fixed => Self { status: StatusCode::CONFLICT, code: "fixed", message },
            ServeError::Keeper(_) => {
                tracing::error!(error = message, "the workspace failed");
                Self { status: StatusCode::SERVICE_UNAVAILABLE, code: "not_kept", message }
            }
            ServeError::Artefacts { .. }
            | ServeError::Listen { .. }
            | ServeError::Io(_)
            | ServeError::NotDrained(_) => {
                tracing::error!(error = message, "request failed");
                Self::internal()
            }
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let request_id = current_request_id();
        let body = ErrorBody { code: self.code, message: self.message, request_id };
        let mut response = (self.status, Json(ErrorReply { error: body })).into_response();
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}
