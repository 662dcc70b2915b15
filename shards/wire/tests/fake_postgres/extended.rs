//! The extended protocol: statements and portals by their names.

use super::*;

#[derive(Clone)]
pub(super) struct Statement {
    pub(super) text: String,
    pub(super) types: Vec<u8>,
}

#[derive(Clone)]
pub(super) struct Portal {
    pub(super) text: String,
    row: usize,
    done: bool,
}

impl FakePostgres {
    pub(super) fn extended(&mut self, done: Result<(), Problem>) {
        if let Err(problem) = done {
            self.error(&problem);
            self.ignores_until_sync = true;
        }
    }

    pub(super) fn parse(&mut self, body: &[u8]) -> Result<(), Problem> {
        let (name, rest) = cut(body);
        let (query, types) = cut(rest);
        let query = String::from_utf8(query.to_vec()).unwrap();
        self.begin_implicit();
        if name.is_empty() {
            self.statements.remove(&b""[..]);
        }
        let statements = sql::split(&query);
        if let Some(problem) = statements.iter().find_map(|one| sql::refuses(one)) {
            return Err(problem);
        }
        if statements.len() > 1 {
            return Err(Problem::new("42601", "cannot insert multiple commands"));
        }
        if let Some(one) = statements.first() {
            self.allowed(one)?;
            sql::analyse(one)?;
        }
        if !name.is_empty() && self.statements.contains_key(name) {
            let name = String::from_utf8_lossy(name);
            return Err(Problem::new(
                "42P05",
                &format!("prepared statement \"{name}\" already exists"),
            ));
        }
        self.statements.insert(
            name.to_vec(),
            Statement {
                text: statements.into_iter().next().unwrap_or_default(),
                types: types.to_vec(),
            },
        );
        self.say(b'1', b"");
        Ok(())
    }

    pub(super) fn statement(&self, name: &[u8]) -> Result<Statement, Problem> {
        self.statements.get(name).cloned().ok_or_else(|| {
            let message = match name {
                b"" => "unnamed prepared statement does not exist".to_owned(),
                name => format!(
                    "prepared statement \"{}\" does not exist",
                    String::from_utf8_lossy(name)
                ),
            };
            Problem::new("26000", &message)
        })
    }

    pub(super) fn bind(&mut self, body: &[u8]) -> Result<(), Problem> {
        let (portal, rest) = cut(body);
        let (name, _) = cut(rest);
        self.begin_implicit();
        let statement = self.statement(name)?;
        self.allowed(&statement.text)?;
        sql::plan(&statement.text)?;
        if !portal.is_empty() && self.portals.contains_key(portal) {
            let portal = String::from_utf8_lossy(portal);
            return Err(Problem::new(
                "42P03",
                &format!("cursor \"{portal}\" already exists"),
            ));
        }
        self.portals.insert(
            portal.to_vec(),
            Portal {
                text: statement.text,
                row: 0,
                done: false,
            },
        );
        self.say(b'2', b"");
        Ok(())
    }

    pub(super) fn describe(&mut self, body: &[u8]) -> Result<(), Problem> {
        let name = &body[1..body.len() - 1];
        self.begin_implicit();
        let text = if body[0] == b'S' {
            let statement = self.statement(name)?;
            if sql::returns_rows(&statement.text) {
                self.allowed(&statement.text)?;
            }
            self.say(b't', &statement.types);
            statement.text
        } else {
            let portal = self.portals.get(name).cloned();
            portal.ok_or_else(|| no_portal(name))?.text
        };
        if sql::returns_rows(&text) {
            self.row_description();
        } else {
            self.say(b'n', b"");
        }
        Ok(())
    }

    pub(super) fn execute(&mut self, body: &[u8]) -> Result<(), Problem> {
        let (name, most) = cut(body);
        let most = u32::from_be_bytes(most.try_into().unwrap()) as usize;
        self.begin_implicit();
        let portal = self
            .portals
            .get(name)
            .cloned()
            .ok_or_else(|| no_portal(name))?;
        if portal.text.is_empty() {
            self.say(b'I', b"");
            return Ok(());
        }
        self.allowed(&portal.text)?;
        if portal.done && !sql::returns_rows(&portal.text) {
            let name = String::from_utf8_lossy(name);
            return Err(Problem::new(
                "55000",
                &format!("portal \"{name}\" cannot be run"),
            ));
        }
        match self.run(&portal.text)? {
            Outcome::Rows { rows, tag } => {
                let left = &rows[portal.row.min(rows.len())..];
                let count = if most == 0 {
                    left.len()
                } else {
                    left.len().min(most)
                };
                for row in &left[..count] {
                    self.row(row);
                }
                if let Some(portal) = self.portals.get_mut(name) {
                    portal.row += count;
                }
                if most > 0 && count == most {
                    self.say(b's', b"");
                } else {
                    let verb = tag.split(' ').next().unwrap();
                    self.complete(&format!("{verb} {count}"));
                }
            }
            Outcome::Done(tag) => {
                if let Some(portal) = self.portals.get_mut(name) {
                    portal.done = true;
                }
                self.complete(&tag);
            }
            Outcome::CopyIn => {
                self.copy = Some(CopyIn {
                    behind: None,
                    rows: 0,
                });
                self.say(b'G', &[0, 0, 0]);
                self.flush();
            }
            Outcome::CopyOut(rows) => self.copy_out(&rows),
        }
        Ok(())
    }
}

fn no_portal(name: &[u8]) -> Problem {
    let name = String::from_utf8_lossy(name);
    Problem::new("34000", &format!("portal \"{name}\" does not exist"))
}
