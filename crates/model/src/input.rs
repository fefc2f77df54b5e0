//! How a model is to be given a picture: size of its input, place of the picture in it, colours.

use serde::{Deserialize, Serialize};

/// How large a model's input is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub enum InputSize {
    /// Always this many pixels.
    Fixed {
        /// Pixels a row.
        width: usize,
        /// Rows.
        height: usize,
    },
    /// The picture scaled down until its longer side has at most `longest` pixels, both sides
    /// padded to a multiple of `multiple`.
    Multiple {
        /// Both sides are a multiple of this.
        multiple: usize,
        /// Pixels of the longer side before padding.
        longest: usize,
    },
}

/// Where the picture goes in an input of another shape.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Placement {
    /// Scaled to fit, top-left; the size cut to whole pixels.
    TopLeft,
    /// Scaled to fit, in the middle; the size rounded, an odd pixel of padding at the right or below.
    Center,
    /// Stretched over the whole input.
    Stretch,
    /// The middle of the picture, as much of it as has the shape of the input, over the whole input.
    Crop {
        /// Of the largest such part, along each side. 0.875: scaled to 256 pixels, of which 224 are seen.
        share: f32,
    },
}

impl Placement {
    /// How most classifiers are trained to see a picture.
    pub const USUAL_CROP: Self = Self::Crop { share: 0.875 };
}

/// Order of a model's colour planes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChannelOrder {
    /// Red first.
    Rgb,
    /// Blue first.
    Bgr,
}

/// What a model takes for colours: planes in an order, values `(value - mean) / deviation` of
/// values from 0 to 255.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Colours {
    /// Order of the planes.
    pub order: ChannelOrder,
    /// Of each plane, in the order of the planes.
    pub mean: [f32; 3],
    /// The same.
    pub deviation: [f32; 3],
}

impl Colours {
    /// 0 to 255 as they are.
    pub const fn plain(order: ChannelOrder) -> Self {
        Self {
            order,
            mean: [0.0; 3],
            deviation: [1.0; 3],
        }
    }

    /// 0 to 1, red first.
    pub const UNIT: Self = Self {
        order: ChannelOrder::Rgb,
        mean: [0.0; 3],
        deviation: [255.0; 3],
    };

    /// By the mean and the deviation of ImageNet's pictures, red first.
    pub const IMAGENET: Self = Self {
        order: ChannelOrder::Rgb,
        mean: [123.675, 116.28, 103.53],
        deviation: [58.395, 57.12, 57.375],
    };

    /// About -1 to 1, red first.
    pub const SIGNED: Self = Self {
        order: ChannelOrder::Rgb,
        mean: [127.0; 3],
        deviation: [128.0; 3],
    };
}
