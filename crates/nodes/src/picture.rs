//! The picture in a frame: JPEG or raw pixels, to RGB or brightness. Shared by the nodes that look at
//! pictures.

use edgeflow::{Codec, Frame, NodeError};
use edgeflow_infer::raw::{Layout, Raw};

/// Key of metadata: raw pixels have brightness from 0 to 255.
pub(crate) const FULL_RANGE: &str = "full_range";

/// What a frame holds.
pub(crate) enum Coded<'a> {
    Jpeg(&'a [u8]),
    Raw(Raw<'a>),
}

/// Refuses frames that are no pictures.
pub(crate) fn coded<'a>(node: &str, frame: &'a Frame) -> Result<Coded<'a>, NodeError> {
    let header = &frame.header;
    let layout = match header.codec {
        Codec::Jpeg => return Ok(Coded::Jpeg(&frame.payload)),
        Codec::Rgb8 => Layout::Rgb,
        Codec::Yuyv => Layout::Yuyv,
        Codec::Nv12 => Layout::Nv12,
        Codec::Grey8 => Layout::Grey,
        other => {
            return Err(NodeError::new(format!(
                "`{node}` needs frames with codec jpeg, nv12, yuyv, rgb8 or grey8, these have codec {}",
                other.name()
            )));
        }
    };
    Ok(Coded::Raw(Raw {
        layout,
        width: header.width.into(),
        height: header.height.into(),
        stride: usize::try_from(header.stride).unwrap_or(usize::MAX),
        full_range: frame.read_meta()?.get(FULL_RANGE)?.unwrap_or(false),
        bytes: &frame.payload,
    }))
}
