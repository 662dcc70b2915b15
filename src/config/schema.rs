//! The JSON Schema of a config, for editors: made from the same as [`reference`](super::reference), the
//! sentences and defaults of the example, and what each key's own reader demands.

use serde_json::{Map, Value, json};

use super::file::Node;
use super::reference::{EXAMPLE, Entry, complaint, complaints, demand, entries};

/// The schema, as a text of several lines.
pub fn json_schema() -> String {
    let entries = entries(EXAMPLE);
    let mut root = section(&entries, &[]);
    let mut tenant = section(&entries, &["tenants", "NAME"]);
    // What stands in `defaults` may stand in a tenant; there it says no default of its own.
    let mut habits = section(&entries, &["defaults"]);
    without_defaults(&mut habits);
    if let (Value::Object(own), Value::Object(habits)) =
        (&mut tenant["properties"], habits["properties"].take())
    {
        own.extend(habits);
    }
    tenant["required"] = required().into();
    root["properties"]["tenants"] = json!({
        "description": "The tenants, by their names.",
        "type": ["object", "null"],
        "propertyNames": {"pattern": "^[A-Za-z0-9.-]+(_[A-Za-z0-9.-]+)*$", "maxLength": 63},
        "additionalProperties": tenant,
    });
    let mut schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "The config of DBBouncer",
    });
    if let (Value::Object(schema), Value::Object(root)) = (&mut schema, root) {
        schema.extend(root);
    }
    // It is made of maps, texts and numbers, which can be written.
    let text = serde_json::to_string_pretty(&schema).unwrap_or_default();
    text + "\n"
}

/// The keys below this path.
fn section(entries: &[Entry], path: &[&str]) -> Value {
    let mut properties = Map::new();
    let below = entries.iter().filter_map(|entry| {
        let rest = entry.path.strip_prefix_of(path)?;
        Some((rest.first()?.as_str(), rest.len() == 1, entry))
    });
    for (key, is_itself, entry) in below {
        if is_itself {
            properties.insert(key.to_owned(), property(entries, entry));
        } else if !properties.contains_key(key) {
            let inside = [path, &[key]].concat();
            properties.insert(key.to_owned(), section(entries, &inside));
        }
    }
    json!({"type": ["object", "null"], "properties": properties, "additionalProperties": false})
}

/// One key.
fn property(entries: &[Entry], entry: &Entry) -> Value {
    let path: Vec<&str> = entry.path.iter().map(String::as_str).collect();
    let mut property = match demand(&entry.path).as_str() {
        "a section" => names_or_section(entries, &path),
        demand => match takes_list(&entry.path) {
            true => {
                let item = of_text(demand);
                json!({"anyOf": [{"type": "array", "items": item}, item]})
            }
            false => of_text(demand),
        },
    };
    // How long a time may be cannot be said but in words.
    let said = match demand(&entry.path) {
        time if time.starts_with("a time") => format!("{} Must be {time}.", entry.about),
        _ => entry.about.clone(),
    };
    if !said.is_empty() {
        property["description"] = said.into();
    }
    let is_default = path.first() != Some(&"tenants");
    if let Some(value) = entry.value.as_ref().filter(|_| is_default)
        && let Ok(Some(value)) = serde_yaml::from_str::<Option<Value>>(value)
    {
        property["default"] = value;
    }
    property
}

/// A section with keys of ours, or with names of the operator's.
fn names_or_section(entries: &[Entry], path: &[&str]) -> Value {
    let has_keys = |path: &[&str]| {
        let mut below = entries
            .iter()
            .filter_map(|entry| entry.path.strip_prefix_of(path));
        below.any(|rest| !rest.is_empty())
    };
    let named = [path, &["NAME"]].concat();
    match (has_keys(&named), has_keys(path)) {
        (true, _) => {
            json!({"type": ["object", "null"], "additionalProperties": section(entries, &named)})
        }
        (false, true) => section(entries, path),
        (false, false) => {
            json!({"type": ["object", "null"], "additionalProperties": {"type": "string"}})
        }
    }
}

/// What a value may be, by the words in which its reader complains.
fn of_text(demand: &str) -> Value {
    let variable = json!({"type": "string", "pattern": VARIABLE});
    if demand.starts_with("a time") {
        let mut any = vec![json!({"type": "string", "pattern": TIME}), variable];
        if demand.ends_with("or 0 for none") {
            any.insert(0, json!({"enum": [0, "0"]}));
        }
        return json!({"anyOf": any});
    }
    if let Some(bounds) = bounds(demand) {
        let (least, most, is_auto) = bounds;
        let mut any = vec![
            json!({"type": "integer", "minimum": least, "maximum": most}),
            json!({"type": "string", "pattern": "^[0-9]+$"}),
            variable,
        ];
        if is_auto {
            any.insert(0, json!({"const": "auto"}));
        }
        return json!({"anyOf": any});
    }
    let words: Vec<_> = demand.split(" or ").collect();
    if words.len() > 1 && words.iter().all(|word| !word.contains([' ', ','])) {
        let mut values = Vec::new();
        for word in words {
            values.push(word.into());
            // YAML takes some words for something else.
            values.extend(word.parse::<bool>().map(Value::from));
            values.extend(word.parse::<f64>().map(Value::from));
        }
        return json!({"anyOf": [{"enum": values}, variable]});
    }
    json!({"type": "string"})
}

/// The least and the most of a number, and whether it may be `auto`.
fn bounds(demand: &str) -> Option<(u64, u64, bool)> {
    let said = demand
        .strip_prefix("a whole number from ")
        .or(demand.strip_prefix("a port from "))?;
    let (said, is_auto) = match said.strip_suffix(", or auto") {
        Some(said) => (said, true),
        None => (said, false),
    };
    let (said, least) = match said.strip_suffix(", or 0 for none") {
        Some(said) => (said, Some(0)),
        None => (said, None),
    };
    let (from, to) = said.split_once(" to ")?;
    Some((
        least.unwrap_or(from.parse().ok()?),
        to.parse().ok()?,
        is_auto,
    ))
}

fn takes_list(path: &[String]) -> bool {
    complaint(path, Node::List(Vec::new())).is_none()
}

/// What a tenant cannot be without.
fn required() -> Vec<String> {
    let nothing = Node::Map(Vec::new());
    let path = ["tenants", "NAME"].map(ToOwned::to_owned);
    let missing = complaints(&path, nothing).into_iter();
    let missing = missing.filter(|said| said.text == "is missing");
    missing
        .filter_map(|said| {
            said.key
                .to_string()
                .strip_prefix("tenants.NAME.")
                .map(str::to_owned)
        })
        .collect()
}

fn without_defaults(schema: &mut Value) {
    if let Value::Object(map) = schema {
        map.remove("default");
        map.values_mut().for_each(without_defaults);
    }
}

trait Path {
    /// What is left of it below this other one.
    fn strip_prefix_of(&self, path: &[&str]) -> Option<&[String]>;
}

impl Path for Vec<String> {
    fn strip_prefix_of(&self, path: &[&str]) -> Option<&[String]> {
        let is_below = self.len() >= path.len() && self.iter().zip(path).all(|(a, b)| a == b);
        is_below.then(|| &self[path.len()..])
    }
}

/// A text that stands for something of the environment.
const VARIABLE: &str = r"\$\{";
/// Numbers with units; see [`super::units::time`].
const TIME: &str = r"^([0-9]+ *[a-zA-Zµ]+ *)+$";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_schema_is_kept_true_as_docs_are() {
        crate::docs::compare("configs/dbbouncer.schema.json", &json_schema());
    }

    #[test]
    fn values_are_what_their_readers_take() {
        let schema: Value = serde_json::from_str(&json_schema()).unwrap();
        let keys = &schema["properties"];
        assert_eq!(
            keys["listen"]["properties"]["api_port"]["anyOf"][0]["maximum"],
            65535
        );
        assert_eq!(
            keys["runtime"]["properties"]["shards"]["anyOf"][0]["const"],
            "auto"
        );
        assert_eq!(
            keys["metrics_auth"]["anyOf"][0]["enum"],
            json!(["true", true, "false", false])
        );
        assert_eq!(
            keys["defaults"]["properties"]["idle_timeout"]["default"],
            "5m"
        );
        let tenant = &keys["tenants"]["additionalProperties"];
        assert_eq!(
            tenant["required"],
            json!(["db_type", "host", "dbname", "username"])
        );
        assert_eq!(
            tenant["properties"]["db_type"]["anyOf"][0]["enum"],
            json!(["postgres", "mysql"])
        );
        assert_eq!(tenant["properties"]["idle_timeout"]["default"], Value::Null);
        let user = &tenant["properties"]["users"]["additionalProperties"]["properties"];
        assert_eq!(user["verifier"]["type"], "string");
        let check = &tenant["properties"]["health_check"]["properties"]["interval"];
        assert_eq!(check["anyOf"][0]["enum"], json!([0, "0"]));
        let said = check["description"].as_str().unwrap();
        assert!(
            said.ends_with("Must be a time from 100ms to 1d, or 0 for none."),
            "{said}"
        );
        let login = &keys["limits"]["properties"]["login_timeout"]["anyOf"];
        assert_eq!(login[0]["pattern"], TIME, "it cannot be switched off");
    }

    #[test]
    fn the_api_says_the_same_of_times() {
        let api: Value = serde_json::from_str(include_str!("../api/openapi.json")).unwrap();
        let schemas = &api["components"]["schemas"];
        let habits = entries(EXAMPLE).into_iter().filter_map(|entry| {
            let rest = entry.path.strip_prefix_of(&["defaults"])?.to_vec();
            Some((rest, demand(&entry.path)))
        });
        for (path, demand) in habits.filter(|(_, demand)| demand.starts_with("a time")) {
            for tenant in ["NewTenant", "Tenant", "TenantConfig"] {
                let property = match &path[..] {
                    [key] => &schemas[tenant]["properties"][key],
                    [_, key] => &schemas["HealthCheck"]["properties"][key],
                    _ => panic!("{path:?}"),
                };
                let said = property["description"].as_str().unwrap_or_default();
                let end = format!("Must be {demand}.");
                assert!(said.ends_with(&end), "{tenant}.{path:?}: {said}, not {end}");
                let can_be_off = property["oneOf"][1]["const"] == 0;
                assert_eq!(can_be_off, demand.ends_with("or 0 for none"), "{path:?}");
            }
        }
    }
}
