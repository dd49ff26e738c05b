//! The metrics of `int-host serve` and `int-host node`, and the dashboard and the alerts that use them.

mod failovers;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use testbed::TestResult;
use testbed::cli::{Place, Serving};
use testbed::http::{Answer, request};
use testbed::port;
use testbed::quorum::{Options, Quorum};
use testbed::redis::Redis;

/// A server, and the port of its metrics.
struct Watched {
    serving: Serving,
    port: u16,
}

impl Watched {
    fn start(arguments: &[&str]) -> TestResult<Self> {
        let port = port::free()?;
        let address = format!("127.0.0.1:{port}");
        let mut all = vec!["--metrics", &address];
        all.extend(arguments);
        let serving = Place::new()?.serve(&all)?;
        Ok(Self { serving, port })
    }

    fn ask(&self, method: &str, path: &str) -> TestResult<Answer> {
        let url = format!("http://127.0.0.1:{}{path}", self.port);
        Ok(request(method, &url, &[], "")?)
    }

    fn scrape(&self) -> TestResult<Scrape> {
        scrape(self.port)
    }
}

/// Reads the metrics on this port.
fn scrape(port: u16) -> TestResult<Scrape> {
    let url = format!("http://127.0.0.1:{port}/metrics");
    let answer = request("GET", &url, &[], "")?;
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.header("content-type"),
        "text/plain; version=0.0.4; charset=utf-8"
    );
    Ok(Scrape::read(&answer.body))
}

/// Samples by name and labels as written, and the type of each family.
struct Scrape {
    types: BTreeMap<String, String>,
    samples: BTreeMap<String, f64>,
}

impl Scrape {
    /// Reads the text format and checks its rules: help and type come once and before the samples, and
    /// names end with what they count.
    fn read(text: &str) -> Self {
        let mut scrape = Self {
            types: BTreeMap::new(),
            samples: BTreeMap::new(),
        };
        let mut help = BTreeSet::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, words) = rest.split_once(' ').expect("a help");
                assert!(!words.is_empty(), "{line}");
                assert!(help.insert(name.to_owned()), "twice: {line}");
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').expect("a type");
                assert!(help.contains(name), "no help: {line}");
                assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
                assert!(!name.contains("milli") && !name.contains("micro"), "{line}");
                let before = scrape.types.insert(name.to_owned(), kind.to_owned());
                assert_eq!(before, None, "twice: {line}");
            } else {
                let (sample, value) = line.rsplit_once(' ').expect("a sample");
                let name = sample.split('{').next().expect("a name");
                assert!(scrape.family(name).is_some(), "no type: {line}");
                let value = value.parse().expect("a number");
                let before = scrape.samples.insert(sample.to_owned(), value);
                assert_eq!(before, None, "twice: {line}");
            }
        }
        scrape
    }

    /// The family of a sample.
    fn family(&self, name: &str) -> Option<&str> {
        let parts = ["_bucket", "_sum", "_count"];
        let base = parts.iter().find_map(|part| name.strip_suffix(part));
        [Some(name), base]
            .into_iter()
            .flatten()
            .find_map(|name| self.types.get_key_value(name))
            .map(|(name, _)| name.as_str())
    }

    fn get(&self, sample: &str) -> f64 {
        *self
            .samples
            .get(sample)
            .unwrap_or_else(|| panic!("no {sample} in {:#?}", self.samples.keys()))
    }
}

const INTEGERS: &str = r#"{engine="memory",key="integers"}"#;

fn of(name: &str) -> String {
    format!("artisanal_{name}{INTEGERS}")
}

fn with(name: &str, more: &str) -> String {
    format!(r#"artisanal_{name}{{engine="memory",key="integers",{more}}}"#)
}

#[test]
fn requests_integers_and_calls_are_counted() -> TestResult {
    let watched = Watched::start(&["--engine", "memory", "--admin-token", "secret-of-an-admin"])?;
    let serving = &watched.serving;
    assert_eq!(serving.get("/")?.body, "2");
    assert_eq!(serving.get("/?count=20")?.status, 200);
    assert_eq!(serving.get("/?count=0")?.status, 400);
    assert_eq!(serving.get("/nothing")?.status, 404);
    assert_eq!(serving.get("/last")?.body, "42");
    let raise = |last: i64| {
        serving.request(
            "PUT",
            "/v1/sequences/integers",
            &[("authorization", "Bearer secret-of-an-admin")],
            &format!("{{\"last\":{last}}}"),
        )
    };
    assert_eq!(raise(100)?.status, 200);
    assert_eq!(raise(50)?.status, 409);
    assert_eq!(serving.get("/")?.body, "102");
    let scrape = watched.scrape()?;
    assert_eq!(scrape.get(&of("integers_minted_total")), 22.0);
    // 2 to 42 and 102 are minted; 44 to 100 are not.
    assert_eq!(scrape.get(&of("integers_missed")), 29.0);
    assert_eq!(scrape.get(&of("sequence_last")), 102.0);
    assert_eq!(scrape.get(&of("engine_calls_in_flight")), 0.0);
    assert_eq!(scrape.get(&of("requests_waiting")), 0.0);
    assert_eq!(scrape.get(&of("engine_call_integers_sum")), 22.0);
    assert_eq!(
        scrape.get(&with("engine_call_integers_bucket", r#"le="1""#)),
        2.0
    );
    assert_eq!(
        scrape.get(&with("engine_call_integers_bucket", r#"le="+Inf""#)),
        3.0
    );
    for (operation, calls) in [("next", 3.0), ("last", 1.0), ("set-last", 2.0)] {
        let label = format!("operation=\"{operation}\"");
        assert_eq!(
            scrape.get(&with("engine_call_duration_seconds_count", &label)),
            calls,
            "{operation}"
        );
    }
    for family in ["engine_errors_total", "request_errors_total"] {
        assert_eq!(scrape.get(&with(family, r#"kind="too-small""#)), 1.0);
    }
    for (code, requests) in [("200", 5.0), ("400", 1.0), ("404", 1.0), ("409", 1.0)] {
        let sample = format!("artisanal_http_requests_total{{code=\"{code}\"}}");
        assert_eq!(scrape.get(&sample), requests, "{code}");
    }
    assert!(scrape.get("artisanal_connections_total") >= 1.0);
    assert!(scrape.get("process_resident_memory_bytes") > 1e6);
    let info = format!(
        "artisanal_build_info{{version=\"{}\"}}",
        env!("CARGO_PKG_VERSION")
    );
    assert_eq!(scrape.get(&info), 1.0);
    // Reading the metrics counts nothing.
    let again = watched.scrape()?;
    let requests = r#"artisanal_http_requests_total{code="200"}"#;
    assert_eq!(again.get(requests), scrape.get(requests));
    Ok(())
}

#[test]
fn a_backend_that_goes_and_comes_back_is_seen() -> TestResult {
    let redis = Redis::start()?;
    let dsn = format!("{}?timeout=2s", redis.dsn());
    let watched = Watched::start(&["--engine", "redis", "--dsn", &dsn])?;
    let dials = r#"artisanal_backend_connections_total{engine="redis"}"#;
    let failed = |family: &str| {
        format!(r#"artisanal_{family}{{engine="redis",key="integers",kind="unavailable"}}"#)
    };
    assert_eq!(watched.serving.get("/")?.status, 200);
    assert_eq!(watched.scrape()?.get(dials), 1.0);
    redis.kill();
    assert_eq!(watched.serving.get("/")?.status, 503);
    let scrape = watched.scrape()?;
    assert_eq!(scrape.get(&failed("engine_errors_total")), 1.0);
    assert_eq!(scrape.get(&failed("request_errors_total")), 1.0);
    let before = scrape.get(dials);
    redis.start_again()?;
    assert_eq!(watched.serving.get("/")?.status, 200);
    assert!(watched.scrape()?.get(dials) > before);
    Ok(())
}

/// Strangers who may mint need not read the metrics, and no secret is in them.
#[test]
fn metrics_have_a_port_of_their_own() -> TestResult {
    let watched = Watched::start(&["--engine", "memory", "--mint-token", "hunter2-hunter2"])?;
    assert_eq!(watched.serving.get("/metrics")?.status, 404);
    assert_eq!(watched.serving.get("/")?.status, 401);
    assert_eq!(watched.ask("GET", "/")?.status, 404);
    let refused = watched.ask("POST", "/metrics")?;
    assert_eq!(
        (refused.status, refused.header("allow")),
        (405, "GET, HEAD")
    );
    let head = watched.ask("HEAD", "/metrics")?;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    let text = watched.ask("GET", "/metrics")?.body;
    assert!(!text.contains("hunter2"), "{text}");
    let taken = format!("127.0.0.1:{}", watched.port);
    let run = Place::new()?.run(&[
        "--engine",
        "memory",
        "serve",
        "--port",
        "0",
        "--metrics",
        &taken,
    ])?;
    assert_eq!(run.code, Some(8), "{}", run.stderr);
    assert!(run.stderr.contains("in use"), "{}", run.stderr);
    let run = Place::new()?.run(&["serve", "--metrics", "localhost"])?;
    assert_eq!(run.code, Some(2), "{}", run.stderr);
    Ok(())
}

/// Keys are as many as the operator likes; labels are not.
#[test]
fn labels_have_a_bound() -> TestResult {
    let keys: Vec<_> = (0..300).map(|n| format!("k{n}")).collect();
    let watched = Watched::start(&["--engine", "memory", "--keys", &keys.join(",")])?;
    for key in &keys {
        let path = format!("/v1/sequences/{key}/next");
        assert_eq!(watched.serving.request("POST", &path, &[], "")?.status, 200);
    }
    let scrape = watched.scrape()?;
    let minted = |sample: &&String| sample.starts_with("artisanal_integers_minted_total{");
    assert_eq!(scrape.samples.keys().filter(minted).count(), 201);
    let others = r#"artisanal_integers_minted_total{engine="memory",key="(others)"}"#;
    assert_eq!(scrape.get(others), 101.0);
    Ok(())
}

/// The samples of a family, by their only label.
fn labelled(scrape: &Scrape, family: &str) -> BTreeMap<String, f64> {
    let samples = scrape.samples.iter().filter_map(|(sample, value)| {
        let labels = sample.strip_prefix(family)?.strip_prefix('{')?;
        let (_, label) = labels.strip_suffix("\"}")?.split_once("=\"")?;
        Some((label.to_owned(), *value))
    });
    samples.collect()
}

#[test]
fn a_node_tells_its_claims_and_its_state() -> TestResult {
    let port = port::free()?;
    let watched = vec!["--metrics".to_owned(), format!("127.0.0.1:{port}")];
    let quorum = Quorum::with(Options {
        token: Some("s3cret-s3cret".into()),
        nodes: vec![watched, Vec::new(), Vec::new()],
    })?;
    let claim = |key: &str, claim: &str, token: &str| -> TestResult<u16> {
        let url = format!("http://{}/v1/sequences/{key}/claim", quorum.address(0));
        let authorization = format!("Bearer {token}");
        let headers = [("authorization", authorization.as_str())];
        Ok(request("POST", &url, &headers, claim)?.status)
    };
    let asked = |key: &str, text: &str| claim(key, text, "s3cret-s3cret");
    assert_eq!(asked("a", r#"{"first":1,"last":10}"#)?, 200);
    assert_eq!(asked("a", r#"{"first":11,"last":12}"#)?, 200);
    assert_eq!(asked("a", r#"{"first":5,"last":20}"#)?, 409);
    assert_eq!(asked("a", r#"{"first":50,"last":60,"epoch":9}"#)?, 409);
    assert_eq!(asked("~node%2Fepoch", r#"{"first":1,"last":2}"#)?, 400);
    assert_eq!(claim("a", r#"{"first":70,"last":80}"#, "another")?, 401);

    let of_node = |name: &str| format!("artisanal_node_{name}");
    let claims = [
        ("accepted", 2.0),
        ("too-small", 1.0),
        ("other-list", 1.0),
        ("invalid", 1.0),
    ];
    let claims = claims.map(|(result, count)| (result.to_owned(), count));
    let first = scrape(port)?;
    assert_eq!(labelled(&first, &of_node("claims_total")), claims.into());
    let state = |scrape: &Scrape| {
        let states = labelled(scrape, &of_node("state"));
        assert_eq!(states.len(), 5, "{states:?}");
        let mut in_it = states.iter().filter(|(_, is)| **is == 1.0);
        let state = in_it.next().map(|(state, _)| state.clone());
        assert_eq!(in_it.next(), None, "one at a time");
        let reasons: Vec<_> = labelled(scrape, &of_node("refusing")).into_keys().collect();
        (state.expect("a state"), reasons.join(" "))
    };
    assert_eq!(state(&first), ("serving".into(), String::new()));
    for (gauge, value) in [("incarnation", 1.0), ("member_list", 1.0), ("members", 3.0)] {
        assert_eq!(first.get(&of_node(gauge)), value, "{gauge}");
    }
    let session = first.get(&of_node("session"));
    assert!(session >= 1.0);
    let status = quorum.status(0)?;
    let info = format!(
        "artisanal_node_info{{group=\"{}\",node=\"{}\"}}",
        status["group"], status["node"]
    );
    assert_eq!(first.get(&info), 1.0);
    // What it has in common with `serve`.
    let calls = r#"artisanal_engine_call_duration_seconds_count{engine="keyvalue",key="a",operation="claim"}"#;
    assert_eq!(first.get(calls), 3.0);
    for (code, requests) in [("409", 2.0), ("400", 1.0), ("401", 1.0)] {
        let sample = format!("artisanal_http_requests_total{{code=\"{code}\"}}");
        assert_eq!(first.get(&sample), requests, "{code}");
    }
    assert!(first.get("artisanal_connections_total") >= 6.0);

    // Its record of the group is gone, but its backend is not.
    quorum.server(0).kill();
    std::fs::remove_file(quorum.data(0).join("node.json")).expect("a record");
    quorum.server(0).start_again()?;
    assert_eq!(asked("a", r#"{"first":90,"last":91}"#)?, 503);
    let lost = scrape(port)?;
    assert_eq!(state(&lost), ("lost".into(), "no-record".into()));
    let claims = labelled(&lost, &of_node("claims_total"));
    assert_eq!(claims, [("no-part".to_owned(), 1.0)].into());
    assert!(lost.get(&of_node("session")) > session);
    quorum.join(0, 1)?;
    let joined = scrape(port)?;
    assert_eq!(state(&joined), ("serving".into(), String::new()));
    assert_eq!(joined.get(&of_node("incarnation")), 2.0);
    Ok(())
}

/// A dashboard or an alert on a metric that does not exist is worse than none.
#[test]
fn the_dashboard_and_the_alerts_use_metrics_that_exist() -> TestResult {
    let watched = Watched::start(&["--engine", "memory"])?;
    watched.serving.get("/")?;
    let scrape = watched.scrape()?;
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    for (file, least) in [("dashboard.json", 8), ("alerts.yml", 5)] {
        let text = std::fs::read_to_string(docs.join(file)).expect(file);
        let names: BTreeSet<_> = text
            .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
            .filter(|word| word.starts_with("artisanal_") || word.starts_with("process_"))
            .collect();
        assert!(names.len() >= least, "{file}: {names:?}");
        for name in names {
            // Families of which nothing was counted yet have no samples.
            let counted = ["errors_total", "dropped_total", "refused_total"];
            let silent = counted.iter().any(|end| name.ends_with(end));
            assert!(silent || scrape.family(name).is_some(), "{file}: {name}");
        }
    }
    let text = std::fs::read_to_string(docs.join("dashboard.json")).expect("a file");
    let dashboard: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert!(
        dashboard["panels"]
            .as_array()
            .is_some_and(|panels| panels.len() >= 8)
    );
    Ok(())
}
