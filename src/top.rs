//! `dbbouncer top`: the tenants of a running DBBouncer and their sessions, live in a terminal.
//!
//! ```text
//!   API ── sample ──▶ model ◀── keys          column, sessions: what stands where
//!                       │                     listing: in what order
//!                       ▼
//!                     view ──▶ table ──▶ terminal, or a pipe
//! ```

mod column;
mod keys;
mod listing;
mod model;
mod sample;
mod sessions;
mod table;
mod terminal;
mod view;

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use crossterm::event::{Event, KeyEventKind};
use signal_hook::consts::{SIGHUP, SIGTERM};
use signal_hook::flag;

pub use self::column::Column;
use self::keys::Next;
use self::listing::Order;
use self::model::Model;
use self::sample::{Sample, SessionsOf, Wish};
use self::terminal::{Terminal, Word};
use crate::client::{Client, Failure, Target};

/// What is to be shown, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Whom to ask.
    pub target: Target,
    /// From one sample to the next.
    pub interval: Duration,
    /// Whether to print one report and end.
    pub once: bool,
    /// The tenant whose sessions are to be shown.
    pub tenant: Option<String>,
    /// The column to sort tenants by.
    pub sort: Column,
    /// The words that a tenant, or a session, must have.
    pub filter: String,
}

/// Why it ended.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// The API.
    #[error(transparent)]
    Api(#[from] Failure),
    /// The terminal, or whatever the report goes to.
    #[error("cannot write to the terminal: {0}")]
    Terminal(#[from] io::Error),
    /// There is none.
    #[error("standard input and output are no terminal; --once prints a report")]
    NoTerminal,
}

/// Shows it until the user has seen enough.
pub fn run(options: Options) -> Result<(), Trouble> {
    let client = Client::new(options.target.clone(), PATIENCE);
    let begin = Instant::now();
    let order = Order::by(options.sort);
    let mut model = match options.tenant.clone() {
        None => Model::new(order, options.filter),
        Some(tenant) => {
            let mut model = Model::new(order, String::new());
            model.watch(tenant, options.filter);
            model
        }
    };
    // Before the terminal is touched: who asks in a wrong way is told so in plain words.
    let take = |model: &mut Model| {
        let seen = Seen::by(&client, options.tenant.as_deref())?;
        model.see(begin.elapsed(), seen)
    };
    take(&mut model)?;
    if options.once {
        thread::sleep(options.interval);
        take(&mut model)?;
        return Ok(print(&model, &options.target.url)?);
    }
    if !(io::stdout().is_terminal() && io::stdin().is_terminal()) {
        return Err(Trouble::NoTerminal);
    }
    let asker = Asker::start(client, options.interval, options.tenant, begin)?;
    Ok(live(&mut model, &options.target.url, &asker)?)
}

fn print(model: &Model, url: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for line in view::report(model, url) {
        writeln!(out, "{}", line.text())?;
    }
    out.flush()
}

fn live(model: &mut Model, url: &str, asker: &Asker) -> io::Result<()> {
    let told_to_end = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGHUP] {
        flag::register(signal, Arc::clone(&told_to_end))?;
    }
    let mut terminal = Terminal::open()?;
    while !told_to_end.load(Ordering::Relaxed) {
        for answer in asker.answers.try_iter() {
            match answer {
                Answer::Seen(..) if model.is_paused => {}
                Answer::Seen(at, seen) => {
                    let seen = seen.and_then(|seen| model.see(at, seen));
                    model.trouble = seen.err().map(|failure| failure.to_string());
                }
                Answer::Told(words) => {
                    if let Some(watched) = &mut model.watched {
                        watched.told = Some(words);
                    }
                }
            }
        }
        let (_, height) = terminal.size();
        terminal.draw(&view::screen(model, url, height))?;
        let key = match terminal.hear(LOOK_EVERY)? {
            Word::Gone => break,
            Word::Event(Event::Key(key)) if key.kind != KeyEventKind::Release => key,
            Word::Event(_) | Word::Nothing => continue,
        };
        let wish = match keys::press(model, key, view::page(model, height)) {
            Next::Quit => break,
            Next::Stay => continue,
            Next::Look => Wish::Watch(model.watched.as_ref().map(|it| it.tenant.clone())),
            Next::End(tenant, session) => Wish::End(tenant, session),
        };
        // Whoever asked has ended with the reason in its last answer.
        let _ = asker.wishes.send(wish);
    }
    Ok(())
}

/// What was seen at one moment.
struct Seen {
    sample: Sample,
    sessions: Option<Result<SessionsOf, Failure>>,
}

impl Seen {
    fn by(client: &Client, tenant: Option<&str>) -> Result<Seen, Failure> {
        Ok(Seen {
            sample: Sample::take(client)?,
            sessions: tenant.map(|tenant| SessionsOf::take(client, tenant)),
        })
    }
}

impl Model {
    /// The error is why there is nothing of its sessions, the rest is known all the same.
    fn see(&mut self, at: Duration, seen: Seen) -> Result<(), Failure> {
        self.take(at, seen.sample);
        if let Some(sessions) = seen.sessions {
            let SessionsOf { tenant, sessions } = sessions?;
            self.take_sessions(&tenant, sessions);
        }
        Ok(())
    }
}

/// What has come of asking.
enum Answer {
    /// What was seen, and when.
    Seen(Duration, Result<Seen, Failure>),
    /// What has come of something done, in words.
    Told(String),
}

/// Asks on a thread of its own, so that keys do not wait for the network. It ends when nobody wants
/// to know any more.
struct Asker {
    wishes: Sender<Wish>,
    answers: Receiver<Answer>,
}

impl Asker {
    fn start(
        client: Client,
        interval: Duration,
        mut tenant: Option<String>,
        begin: Instant,
    ) -> io::Result<Asker> {
        let (wishes, wished) = unbounded();
        let (send, answers) = bounded(1);
        thread::Builder::new()
            .name("top-asks".into())
            .spawn(move || {
                loop {
                    let told = match wished.recv_timeout(interval) {
                        Ok(Wish::Watch(wanted)) => {
                            tenant = wanted;
                            None
                        }
                        Ok(Wish::End(tenant, session)) => {
                            Some(Answer::Told(sample::end(&client, &tenant, &session)))
                        }
                        Err(_) => None,
                    };
                    let seen = Seen::by(&client, tenant.as_deref());
                    let seen = Answer::Seen(begin.elapsed(), seen);
                    for answer in told.into_iter().chain([seen]) {
                        if send.send(answer).is_err() {
                            return;
                        }
                    }
                }
            })?;
        Ok(Asker { wishes, answers })
    }
}

/// How long the API may take for one answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often we look for fresh samples while no key is pressed.
const LOOK_EVERY: Duration = Duration::from_millis(100);
