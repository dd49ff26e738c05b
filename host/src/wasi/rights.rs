//! The rights of a component, derived from its DSN.

use crate::metrics::EngineMetrics;
use crate::wasi::config::ConfigStore;
use crate::wasi::network::Grant;
use crate::wasi::store::Store;
use crate::wasi::tls::Demand;
use crate::{Builtin, Error, Host, Shape, Source};
use engine_dsn::Dsn;

/// The resources that a component may use besides its own memory.
#[derive(Clone)]
pub(crate) struct Rights {
    pub(crate) grant: Grant,
    /// How certificates are verified at least.
    pub(crate) demand: Demand,
    pub(crate) store: Option<Store>,
    pub(crate) settings: ConfigStore,
    pub(crate) metrics: EngineMetrics,
}

impl Host {
    /// The rights of a component of this shape: the addresses in its DSN and in [`crate::Options::allow`], the
    /// embedded store if it imports `wasi:keyvalue`, and its settings.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an invalid DSN, [`Error::Misconfigured`] when the store cannot be opened.
    pub(crate) fn rights(
        &self,
        source: &Source,
        shape: &Shape,
        dsn: &str,
        settings: ConfigStore,
    ) -> Result<Rights, Error> {
        let parsed = parse(dsn)?;
        Ok(Rights {
            grant: grant(source, dsn)?.and(&self.options().allow),
            demand: parsed.as_ref().map(Demand::of).unwrap_or_default(),
            store: if shape.imports("wasi:keyvalue/") {
                Some(self.store()?)
            } else {
                None
            },
            settings,
            metrics: self.metrics().engine(&source.name()),
        })
    }
}

/// The DSN, if there is one.
fn parse(dsn: &str) -> Result<Option<Dsn>, Error> {
    if dsn.is_empty() {
        return Ok(None);
    }
    let parsed: Result<Dsn, _> = dsn.parse();
    parsed
        .map(Some)
        .map_err(|error| Error::Invalid(error.to_string()))
}

/// The addresses in a DSN, as the engine that will read it interprets them.
fn grant(source: &Source, dsn: &str) -> Result<Grant, Error> {
    let builtin = match source {
        Source::Builtin(engine) => Some(*engine),
        Source::File(_) => None,
        // The DSN is that of the engine.
        #[cfg(feature = "compose")]
        Source::Flake(engine) => return grant(engine, dsn),
    };
    let parsed = parse(dsn)?;
    let mut addresses = parsed
        .as_ref()
        .map(|dsn| dsn.addresses().to_vec())
        .unwrap_or_default();
    let Some(engine) = builtin else {
        let scheme = parsed.as_ref().map_or("", Dsn::scheme);
        let ports = ports_of(scheme);
        if addresses.is_empty() {
            let engine = match scheme {
                "mysql" => Some(Builtin::Mysql),
                "postgres" | "postgresql" => Some(Builtin::Postgres),
                _ => None,
            };
            addresses.extend(engine.and_then(Builtin::default_address));
        }
        // A host without a port, in a scheme without default ports, is the name of a bucket and not
        // an address.
        addresses.retain(|address| address.port.is_some() || !ports.is_empty());
        return Ok(Grant::new(&addresses, ports, names_others(scheme)));
    };
    let Some(port) = engine.port() else {
        return Ok(Grant::default());
    };
    if addresses.is_empty() {
        addresses.extend(engine.default_address());
    }
    let names_others = parsed
        .as_ref()
        .is_some_and(|dsn| names_others(dsn.scheme()));
    let port = match &parsed {
        Some(dsn) if engine == Builtin::Http && dsn.scheme() == "https" => 443,
        _ => port,
    };
    Ok(Grant::new(
        &addresses,
        &[port],
        engine.redirects() || names_others,
    ))
}

/// Whether the hosts of such a DSN name the servers to use, which most often run on the same hosts: Sentinels name the
/// primary, and nodes of a Redis Cluster the node that has a key.
fn names_others(scheme: &str) -> bool {
    matches!(
        scheme,
        "redis+sentinel" | "rediss+sentinel" | "redis+cluster" | "rediss+cluster"
    )
}

/// The default ports of a scheme when the engine is unknown: it may be a built-in engine in a composed
/// component.
fn ports_of(scheme: &str) -> &'static [u16] {
    match scheme {
        "redis" | "rediss" => &[6379, 7481],
        "redis+sentinel" | "rediss+sentinel" => &[26379],
        "redis+cluster" | "rediss+cluster" => &[6379],
        "mysql" | "mariadb" => &[3306],
        "http" => &[80, 4001, 8080],
        "https" => &[443, 4001],
        "postgres" | "postgresql" => &[5432],
        "quorum" => &[8081],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// This also applies when the engine is in a composed component.
    #[tokio::test]
    async fn hosts_that_name_others_are_allowed_at_any_port() {
        let builtin = Source::Builtin(Builtin::Redis);
        let file = Source::File("x.wasm".into());
        let sentinels = "redis+sentinel://127.0.0.1,127.0.0.3:5000/name";
        let cluster = "redis+cluster://127.0.0.1,127.0.0.3:5000";
        for (source, dsn) in [
            (&builtin, sentinels),
            (&file, sentinels),
            (&builtin, cluster),
            (&file, cluster),
        ] {
            let grant = grant(source, dsn).expect("a DSN");
            for (address, allowed) in [
                ("127.0.0.1:26379", true),
                ("127.0.0.1:6379", true),
                ("127.0.0.3:6400", true),
                ("127.0.0.2:26379", false),
            ] {
                let address = address.parse().expect("an address");
                assert_eq!(
                    grant.allows(address).await,
                    allowed,
                    "{source} {dsn} {address}"
                );
            }
        }
        let plain = grant(&Source::Builtin(Builtin::Redis), "redis://127.0.0.1").expect("a DSN");
        assert!(
            !plain
                .allows("127.0.0.1:26379".parse().expect("an address"))
                .await
        );
    }

    #[tokio::test]
    async fn the_port_of_a_server_depends_on_the_scheme() {
        for (dsn, allowed) in [
            ("http://127.0.0.1", 8080),
            ("https://127.0.0.1", 443),
            ("https://127.0.0.1:99/k", 99),
        ] {
            let grant = grant(&Source::Builtin(Builtin::Http), dsn).expect("a DSN");
            for port in [80, 99, 443, 4001, 8080] {
                let address = ([127, 0, 0, 1], port).into();
                assert_eq!(grant.allows(address).await, port == allowed, "{dsn} {port}");
            }
        }
    }

    #[tokio::test]
    async fn all_forms_of_a_dsn_give_the_same_rights() {
        for dsn in [
            "postgres://u:p@127.0.0.1,127.0.0.2:5433/d",
            "host=127.0.0.1,127.0.0.2 port=,5433 user=u password=p dbname=d",
        ] {
            for source in [
                Source::Builtin(Builtin::Postgres),
                Source::File("x.wasm".into()),
            ] {
                let grant = grant(&source, dsn).expect("a DSN");
                for (address, allowed) in [
                    ("127.0.0.1:5432", true),
                    ("127.0.0.2:5433", true),
                    ("127.0.0.1:5433", false),
                    ("127.0.0.3:5432", false),
                ] {
                    let address = address.parse().expect("an address");
                    assert_eq!(grant.allows(address).await, allowed, "{source} {address}");
                }
            }
        }
    }

    #[tokio::test]
    async fn a_dsn_without_a_host_means_this_machine() {
        for (engine, dsn, address) in [
            (Builtin::Mysql, "u:p@/d", "127.0.0.1:3306"),
            (Builtin::Postgres, "user=u dbname=d", "127.0.0.1:5432"),
            (Builtin::Postgres, "postgres://u@/d", "127.0.0.1:5432"),
        ] {
            for source in [Source::Builtin(engine), Source::File("x.wasm".into())] {
                let grant = grant(&source, dsn).expect("a DSN");
                let address = address.parse().expect("an address");
                assert!(grant.allows(address).await, "{source} {dsn}");
            }
        }
    }
}
