//! Reducers: how the events of a key become its state.

use crate::event::Event;
use intd::Pattern;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Makes states from events. The result depends on nothing but the arguments, and not on how events are divided among calls.
pub trait Reduce: Send + Sync + 'static {
    /// Says whose states these are: a reducer goes on from the snapshots that were made under the same identity. It is
    /// printable.
    fn identity(&self) -> &str;

    /// The state after further events, as JSON; `state` is the one before them, None before the first event. Computes in
    /// this thread.
    ///
    /// # Errors
    /// [`Failed`] if there is none.
    fn apply(&self, state: Option<&str>, events: &[Event]) -> Result<String, Failed>;
}

/// Why a reducer has no state, for a person.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Failed(pub String);

/// The name of the reducer of keys for which no rule names another one.
pub const DEFAULT: &str = "mints";

/// The reducers of a ledger by their names, and which one each key has if a question names none. Clones are the same.
#[derive(Clone, Default)]
pub struct Reducers(Arc<Inner>);

#[derive(Clone, Default)]
struct Inner {
    /// With those that every key has a state of.
    all: BTreeMap<String, (Arc<dyn Reduce>, bool)>,
    rules: Vec<(Rule, String)>,
}

#[derive(Clone)]
enum Rule {
    Key(String),
    Keys(Pattern),
}

impl Reducers {
    /// Adds a reducer. If `always`, its state of each key is stored before events of the key are removed.
    pub fn add(&mut self, name: &str, reducer: Arc<dyn Reduce>, always: bool) {
        let inner = Arc::make_mut(&mut self.0);
        inner.all.insert(name.to_owned(), (reducer, always));
    }

    /// Makes a reducer that of a key, or of the keys that a pattern stands for. The first rule that matches counts.
    pub fn rule(&mut self, keys: &str, name: &str) {
        let rule = Pattern::new(keys).map_or_else(|| Rule::Key(keys.to_owned()), Rule::Keys);
        let inner = Arc::make_mut(&mut self.0);
        inner.rules.push((rule, name.to_owned()));
    }

    /// The reducer with this name.
    pub fn find(&self, name: &str) -> Option<&dyn Reduce> {
        self.0.all.get(name).map(|(reducer, _)| &**reducer)
    }

    /// The name of a key's own reducer.
    pub fn name_for(&self, key: &str) -> &str {
        let matches = |rule: &Rule| match rule {
            Rule::Key(name) => name == key,
            Rule::Keys(pattern) => pattern.matches(key),
        };
        let rule = self.0.rules.iter().find(|(rule, _)| matches(rule));
        rule.map_or(DEFAULT, |(_, name)| name)
    }

    /// All names, for a person.
    pub fn names(&self) -> String {
        let names = self.0.all.keys().map(|name| format!("`{name}`"));
        names.collect::<Vec<_>>().join(", ")
    }

    /// The reducers whose states of a key are kept when its events are removed.
    pub(crate) fn kept(&self, key: &str) -> Vec<&dyn Reduce> {
        let own = self.name_for(key);
        let all = self.0.all.iter();
        all.filter(|(name, (_, always))| *always || *name == own)
            .map(|(_, (reducer, _))| &**reducer)
            .collect()
    }
}

#[cfg(test)]
pub(crate) mod native;

#[cfg(test)]
mod tests {
    use super::native::{Native, reducers};
    use super::*;

    #[test]
    fn the_first_rule_that_matches_counts() {
        let mut all = reducers();
        for (keys, name) in [("order-1", "garbage"), ("order-*", "fails"), ("*", "list")] {
            all.rule(keys, name);
        }
        for (key, name) in [("order-1", "garbage"), ("order-10", "fails"), ("x", "list")] {
            assert_eq!(all.name_for(key), name);
        }
        assert_eq!(reducers().name_for("x"), "mints");
        let kept = all.kept("order-10");
        let kept: Vec<_> = kept.iter().map(|reducer| reducer.identity()).collect();
        assert_eq!(kept, ["other", "list", "counts"]);
        assert!(all.find("nothing").is_none());
        assert_eq!(
            all.find("list").unwrap().identity(),
            Native::List.identity()
        );
        assert_eq!(all.names(), "`fails`, `garbage`, `huge`, `list`, `mints`");
    }
}
