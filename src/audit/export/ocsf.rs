//! The Open Cybersecurity Schema Framework, version 1.3.0: which class an event is of, and what each class demands.
//!
//! Accesses are API Activity (6003), logins Authentication (3002), what operators change Entity Management (3004), start and
//! stop Application Lifecycle (6002). What no class fits is a base event (0), whose `unmapped` holds what it tells.

use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use crate::audit::export::without_nulls;
use crate::audit::query::text;

/// Class, category and activity of an event.
struct Kind {
    class: u64,
    category: u64,
    activity: u64,
}

impl Kind {
    fn of(event: &str) -> Self {
        let kind = |class, category, activity| Self { class, category, activity };
        match event.split('.').next().unwrap_or_default() {
            "auth" => kind(AUTHENTICATION, 3, 1),
            "module" | "sumdb" | "gateway" | "request" | "authz" => kind(API_ACTIVITY, 6, 2),
            "token" | "policy" | "config" | "cache" | "admin" => {
                kind(ENTITY_MANAGEMENT, 3, change(event))
            }
            _ => match event {
                "audit.read" | "audit.export" | "audit.verify" => kind(API_ACTIVITY, 6, 2),
                "audit.start" => kind(APPLICATION_LIFECYCLE, 6, 3),
                "audit.stop" => kind(APPLICATION_LIFECYCLE, 6, 4),
                _ => kind(BASE, 0, OTHER),
            },
        }
    }
}

/// What a change is in the words of Entity Management.
fn change(event: &str) -> u64 {
    match event {
        "token.issue" => 1,
        "cache.purge" => 4,
        "policy.deny" => 8,
        "policy.activate" | "policy.promote" | "config.reload" => 10,
        "token.revoke" => 11,
        _ => OTHER,
    }
}

/// A record as an event.
pub(in crate::audit::export) fn event(record: &Value) -> Value {
    let at = |path: &str| record.pointer(path).cloned().unwrap_or(Value::Null);
    let name = text(record, "/event").unwrap_or_default();
    let Kind { class, category, activity } = Kind::of(name);
    let (status, severity) = match text(record, "/outcome") {
        Some("allowed" | "ancestor") => (1, 1),
        Some("failed") => (2, 3),
        Some(_) => (2, 2),
        None => (0, 0),
    };
    let common = json!({
        "class_uid": class, "category_uid": category, "activity_id": activity,
        "type_uid": class * 100 + activity, "severity_id": severity, "status_id": status,
        "status": at("/outcome"), "time": milliseconds(text(record, "/time").unwrap_or_default()),
        "message": name,
        "metadata": {
            "version": "1.3.0", "uid": at("/id"), "correlation_uid": at("/http/trace_id"),
            "event_code": at("/code"), "sequence": at("/seq"),
            "product": {"name": "modgate", "vendor_name": "modgate"}, "log_name": at("/node"),
        },
        "unmapped": unmapped(record, class),
    });
    let own = match class {
        API_ACTIVITY => access(record, name),
        AUTHENTICATION => login(record),
        ENTITY_MANAGEMENT => json!({
            "entity": {"name": name.split('.').next(), "data": at("/detail")},
            "src_endpoint": endpoint(record),
        }),
        APPLICATION_LIFECYCLE => json!({"app": {"name": "modgate", "vendor_name": "modgate"}}),
        _ => Value::Null,
    };
    let members = [common, own].into_iter().filter_map(|part| match part {
        Value::Object(members) => Some(members),
        _ => None,
    });
    without_nulls(Value::Object(members.flatten().collect::<Map<_, _>>()))
}

fn access(record: &Value, name: &str) -> Value {
    let at = |path: &str| record.pointer(path).cloned().unwrap_or(Value::Null);
    let granted = text(record, "/decision/effect").map(|effect| {
        json!([{"decision": effect, "policy": {"uid": at("/decision/policy"), "name": at("/decision/rule")}}])
    });
    let module = text(record, "/resource/module");
    json!({
        "actor": {"user": user(record), "authorizations": granted},
        "api": {
            "operation": name, "service": {"name": "modgate"},
            "response": {"code": at("/http/status")},
        },
        "src_endpoint": endpoint(record),
        "resources": module.map(|module| json!([{
            "name": module, "type": "go module", "version": at("/resource/version"),
        }])),
        "http_request": request(record),
    })
}

fn login(record: &Value) -> Value {
    json!({
        "user": user(record), "service": {"name": "modgate"}, "auth_protocol": record.pointer("/actor/auth"),
        "status_detail": record.pointer("/actor/result"), "src_endpoint": endpoint(record),
        "http_request": request(record),
    })
}

/// Somebody, also if nobody was recognised: the schema demands a name.
fn user(record: &Value) -> Value {
    let Some(id) = text(record, "/actor/id") else {
        return json!({"name": "unknown", "type_id": 0});
    };
    let groups = record.pointer("/actor/groups").and_then(Value::as_array);
    let groups =
        groups.map(|names| names.iter().map(|name| json!({"name": name})).collect::<Value>());
    json!({"uid": id, "groups": groups, "type_id": 1})
}

/// Whence; what had no peer came from the node itself.
fn endpoint(record: &Value) -> Value {
    match text(record, "/source/ip") {
        Some(ip) => json!({"ip": ip, "port": record.pointer("/source/port")}),
        None => json!({"hostname": text(record, "/node").unwrap_or("unknown")}),
    }
}

fn request(record: &Value) -> Value {
    let at = |path: &str| record.pointer(path);
    json!({
        "http_method": at("/http/method"), "user_agent": at("/source/ua"), "url": {"path": at("/resource/path")},
    })
}

/// What the class has no place for.
fn unmapped(record: &Value, class: u64) -> Value {
    let at = |path: &str| record.pointer(path);
    // an entity has it as its data, and the actor of a class that has one stands there
    let is_in_place = matches!(class, API_ACTIVITY | AUTHENTICATION);
    let actor = at("/actor/id").filter(|_| !is_in_place);
    let detail = at("/detail").filter(|_| class != ENTITY_MANAGEMENT);
    json!({
        "boot": at("/boot"), "phase": at("/phase"), "family": at("/family"), "repeat": at("/repeat"),
        "bytes_out": at("/http/bytes_out"), "complete": at("/http/complete"), "actor": actor, "detail": detail,
    })
}

fn milliseconds(time: &str) -> i64 {
    let parsed = time::OffsetDateTime::parse(time, &time::format_description::well_known::Rfc3339);
    parsed.map_or(0, |at| i64::try_from(at.unix_timestamp_nanos() / 1_000_000).unwrap_or(0))
}

const BASE: u64 = 0;
const AUTHENTICATION: u64 = 3002;
const ENTITY_MANAGEMENT: u64 = 3004;
const APPLICATION_LIFECYCLE: u64 = 6002;
const API_ACTIVITY: u64 = 6003;
/// An activity that the class has no word for.
const OTHER: u64 = 99;
