//! The key of a sequence at the server that an engine mints from.

use crate::{Dsn, Error};
use artisanal_core::limits::check_key;

/// The key at the server: the path of the DSN, in which `*` stands for the key of the sequence here; without a
/// path it is the key here.
///
/// # Errors
/// [`Error::Invalid`] if the path has several `*`, or is no key.
pub fn key(dsn: &Dsn, key: &str) -> Result<String, Error> {
    let path = dsn.path();
    let remote = match path.matches('*').count() {
        _ if path.is_empty() => key.to_owned(),
        0 | 1 => path.replace('*', key),
        _ => {
            return Err(Error::Invalid(
                "the path of the DSN has several `*`; one stands for the key".into(),
            ));
        }
    };
    check_key(&remote).map_err(|error| {
        Error::Invalid(format!(
            "the path of the DSN is the key of the sequence at the server: {error}"
        ))
    })?;
    Ok(remote)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_is_the_key_at_the_server() {
        let key = |path: &str| {
            let dsn: Dsn = format!("http://a{path}").parse().expect("a DSN");
            key(&dsn, "orders-1")
        };
        assert_eq!(key("").as_deref(), Ok("orders-1"));
        assert_eq!(key("/").as_deref(), Ok("orders-1"));
        assert_eq!(key("/integers").as_deref(), Ok("integers"));
        assert_eq!(key("/a/b%20c").as_deref(), Ok("a/b c"));
        assert_eq!(key("/shop-*").as_deref(), Ok("shop-orders-1"));
        assert_eq!(key("/*/x").as_deref(), Ok("orders-1/x"));
        for bad in ["/*-*".to_owned(), format!("/{}*", "x".repeat(121))] {
            let error = key(&bad).expect_err("refused");
            assert!(
                matches!(&error, Error::Invalid(text) if text.contains("the path of the DSN")),
                "{error:?}"
            );
        }
    }
}
