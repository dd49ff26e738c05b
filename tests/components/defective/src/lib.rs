//! An engine that breaks one promise of the contract at a time, to test the contract suite.
//!
//! It stores marks in the host's key-value store. The path of the DSN selects the mistake, as in
//! `defective:///forgets`; without a path the engine is correct. All mistakes are of kinds that were found in
//! real programs.

mod bindings;
mod mistake;

use bindings::wasi::keyvalue::atomics::{self, Cas};
use bindings::wasi::keyvalue::store::{self, Bucket};
use engine_guest::{Dsn, Engine, Error, Key, exhausted};
use mistake::Mistake;

/// A sequence: one key of the store.
struct Defective {
    bucket: Bucket,
    key: String,
    mistake: Mistake,
}

impl Defective {
    fn get(&self) -> Result<Option<i64>, Error> {
        let bytes = self.bucket.get(&self.key).map_err(failed)?;
        Ok(bytes.and_then(|bytes| decode(&bytes)))
    }

    fn set(&self, mark: i64) -> Result<(), Error> {
        self.bucket
            .set(&self.key, &mark.to_le_bytes())
            .map_err(failed)
    }

    fn increment(&self, by: i64) -> Result<i64, Error> {
        atomics::increment(&self.bucket, &self.key, by).map_err(failed)
    }

    /// The correct implementation of `claim`, except that `refuses` may be wrong.
    fn claim_if(&self, refuses: impl Fn(i64) -> bool, last: i64) -> Result<(), Error> {
        loop {
            let cas = Cas::new(&self.bucket, &self.key).map_err(failed)?;
            let mark = cas.current().map_err(failed)?;
            match mark.and_then(|bytes| decode(&bytes)) {
                Some(mark) if refuses(mark) => return Err(Error::TooSmall(mark)),
                Some(_) => {}
                None => {
                    self.increment(0)?;
                    continue;
                }
            }
            if atomics::swap(cas, &last.to_le_bytes()).is_ok() {
                return Ok(());
            }
        }
    }
}

impl Engine for Defective {
    const OFFSET: i64 = 0;
    const DSN: Option<&'static str> = Some("defective://");
    const SCHEMES: &'static [&'static str] = &["defective"];

    async fn open(dsn: Dsn, key: Key) -> Result<Self, Error> {
        let mistake = Mistake::named(dsn.path())
            .ok_or_else(|| Error::Invalid(format!("no such mistake: {}", dsn.path())))?;
        if mistake == Mistake::TellsPasswords
            && let Some(password) = dsn.password()
        {
            let password = password.reveal();
            return Err(Error::Denied(format!("the password {password} is wrong")));
        }
        if mistake != Mistake::IgnoresParameters {
            dsn.only_params(&[])
                .map_err(|e| Error::Invalid(e.to_string()))?;
        }
        let key = match mistake {
            Mistake::FoldsCase => key.as_str().to_lowercase(),
            Mistake::TrimsKeys => key.as_str().trim().to_owned(),
            Mistake::CutsKeys => key.as_str().chars().take(64).collect(),
            _ => key.as_str().to_owned(),
        };
        let bucket = store::open("default").map_err(failed)?;
        Ok(Self {
            bucket,
            key,
            mistake,
        })
    }

    async fn advance(&mut self, by: i64) -> Result<i64, Error> {
        match self.mistake {
            Mistake::NotAtomic => {
                let sum = self.get()?.unwrap_or(0).checked_add(by);
                let sum = sum.ok_or_else(exhausted)?;
                self.set(sum)?;
                Ok(sum)
            }
            Mistake::Forgets => self.increment(by / 2).map(|mark| mark + by - by / 2),
            Mistake::StartsLate => self.increment(by).map(|mark| mark + 1_000),
            Mistake::Wraps => {
                let sum = self.get()?.unwrap_or(0).wrapping_add(by);
                self.set(sum)?;
                Ok(sum)
            }
            Mistake::SpoilsTheTop => self.increment(by).or_else(|error| {
                self.set(i64::MAX)?;
                Err(error)
            }),
            _ => self.increment(by),
        }
    }

    async fn mark(&mut self) -> Result<Option<i64>, Error> {
        Ok(match (self.mistake, self.get()?) {
            (Mistake::MintsWhenAsked, _) => Some(self.increment(2)?),
            (Mistake::Lags, Some(mark)) => Some(mark - 2),
            (Mistake::BeginsAtOne, None) => Some(1),
            (_, mark) => mark,
        })
    }

    async fn claim(&mut self, first: i64, last: i64) -> Result<(), Error> {
        match (self.mistake, self.get()?) {
            (Mistake::Rewinds, _) => self.set(last),
            (Mistake::ReadsThenWrites, Some(mark)) if mark >= first => Err(Error::TooSmall(mark)),
            (Mistake::ReadsThenWrites, _) => self.set(last),
            (Mistake::RaisesOnlyWhatExists, None) => {
                Err(Error::Other("there is no such sequence".into()))
            }
            (Mistake::CountsInDoubles, _) => {
                self.claim_if(|mark| mark >= first, mistake::as_double(last))
            }
            (Mistake::AcceptsAnyLarger, _) => self.claim_if(|mark| mark >= last, last),
            _ => self.claim_if(|mark| mark >= first, last),
        }
    }
}

fn decode(bytes: &[u8]) -> Option<i64> {
    Some(i64::from_le_bytes(bytes.try_into().ok()?))
}

fn failed(error: store::Error) -> Error {
    let text = format!("{error:?}");
    if text.contains("overflow") {
        exhausted()
    } else {
        Error::Other(format!("the key-value store says: {text}"))
    }
}

engine_guest::export!(Defective);
