//! The loop of a node that gets sets of frames: feeds the matcher, runs the node for its sets and
//! finishes frames on their links. Which frames belong together is not decided here.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use edgeflow_proto::v1::NodeState;
use edgeflow_stream::{Frame, Held, Kind, Received};

use super::{IDLE_WAIT, RunError, Session, arrived};
use crate::fusion::matcher::{Matcher, Outcome, Ticket};
use crate::tracer::Arrived;
use crate::{FrameSet, FusedNode, Input};

/// Frames that the matcher has, with what finishes them and how they came.
type Waiting = HashMap<Ticket, (Held, Arrived)>;

impl Session {
    pub(super) fn fused_loop<N: FusedNode>(&mut self, mut node: N) -> Result<(), RunError> {
        let fusion = node.fusion();
        let names: Arc<[String]> = fusion.inputs().cloned().collect();
        self.check_inputs(&names)?;
        let mut matcher = Matcher::new(&fusion);
        let mut waiting = Waiting::new();
        while !self.stop.is_requested() {
            self.change_params(|params| node.params_changed(params))?;
            self.chain.settle(&mut self.subscriber);
            let due = matcher.deadline();
            let wait = due.map(|due| due.saturating_duration_since(Instant::now()));
            let wait = wait.unwrap_or(IDLE_WAIT).min(IDLE_WAIT);
            let received = self.subscriber.recv(wait).map_err(RunError::Inputs)?;
            if let Some(received) = received {
                self.take_in(received, &names, &mut matcher, &mut waiting, &mut node)?;
            }
            matcher.expire(Instant::now());
            while let Some(outcome) = matcher.next() {
                match outcome {
                    Outcome::Set(ticket, primary, others) => {
                        let set = FrameSet::new(Arc::clone(&names), primary, others);
                        let came = waiting.get(&ticket).map(|(_, arrived)| *arrived);
                        if !self.fuse(&mut node, set, came)? {
                            // What could not be sent on comes again.
                            break;
                        }
                    }
                    Outcome::Finished(ticket, reason) => {
                        if let Some((held, _)) = waiting.remove(&ticket) {
                            if let Some(reason) = reason {
                                self.subscriber.count_dropped(held.input(), reason);
                            }
                            self.finish_held(held);
                        }
                    }
                }
            }
        }
        self.subscriber.ack();
        self.status.set_state(NodeState::Stopping);
        node.teardown();
        Ok(())
    }

    /// An input that the fusion names and nobody feeds would be waited for in vain.
    fn check_inputs(&self, names: &[String]) -> Result<(), RunError> {
        let sockets = &self.config.input_sockets;
        let linked = |name: &String| sockets.iter().any(|socket| socket.port == *name);
        match names.iter().find(|name| !linked(name)) {
            None => Ok(()),
            Some(name) => Err(RunError::Setup(format!("no link leads to input `{name}`"))),
        }
    }

    /// Gives a frame to the matcher; one that tells of a failure goes past it.
    fn take_in<N: FusedNode>(
        &mut self,
        received: Received,
        names: &[String],
        matcher: &mut Matcher,
        waiting: &mut Waiting,
        node: &mut N,
    ) -> Result<(), RunError> {
        let came = arrived(&received);
        let Received {
            input: from,
            port,
            frame,
            ..
        } = received;
        let Some(index) = names.iter().position(|name| **name == *port) else {
            return Ok(());
        };
        match frame.header.kind {
            Kind::Frame => {
                let ticket = matcher.push(Instant::now(), index, frame);
                waiting.extend(self.subscriber.hold().map(|held| (ticket, (held, came))));
            }
            Kind::Error => {
                matcher.advance(index, frame.header.capture_ns);
                let origin = frame.clone();
                let input = Input { port, frame };
                let result = node.process_error(input, &mut self.outputs);
                self.after_loop(result, &origin, from)?;
            }
            Kind::Gap | Kind::End | Kind::Heartbeat => {
                matcher.advance(index, frame.header.capture_ns);
            }
        }
        Ok(())
    }

    /// Runs the node for a set. False: the node is stopping and the set has not been dealt with.
    fn fuse<N: FusedNode>(
        &mut self,
        node: &mut N,
        set: FrameSet,
        came: Option<Arrived>,
    ) -> Result<bool, RunError> {
        let origin: Frame = set.primary().clone();
        let start = Instant::now();
        let tracer = &mut self.outputs.tracer;
        tracer.begin(start, came.as_ref().map(|came| (&origin, came)));
        tracer.fused_with(set.others());
        let result = node.fuse(set, &mut self.outputs);
        self.outputs.tracer.end(result.as_ref().err());
        self.status.count_frame(start.elapsed());
        match result {
            Ok(()) => Ok(true),
            Err(error) if error.is_stopping() => Ok(false),
            Err(error) => self.failed(&error, Some(&origin)).map(|()| true),
        }
    }
}
