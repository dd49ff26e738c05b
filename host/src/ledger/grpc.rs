//! gRPC on the port of a ledger.

use crate::serve::linger::RequestBody;
use crate::serve::request_body::read;
use crate::serve::{Limits, TokenFile};
use artisanal_ledger::api::grpc::{Caller, Grpc, status};
use artisanal_ledger::api::{MAX_BODY, Problem};
use http::{Request, Response, StatusCode, Version};
use http_body_util::Full;
use intd::{RequestId, Tokens};
use std::sync::Arc;
use tonic::Status;
use tonic::body::Body;

/// The length of the head of a message.
const HEAD: usize = 5;

/// Answers a request. A message is read within the time limit of other bodies.
pub(super) async fn answer(
    grpc: &Grpc,
    tokens: Option<&TokenFile>,
    limits: &Limits,
    by: &Arc<str>,
    request: Request<RequestBody>,
) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path();
    if parts.version != Version::HTTP_2 {
        return Status::unimplemented("gRPC needs HTTP/2").into_http();
    }
    let sent = RequestId::sent(&parts.headers);
    let id = sent.map_or_else(String::new, |id| id.as_str().to_owned());
    let caller = match tokens.filter(|_| Grpc::needs_token(path)) {
        None => Caller::anybody(Arc::clone(by), id),
        Some(tokens) => {
            let presented = intd::bearer(&parts.headers);
            let Some(grant) = presented.and_then(|presented| tokens.find(presented)) else {
                let text = "this call needs a token of the ledger; send it as the metadata `authorization: Bearer …`";
                return refuse(StatusCode::UNAUTHORIZED, "unauthorized", text);
            };
            let tokens = tokens.clone();
            Caller {
                by: grant.name().into(),
                request: id,
                may: Arc::new(move |right, key| intd::ask(&tokens, &grant, right, Some(key), 0)),
            }
        }
    };
    let body = if Grpc::takes_stream(path) {
        Body::new(body)
    } else {
        match read(body, HEAD + MAX_BODY + 1, limits).await {
            Ok(bytes) => Body::new(Full::new(bytes)),
            Err(unread) => return status(&unread.into()).into_http(),
        }
    };
    grpc.handle(Request::from_parts(parts, body), caller).await
}

fn refuse(code: StatusCode, name: &'static str, text: &str) -> Response<Body> {
    status(&Problem::new(code, name, text)).into_http()
}
