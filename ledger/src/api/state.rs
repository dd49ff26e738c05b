//! The state of a key, in answers.

use super::Api;
use crate::Error;
use crate::state::State;
use serde_json::Value;

/// A state, and the name of the reducer that made it.
pub(super) struct Made {
    pub(super) reducer: String,
    pub(super) state: State,
}

impl Api {
    /// The state of a key, of its own reducer or the one with this name.
    pub(super) async fn state(&self, key: &str, name: Option<&str>) -> Result<Made, Error> {
        let reducers = &self.0.reducers;
        let name = name.unwrap_or_else(|| reducers.name_for(key));
        let reducer = reducers.find(name).ok_or_else(|| {
            Error::Invalid(format!(
                "there is no such reducer; there are {}",
                reducers.names()
            ))
        })?;
        let made = self.ask_in_turn(&self.0.states, key, |store| store.state(key, reducer));
        Ok(Made {
            reducer: name.to_owned(),
            state: made.await?,
        })
    }
}

impl Made {
    /// The answer. The state is in it as the reducer wrote it.
    pub(super) fn json(&self, key: &str) -> String {
        let (key, reducer) = (Value::from(key), Value::from(&*self.reducer));
        let State { number, state, .. } = &self.state;
        format!(r#"{{"key":{key},"reducer":{reducer},"number":{number},"state":{state}}}"#)
    }
}
