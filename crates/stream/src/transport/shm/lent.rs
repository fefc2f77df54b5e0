//! Slots that the producer's own code writes, so that a payload is in shared memory before it is
//! sent, without a copy. A slot comes back when the last clone of the payload is dropped, in any
//! thread, and no consumer holds it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;

use super::mapping::{Exclusive, Mapping};

/// A slot that is written.
#[derive(Debug)]
pub(crate) struct Lent {
    own: Exclusive,
    _back: GiveBack,
}

/// Whether a slot that was lent is lent no more.
#[derive(Clone, Debug, Default)]
pub(super) struct Returned(Arc<AtomicBool>);

/// Tells when it is dropped.
#[derive(Debug)]
struct GiveBack(Returned);

/// The owner of a payload's bytes.
struct Payload(Lent);

impl Lent {
    /// See [`Exclusive::new`].
    pub(super) fn new(map: &Arc<Mapping>, offset: usize, len: usize) -> Option<(Self, Returned)> {
        let returned = Returned::default();
        let lent = Self {
            own: Exclusive::new(map, offset, len)?,
            _back: GiveBack(returned.clone()),
        };
        Some((lent, returned))
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.own.bytes()
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        self.own.bytes_mut()
    }

    pub(crate) fn truncate(&mut self, len: usize) {
        self.own.truncate(len);
    }

    /// From now on the bytes stay as they are.
    pub(crate) fn freeze(self) -> Bytes {
        Bytes::from_owner(Payload(self))
    }
}

impl AsRef<[u8]> for Payload {
    fn as_ref(&self) -> &[u8] {
        self.0.bytes()
    }
}

impl Returned {
    pub(super) fn is_set(&self) -> bool {
        // Everything that was done with the bytes was done before.
        self.0.load(Ordering::Acquire)
    }
}

impl Drop for GiveBack {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::Release);
    }
}
