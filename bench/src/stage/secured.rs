//! A Redis that servers reach with and without TLS.

use super::{Target, Workshop, sequence};
use anyhow::Context;
use int_host::Builtin;
use testbed::certificates::Authority;
use testbed::port;
use testbed::redis::{Options, Redis};

/// A Redis, and two servers in front of it.
pub struct Secured {
    /// `int-host serve`, which reaches Redis without TLS.
    pub plain: Target,
    /// `int-host serve`, which reaches it through TLS.
    pub tls: Target,
    _redis: Redis,
    _authority: Authority,
}

impl Workshop {
    /// Starts them.
    ///
    /// # Errors
    /// When one of them does not start.
    pub fn secured(&self) -> anyhow::Result<Secured> {
        let authority = Authority::new()?;
        let file = authority.file();
        let port = port::free()?;
        let options = Options {
            extra: ["--appendonly", "no"].map(str::to_owned).to_vec(),
            ..Options::default()
        };
        let redis = Redis::with(options.with_tls(port, &authority.for_this_machine()?, &file))?;
        let serve = |key: &str, dsn: String, more: &[&str]| {
            let mut options = vec!["--engine", "redis", "--dsn", &dsn, "--key", key];
            options.extend(more);
            let sequence = sequence(Builtin::Redis, format!("secured redis/{key}"))?;
            self.int_host(format!("serve redis, {key}"), Some(sequence), &options)
        };
        let file = file.to_str().context("the path of temporary files")?;
        let dsn = format!("rediss://127.0.0.1:{port}");
        Ok(Secured {
            plain: serve("without TLS", redis.dsn(), &[])?,
            tls: serve("through TLS", dsn, &["--ca-file", file])?,
            _redis: redis,
            _authority: authority,
        })
    }
}
