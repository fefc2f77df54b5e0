//! The conformance suite of links, run over every transport, and tests of hostile peers.

mod conformance;
mod conservation;
mod hostile;
mod support;
