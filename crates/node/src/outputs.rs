//! Where a node sends its frames. Knows ports by name; what is behind them (links, or a list in a
//! test) is a [`Sink`].

use edgeflow_stream::Frame;

use crate::{Condition, NodeError, Stop};

/// What is behind the output ports.
pub(crate) trait Sink: Send {
    /// Sends on the port with this index.
    fn send(&mut self, port: usize, frame: Frame) -> Result<(), NodeError>;
}

/// The output ports of a node.
pub struct Outputs {
    ports: Vec<String>,
    sink: Box<dyn Sink>,
    condition: Condition,
    stop: Stop,
}

impl Outputs {
    pub(crate) fn new(
        ports: Vec<String>,
        sink: Box<dyn Sink>,
        condition: Condition,
        stop: Stop,
    ) -> Self {
        Self {
            ports,
            sink,
            condition,
            stop,
        }
    }

    /// Sends a frame on an output port. A frame made from an input frame (by changing it, or with
    /// [`Frame::with_payload`]) keeps its capture time, trace and metadata.
    ///
    /// Never waits on realtime links; waits while a durable link that blocks is full.
    pub fn send(&mut self, port: &str, frame: Frame) -> Result<(), NodeError> {
        let Some(index) = self.ports.iter().position(|name| name == port) else {
            return Err(NodeError::new(format!(
                "no output port `{port}`; this node has {}",
                list(&self.ports)
            )));
        };
        self.sink.send(index, frame)
    }

    /// Sends a frame on every output port.
    pub fn send_to_all(&mut self, frame: &Frame) -> Result<(), NodeError> {
        for index in 0..self.ports.len() {
            self.sink.send(index, frame.clone())?;
        }
        Ok(())
    }

    /// Names of the output ports.
    pub fn ports(&self) -> &[String] {
        &self.ports
    }

    /// The condition shown for this node.
    pub fn condition(&self) -> &Condition {
        &self.condition
    }

    /// Whether the node has to stop.
    pub fn stop(&self) -> &Stop {
        &self.stop
    }
}

impl std::fmt::Debug for Outputs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outputs")
            .field("ports", &self.ports)
            .finish_non_exhaustive()
    }
}

fn list(ports: &[String]) -> String {
    if ports.is_empty() {
        return "none".to_owned();
    }
    let quoted: Vec<String> = ports.iter().map(|port| format!("`{port}`")).collect();
    quoted.join(", ")
}
