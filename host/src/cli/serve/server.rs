//! A server that is about to listen.

use super::ledger;
use super::listen::{Listen, Protocol};
use super::sequences::{self, Named};
use super::{Serve, end_on_signals};
use crate::cli::flags::Flags;
use crate::ledger::Options;
use crate::serve::hangups::Hangups;
use crate::serve::watch::Watched;
use crate::serve::{self, Limits, Listeners, Shutdown, Tls, TokenFile};
use crate::{Error, Host, Sequence, Source, endpoint};
use futures::future::{BoxFuture, FutureExt, join_all};
use intd::{App, Settings};
use std::sync::Arc;

/// A server with its configuration.
pub(super) struct Server<'a> {
    pub(super) serve: &'a Serve,
    pub(super) flags: &'a Flags,
    pub(super) tls: Option<Tls>,
    pub(super) tokens: Option<TokenFile>,
    pub(super) host: Host,
    pub(super) source: Source,
    pub(super) limits: Limits,
    pub(super) shutdown: Shutdown,
}

impl Server<'_> {
    /// Serves the sequences of an engine at all addresses.
    pub(super) async fn sequences(mut self) -> Result<(), Error> {
        let settings = self.settings()?;
        let named = Named::open(&self.host, &self.source, self.flags, &settings).await?;
        let default = named.named(&settings.key)?;
        let patterns = !settings.patterns.is_empty();
        let mut app = App::try_new(settings, |key| named.named(key))?;
        if patterns {
            let (config, lease) = (self.flags.config(), self.flags.lease);
            app = sequences::by_pattern(app, &self.host, &self.source, config, lease)?;
        }
        if let Some(tokens) = &self.tokens {
            app = app.with_tokens(Arc::new(tokens.clone()));
        }
        if self.limits.traces.is_some() {
            app = app.recording();
        }
        let publisher = match &self.serve.ledger {
            None => None,
            Some(target) => {
                let metrics = self.host.metrics();
                let options = Options {
                    policy: self.serve.ledger_policy.into(),
                    token: self.serve.ledger_token.clone(),
                    ..Options::new(target.clone())
                };
                let publisher = ledger::start(options, metrics)?;
                self.limits = ledger::within(self.limits, &publisher);
                app = app.recording();
                Some(publisher)
            }
        };
        let app = Arc::new(app);
        let servers = self.listen().await?;
        let servers = servers
            .into_iter()
            .map(|(protocol, listeners)| self.server(protocol, listeners, &app, &default));
        join_all(servers).await;
        if let Some(publisher) = &publisher {
            ledger::end(publisher).await;
        }
        named.report_gaps();
        Ok(())
    }

    /// Serves a component that is an HTTP endpoint.
    pub(super) async fn endpoint(self) -> Result<(), Error> {
        let options = self.serve.endpoint(self.serve.settings(self.flags));
        let endpoint = self.host.endpoint(&self.source, options)?;
        let servers = self.listen().await?;
        let servers = servers.into_iter().map(|(_, listeners)| {
            let (limits, shutdown) = (self.limits.clone(), self.shutdown.clone());
            endpoint::proxy(listeners, endpoint.clone(), limits, shutdown)
        });
        join_all(servers).await;
        Ok(())
    }

    fn server(
        &self,
        protocol: Protocol,
        listeners: Listeners,
        app: &Arc<App<Sequence>>,
        default: &Sequence,
    ) -> BoxFuture<'static, ()> {
        let (app, limits) = (Arc::clone(app), self.limits.clone());
        let shutdown = self.shutdown.clone();
        match protocol {
            Protocol::Http => serve::http(listeners, app, limits, shutdown).boxed(),
            Protocol::Resp => serve::resp(listeners, app, limits, shutdown).boxed(),
            Protocol::Tcp => serve::tcp(listeners, default.clone(), limits, shutdown).boxed(),
        }
    }

    fn settings(&self) -> Result<Settings, Error> {
        let settings = self.serve.settings(self.flags);
        Settings::from_lookup(|name| settings.get(name).cloned())
            .map_err(|error| Error::Invalid(error.to_string()))
    }

    /// Starts to listen at all addresses, and to wait for signals.
    async fn listen(&self) -> Result<Vec<(Protocol, Listeners)>, Error> {
        let mut servers = Vec::new();
        let mut schemes = Vec::new();
        for Listen {
            protocol,
            tls,
            host,
            port,
        } in self.serve.listens()
        {
            let mut listeners = Listeners::bind(&host, port).await?;
            if let (true, Some(tls)) = (tls, &self.tls) {
                listeners = listeners.with_tls(tls.clone());
            }
            servers.push((protocol, listeners));
            schemes.push(protocol.scheme(tls));
        }
        tokio::spawn(end_on_signals(self.shutdown.clone()));
        self.watch();
        tracing::info!("serving {}", self.source);
        for ((_, listeners), scheme) in servers.iter().zip(schemes) {
            for address in listeners.addresses() {
                tracing::info!("listening on {scheme}://{address}");
            }
        }
        Ok(servers)
    }

    /// Starts to read certificates and tokens anew when they change.
    fn watch(&self) {
        if let Some(tls) = &self.tls {
            let (paths, tls, metrics) = (tls.paths(), tls.clone(), self.limits.metrics.clone());
            let loaded = tls.stamp();
            metrics.certificate(tls.expires());
            let reload = move || {
                tls.reload()?;
                metrics.certificate(tls.expires());
                Ok(())
            };
            let watched = Watched {
                what: "certificate and key",
                paths,
                loaded,
                reload: Box::new(reload),
            };
            tokio::spawn(watched.keep(Hangups::new()));
        }
        if let Some(tokens) = &self.tokens {
            tokio::spawn(watched(tokens).keep(Hangups::new()));
        }
    }
}

/// Reads tokens anew when they change.
pub(in crate::cli) fn watched(tokens: &TokenFile) -> Watched {
    let (paths, loaded) = (vec![tokens.path().to_owned()], tokens.stamp());
    let tokens = tokens.clone();
    Watched {
        what: "tokens",
        paths,
        loaded,
        reload: Box::new(move || tokens.reload()),
    }
}
