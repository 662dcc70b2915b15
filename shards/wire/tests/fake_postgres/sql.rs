//! The statements that the fake database knows.

use super::{FakePostgres, State, Status};

/// What became of a statement.
pub(super) enum Outcome {
    Rows { rows: Vec<String>, tag: String },
    Done(String),
    CopyIn,
    CopyOut(Vec<String>),
}

/// What the client is told of an error.
pub(super) struct Problem {
    pub(super) code: &'static str,
    pub(super) message: String,
}

impl Problem {
    pub(super) fn new(code: &'static str, message: &str) -> Problem {
        Problem {
            code,
            message: message.to_owned(),
        }
    }
}

/// The statements of a text. (No semicolon stands in a literal here.)
pub(super) fn split(text: &str) -> Vec<String> {
    text.split(';')
        .map(|one| one.trim().to_owned())
        .filter(|one| !one.is_empty())
        .collect()
}

/// An error that shows before anything is run.
pub(super) fn refuses(statement: &str) -> Option<Problem> {
    (statement == "SYNTAX").then(|| Problem::new("42601", "syntax error"))
}

/// An error that shows when a statement is prepared.
pub(super) fn analyse(statement: &str) -> Result<(), Problem> {
    match statement {
        "SELECT missing" => Err(Problem::new("42703", "column \"missing\" does not exist")),
        _ => Ok(()),
    }
}

/// An error that shows when it is planned.
pub(super) fn plan(statement: &str) -> Result<(), Problem> {
    match statement {
        "SELECT 1/0" => Err(Problem::new("22012", "division by zero")),
        _ => Ok(()),
    }
}

pub(super) fn returns_rows(statement: &str) -> bool {
    ["SELECT", "SHOW", "EXECUTE"]
        .iter()
        .any(|verb| statement.starts_with(verb))
}

pub(super) fn ends_transaction(statement: &str) -> bool {
    statement.starts_with("ROLLBACK") || statement.starts_with("COMMIT")
}

impl FakePostgres {
    /// Runs one statement.
    pub(super) fn run(&mut self, statement: &str) -> Result<Outcome, Problem> {
        analyse(statement)?;
        plan(statement)?;
        let words: Vec<&str> = statement.split_whitespace().collect();
        let done = |tag: &str| Ok(Outcome::Done(tag.to_owned()));
        match words[..] {
            ["BEGIN"] => {
                self.status = Status::InBlock;
                done("BEGIN")
            }
            ["COMMIT"] => {
                if self.status == Status::Failed {
                    self.rollback();
                    return done("ROLLBACK");
                }
                self.commit();
                done("COMMIT")
            }
            ["ROLLBACK"] => {
                self.rollback();
                done("ROLLBACK")
            }
            ["ROLLBACK", "TO", name] => {
                let at = self.savepoint(name)?;
                self.savepoints.truncate(at + 1);
                self.state = self.savepoints[at].1.clone();
                self.status = Status::InBlock;
                done("ROLLBACK")
            }
            ["SAVEPOINT", name] => {
                if self.status == Status::Idle {
                    return Err(Problem::new("25P01", "SAVEPOINT outside a block"));
                }
                self.savepoints.push((name.to_owned(), self.state.clone()));
                done("SAVEPOINT")
            }
            ["RELEASE", name] => {
                let at = self.savepoint(name)?;
                self.savepoints.truncate(at);
                done("RELEASE")
            }
            ["SET", "SESSION", "AUTHORIZATION", "DEFAULT"]
            | ["SET", "TRANSACTION", "NOT", "DEFERRABLE"] => done("SET"),
            ["SET", "LOCAL", name, "TO", ..] => {
                let value = literals(statement).join(", ");
                self.state.local.insert(unquoted(name), value);
                done("SET")
            }
            ["SET", name, "TO", ..] => {
                let value = literals(statement).join(", ");
                self.set(&unquoted(name), value);
                done("SET")
            }
            ["RESET", "ALL"] => {
                self.state.settings.clear();
                self.state.local.clear();
                done("RESET")
            }
            ["RESET", name] => {
                self.state.settings.remove(&unquoted(name));
                self.state.local.remove(&unquoted(name));
                done("RESET")
            }
            ["SHOW", name] => rows(vec![self.show(name)], "SHOW"),
            ["DISCARD", "ALL"] => {
                if self.status != Status::Idle {
                    return Err(Problem::new("25001", "DISCARD ALL in a block"));
                }
                self.state = State::default();
                self.locks = 0;
                self.statements.retain(|name, _| name.is_empty());
                self.portals.clear();
                done("DISCARD ALL")
            }
            ["DISCARD", "TEMP"] => {
                self.state.tables.clear();
                done("DISCARD TEMP")
            }
            ["DISCARD", "SEQUENCES"] => done("DISCARD SEQUENCES"),
            ["LISTEN", channel] => {
                self.state.listens.insert(channel.to_owned());
                done("LISTEN")
            }
            ["UNLISTEN", "*"] => {
                self.state.listens.clear();
                done("UNLISTEN")
            }
            ["CREATE", "TEMP", "TABLE", name, ..] => {
                self.state.tables.insert(name.to_owned());
                done("CREATE TABLE")
            }
            ["DECLARE", name, "CURSOR", "WITH", "HOLD", ..] => {
                self.state.cursors.insert(name.to_owned());
                done("DECLARE CURSOR")
            }
            ["CLOSE", "ALL"] => {
                self.state.cursors.clear();
                done("CLOSE CURSOR ALL")
            }
            ["PREPARE", name, "AS", ..] => {
                let text = words[3..].join(" ");
                let known = self.statements.contains_key(name.as_bytes());
                if known {
                    return Err(Problem::new("42P05", "already exists"));
                }
                let statement = super::Statement {
                    text,
                    types: vec![0, 0],
                };
                self.statements.insert(name.into(), statement);
                done("PREPARE")
            }
            // What EXECUTE says of a statement without text does not matter here.
            [] => Err(Problem::new("0A000", "nothing to execute")),
            ["EXECUTE", name] => {
                let text = self.statement(name.as_bytes())?.text;
                self.run(&text)
            }
            ["DEALLOCATE", "ALL"] => {
                self.statements.retain(|name, _| name.is_empty());
                done("DEALLOCATE ALL")
            }
            ["DEALLOCATE", name] => {
                self.statement(name.as_bytes())?;
                self.statements.remove(name.as_bytes());
                done("DEALLOCATE")
            }
            ["COPY", _, "FROM", "STDIN"] => Ok(Outcome::CopyIn),
            ["COPY", _, "TO", "STDOUT"] => {
                Ok(Outcome::CopyOut(vec!["one\n".into(), "two\n".into()]))
            }
            ["SELECT", ..] => self.select(statement),
            _ => panic!("the fake database does not know {statement:?}"),
        }
    }

    fn select(&mut self, statement: &str) -> Result<Outcome, Problem> {
        if statement.contains("set_config(") {
            let literals = literals(statement);
            let [name, value, ..] = &literals[..] else {
                panic!("{statement}")
            };
            if statement.ends_with("true)") {
                self.state.local.insert(name.clone(), value.clone());
            } else {
                self.set(name, value.clone());
            }
            return rows(vec![value.clone()], "SELECT 1");
        }
        if statement.contains("pg_advisory_lock(") {
            self.locks += 1;
        }
        if statement.contains("pg_advisory_unlock_all(") {
            self.locks = 0;
        }
        let row = match statement {
            "SELECT three" => return rows(vec!["1".into(), "2".into(), "3".into()], "SELECT 3"),
            "SELECT listens" => format!("{:?}", self.state.listens),
            "SELECT tables" => format!("{:?}", self.state.tables),
            "SELECT cursors" => format!("{:?}", self.state.cursors),
            "SELECT locks" => self.locks.to_string(),
            other => other.to_owned(),
        };
        rows(vec![row], "SELECT 1")
    }

    fn set(&mut self, name: &str, value: String) {
        let name = name.to_lowercase();
        self.state.local.remove(&name);
        self.state.settings.insert(name, value);
    }

    fn savepoint(&self, name: &str) -> Result<usize, Problem> {
        let at = self.savepoints.iter().rposition(|(known, _)| known == name);
        at.ok_or_else(|| Problem::new("3B001", "savepoint does not exist"))
    }
}

fn rows(rows: Vec<String>, tag: &str) -> Result<Outcome, Problem> {
    Ok(Outcome::Rows {
        rows,
        tag: tag.to_owned(),
    })
}

fn unquoted(name: &str) -> String {
    name.replace('"', "").to_lowercase()
}

/// The string literals of a statement. (No quote stands in one here.)
fn literals(statement: &str) -> Vec<String> {
    let pieces = statement.split('\'').skip(1).step_by(2);
    pieces.map(str::to_owned).collect()
}
