//! Errors in OpenAI's shape: `{"error": {"message", "type", "param", "code"}}`.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use lm::{Fault, LmError};
use serde_json::json;

/// An error on its way out.
#[derive(Debug, Clone)]
pub(super) struct ApiError {
    status: StatusCode,
    param: Option<String>,
    code: &'static str,
    message: String,
}

impl ApiError {
    /// A field of the request that cannot be used.
    pub(super) fn invalid(param: &str, problem: &str) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            param: Some(param.to_owned()),
            code: "invalid_value",
            message: format!("{param}: {problem}"),
        }
    }

    /// A body that is not the JSON expected.
    pub(super) fn unreadable(message: String) -> Self {
        Self { status: StatusCode::BAD_REQUEST, param: None, code: "invalid_json", message }
    }

    pub(super) fn unknown_model(asked: &str, model: &str) -> Self {
        Self {
            status: StatusCode::NOT_FOUND,
            param: Some("model".to_owned()),
            code: "model_not_found",
            message: format!("the model {asked:?} is not here; {model:?} is"),
        }
    }

    pub(super) fn unauthorised() -> Self {
        Self {
            status: StatusCode::UNAUTHORIZED,
            param: None,
            code: "invalid_api_key",
            message: "bring the server's key as `Authorization: Bearer <key>`".to_owned(),
        }
    }

    pub(super) fn unknown_route(path: &str) -> Self {
        Self {
            status: StatusCode::NOT_FOUND,
            param: None,
            code: "unknown_url",
            message: format!("nothing answers at {path}; /v1/chat/completions does"),
        }
    }

    fn kind(&self) -> &'static str {
        match self.status {
            StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
            StatusCode::UNAUTHORIZED => "authentication_error",
            status if status.is_client_error() => "invalid_request_error",
            _ => "server_error",
        }
    }

    /// The body, also as an event of a stream that has begun.
    pub(super) fn body(&self) -> serde_json::Value {
        json!({ "error": { "message": self.message, "type": self.kind(), "param": self.param,
            "code": self.code } })
    }
}

impl From<LmError> for ApiError {
    fn from(error: LmError) -> Self {
        let (status, code) = if matches!(error, LmError::ContextTooLong { .. }) {
            (StatusCode::BAD_REQUEST, "context_length_exceeded")
        } else if matches!(error, LmError::CacheTooSmall { .. }) {
            (StatusCode::BAD_REQUEST, "kv_cache_too_small")
        } else if matches!(error, LmError::Overloaded { .. }) {
            (StatusCode::TOO_MANY_REQUESTS, "overloaded")
        } else if error == LmError::Cancelled {
            (StatusCode::SERVICE_UNAVAILABLE, "cancelled")
        } else if error.fault() == Fault::Caller {
            (StatusCode::BAD_REQUEST, "invalid_value")
        } else {
            (StatusCode::INTERNAL_SERVER_ERROR, "internal")
        };
        Self { status, param: None, code, message: error.to_string() }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body())).into_response();
        if self.status == StatusCode::TOO_MANY_REQUESTS {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}
