//! Where a node sends its frames. Knows ports by name; what is behind them (links, or a list in a
//! test) is a [`Sink`].

use std::time::Duration;

use edgeflow_stream::{Buffer, Frame};

use crate::tracer::Tracer;
use crate::{Condition, NodeError, Stop};

/// What is behind the output ports.
pub(crate) trait Sink: Send {
    /// Sends on the port with this index.
    fn send(&mut self, port: usize, frame: Frame) -> Result<(), NodeError>;

    /// Memory for a payload that is for the port with this index.
    fn buffer(&self, port: usize, len: usize) -> Buffer {
        let _ = port;
        Buffer::own(len)
    }

    /// Whether a frame on the port with this index would reach anybody.
    fn is_wanted(&self, port: usize) -> bool {
        let _ = port;
        true
    }

    /// The number of the last frame sent on each port.
    fn marks(&self) -> Vec<u64> {
        Vec::new()
    }

    /// The trace of the last frame sent on the port with this index, if it began there.
    fn trace_id(&self, port: usize) -> [u8; 16] {
        let _ = port;
        [0; 16]
    }

    /// Waits up to `drain` until everything has arrived, then ends.
    fn close(&mut self, drain: Duration) {
        let _ = drain;
    }
}

/// The output ports of a node.
pub struct Outputs {
    ports: Vec<String>,
    sink: Box<dyn Sink>,
    condition: Condition,
    stop: Stop,
    sent: u64,
    pub(crate) tracer: Tracer,
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
            sent: 0,
            tracer: Tracer::default(),
        }
    }

    /// Samples frames and adds hops from now on.
    pub(crate) fn with_tracer(mut self, tracer: Tracer) -> Self {
        self.tracer = tracer;
        self
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
        self.send_at(index, frame)
    }

    /// Sends a frame on every output port.
    pub fn send_to_all(&mut self, frame: &Frame) -> Result<(), NodeError> {
        for index in 0..self.ports.len() {
            self.send_at(index, frame.clone())?;
        }
        Ok(())
    }

    fn send_at(&mut self, index: usize, mut frame: Frame) -> Result<(), NodeError> {
        self.tracer.sending(index, &mut frame);
        self.sink.send(index, frame)?;
        let sink = &self.sink;
        self.tracer.sent(|| sink.trace_id(index));
        self.sent += 1;
        Ok(())
    }

    /// Memory to write a payload into that will be sent on this port: [`Frame::new`] and
    /// [`Frame::with_payload`] take it. If consumers on this device share memory, it lies there, and
    /// the payload is not copied any more. What is in it before is of no meaning. Worth it for large
    /// payloads that would be made elsewhere first: raw pixels.
    pub fn buffer(&self, port: &str, len: usize) -> Buffer {
        let index = self.ports.iter().position(|name| name == port);
        index.map_or_else(|| Buffer::own(len), |index| self.sink.buffer(index, len))
    }

    /// Whether a frame on this port would reach anybody now: a consumer is connected, somebody looks,
    /// or a durable link keeps frames. Spares a node work that nobody needs. `false` for a port that
    /// there is not.
    pub fn is_wanted(&self, port: &str) -> bool {
        let index = self.ports.iter().position(|name| name == port);
        index.is_some_and(|index| self.sink.is_wanted(index))
    }

    /// Frames sent so far, on all ports.
    pub(crate) fn sent(&self) -> u64 {
        self.sent
    }

    /// The number of the last frame sent on each port.
    pub(crate) fn marks(&self) -> Vec<u64> {
        self.sink.marks()
    }

    pub(crate) fn close(&mut self, drain: Duration) {
        self.sink.close(drain);
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
