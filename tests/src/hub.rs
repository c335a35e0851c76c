//! The test Hub.
