//! The loop of a node that works on several frames at a time: hands frames to workers, and finishes
//! them in the order in which they came. Takes a frame only when a worker is free, so that one that
//! waits at the producer can still be passed over for a newer one. A frame that comes again is worked
//! on alone: if the process dies once more, it is the one that is to blame.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use edgeflow_proto::v1::NodeState;
use edgeflow_stream::{Held, Kind, Received};

use super::pool::{Pool, Work};
use super::{IDLE_WAIT, RunError, Session, arrived};
use crate::tracer::Arrived;
use crate::{Input, ParallelNode};

/// Frames that wait for a slow one before them, for each that is worked on.
const WAITING: usize = 2;

/// A frame on its way through the node.
struct Pending<M> {
    input: Input,
    came: Arrived,
    held: Option<Held>,
    stage: Stage<M>,
}

enum Stage<M> {
    Working,
    Worked(Work<M>),
    /// It tells of a failure upstream; nobody works on it.
    Error,
}

/// The frames on their way, oldest first, with the number of the oldest.
struct Line<M> {
    pending: VecDeque<Pending<M>>,
    first: u64,
}

impl<M> Line<M> {
    fn new() -> Self {
        Self {
            pending: VecDeque::new(),
            first: 0,
        }
    }

    /// The number of the next frame.
    fn next(&self) -> u64 {
        self.first + self.pending.len() as u64
    }

    fn put(&mut self, number: u64, work: Work<M>) {
        let index = number.checked_sub(self.first);
        let index = index.and_then(|index| usize::try_from(index).ok());
        if let Some(pending) = index.and_then(|index| self.pending.get_mut(index)) {
            pending.stage = Stage::Worked(work);
        }
    }

    /// The oldest, if it is done with.
    fn pop(&mut self) -> Option<Pending<M>> {
        let done = |one: &mut Pending<M>| !matches!(one.stage, Stage::Working);
        let pending = self.pending.pop_front_if(done)?;
        self.first += 1;
        Some(pending)
    }
}

impl Session {
    pub(super) fn parallel_loop<N: ParallelNode>(
        &mut self,
        mut node: N,
        workers: Vec<N::Worker>,
    ) -> Result<(), RunError> {
        let most = workers.len() * (1 + WAITING);
        let mut pool = Pool::<N>::start(workers, &self.subscriber.waker());
        let mut line = Line::new();
        let mut going = true;
        while going && !self.stop.is_requested() {
            self.change_params(|params| node.params_changed(params))?;
            self.chain.settle(&mut self.subscriber);
            if pool.has_idle() && line.pending.len() < most {
                let received = self.subscriber.recv(IDLE_WAIT).map_err(RunError::Inputs)?;
                if let Some(received) = received {
                    going = self.take_up(&mut node, received, &mut pool, &mut line)?;
                }
                pool.collect(Duration::ZERO, |number, work| line.put(number, work));
            } else {
                pool.collect(IDLE_WAIT, |number, work| line.put(number, work));
            }
            going = going && self.finish_line(&mut node, &mut line)?;
        }
        if going {
            self.finish_all(&mut node, &mut pool, &mut line)?;
        }
        self.status.set_state(NodeState::Stopping);
        node.teardown();
        Ok(())
    }

    /// Hands a frame to a worker. False as of [`Self::finish_line`].
    fn take_up<N: ParallelNode>(
        &mut self,
        node: &mut N,
        received: Received,
        pool: &mut Pool<N>,
        line: &mut Line<N::Made>,
    ) -> Result<bool, RunError> {
        let came = arrived(&received);
        let held = self.subscriber.hold();
        let Received {
            port,
            frame,
            redelivered,
            ..
        } = received;
        if redelivered {
            if !self.finish_all(node, pool, line)? {
                return Ok(false);
            }
            self.settle_before()?;
        }
        let input = Input { port, frame };
        let stage = if input.frame.header.kind == Kind::Error {
            Stage::Error
        } else {
            pool.give(line.next(), input.clone());
            Stage::Working
        };
        line.pending.push_back(Pending {
            input,
            came,
            held,
            stage,
        });
        if redelivered {
            return self.finish_all(node, pool, line);
        }
        Ok(true)
    }

    /// Waits for all that is worked on, and finishes it. False as of [`Self::finish_line`].
    fn finish_all<N: ParallelNode>(
        &mut self,
        node: &mut N,
        pool: &mut Pool<N>,
        line: &mut Line<N::Made>,
    ) -> Result<bool, RunError> {
        while self.finish_line(node, line)? {
            if line.pending.is_empty() {
                return Ok(true);
            }
            pool.collect(IDLE_WAIT, |number, work| line.put(number, work));
        }
        Ok(false)
    }

    /// Finishes frames, up to the first that is still worked on. False: the node is stopping, and
    /// the rest comes again.
    fn finish_line<N: ParallelNode>(
        &mut self,
        node: &mut N,
        line: &mut Line<N::Made>,
    ) -> Result<bool, RunError> {
        while let Some(pending) = line.pop() {
            if !self.finish_one(node, pending)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn finish_one<N: ParallelNode>(
        &mut self,
        node: &mut N,
        pending: Pending<N::Made>,
    ) -> Result<bool, RunError> {
        let Pending {
            input,
            came,
            held,
            stage,
        } = pending;
        let origin = input.frame.clone();
        let now = Instant::now();
        let (began, worked) = match &stage {
            Stage::Worked(work) => (work.began, work.took),
            Stage::Working | Stage::Error => (now, Duration::ZERO),
        };
        self.outputs.tracer.begin(began, Some((&origin, &came)));
        let result = match stage {
            Stage::Worked(work) => match work.made() {
                Ok(made) => node.finish(input, made, &mut self.outputs),
                Err(error) => Err(error),
            },
            Stage::Working | Stage::Error => node.process_error(input, &mut self.outputs),
        };
        self.outputs.tracer.end(result.as_ref().err());
        self.status.count_frame(worked + now.elapsed());
        match result {
            Ok(()) => {}
            Err(error) if error.is_stopping() => return Ok(false),
            Err(error) => self.failed(&error, Some(&origin))?,
        }
        if let Some(held) = held {
            self.finish_held(held);
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use edgeflow_stream::Frame;

    use super::*;

    fn pending(number: u8, stage: Stage<u8>) -> Pending<u8> {
        let frame = Frame::jpeg(1, 1, vec![number]);
        let port = "in".into();
        Pending {
            input: Input { port, frame },
            came: Arrived { ns: 0, clock: None },
            held: None,
            stage,
        }
    }

    fn worked(made: u8) -> Work<u8> {
        Work::new(Instant::now(), Ok(Ok(made)))
    }

    fn popped(line: &mut Line<u8>) -> Vec<u8> {
        std::iter::from_fn(|| line.pop())
            .map(|one| one.input.frame.payload[0])
            .collect()
    }

    #[test]
    fn frames_leave_in_the_order_in_which_they_came() {
        let mut line = Line::new();
        for number in 0..4 {
            assert_eq!(line.next(), u64::from(number));
            line.pending.push_back(pending(number, Stage::Working));
        }
        line.pending.push_back(pending(4, Stage::Error));
        line.put(2, worked(2));
        line.put(1, worked(1));
        assert!(popped(&mut line).is_empty());
        line.put(0, worked(0));
        assert_eq!(popped(&mut line), [0, 1, 2]);
        // One that is not on its way any more, and one that never was.
        line.put(0, worked(0));
        line.put(9, worked(0));
        assert!(popped(&mut line).is_empty());
        line.put(3, worked(3));
        assert_eq!(popped(&mut line), [3, 4]);
        assert_eq!(line.next(), 5);
    }
}
