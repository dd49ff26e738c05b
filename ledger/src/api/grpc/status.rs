//! Errors of gRPC.

use super::super::Problem;
use crate::Error;
use http::StatusCode;
use intd::Refused;
use tonic::metadata::MetadataValue;
use tonic::{Code, Status};

/// The gRPC status of an error. Its metadata `code` is the code of the HTTP interface.
pub fn status(problem: &Problem) -> Status {
    let code = match problem.status() {
        StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE => Code::InvalidArgument,
        StatusCode::UNAUTHORIZED => Code::Unauthenticated,
        StatusCode::FORBIDDEN => Code::PermissionDenied,
        StatusCode::REQUEST_TIMEOUT => Code::DeadlineExceeded,
        StatusCode::CONFLICT => Code::Aborted,
        StatusCode::GONE => Code::FailedPrecondition,
        StatusCode::TOO_MANY_REQUESTS | StatusCode::INSUFFICIENT_STORAGE => Code::ResourceExhausted,
        StatusCode::SERVICE_UNAVAILABLE => Code::Unavailable,
        _ => Code::Internal,
    };
    let mut status = Status::new(code, problem.detail());
    let metadata = status.metadata_mut();
    metadata.insert("code", MetadataValue::from_static(problem.code()));
    if let Some(current) = problem.current() {
        metadata.insert("current", MetadataValue::from(current));
    }
    status
}

/// The status of an error of the store.
pub(super) fn failed(error: Error) -> Status {
    status(&Problem::from(error))
}

/// The status for a caller whose token does not allow something.
pub(super) fn refused(refused: Refused) -> Status {
    let problem = match refused {
        Refused::Key => {
            let text = "this token is not for this key";
            Problem::new(StatusCode::FORBIDDEN, "forbidden", text)
        }
        other => Problem::from(other),
    };
    let mut status = status(&problem);
    if let Refused::Limit { seconds, .. } = refused {
        let metadata = status.metadata_mut();
        metadata.insert("retry-after", MetadataValue::from(seconds));
    }
    status
}
