//! What a person says of a model of their own: a JSON file beside it, `mine.onnx.json` for
//! `mine.onnx`. Everything in it is optional; what it leaves out is found out from the model.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::family::Family;
use crate::input::{ChannelOrder, Colours, Placement};

/// Bytes of a description.
const MAX_BYTES: u64 = 1024 * 1024;
/// Classes that have a name.
const MAX_LABELS: usize = 10_000;

/// A model, described.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Description {
    /// What it finds, in a line.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub about: String,
    /// Its licence, as SPDX names it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub licence: String,
    /// Names of its classes, in their order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// How its outputs are decoded: `yolox`, `yolov5`, `yolov8`, `yolov10`, `ssd`, `nanodet`,
    /// `picodet`, `centerface` or `classes`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub family: Option<String>,
    /// Where the picture goes: `top-left`, `center`, `stretch` or `crop`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub placement: Option<String>,
    /// With `crop`: how much of the middle is seen, as a share of the shorter side.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crop: Option<f32>,
    /// Order of the colour planes: `rgb` or `bgr`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order: Option<String>,
    /// Subtracted from colours of 0 to 255, a number for each plane.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mean: Option<[f32; 3]>,
    /// What is left is divided by this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deviation: Option<[f32; 3]>,
}

/// Why a description can't be used.
#[derive(Debug, thiserror::Error)]
pub enum DescriptionError {
    /// The file.
    #[error("{} can't be read", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Its content.
    #[error("{what} is no description of a model")]
    Parse {
        /// The file, or `it`.
        what: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A value that there is not.
    #[error("{field} of a model is `{value}`; it can be {known}")]
    Unknown {
        /// Which field.
        field: &'static str,
        /// What it is.
        value: String,
        /// What it may be.
        known: String,
    },
    /// A share that can't be.
    #[error("`crop` of a model is a share, over 0 and up to 1, for the placement `crop`")]
    Crop,
    /// Numbers that can't be.
    #[error("`mean` and `deviation` of a model have to be numbers, the deviation not 0")]
    Numbers,
    /// Too much.
    #[error("a model has {MAX_LABELS} labels at most, and its description {MAX_BYTES} bytes")]
    TooMuch,
}

impl Description {
    /// Of the file beside a model, if there is one.
    pub fn beside(model: &Path) -> Result<Option<Self>, DescriptionError> {
        let mut name = model.as_os_str().to_owned();
        name.push(".json");
        let path = PathBuf::from(name);
        if !path.is_file() {
            return Ok(None);
        }
        let failed = |source| DescriptionError::Read {
            path: path.clone(),
            source,
        };
        let mut text = Vec::new();
        let file = File::open(&path).map_err(failed)?;
        file.take(MAX_BYTES + 1)
            .read_to_end(&mut text)
            .map_err(failed)?;
        if text.len() as u64 > MAX_BYTES {
            return Err(DescriptionError::TooMuch);
        }
        Self::from_json(&text)
            .map(Some)
            .map_err(|error| match error {
                DescriptionError::Parse { source, .. } => DescriptionError::Parse {
                    what: path.display().to_string(),
                    source,
                },
                other => other,
            })
    }

    /// Of its JSON.
    pub fn from_json(text: &[u8]) -> Result<Self, DescriptionError> {
        let description: Self =
            serde_json::from_slice(text).map_err(|source| DescriptionError::Parse {
                what: "it".to_owned(),
                source,
            })?;
        description.check()?;
        Ok(description)
    }

    /// As JSON; empty when nothing is said.
    pub fn to_json(&self) -> String {
        if *self == Self::default() {
            return String::new();
        }
        // Plain data with string keys.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Whether everything in it is known.
    pub fn check(&self) -> Result<(), DescriptionError> {
        let family = self.told_family()?;
        self.placed(family.map_or(Placement::USUAL_CROP, |family| family.input().0))?;
        self.coloured(Colours::UNIT)?;
        if self.labels.len() > MAX_LABELS {
            return Err(DescriptionError::TooMuch);
        }
        Ok(())
    }

    /// The family, if it is told.
    pub fn told_family(&self) -> Result<Option<Family>, DescriptionError> {
        let families = Family::ALL.map(|kind| (kind.name(), kind));
        one_of("family", self.family.as_deref(), &families)
    }

    /// The placement, or the family's own.
    pub fn placed(&self, own: Placement) -> Result<Placement, DescriptionError> {
        let places = [
            ("top-left", Placement::TopLeft),
            ("center", Placement::Center),
            ("stretch", Placement::Stretch),
            ("crop", Placement::USUAL_CROP),
        ];
        let told = one_of("placement", self.placement.as_deref(), &places)?;
        match (told.unwrap_or(own), self.crop) {
            (placement, None) => Ok(placement),
            (Placement::Crop { .. }, Some(share)) if share > 0.0 && share <= 1.0 => {
                Ok(Placement::Crop { share })
            }
            _ => Err(DescriptionError::Crop),
        }
    }

    /// The colours, the family's own where nothing is said.
    pub fn coloured(&self, own: Colours) -> Result<Colours, DescriptionError> {
        let orders = [("rgb", ChannelOrder::Rgb), ("bgr", ChannelOrder::Bgr)];
        let order = one_of("order", self.order.as_deref(), &orders)?;
        let colours = Colours {
            order: order.unwrap_or(own.order),
            mean: self.mean.unwrap_or(own.mean),
            deviation: self.deviation.unwrap_or(own.deviation),
        };
        let good = colours.mean.iter().all(|mean| mean.is_finite())
            && colours.deviation.iter().all(|it| it.is_normal());
        if good {
            Ok(colours)
        } else {
            Err(DescriptionError::Numbers)
        }
    }
}

fn one_of<T: Copy>(
    field: &'static str,
    value: Option<&str>,
    known: &[(&str, T)],
) -> Result<Option<T>, DescriptionError> {
    let Some(value) = value else {
        return Ok(None);
    };
    let found = known.iter().find(|(name, _)| *name == value);
    let names = || {
        let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
        names.join(", ")
    };
    match found {
        Some((_, found)) => Ok(Some(*found)),
        None => Err(DescriptionError::Unknown {
            field,
            value: value.to_owned(),
            known: names(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beside(text: &str) -> Result<Option<Description>, DescriptionError> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("mine.onnx.json"), text).unwrap();
        Description::beside(&dir.path().join("mine.onnx"))
    }

    #[test]
    fn what_is_told_wins_over_the_familys_own() {
        let text = r#"{"family": "yolov8", "labels": ["bolt"], "order": "bgr", "mean": [1, 2, 3]}"#;
        let described = beside(text).unwrap().unwrap();
        assert_eq!(described.told_family().unwrap(), Some(Family::Yolov8));
        assert_eq!(
            described.placed(Placement::Center).unwrap(),
            Placement::Center
        );
        let colours = described.coloured(Colours::UNIT).unwrap();
        assert_eq!(
            (colours.order, colours.mean),
            (ChannelOrder::Bgr, [1.0, 2.0, 3.0])
        );
        assert_eq!(colours.deviation, [255.0; 3]);
        let text = r#"{"family": "classes", "crop": 1}"#;
        let described = beside(text).unwrap().unwrap();
        let own = Family::Classes.input().0;
        assert_eq!(
            described.placed(own).unwrap(),
            Placement::Crop { share: 1.0 }
        );
        assert!(
            Description::beside(Path::new("/nowhere/x.onnx"))
                .unwrap()
                .is_none()
        );
    }

    #[test]
    fn what_is_not_known_is_told() {
        for (text, part) in [
            ("{", "is no description"),
            (r#"{"lables": []}"#, "is no description"),
            (r#"{"family": "yolo"}"#, "it can be yolox, yolov5"),
            (
                r#"{"placement": "left"}"#,
                "it can be top-left, center, stretch, crop",
            ),
            (
                r#"{"placement": "center", "crop": 0.5}"#,
                "`crop` of a model",
            ),
            (r#"{"family": "yolox", "crop": 0.5}"#, "`crop` of a model"),
            (r#"{"crop": 1.5}"#, "over 0 and up to 1"),
            (r#"{"deviation": [1, 0, 1]}"#, "the deviation not 0"),
        ] {
            let error = beside(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
