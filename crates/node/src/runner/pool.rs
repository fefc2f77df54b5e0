//! The threads of a node that works on several frames at a time, one for each worker. Knows neither
//! links nor order. A worker that panics takes the node with it.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use edgeflow_stream::wake::Waker;

use crate::{Input, NodeError, ParallelNode};

/// What a worker made of a frame.
pub(super) struct Work<M> {
    pub(super) began: Instant,
    pub(super) took: Duration,
    result: Outcome<M>,
}

/// The outer error is a panic.
type Outcome<M> = std::thread::Result<Result<M, NodeError>>;

impl<M> Work<M> {
    pub(super) fn new(began: Instant, result: Outcome<M>) -> Self {
        Self {
            began,
            took: began.elapsed(),
            result,
        }
    }

    /// Goes on with the worker's panic if it had one.
    pub(super) fn made(self) -> Result<M, NodeError> {
        self.result.unwrap_or_else(|panic| resume_unwind(panic))
    }
}

type Job = (u64, Input);
/// A job's number, its worker, and what came of it.
type Done<M> = (u64, usize, Work<M>);

pub(super) struct Pool<N: ParallelNode> {
    jobs: Vec<Sender<Job>>,
    idle: Vec<usize>,
    done: Receiver<Done<N::Made>>,
    threads: Vec<JoinHandle<()>>,
}

impl<N: ParallelNode> Pool<N> {
    /// `waker` is woken when something is done.
    pub(super) fn start(workers: Vec<N::Worker>, waker: &Waker) -> Self {
        let (tell, done) = channel();
        let mut pool = Self {
            jobs: Vec::new(),
            idle: (0..workers.len()).rev().collect(),
            done,
            threads: Vec::new(),
        };
        for (index, mut worker) in workers.into_iter().enumerate() {
            let (job, jobs) = channel::<Job>();
            let (tell, waker) = (tell.clone(), waker.clone());
            pool.jobs.push(job);
            pool.threads.push(std::thread::spawn(move || {
                for (number, input) in jobs {
                    let began = Instant::now();
                    let work = AssertUnwindSafe(|| N::work(&mut worker, &input));
                    let work = Work::new(began, catch_unwind(work));
                    if tell.send((number, index, work)).is_err() {
                        return;
                    }
                    waker.wake();
                }
            }));
        }
        pool
    }

    pub(super) fn has_idle(&self) -> bool {
        !self.idle.is_empty()
    }

    /// Gives a frame to a worker that is idle; there has to be one.
    pub(super) fn give(&mut self, number: u64, input: Input) {
        if let Some(worker) = self.idle.pop() {
            // Its thread ends after its channel only.
            let _ = self.jobs[worker].send((number, input));
        }
    }

    /// Takes what is done, and waits up to `patience` for the first.
    pub(super) fn collect(&mut self, patience: Duration, mut take: impl FnMut(u64, Work<N::Made>)) {
        let mut patience = patience;
        loop {
            match self.done.recv_timeout(patience) {
                Ok((number, worker, work)) => {
                    self.idle.push(worker);
                    take(number, work);
                    patience = Duration::ZERO;
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return,
            }
        }
    }
}

impl<N: ParallelNode> Drop for Pool<N> {
    /// Waits for the threads: a library of the worker must not run while the process ends.
    fn drop(&mut self) {
        self.jobs.clear();
        for thread in self.threads.drain(..) {
            // Panics of workers are caught before.
            let _ = thread.join();
        }
    }
}
