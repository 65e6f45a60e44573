//! The operations listener: metrics, liveness and readiness, for the house's own network and nobody else.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use actix_web::App;
use actix_web::HttpRequest;
use actix_web::HttpResponse;
use actix_web::HttpServer;
use actix_web::dev::Server;
use actix_web::http::header::ACCEPT;
use actix_web::http::header::CONTENT_TYPE;
use actix_web::web;
use tokio::sync::Semaphore;

use crate::gateway::Gateway;
use crate::server::Shared;
use crate::server::routes;
use crate::telemetry::labels::policy::ReloadSource;
use crate::telemetry::page::Format;

/// Listens until told to stop: `/metrics` (`OpenMetrics` for whoever asks for it, else Prometheus text), `/livez`,
/// `/readyz`, and POST `/policy/reload`, which looks at the policy's files at once: it takes what lies there, and
/// nothing from the caller. `/audit/query` and `/audit/export` alone need credentials, and the rights `audit.read` and
/// `audit.export`; it is plain HTTP, so credentials are as safe as the way to it.
pub fn listen(listener: TcpListener, shared: &Shared) -> io::Result<Server> {
    let gateway = web::Data::from(Arc::clone(&shared.gateway));
    let shared = web::Data::new(shared.clone());
    let server = HttpServer::new(move || {
        App::new()
            .app_data(gateway.clone())
            .app_data(shared.clone())
            .route("/metrics", web::get().to(metrics))
            .route("/livez", web::get().to(live))
            .route("/readyz", web::get().to(ready))
            .route("/policy/reload", web::post().to(reload))
            .route("/audit/query", web::get().to(routes::query_audit))
            .route("/audit/export", web::get().to(routes::export_audit))
    });
    let server = server.workers(1).client_request_timeout(HEAD_COMPLETE);
    Ok(server.disable_signals().shutdown_timeout(1).listen(listener)?.run())
}

/// Its time runs while the one event loop writes pages for others: whoever waits for those is not slow. Outside, where
/// strangers are, it is shorter.
const HEAD_COMPLETE: Duration = Duration::from_secs(30);

async fn metrics(request: HttpRequest, gateway: web::Data<Gateway>) -> HttpResponse {
    gateway.report();
    gateway.telemetry().report();
    let accept = request.headers().get(ACCEPT).and_then(|value| value.to_str().ok());
    let format = Format::asked(accept.unwrap_or_default());
    let page = gateway.telemetry().page().render(format);
    HttpResponse::Ok().insert_header((CONTENT_TYPE, format.media_type())).body(page)
}

/// The process runs and its event loops turn.
async fn live() -> HttpResponse {
    HttpResponse::Ok().insert_header((CONTENT_TYPE, TEXT)).body("ok\n")
}

/// Requests are answered; if not, why. Behind its files the policy is degraded, and still ready.
async fn ready(gateway: web::Data<Gateway>) -> HttpResponse {
    match gateway.readiness() {
        Ok(()) => {
            let text = match gateway.behind() {
                None => "ready\n".to_owned(),
                Some(rejected) => format!("ready\ndegraded: {rejected}\n"),
            };
            HttpResponse::Ok().insert_header((CONTENT_TYPE, TEXT)).body(text)
        }
        Err(why) => {
            let text = format!("not ready: {why}\n");
            HttpResponse::ServiceUnavailable().insert_header((CONTENT_TYPE, TEXT)).body(text)
        }
    }
}

/// Looks that are under way or wait: nobody needs to prove who they are to ask for one, so there is a bound to what they
/// take from others and write into the audit.
static LOOKS: Semaphore = Semaphore::const_new(2);

/// 200 with what is in force, or 422 with every problem, one a line.
async fn reload(request: HttpRequest, gateway: web::Data<Gateway>) -> HttpResponse {
    let gateway = gateway.into_inner();
    let Ok(_turn) = LOOKS.try_acquire() else {
        let text = "two looks at the policy are asked for already: this one would see no more\n";
        return HttpResponse::ServiceUnavailable().insert_header((CONTENT_TYPE, TEXT)).body(text);
    };
    gateway.operated("policy reload", request.peer_addr());
    let (mut answer, text) = match gateway.reload_policy(ReloadSource::Api).await {
        Err(gone) => (HttpResponse::InternalServerError(), format!("{gone}\n")),
        Ok(_) => match gateway.behind() {
            None => (HttpResponse::Ok(), format!("in force: {}\n", gateway.policy_revision())),
            Some(rejected) => (
                HttpResponse::UnprocessableEntity(),
                format!(
                    "{rejected}\n{}\nstill in force: {}\n",
                    rejected.problems.join("\n"),
                    gateway.policy_revision()
                ),
            ),
        },
    };
    answer.insert_header((CONTENT_TYPE, TEXT)).body(text)
}

const TEXT: &str = "text/plain; charset=utf-8";
