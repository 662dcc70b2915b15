//! The MySQL client/server protocol, as MySQL and MariaDB speak it.
