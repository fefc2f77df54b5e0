//! A model's file: read, digested, and described by what is in it and beside it.

use std::{fs::File, io::Read, path::Path};

use edgeflow_model::{Description, Entry, catalogue, onnx};
use edgeflow_proto::v1;
use edgeflow_spec::{names::to_name, quantity::rounded_bytes};
use sha2::{Digest, Sha256};

use crate::failure::{Exit, Failure, Outcome};

/// Biggest file: an ONNX model is one protobuf message.
const MAX_BYTES: u64 = 2 * 1024 * 1024 * 1024;
/// Biggest file with names of classes.
const MAX_LABEL_BYTES: u64 = 1024 * 1024;

/// A file to be sent.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) model: v1::Model,
    pub(super) bytes: Vec<u8>,
}

impl Prepared {
    /// A model of the catalogue.
    pub(super) fn of_catalogue(entry: &Entry, bytes: Vec<u8>) -> Self {
        let mut model = v1::Model {
            name: entry.name.clone(),
            sha256: entry.sha256.clone(),
            bytes: entry.bytes,
            extension: extension(Path::new(&entry.file)),
            description: described(entry).to_json(),
            ..v1::Model::default()
        };
        // Its digest is the right one: it is a model.
        let _ = sign(&mut model, &bytes);
        Self { model, bytes }
    }

    /// A file of one's own.
    pub(super) fn read(path: &Path, any_file: bool, told: Option<&Path>) -> Outcome<Self> {
        let bytes = read(path, MAX_BYTES)?;
        let sha256 = hex(&Sha256::digest(&bytes));
        let entry = catalogue::by_digest(&sha256);
        let stem = path.file_stem().map(|stem| stem.to_string_lossy());
        let name = match entry {
            Some(entry) => Some(entry.name.clone()),
            None => stem.and_then(|stem| to_name(&stem)),
        };
        let told = match told {
            Some(path) => Some(description(path)?),
            None => Description::beside(path).map_err(|error| bad_description(&error))?,
        };
        let told = told.or_else(|| entry.map(described)).unwrap_or_default();
        let mut model = v1::Model {
            name: name.unwrap_or_else(|| "model".to_owned()),
            sha256,
            bytes: bytes.len() as u64,
            extension: extension(path),
            description: told.to_json(),
            ..v1::Model::default()
        };
        if let Err(error) = sign(&mut model, &bytes)
            && !any_file
        {
            return Err(Failure::failed(format!("can't add {}", path.display()))
                .why(error)
                .next("check that it is the file that was exported as ONNX, and whole")
                .next("--any-file keeps it as it is, for a node of your own"));
        }
        Ok(Self { model, bytes })
    }
}

fn described(entry: &Entry) -> Description {
    Description {
        about: entry.about.clone(),
        licence: entry.licence.clone(),
        labels: entry.labels.clone(),
        family: Some(entry.family.name().to_owned()),
        ..Description::default()
    }
}

/// Notes what goes in and what comes out.
fn sign(model: &mut v1::Model, bytes: &[u8]) -> Result<(), onnx::OnnxError> {
    let signature = onnx::signature(bytes)?;
    let messages = |tensors: Vec<onnx::TensorInfo>| {
        let dim = |dim: Option<u64>| dim.and_then(|it| i64::try_from(it).ok()).unwrap_or(-1);
        let message = |tensor: onnx::TensorInfo| v1::ModelTensor {
            name: tensor.name,
            dims: tensor.dims.into_iter().map(dim).collect(),
        };
        tensors.into_iter().map(message).collect()
    };
    model.inputs = messages(signature.inputs);
    model.outputs = messages(signature.outputs);
    Ok(())
}

fn description(path: &Path) -> Outcome<Description> {
    let text = read(path, MAX_LABEL_BYTES)?;
    Description::from_json(&text).map_err(|error| bad_description(&error).why(path.display()))
}

fn bad_description(error: &edgeflow_model::DescriptionError) -> Failure {
    let why = match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    };
    Failure::failed("can't use the description").why(why)
}

/// The lines of a file with names of classes.
pub(super) fn lines(path: &Path) -> Outcome<Vec<String>> {
    let text = String::from_utf8(read(path, MAX_LABEL_BYTES)?)
        .map_err(|_| Failure::failed(format!("{} is not a text file", path.display())))?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    Ok(lines.map(str::to_owned).collect())
}

fn read(path: &Path, limit: u64) -> Outcome<Vec<u8>> {
    let failed = |error: std::io::Error| {
        let failure = |exit| Failure::new(exit, format!("can't read {}", path.display()));
        if error.kind() == std::io::ErrorKind::NotFound {
            return failure(Exit::NotFound)
                .why("there is no such file, and no model of that name in the catalogue")
                .next("see the catalogue: edgeflow model list --catalogue");
        }
        failure(Exit::Failed).why(error)
    };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() as u64 > limit {
        let limit = rounded_bytes(limit);
        let what = format!("{} has over {limit}", path.display());
        return Err(Failure::failed(what));
    }
    Ok(bytes)
}

fn extension(path: &Path) -> String {
    let ending = path.extension().unwrap_or_default().to_string_lossy();
    ending.to_ascii_lowercase()
}

/// Lower-case hex.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_model_is_told_apart_and_kept_only_when_asked() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("My Weights.PT");
        std::fs::write(&path, b"not a model").unwrap();
        let refused = Prepared::read(&path, false, None).unwrap_err();
        assert!(refused.advice().contains("--any-file"), "{refused:?}");
        let kept = Prepared::read(&path, true, None).unwrap().model;
        assert_eq!(
            (kept.name.as_str(), kept.extension.as_str()),
            ("my-weights", "pt")
        );
        assert_eq!((kept.bytes, kept.description.as_str()), (11, ""));
        let missing = Prepared::read(&dir.path().join("x.onnx"), true, None).unwrap_err();
        assert_eq!(missing.exit, Exit::NotFound);
    }

    #[test]
    fn what_lies_beside_a_file_describes_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bolts.onnx");
        std::fs::write(&path, b"x").unwrap();
        let beside = dir.path().join("bolts.onnx.json");
        std::fs::write(&beside, br#"{"labels": ["bolt"], "family": "yolov8"}"#).unwrap();
        let kept = Prepared::read(&path, true, None).unwrap().model;
        assert_eq!(kept.description, r#"{"labels":["bolt"],"family":"yolov8"}"#);
        std::fs::write(&beside, br#"{"lables": []}"#).unwrap();
        let refused = Prepared::read(&path, true, None).unwrap_err();
        assert!(refused.advice().contains("unknown field"), "{refused:?}");
        let labels = dir.path().join("labels.txt");
        std::fs::write(&labels, "bolt\n\n nut \r\n").unwrap();
        assert_eq!(lines(&labels).unwrap(), ["bolt", "nut"]);
    }
}
