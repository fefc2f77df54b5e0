//! The names of the built-in nodes and their list for people and programs.

use std::io::Write;

use clap::ValueEnum;
use serde_json::json;

/// A built-in node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Builtin {
    /// A test card with a clock burned in.
    Pattern,
    /// Pictures of a camera.
    Camera,
    /// Frames of a clip or a network stream.
    Video,
    /// Marks what moves, without a model.
    Motion,
    /// Finds objects or faces with an ONNX model.
    Detect,
    /// Tells with an ONNX model what a picture, or each thing in it, is.
    Classify,
    /// Gives detections numbers that stay with a thing from picture to picture.
    Track,
    /// Counts things in areas of the picture and those that cross lines.
    Zones,
    /// Tells when something is seen.
    Events,
    /// Makes what was found unrecognisable.
    Redact,
    /// Burns boxes, labels and zones into the picture.
    Draw,
    /// Joins frames of several inputs that belong to one moment.
    Fuse,
    /// Writes one line about the newest frame at an interval.
    Log,
    /// Writes every frame to disk.
    Record,
    /// Sends the frames of a recording again.
    Replay,
}

/// How the list is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Table,
    /// For programs.
    Json,
}

pub(crate) fn print(format: Format) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    let nodes = Builtin::value_variants().iter().filter_map(describe);
    match format {
        Format::Table => {
            for (name, summary) in nodes {
                writeln!(out, "{name:<8}  {summary}")?;
            }
        }
        Format::Json => {
            let nodes: Vec<_> = nodes
                .map(|(name, summary)| json!({"name": name, "summary": summary}))
                .collect();
            writeln!(out, "{}", serde_json::to_string_pretty(&nodes)?)?;
        }
    }
    Ok(())
}

fn describe(node: &Builtin) -> Option<(String, String)> {
    let value = node.to_possible_value()?;
    let help = value.get_help().map(ToString::to_string);
    Some((value.get_name().to_owned(), help.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_are_those_of_system_yaml() {
        let names: Vec<String> = Builtin::value_variants()
            .iter()
            .filter_map(describe)
            .map(|(name, _)| name)
            .collect();
        let expected = [
            "pattern", "camera", "video", "motion", "detect", "classify", "track", "zones",
            "events", "redact", "draw", "fuse", "log", "record", "replay",
        ];
        assert_eq!(names, expected);
    }
}
