//! Joins frames of several inputs that belong to one moment: what a node says about it, and the
//! sets that it gets. Which frames belong together is decided in `matcher`, which knows no links.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use edgeflow_stream::Frame;
use serde::de::DeserializeOwned;

use crate::{Context, NodeError, Outputs, Parameter};

pub(crate) mod matcher;

/// A node that gets frames of several inputs in sets that belong to one moment.
pub trait FusedNode: Sized {
    /// The type of `with:` in system.yaml; [`crate::NoParams`] for a node without parameters.
    type Params: DeserializeOwned;

    /// What may stand under `with:`; see [`crate::Node::parameters`].
    fn parameters() -> Vec<Parameter> {
        Vec::new()
    }

    /// Runs once before the first frame. An error ends the process with exit code 1.
    fn setup(ctx: &mut Context, params: Self::Params) -> Result<Self, NodeError>;

    /// How frames are joined. Asked once, after the setup.
    fn fusion(&self) -> Fusion;

    /// Runs for every set. Its frames count as delivered once this returns.
    fn fuse(&mut self, set: FrameSet, out: &mut Outputs) -> Result<(), NodeError>;

    /// Runs for a frame that tells of a failure upstream. The default passes it on to every output.
    fn process_error(&mut self, input: crate::Input, out: &mut Outputs) -> Result<(), NodeError> {
        out.send_to_all(&input.frame)
    }

    /// Takes new parameters while the node runs; see [`crate::Node::params_changed`]. How frames are
    /// joined does not change.
    fn params_changed(&mut self, params: Self::Params) -> Result<(), NodeError> {
        let _ = params;
        Err(NodeError::new("the node takes no parameters while it runs"))
    }

    /// Runs once after the last set when the node is stopped, not when it fails or is killed.
    fn teardown(&mut self) {}
}

/// Which frames belong together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// Those captured at the same nanosecond: frames that went different ways from one camera.
    Exact,
    /// Those captured closest to the primary frame, within the tolerance of their input.
    #[default]
    Nearest,
    /// The newest of each input when a primary frame arrives. Nothing waits; a frame may be in
    /// several sets.
    Latest,
}

/// How frames of several inputs are joined.
#[derive(Clone, Debug, PartialEq)]
pub struct Fusion {
    /// Which frames belong together.
    pub policy: Policy,
    /// The input port whose frames make sets.
    pub primary: String,
    /// The other input ports.
    pub others: Vec<String>,
    /// Largest distance in capture time from the primary frame; `None`: 50 ms for
    /// [`Policy::Nearest`], any for [`Policy::Latest`].
    pub tolerance: Option<Duration>,
    /// The same for single inputs.
    pub tolerances: BTreeMap<String, Duration>,
    /// Longest wait of a frame for those that belong to it.
    pub timeout: Duration,
    /// Whether a set may lack inputs. If not, its primary frame is dropped and counted.
    pub partial: bool,
    /// Frames of each input that may wait, 1 at least.
    pub max_frames: usize,
    /// Bytes of each input that may wait; a single frame always may.
    pub max_bytes: usize,
}

/// Tolerance of [`Policy::Nearest`] unless a node says otherwise.
pub const DEFAULT_TOLERANCE: Duration = Duration::from_millis(50);
/// Timeout unless a node says otherwise.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_millis(200);
/// Frames of each input unless a node says otherwise.
pub const DEFAULT_FRAMES: usize = 64;
/// Bytes of each input unless a node says otherwise.
pub const DEFAULT_BYTES: usize = 64 * 1024 * 1024;

impl Fusion {
    /// Joins `primary` with the nearest of `others`.
    pub fn new(primary: impl Into<String>, others: Vec<String>) -> Self {
        Self {
            policy: Policy::Nearest,
            primary: primary.into(),
            others,
            tolerance: None,
            tolerances: BTreeMap::new(),
            timeout: DEFAULT_TIMEOUT,
            partial: false,
            max_frames: DEFAULT_FRAMES,
            max_bytes: DEFAULT_BYTES,
        }
    }

    /// The primary input, then the others.
    pub(crate) fn inputs(&self) -> impl Iterator<Item = &String> {
        std::iter::once(&self.primary).chain(&self.others)
    }

    /// Tolerance of an input in nanoseconds; `None`: any distance will do.
    pub(crate) fn tolerance_ns(&self, input: &str) -> Option<i64> {
        let given = self.tolerances.get(input).copied().or(self.tolerance);
        let tolerance = match self.policy {
            Policy::Exact => Some(Duration::ZERO),
            Policy::Nearest => Some(given.unwrap_or(DEFAULT_TOLERANCE)),
            Policy::Latest => given,
        }?;
        Some(i64::try_from(tolerance.as_nanos()).unwrap_or(i64::MAX))
    }
}

/// Frames that belong to one moment.
#[derive(Clone, Debug)]
pub struct FrameSet {
    names: Arc<[String]>,
    primary: Frame,
    /// As `names`, without the primary one.
    others: Vec<Option<Frame>>,
}

impl FrameSet {
    pub(crate) fn new(names: Arc<[String]>, primary: Frame, others: Vec<Option<Frame>>) -> Self {
        Self {
            names,
            primary,
            others,
        }
    }

    /// The frame of the primary input. It is always there.
    pub fn primary(&self) -> &Frame {
        &self.primary
    }

    /// The frame of an input.
    pub fn get(&self, input: &str) -> Option<&Frame> {
        let index = self.names.iter().position(|name| name == input)?;
        match index.checked_sub(1) {
            None => Some(&self.primary),
            Some(index) => self.others.get(index)?.as_ref(),
        }
    }

    /// The other inputs with their frames.
    pub fn others(&self) -> impl Iterator<Item = (&str, Option<&Frame>)> {
        let names = self.names.iter().skip(1).map(String::as_str);
        names.zip(self.others.iter().map(Option::as_ref))
    }

    /// Whether every input has a frame.
    pub fn is_complete(&self) -> bool {
        self.others.iter().all(Option::is_some)
    }
}
