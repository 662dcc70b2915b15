//! `dbbouncer top`: the tenants of a running DBBouncer, live in a terminal.
//!
//! ```text
//!   API ── sample ──▶ model ◀── keys          column: what stands where
//!                       │
//!                       ▼
//!                     view ──▶ terminal, or a pipe
//! ```

mod column;
mod keys;
mod model;
mod sample;
mod terminal;
mod view;

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, bounded};
use crossterm::event::{self, Event, KeyEventKind};
use signal_hook::consts::{SIGHUP, SIGTERM};
use signal_hook::flag;

pub use self::column::Column;
use self::keys::Next;
use self::model::{Model, Order};
use self::sample::Sample;
use self::terminal::Terminal;
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
    /// The column to sort by.
    pub sort: Column,
    /// The words that a tenant must have.
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
    let order = Order {
        by: options.sort,
        down: !options.sort.is_text(),
    };
    let mut model = Model::new(order, options.filter);
    // Before the terminal is touched: who asks in a wrong way is told so in plain words.
    model.take(begin.elapsed(), Sample::take(&client)?);
    if options.once {
        thread::sleep(options.interval);
        model.take(begin.elapsed(), Sample::take(&client)?);
        return Ok(print(&model, &options.target.url)?);
    }
    if !(io::stdout().is_terminal() && io::stdin().is_terminal()) {
        return Err(Trouble::NoTerminal);
    }
    let samples = ask_again_and_again(client, options.interval, begin)?;
    Ok(live(&mut model, &options.target.url, &samples)?)
}

fn print(model: &Model, url: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for line in view::report(model, url) {
        writeln!(out, "{}", line.text())?;
    }
    out.flush()
}

fn live(model: &mut Model, url: &str, samples: &Receiver<Answer>) -> io::Result<()> {
    let told_to_end = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGHUP] {
        flag::register(signal, Arc::clone(&told_to_end))?;
    }
    let mut terminal = Terminal::open()?;
    while !told_to_end.load(Ordering::Relaxed) {
        for (at, sample) in samples.try_iter() {
            match sample {
                Ok(_) if model.is_paused => {}
                Ok(sample) => model.take(at, sample),
                Err(failure) => model.trouble = Some(failure.to_string()),
            }
        }
        let (_, height) = terminal.size();
        terminal.draw(&view::screen(model, url, height))?;
        if event::poll(LOOK_EVERY)?
            && let Event::Key(key) = event::read()?
            && key.kind != KeyEventKind::Release
            && keys::press(model, key, view::page(model, height)) == Next::Quit
        {
            break;
        }
    }
    Ok(())
}

/// When a sample was taken, and what came of it.
type Answer = (Duration, Result<Sample, Failure>);

/// Takes samples on a thread of its own, so that keys do not wait for the network. It ends when
/// nobody wants them any more.
fn ask_again_and_again(
    client: Client,
    interval: Duration,
    begin: Instant,
) -> io::Result<Receiver<Answer>> {
    let (send, samples) = bounded(1);
    thread::Builder::new()
        .name("top-asks".into())
        .spawn(move || {
            loop {
                thread::sleep(interval);
                let sample = Sample::take(&client);
                if send.send((begin.elapsed(), sample)).is_err() {
                    return;
                }
            }
        })?;
    Ok(samples)
}

/// How long the API may take for one answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often we look for fresh samples while no key is pressed.
const LOOK_EVERY: Duration = Duration::from_millis(100);
