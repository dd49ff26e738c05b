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
use wasmtime::component::{Resource, ResourceTable};

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
            .run(move |store, name| store.set(name, &key, Some(&value)))
            .await
    }

    async fn delete(&mut self, bucket: Resource<Bucket>, key: String) -> Answer<()> {
        self.table
            .get(&bucket)?
            .run(move |store, name| store.set(name, &key, None))
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
            .run(move |store, name| {
                values
                    .iter()
                    .try_for_each(|(key, value)| store.set(name, key, Some(value)))
            })
            .await
    }

    async fn delete_many(&mut self, bucket: Resource<Bucket>, keys: Vec<String>) -> Answer<()> {
        self.table
            .get(&bucket)?
            .run(move |store, name| keys.iter().try_for_each(|key| store.set(name, key, None)))
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
            .run(move |store, name| store.increment(name, &key, delta))
            .await
    }

    async fn swap(
        &mut self,
        cas: Resource<Cas>,
        value: Vec<u8>,
    ) -> wasmtime::Result<Result<(), atomics::CasError>> {
        let Cas { bucket, key, seen } = self.table.delete(cas)?;
        let swapped = bucket
            .run({
                let key = key.clone();
                move |store, name| store.swap(name, &key, seen.as_deref(), &value)
            })
            .await?;
        Ok(match swapped {
            Ok(true) => Ok(()),
            Ok(false) => match self.snapshot(bucket, key).await? {
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
        self.snapshot(bucket, key).await
    }

    async fn current(&mut self, cas: Resource<Cas>) -> Answer<Option<Vec<u8>>> {
        Ok(Ok(self.table.get(&cas)?.seen.clone()))
    }

    async fn drop(&mut self, cas: Resource<Cas>) -> wasmtime::Result<()> {
        self.table.delete(cas)?;
        Ok(())
    }
}

impl KeyValue<'_> {
    async fn snapshot(&mut self, bucket: Bucket, key: String) -> Answer<Resource<Cas>> {
        let seen = {
            let key = key.clone();
            bucket.run(move |store, name| store.get(name, &key)).await?
        };
        Ok(match seen {
            Ok(seen) => Ok(self.table.push(Cas { bucket, key, seen })?),
            Err(error) => Err(error),
        })
    }
}
