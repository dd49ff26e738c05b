//! The connection, and whether the stream can be a ledger's log.

use super::reading::Failure;
use super::{Counts, Options, Status};
use crate::Error;
use async_nats::jetstream::context::{ContextBuilder, CreateStreamErrorKind, GetStreamErrorKind};
use async_nats::jetstream::stream::{
    Config, Info, PersistenceMode, RetentionPolicy, StorageType, Stream,
};
use async_nats::jetstream::{Context, ErrorCode};
use async_nats::{Client, ConnectErrorKind, ConnectOptions, Event};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::sleep;

/// How long the stream has to answer a request. It has to write a message to its disks, and its servers may have to elect
/// a leader.
const PATIENCE: Duration = Duration::from_secs(5);

/// The pause between attempts to reach the servers.
pub(super) const PAUSE: Duration = Duration::from_millis(500);

/// How many failed attempts lie between two lines in the log.
const QUIET: u32 = 20;

/// How often servers are asked for a sign of life.
const ALIVE: Duration = Duration::from_secs(10);

/// For how long the stream drops messages that come again. The read model drops those that come later.
const REPEATS: Duration = Duration::from_secs(120);

/// How many messages may be without an acknowledgement.
const UNACKNOWLEDGED: usize = 4096;

/// A connection to the stream.
#[derive(Clone)]
pub(super) struct Connected {
    pub(super) client: Client,
    pub(super) context: Context,
    pub(super) stream: Stream<()>,
    pub(super) name: String,
}

impl Connected {
    /// Connects, and makes the stream if it does not exist. Waits for the servers.
    pub(super) async fn open(
        options: &Options,
        counts: &Arc<Counts>,
        status: &Arc<watch::Sender<Status>>,
    ) -> Result<Self, Error> {
        let client = connect(options, counts, status).await?;
        let context = ContextBuilder::new()
            .timeout(PATIENCE)
            .max_ack_inflight(UNACKNOWLEDGED)
            .backpressure_on_inflight(true)
            .build(client.clone());
        let mut failures = 0_u32;
        let info = loop {
            match find(&context, options).await {
                Ok(info) => break info,
                Err(error @ Error::Misconfigured(_)) => return Err(error),
                Err(error) => warn(&mut failures, &error.to_string()),
            }
            sleep(PAUSE).await;
        };
        check(&info.config, options)?;
        let stream = context.get_stream_no_info(&options.stream).await;
        let stream = stream.map_err(|error| Error::Misconfigured(error.to_string()))?;
        Ok(Self {
            client,
            context,
            stream,
            name: options.stream.clone(),
        })
    }

    /// What the leader of the stream says of it.
    ///
    /// # Errors
    /// [`Failure::Again`] if it does not answer. While there is no leader, any server answers, which may lack messages.
    pub(super) async fn info(&self) -> Result<Info, Failure> {
        let info = self.stream.get_info().await;
        let info = info.map_err(|error| Failure::Again(error.to_string()))?;
        match &info.cluster {
            Some(cluster) if cluster.leader.as_ref().is_none_or(String::is_empty) => {
                Err(Failure::Again("the stream has no leader".into()))
            }
            _ => Ok(info),
        }
    }
}

/// The subject of a partition's messages.
pub(super) fn subject(stream: &str, partition: u16) -> String {
    format!("{stream}.{partition}")
}

/// Logs the first of many failures.
pub(super) fn warn(failures: &mut u32, reason: &str) {
    if failures.is_multiple_of(QUIET) {
        tracing::warn!(reason, "the NATS stream cannot be used yet; trying again");
    }
    *failures = failures.wrapping_add(1);
}

async fn connect(
    options: &Options,
    counts: &Arc<Counts>,
    status: &Arc<watch::Sender<Status>>,
) -> Result<Client, Error> {
    let mut failures = 0;
    let scheme = if options.tls { "tls" } else { "nats" };
    let servers = options.servers.iter();
    let servers: Vec<_> = servers
        .map(|server| format!("{scheme}://{server}"))
        .collect();
    loop {
        let connecting = settings(options, counts, status).connect(servers.clone());
        let error = match connecting.await {
            Ok(client) => return Ok(client),
            Err(error) => error,
        };
        match error.kind() {
            ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation => {
                return Err(Error::Misconfigured(
                    "the NATS server refuses the login of --store".into(),
                ));
            }
            ConnectErrorKind::ServerParse => {
                return Err(Error::Misconfigured(format!("--store: {error}")));
            }
            _ => warn(&mut failures, &error.to_string()),
        }
        sleep(PAUSE).await;
    }
}

fn settings(
    options: &Options,
    counts: &Arc<Counts>,
    status: &Arc<watch::Sender<Status>>,
) -> ConnectOptions {
    let (counts, status) = (Arc::clone(counts), Arc::clone(status));
    let connected_before = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let mut settings = ConnectOptions::new()
        .name("artisanal-ledger")
        .connection_timeout(PATIENCE)
        .request_timeout(Some(PATIENCE))
        .ping_interval(ALIVE)
        .require_tls(options.tls)
        .reconnect_delay_callback(|attempts| match attempts {
            0 | 1 => Duration::ZERO,
            _ => PAUSE,
        })
        .event_callback(move |event| {
            let again = || connected_before.swap(true, Ordering::Relaxed);
            match event {
                Event::Connected if again() => {
                    counts.reconnects.fetch_add(1, Ordering::Relaxed);
                    tracing::info!("connected to NATS again");
                }
                Event::Disconnected => tracing::warn!("the connection to NATS is lost"),
                Event::ServerError(error) => tracing::warn!(%error, "NATS"),
                Event::ClientError(error) => tracing::debug!(%error, "NATS"),
                _ => {}
            }
            // Those who look at the status want to know.
            status.send_modify(|_| {});
            async {}
        });
    if let Some((user, password)) = &options.login {
        settings = settings.user_and_password(user.clone(), password.reveal().to_owned());
    }
    if let Some(token) = &options.token {
        settings = settings.token(token.reveal().to_owned());
    }
    if let Some(file) = &options.ca_file {
        settings = settings.add_root_certificates(file.clone());
    }
    settings
}

/// The stream, which is made if there is none.
async fn find(context: &Context, options: &Options) -> Result<Info, Error> {
    let unavailable = |error: &dyn std::fmt::Display| Error::Unavailable(error.to_string());
    match context.get_stream(&options.stream).await {
        Ok(stream) => return Ok(stream.cached_info().clone()),
        Err(error) => match error.kind() {
            GetStreamErrorKind::JetStream(error)
                if error.error_code() == ErrorCode::STREAM_NOT_FOUND => {}
            GetStreamErrorKind::JetStream(error)
                if error.error_code() == ErrorCode::JETSTREAM_NOT_ENABLED =>
            {
                return Err(Error::Misconfigured(
                    "the NATS server of --store has no JetStream".into(),
                ));
            }
            _ => return Err(unavailable(&error)),
        },
    }
    let name = &options.stream;
    let config = Config {
        name: name.clone(),
        subjects: vec![format!("{name}.*")],
        storage: StorageType::File,
        retention: RetentionPolicy::Limits,
        max_messages: -1,
        max_bytes: -1,
        max_messages_per_subject: -1,
        max_message_size: -1,
        max_consumers: -1,
        num_replicas: options.replicas.unwrap_or(1),
        duplicate_window: REPEATS,
        deny_delete: true,
        deny_purge: true,
        description: Some("The events of artisanal ledgers".into()),
        ..Config::default()
    };
    match context.create_stream(config).await {
        Ok(stream) => {
            tracing::info!(stream = name, "made the stream");
            Ok(stream.cached_info().clone())
        }
        Err(error) => Err(match error.kind() {
            // Another ledger made it just now.
            CreateStreamErrorKind::JetStream(failed)
                if failed.error_code() == ErrorCode::STREAM_NAME_EXIST =>
            {
                unavailable(&error)
            }
            CreateStreamErrorKind::JetStream(failed)
                if matches!(
                    failed.error_code(),
                    ErrorCode::STREAM_REPLICAS_NOT_SUPPORTED
                        | ErrorCode::STREAM_SUBJECT_OVERLAP
                        | ErrorCode::STORAGE_RESOURCES_EXCEEDED
                ) =>
            {
                Error::Misconfigured(format!("the stream {name} cannot be made: {failed}"))
            }
            _ => unavailable(&error),
        }),
    }
}

/// Refuses a stream that loses messages, or does not have them all.
fn check(config: &Config, options: &Options) -> Result<(), Error> {
    let name = &options.stream;
    let mut wrong = Vec::new();
    let mut expect = |fits: bool, setting: &str, found: &dyn std::fmt::Debug, wanted: &str| {
        if !fits {
            wrong.push(format!("{setting} is {found:?} and has to be {wanted}"));
        }
    };
    let subjects = vec![format!("{name}.*")];
    expect(
        config.subjects == subjects,
        "subjects",
        &config.subjects,
        &format!("{subjects:?}"),
    );
    let file = config.storage == StorageType::File;
    expect(file, "storage", &config.storage, "File");
    let limits = config.retention == RetentionPolicy::Limits;
    expect(limits, "retention", &config.retention, "Limits");
    let none = "without a limit";
    expect(config.max_age.is_zero(), "max_age", &config.max_age, none);
    expect(config.max_bytes <= 0, "max_bytes", &config.max_bytes, none);
    expect(
        config.max_messages <= 0,
        "max_msgs",
        &config.max_messages,
        none,
    );
    let each = config.max_messages_per_subject;
    expect(each <= 0, "max_msgs_per_subject", &each, none);
    let size = config.max_message_size;
    expect(size <= 0, "max_msg_size", &size, none);
    expect(!config.no_ack, "no_ack", &config.no_ack, "false");
    expect(!config.sealed, "sealed", &config.sealed, "false");
    let rollup = config.allow_rollup;
    expect(!rollup, "allow_rollup_hdrs", &rollup, "false");
    let ttl = config.allow_message_ttl;
    expect(!ttl, "allow_msg_ttl", &ttl, "false");
    let mirror = config.mirror.is_some();
    expect(!mirror, "mirror", &mirror, "none");
    let sources = config.sources.as_ref().is_some_and(|all| !all.is_empty());
    expect(!sources, "sources", &sources, "none");
    let transform = config.subject_transform.is_some();
    expect(!transform, "subject_transform", &transform, "none");
    let mode = &config.persist_mode;
    let asynchronous = matches!(mode, Some(PersistenceMode::Async));
    expect(!asynchronous, "persist_mode", mode, "default");
    if let Some(replicas) = options.replicas {
        let found = config.num_replicas;
        expect(
            found == replicas,
            "num_replicas",
            &found,
            &replicas.to_string(),
        );
    }
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(Error::Misconfigured(format!(
            "the stream {name} cannot keep the events of a ledger: {}",
            wrong.join("; ")
        )))
    }
}
