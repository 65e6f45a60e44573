//! A chain without a gateway around it: what is left of an attempt that its caller gives up.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use crate::breaker;
use crate::breaker::Condition;
use crate::clock::Clock;
use crate::clock::SystemClock;
use crate::egress::Bindings;
use crate::egress::Instance;
use crate::egress::Origin;
use crate::egress::OriginSettings;
use crate::goproxy::proxylist::FallBack;
use crate::goproxy::request::Request;
use crate::head::Conditions;
use crate::head::Head;
use crate::head::Method;
use crate::head::Peer;
use crate::head::Transport;
use crate::telemetry::Telemetry;
use crate::telemetry::labels::Attempt;
use crate::telemetry::page::Format;
use crate::telemetry::trace::sampler::Sampler;
use crate::upstream::Chain;
use crate::upstream::Upstream;
use crate::upstream::care::Bounds;
use crate::upstream::care::Care;
use crate::upstream::http::Http;
use crate::upstream::routes::Link;
use crate::upstream::routes::Routes;
use crate::upstream::source::Limits;
use crate::upstream::source::Source;

fn head() -> Head {
    Head {
        method: Method::Get,
        path: "/".to_owned(),
        query: None,
        authorization: Vec::new(),
        conditions: Conditions::default(),
        disable_module_fetch: None,
        traceparent: None,
        via: Vec::new(),
        user_agent: None,
        peer: Peer {
            address: "127.0.0.1:1".parse().unwrap(),
            transport: Transport::Tls,
            certificate: None,
        },
        received: std::time::SystemTime::UNIX_EPOCH,
    }
}

fn care(telemetry: &Arc<Telemetry>) -> Arc<Care> {
    let breaker = breaker::Settings {
        failures: 3,
        window: Duration::from_mins(1),
        rest: Duration::from_mins(1),
        longest_rest: Duration::from_mins(1),
        successes: 1,
    };
    let bounds = Bounds { breaker, at_once: 1, waiting: 1, repeated: 0.1 };
    Arc::new(Care::new("only", &bounds, Arc::clone(telemetry), Arc::new(SystemClock)))
}

fn http(url: &str, care: &Arc<Care>) -> Http {
    let settings = OriginSettings {
        name: "only".to_owned(),
        base: url.parse().unwrap(),
        extra_roots: None,
        basic: None,
        redirect_hosts: Vec::new(),
        networks: Vec::new(),
        connect_timeout: Duration::from_secs(5),
    };
    let names = ["only".to_owned()];
    let telemetry = Telemetry::new(&names, Sampler::new(0.0), Arc::new(SystemClock)).unwrap();
    let (via, bindings) = ("test".to_owned(), Arc::new(Bindings::default()));
    let instance = Instance { via, bindings, telemetry: Arc::new(telemetry) };
    let long = Duration::from_mins(1);
    let limits = Limits {
        first_byte: long,
        zip_first_byte: long,
        total: long,
        zip_total: long,
        zip: 1 << 20,
        gomod: 1 << 20,
        info: 1 << 20,
        list: 1 << 20,
        attempts: 2,
    };
    let origin = Origin::new(settings, instance).unwrap();
    Http::new(origin, limits, Arc::from(std::env::temp_dir()), Arc::clone(care))
}

#[tokio::test(flavor = "current_thread")]
async fn an_attempt_that_its_caller_gives_up_is_counted_so_and_blames_nobody() {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let telemetry =
        Arc::new(Telemetry::new(&["only".to_owned()], Sampler::new(0.0), clock).unwrap());
    // it takes connections into its queue and never says a word
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let care = care(&telemetry);
    let source = Source::Http(http(&format!("http://{}", silent.local_addr().unwrap()), &care));
    let (name, care_of_it) = ("only".to_owned(), Arc::clone(&care));
    let upstream = Arc::new(Upstream { name, source, serves_sumdb: false, care: care_of_it });
    let link = Link { upstream: Arc::clone(&upstream), fall_back: FallBack::OnNotFound };
    let chain = Chain::new(Routes::new(vec![link], vec![upstream], Arc::new(Bindings::default())));
    let routes = crate::goproxy::request::Routes::new("", Vec::new());
    let request = Request::parse("/example.com/lib/@v/list", &routes).unwrap();
    // more often than failures would open the breaker, and each has the only turn
    for _ in 0..5 {
        let record = telemetry.begin(&head());
        let patience = Duration::from_millis(20);
        let given_up = tokio::time::timeout(patience, chain.fetch(&request, &record, None)).await;
        assert!(given_up.is_err());
        assert_eq!(record.facts().attempt, Some(Attempt::ClientClosed));
    }
    assert_eq!(care.breaker.condition(), Condition::Closed);
    let page = telemetry.page().render(Format::Text);
    let counted = "modgate_upstream_requests_total{upstream=\"only\",result=\"client_closed\"} 5";
    assert!(page.contains(counted), "{page}");
    assert!(page.contains("modgate_upstream_requests_in_flight{upstream=\"only\"} 0"), "{page}");
}
