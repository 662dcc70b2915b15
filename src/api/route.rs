//! From a request to a response: which paths there are, what can be done to each, and by whom.
//!
//! Knows no sockets and no threads. What is done happens behind [`Operator`].

mod resource;

use std::sync::Arc;

use serde_json::{Value, json};
use shards::contract::{SessionId, ShardSnapshot, Steering, TenantId, TenantSnapshot};

use self::resource::Resource;
use super::access::Access;
use super::http::{Request, Response};
use super::lanes::Answer;
use super::operator::{Operator, Put, Refused, When};
use super::problem::{FieldError, Problem};
use super::{InForce, body, etag::ETags, page, show};
use crate::metrics::{self, Scene};
use crate::roster::Entry;
use crate::vitals::Vitals;

/// The API's answers.
pub struct Router {
    /// Who carries out what is asked.
    pub operator: Arc<dyn Operator>,
    /// How the process is.
    pub vitals: Arc<Vitals>,
    /// How much of the API there is.
    pub scope: Scope,
    /// Who may ask.
    pub access: Access,
    /// The API's settings.
    pub settings: InForce,
    /// Names for the revisions of tenants.
    pub etags: ETags,
}

/// How much of the API is served at a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All of it.
    Everything,
    /// What the world around the process needs, and what changes nothing and shows no tenant's
    /// settings: `/health`, `/ready` and `/metrics`.
    ProbesAndMetrics,
}

impl Answer for Router {
    fn answer(&self, request: &Request) -> Response {
        self.route(request).unwrap_or_else(Problem::response)
    }
}

impl Router {
    fn route(&self, request: &Request) -> Result<Response, Problem> {
        let resource = Resource::of(&request.path).filter(|resource| self.scope.has(*resource));
        if resource.is_none_or(|resource| self.needs_key(resource)) {
            self.access.check(&self.settings.get(), request)?;
        }
        let Some(resource) = resource else {
            return Err(Problem::new(
                404,
                format!("there is nothing at {}", request.path),
            ));
        };
        let get = request.method == "GET";
        match (resource, request.method.as_str()) {
            (Resource::Steer(id, steering), "POST") => self.steer(id, steering),
            (Resource::Session(id, session), "DELETE") => self.end(id, session),
            (Resource::Reload, "POST") => self.reload(),
            (Resource::Tenants, "POST") => self.create(request),
            (Resource::Tenant(id), "PUT") => self.put(id, request),
            (Resource::Tenant(id), "DELETE") => self.remove(id, request),
            (Resource::Tenants, _) if get => self.list(),
            (Resource::Tenant(id), _) if get => self.show(id),
            (Resource::TenantStats(id), _) if get => self.stats(id),
            (Resource::Sessions(id), _) if get => self.sessions(id),
            (Resource::Config, _) if get => Ok(Response::json(
                200,
                &show::settings(&*self.operator.settings()?, &self.vitals.who_is_left_out()),
            )),
            (Resource::Shards, _) if get => self.shards(),
            (Resource::Health, _) if get => Ok(self.health()),
            (Resource::Ready, _) if get => Ok(self.ready()),
            (Resource::Metrics, _) if get => self.metrics(),
            (Resource::OpenApi, _) if get => {
                Ok(Response::of_type(200, "application/json", OPENAPI.into()))
            }
            (Resource::Root, _) if get => Ok(front(request)),
            (other, method) => {
                let allow = other.methods().join(", ");
                Err(
                    Problem::new(405, format!("{method} cannot be done here, only {allow}"))
                        .with("Allow", allow),
                )
            }
        }
    }

    fn needs_key(&self, resource: Resource<'_>) -> bool {
        match resource {
            Resource::Health | Resource::Ready | Resource::OpenApi | Resource::Root => false,
            Resource::Metrics => {
                let api = self.settings.get();
                api.metrics_auth && api.key.is_some()
            }
            _ => true,
        }
    }

    fn list(&self) -> Result<Response, Problem> {
        let entries = self.operator.tenants()?;
        let shards = self.operator.snapshots()?;
        let mut standing: std::collections::HashMap<_, _> =
            tenants_of(&shards).map(|now| (&now.id, now)).collect();
        let count = shards.len();
        let shown = entries
            .iter()
            .map(|entry| show::tenant(entry, standing.remove(&entry.spec.id), count));
        Ok(Response::json_list(shown))
    }

    fn show(&self, id: &str) -> Result<Response, Problem> {
        let id = tenant_id(id)?;
        let now = match self.operator.standing(&id) {
            Ok(now) => now,
            Err(Refused::Silent(_)) => None,
            Err(refused) => return Err(refused.into()),
        };
        let entry = self.operator.tenant(&id)?;
        let shown = show::whole_tenant(&entry, now.as_ref(), self.vitals.shards());
        Ok(Response::json(200, &shown).with("ETag", self.etags.of(entry.revision)))
    }

    fn stats(&self, id: &str) -> Result<Response, Problem> {
        let id = tenant_id(id)?;
        let (entry, now) = self.standing(&id)?;
        Ok(Response::json(200, &show::tenant_stats(&entry.spec, &now)))
    }

    fn create(&self, request: &Request) -> Result<Response, Problem> {
        let (written, id) = body::read(request)?;
        let wrong = |detail: &str| {
            Problem::invalid(vec![FieldError {
                pointer: "/id".into(),
                detail: detail.into(),
            }])
        };
        let id = id.ok_or_else(|| wrong("is missing"))?;
        let id = TenantId::parse(&id).ok_or_else(|| wrong(TENANT_GRAMMAR))?;
        match self.operator.put(&id, written, When::IsNew) {
            Ok(put) => self.written(&put),
            Err(Refused::NotWhen) => {
                Err(Problem::new(409, format!("there is a tenant {id} already")))
            }
            Err(refused) => Err(refused.into()),
        }
    }

    fn put(&self, path: &str, request: &Request) -> Result<Response, Problem> {
        let (written, id) = body::read(request)?;
        let Some(tenant) = TenantId::parse(path) else {
            return Err(Problem::new(
                404,
                format!("{path:?} cannot be the name of a tenant, which {TENANT_GRAMMAR}"),
            ));
        };
        if id.is_some_and(|id| id != path) {
            let detail = "must be the name in the path: tenants cannot be renamed".to_owned();
            return Err(Problem::invalid(vec![FieldError {
                pointer: "/id".into(),
                detail,
            }]));
        }
        self.written(
            &self
                .operator
                .put(&tenant, written, self.etags.when(request))?,
        )
    }

    /// The answer to a tenant that was created or changed. How its pool stands is not in it: it
    /// has just been told, and has hardly begun.
    fn written(&self, Put { entry, created }: &Put) -> Result<Response, Problem> {
        let shown = show::whole_tenant(entry, None, self.vitals.shards());
        let response = Response::json(if *created { 201 } else { 200 }, &shown);
        let response = response.with("ETag", self.etags.of(entry.revision));
        Ok(match created {
            true => response.with("Location", format!("/tenants/{}", entry.spec.id)),
            false => response,
        })
    }

    fn remove(&self, id: &str, request: &Request) -> Result<Response, Problem> {
        self.operator
            .remove(&tenant_id(id)?, self.etags.when(request))?;
        Ok(Response::empty(204))
    }

    fn steer(&self, id: &str, steering: Steering) -> Result<Response, Problem> {
        let id = tenant_id(id)?;
        self.operator.steer(&id, steering)?;
        let (entry, now) = self.standing(&id)?;
        // What leaves is still leaving.
        Ok(Response::json(202, &show::tenant_stats(&entry.spec, &now)))
    }

    /// A tenant, and how it stands.
    fn standing(&self, id: &TenantId) -> Result<(Entry, TenantSnapshot), Problem> {
        let now = match self.operator.standing(id) {
            Ok(now) => now,
            Err(Refused::Silent(_)) => return Err(silent("the tenant's shard does not answer")),
            Err(refused) => return Err(refused.into()),
        };
        // Asked for last: one that somebody removes meanwhile is no fault of its shard's.
        let entry = self.operator.tenant(id)?;
        let now = now.ok_or_else(|| silent("the tenant's shard has not heard of it yet"))?;
        Ok((entry, now))
    }

    fn sessions(&self, id: &str) -> Result<Response, Problem> {
        let mut sessions = self.operator.sessions(&tenant_id(id)?)?;
        sessions.sort_unstable_by_key(|session| session.id.0);
        Ok(Response::json_list(sessions.iter().map(show::session)))
    }

    fn end(&self, id: &str, session: &str) -> Result<Response, Problem> {
        let session = session.parse().map_err(|_| Refused::NoSession)?;
        self.operator.end(&tenant_id(id)?, SessionId(session))?;
        Ok(Response::empty(204))
    }

    fn reload(&self) -> Result<Response, Problem> {
        let done = self.operator.reload()?;
        let document = json!({
            "changed": done.changed,
            "removed": done.removed,
            "after_restart": done.after_restart,
            "not_kept": done.not_kept,
        });
        Ok(Response::json(200, &document))
    }

    fn shards(&self) -> Result<Response, Problem> {
        let shards = self.operator.snapshots()?;
        let shown = shards.iter().enumerate();
        let shown = shown.map(|(index, now)| show::shard(index, now.as_ref().ok()));
        Ok(Response::json(200, &shown.collect()))
    }

    fn health(&self) -> Response {
        let silent = self.vitals.silent();
        let (status, word) = if silent.is_empty() {
            (200, "healthy")
        } else {
            (503, "unhealthy")
        };
        let document = json!({
            "status": word,
            "silent_shards": silent,
            "uptime_seconds": self.vitals.uptime().as_secs(),
            "version": env!("CARGO_PKG_VERSION"),
        });
        Response::json(status, &document)
    }

    fn ready(&self) -> Response {
        let (status, word) = if self.vitals.is_stopping() {
            (503, "stopping")
        } else if !self.vitals.is_started() {
            (503, "starting")
        } else if !self.vitals.silent().is_empty() {
            (503, "unhealthy")
        } else {
            (200, "ready")
        };
        Response::json(status, &json!({"status": word}))
    }

    fn metrics(&self) -> Result<Response, Problem> {
        let text = metrics::render(&Scene {
            tenants: &self.operator.tenants()?,
            shards: &self.operator.snapshots()?,
            door: &self.operator.door()?,
            vitals: &self.vitals,
            tenant_limit: self.settings.get().metrics_tenant_limit,
        });
        Ok(Response::of_type(
            200,
            metrics::MEDIA_TYPE,
            text.into_bytes(),
        ))
    }
}

impl Scope {
    fn has(self, resource: Resource<'_>) -> bool {
        match self {
            Scope::Everything => true,
            Scope::ProbesAndMetrics => matches!(
                resource,
                Resource::Health | Resource::Ready | Resource::Metrics
            ),
        }
    }
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Problem {
        match refused {
            Refused::NoTenant => Problem::new(404, "there is no such tenant"),
            Refused::NoSession => Problem::new(404, "the tenant has no such session (any more)"),
            Refused::NotWhen => Problem::new(
                412,
                "the tenant is not what If-Match or If-None-Match asks for: read it again",
            ),
            Refused::Senseless(complaints) => body::refused(complaints),
            Refused::BadFile(complaints) => {
                let lines: Vec<_> = complaints.iter().map(ToString::to_string).collect();
                Problem::new(
                    422,
                    format!(
                        "the config file is wrong, so nothing was changed: {}",
                        lines.join("; ")
                    ),
                )
            }
            Refused::NotKept(why) => Problem::new(500, format!("nothing was changed: {why}")),
            Refused::Silent(shard) => silent(&format!("{shard}; what was asked may still be done")),
            Refused::Stopping => {
                Problem::new(503, "the process is stopping: nothing changes any more")
            }
            Refused::Busy => silent("too much is asked at once; try again"),
        }
    }
}

/// The path of a request as the API's description has it.
pub fn pattern(path: &str) -> &'static str {
    Resource::of(path).map_or("other", Resource::pattern)
}

fn silent(detail: &str) -> Problem {
    Problem::new(503, detail).with("Retry-After", "1")
}

/// The name in a path. What cannot be one is the name of no tenant.
fn tenant_id(id: &str) -> Result<TenantId, Problem> {
    TenantId::parse(id).ok_or_else(|| Problem::no_tenant(id))
}

fn tenants_of<E>(shards: &[Result<ShardSnapshot, E>]) -> impl Iterator<Item = &TenantSnapshot> {
    shards.iter().flatten().flat_map(|shard| &shard.tenants)
}

/// A page for browsers, and for programs what this is.
fn front(request: &Request) -> Response {
    let accept = request.header("accept").unwrap_or_default();
    let front = match accept.contains("text/html") {
        true => page::page(),
        false => Response::json(200, &root()),
    };
    front.with("Vary", "Accept")
}

fn root() -> Value {
    json!({"name": "DBBouncer", "version": env!("CARGO_PKG_VERSION"), "description": "/openapi.json"})
}

/// What tenants may be called, in words that follow "which".
const TENANT_GRAMMAR: &str = "must be 1 to 63 letters, digits, dots, hyphens and single underscores, with no underscore at either end";
/// The description of this API: OpenAPI 3.1.
const OPENAPI: &str = include_str!("openapi.json");

#[cfg(test)]
mod tests;
