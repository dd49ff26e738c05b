//! `wasi:config/store`: the settings of a served component, in both drafts that are in use.

use crate::bindings::{config, config_rc1};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Names and values of settings, shared by all instances of one component.
#[derive(Clone, Default)]
pub(crate) struct ConfigStore(Arc<BTreeMap<String, String>>);

/// Shows only the names, since the values include the DSN and tokens.
impl fmt::Debug for ConfigStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl ConfigStore {
    #[cfg(feature = "serve")]
    pub(crate) fn new(values: BTreeMap<String, String>) -> Self {
        Self(Arc::new(values))
    }

    fn value(&self, key: &str) -> Option<String> {
        self.0.get(key).cloned()
    }

    fn all(&self) -> Vec<(String, String)> {
        self.0.iter().map(|(k, v)| (k.clone(), v.clone())).collect()
    }
}

impl config::wasi::config::store::Host for ConfigStore {
    fn get(&mut self, key: String) -> Result<Option<String>, config::wasi::config::store::Error> {
        Ok(self.value(&key))
    }

    fn get_all(&mut self) -> Result<Vec<(String, String)>, config::wasi::config::store::Error> {
        Ok(self.all())
    }
}

impl config_rc1::wasi::config::store::Host for ConfigStore {
    fn get(
        &mut self,
        key: String,
    ) -> Result<Option<String>, config_rc1::wasi::config::store::Error> {
        Ok(self.value(&key))
    }

    fn get_all(&mut self) -> Result<Vec<(String, String)>, config_rc1::wasi::config::store::Error> {
        Ok(self.all())
    }
}
