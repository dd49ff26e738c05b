//! Decides which table keeps a sequence, from the tables that the server has.

use crate::quote;
use crate::rows::{self, Rows};
use crate::server::Server;
use crate::tickets::Tickets;

/// The key whose table both the original program and this engine create.
pub(crate) const ORIGINAL: &str = "integers";

/// A table, as `information_schema` describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Table {
    /// `InnoDB`, `MyISAM`, …; empty for views.
    pub(crate) engine: String,
    /// `BASE TABLE`, `VIEW`, …
    pub(crate) kind: String,
    pub(crate) columns: Vec<Column>,
}

/// A column, as `information_schema` describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Column {
    pub(crate) name: String,
    /// Such as `bigint(20) unsigned`.
    pub(crate) form: String,
    /// `PRI`, `UNI`, `MUL` or empty.
    pub(crate) index: String,
    /// Such as `auto_increment`.
    pub(crate) extra: String,
}

impl Table {
    fn column(&self, name: &str) -> Option<&Column> {
        self.columns
            .iter()
            .find(|column| column.name.eq_ignore_ascii_case(name))
    }

    /// Whether this can be a table of the original program, possibly with defects.
    fn is_tickets(&self) -> bool {
        self.column("stub").is_some()
            && self
                .column("id")
                .is_some_and(|id| id.extra.to_ascii_lowercase().contains("auto_increment"))
    }
}

/// The tables and rows in the database for one key.
#[derive(Clone, Debug, Default)]
pub(crate) struct Found {
    /// The table with the same name as the key.
    pub(crate) namesake: Option<Table>,
    /// The engine's own table.
    pub(crate) rows: Option<Table>,
    /// Whether that table has a row for the key.
    pub(crate) has_row: bool,
}

/// Where a sequence is kept, or would be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// In a ticket table of its own.
    Tickets(Tickets),
    /// In a row of the engine's table.
    Rows(Rows),
}

/// The decision about a sequence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) layout: Layout,
    /// Whether the sequence exists; for a ticket table, whether the table exists.
    pub(crate) exists: bool,
    /// The statement that creates the table if it does not exist.
    pub(crate) create: Option<String>,
}

/// Decides. The error is a message that states the problem and what to do.
pub(crate) fn decide(key: &str, found: &Found, server: &Server) -> Result<Plan, String> {
    let tickets = match &found.namesake {
        Some(table) if table.is_tickets() => Some(table),
        Some(_) if key == ORIGINAL => {
            return Err(format!(
                "the table {ORIGINAL} has no AUTO_INCREMENT column `id` and column `stub`, so it \
                 is no ticket table; give this sequence another key, or rename that table"
            ));
        }
        // An unrelated table with the same name as the key.
        _ => None,
    };
    if let Some(table) = tickets {
        if found.has_row {
            return Err(format!(
                "the sequence `{key}` is kept twice, in the ticket table {} and in a row of {}; \
                 when nothing mints from the ticket table any more, rename it: {}",
                quote::name(key),
                quote::name(rows::TABLE),
                retire(key)
            ));
        }
        usable(key, table, server)?;
        return Ok(Plan {
            layout: Layout::Tickets(Tickets::new(key)),
            exists: true,
            create: None,
        });
    }
    if key == ORIGINAL && !found.has_row && promise(server, "InnoDB").is_ok() {
        return Ok(Plan {
            layout: Layout::Tickets(Tickets::new(key)),
            exists: false,
            create: Some(Tickets::create(key)),
        });
    }
    if let Some(table) = &found.rows {
        own(table)?;
    }
    Ok(Plan {
        layout: Layout::Rows(Rows::new(key)),
        exists: found.has_row,
        create: found.rows.is_none().then(Rows::create),
    })
}

/// Checks a ticket table.
fn usable(key: &str, table: &Table, server: &Server) -> Result<(), String> {
    let name = quote::name(key);
    if !table.kind.eq_ignore_ascii_case("BASE TABLE") {
        return Err(format!(
            "{name} is a {}; a ticket table must be a BASE TABLE",
            table.kind
        ));
    }
    let id = table.column("id").map_or("", |id| id.form.as_str());
    if !id.to_ascii_lowercase().starts_with("bigint") {
        return Err(format!(
            "the column id of the ticket table {name} has the type {id}, which is too small for \
             some integers; run: ALTER TABLE {name} MODIFY id BIGINT UNSIGNED NOT NULL \
             AUTO_INCREMENT"
        ));
    }
    let unique = table
        .column("stub")
        .is_some_and(|stub| matches!(&*stub.index, "UNI" | "PRI"));
    if !unique {
        return Err(format!(
            "the column stub of the ticket table {name} is not unique, so every mint would add a \
             row; keep one row, then run: ALTER TABLE {name} ADD UNIQUE KEY stub (stub)"
        ));
    }
    promise(server, &table.engine).map_err(|why| {
        let engine = if server.is_alone() && !server.is_lookalike() {
            format!(
                " Or change the table's storage engine: ALTER TABLE {name} ENGINE={}",
                match server.innodb_repeats() {
                    None => "InnoDB",
                    Some(_) => "MyISAM (which a crash of the server may damage)",
                }
            )
        } else {
            String::new()
        };
        format!(
            "the ticket table {name} cannot be used: {why}. Move the sequence to a row of {own}: \
             {create}; INSERT INTO {own} (name,mark) SELECT {value},COALESCE(MAX(id),0)+1000000 \
             FROM {name}; {retire}. All clients of the ticket table must then mint through this \
             engine.{engine}",
            own = quote::name(rows::TABLE),
            create = Rows::create(),
            value = quote::bytes(key),
            retire = retire(key),
        )
    })
}

/// Whether the server guarantees what ticket tables need; the error is the reason why not.
fn promise(server: &Server, engine: &str) -> Result<(), String> {
    if let Some(product) = server.lookalike {
        return Err(format!(
            "{product} uses MySQL's protocol, but its LOCK TABLES and AUTO_INCREMENT may not work \
             in the same way"
        ));
    }
    if server.galera {
        return Err(
            "on a Galera cluster each node has its own table locks and its own AUTO_INCREMENT \
             counter, so nodes could hand out the same integer"
                .into(),
        );
    }
    if server.multi_primary {
        return Err(
            "in a replication group with several primaries each has its own table locks and its \
             own AUTO_INCREMENT counter, so they could hand out the same integer"
                .into(),
        );
    }
    match engine.to_ascii_lowercase().as_str() {
        "myisam" => Ok(()),
        "innodb" => match server.innodb_repeats() {
            None => Ok(()),
            Some(why) => Err(format!("{why}, so integers could repeat")),
        },
        _ => Err(format!(
            "its storage engine is {engine}, but only the counters of InnoDB and MyISAM are known \
             to be safe"
        )),
    }
}

/// Checks the engine's own table, in case it was created otherwise.
fn own(table: &Table) -> Result<(), String> {
    let name = table.column("name");
    let mark = table.column("mark");
    let good = table.kind.eq_ignore_ascii_case("BASE TABLE")
        && name.is_some_and(|c| c.form.eq_ignore_ascii_case("varbinary(128)") && c.index == "PRI")
        && mark.is_some_and(|c| {
            let form = c.form.to_ascii_lowercase();
            form.starts_with("bigint") && !form.contains("unsigned")
        });
    if good {
        return Ok(());
    }
    Err(format!(
        "the table {} is not as this engine makes it; rename it, or create it like this: {}",
        quote::name(rows::TABLE),
        Rows::create()
    ))
}

fn retire(key: &str) -> String {
    format!(
        "RENAME TABLE {} TO {}",
        quote::name(key),
        quote::name(&format!("{key}_retired"))
    )
}

#[cfg(test)]
#[path = "layout_tests.rs"]
mod tests;
