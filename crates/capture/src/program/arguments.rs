//! The command line for each kind of input. Credentials never stand in it.

use std::path::Path;

use super::ProgramError;
use crate::url::{has_credentials, mask_credentials};

/// JPEG quality of ffmpeg's encoder: 2 is best, 31 worst.
const QUALITY: &str = "4";
/// What a list of inputs that comes through the pipe may name.
const PROTOCOLS: &str =
    "pipe,file,crypto,data,tcp,tls,udp,rtp,srtp,http,https,httpproxy,rtsp,rtsps,rtmp,srt";

/// What delivers the pictures.
#[derive(Clone, PartialEq, Eq)]
pub enum Input {
    /// A URL, a file or a device, read by ffmpeg.
    Source(String),
    /// A program with its arguments, which writes JPEGs to its standard output.
    Command(Vec<String>),
}

impl Input {
    fn name(&self) -> String {
        match self {
            Self::Source(source) => mask_credentials(source),
            Self::Command(command) => mask_credentials(&command.join(" ")),
        }
    }
}

impl std::fmt::Debug for Input {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Input").field(&self.name()).finish()
    }
}

/// What decodes compressed video.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Decoder {
    /// The processor.
    #[default]
    Software,
    /// NVIDIA's decoder.
    Cuda,
    /// VA-API, on Intel and AMD.
    Vaapi,
    /// A V4L2 memory-to-memory decoder for H.264, as on a Raspberry Pi.
    V4l2H264,
    /// The same for H.265.
    V4l2Hevc,
}

impl Decoder {
    /// All, in the order of the documentation.
    pub const ALL: [Self; 5] = [
        Self::Software,
        Self::Cuda,
        Self::Vaapi,
        Self::V4l2H264,
        Self::V4l2Hevc,
    ];

    /// Lower-case name, as in system.yaml.
    pub fn name(self) -> &'static str {
        match self {
            Self::Software => "software",
            Self::Cuda => "cuda",
            Self::Vaapi => "vaapi",
            Self::V4l2H264 => "v4l2-h264",
            Self::V4l2Hevc => "v4l2-hevc",
        }
    }

    /// By name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.name() == name)
    }

    /// ffmpeg's options before the input.
    fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Software => &[],
            Self::Cuda => &["-hwaccel", "cuda"],
            Self::Vaapi => &["-hwaccel", "vaapi"],
            Self::V4l2H264 => &["-c:v", "h264_v4l2m2m"],
            Self::V4l2Hevc => &["-c:v", "hevc_v4l2m2m"],
        }
    }
}

/// What carries the pictures of an RTSP source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RtspTransport {
    /// The connection of the requests: nothing is lost, and one port is enough.
    #[default]
    Tcp,
    /// Packets of their own, for cameras that know nothing else.
    Udp,
}

impl RtspTransport {
    /// All.
    pub const ALL: [Self; 2] = [Self::Tcp, Self::Udp];

    /// Lower-case name, as in system.yaml and for ffmpeg.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }

    /// By name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.name() == name)
    }
}

/// What to read and how.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Where pictures come from.
    pub input: Input,
    /// Pictures a second; the source's own when not given.
    pub fps: Option<f64>,
    /// Whether a file begins anew at its end.
    pub repeat: bool,
    /// For compressed video.
    pub decoder: Decoder,
    /// Streams: no buffering, a short look before the first picture.
    pub low_latency: bool,
    /// RTSP sources only.
    pub rtsp_transport: RtspTransport,
}

impl Options {
    /// The same for every source but for where it is.
    pub fn new(input: Input) -> Self {
        Self {
            input,
            fps: None,
            repeat: true,
            decoder: Decoder::default(),
            low_latency: true,
            rtsp_transport: RtspTransport::default(),
        }
    }

    /// Whether the source is a file that ends.
    pub fn is_finite(&self) -> bool {
        let is_file = matches!(&self.input, Input::Source(source) if is_file(source));
        is_file && !self.repeat
    }

    /// The input for people, without credentials.
    pub fn name(&self) -> String {
        self.input.name()
    }

    pub(super) fn check(&self) -> Result<(), ProgramError> {
        match &self.input {
            Input::Source(source) if !source.contains("://") && !Path::new(source).exists() => {
                Err(ProgramError::NoSuchSource(source.clone()))
            }
            Input::Command(command) if command.is_empty() => Err(ProgramError::NoCommand),
            _ => Ok(()),
        }
    }

    /// What to start.
    pub(super) fn start(&self) -> Start {
        match &self.input {
            Input::Source(source) => self.ffmpeg(source),
            Input::Command(command) => {
                let (program, arguments) = command.split_first().map_or_else(
                    || (String::new(), Vec::new()),
                    |(program, rest)| (program.clone(), rest.to_vec()),
                );
                Start {
                    program,
                    arguments,
                    input: String::new(),
                }
            }
        }
    }

    fn ffmpeg(&self, source: &str) -> Start {
        let mut args: Vec<String> = ["-hide_banner", "-nostats", "-loglevel", "error"]
            .map(str::to_owned)
            .to_vec();
        let mut add = |more: &[&str]| args.extend(more.iter().map(|arg| (*arg).to_owned()));
        let fps = self.fps.map(|fps| format!("{fps}"));
        let is_stream = source.contains("://");
        add(self.decoder.arguments());
        if is_stream && self.low_latency {
            add(&["-fflags", "nobuffer", "-flags", "low_delay"]);
        }
        if is_device(source) {
            add(&["-f", "v4l2"]);
            if let Some(fps) = &fps {
                add(&["-framerate", fps]);
            }
        } else if is_file(source) {
            if self.repeat {
                add(&["-stream_loop", "-1"]);
            }
            // At the file's own pace and not as fast as possible.
            add(&["-re"]);
        }
        let input = if has_credentials(source) {
            add(&["-f", "concat", "-safe", "0"]);
            add(&["-protocol_whitelist", PROTOCOLS, "-i", "pipe:0"]);
            list_of(source, self.rtsp_transport)
        } else {
            if is_rtsp(source) {
                add(&["-rtsp_transport", self.rtsp_transport.name()]);
            }
            // A file's name could begin with a dash.
            let here = is_file(source) && !source.starts_with('/');
            let source = if here {
                format!("./{source}")
            } else {
                source.to_owned()
            };
            add(&["-nostdin", "-i", &source]);
            String::new()
        };
        add(&["-map", "0:v:0", "-an", "-sn", "-dn"]);
        if let Some(fps) = fps.filter(|_| !is_device(source)) {
            add(&["-vf", &format!("fps={fps}")]);
        }
        add(&[
            "-pix_fmt", "yuvj420p", "-q:v", QUALITY, "-f", "mjpeg", "pipe:1",
        ]);
        Start {
            program: "ffmpeg".to_owned(),
            arguments: args,
            input,
        }
    }
}

/// What is started, and what it reads.
#[derive(PartialEq, Eq)]
pub(super) struct Start {
    pub(super) program: String,
    pub(super) arguments: Vec<String>,
    /// Goes to its standard input, which other users of the machine can't see.
    pub(super) input: String,
}

/// A list with one entry, in the format of ffmpeg's `concat`.
fn list_of(source: &str, transport: RtspTransport) -> String {
    // In quotes everything is itself, except a quote and a line's end.
    let quoted = source.replace('\'', r"'\''").replace(['\n', '\r'], "");
    let mut list = format!("ffconcat version 1.0\nfile '{quoted}'\n");
    if is_rtsp(source) {
        let name = transport.name();
        list.push_str(&format!("option rtsp_transport {name}\n"));
    }
    list
}

fn is_rtsp(source: &str) -> bool {
    source.starts_with("rtsp://") || source.starts_with("rtsps://")
}

fn is_device(source: &str) -> bool {
    source.starts_with("/dev/")
}

fn is_file(source: &str) -> bool {
    !is_device(source) && !source.contains("://")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(source: &str) -> Options {
        Options {
            low_latency: false,
            ..Options::new(Input::Source(source.to_owned()))
        }
    }

    /// What is particular to the options.
    fn line(options: &Options) -> String {
        let args = options.start().arguments;
        let from = args.iter().position(|arg| arg == "error").unwrap() + 1;
        let to = args.iter().position(|arg| arg == "-pix_fmt").unwrap();
        args[from..to].join(" ")
    }

    #[test]
    fn each_kind_of_source_gets_its_options() {
        let tail = "-map 0:v:0 -an -sn -dn";
        let device = Options {
            fps: Some(30.0),
            ..options("/dev/video0")
        };
        assert_eq!(
            line(&device),
            format!("-f v4l2 -framerate 30 -nostdin -i /dev/video0 {tail}")
        );
        assert_eq!(
            line(&options("rtsp://h/1")),
            format!("-rtsp_transport tcp -nostdin -i rtsp://h/1 {tail}")
        );
        let packets = Options {
            rtsp_transport: RtspTransport::Udp,
            ..options("rtsp://h/1")
        };
        assert_eq!(
            line(&packets),
            format!("-rtsp_transport udp -nostdin -i rtsp://h/1 {tail}")
        );
        let slow = Options {
            fps: Some(5.0),
            low_latency: true,
            decoder: Decoder::Cuda,
            ..options("http://h/x.mjpg")
        };
        assert_eq!(
            line(&slow),
            format!(
                "-hwaccel cuda -fflags nobuffer -flags low_delay -nostdin -i http://h/x.mjpg {tail} -vf fps=5"
            )
        );
        assert_eq!(
            line(&options("/clips/a.mp4")),
            format!("-stream_loop -1 -re -nostdin -i /clips/a.mp4 {tail}")
        );
        let once = Options {
            repeat: false,
            ..options("-x.mp4")
        };
        assert_eq!(line(&once), format!("-re -nostdin -i ./-x.mp4 {tail}"));
    }

    #[test]
    fn credentials_go_through_the_pipe() {
        let options = options("rtsp://admin:it's@h/1");
        let start = options.start();
        assert!(!start.arguments.join(" ").contains("it's"));
        assert_eq!(
            start.input,
            "ffconcat version 1.0\nfile 'rtsp://admin:it'\\''s@h/1'\noption rtsp_transport tcp\n"
        );
        assert!(!format!("{options:?}").contains("it's"));
        assert_eq!(options.name(), "rtsp://***@h/1");
    }

    #[test]
    fn a_command_is_started_as_it_is() {
        let command = ["rpicam-vid", "--codec", "mjpeg", "-o", "-"].map(str::to_owned);
        let start = Options::new(Input::Command(command.to_vec())).start();
        assert_eq!(start.program, "rpicam-vid");
        assert_eq!(start.arguments.join(" "), "--codec mjpeg -o -");
    }

    #[test]
    fn decoders_have_names() {
        for decoder in Decoder::ALL {
            assert_eq!(Decoder::from_name(decoder.name()), Some(decoder));
        }
    }
}
