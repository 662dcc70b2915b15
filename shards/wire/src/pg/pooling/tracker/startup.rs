//! The settings that a client asks for when it connects.

use super::super::date_style;
use super::super::settings::Map;
use super::super::sql::{Encoding, SEED, Value, is_setting_name, present_name};
use crate::pg::{ErrorResponse, Parameters, options, sqlstate};

/// The settings that startup parameters make. First come those in `options`, then the others, as
/// PostgreSQL takes them; the last one of a name counts.
pub(super) fn settings(startup: &Parameters) -> Result<Map, ErrorResponse> {
    let mut base = Map::new();
    if let Some(switches) = startup.get("options") {
        let switches = options::parse(switches)
            .map_err(|error| ErrorResponse::fatal(sqlstate::SYNTAX_ERROR, error.to_string()))?;
        for switch in &switches {
            let Some(setting) = switch.setting() else {
                return Err(ErrorResponse::fatal(
                    sqlstate::FEATURE_NOT_SUPPORTED,
                    "only settings (-c name=value) are taken from \"options\" in transaction mode",
                ));
            };
            insert(&mut base, &setting.name, &setting.value)?;
        }
    }
    for (name, value) in startup.iter() {
        if !name.eq_ignore_ascii_case("options") {
            insert(&mut base, name, value)?;
        }
    }
    date_style::normalise(&mut base);
    // Sown before the session begins, it is nothing to the server: `check_random_seed` heeds a SET only.
    base.remove(SEED);
    Ok(base)
}

fn insert(base: &mut Map, name: &str, value: &[u8]) -> Result<(), ErrorResponse> {
    if !is_setting_name(name.as_bytes()) {
        return Err(ErrorResponse::fatal(
            UNDEFINED_OBJECT,
            format!("unrecognized configuration parameter \"{name}\""),
        ));
    }
    let value = Value::of_bytes(value, Encoding::UTF8);
    base.insert(present_name(&name.to_ascii_lowercase()).into(), value);
    Ok(())
}

/// SQLSTATE `undefined_object`: no such setting.
const UNDEFINED_OBJECT: &str = "42704";
