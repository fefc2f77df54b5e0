//! A device's cameras as shown to people and programs: what they offer, and what keeps them from it.

use std::collections::BTreeMap;

use edgeflow_proto::v1;
use serde::Serialize;

use crate::{
    cells,
    output::{Row, colour::Style, table::Cell},
};

/// A camera on a device.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct CameraView {
    pub(crate) device: String,
    pub(crate) path: String,
    pub(crate) name: String,
    pub(crate) driver: String,
    pub(crate) bus: String,
    pub(crate) serial: String,
    /// Why it can't be used; empty: it can.
    pub(crate) problem: String,
    /// By format: mjpeg, nv12, yuyv, rgb24, grey.
    pub(crate) formats: BTreeMap<String, Vec<SizeView>>,
    /// Codes of formats that are not read.
    pub(crate) other_formats: Vec<String>,
    /// By name.
    pub(crate) controls: BTreeMap<String, ControlView>,
}

/// A picture size, or a range of sizes.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct SizeView {
    /// `1280x720`, `16x16-1920x1080`
    pub(crate) size: String,
    /// Frames per second; with `any_fps` the ends of a range.
    pub(crate) fps: Vec<f64>,
    pub(crate) any_fps: bool,
    #[serde(skip)]
    pixels: u64,
}

/// A setting of a camera.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ControlView {
    pub(crate) min: i64,
    pub(crate) max: i64,
    pub(crate) step: u64,
    pub(crate) default: i64,
    /// Words of a menu by value.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) choices: BTreeMap<i64, String>,
}

impl CameraView {
    pub(crate) fn new(camera: v1::Camera, device: &str) -> Self {
        let formats = camera.formats.into_iter().map(|format| {
            let sizes = format.sizes.into_iter().map(SizeView::from);
            (format.format, sizes.collect())
        });
        let controls = camera.controls.into_iter();
        Self {
            device: device.to_owned(),
            path: camera.path,
            name: camera.name,
            driver: camera.driver,
            bus: camera.bus,
            serial: camera.serial,
            problem: camera.problem,
            formats: formats.collect(),
            other_formats: camera.other_formats,
            controls: controls
                .map(|control| (control.name.clone(), control.into()))
                .collect(),
        }
    }

    /// The largest size of each format: `mjpeg 1920x1080@30, yuyv 640x480@30`; or why there is none.
    pub(crate) fn offers_text(&self) -> String {
        if self.formats.is_empty() && !self.other_formats.is_empty() {
            return format!("only {}", self.other_formats.join(", "));
        }
        let best = self.formats.iter().filter_map(|(format, sizes)| {
            let largest = sizes.iter().max_by_key(|size| size.pixels)?;
            let fastest = largest.fps.iter().copied().fold(0.0, f64::max);
            let rate = if fastest > 0.0 {
                format!("@{}", (fastest * 10.0).round() / 10.0)
            } else {
                String::new()
            };
            let size = largest.size.rsplit('-').next().unwrap_or_default();
            Some(format!("{format} {size}{rate}"))
        });
        best.collect::<Vec<_>>().join(", ")
    }

    pub(crate) fn state(&self) -> Cell {
        if self.problem.is_empty() {
            Cell::styled("ok", Style::Good)
        } else {
            Cell::styled(self.problem.as_str(), Style::Warn)
        }
    }
}

impl From<v1::CameraSize> for SizeView {
    fn from(size: v1::CameraSize) -> Self {
        let (from, to) = ((size.width, size.height), (size.max_width, size.max_height));
        let text = |(width, height): (u32, u32)| format!("{width}x{height}");
        Self {
            size: if from == to {
                text(to)
            } else {
                format!("{}-{}", text(from), text(to))
            },
            fps: size.fps,
            any_fps: size.any_fps,
            pixels: u64::from(to.0) * u64::from(to.1),
        }
    }
}

impl From<v1::CameraControl> for ControlView {
    fn from(control: v1::CameraControl) -> Self {
        let choices = control.choices.into_iter();
        Self {
            min: control.min,
            max: control.max,
            step: control.step,
            default: control.default,
            choices: choices.map(|choice| (choice.value, choice.word)).collect(),
        }
    }
}

impl Row for CameraView {
    fn name(&self) -> String {
        format!("{}:{}", self.device, self.path)
    }

    fn header(wide: bool) -> Vec<&'static str> {
        if wide {
            vec![
                "DEVICE", "PATH", "NAME", "SERIAL", "DRIVER", "BUS", "STATE", "FORMATS", "CONTROLS",
            ]
        } else {
            vec!["DEVICE", "PATH", "NAME", "STATE", "FORMATS"]
        }
    }

    fn cells(&self, wide: bool) -> Vec<Cell> {
        let mut cells = cells![self.device.as_str(), self.path.as_str(), self.name.as_str()];
        if wide {
            let serial = if self.serial.is_empty() {
                "-"
            } else {
                &self.serial
            };
            cells.extend(cells![serial, self.driver.as_str(), self.bus.as_str()]);
        }
        cells.push(self.state());
        cells.push(self.offers_text().into());
        if wide {
            cells.push(self.controls.len().to_string().into());
        }
        cells
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_size_of_each_format_is_shown() {
        let size = |width, height, fps: &[f64]| v1::CameraSize {
            width,
            height,
            max_width: width,
            max_height: height,
            fps: fps.to_vec(),
            any_fps: false,
        };
        let mut camera = v1::Camera {
            formats: vec![
                v1::CameraFormat {
                    format: "mjpeg".to_owned(),
                    sizes: vec![size(640, 480, &[60.0]), size(1920, 1080, &[29.97, 15.0])],
                },
                v1::CameraFormat {
                    format: "yuyv".to_owned(),
                    sizes: vec![size(640, 480, &[])],
                },
            ],
            ..v1::Camera::default()
        };
        let view = CameraView::new(camera.clone(), "pi");
        assert_eq!(view.offers_text(), "mjpeg 1920x1080@30, yuyv 640x480");
        camera.formats.clear();
        camera.other_formats = vec!["H264".to_owned()];
        assert_eq!(CameraView::new(camera, "pi").offers_text(), "only H264");
    }
}
