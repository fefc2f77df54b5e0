//! Recordings on disk: a folder of MCAP files, the segments. Owns their names, their layout and how
//! a cut or damaged one is read; never decides what is recorded, for how long, or when it is played.

pub(crate) mod folder;
pub(crate) mod inspect;
pub(crate) mod mcap;
pub(crate) mod message;
pub(crate) mod reader;
pub(crate) mod summary;
pub(crate) mod writer;

#[cfg(test)]
mod tests;
