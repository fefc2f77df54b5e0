//! The command line for each kind of source.

use std::path::Path;

use super::FfmpegError;
use crate::url::mask_credentials;

/// JPEG quality of ffmpeg's encoder: 2 is best, 31 worst.
const QUALITY: &str = "4";

/// What to read and how.
#[derive(Clone, PartialEq)]
pub struct Options {
    /// A device, a URL or a file.
    pub source: String,
    /// Pictures a second; the source's own when not given.
    pub fps: Option<f64>,
    /// Whether a file begins anew at its end.
    pub repeat: bool,
}

impl Options {
    /// Whether the source is a file that ends.
    pub fn is_finite(&self) -> bool {
        self.is_file() && !self.repeat
    }

    pub(super) fn check(&self) -> Result<(), FfmpegError> {
        if !self.source.contains("://") && !Path::new(&self.source).exists() {
            return Err(FfmpegError::NoSuchSource(self.source.clone()));
        }
        Ok(())
    }

    fn is_device(&self) -> bool {
        self.source.starts_with("/dev/")
    }

    fn is_file(&self) -> bool {
        !self.is_device() && !self.source.contains("://")
    }

    /// Arguments without the program's name.
    pub(super) fn arguments(&self) -> Vec<String> {
        let mut args: Vec<String> = ["-hide_banner", "-nostdin", "-nostats", "-loglevel", "error"]
            .map(str::to_owned)
            .to_vec();
        let mut add = |more: &[&str]| args.extend(more.iter().map(|arg| (*arg).to_owned()));
        let fps = self.fps.map(|fps| format!("{fps}"));
        if self.is_device() {
            add(&["-f", "v4l2"]);
            if let Some(fps) = &fps {
                add(&["-framerate", fps]);
            }
        } else if self.is_file() {
            if self.repeat {
                add(&["-stream_loop", "-1"]);
            }
            // At the file's own pace and not as fast as possible.
            add(&["-re"]);
        } else if self.source.starts_with("rtsp://") || self.source.starts_with("rtsps://") {
            add(&["-rtsp_transport", "tcp"]);
        }
        // A file's name could begin with a dash.
        let input = if self.is_file() && !self.source.starts_with('/') {
            format!("./{}", self.source)
        } else {
            self.source.clone()
        };
        add(&["-i", &input, "-map", "0:v:0", "-an", "-sn", "-dn"]);
        if let Some(fps) = fps.filter(|_| !self.is_device()) {
            add(&["-vf", &format!("fps={fps}")]);
        }
        add(&[
            "-pix_fmt", "yuvj420p", "-q:v", QUALITY, "-f", "mjpeg", "pipe:1",
        ]);
        args
    }
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options")
            .field("source", &mask_credentials(&self.source))
            .field("fps", &self.fps)
            .field("repeat", &self.repeat)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(source: &str, fps: Option<f64>, repeat: bool) -> String {
        let options = Options {
            source: source.to_owned(),
            fps,
            repeat,
        };
        let args = options.arguments();
        let from = args.iter().position(|arg| arg == "error").unwrap() + 1;
        let to = args.iter().position(|arg| arg == "-pix_fmt").unwrap();
        args[from..to].join(" ")
    }

    #[test]
    fn each_kind_of_source_gets_its_options() {
        let tail = "-map 0:v:0 -an -sn -dn";
        assert_eq!(
            line("/dev/video0", Some(30.0), true),
            format!("-f v4l2 -framerate 30 -i /dev/video0 {tail}")
        );
        assert_eq!(
            line("rtsp://u:p@h/1", None, true),
            format!("-rtsp_transport tcp -i rtsp://u:p@h/1 {tail}")
        );
        assert_eq!(
            line("http://h/x.mjpg", Some(5.0), true),
            format!("-i http://h/x.mjpg {tail} -vf fps=5")
        );
        assert_eq!(
            line("/clips/a.mp4", None, true),
            format!("-stream_loop -1 -re -i /clips/a.mp4 {tail}")
        );
        assert_eq!(
            line("-x.mp4", None, false),
            format!("-re -i ./-x.mp4 {tail}")
        );
    }

    #[test]
    fn debug_output_has_no_password() {
        let options = Options {
            source: "rtsp://admin:secret@h/1".to_owned(),
            fps: None,
            repeat: false,
        };
        assert!(!format!("{options:?}").contains("secret"));
    }
}
