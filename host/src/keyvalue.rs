//! `wasi:keyvalue@0.2.0-draft2` over the embedded store.
//!
//! Spin offers this draft; `increment` takes and returns `s64` in it. Each call is one
//! transaction, made on a thread that may block, since a commit waits for the disk.

#![expect(
    unreachable_pub,
    reason = "the generated bindings re-export the resources' types"
)]

use crate::bindings::keyvalue::wasi::keyvalue::{atomics, batch, store};
use crate::embedded::{Store, StoreError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::OwnedMutexGuard;
use wasmtime::component::{Resource, ResourceTable};

/// For how long others wait for a swap that was tried and came too late, to be tried again.
const RESERVED: Duration = Duration::from_millis(50);

/// What the host functions work on; None means that the component was given no store.
pub(crate) struct KeyValue<'a> {
    pub(crate) store: Option<&'a Store>,
    pub(crate) table: &'a mut ResourceTable,
}

/// The host's side of `bucket`.
#[derive(Clone)]
pub struct Bucket {
    store: Store,
    name: String,
}

/// The host's side of `cas`: the value as it was when the handle was made.
pub struct Cas {
    bucket: Bucket,
    key: String,
    seen: Option<Vec<u8>>,
    turn: Turn,
}

/// A turn to write, unless it was used or has lapsed.
///
/// A swap fails when somebody writes between its reading and its writing. While others write all
/// the time that would be so at every try; so one that failed is the next to write.
#[derive(Clone, Default)]
struct Turn(Arc<Mutex<Option<OwnedMutexGuard<()>>>>);

impl Turn {
    fn reserve(turn: OwnedMutexGuard<()>) -> Self {
        let reserved = Self(Arc::new(Mutex::new(Some(turn))));
        let lapsing = reserved.clone();
        tokio::spawn(async move {
            tokio::time::sleep(RESERVED).await;
            lapsing.take();
        });
        reserved
    }

    fn take(&self) -> Option<OwnedMutexGuard<()>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl From<StoreError> for store::Error {
    fn from(error: StoreError) -> Self {
        Self::Other(error.to_string())
    }
}

impl Bucket {
    /// Runs one transaction where blocking is allowed.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store, &str) -> Result<T, StoreError> + Send + 'static,
    ) -> wasmtime::Result<Result<T, store::Error>> {
        let Self { store, name } = self.clone();
        Ok(tokio::task::spawn_blocking(move || work(&store, &name))
            .await?
            .map_err(Into::into))
    }

    /// Runs one transaction that writes.
    async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store, &str) -> Result<T, StoreError> + Send + 'static,
    ) -> wasmtime::Result<Result<T, store::Error>> {
        let turn = self.store.turn().await;
        self.run(move |store, name| {
            let done = work(store, name);
            drop(turn);
            done
        })
        .await
    }
}

type Answer<T> = wasmtime::Result<Result<T, store::Error>>;

impl store::Host for KeyValue<'_> {
    async fn open(&mut self, name: String) -> Answer<Resource<Bucket>> {
        Ok(match self.store {
            None => Err(store::Error::AccessDenied),
            Some(store) => Ok(self.table.push(Bucket {
                store: store.clone(),
                name,
            })?),
        })
    }
}

impl store::HostBucket for KeyValue<'_> {
    async fn get(&mut self, bucket: Resource<Bucket>, key: String) -> Answer<Option<Vec<u8>>> {
        self.table
            .get(&bucket)?
            .run(move |store, name| store.get(name, &key))
            .await
    }

    async fn set(&mut self, bucket: Resource<Bucket>, key: String, value: Vec<u8>) -> Answer<()> {
        self.table
            .get(&bucket)?
            .write(move |store, name| store.set(name, &key, Some(&value)))
            .await
    }

    async fn delete(&mut self, bucket: Resource<Bucket>, key: String) -> Answer<()> {
        self.table
            .get(&bucket)?
            .write(move |store, name| store.set(name, &key, None))
            .await
    }

    async fn exists(&mut self, bucket: Resource<Bucket>, key: String) -> Answer<bool> {
        self.table
            .get(&bucket)?
            .run(move |store, name| Ok(store.get(name, &key)?.is_some()))
            .await
    }

    async fn list_keys(
        &mut self,
        bucket: Resource<Bucket>,
        _cursor: Option<String>,
    ) -> Answer<store::KeyResponse> {
        let keys = self
            .table
            .get(&bucket)?
            .run(|store, name| store.keys(name))
            .await?;
        Ok(keys.map(|keys| store::KeyResponse { keys, cursor: None }))
    }

    async fn drop(&mut self, bucket: Resource<Bucket>) -> wasmtime::Result<()> {
        self.table.delete(bucket)?;
        Ok(())
    }
}

impl batch::Host for KeyValue<'_> {
    async fn get_many(
        &mut self,
        bucket: Resource<Bucket>,
        keys: Vec<String>,
    ) -> Answer<Vec<(String, Option<Vec<u8>>)>> {
        self.table
            .get(&bucket)?
            .run(move |store, name| {
                keys.into_iter()
                    .map(|key| Ok((key.clone(), store.get(name, &key)?)))
                    .collect()
            })
            .await
    }

    async fn set_many(
        &mut self,
        bucket: Resource<Bucket>,
        values: Vec<(String, Vec<u8>)>,
    ) -> Answer<()> {
        self.table
            .get(&bucket)?
            .write(move |store, name| {
                values
                    .iter()
                    .try_for_each(|(key, value)| store.set(name, key, Some(value)))
            })
            .await
    }

    async fn delete_many(&mut self, bucket: Resource<Bucket>, keys: Vec<String>) -> Answer<()> {
        self.table
            .get(&bucket)?
            .write(move |store, name| keys.iter().try_for_each(|key| store.set(name, key, None)))
            .await
    }
}

impl atomics::Host for KeyValue<'_> {
    async fn increment(
        &mut self,
        bucket: Resource<Bucket>,
        key: String,
        delta: i64,
    ) -> Answer<i64> {
        self.table
            .get(&bucket)?
            .write(move |store, name| store.increment(name, &key, delta))
            .await
    }

    async fn swap(
        &mut self,
        cas: Resource<Cas>,
        value: Vec<u8>,
    ) -> wasmtime::Result<Result<(), atomics::CasError>> {
        let Cas {
            bucket,
            key,
            seen,
            turn,
        } = self.table.delete(cas)?;
        let turn = match turn.take() {
            Some(turn) => turn,
            None => bucket.store.turn().await,
        };
        let swapped = bucket
            .run({
                let key = key.clone();
                move |store, name| {
                    let swapped = store.swap(name, &key, seen.as_deref(), &value)?;
                    Ok((!swapped).then_some(turn))
                }
            })
            .await?;
        Ok(match swapped {
            Ok(None) => Ok(()),
            Ok(Some(turn)) => match self.snapshot(bucket, key, Turn::reserve(turn)).await? {
                Ok(fresh) => Err(atomics::CasError::CasFailed(fresh)),
                Err(error) => Err(atomics::CasError::StoreError(error)),
            },
            Err(error) => Err(atomics::CasError::StoreError(error)),
        })
    }
}

impl atomics::HostCas for KeyValue<'_> {
    async fn new(&mut self, bucket: Resource<Bucket>, key: String) -> Answer<Resource<Cas>> {
        let bucket = self.table.get(&bucket)?.clone();
        self.snapshot(bucket, key, Turn::default()).await
    }

    async fn current(&mut self, cas: Resource<Cas>) -> Answer<Option<Vec<u8>>> {
        Ok(Ok(self.table.get(&cas)?.seen.clone()))
    }

    async fn drop(&mut self, cas: Resource<Cas>) -> wasmtime::Result<()> {
        // Nobody waits for what will not come.
        self.table.delete(cas)?.turn.take();
        Ok(())
    }
}

impl KeyValue<'_> {
    async fn snapshot(&mut self, bucket: Bucket, key: String, turn: Turn) -> Answer<Resource<Cas>> {
        let seen = {
            let key = key.clone();
            bucket.run(move |store, name| store.get(name, &key)).await?
        };
        Ok(match seen {
            Ok(seen) => Ok(self.table.push(Cas {
                bucket,
                key,
                seen,
                turn,
            })?),
            Err(error) => Err(error),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use atomics::{CasError, Host as _, HostCas as _};
    use futures::FutureExt;
    use store::Host as _;

    #[tokio::test]
    async fn a_swap_that_came_too_late_is_the_next_to_write() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let mut table = ResourceTable::new();
        let mut guest = KeyValue {
            store: Some(&store),
            table: &mut table,
        };
        let bucket = guest.open("b".into()).await.unwrap().unwrap();
        let cas = guest
            .new(Resource::new_own(bucket.rep()), "k".into())
            .await
            .unwrap()
            .unwrap();
        store.increment("b", "k", 2).unwrap();
        let seven = 7_i64.to_le_bytes().to_vec();
        let Err(CasError::CasFailed(cas)) = guest.swap(cas, seven.clone()).await.unwrap() else {
            panic!("somebody was faster");
        };
        // Somebody else who writes now comes after the swap.
        let other = tokio::spawn({
            let store = store.clone();
            async move {
                let mut table = ResourceTable::new();
                let mut guest = KeyValue {
                    store: Some(&store),
                    table: &mut table,
                };
                let bucket = guest.open("b".into()).await.unwrap().unwrap();
                let sum = guest.increment(bucket, "k".into(), 2).await.unwrap();
                sum.unwrap()
            }
        });
        tokio::task::yield_now().await;
        let swapped = guest.swap(cas, seven).await.unwrap();
        assert!(swapped.is_ok(), "nobody wrote in between");
        assert_eq!(other.await.unwrap(), 9);
    }

    #[tokio::test]
    async fn a_turn_that_is_not_wanted_is_given_up() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let mut table = ResourceTable::new();
        let cas = table
            .push(Cas {
                bucket: Bucket {
                    store: store.clone(),
                    name: "b".into(),
                },
                key: "k".into(),
                seen: None,
                turn: Turn::reserve(store.turn().await),
            })
            .unwrap();
        let mut guest = KeyValue {
            store: Some(&store),
            table: &mut table,
        };
        atomics::HostCas::drop(&mut guest, cas).await.unwrap();
        assert!(store.turn().now_or_never().is_some());
    }

    #[tokio::test]
    async fn a_reserved_turn_lapses() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let turn = Turn::reserve(store.turn().await);
        let _next = store.turn().await;
        assert!(turn.take().is_none());
    }
}
