//! A client of MySQL on `mysql_async`.

use anyhow::Context;
use engine_dsn::Dsn;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, OptsBuilder};
use std::fmt::Write;
use tokio::sync::Mutex;

const PORT: u16 = 3306;

pub(super) struct Mysql(Mutex<Conn>);

impl Mysql {
    pub(super) async fn connect(dsn: &Dsn) -> anyhow::Result<Self> {
        let address = dsn.addresses().first().context("the DSN names no host")?;
        let options = OptsBuilder::default()
            .ip_or_hostname(address.host.clone())
            .tcp_port(address.port_or(PORT))
            .user(dsn.user())
            .pass(dsn.password().map(|password| password.reveal()))
            .db_name(Some(dsn.path()))
            .prefer_socket(false)
            .stmt_cache_size(0);
        let mut conn = Conn::new(options).await?;
        // The same table as the engine creates.
        conn.query_drop(
            "CREATE TABLE IF NOT EXISTS `artisanal_integers` (name VARBINARY(128) NOT NULL, \
             mark BIGINT NOT NULL, PRIMARY KEY (name)) ENGINE=InnoDB",
        )
        .await?;
        Ok(Self(Mutex::new(conn)))
    }

    pub(super) async fn advance(&self, key: &str, by: i64) -> anyhow::Result<i64> {
        let key = key.bytes().fold(String::new(), |mut hex, byte| {
            // Writing to a string cannot fail.
            let _ = write!(hex, "{byte:02X}");
            hex
        });
        let statement = format!(
            "INSERT INTO `artisanal_integers` (name,mark) VALUES (X'{key}',LAST_INSERT_ID({by})) \
             ON DUPLICATE KEY UPDATE mark=CAST(LAST_INSERT_ID(mark+{by}) AS SIGNED)"
        );
        let mut conn = self.0.lock().await;
        let result = conn.query_iter(statement).await?;
        let mark = result
            .last_insert_id()
            .context("the database returned no mark")?;
        result.drop_result().await?;
        Ok(mark.cast_signed())
    }
}
