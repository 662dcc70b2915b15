//! A config as written: a tree of text, numbers and names, before anybody asks what it means.
//!
//! Nothing is lost on the way in: the order of keys stays, and a key that is written twice is there
//! twice, which YAML parsers else pass over in silence. The same tree is read from JSON, so that
//! the API can take what the file takes.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// A piece of a config. It may hold secrets, so it has no `Debug`.
#[derive(Clone, PartialEq)]
pub enum Node {
    /// A key with nothing behind it, or `null`.
    Nothing,
    /// `true` or `false`.
    Flag(bool),
    /// A number, in decimal.
    Number(String),
    /// Text.
    Text(String),
    /// Items in order.
    List(Vec<Node>),
    /// Keys with their values, in order, repeated keys included.
    Map(Vec<(String, Node)>),
}

impl Node {
    /// Reads YAML. The error says where the text stops being YAML.
    pub fn from_yaml(text: &str) -> Result<Node, String> {
        // A file of comments alone is no document at all to the parser.
        let document: Option<Node> = serde_yaml::from_str(text).map_err(|error| {
            let at = error.location().map(|at| at.line().saturating_sub(1));
            let line = at.and_then(|at| text.lines().nth(at));
            let hint = match line.is_some_and(|line| line.contains("${")) {
                true => "; between { and } a ${NAME} must stand in quotes",
                false => "",
            };
            format!("{error}{hint}")
        })?;
        Ok(document.unwrap_or(Node::Nothing))
    }

    /// The same with every `$` doubled, so that none of them refers to a variable.
    pub fn taken_literally(&self) -> Node {
        match self {
            Node::Text(text) => Node::Text(text.replace('$', "$$")),
            Node::List(items) => Node::List(items.iter().map(Node::taken_literally).collect()),
            Node::Map(entries) => {
                let entries = entries.iter();
                Node::Map(
                    entries
                        .map(|(key, node)| (key.clone(), node.taken_literally()))
                        .collect(),
                )
            }
            other => other.clone(),
        }
    }

    /// What kind of thing it is, for complaints.
    pub fn kind(&self) -> &'static str {
        match self {
            Node::Nothing => "nothing",
            Node::Flag(_) => "true or false",
            Node::Number(_) => "a number",
            Node::Text(_) => "text",
            Node::List(_) => "a list",
            Node::Map(_) => "a section with keys of its own",
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Node, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text, a number, true, false, a list or a map")
    }

    fn visit_unit<E: Error>(self) -> Result<Node, E> {
        Ok(Node::Nothing)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Flag(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Number(value.to_string()))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Number(value.to_string()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Number(value.to_string()))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Node, A::Error> {
        let mut map = Vec::new();
        while let Some((key, value)) = entries.next_entry::<Node, Node>()? {
            match key {
                // A tenant may be called 7, and YAML then sees a number.
                Node::Text(key) | Node::Number(key) => map.push((key, value)),
                other => {
                    let kind = other.kind();
                    return Err(A::Error::custom(format_args!(
                        "a key must be text, not {kind}"
                    )));
                }
            }
        }
        Ok(Node::Map(map))
    }
}

#[cfg(test)]
mod tests {
    use super::Node::{self, Flag, List, Map, Nothing, Number, Text};

    fn text(text: &str) -> Node {
        Text(text.to_owned())
    }

    #[test]
    fn yaml_keeps_order_and_repeated_keys() {
        let read = Node::from_yaml("b: 1\na: [x, -2, 1.5, true, ~]\nb: '1'\n7: {}");
        let list = vec![
            text("x"),
            Number("-2".into()),
            Number("1.5".into()),
            Flag(true),
            Nothing,
        ];
        let expected = vec![
            ("b".into(), Number("1".into())),
            ("a".into(), List(list)),
            ("b".into(), text("1")),
            ("7".into(), Map(vec![])),
        ];
        assert!(read == Ok(Map(expected)));
    }

    #[test]
    fn an_empty_file_is_nothing() {
        assert!(Node::from_yaml("") == Ok(Nothing));
        assert!(Node::from_yaml("# only a comment\n") == Ok(Nothing));
    }

    #[test]
    fn what_is_no_yaml_is_said_with_its_line() {
        for broken in ["a: b\n c: [", "a: !tag {}", "a: *nowhere"] {
            let error = Node::from_yaml(broken).err();
            assert!(
                error.as_ref().is_some_and(|e| e.contains("line")),
                "{broken}: {error:?}"
            );
        }
        assert!(Node::from_yaml("a: 1\n? [x]\n: 2").is_err());
        assert!(Node::from_yaml(&"[".repeat(10_000)).is_err());
    }
}
