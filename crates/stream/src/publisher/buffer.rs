//! Memory for a payload that is yet to be written: where the consumers will read it if there are
//! any that share memory, else in this process.

use std::ops::{Deref, DerefMut};

use bytes::Bytes;

use crate::transport::shm::Lent;

/// Bytes to be written, and then to become the payload of a frame. What is in them before is of no
/// meaning.
#[derive(Debug)]
pub struct Buffer(Place);

#[derive(Debug)]
enum Place {
    Shared(Lent),
    Own(Vec<u8>),
}

impl Buffer {
    pub(super) fn shared(lent: Lent) -> Self {
        Self(Place::Shared(lent))
    }

    /// One that nobody shares.
    pub fn own(len: usize) -> Self {
        Self(Place::Own(vec![0; len]))
    }

    /// Leaves the first `len` bytes; does nothing to one that is shorter.
    pub fn truncate(&mut self, len: usize) {
        match &mut self.0 {
            Place::Shared(lent) => lent.truncate(len),
            Place::Own(bytes) => bytes.truncate(len),
        }
    }

    /// Whether consumers will read it where it is.
    pub fn is_shared(&self) -> bool {
        matches!(self.0, Place::Shared(_))
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Place::Shared(lent) => lent.bytes(),
            Place::Own(bytes) => bytes,
        }
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        match &mut self.0 {
            Place::Shared(lent) => lent.bytes_mut(),
            Place::Own(bytes) => bytes,
        }
    }
}

impl From<Buffer> for Bytes {
    fn from(buffer: Buffer) -> Self {
        match buffer.0 {
            Place::Shared(lent) => lent.freeze(),
            Place::Own(bytes) => bytes.into(),
        }
    }
}
