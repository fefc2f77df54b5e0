//! Where pictures come from: a drawn test card, MJPEG clips, cameras, and everything that an `ffmpeg`
//! child process can read. Never decodes pictures and knows nothing of frames or nodes.
//! Files and streams are foreign bytes: parsers are bounded and never panic.

pub mod avi;
pub mod camera;
pub mod encode;
pub mod jpeg;
pub mod mjpeg;
pub mod pattern;
pub mod program;
pub mod url;
