//! Tests of the choice of the table.

use super::*;

fn column(name: &str, form: &str, index: &str, extra: &str) -> Column {
    Column {
        name: name.into(),
        form: form.into(),
        index: index.into(),
        extra: extra.into(),
    }
}

fn table(engine: &str, columns: Vec<Column>) -> Table {
    Table {
        engine: engine.into(),
        kind: "BASE TABLE".into(),
        columns,
    }
}

fn tickets(engine: &str) -> Table {
    table(
        engine,
        vec![
            column("id", "bigint(20) unsigned", "PRI", "auto_increment"),
            column("stub", "char(1)", "UNI", ""),
        ],
    )
}

fn rows() -> Table {
    table(
        "InnoDB",
        vec![
            column("name", "varbinary(128)", "PRI", ""),
            column("mark", "bigint(20)", "", ""),
        ],
    )
}

fn server(version: &str) -> Server {
    Server::read([("version", version)])
}

fn mariadb() -> Server {
    server("10.11.6-MariaDB")
}

fn namesake(table: Table) -> Found {
    Found {
        namesake: Some(table),
        ..Found::default()
    }
}

fn refusal(key: &str, found: &Found, server: &Server) -> String {
    decide(key, found, server).expect_err("refused")
}

#[test]
fn an_empty_database() {
    let plan = decide("integers", &Found::default(), &mariadb()).unwrap();
    assert_eq!(plan.layout, Layout::Tickets(Tickets::new("integers")));
    assert!(!plan.exists);
    let create = plan.create.unwrap();
    assert!(create.starts_with("CREATE TABLE IF NOT EXISTS `integers` (id BIGINT UNSIGNED"));

    let plan = decide("Integers", &Found::default(), &mariadb()).unwrap();
    assert_eq!(plan.layout, Layout::Rows(Rows::new("Integers")));
    assert!(!plan.exists);
    assert!(
        plan.create
            .unwrap()
            .contains("`artisanal_integers` (name VARBINARY(128)")
    );
}

#[test]
fn the_originals_tables_are_used_whatever_their_name() {
    for key in ["integers", "london", "with `quotes`"] {
        for engine in ["MyISAM", "InnoDB"] {
            let plan = decide(key, &namesake(tickets(engine)), &mariadb()).unwrap();
            assert_eq!(plan.layout, Layout::Tickets(Tickets::new(key)));
            assert!(plan.exists);
            assert_eq!(plan.create, None);
        }
    }
}

#[test]
fn rows_are_used_where_there_are_some() {
    let mut found = Found {
        rows: Some(rows()),
        has_row: true,
        ..Found::default()
    };
    for key in ["integers", "london"] {
        let plan = decide(key, &found, &mariadb()).unwrap();
        assert_eq!(plan.layout, Layout::Rows(Rows::new(key)));
        assert!(plan.exists);
        assert_eq!(plan.create, None);
    }
    found.has_row = false;
    let plan = decide("london", &found, &mariadb()).unwrap();
    assert_eq!((plan.exists, plan.create), (false, None));
    // An unrelated table that happens to have the key's name.
    found.namesake = Some(table("InnoDB", vec![column("id", "int(11)", "PRI", "")]));
    assert!(decide("london", &found, &mariadb()).is_ok());
    assert!(refusal("integers", &found, &mariadb()).contains("no ticket table"));
}

#[test]
fn a_sequence_is_not_kept_twice() {
    let found = Found {
        namesake: Some(tickets("InnoDB")),
        rows: Some(rows()),
        has_row: true,
    };
    let message = refusal("integers", &found, &mariadb());
    assert!(message.contains("kept twice"), "{message}");
    assert!(
        message.contains("RENAME TABLE `integers` TO `integers_retired`"),
        "{message}"
    );
}

#[test]
fn ticket_tables_that_cannot_promise_are_refused() {
    let galera = Server::read([("version", "10.11.6-MariaDB"), ("wsrep_on", "ON")]);
    let group = Server::read([
        ("version", "8.0.36"),
        ("group_replication_single_primary_mode", "OFF"),
    ]);
    for (table, server, why) in [
        (tickets("InnoDB"), galera.clone(), "Galera"),
        (tickets("MyISAM"), galera.clone(), "Galera"),
        (tickets("InnoDB"), group.clone(), "several primaries"),
        (
            tickets("InnoDB"),
            server("5.7.44"),
            "MySQL's InnoDB sets an AUTO_INCREMENT counter back",
        ),
        (
            tickets("InnoDB"),
            server("8.4.3"),
            "MySQL's InnoDB sets an AUTO_INCREMENT counter back",
        ),
        (
            tickets("InnoDB"),
            server("10.6.18-MariaDB"),
            "InnoDB before MariaDB 10.11",
        ),
        (tickets("InnoDB"), server("8.0.11-TiDB-v7.5.0"), "TiDB uses"),
        (tickets("Aria"), mariadb(), "storage engine is Aria"),
    ] {
        let message = refusal("integers", &namesake(table), &server);
        assert!(message.contains(why), "{message}");
        assert!(
            message.contains("INSERT INTO `artisanal_integers`"),
            "{message}"
        );
    }
    for mysql in ["5.7.44", "8.4.3"] {
        assert!(decide("integers", &namesake(tickets("MyISAM")), &server(mysql)).is_ok());
    }
    let message = refusal("integers", &namesake(tickets("InnoDB")), &server("5.7.44"));
    assert!(message.contains("ENGINE=MyISAM"), "{message}");
    let message = refusal("integers", &namesake(tickets("Aria")), &mariadb());
    assert!(message.contains("ENGINE=InnoDB"), "{message}");
    // Without a ticket table nothing is refused: the sequence is kept in a row.
    for server in [galera, group, server("5.7.44"), server("8.4.3")] {
        let plan = decide("integers", &Found::default(), &server).unwrap();
        assert_eq!(plan.layout, Layout::Rows(Rows::new("integers")));
    }
}

#[test]
fn flawed_tables_are_refused_with_the_remedy() {
    let mut narrow = tickets("InnoDB");
    narrow.columns[0].form = "int(10) unsigned".into();
    let message = refusal("integers", &namesake(narrow), &mariadb());
    assert!(message.contains("MODIFY id BIGINT UNSIGNED"), "{message}");

    let mut many = tickets("InnoDB");
    many.columns[1].index = "MUL".into();
    let message = refusal("integers", &namesake(many), &mariadb());
    assert!(message.contains("ADD UNIQUE KEY stub"), "{message}");

    let mut versioned = tickets("InnoDB");
    versioned.kind = "SYSTEM VERSIONED".into();
    assert!(refusal("integers", &namesake(versioned), &mariadb()).contains("SYSTEM VERSIONED"));

    let mut unsigned = rows();
    unsigned.columns[1].form = "bigint(20) unsigned".into();
    let found = Found {
        rows: Some(unsigned),
        ..Found::default()
    };
    let message = refusal("london", &found, &mariadb());
    assert!(message.contains("not as this engine makes it"), "{message}");
}
