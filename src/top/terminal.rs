//! The terminal: taken over while `top` runs, and given back as it was however it ends.

use std::io::{self, Stdout, Write, stdin, stdout};
use std::time::Duration;

use crossterm::cursor::{Hide, MoveTo, Show};
use crossterm::event::{self, Event};
use crossterm::style::{Attribute, Color, Print, SetAttribute, SetForegroundColor};
use crossterm::terminal::{
    BeginSynchronizedUpdate, Clear, ClearType, EndSynchronizedUpdate, EnterAlternateScreen,
    LeaveAlternateScreen, disable_raw_mode, enable_raw_mode, size,
};
use crossterm::{execute, queue};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::table::{Line, Look};

/// What a terminal has to say.
pub enum Word {
    /// A key, another size.
    Event(Event),
    /// Nothing so far.
    Nothing,
    /// There is no terminal any more: its window was closed, the connection to it has ended.
    Gone,
}

/// The terminal, ours until this is dropped.
pub struct Terminal(Stdout);

impl Terminal {
    /// Takes it over.
    pub fn open() -> io::Result<Terminal> {
        enable_raw_mode()?;
        // From here on dropping it puts everything back.
        let mut terminal = Terminal(stdout());
        execute!(terminal.0, EnterAlternateScreen, Hide)?;
        Ok(terminal)
    }

    /// What it says within this time. Crossterm reads for ever from a terminal that is gone, so that is looked for first.
    pub fn hear(&mut self, within: Duration) -> io::Result<Word> {
        // Some of what crossterm has read may be left from before.
        if is_gone(Duration::ZERO)? || !event::poll(Duration::ZERO)? && is_gone(within)? {
            return Ok(Word::Gone);
        }
        match event::poll(Duration::ZERO)? {
            true => event::read().map(Word::Event),
            false => Ok(Word::Nothing),
        }
    }

    /// Its columns and rows.
    pub fn size(&self) -> (usize, usize) {
        let (width, height) = size().unwrap_or((80, 24));
        (usize::from(width), usize::from(height))
    }

    /// Shows these lines, each cut at the right edge.
    pub fn draw(&mut self, lines: &[Line]) -> io::Result<()> {
        let (width, height) = self.size();
        let out = &mut self.0;
        queue!(out, BeginSynchronizedUpdate)?;
        for (y, line) in (0u16..).zip(lines.iter().take(height)) {
            queue!(out, MoveTo(0, y))?;
            let mut room = width;
            for (look, text) in &line.0 {
                let text: String = text.chars().take(room).collect();
                room -= text.chars().count();
                dress(out, *look)?;
                queue!(out, Print(text), SetAttribute(Attribute::Reset))?;
            }
            queue!(out, Clear(ClearType::UntilNewLine))?;
        }
        queue!(out, EndSynchronizedUpdate)?;
        out.flush()
    }
}

/// Waits until there is something to read, but no longer than this.
fn is_gone(within: Duration) -> io::Result<bool> {
    let within = Timespec::try_from(within).unwrap_or_default();
    let input = stdin();
    let mut polled = [PollFd::new(&input, PollFlags::IN)];
    match poll(&mut polled, Some(&within)) {
        // A signal: it is told to end, or has another size.
        Ok(_) | Err(Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    let gone = PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL;
    Ok(polled[0].revents().intersects(gone))
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Whoever has no terminal any more does not need it back.
        let _ = execute!(self.0, Show, LeaveAlternateScreen);
        let _ = disable_raw_mode();
    }
}

/// Colours of the terminal's own palette, so that they fit light and dark ones.
fn dress(out: &mut Stdout, look: Look) -> io::Result<()> {
    match look {
        Look::Plain => Ok(()),
        Look::Faint => queue!(out, SetAttribute(Attribute::Dim)),
        Look::Bold => queue!(out, SetAttribute(Attribute::Bold)),
        Look::Head => queue!(
            out,
            SetAttribute(Attribute::Bold),
            SetAttribute(Attribute::Underlined)
        ),
        Look::Cursor => queue!(out, SetAttribute(Attribute::Reverse)),
        Look::Good => queue!(out, SetForegroundColor(Color::DarkGreen)),
        Look::Warn => queue!(out, SetForegroundColor(Color::DarkYellow)),
        Look::Bad => queue!(
            out,
            SetForegroundColor(Color::DarkRed),
            SetAttribute(Attribute::Bold)
        ),
    }
}
