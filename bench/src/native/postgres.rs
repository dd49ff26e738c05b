//! A client of PostgreSQL on `tokio-postgres`.

use anyhow::Context;
use engine_dsn::Dsn;
use tokio::task::AbortHandle;
use tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage};

const PORT: u16 = 5432;

pub(super) struct Postgres {
    client: Client,
    connection: AbortHandle,
}

impl Postgres {
    pub(super) async fn connect(dsn: &Dsn) -> anyhow::Result<Self> {
        let address = dsn.addresses().first().context("the DSN names no host")?;
        let mut config = Config::new();
        config
            .host(&address.host)
            .port(address.port_or(PORT))
            .user(dsn.user().context("the DSN names no user")?)
            .dbname(dsn.path());
        if let Some(password) = dsn.password() {
            config.password(password.reveal());
        }
        let (client, connection) = config.connect(NoTls).await?;
        let connection = tokio::spawn(connection).abort_handle();
        // The same table as the engine creates.
        client
            .batch_execute(
                "CREATE TABLE IF NOT EXISTS artisanal_integers \
                 (name text COLLATE \"C\" PRIMARY KEY, mark bigint NOT NULL)",
            )
            .await?;
        Ok(Self { client, connection })
    }

    pub(super) async fn advance(&self, key: &str, by: i64) -> anyhow::Result<i64> {
        let key = key.replace('\'', "''");
        let statement = format!(
            "INSERT INTO artisanal_integers AS own (name,mark) VALUES ('{key}',{by}) \
             ON CONFLICT (name) DO UPDATE SET mark=own.mark+{by} RETURNING mark"
        );
        let messages = self.client.simple_query(&statement).await?;
        let mark = messages.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0),
            _ => None,
        });
        Ok(mark.context("the database returned no mark")?.parse()?)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.connection.abort();
    }
}
