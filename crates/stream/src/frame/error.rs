//! What can be wrong with bytes that should be a frame.

/// Why bytes are not a frame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Fewer bytes than the header and its lengths say.
    #[error("frame is cut short: {have} of {need} bytes")]
    Truncated {
        /// Bytes there.
        have: usize,
        /// Bytes needed.
        need: usize,
    },
    /// More bytes than the lengths say.
    #[error("{0} bytes after the frame")]
    Trailing(usize),
    /// Not a frame at all.
    #[error("not a frame: bad magic")]
    Magic,
    /// A layout this build can't read.
    #[error("frame version {0} is not supported")]
    Version(u8),
    /// An unknown kind.
    #[error("unknown frame kind {0}")]
    Kind(u8),
    /// Meta over the limit.
    #[error("meta of {len} bytes is over the limit of {limit}")]
    MetaTooLarge {
        /// Claimed length.
        len: u32,
        /// Accepted length.
        limit: u32,
    },
    /// Payload over the limit.
    #[error("payload of {len} bytes is over the limit of {limit}")]
    PayloadTooLarge {
        /// Claimed length.
        len: u32,
        /// Accepted length.
        limit: u32,
    },
    /// The checksum does not match.
    #[error("frame checksum does not match")]
    Checksum,
}
