//! A request becomes a head, or is refused by the framing rules; an admitted answer becomes a response.

use std::rc::Rc;

use actix_web::HttpRequest;
use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::Version;
use actix_web::http::header::HeaderMap;
use actix_web::http::header::HeaderName;
use actix_web::http::header::HeaderValue;
use actix_web::web;

use crate::gateway::account::Admitted;
use crate::gateway::account::Refused;
use crate::gateway::respond::Connection;
use crate::head::Conditions;
use crate::head::Head;
use crate::head::Hidden;
use crate::head::Method;
use crate::head::Peer;
use crate::head::Transport;
use crate::server::Shared;
use crate::server::body::Outgoing;
use crate::server::connection::Life;

/// Every request of every module listener.
pub async fn answer(request: HttpRequest, shared: web::Data<Shared>) -> HttpResponse {
    if let Some(life) = request.conn_data::<Rc<Life>>() {
        life.heard();
    }
    let peer = request.conn_data::<Rc<Life>>().map(|life| life.peer().clone());
    let head = head(&request, peer, shared.gateway.now());
    let admitted = match framing(&request) {
        Ok(()) => shared.gateway.serve(&head).await,
        Err(refused) => shared.gateway.refuse(&head, refused).await,
    };
    response(admitted, head.method, &shared)
}

/// A question to the audit, on the operations listener.
pub async fn query_audit(request: HttpRequest, shared: web::Data<Shared>) -> HttpResponse {
    let head = ops_head(&request, &shared);
    let admitted = match framing(&request) {
        Ok(()) => shared.gateway.query_audit(&head).await,
        Err(refused) => shared.gateway.refuse(&head, refused).await,
    };
    response(admitted, head.method, &shared)
}

/// Records of the audit to take away, on the operations listener.
pub async fn export_audit(request: HttpRequest, shared: web::Data<Shared>) -> HttpResponse {
    let head = ops_head(&request, &shared);
    let admitted = match framing(&request) {
        Ok(()) => shared.gateway.export_audit(&head).await,
        Err(refused) => shared.gateway.refuse(&head, refused).await,
    };
    response(admitted, head.method, &shared)
}

fn ops_head(request: &HttpRequest, shared: &Shared) -> Head {
    let peer = request.peer_addr().map(|address| Peer {
        address,
        transport: Transport::Plain,
        certificate: None,
    });
    head(request, peer, shared.gateway.now())
}

/// The rules that keep two readers of one head from reading two requests.
fn framing(request: &HttpRequest) -> Result<(), Refused> {
    let headers = request.headers();
    if !matches!(request.method().as_str(), "GET" | "HEAD") {
        return Err(if announces_body(headers) { Refused::Body } else { Refused::Method });
    }
    if announces_body(headers) {
        return Err(Refused::Body);
    }
    let uri = request.uri();
    let target = uri.path().len() + uri.query().map_or(0, |query| query.len() + 1);
    if target > TARGET_BYTES {
        return Err(Refused::Target);
    }
    let fields: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if headers.len() > FIELDS || fields > FIELDS_BYTES {
        return Err(Refused::Headers);
    }
    host(request)
}

fn announces_body(headers: &HeaderMap) -> bool {
    let lengths = headers.get_all("content-length").any(|length| length.as_bytes() != b"0");
    lengths || headers.contains_key("transfer-encoding")
}

/// Exactly one `Host` in HTTP/1.1, and an authority in the target only if it is the same (RFC 9112, section 3.2).
fn host(request: &HttpRequest) -> Result<(), Refused> {
    let mut hosts = request.headers().get_all("host").map(HeaderValue::as_bytes);
    let (host, second) = (hosts.next(), hosts.next());
    let authority = request.uri().authority().map(|authority| authority.as_str().as_bytes());
    match (request.version(), host, second, authority) {
        (_, _, Some(_), _) | (Version::HTTP_11, None, None, _) => Err(Refused::Host),
        (_, Some(host), None, _) if host.is_empty() || !host.is_ascii() => Err(Refused::Host),
        (_, Some(host), None, Some(authority)) if !host.eq_ignore_ascii_case(authority) => {
            Err(Refused::Authority)
        }
        _ => Ok(()),
    }
}

fn head(request: &HttpRequest, peer: Option<Peer>, received: std::time::SystemTime) -> Head {
    let headers = request.headers();
    let text = |name: &str| headers.get(name).and_then(text_of);
    Head {
        method: if request.method().as_str() == "HEAD" { Method::Head } else { Method::Get },
        path: request.uri().path().to_owned(),
        query: request.uri().query().map(str::to_owned),
        authorization: headers
            .get_all("authorization")
            .map(|value| Hidden::new(value.as_bytes().to_vec()))
            .collect(),
        conditions: Conditions {
            if_none_match: text("if-none-match"),
            range: text("range"),
            if_range: text("if-range"),
        },
        disable_module_fetch: text("disable-module-fetch"),
        traceparent: text("traceparent"),
        via: headers.get_all("via").filter_map(text_of).collect(),
        user_agent: text("user-agent").map(|agent| agent.chars().take(AGENT_CHARS).collect()),
        // a connection without a life does not exist; nobody is let in because of that
        peer: peer.unwrap_or_else(|| Peer {
            address: std::net::SocketAddr::from(([0, 0, 0, 0], 0)),
            transport: Transport::Plain,
            certificate: None,
        }),
        received,
    }
}

fn text_of(value: &HeaderValue) -> Option<String> {
    value.to_str().ok().map(str::to_owned)
}

fn response(admitted: Admitted, method: Method, shared: &Shared) -> HttpResponse {
    let Admitted { reply, closer } = admitted;
    let status = StatusCode::from_u16(reply.code.number());
    let mut response = HttpResponse::build(status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR));
    for (name, value) in reply.headers {
        if let Ok(value) = HeaderValue::try_from(value) {
            response.append_header((HeaderName::from_static(name), value));
        }
    }
    if reply.connection == Connection::Close {
        response.force_close();
    }
    response.body(Outgoing::new(reply.body, method, closer, shared.tasks.clone()))
}

/// A module path of 300 bytes, case-escaped and percent-encoded, with room for what comes.
const TARGET_BYTES: usize = 8 * 1024;
/// The go command sends four.
const FIELDS: usize = 64;
/// A JSON web token of 8 KiB, in base64, and room.
const FIELDS_BYTES: usize = 32 * 1024;
/// What a client calls itself is for people.
const AGENT_CHARS: usize = 256;
