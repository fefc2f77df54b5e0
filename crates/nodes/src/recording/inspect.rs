//! `edgeflow-nodes recording PATH`: reads a recording from front to end and tells what is in it, what
//! is missing and what is damaged. Changes nothing.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Serialize;

use super::folder::{self, State};
use super::reader::{Item, ReadError, SegmentReader};
use crate::list::Format;

/// What to look at.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The folder of a recording, or one of its files.
    path: PathBuf,
    /// How to print.
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

#[derive(Debug, Default, Serialize)]
struct Report {
    segments: Vec<SegmentReport>,
    streams: BTreeMap<String, StreamReport>,
    frames: u64,
    bytes: u64,
    damaged: u64,
}

#[derive(Debug, Serialize)]
struct SegmentReport {
    file: String,
    state: &'static str,
    bytes: u64,
    frames: u64,
    first: Option<String>,
    last: Option<String>,
    damaged: u64,
    torn_bytes: u64,
    error: Option<String>,
}

/// Frames of one topic.
#[derive(Debug, Default, Serialize)]
struct StreamReport {
    frames: u64,
    /// Numbers that are left out between two frames of one life of the producer.
    missing: u64,
    /// Frames whose number was there before.
    repeated: u64,
    /// Lives of the producer.
    epochs: u64,
    #[serde(skip)]
    last: BTreeMap<u32, u64>,
}

impl StreamReport {
    fn count(&mut self, epoch: u32, seq: u64) {
        self.frames += 1;
        match self.last.get_mut(&epoch) {
            None => {
                self.epochs += 1;
                self.last.insert(epoch, seq);
            }
            Some(last) if seq > *last => {
                self.missing += seq - *last - 1;
                *last = seq;
            }
            Some(_) => self.repeated += 1,
        }
    }
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let report = inspect(&args.path)?;
    let mut out = std::io::stdout().lock();
    if args.output == Format::Json {
        return Ok(writeln!(out, "{}", serde_json::to_string_pretty(&report)?)?);
    }
    for segment in &report.segments {
        let (first, last) = (&segment.first, &segment.last);
        let empty = "-".to_owned();
        writeln!(
            out,
            "{}  {}  {} frames  {} bytes  {} to {}{}",
            segment.file,
            segment.state,
            segment.frames,
            segment.bytes,
            first.as_ref().unwrap_or(&empty),
            last.as_ref().unwrap_or(&empty),
            trouble(segment)
        )?;
    }
    for (topic, stream) in &report.streams {
        let StreamReport {
            frames,
            missing,
            repeated,
            ..
        } = stream;
        writeln!(
            out,
            "{topic}: {frames} frames, {missing} missing, {repeated} repeated"
        )?;
    }
    Ok(())
}

fn trouble(segment: &SegmentReport) -> String {
    let mut text = String::new();
    if segment.damaged > 0 {
        text.push_str(&format!("  {} damaged places", segment.damaged));
    }
    if segment.torn_bytes > 0 {
        text.push_str(&format!("  {} bytes cut at the end", segment.torn_bytes));
    }
    if let Some(error) = &segment.error {
        text.push_str(&format!("  {error}"));
    }
    text
}

fn inspect(path: &Path) -> Result<Report> {
    let mut report = Report::default();
    let unreadable = || format!("{} can't be read", path.display());
    let files = if path.is_dir() {
        let segments = folder::list(path).with_context(unreadable)?;
        segments
            .into_iter()
            .map(|it| (it.path, it.state, it.bytes))
            .collect()
    } else {
        let bytes = std::fs::metadata(path).with_context(unreadable)?.len();
        vec![(path.to_owned(), State::Closed, bytes)]
    };
    for (path, state, bytes) in files {
        let mut segment = SegmentReport {
            file: path.file_name().unwrap_or_default().display().to_string(),
            state: match state {
                State::Active => "active",
                State::Closed => "closed",
                State::Incomplete => "incomplete",
            },
            bytes,
            frames: 0,
            first: None,
            last: None,
            damaged: 0,
            torn_bytes: 0,
            error: None,
        };
        if let Err(error) = read(&path, &mut segment, &mut report.streams) {
            segment.error = Some(format!("{:#}", anyhow::Error::from(error)));
        }
        report.frames += segment.frames;
        report.bytes += segment.bytes;
        report.damaged += segment.damaged;
        report.segments.push(segment);
    }
    Ok(report)
}

fn read(
    path: &Path,
    segment: &mut SegmentReport,
    streams: &mut BTreeMap<String, StreamReport>,
) -> Result<(), ReadError> {
    let mut reader = SegmentReader::open(path)?;
    let mut times: Option<(i64, i64)> = None;
    while let Some(item) = reader.next()? {
        let Item::Frame(found) = item else { continue };
        let header = &found.frame.header;
        segment.frames += 1;
        let (first, last) = times.get_or_insert((header.capture_ns, header.capture_ns));
        *first = (*first).min(header.capture_ns);
        *last = (*last).max(header.capture_ns);
        let stream = streams.entry(found.topic.to_string()).or_default();
        stream.count(header.epoch, header.seq);
    }
    segment.first = times.map(|(first, _)| time(first));
    segment.last = times.map(|(_, last)| time(last));
    segment.damaged = reader.damaged();
    segment.torn_bytes = reader.torn();
    Ok(())
}

fn time(unix_ns: i64) -> String {
    let time = jiff::Timestamp::from_nanosecond(unix_ns.into());
    time.map_or_else(|_| unix_ns.to_string(), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_and_repetitions_are_counted_for_each_life_of_the_producer() {
        let mut stream = StreamReport::default();
        for (epoch, seq) in [(1, 5), (1, 6), (1, 9), (1, 9), (2, 1), (2, 2)] {
            stream.count(epoch, seq);
        }
        assert_eq!((stream.frames, stream.epochs), (6, 2));
        assert_eq!((stream.missing, stream.repeated), (2, 1));
    }
}
