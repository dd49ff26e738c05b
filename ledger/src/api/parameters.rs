//! Query parameters.

use super::Problem;
use std::collections::BTreeMap;

/// The parameters of a request, each at most once.
pub(crate) struct Parameters(BTreeMap<String, String>);

impl Parameters {
    /// Reads them. One that the path does not take is an error, because the client expects an effect of it.
    pub(crate) fn read(query: Option<&str>, takes: &[&str]) -> Result<Self, Problem> {
        let mut all = BTreeMap::new();
        for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            if !takes.contains(&&*name) {
                return Err(Problem::invalid(match takes {
                    [] => "this path takes no parameters".to_owned(),
                    takes => format!("this path takes the parameters {}", takes.join(", ")),
                }));
            }
            if all
                .insert(name.clone().into_owned(), value.into_owned())
                .is_some()
            {
                return Err(Problem::invalid(format!("`{name}` appears twice")));
            }
        }
        Ok(Self(all))
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub(super) fn flag(&self, name: &str) -> Result<bool, Problem> {
        match self.text(name) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(Problem::invalid(format!("`{name}` is `true` or `false`"))),
        }
    }

    /// Whether integers are written as strings, as the servers of integers do.
    pub(super) fn strings(&self) -> Result<bool, Problem> {
        self.flag("strings")
    }

    pub(super) fn integer(&self, name: &str) -> Result<Option<i64>, Problem> {
        match self.text(name).map(str::parse) {
            None => Ok(None),
            Some(Ok(integer @ 0..)) => Ok(Some(integer)),
            Some(_) => Err(Problem::invalid(format!(
                "`{name}` is a whole number from 0 to 2^63 - 1"
            ))),
        }
    }

    pub(super) fn limit(&self, default: usize, most: usize) -> Result<usize, Problem> {
        match self.text("limit").map(str::parse) {
            None => Ok(default),
            Some(Ok(limit)) if (1..=most).contains(&limit) => Ok(limit),
            Some(_) => Err(Problem::invalid(format!(
                "`limit` is a whole number from 1 to {most}"
            ))),
        }
    }
}
