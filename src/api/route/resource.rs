//! The paths that there are.

use shards::contract::Steering;

/// What a path means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource<'a> {
    Root,
    Tenants,
    Tenant(&'a str),
    TenantStats(&'a str),
    Sessions(&'a str),
    Session(&'a str, &'a str),
    Steer(&'a str, Steering),
    Reload,
    Config,
    Shards,
    Health,
    Ready,
    Metrics,
    OpenApi,
}

impl<'a> Resource<'a> {
    /// What this path means; `None` if nothing.
    pub fn of(path: &'a str) -> Option<Resource<'a>> {
        let parts: Vec<_> = path.strip_prefix('/')?.split('/').collect();
        let resource = match *parts.as_slice() {
            [""] => Resource::Root,
            ["tenants"] => Resource::Tenants,
            ["tenants", ""] => return None,
            ["tenants", id] => Resource::Tenant(id),
            ["tenants", id, "stats"] => Resource::TenantStats(id),
            ["tenants", id, "sessions"] => Resource::Sessions(id),
            ["tenants", id, "sessions", session] => Resource::Session(id, session),
            ["tenants", id, "drain"] => Resource::Steer(id, Steering::Drain),
            ["tenants", id, "pause"] => Resource::Steer(id, Steering::Pause),
            ["tenants", id, "resume"] => Resource::Steer(id, Steering::Resume),
            ["tenants", id, "reconnect"] => Resource::Steer(id, Steering::Reconnect),
            ["reload"] => Resource::Reload,
            ["config"] => Resource::Config,
            ["shards"] => Resource::Shards,
            ["health"] => Resource::Health,
            ["ready"] => Resource::Ready,
            ["metrics"] => Resource::Metrics,
            ["openapi.json"] => Resource::OpenApi,
            _ => return None,
        };
        Some(resource)
    }

    /// What can be done to it.
    pub fn methods(self) -> &'static [&'static str] {
        match self {
            Resource::Tenants => &["GET", "HEAD", "POST"],
            Resource::Tenant(_) => &["GET", "HEAD", "PUT", "DELETE"],
            Resource::Session(..) => &["DELETE"],
            Resource::Steer(..) | Resource::Reload => &["POST"],
            _ => &["GET", "HEAD"],
        }
    }

    /// The path as the API's description has it.
    pub fn pattern(self) -> &'static str {
        match self {
            Resource::Root => "/",
            Resource::Tenants => "/tenants",
            Resource::Tenant(_) => "/tenants/{id}",
            Resource::TenantStats(_) => "/tenants/{id}/stats",
            Resource::Sessions(_) => "/tenants/{id}/sessions",
            Resource::Session(..) => "/tenants/{id}/sessions/{session}",
            Resource::Steer(_, Steering::Drain) => "/tenants/{id}/drain",
            Resource::Steer(_, Steering::Pause) => "/tenants/{id}/pause",
            Resource::Steer(_, Steering::Resume) => "/tenants/{id}/resume",
            Resource::Steer(_, Steering::Reconnect) => "/tenants/{id}/reconnect",
            Resource::Reload => "/reload",
            Resource::Config => "/config",
            Resource::Shards => "/shards",
            Resource::Health => "/health",
            Resource::Ready => "/ready",
            Resource::Metrics => "/metrics",
            Resource::OpenApi => "/openapi.json",
        }
    }
}
