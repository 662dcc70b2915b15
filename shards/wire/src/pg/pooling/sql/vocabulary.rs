//! The words that matter: those that begin a statement, and those that betray state anywhere in one.

use super::super::pins::Pin;

/// How a statement begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lead {
    /// SELECT without an opening parenthesis, whose functions run once if it has no other clause.
    Select,
    /// CREATE, which may have a body with statements of its own.
    Create,
    /// EXPLAIN, which may run what it explains.
    Explain,
    Update,
    Insert,
    Merge,
    Commit,
    Rollback,
    Savepoint,
    Release,
    Prepare,
    Execute,
    Deallocate,
    Set,
    Reset,
    Discard,
    Listen,
    Unlisten,
    Declare,
    Close,
    Load,
    Copy,
    /// DO, whose code may do anything, and mostly shows that it does not.
    Do,
    /// Begins a transaction, reads or writes data, or defines something for all sessions.
    Other,
    /// CALL, which may do anything.
    Call,
    /// Whatever is not known: mostly a mistake.
    Unknown,
}

/// A word that matters wherever it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Notable {
    SetConfig,
    /// A function that leaves state behind.
    Pins(Pin),
    /// What draws values of sequences.
    Draws,
    /// DEFAULT, which may do so in an UPDATE.
    Default,
    /// An advisory lock is given back, or all of them.
    Unlock,
    Temporary,
    /// The schema of temporary objects, by any of its names.
    TemporarySchema,
    Hold,
    /// STDIN or STDOUT, which COPY takes for the same: it is FROM or TO that says who sends.
    Client,
    /// A clause by which functions in the select list may run never, or many times.
    Conditional,
    Execute,
    /// The view that sets what is updated in it.
    Settings,
    /// FUNCTION or PROCEDURE.
    Routine,
    Begin,
    End,
}

impl Lead {
    /// By the statement's first word.
    pub(super) fn of(word: &[u8]) -> Lead {
        let mut buffer = [0; LONGEST];
        match lower(word, &mut buffer) {
            b"select" => Lead::Select,
            b"create" => Lead::Create,
            b"explain" => Lead::Explain,
            b"update" => Lead::Update,
            b"insert" => Lead::Insert,
            b"merge" => Lead::Merge,
            b"commit" | b"end" => Lead::Commit,
            b"rollback" | b"abort" => Lead::Rollback,
            b"savepoint" => Lead::Savepoint,
            b"release" => Lead::Release,
            b"prepare" => Lead::Prepare,
            b"execute" => Lead::Execute,
            b"deallocate" => Lead::Deallocate,
            b"set" => Lead::Set,
            b"reset" => Lead::Reset,
            b"discard" => Lead::Discard,
            b"listen" => Lead::Listen,
            b"unlisten" => Lead::Unlisten,
            b"declare" => Lead::Declare,
            b"close" => Lead::Close,
            b"load" => Lead::Load,
            b"copy" => Lead::Copy,
            b"do" => Lead::Do,
            b"call" => Lead::Call,
            b"begin" | b"start" | b"with" | b"values" | b"table" | b"delete" | b"show"
            | b"fetch" | b"move" | b"lock" | b"truncate" | b"vacuum" | b"analyze" | b"analyse"
            | b"alter" | b"drop" | b"grant" | b"revoke" | b"comment" | b"reindex" | b"cluster"
            | b"refresh" | b"checkpoint" | b"notify" | b"import" | b"reassign" | b"security" => {
                Lead::Other
            }
            _ => Lead::Unknown,
        }
    }
}

impl Notable {
    /// A word that may be a keyword, a function or a view.
    pub(super) fn of(word: &[u8]) -> Option<Notable> {
        if word.len() < SHORTEST || word.len() > LONGEST {
            return None;
        }
        let mut buffer = [0; LONGEST];
        let word = lower(word, &mut buffer);
        Some(match word {
            b"from" | b"where" | b"union" | b"intersect" | b"except" | b"limit" | b"having"
            | b"into" | b"offset" | b"fetch" | b"order" | b"group" | b"window" | b"case" => {
                Notable::Conditional
            }
            b"begin" => Notable::Begin,
            b"end" => Notable::End,
            b"function" | b"procedure" => Notable::Routine,
            b"temp" | b"temporary" => Notable::Temporary,
            b"hold" => Notable::Hold,
            b"stdin" | b"stdout" => Notable::Client,
            b"execute" => Notable::Execute,
            b"insert" => Notable::Draws,
            b"default" => Notable::Default,
            word => return Notable::of_name(word),
        })
    }

    /// A name in lower case, which is no keyword if it is quoted.
    pub(super) fn of_name(name: &[u8]) -> Option<Notable> {
        Some(match name {
            b"set_config" => Notable::SetConfig,
            b"pg_advisory_lock"
            | b"pg_advisory_lock_shared"
            | b"pg_try_advisory_lock"
            | b"pg_try_advisory_lock_shared" => Notable::Pins(Pin::AdvisoryLock),
            b"setseed" => Notable::Pins(Pin::RandomSeed),
            b"pg_advisory_unlock" | b"pg_advisory_unlock_shared" | b"pg_advisory_unlock_all" => {
                Notable::Unlock
            }
            b"nextval" | b"setval" => Notable::Draws,
            b"currval" | b"lastval" => Notable::Pins(Pin::SequenceValue),
            b"dblink_connect"
            | b"dblink_connect_u"
            | b"pg_replication_origin_session_setup"
            | b"pg_create_physical_replication_slot"
            | b"pg_create_logical_replication_slot"
            | b"pg_copy_physical_replication_slot"
            | b"pg_copy_logical_replication_slot"
            | b"pg_backup_start"
            | b"pg_start_backup" => Notable::Pins(Pin::Load),
            b"pg_settings" => Notable::Settings,
            name if name.starts_with(b"pg_temp") => Notable::TemporarySchema,
            _ => return None,
        })
    }
}

/// The word in lower case; nothing if it is longer than any that matters.
fn lower<'b>(word: &[u8], buffer: &'b mut [u8; LONGEST]) -> &'b [u8] {
    let Some(buffer) = buffer.get_mut(..word.len()) else {
        return &[];
    };
    buffer.copy_from_slice(word);
    buffer.make_ascii_lowercase();
    buffer
}

/// Length of the shortest and the longest word that matters, in bytes.
const SHORTEST: usize = 3;
const LONGEST: usize = 36;
