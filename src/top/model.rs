//! What `top` knows, as values: two samples become rates, rows are chosen and put in order. It knows no
//! terminal, no network and no clock.

use std::collections::HashMap;
use std::time::Duration;

use super::column::Column;
use super::listing::{Listing, Order};
use super::sample::{Sample, Stats, Timings};
use super::sessions::{Session, Watched};

/// Everything that is shown.
pub struct Model {
    /// When the latest sample was taken, and what it said.
    latest: Option<(Duration, Sample)>,
    pub rows: Vec<Row>,
    /// How much of the time each shard's thread was busy, between the last two samples.
    busy: Vec<Option<f64>>,
    /// How the tenants are looked at.
    pub listing: Listing<Column>,
    /// The tenant whose sessions are shown instead.
    pub watched: Option<Watched>,
    /// Why there was no answer, the last time.
    pub trouble: Option<String>,
    /// Whether fresh samples are left aside.
    pub is_paused: bool,
}

/// A tenant at one moment, and what it did since the moment before.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    pub id: String,
    pub db_type: String,
    pub mode: String,
    pub state: String,
    pub shard: usize,
    pub max: u64,
    /// `None` if its shard did not answer.
    pub stats: Option<Stats>,
    /// `None` before the second sample.
    pub rates: Option<Rates>,
}

/// What happened in a second.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Rates {
    pub queries: f64,
    pub errors: f64,
    /// How long the queries took since the sample before.
    pub times: Timings,
}

/// All tenants together.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Totals {
    pub tenants: usize,
    pub clients: u64,
    pub active: u64,
    pub idle: u64,
    pub waiting: u64,
    pub unhealthy: usize,
    pub rates: Option<Rates>,
}

impl Model {
    /// Nothing yet, with this order and filter.
    pub fn new(order: Order<Column>, filter: String) -> Model {
        Model {
            latest: None,
            rows: Vec::new(),
            busy: Vec::new(),
            listing: Listing::new(order, filter),
            watched: None,
            trouble: None,
            is_paused: false,
        }
    }

    /// A sample that was taken at this time, on a clock that only runs forward.
    pub fn take(&mut self, at: Duration, sample: Sample) {
        let before = self.latest.take();
        let passed = before
            .as_ref()
            .map(|(then, _)| at.saturating_sub(*then).as_secs_f64());
        let passed = passed.filter(|passed| *passed > 0.0);
        let old: HashMap<_, _> = before
            .iter()
            .flat_map(|(_, before)| &before.tenants)
            .filter_map(|tenant| Some((&tenant.id, tenant.stats.as_ref()?)))
            .collect();
        self.rows = sample
            .tenants
            .iter()
            .map(|tenant| Row {
                id: tenant.id.clone(),
                db_type: tenant.db_type.clone(),
                mode: tenant.pool_mode.clone(),
                state: tenant.state.clone(),
                shard: tenant.shard,
                max: tenant.max_connections,
                rates: tenant
                    .stats
                    .as_ref()
                    .and_then(|now| Rates::between(old.get(&tenant.id)?, now, passed?)),
                stats: tenant.stats.clone(),
            })
            .collect();
        let busy_before = |shard: usize| {
            before
                .as_ref()?
                .1
                .shards
                .get(shard)
                .filter(|shard| shard.answers)
        };
        self.busy = sample
            .shards
            .iter()
            .enumerate()
            .map(|(index, now)| {
                let before = busy_before(index).filter(|_| now.answers)?;
                Some(((now.busy_seconds - before.busy_seconds) / passed?).clamp(0.0, 1.0))
            })
            .collect();
        self.latest = Some((at, sample));
        self.trouble = None;
    }

    /// The latest sample.
    pub fn sample(&self) -> Option<&Sample> {
        self.latest.as_ref().map(|(_, sample)| sample)
    }

    /// How much of the time this shard's thread was busy, from 0 to 1.
    pub fn busy(&self, shard: usize) -> Option<f64> {
        self.busy.get(shard).copied().flatten()
    }

    /// The tenants that are shown, in order.
    pub fn shown(&self) -> Vec<&Row> {
        self.listing.shown(&self.rows)
    }

    /// A tenant of this name, as it was last.
    pub fn tenant(&self, id: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.id == id)
    }

    /// Shows the sessions of this tenant.
    pub fn watch(&mut self, tenant: String, filter: String) {
        // Nothing is known of them yet.
        self.is_paused = false;
        self.watched = Some(Watched::new(tenant, filter));
    }

    /// What a tenant's sessions were when asked for, unless others are shown by now.
    pub fn take_sessions(&mut self, tenant: &str, sessions: Vec<Session>) {
        if let Some(watched) = self.watched.as_mut().filter(|it| it.tenant == tenant) {
            watched.rows = sessions;
            watched.is_known = true;
        }
    }

    /// All tenants together, those that the filter hides among them.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals {
            tenants: self.rows.len(),
            ..Totals::default()
        };
        for row in &self.rows {
            if let Some(stats) = &row.stats {
                totals.clients += stats.clients;
                totals.active += stats.active;
                totals.idle += stats.idle;
                totals.waiting += stats.waiting;
                totals.unhealthy += usize::from(!stats.healthy);
            }
            if let Some(rates) = &row.rates {
                let sum = totals.rates.get_or_insert_default();
                sum.queries += rates.queries;
                sum.errors += rates.errors;
                sum.times = sum.times.and(&rates.times);
            }
        }
        totals
    }
}

impl Rates {
    /// `None` if the tenant began anew in between: it was removed and made again.
    fn between(before: &Stats, now: &Stats, seconds: f64) -> Option<Rates> {
        let queries = now.queries.checked_sub(before.queries)?;
        let errors = now.errors.checked_sub(before.errors)?;
        Some(Rates {
            queries: queries as f64 / seconds,
            errors: errors as f64 / seconds,
            times: now.query_duration.since(&before.query_duration),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::top::sample::{Process, Shard, Tenant};

    fn tenant(id: &str, waiting: u64, queries: u64) -> Tenant {
        Tenant {
            id: id.into(),
            db_type: "postgres".into(),
            pool_mode: "session".into(),
            state: "active".into(),
            shard: 0,
            max_connections: 20,
            stats: Some(Stats {
                clients: 3,
                pinned: 1,
                active: 2,
                idle: 1,
                waiting,
                healthy: id != "sick",
                unhealthy_because: None,
                queries,
                errors: queries / 10,
                query_duration: Timings {
                    le: vec![0.1, 1.0],
                    counts: vec![queries, 0, 0],
                },
            }),
        }
    }

    fn sample(tenants: Vec<Tenant>, busy_seconds: f64) -> Sample {
        let health = Process {
            version: "1.2.3".into(),
            uptime_seconds: 5,
        };
        let shards = [true, false].into_iter().enumerate();
        let shards = shards.map(|(shard, answers)| Shard {
            shard,
            answers,
            clients: 3,
            tenants: 2,
            busy_seconds,
        });
        Sample {
            health,
            tenants,
            shards: shards.collect(),
        }
    }

    fn model(by: Column, down: bool) -> Model {
        Model::new(Order { by, down }, String::new())
    }

    fn ids(model: &Model) -> Vec<&str> {
        model.shown().iter().map(|row| row.id.as_str()).collect()
    }

    #[test]
    fn rates_are_what_came_between_two_samples() {
        let mut model = model(Column::Tenant, false);
        model.take(
            Duration::from_secs(1),
            sample(vec![tenant("a", 0, 100)], 1.0),
        );
        assert!(model.shown()[0].rates.is_none() && model.totals().rates.is_none());
        assert_eq!(model.busy(0), None);
        model.take(
            Duration::from_secs(3),
            sample(vec![tenant("a", 0, 140), tenant("b", 0, 7)], 2.0),
        );
        let rates = model.shown()[0].rates.clone().unwrap();
        assert_eq!((rates.queries, rates.errors), (20.0, 2.0));
        assert_eq!(rates.times.counts, [40, 0, 0]);
        assert!(model.shown()[1].rates.is_none(), "b has just been made");
        assert_eq!(model.totals().rates.unwrap().queries, 20.0);
        assert_eq!((model.busy(0), model.busy(1)), (Some(0.5), None));
        // Removed and made again, it counts from nothing.
        model.take(Duration::from_secs(5), sample(vec![tenant("a", 0, 3)], 2.0));
        assert!(model.shown()[0].rates.is_none());
    }

    #[test]
    fn rows_have_an_order_and_what_is_unknown_comes_last_whichever_way() {
        let mut silent = tenant("silent", 0, 0);
        silent.stats = None;
        let tenants = || {
            vec![
                tenant("b", 1, 0),
                silent.clone(),
                tenant("c", 5, 0),
                tenant("a", 1, 0),
            ]
        };
        for (by, down, expected) in [
            (Column::Waiting, true, ["c", "a", "b", "silent"]),
            (Column::Waiting, false, ["a", "b", "c", "silent"]),
            (Column::Tenant, true, ["silent", "c", "b", "a"]),
            (Column::P99, true, ["a", "b", "c", "silent"]),
        ] {
            let mut model = model(by, down);
            model.take(Duration::ZERO, sample(tenants(), 0.0));
            assert_eq!(ids(&model), expected, "{by:?} {down}");
        }
    }

    #[test]
    fn a_filter_wants_each_of_its_words_and_totals_do_not_care() {
        let mut model = model(Column::Tenant, false);
        let tenants = vec![tenant("sick", 0, 0), tenant("well", 2, 0)];
        model.take(Duration::ZERO, sample(tenants, 0.0));
        for (filter, expected) in [
            ("", &["sick", "well"][..]),
            ("SIC postgres", &["sick"]),
            ("unhealthy", &["sick"]),
            ("shard-0 session active", &["sick", "well"]),
            ("mysql", &[]),
        ] {
            model.listing.filter = filter.into();
            assert_eq!(ids(&model), expected, "{filter}");
        }
        let totals = model.totals();
        assert_eq!((totals.tenants, totals.unhealthy), (2, 1));
        assert_eq!(
            (totals.clients, totals.active, totals.idle, totals.waiting),
            (6, 4, 2, 2)
        );
    }
}
