//! The scenarios, by theme. One more is one more entry in the list that it belongs to:
//!
//! ```ignore
//! Scenario::named("a portal in portions")
//!     .says(&[query("BEGIN"), parse("q", "SELECT 1"), bind("p", "q"), execute_some("p", 2), sync()])
//!     .says(&[query("COMMIT")]),
//! ```

mod basics;
mod copy;
mod hidden;
mod neighbours;
mod pipelines;
mod prepared;
mod prepared_by_sql;
mod settings;
mod shapes;

use crate::scenario::Scenario;

pub fn all() -> Vec<Scenario> {
    [
        basics::list(),
        pipelines::list(),
        prepared::list(),
        prepared_by_sql::list(),
        copy::list(),
        settings::list(),
        shapes::list(),
        neighbours::list(),
        hidden::list(),
    ]
    .concat()
}
