//! Private daemons, tiny images and leak checks for tests.
