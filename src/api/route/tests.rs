//! The router
