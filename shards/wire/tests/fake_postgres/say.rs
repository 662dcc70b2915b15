//! What the fake says: the messages of its answers.

use super::*;

impl FakePostgres {
    pub(super) fn show(&self, name: &str) -> String {
        let value = (self.state.local.get(name))
            .or_else(|| self.state.settings.get(name))
            .or_else(|| self.startup.get(name));
        let default = match name {
            "timezone" => "UTC",
            "standard_conforming_strings" => "on",
            "search_path" => "public",
            _ => "",
        };
        let value = value.map_or(default, String::as_str);
        // As a database prints a value in a form of its own.
        if name == "timezone" {
            value.to_uppercase()
        } else {
            value.to_owned()
        }
    }

    pub(super) fn complete(&mut self, tag: &str) {
        self.say(b'C', format!("{tag}\0").as_bytes());
    }

    pub(super) fn row_description(&mut self) {
        self.say(
            b'T',
            &[
                0, 1, b'c', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 25, 0, 0, 0, 0, 0, 0, 0, 0,
            ],
        );
    }

    pub(super) fn row(&mut self, value: &str) {
        let length = (value.len() as u32).to_be_bytes();
        self.say(b'D', &[&[0, 1][..], &length, value.as_bytes()].concat());
    }

    pub(super) fn say(&mut self, kind: u8, body: &[u8]) {
        push(&mut self.said, kind, body);
    }

    pub(super) fn flush(&mut self) {
        self.flushed.append(&mut self.said);
    }
}
