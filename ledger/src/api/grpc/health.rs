//! Whether the ledger serves: `grpc.health.v1.Health`.

use super::{Api, LEDGER};
use crate::stream::Status as Progress;
use futures::stream::{self, BoxStream, StreamExt};
use std::time::Duration;
use tonic::{Request, Response, Status, async_trait};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::Health;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

/// How often a watcher is told, so that a client which has gone is noticed.
const ALIVE: Duration = Duration::from_secs(15);

/// A ledger serves until it is told to stop, or until its read model of a stream has to stop.
pub(super) struct Serving(pub(super) Api);

/// The answer for the whole server, whose name is empty, or for its service.
fn answer(api: &Api, service: &str) -> ServingStatus {
    let status = api.0.log.stream().map(|stream| stream.status());
    let stopped = matches!(status, Some(Progress::Stopped(_))) || *api.0.stopping.borrow();
    match service {
        "" | LEDGER if stopped => ServingStatus::NotServing,
        "" | LEDGER => ServingStatus::Serving,
        _ => ServingStatus::ServiceUnknown,
    }
}

fn response(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse {
        status: status.into(),
    }
}

#[async_trait]
impl Health for Serving {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        match answer(&self.0, &request.get_ref().service) {
            ServingStatus::ServiceUnknown => Err(Status::not_found("there is no such service")),
            status => Ok(Response::new(response(status))),
        }
    }

    type WatchStream = BoxStream<'static, Result<HealthCheckResponse, Status>>;

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let service = request.into_inner().service;
        let stopping = self.0.0.stopping.clone();
        let first = (self.0.clone(), stopping, false);
        let all = stream::unfold(Some(first), move |state| {
            let service = service.clone();
            async move {
                let (api, mut stopping, begun) = state?;
                if begun {
                    let stopped = stopping.wait_for(|stopping| *stopping);
                    let _ = tokio::time::timeout(ALIVE, stopped).await;
                }
                let status = answer(&api, &service);
                // A server that ends does not wait for its watchers.
                let ends = *api.0.stopping.borrow();
                let next = (!ends).then_some((api, stopping, true));
                Some((Ok(response(status)), next))
            }
        });
        Ok(Response::new(all.boxed()))
    }
}
