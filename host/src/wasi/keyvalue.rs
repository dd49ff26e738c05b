//! `wasi:keyvalue@0.2.0-draft2` over the embedded store.
//!
//! This is the draft that Spin offers; its `increment` takes and returns `s64`. Each call is one
//! transaction.

#![expect(
    unreachable_pub,
    reason = "the generated bindings re-export the resources' types"
)]

use crate::bindings::keyvalue::wasi::keyvalue::{atomics, batch, store};
use crate::wasi::store::{Store, StoreError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::OwnedRwLockWriteGuard;
use wasmtime::component::{Resource, ResourceTable};

/// How long other writers are blocked after a failed swap, so that its retry can succeed.
const RESERVED: Duration = Duration::from_millis(50);

/// The state of the host functions; without a store the component may open no bucket.
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

/// The host's side of `cas`: the value when the handle was created.
pub struct Cas {
    bucket: Bucket,
    key: String,
    seen: Option<Vec<u8>>,
    reservation: Reservation,
}

/// The store's gate, held exclusively until the guard is taken or [`RESERVED`] has passed.
///
/// A swap fails if another writer changes the value between its read and its write. If others write
/// continuously, every attempt would fail; so after a failed swap other writers are blocked until the retry.
#[derive(Clone, Default)]
struct Reservation(Arc<Mutex<Option<OwnedRwLockWriteGuard<()>>>>);

impl Reservation {
    fn new(gate: OwnedRwLockWriteGuard<()>) -> Self {
        let reservation = Self(Arc::new(Mutex::new(Some(gate))));
        let lapsing = reservation.clone();
        tokio::spawn(async move {
            tokio::time::sleep(RESERVED).await;
            lapsing.take();
        });
        reservation
    }

    fn take(&self) -> Option<OwnedRwLockWriteGuard<()>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl From<StoreError> for store::Error {
    fn from(error: StoreError) -> Self {
        Self::Other(error.to_string())
    }
}

impl Bucket {
    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.store.get(&self.name, key).await
    }

    async fn set(&self, values: Vec<(String, Option<Vec<u8>>)>) -> Result<(), store::Error> {
        let _open = self.store.gate().read_owned().await;
        Ok(self.store.set(&self.name, values).await?)
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
        Ok(self.table.get(&bucket)?.get(&key).await.map_err(Into::into))
    }

    async fn set(&mut self, bucket: Resource<Bucket>, key: String, value: Vec<u8>) -> Answer<()> {
        Ok(self.table.get(&bucket)?.set(vec![(key, Some(value))]).await)
    }

    async fn delete(&mut self, bucket: Resource<Bucket>, key: String) -> Answer<()> {
        Ok(self.table.get(&bucket)?.set(vec![(key, None)]).await)
    }

    async fn exists(&mut self, bucket: Resource<Bucket>, key: String) -> Answer<bool> {
        let value = self.table.get(&bucket)?.get(&key).await;
        Ok(value.map(|value| value.is_some()).map_err(Into::into))
    }

    async fn list_keys(
        &mut self,
        bucket: Resource<Bucket>,
        _cursor: Option<String>,
    ) -> Answer<store::KeyResponse> {
        let Bucket { store, name } = self.table.get(&bucket)?;
        let keys = store.keys(name).await;
        Ok(keys
            .map(|keys| store::KeyResponse { keys, cursor: None })
            .map_err(Into::into))
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
        let bucket = self.table.get(&bucket)?;
        let mut values = Vec::with_capacity(keys.len());
        for key in keys {
            match bucket.get(&key).await {
                Ok(value) => values.push((key, value)),
                Err(error) => return Ok(Err(error.into())),
            }
        }
        Ok(Ok(values))
    }

    async fn set_many(
        &mut self,
        bucket: Resource<Bucket>,
        values: Vec<(String, Vec<u8>)>,
    ) -> Answer<()> {
        let values = values.into_iter().map(|(key, value)| (key, Some(value)));
        Ok(self.table.get(&bucket)?.set(values.collect()).await)
    }

    async fn delete_many(&mut self, bucket: Resource<Bucket>, keys: Vec<String>) -> Answer<()> {
        let keys = keys.into_iter().map(|key| (key, None));
        Ok(self.table.get(&bucket)?.set(keys.collect()).await)
    }
}

impl atomics::Host for KeyValue<'_> {
    async fn increment(
        &mut self,
        bucket: Resource<Bucket>,
        key: String,
        delta: i64,
    ) -> Answer<i64> {
        let Bucket { store, name } = self.table.get(&bucket)?;
        let _open = store.gate().read_owned().await;
        let sum = store.increment(name, &key, delta).await;
        Ok(sum.map_err(Into::into))
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
            reservation,
        } = self.table.delete(cas)?;
        let gate = bucket.store.gate();
        let alone = reservation.take();
        let open = match alone {
            Some(_) => None,
            None => Some(Arc::clone(&gate).read_owned().await),
        };
        let swapped = bucket.store.swap(&bucket.name, &key, seen, value).await;
        drop(open);
        Ok(match swapped {
            Ok(true) => Ok(()),
            Ok(false) => {
                let alone = match alone {
                    Some(alone) => alone,
                    None => gate.write_owned().await,
                };
                let reservation = Reservation::new(alone);
                match self.snapshot(bucket, key, reservation).await? {
                    Ok(fresh) => Err(atomics::CasError::CasFailed(fresh)),
                    Err(error) => Err(atomics::CasError::StoreError(error)),
                }
            }
            Err(error) => Err(atomics::CasError::StoreError(error.into())),
        })
    }
}

impl atomics::HostCas for KeyValue<'_> {
    async fn new(&mut self, bucket: Resource<Bucket>, key: String) -> Answer<Resource<Cas>> {
        let bucket = self.table.get(&bucket)?.clone();
        self.snapshot(bucket, key, Reservation::default()).await
    }

    async fn current(&mut self, cas: Resource<Cas>) -> Answer<Option<Vec<u8>>> {
        Ok(Ok(self.table.get(&cas)?.seen.clone()))
    }

    async fn drop(&mut self, cas: Resource<Cas>) -> wasmtime::Result<()> {
        // Other writers need not wait for a retry that will not come.
        self.table.delete(cas)?.reservation.take();
        Ok(())
    }
}

impl KeyValue<'_> {
    async fn snapshot(
        &mut self,
        bucket: Bucket,
        key: String,
        reservation: Reservation,
    ) -> Answer<Resource<Cas>> {
        Ok(match bucket.get(&key).await {
            Ok(seen) => Ok(self.table.push(Cas {
                bucket,
                key,
                seen,
                reservation,
            })?),
            Err(error) => Err(error.into()),
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
        store.increment("b", "k", 2).await.unwrap();
        let seven = 7_i64.to_le_bytes().to_vec();
        let Err(CasError::CasFailed(cas)) = guest.swap(cas, seven.clone()).await.unwrap() else {
            panic!("another writer was faster");
        };
        // Another writer that starts here is served after the swap.
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
        assert!(swapped.is_ok(), "no other write came in between");
        assert_eq!(other.await.unwrap(), 9);
    }

    #[tokio::test]
    async fn a_reservation_that_is_not_wanted_is_given_up() {
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
                reservation: Reservation::new(store.gate().write_owned().await),
            })
            .unwrap();
        let mut guest = KeyValue {
            store: Some(&store),
            table: &mut table,
        };
        atomics::HostCas::drop(&mut guest, cas).await.unwrap();
        assert!(store.gate().read_owned().now_or_never().is_some());
    }

    #[tokio::test]
    async fn a_reservation_lapses() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let reservation = Reservation::new(store.gate().write_owned().await);
        let _next = store.gate().read_owned().await;
        assert!(reservation.take().is_none());
    }
}
