//! SQLSTATE codes that DBBouncer itself sends, by the names of PostgreSQL's appendix A.
//!
//! Drivers decide by the code whether to try again, so each situation has its own.

/// The peer's bytes are not the protocol.
pub const PROTOCOL_VIOLATION: &str = "08P01";
/// The database could not be reached.
pub const CANNOT_CONNECT_TO_DATABASE: &str = "08001";
/// The connection to the database broke.
pub const CONNECTION_FAILURE: &str = "08006";
/// Something legitimate that is not spoken here.
pub const FEATURE_NOT_SUPPORTED: &str = "0A000";
/// Text that is not in the expected encoding.
pub const CHARACTER_NOT_IN_REPERTOIRE: &str = "22021";
/// A parameter has a value that cannot be.
pub const INVALID_PARAMETER_VALUE: &str = "22023";
/// Who the client says it is cannot be accepted, whatever the password.
pub const INVALID_AUTHORIZATION_SPECIFICATION: &str = "28000";
/// A client left a transaction open for too long.
pub const IDLE_IN_TRANSACTION_SESSION_TIMEOUT: &str = "25P03";
/// A transaction took too long.
pub const TRANSACTION_TIMEOUT: &str = "25P04";
/// Wrong password, or nobody by that name.
pub const INVALID_PASSWORD: &str = "28P01";
/// No database by that name.
pub const INVALID_CATALOG_NAME: &str = "3D000";
/// The switches in `options` do not parse.
pub const SYNTAX_ERROR: &str = "42601";
/// The pooler itself has run out of something.
pub const INSUFFICIENT_RESOURCES: &str = "53000";
/// No place left: at the pool, at the tenant or here.
pub const TOO_MANY_CONNECTIONS: &str = "53300";
/// A client's request was cancelled, also while it waited.
pub const QUERY_CANCELED: &str = "57014";
/// The connection ends because the service or its operator says so.
pub const ADMIN_SHUTDOWN: &str = "57P01";
/// The database is not accepting connections now.
pub const CANNOT_CONNECT_NOW: &str = "57P03";
/// A client said nothing for too long.
pub const IDLE_SESSION_TIMEOUT: &str = "57P05";
