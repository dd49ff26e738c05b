//! The calls of the service `Ledger`.

use super::bindings::ledger_server::Ledger;
use super::bindings::{
    AppendEventRequest, FindIntegerRequest, FindIntegerResponse, FollowEventsRequest,
    FollowEventsResponse, GetStateRequest, GetStateResponse, ListEventsRequest, ListEventsResponse,
    ListGapsRequest, ListGapsResponse, ListMembersRequest, ListMembersResponse,
};
use super::convert::members;
use super::status::{failed, refused, status};
use super::{Api, Caller};
use crate::api::{PAGE, Problem};
use crate::event::{Event, Payload};
use crate::publisher::now;
use crate::query::MAX_PAGE;
use futures::stream::{self, BoxStream, StreamExt};
use intd::Right;
use std::sync::Arc;
use tonic::{Request, Response, Status, async_trait};

/// A key that only callers with a right for all keys may use.
const ALL: &str = "*";

/// The service. Clones are the same.
#[derive(Clone)]
pub(super) struct Service(pub(super) Api);

/// The client of a call, which may do this with the key.
fn caller<T>(request: &Request<T>, right: Right, key: &str) -> Result<Caller, Status> {
    artisanal_core::limits::check_key(key).map_err(|error| invalid(&error.to_string()))?;
    // The server adds the caller to each request.
    let caller = request.extensions().get::<Caller>();
    let caller = caller.ok_or_else(|| Status::internal("nobody knows who calls"))?;
    (caller.may)(right, key).map_err(refused)?;
    Ok(caller.clone())
}

fn invalid(text: &str) -> Status {
    status(&Problem::invalid(text))
}

/// The length of a page.
fn limit(limit: u32) -> Result<usize, Status> {
    match usize::try_from(limit) {
        Ok(0) => Ok(PAGE),
        Ok(limit) if limit <= MAX_PAGE => Ok(limit),
        _ => Err(invalid(&format!("`limit` is at most {MAX_PAGE}"))),
    }
}

#[async_trait]
impl Ledger for Service {
    async fn find_integer(
        &self,
        request: Request<FindIntegerRequest>,
    ) -> Result<Response<FindIntegerResponse>, Status> {
        let FindIntegerRequest { key, integer } = request.get_ref();
        caller(&request, Right::Read, key)?;
        if *integer < 0 {
            return Err(invalid("an integer is not negative"));
        }
        let found = self.0.ask(key, |store| store.find(key, *integer)).await;
        found
            .map(|found| Response::new(found.into()))
            .map_err(|problem| status(&problem))
    }

    async fn list_gaps(
        &self,
        request: Request<ListGapsRequest>,
    ) -> Result<Response<ListGapsResponse>, Status> {
        let asked = request.get_ref();
        caller(&request, Right::Read, &asked.key)?;
        let (from, to) = (asked.from.unwrap_or(1), asked.to.unwrap_or(i64::MAX));
        if from < 0 || to < 0 {
            return Err(invalid("`from` and `to` are not negative"));
        }
        let limit = limit(asked.limit)?;
        let gaps = self
            .0
            .ask(&asked.key, |store| store.gaps(&asked.key, from, to, limit));
        gaps.await
            .map(|gaps| Response::new(gaps.into()))
            .map_err(|problem| status(&problem))
    }

    async fn list_events(
        &self,
        request: Request<ListEventsRequest>,
    ) -> Result<Response<ListEventsResponse>, Status> {
        let asked = request.get_ref();
        caller(&request, Right::Read, &asked.key)?;
        let limit = limit(asked.limit)?;
        let page = self.0.ask(&asked.key, |store| {
            store.events(&asked.key, asked.from.max(1), limit)
        });
        page.await
            .map(|page| Response::new(page.into()))
            .map_err(|problem| status(&problem))
    }

    type FollowEventsStream = BoxStream<'static, Result<FollowEventsResponse, Status>>;

    async fn follow_events(
        &self,
        request: Request<FollowEventsRequest>,
    ) -> Result<Response<Self::FollowEventsStream>, Status> {
        caller(&request, Right::Read, &request.get_ref().key)?;
        let FollowEventsRequest { key, from } = request.into_inner();
        let inner = &self.0.0;
        inner.log.check_key(&key).map_err(failed)?;
        let slot = Arc::clone(&inner.followers).try_acquire_owned();
        let slot = slot.map_err(|_| status(&Problem::busy("too many clients follow keys")))?;
        let events = self.0.events(key, from.max(1), false);
        let all = stream::unfold((events, slot), |(mut events, slot)| async {
            let more = events.more().await?;
            Some((Ok(FollowEventsResponse { events: more }), (events, slot)))
        });
        // The end of the events is that of the server, or of its disk.
        let end = stream::once(async { Err(Status::unavailable("the ledger has stopped")) });
        Ok(Response::new(all.chain(end).boxed()))
    }

    async fn append_event(
        &self,
        request: Request<AppendEventRequest>,
    ) -> Result<Response<Event>, Status> {
        let caller = caller(&request, Right::Mint, &request.get_ref().key)?;
        let AppendEventRequest {
            key,
            kind,
            json,
            expected,
        } = request.into_inner();
        let event = Event {
            key,
            at: now(),
            by: caller.by.to_string(),
            request: caller.request,
            json_kind: kind,
            payload: Some(Payload::Json(json)),
            ..Event::default()
        };
        let appended = self.0.store_appended(event, expected).await;
        appended.map(Response::new).map_err(failed)
    }

    async fn get_state(
        &self,
        request: Request<GetStateRequest>,
    ) -> Result<Response<GetStateResponse>, Status> {
        let GetStateRequest { key, reducer } = request.get_ref();
        caller(&request, Right::Read, key)?;
        let name = Some(&**reducer).filter(|name| !name.is_empty());
        let made = self.0.state(key, name).await;
        made.map(|made| Response::new(made.into())).map_err(failed)
    }

    async fn list_members(
        &self,
        request: Request<ListMembersRequest>,
    ) -> Result<Response<ListMembersResponse>, Status> {
        caller(&request, Right::Read, ALL)?;
        let partitions = request.get_ref().partitions;
        let view = self.0.0.members.view();
        Ok(Response::new(members(&view, partitions)))
    }
}
