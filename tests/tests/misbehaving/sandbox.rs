//! What a component can reach: only what it was given.

use super::*;

/// Attempts to escape, as `HABIT?to=WHERE`, for DSNs that do not list the address.
const ATTEMPTS: [&str; 8] = [
    "listens",
    "talks?to=127.0.0.1:53",
    "resolves?to=localhost",
    "resolves?to=example.com",
    "reads?to=/etc/passwd",
    "reads?to=/proc/self/environ",
    "environment",
    "dials?to=127.0.0.1:",
];

#[test]
fn nothing_is_reached_that_was_not_given() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let other = TcpListener::bind("127.0.0.1:0").expect("a port");
    let named = other.local_addr().expect("bound");
    run(async {
        // Permission for an address in the DSN must not permit anything else.
        for authority in [String::new(), named.to_string(), "localhost:9".to_owned()] {
            for attempt in ATTEMPTS {
                if attempt.starts_with("resolves") && authority.starts_with("localhost") {
                    continue;
                }
                let attempt = match attempt.strip_suffix(':') {
                    Some(dials) => format!("{dials}:{port}"),
                    None => attempt.to_owned(),
                };
                let dsn = format!("misbehaving://{authority}/{attempt}");
                let opened = open_with(options(), &dsn).await;
                let sequence = opened.unwrap_or_else(|e| panic!("{dsn}: {e}"));
                let error = failure(&sequence).await;
                assert_eq!(kind(&error), "denied", "{dsn}: {error}");
            }
        }
    });
    listener.set_nonblocking(true).expect("set");
    assert!(listener.accept().is_err(), "somebody connected");
}

/// The positive control of the test above: with permission, the attempt succeeds.
#[test]
fn what_was_given_is_reached() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    run(async {
        let named = format!("misbehaving://{address}/dials?to={address}");
        let sequence = open_with(options(), &named).await.expect("opened");
        let error = failure(&sequence).await;
        assert!(error.to_string().starts_with("ESCAPED"), "{error}");

        // Another address is refused with a hint how to allow it, and then allowed.
        let unnamed = format!("misbehaving://127.0.0.1:9/dials?to={address}");
        let sequence = open_with(options(), &unnamed).await.expect("opened");
        let error = failure(&sequence).await;
        assert_eq!(kind(&error), "denied", "{error}");
        let hint = format!("--allow-host {address}");
        assert!(error.to_string().contains(&hint), "{error}");

        let mut allowing = options();
        allowing.allow = vec![int_host_address(&address.to_string())];
        let sequence = open_with(allowing, &unnamed).await.expect("opened");
        let error = failure(&sequence).await;
        assert!(error.to_string().starts_with("ESCAPED"), "{error}");
    });
}

/// Only names in the DSN or in the user's options are resolved. Otherwise a component could leak data through
/// the names it resolves, to whoever runs their name servers. Both versions of the interface are tested.
#[test]
fn only_names_that_were_given_are_looked_up() {
    run(async {
        let attempt = async |authority: &str, habit: &str, name: &str, allow: &[&str]| {
            let mut options = options();
            options.allow = allow.iter().map(|host| int_host_address(host)).collect();
            let dsn = format!("misbehaving://{authority}/{habit}?to={name}");
            failure(&open_with(options, &dsn).await.expect("opened")).await
        };
        for habit in ["resolves", "resolves-p3"] {
            for (authority, name) in [
                ("localhost:9", "hunter2.localhost"),
                ("localhost:9", "localhost.localdomain"),
                ("127.0.0.1:9", "localhost"),
                ("127.0.0.1:9,[::1]:9", "hunter2.example.com"),
            ] {
                let error = attempt(authority, habit, name, &[]).await;
                assert_eq!(kind(&error), "denied", "{habit} {name}: {error}");
                let text = error.to_string();
                for part in [
                    format!("tried to look up {name}"),
                    format!("--allow-host {name}"),
                ] {
                    assert!(text.contains(&part), "{habit}: no {part:?} in {text}");
                }
            }
            for (authority, name, allow) in [
                ("localhost:9", "localhost", &[][..]),
                ("localhost:9", "LOCALhost", &[]),
                ("localhost:9", "127.0.0.2", &[]),
                ("127.0.0.1:9", "localhost", &["localhost"]),
                ("other.example:9", "localhost", &["localhost:1"]),
            ] {
                let error = attempt(authority, habit, name, allow).await;
                let text = error.to_string();
                assert!(
                    text.starts_with("ESCAPED"),
                    "{habit} {authority} {name}: {text}"
                );
            }
        }
    });
}

/// The hint about a refused address is attached only to the error of the call that was refused, in the same
/// instance.
#[test]
fn a_refusal_is_not_told_twice() {
    run(async {
        let host = Host::new(options()).expect("a host");
        let config = |key: &str| Config {
            dsn: "misbehaving://127.0.0.1:9/grumbles?to=127.0.0.1:10".into(),
            key: key.into(),
            ..Config::default()
        };
        let open = async |key| host.open(component(), config(key)).await.expect("opened");
        let (one, other) = (open("one").await, open("other").await);
        for _ in 0..2 {
            // The engine dials in the first call only, and reports its backend as away in both.
            let error = failure(&one).await;
            assert_eq!(
                kind(&error),
                "unavailable",
                "what the engine says it is: {error}"
            );
            assert!(
                error.to_string().contains("--allow-host 127.0.0.1:10"),
                "{error}"
            );
            let error = failure(&one).await;
            assert_eq!(error, Error::Unavailable("the backend is away".into()));
            let error = failure(&other).await;
            assert!(error.to_string().contains("--allow-host"), "{error}");
            let error = failure(&other).await;
            assert_eq!(error, Error::Unavailable("the backend is away".into()));
        }
    });
}

fn int_host_address(text: &str) -> engine_dsn::Address {
    engine_dsn::Address::parse(text).expect("an address")
}
