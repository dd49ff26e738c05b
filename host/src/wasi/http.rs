//! The HTTP client behind `wasi:http/client`: it has a connection pool and connects only to allowed addresses.

use crate::metrics::EngineMetrics;
use crate::simulated::Simulated;
use crate::wasi::network::Grant;
use crate::wasi::server::{LastWritten, Server};
use crate::wasi::tls;
use engine_dsn::Address;
use http::Uri;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client as HyperClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use std::time::Duration;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

/// The timeout for the start of a response when the component sets none.
const FIRST_BYTE: Duration = Duration::from_secs(60);

/// The timeout for establishing a TCP connection.
const CONNECT: Duration = Duration::from_secs(5);

/// The connection pool that all components of one host share.
#[derive(Clone)]
pub(crate) struct Client {
    http: HyperClient<hyper_rustls::HttpsConnector<HttpConnector>, WasiBody>,
    /// For the connections that components make themselves.
    pub(crate) tls: tls::Settings,
}

impl Client {
    pub(crate) fn new(settings: tls::Settings) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT));
        let tls = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(settings.strict())
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        Self {
            http: HyperClient::builder(TokioExecutor::new()).build(tls),
            tls: settings,
        }
    }
}

/// One component's access to the client.
pub(crate) struct Hooks {
    pub(crate) client: Client,
    pub(crate) grant: Grant,
    pub(crate) metrics: EngineMetrics,
    pub(crate) written: LastWritten,
    pub(crate) simulated: Option<Simulated>,
}

type Sent = Result<
    (
        http::Response<WasiBody>,
        Box<dyn Future<Output = Result<(), Error>> + Send>,
    ),
    wasmtime_wasi_http::Error,
>;

/// How many bytes of a component's body (mostly a response body) the host takes at a time. The host keeps
/// them while a client reads slowly, so this is part of the memory that each connection needs.
const CHUNK: usize = 16 << 10;

impl WasiHttpHooks for Hooks {
    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        CHUNK
    }

    fn p3_outgoing_body_chunk_size(&mut self) -> usize {
        CHUNK
    }

    fn send_request(
        &mut self,
        mut request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
        _done: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Sent> + Send> {
        let grant = self.grant.clone();
        let client = self.client.http.clone();
        let metrics = self.metrics.clone();
        let written = self.written.clone();
        let simulated = self.simulated.clone();
        Box::new(async move {
            let uri = request.uri();
            let default = if uri.scheme_str() == Some("https") {
                443
            } else {
                80
            };
            let port = uri.port_u16().unwrap_or(default);
            let host = uri.host().ok_or(Error::HttpRequestUriInvalid)?;
            let Some(allowed) = grant.host(host, port).await else {
                metrics.connected(false);
                return Err(Error::HttpRequestDenied);
            };
            let server = allowed.clone();
            written.set(Server::Http(Address {
                host: server.clone(),
                port: Some(port),
            }));
            if !allowed.eq(host.trim_start_matches('[').trim_end_matches(']')) {
                let uri = at(uri, allowed, port).ok_or(Error::HttpRequestUriInvalid)?;
                *request.uri_mut() = uri;
            }
            let limit = options
                .and_then(|o| o.first_byte_timeout)
                .unwrap_or(FIRST_BYTE);
            if let Some(simulated) = simulated {
                return exchange(&simulated, request, limit).await;
            }
            let response = tokio::time::timeout(limit, client.request(request))
                .await
                .map_err(|_| Error::ConnectionReadTimeout)?
                .map_err(|error| match (error.is_connect(), tls::inside(&error)) {
                    (_, Some(cause)) => {
                        // The error codes of `wasi:http` have no room for the reason.
                        grant.distrust(tls::explain(cause, &server));
                        Error::TlsCertificateError
                    }
                    (true, None) => Error::ConnectionRefused,
                    (false, None) => Error::ConnectionTerminated,
                })?;
            let response = response.map(|body| body.map_err(Error::from).boxed_unsync());
            Ok((
                response,
                Box::new(async { Ok(()) }) as Box<dyn Future<Output = _> + Send>,
            ))
        })
    }
}

/// Sends the request in a simulation.
async fn exchange(
    simulated: &Simulated,
    request: http::Request<WasiBody>,
    limit: Duration,
) -> Sent {
    let (parts, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let sent = simulated.send(http::Request::from_parts(parts, body));
    let response = tokio::time::timeout(limit, sent)
        .await
        .map_err(|_| Error::ConnectionReadTimeout)?
        .ok_or(Error::ConnectionTerminated)?;
    let response = response.map(|body| Full::new(body).map_err(|e| match e {}).boxed_unsync());
    Ok((response, Box::new(async { Ok(()) })))
}

/// The same URL with its host in another spelling.
fn at(uri: &Uri, host: String, port: u16) -> Option<Uri> {
    let address = Address {
        host,
        port: Some(port),
    };
    let mut parts = uri.clone().into_parts();
    parts.authority = Some(address.to_string().parse().ok()?);
    Uri::from_parts(parts).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_spelling_of_the_host_leaves_the_rest() {
        let uri: Uri = "http://LocalHost:4001/db?x=1".parse().unwrap();
        let other = at(&uri, "localhost".into(), 4001).unwrap();
        assert_eq!(other.to_string(), "http://localhost:4001/db?x=1");
        let other = at(&uri, "::1".into(), 80).unwrap();
        assert_eq!(other.to_string(), "http://[::1]:80/db?x=1");
    }
}
