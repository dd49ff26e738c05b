//! `int-host serve --otlp`: the spans that a collector gets.

use prost::Message;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use testbed::cli::{Place, Serving};
use testbed::http::request;
use testbed::{TestResult, port, wait};

/// How long spans may take to arrive.
const ARRIVE: Duration = Duration::from_secs(30);

/// The messages of OTLP with the numbers of its fields, as far as they are compared.
mod otlp {
    use prost::{Message, Oneof};

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct ExportTraceServiceRequest {
        #[prost(message, repeated, tag = "1")]
        pub(super) resource_spans: Vec<ResourceSpans>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct ResourceSpans {
        #[prost(message, optional, tag = "1")]
        pub(super) resource: Option<Resource>,
        #[prost(message, repeated, tag = "2")]
        pub(super) scope_spans: Vec<ScopeSpans>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct Resource {
        #[prost(message, repeated, tag = "1")]
        pub(super) attributes: Vec<KeyValue>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct ScopeSpans {
        #[prost(message, repeated, tag = "2")]
        pub(super) spans: Vec<Span>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct Span {
        #[prost(bytes = "vec", tag = "1")]
        pub(super) trace_id: Vec<u8>,
        #[prost(bytes = "vec", tag = "2")]
        pub(super) span_id: Vec<u8>,
        #[prost(bytes = "vec", tag = "4")]
        pub(super) parent_span_id: Vec<u8>,
        #[prost(string, tag = "5")]
        pub(super) name: String,
        #[prost(int32, tag = "6")]
        pub(super) kind: i32,
        #[prost(fixed64, tag = "7")]
        pub(super) start: u64,
        #[prost(fixed64, tag = "8")]
        pub(super) end: u64,
        #[prost(message, repeated, tag = "9")]
        pub(super) attributes: Vec<KeyValue>,
        #[prost(message, optional, tag = "15")]
        pub(super) status: Option<Status>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct Status {
        #[prost(int32, tag = "3")]
        pub(super) code: i32,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct KeyValue {
        #[prost(string, tag = "1")]
        pub(super) key: String,
        #[prost(message, optional, tag = "2")]
        pub(super) value: Option<AnyValue>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct AnyValue {
        #[prost(oneof = "Value", tags = "1, 3")]
        pub(super) value: Option<Value>,
    }

    #[derive(Clone, PartialEq, Oneof)]
    pub(super) enum Value {
        #[prost(string, tag = "1")]
        Text(String),
        #[prost(int64, tag = "3")]
        Number(i64),
    }
}

use otlp::{ExportTraceServiceRequest, KeyValue, Span, Value};

/// Mock: a collector, which keeps what it gets.
struct Collector {
    port: u16,
    exports: Arc<Mutex<Vec<ExportTraceServiceRequest>>>,
}

impl Collector {
    /// Answers each export with this status line.
    fn start(status: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let exports = Arc::default();
        let shared = Arc::clone(&exports);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || take(stream, status, &shared));
            }
        });
        Self { port, exports }
    }

    fn spans(&self) -> Vec<Span> {
        let exports = self.exports.lock().expect("no panic");
        let all = exports.iter().flat_map(|export| &export.resource_spans);
        all.flat_map(|resource| &resource.scope_spans)
            .flat_map(|scope| scope.spans.clone())
            .collect()
    }

    fn wait_for(&self, count: usize) -> testbed::Result<Vec<Span>> {
        wait::until("the spans arrive", ARRIVE, || match self.spans() {
            spans if spans.len() >= count => Ok(spans),
            spans => Err(format!("{} of {count}", spans.len())),
        })
    }
}

fn take(stream: TcpStream, status: &str, exports: &Mutex<Vec<ExportTraceServiceRequest>>) {
    let mut reader = BufReader::new(stream);
    loop {
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            match reader.read_line(&mut line) {
                Ok(0) | Err(_) => return,
                Ok(_) if line == "\r\n" => break,
                Ok(_) => head.push(line.trim_end().to_ascii_lowercase()),
            }
        }
        assert_eq!(head[0], "post /v1/traces http/1.1");
        assert!(
            head.contains(&"content-type: application/x-protobuf".to_owned()),
            "{head:?}"
        );
        let length = head
            .iter()
            .find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.expect("a length").parse().expect("a number")];
        reader.read_exact(&mut body).expect("a body");
        let export = ExportTraceServiceRequest::decode(&*body).expect("an export");
        exports.lock().expect("no panic").push(export);
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
        if reader.get_mut().write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

fn serve(collector: &Collector, more: &[&str]) -> TestResult<Serving> {
    let target = format!("http://127.0.0.1:{}", collector.port);
    let mut arguments = vec!["--engine", "memory", "--otlp", &target];
    arguments.extend(more);
    Ok(Place::new()?.serve(&arguments)?)
}

fn attributes(all: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |attribute: &KeyValue| match attribute.value.as_ref().and_then(|v| v.value.clone()) {
        Some(Value::Text(text)) => text,
        Some(Value::Number(number)) => number.to_string(),
        None => panic!("{attribute:?}"),
    };
    all.iter().map(|one| (one.key.clone(), text(one))).collect()
}

fn by_name<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    let mut named = spans.iter().filter(|span| span.name == name);
    let found = named
        .next()
        .unwrap_or_else(|| panic!("no {name}: {spans:?}"));
    assert!(named.next().is_none(), "several: {name}");
    found
}

fn expected(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let owned = pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    owned.collect()
}

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

#[test]
fn a_mint_is_a_span_with_its_wait_and_its_call() -> TestResult {
    let collector = Collector::start("200 OK");
    // Nothing but what a client asks for.
    let serving = serve(&collector, &["--otlp-ratio", "0"])?;
    let headers = [("traceparent", PARENT)];
    assert_eq!(
        serving.request("GET", "/?count=3", &headers, "")?.body,
        "2\n4\n6\n"
    );
    let spans = collector.wait_for(3)?;
    assert_eq!(spans.len(), 3);
    let trace = 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c_u128.to_be_bytes();
    assert!(spans.iter().all(|span| span.trace_id == trace));
    let root = by_name(&spans, "GET /");
    assert_eq!(root.parent_span_id, 0xb7ad_6b71_6920_3331_u64.to_be_bytes());
    assert_eq!((root.kind, root.status.clone()), (2, None));
    let minted = [
        ("artisanal.count", "3"),
        ("artisanal.first", "2"),
        ("artisanal.key", "integers"),
    ];
    let of_http = [
        ("http.request.method", "GET"),
        ("http.response.status_code", "200"),
        ("http.route", "/"),
    ];
    assert_eq!(
        attributes(&root.attributes),
        expected(&[minted.as_slice(), &of_http].concat())
    );
    let (wait, call) = (
        by_name(&spans, "wait for permit"),
        by_name(&spans, "engine call"),
    );
    assert_eq!((wait.kind, call.kind), (1, 3));
    for child in [wait, call] {
        assert_eq!(child.parent_span_id, root.span_id);
        assert!(
            root.start <= child.start && child.end <= root.end,
            "{child:?}"
        );
    }
    assert_eq!((wait.start, wait.end), (root.start, call.start));
    assert_eq!(
        attributes(&call.attributes),
        expected(&[minted.as_slice(), &[("artisanal.engine", "memory")]].concat())
    );
    let ids: BTreeSet<_> = spans.iter().map(|span| span.span_id.clone()).collect();
    assert_eq!(ids.len(), 3);
    assert!(ids.iter().all(|id| id.len() == 8));
    let exports = collector.exports.lock().expect("no panic");
    let resource = exports[0].resource_spans[0]
        .resource
        .clone()
        .expect("a resource");
    let about = attributes(&resource.attributes);
    assert_eq!(about["service.name"], "int-host");
    assert_eq!(about["service.version"], env!("CARGO_PKG_VERSION"));
    Ok(())
}

#[test]
fn clients_and_the_ratio_decide_what_is_traced() -> TestResult {
    let collector = Collector::start("200 OK");
    let all = serve(&collector, &["--otlp-ratio", "1"])?;
    // Its caller does not record it.
    let unsampled = PARENT.replace("-01", "-00");
    let headers = [("traceparent", unsampled.as_str())];
    assert_eq!(all.request("GET", "/", &headers, "")?.status, 200);
    let invalid = [("traceparent", "00-0af7-b7ad-01")];
    assert_eq!(
        all.request("POST", "/v1/sequences/integers/next", &invalid, "")?
            .status,
        200
    );
    assert_eq!(all.get("/nothing?secret=1")?.status, 404);
    assert_eq!(all.get("/last")?.status, 200);
    let spans = collector.wait_for(5)?;
    assert_eq!(spans.len(), 5);
    let next = by_name(&spans, "POST /v1/sequences/{key}/next");
    let others = [by_name(&spans, "GET"), by_name(&spans, "GET /last")];
    let traces: BTreeSet<_> = spans.iter().map(|span| span.trace_id.clone()).collect();
    assert_eq!(traces.len(), 3, "each request has its own");
    for root in others.iter().chain([&next]) {
        assert!(root.parent_span_id.is_empty());
        assert_eq!(root.trace_id.len(), 16);
    }
    assert_eq!(by_name(&spans, "engine call").parent_span_id, next.span_id);
    // What clients write into paths is not sent.
    let nothing = attributes(&others[0].attributes);
    assert_eq!(
        nothing,
        expected(&[
            ("http.request.method", "GET"),
            ("http.response.status_code", "404")
        ])
    );
    Ok(())
}

#[test]
fn requests_that_are_served_together_have_one_call() -> TestResult {
    let collector = Collector::start("200 OK");
    let serving = serve(&collector, &["--otlp-ratio", "1"])?;
    testbed::crowd::mint_at_once(&[&serving], 5)?.assert_clean();
    // Eight clients.
    let spans = collector.wait_for(120)?;
    assert_eq!(spans.len(), 120);
    let roots: BTreeMap<_, _> = spans
        .iter()
        .filter(|span| span.name == "GET /")
        .map(|span| (span.span_id.clone(), span))
        .collect();
    assert_eq!(roots.len(), 40);
    for call in spans.iter().filter(|span| span.name == "engine call") {
        let root = attributes(&roots[&call.parent_span_id].attributes);
        let call = attributes(&call.attributes);
        let number = |of: &BTreeMap<String, String>, name: &str| -> i64 {
            of[name].parse().expect("a number")
        };
        let first = number(&call, "artisanal.first");
        let last = first + 2 * (number(&call, "artisanal.count") - 1);
        assert!((first..=last).contains(&number(&root, "artisanal.first")));
    }
    Ok(())
}

#[test]
fn what_a_collector_does_not_take_is_counted_and_harms_nobody() -> TestResult {
    let collector = Collector::start("503 Service Unavailable");
    let metrics = port::free()?;
    let address = format!("127.0.0.1:{metrics}");
    let serving = serve(&collector, &["--otlp-ratio", "1", "--metrics", &address])?;
    assert_eq!(serving.get("/")?.body, "2");
    let counted = |name: &str| -> TestResult<String> {
        let text = request("GET", &format!("http://{address}/metrics"), &[], "")?.body;
        let sample = format!("artisanal_traces_spans_{name}_total ");
        let line = text.lines().find_map(|line| line.strip_prefix(&sample));
        Ok(line.expect("a sample").to_owned())
    };
    collector.wait_for(3)?;
    wait::until("they are counted", ARRIVE, || match counted("failed") {
        Ok(count) if count == "3" => Ok(()),
        other => Err(format!("{other:?}")),
    })?;
    assert_eq!(counted("sent")?, "0");
    assert_eq!(counted("dropped")?, "0");
    assert_eq!(serving.get("/")?.body, "4");
    Ok(())
}

#[test]
fn the_last_spans_are_sent_at_the_end() -> TestResult {
    let collector = Collector::start("200 OK");
    let serving = serve(&collector, &["--otlp-ratio", "1"])?;
    assert_eq!(serving.get("/")?.body, "2");
    let (status, log) = serving.stop()?;
    assert_eq!(status.code(), Some(0), "{log}");
    assert_eq!(collector.spans().len(), 3);
    Ok(())
}

#[test]
fn mistakes_are_told() -> TestResult {
    for (arguments, says) in [
        (&["--otlp", "localhost:4318"][..], "http://HOST:4318"),
        (&["--otlp", "https://h"], "TLS"),
        (&["--otlp", "http://h", "--otlp-ratio", "2"], "from 0 to 1"),
        (&["--otlp-ratio", "1"], "--otlp"),
    ] {
        let mut line = vec!["--engine", "memory", "serve", "--port", "0"];
        line.extend(arguments);
        let run = Place::new()?.run(&line)?;
        assert_eq!(run.code, Some(2), "{arguments:?}: {}", run.stderr);
        assert!(run.stderr.contains(says), "{arguments:?}: {}", run.stderr);
    }
    Ok(())
}
