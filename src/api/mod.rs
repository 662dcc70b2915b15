//! The REST API: HTTP in, orders to whoever runs the process, JSON out.
//!
//! ```text
//!   client ──▶ door ──▶ intake ──▶ lanes ──▶ tiny_http ──▶ route ──▶ Operator
//!              who       how much   few and   HTTP          what      (control)
//!              comes in  and how    kept open
//!                        long
//! ```
//!
//! Everything in front of `route` may be slow, hostile or out of descriptors; everything behind it
//! is asked complete questions and answers in bounded time.

mod access;
mod body;
mod door;
mod etag;
mod http;
mod intake;
mod kept;
mod lanes;
mod operator;
mod page;
mod problem;
mod route;
mod show;

use std::io;
use std::net::TcpListener;
use std::sync::{Arc, PoisonError, RwLock};

pub use body::with_kept_secrets;
pub use kept::{forget_secret, kept_for_another, lost, secret_of_the_defaults};
pub use lanes::passed_on;
pub use operator::{Operator, Put, Refused, Reloaded, When};

use self::access::Access;
use self::etag::ETags;
use self::lanes::Lanes;
use self::route::Router;
pub use self::route::Scope;
use crate::config;
use crate::vitals::Vitals;

/// The API's settings, shared between whoever serves it and whoever loads the config again.
#[derive(Clone)]
pub struct InForce(Arc<RwLock<Arc<config::Api>>>);

impl InForce {
    /// These settings.
    pub fn new(settings: config::Api) -> InForce {
        InForce(Arc::new(RwLock::new(Arc::new(settings))))
    }

    /// Puts others in force. The address is where it was.
    pub fn set(&self, settings: config::Api) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(settings);
    }

    /// The settings now.
    pub fn get(&self) -> Arc<config::Api> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Serves the API on this listener until the process ends, or what `scope` leaves of it.
pub fn serve(
    listener: TcpListener,
    scope: Scope,
    settings: InForce,
    operator: Arc<dyn Operator>,
    vitals: Arc<Vitals>,
) -> io::Result<()> {
    let mut random = [0; 8];
    aws_lc_rs::rand::fill(&mut random).map_err(|_| io::Error::other("no random numbers"))?;
    let router = Router {
        operator,
        vitals: Arc::clone(&vitals),
        scope,
        access: Access::default(),
        settings,
        etags: ETags::new(u64::from_ne_bytes(random)),
    };
    door::open(listener, Lanes::open(Arc::new(router))?, vitals)
}
