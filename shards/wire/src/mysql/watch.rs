//! Watching what a client sends, so that the few commands that cannot be relayed as they are stop.
//!
//! The relay's hot path: one look at each header and the few bytes behind it, no allocation, no
//! bytes held here. Knows where commands begin, not whether they have been answered: that is
//! [`Replies`]'s, which is told of each.
//!
//! How a relay uses it, with `bytes` the unsent rest of before and what has just come:
//!
//! ```text
//!   loop: look = watch.look(bytes, replies)
//!         send bytes[..look.pass], drop them
//!         Nothing          all passed; done
//!         Incomplete       keep the rest; done until more has come
//!         Command(c, n)    c is the command in the next n bytes; deal with it, drop them, go on
//! ```

use super::capability::Capabilities;
use super::change_user::ChangeUser;
use super::command::{COM_CHANGE_USER, COM_PROCESS_KILL, COM_QUERY, COM_QUIT, Command};
use super::kill::{Kill, may_begin};
use super::packet::{FRAGMENT, HEADER, Header, MAX_LOGIN_PACKET};
use super::replies::Replies;
use crate::error::WireError;

/// Where a client's stream of packets stands.
#[derive(Debug, Clone, Default)]
pub struct Watch {
    /// Bytes of the current packet that have not passed.
    remaining: usize,
    /// The last packet was a full fragment: the next one continues it.
    continues: bool,
    /// The client is sending data that the server asked for (LOCAL INFILE), up to an empty packet.
    in_data: bool,
    /// The sequence id of the last packet.
    sequence: u8,
    /// The last command.
    command: Command,
}

/// What may be done with the bytes looked at.
#[derive(Debug, PartialEq, Eq)]
pub struct Look {
    /// So many bytes may go to the backend as they are.
    pub pass: usize,
    /// What comes behind them.
    pub next: Next,
}

/// What stands behind the bytes that may pass.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing, they were all.
    Nothing,
    /// The beginning of a command that cannot be judged yet; at most [`MAX_HELD`] bytes.
    Incomplete,
    /// A command that is not to be relayed as it is, and how many bytes it takes.
    Command(Intercepted, usize),
}

/// A command that needs more than passing.
#[derive(Debug, PartialEq, Eq)]
pub enum Intercepted {
    /// KILL of an id that may be one of ours. If it is not, pass its bytes on.
    Kill(Kill),
    /// A new login: see [`super::change_user`].
    ChangeUser(ChangeUser),
    /// The client takes its leave; servers read nothing that stands behind it, in its packet or beyond.
    /// So many of the packet's bytes are there as have come.
    Quit,
}

impl Watch {
    /// Looks at `bytes`, which begin where the last look left off, and tells `replies` what they
    /// ask for. `capabilities` are the client's.
    ///
    /// An error is a COM_CHANGE_USER that is too large or malformed, or a command too many
    /// ([`Replies::asked`]); the session ends by it.
    pub fn look(
        &mut self,
        bytes: &[u8],
        capabilities: Capabilities,
        replies: &mut Replies,
    ) -> Result<Look, WireError> {
        let mut pass = 0;
        let next = loop {
            let rest = &bytes[pass..];
            if self.remaining > 0 {
                let passed = rest.len().min(self.remaining);
                self.remaining -= passed;
                pass += passed;
                if self.remaining > 0 || pass == bytes.len() {
                    break Next::Nothing;
                }
                continue;
            }
            if rest.is_empty() {
                break Next::Nothing;
            }
            let Some(header) = Header::peek(rest) else {
                break Next::Incomplete;
            };
            if self.is_command(header, replies) {
                let body = &rest[HEADER..];
                let verdict = judge(header, body, capabilities)?;
                let (Some(command), Verdict::Pass | Verdict::Stop(_)) =
                    (Command::peek(body, header.length), &verdict)
                else {
                    break Next::Incomplete;
                };
                self.begin_command(command, header, replies)?;
                if let Verdict::Stop(command) = verdict {
                    self.remaining = 0;
                    let length = HEADER + header.length;
                    break Next::Command(command, length.min(rest.len()));
                }
            } else {
                self.begin_other(header, replies)?;
            }
            pass += HEADER;
        };
        Ok(Look { pass, next })
    }

    /// Whether what came last ended a packet.
    pub fn at_boundary(&self) -> bool {
        self.remaining == 0 && !self.continues
    }

    /// A command begins with sequence id 0. So does, after 256 packets, a packet of data: it is one
    /// if the last packet was data, numbered 255, and not the empty one that ends the data; or if it
    /// is the first of a file that the server has asked for in a packet numbered 255.
    fn is_command(&self, header: Header, replies: &Replies) -> bool {
        let goes_on = self.in_data && self.sequence == u8::MAX;
        let begins_file = replies.file_begins_at() == Some(0);
        header.sequence == 0 && !self.continues && !goes_on && !begins_file
    }

    fn begin_command(
        &mut self,
        command: Command,
        header: Header,
        replies: &mut Replies,
    ) -> Result<(), WireError> {
        self.command = command;
        self.in_data = false;
        self.begin(header);
        match self.continues {
            true => Ok(()),
            false => replies.asked(command, header.sequence),
        }
    }

    /// The rest of a long command, or data.
    fn begin_other(&mut self, header: Header, replies: &mut Replies) -> Result<(), WireError> {
        let continued = self.continues;
        self.begin(header);
        if continued {
            if !self.in_data && !self.continues {
                replies.asked(self.command, header.sequence)?;
            }
        } else {
            self.in_data = header.length > 0;
            if !self.in_data {
                replies.file_ended(header.sequence);
            }
        }
        Ok(())
    }

    fn begin(&mut self, header: Header) {
        self.remaining = header.length;
        self.continues = header.length == FRAGMENT;
        self.sequence = header.sequence;
    }
}

enum Verdict {
    Pass,
    Incomplete,
    Stop(Intercepted),
}

/// Judges a command by its first bytes; by all of it only if these are one to be stopped.
fn judge(header: Header, body: &[u8], capabilities: Capabilities) -> Result<Verdict, WireError> {
    if header.length == 0 {
        return Ok(Verdict::Pass);
    }
    let whole = body.get(..header.length);
    Ok(match (body, whole) {
        ([COM_QUERY], _) if header.length > 1 => Verdict::Incomplete,
        ([COM_QUERY, first, ..], whole) => {
            match may_begin(*first) && header.length <= MAX_KILL_PACKET {
                true => judge_kill(whole),
                false => Verdict::Pass,
            }
        }
        ([COM_PROCESS_KILL, ..], whole) if header.length <= MAX_KILL_PACKET => judge_kill(whole),
        ([COM_CHANGE_USER, ..], _) if header.length > MAX_LOGIN_PACKET => {
            return Err(WireError::TooLarge {
                what: "COM_CHANGE_USER",
                limit: MAX_LOGIN_PACKET,
            });
        }
        ([COM_CHANGE_USER, ..], None) => Verdict::Incomplete,
        ([COM_CHANGE_USER, ..], Some(whole)) => Verdict::Stop(Intercepted::ChangeUser(
            ChangeUser::parse(whole, capabilities)?,
        )),
        ([COM_QUIT, ..], _) => Verdict::Stop(Intercepted::Quit),
        _ => Verdict::Pass,
    })
}

fn judge_kill(whole: Option<&[u8]>) -> Verdict {
    match whole.map(Kill::parse) {
        None => Verdict::Incomplete,
        Some(None) => Verdict::Pass,
        Some(Some(kill)) => Verdict::Stop(Intercepted::Kill(kill)),
    }
}

/// Longest command, in bytes, that is looked through for a KILL. One hidden behind a longer comment
/// is passed on with our id in it, which the server then does not know.
pub const MAX_KILL_PACKET: usize = 1024;

/// Most bytes of a client that wait for the rest of a command.
pub const MAX_HELD: usize = HEADER + MAX_LOGIN_PACKET;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use bytes::BytesMut;

    use super::super::packet::put;
    use super::*;

    const CAPABILITIES: Capabilities = Capabilities::OFFERED;
    const CHANGE_USER: &[u8] = b"\x11app\0\0shop\0";

    fn stream(packets: &[(u8, &[u8])]) -> BytesMut {
        let mut out = BytesMut::new();
        for (sequence, payload) in packets {
            put(&mut out, *sequence, payload);
        }
        out
    }

    fn replies() -> Replies {
        Replies::new(CAPABILITIES, 0)
    }

    /// Plays the relay of the module's drawing over `chunks`; answers what went to the backend,
    /// and what was intercepted.
    fn relay(chunks: &[&[u8]]) -> (Vec<u8>, Vec<Intercepted>) {
        relay_for(chunks, &mut replies())
    }

    fn relay_for(chunks: &[&[u8]], replies: &mut Replies) -> (Vec<u8>, Vec<Intercepted>) {
        let (mut watch, mut sent, mut intercepted) = (Watch::default(), Vec::new(), Vec::new());
        let mut bytes = Vec::new();
        for chunk in chunks {
            bytes.extend_from_slice(chunk);
            loop {
                let look = watch.look(&bytes, CAPABILITIES, replies).unwrap();
                sent.extend(bytes.drain(..look.pass));
                match look.next {
                    Next::Nothing => {
                        assert!(bytes.is_empty());
                        break;
                    }
                    Next::Incomplete => {
                        assert!(bytes.len() <= MAX_HELD);
                        break;
                    }
                    Next::Command(command, length) => {
                        bytes.drain(..length);
                        intercepted.push(command);
                    }
                }
            }
        }
        assert!(watch.at_boundary() && bytes.is_empty());
        (sent, intercepted)
    }

    #[test]
    fn the_few_are_stopped_and_the_many_pass_however_the_stream_is_cut() {
        let passing: &[(u8, &[u8])] = &[
            (0, b"\x03SELECT 1"),
            (0, b"\x03kill me softly"),
            (0, b"\x03"),
            (0, b""),
            (0, b"\x0E"),
            (0, b"\x16SELECT ?"),
            (0, b"\x17\x01\0\0\0\0"),
            (0, b"\x1C\x01"),
            (0, b"\x19\x01\0\0\0"),
            (0, b"\x12binlog dump"),
        ];
        let before = stream(passing);
        let stopped = stream(&[(0, b"\x03KILL 5"), (0, CHANGE_USER), (0, b"\x01")]);
        let whole = [&before[..], &stopped[..]].concat();
        for cut in 0..=whole.len() {
            let (sent, intercepted) = relay(&[&whole[..cut], &whole[cut..]]);
            assert_eq!(sent, before, "cut at {cut}");
            assert!(
                matches!(
                    &intercepted[..],
                    [Intercepted::Kill(kill), Intercepted::ChangeUser(change), Intercepted::Quit]
                        if kill.id == 5 && change.database.as_deref() == Some("shop")
                ),
                "cut at {cut}: {intercepted:?}"
            );
        }
    }

    #[test]
    fn a_quit_is_one_whatever_stands_behind_it_in_its_packet() {
        for (bytes, there) in [
            (&b"\x01\0\0\0\x01"[..], 5),
            (b"\x02\0\0\0\x01\0", 6),
            (b"\x02\0\0\0\x01", 5),
            (b"\0\0\x10\0\x01KILL 5", 11),
        ] {
            let look = Watch::default().look(bytes, CAPABILITIES, &mut replies());
            let next = Next::Command(Intercepted::Quit, there);
            assert_eq!(look, Ok(Look { pass: 0, next }), "{bytes:?}");
        }
    }

    #[test]
    fn an_ordinary_query_passes_before_it_is_complete() {
        let whole = stream(&[(0, b"\x03SELECT 'KILL 5'")]);
        let (mut watch, mut replies) = (Watch::default(), replies());
        let look = watch.look(&whole[..6], CAPABILITIES, &mut replies).unwrap();
        assert_eq!((look.pass, look.next), (6, Next::Nothing));
        assert_eq!((replies.awaited(), watch.at_boundary()), (1, false));
    }

    #[test]
    fn what_a_client_sends_for_local_infile_is_no_command_even_when_its_numbers_wrap() {
        let file: Vec<(u8, &[u8])> = (2..=255).chain(0..=1).map(|id| (id, CHANGE_USER)).collect();
        let mut whole = stream(&file);
        put(&mut whole, 2, b"");
        let data = whole.len();
        put(&mut whole, 0, CHANGE_USER);
        let (sent, intercepted) = relay(&[&whole]);
        assert_eq!(sent, whole[..data]);
        assert!(matches!(&intercepted[..], [Intercepted::ChangeUser(_)]));
    }

    #[test]
    fn data_that_ends_at_number_255_is_followed_by_commands() {
        let file: Vec<(u8, &[u8])> = (2..=254).map(|id| (id, &b"row"[..])).collect();
        let mut whole = stream(&file);
        put(&mut whole, 255, b"");
        put(&mut whole, 0, CHANGE_USER);
        let (_, intercepted) = relay(&[&whole]);
        assert!(matches!(&intercepted[..], [Intercepted::ChangeUser(_)]));
    }

    #[test]
    fn the_continuation_of_a_long_command_is_no_command() {
        let mut long = vec![COM_QUERY];
        long.extend_from_slice(b"INSERT ");
        long.resize(FRAGMENT, b'x');
        long.extend_from_slice(CHANGE_USER);
        let mut whole = stream(&[(0, &long)]);
        let length = whole.len();
        put(&mut whole, 0, b"\x01");
        let mut replies = replies();
        let (sent, intercepted) = relay_for(&[&whole], &mut replies);
        assert_eq!(sent.len(), length);
        assert_eq!(intercepted, [Intercepted::Quit]);
        // Its answer's number follows that of its last packet, the second.
        assert_eq!((replies.awaited(), replies.next_sequence()), (1, Some(2)));
    }

    #[test]
    fn a_kill_behind_a_comment_too_long_to_look_through_passes() {
        let text = [b"\x03/*", &[b'x'; MAX_KILL_PACKET][..], b"*/ KILL 5"].concat();
        let whole = stream(&[(0, &text)]);
        let (sent, intercepted) = relay(&[&whole]);
        assert_eq!((&sent[..], intercepted), (&whole[..], Vec::new()));
    }

    #[test]
    fn a_change_of_user_that_is_too_large_or_malformed_ends_the_session() {
        let large = b"\x00\x00\x01\x00\x11";
        let refused = Watch::default().look(large, CAPABILITIES, &mut replies());
        assert!(matches!(refused, Err(WireError::TooLarge { .. })));
        let malformed = stream(&[(0, b"\x11app")]);
        let refused = Watch::default().look(&malformed, CAPABILITIES, &mut replies());
        assert!(matches!(refused, Err(WireError::Malformed { .. })));
    }
}
