//! Runs a node as this process: configuration, links, setup, loop, teardown. The node's code runs
//! on the main thread; everything that has to answer while it is busy runs on the control thread.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use edgeflow_proto::v1::NodeState;
use edgeflow_spec::instance_config::{INSTANCE_ENV, InstanceConfig};
use edgeflow_stream::{Codec, Frame, Held, Kind, Received, Subscriber};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::tracer::{Arrived, Tracer};
use crate::{
    Condition, Context, FusedNode, Input, Node, NodeError, Outputs, ParallelNode, Parameter,
    Source, Step, Stop, parse_params, stop::Woken,
};

mod chain;
mod control;
mod dead_letters;
mod fused;
mod inbox;
mod links;
mod pace;
mod parallel;
mod pool;
mod repeats;
mod status;

use chain::Chain;
use inbox::Inbox;
use pace::Pace;
use repeats::Repeats;
use status::Status;

/// How long a waiting node takes to look whether it has to stop, at most. It is woken as well.
const IDLE_WAIT: Duration = Duration::from_secs(1);
/// Pause of a source after an error, so that it does not spin.
const ERROR_PAUSE: Duration = Duration::from_millis(500);
/// Longest wait for durable consumers when stopping; never more than half of the stop grace.
const MAX_DRAIN: Duration = Duration::from_secs(3);
/// How long a frame that comes again waits until those before it are acknowledged.
const SETTLE_PATIENCE: Duration = Duration::from_secs(1);
/// Log filter of a node process unless `EDGEFLOW_LOG` is set.
const LOG_FILTER: &str = "info";

/// Why a node process ends with exit code 1.
#[derive(Debug, thiserror::Error)]
enum RunError {
    #[error(
        "{INSTANCE_ENV} is not set: this program is an EdgeFlow node and is started by an agent; \
         put it in system.yaml as `run:` and use `edgeflow local` or `edgeflow apply`"
    )]
    NoInstance,
    #[error("instance file {path} can't be read")]
    ReadInstance {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("instance file {path} is malformed")]
    ParseInstance {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
    #[error("control socket can't be served")]
    Control(#[source] std::io::Error),
    #[error("links can't be opened")]
    Links(#[source] links::LinkError),
    #[error("setup failed: {0}")]
    Setup(String),
    #[error("the node failed: {0}")]
    Loop(String),
    #[error("inputs can't be read")]
    Inputs(#[source] std::io::Error),
}

/// Runs a [`Node`] as this process, until it is stopped. Exit code 0 after a clean stop, 1 after an
/// error, which is on standard error then; 101 after a panic.
pub fn run_node<N: Node>() -> ExitCode {
    run(|session| {
        let params = session.params(N::parameters())?;
        let node = session.set_up(|ctx| N::setup(ctx, params))?;
        session.node_loop(node)
    })
}

/// Runs a [`Source`] as this process, until it is stopped or its content ends. Exit codes as for
/// [`run_node`].
pub fn run_source<S: Source>() -> ExitCode {
    run(|session| {
        let params = session.params(S::parameters())?;
        let source = session.set_up(|ctx| S::setup(ctx, params))?;
        session.source_loop(source)
    })
}

/// Runs a [`FusedNode`] as this process, until it is stopped. Exit codes as for [`run_node`].
pub fn run_fused<N: FusedNode>() -> ExitCode {
    run(|session| {
        let params = session.params(N::parameters())?;
        let node = session.set_up(|ctx| N::setup(ctx, params))?;
        session.fused_loop(node)
    })
}

/// Runs a [`ParallelNode`] as this process, until it is stopped. Exit codes as for [`run_node`].
pub fn run_parallel<N: ParallelNode>() -> ExitCode {
    run(|session| {
        let params = session.params(N::parameters())?;
        let (node, workers) = session.set_up(|ctx| {
            let mut node = N::setup(ctx, params)?;
            let workers = node.workers()?;
            if workers.is_empty() {
                return Err(NodeError::new("the node has no workers"));
            }
            Ok((node, workers))
        })?;
        session.parallel_loop(node, workers)
    })
}

fn run(body: impl FnOnce(&mut Session) -> Result<(), RunError>) -> ExitCode {
    edgeflow_runtime::logging::init(LOG_FILTER);
    let result = Session::open().and_then(|mut session| {
        body(&mut session)?;
        session.close();
        Ok(())
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Plain text and last: the agent shows a process's last lines as the reason of its exit.
            eprintln!("error: {}", edgeflow_runtime::logging::chain(&error));
            ExitCode::FAILURE
        }
    }
}

/// A running node process without the node.
struct Session {
    config: Arc<InstanceConfig>,
    stop: Stop,
    condition: Condition,
    status: Arc<Status>,
    outputs: Outputs,
    subscriber: Subscriber,
    chain: Chain,
    repeats: Repeats,
    inbox: Arc<Inbox>,
    declared: Vec<Parameter>,
    _control: control::Control,
}

impl Session {
    fn open() -> Result<Self, RunError> {
        let config = Arc::new(read_config()?);
        let (stop, condition) = (Stop::default(), Condition::default());
        let status = Arc::new(Status::new(condition.clone()));
        let inbox = Arc::new(Inbox::default());
        let control = control::Control::start(&config.control_socket, &status, &stop, &inbox)
            .map_err(RunError::Control)?;
        let links = links::open(&config, &condition).map_err(RunError::Links)?;
        let waker = links.subscriber.waker();
        let (waker_of_inputs, stop_of_source) = (waker.clone(), stop.clone());
        inbox.on_put(move || {
            waker_of_inputs.wake();
            stop_of_source.nudge();
        });
        let handles = links.sink.handles();
        let interrupts: Vec<_> = handles.iter().map(|(_, handle)| handle.clone()).collect();
        stop.on_request(move || {
            waker.wake();
            interrupts.iter().for_each(|handle| handle.interrupt());
        });
        let chain = Chain::new(&handles, &links.subscriber.waker());
        status.watch_links(handles, links.subscriber.stats(), links::carried(&config));
        let outputs = Outputs::new(
            links.sink.ports(),
            Box::new(links.sink),
            condition.clone(),
            stop.clone(),
        )
        .with_tracer(Tracer::new(&config, status.spans()));
        Ok(Self {
            config,
            stop,
            condition,
            status,
            outputs,
            subscriber: links.subscriber,
            chain,
            repeats: Repeats::default(),
            inbox,
            declared: Vec::new(),
            _control: control,
        })
    }

    /// Tells what the node declares, and reads what it is given.
    fn params<P: DeserializeOwned>(&mut self, declared: Vec<Parameter>) -> Result<P, RunError> {
        self.status.declare(&declared);
        self.declared = declared;
        read_params(&self.declared, self.config.instance.effective_params())
            .map_err(RunError::Setup)
    }

    /// Hands new parameters to the node, if there are any.
    fn change_params<P: DeserializeOwned>(
        &self,
        change: impl FnOnce(P) -> Result<(), NodeError>,
    ) -> Result<(), RunError> {
        let Some(mut pending) = self.inbox.take() else {
            return Ok(());
        };
        let params = std::mem::take(&mut pending.params);
        let params = match read_params(&self.declared, params) {
            Ok(params) => params,
            Err(refusal) => {
                pending.answer(Err(refusal));
                return Ok(());
            }
        };
        let result = change(params);
        let refusal = result.as_ref().err().map(NodeError::chain);
        tracing::info!(refusal, "new parameters");
        pending.answer(refusal.map_or(Ok(()), Err));
        match result {
            Err(error) if error.is_fatal() => Err(RunError::Loop(error.chain())),
            _ => Ok(()),
        }
    }

    fn set_up<T>(
        &mut self,
        setup: impl FnOnce(&mut Context) -> Result<T, NodeError>,
    ) -> Result<T, RunError> {
        let (condition, stop) = (self.condition.clone(), self.stop.clone());
        let mut context =
            Context::new(Arc::clone(&self.config), condition, stop).with_shown(self.status.shown());
        let node = setup(&mut context).map_err(|error| RunError::Setup(error.chain()))?;
        self.status.set_state(NodeState::Ready);
        tracing::info!(instance = %self.config.instance.id, "node ready");
        Ok(node)
    }

    fn node_loop<N: Node>(&mut self, mut node: N) -> Result<(), RunError> {
        while !self.stop.is_requested() {
            self.change_params(|params| node.params_changed(params))?;
            self.chain.settle(&mut self.subscriber);
            let received = self.subscriber.recv(IDLE_WAIT).map_err(RunError::Inputs)?;
            let Some(received) = received else {
                continue;
            };
            if received.redelivered {
                self.settle_before()?;
            }
            let came = arrived(&received);
            let Received { port, frame, .. } = received;
            let origin = frame.clone();
            let start = Instant::now();
            self.outputs.tracer.begin(start, Some((&origin, &came)));
            let input = Input { port, frame };
            let result = if origin.header.kind == Kind::Error {
                node.process_error(input, &mut self.outputs)
            } else {
                node.process(input, &mut self.outputs)
            };
            self.outputs.tracer.end(result.as_ref().err());
            self.status.count_frame(start.elapsed());
            if self.after_loop(result, &origin, received.input)? {
                self.finish_frame(received.input);
            }
        }
        self.subscriber.ack();
        self.status.set_state(NodeState::Stopping);
        node.teardown();
        Ok(())
    }

    /// A frame that comes again may be what the process died with: those before it are acknowledged
    /// first, so that none of them is blamed if that happens once more.
    fn settle_before(&mut self) -> Result<(), RunError> {
        let until = Instant::now() + SETTLE_PATIENCE;
        loop {
            self.chain.settle(&mut self.subscriber);
            let left = until.saturating_duration_since(Instant::now());
            if self.chain.is_empty() || left.is_zero() || self.stop.is_requested() {
                return Ok(());
            }
            self.subscriber.wait(left).map_err(RunError::Inputs)?;
        }
    }

    /// What comes of a result of the loop. False: the node is stopping, and the frame has not been
    /// dealt with.
    fn after_loop(
        &mut self,
        result: Result<(), NodeError>,
        origin: &Frame,
        input: usize,
    ) -> Result<bool, RunError> {
        match result {
            Ok(()) => {}
            // What could not be sent on has not been dealt with: it comes again.
            Err(error) if error.is_stopping() => {
                if self.subscriber.is_durable(input) {
                    // When the process ends. Those before it may still be acknowledged.
                    let _unfinished = self.subscriber.hold();
                } else {
                    self.subscriber.forget();
                }
                return Ok(false);
            }
            Err(error) => self.failed(&error, Some(origin))?,
        }
        Ok(true)
    }

    /// The loop is done with a frame. A durable one that became durable frames is acknowledged when
    /// they are, so that it comes again if this process is killed with them.
    fn finish_frame(&mut self, input: usize) {
        let marks = self.outputs.marks();
        if self.subscriber.is_durable(input)
            && !self.chain.is_settled(&marks)
            && let Some(held) = self.subscriber.hold()
        {
            self.chain.push(held, marks);
        }
    }

    /// [`Self::finish_frame`] for one that was put aside.
    fn finish_held(&mut self, held: Held) {
        let marks = self.outputs.marks();
        if self.subscriber.is_durable(held.input()) && !self.chain.is_settled(&marks) {
            self.chain.push(held, marks);
        } else {
            self.subscriber.release(&held);
        }
    }

    fn source_loop<S: Source>(&mut self, mut source: S) -> Result<(), RunError> {
        let mut pace = Pace::default();
        while !self.stop.is_requested() {
            self.change_params(|params| source.params_changed(params))?;
            if let Some(tick) = pace.next(Instant::now(), source.fps()) {
                match self.stop.wait_until(tick) {
                    Woken::Stop => break,
                    Woken::Nudge => {
                        pace.undo();
                        continue;
                    }
                    Woken::Time => {}
                }
            }
            let (start, before) = (Instant::now(), self.outputs.sent());
            self.outputs.tracer.begin(start, None);
            let step = source.produce(&mut self.outputs);
            if self.outputs.sent() > before {
                self.status.count_frame(start.elapsed());
            }
            match step {
                Ok(Step::Continue) => {}
                Ok(Step::Wait(time)) => drop(self.stop.wait_until(Instant::now() + time)),
                Ok(Step::End) => break,
                Err(error) if error.is_stopping() => break,
                Err(error) => {
                    self.failed(&error, None)?;
                    self.stop.sleep(ERROR_PAUSE);
                }
            }
        }
        self.status.set_state(NodeState::Stopping);
        source.teardown();
        Ok(())
    }

    /// Counts an error of the node's loop, logs it and shows it downstream.
    fn failed(&mut self, error: &NodeError, input: Option<&Frame>) -> Result<(), RunError> {
        let text = error.chain();
        if error.is_fatal() {
            return Err(RunError::Loop(text));
        }
        self.status.count_error();
        if let Some(suppressed) = self.repeats.admit(&text, Instant::now()) {
            tracing::warn!(error = %text, suppressed, "the node's loop failed");
        }
        let frame = error_frame(&self.config.instance.node, &text, input);
        // A full or closing output has its own way of showing.
        let _ = self.outputs.send_to_all(&frame);
        Ok(())
    }

    fn close(mut self) {
        let grace = Duration::from_millis(self.config.instance.stop_grace_ms);
        self.outputs.close(MAX_DRAIN.min(grace / 2));
        self.chain.settle(&mut self.subscriber);
        self.subscriber.close();
        tracing::info!(instance = %self.config.instance.id, "node stopped");
    }
}

fn arrived(received: &Received) -> Arrived {
    Arrived {
        ns: received.arrived_ns,
        clock: received.clock,
    }
}

/// An error frame that belongs to the same capture as the frame that failed.
fn error_frame(node: &str, text: &str, input: Option<&Frame>) -> Frame {
    let text = format!("{node}: {text}");
    let Some(input) = input else {
        return Frame::error(&text);
    };
    let mut frame = input.with_payload(Codec::None, Vec::new());
    frame.header.kind = Kind::Error;
    frame.meta = Frame::error(&text).meta;
    frame
}

/// Checks parameters against what the node declares and reads them into its type.
fn read_params<P: DeserializeOwned>(
    declared: &[Parameter],
    params: Map<String, Value>,
) -> Result<P, String> {
    for parameter in declared {
        if let Some(value) = params.get(&parameter.name)
            && let Err(error) = parameter.check(value)
        {
            let hint = match error.hint.as_str() {
                "" => String::new(),
                hint => format!("; {hint}"),
            };
            return Err(format!("parameter `{}`: {error}{hint}", parameter.name));
        }
    }
    parse_params(params).map_err(|error| error.to_string())
}

fn read_config() -> Result<InstanceConfig, RunError> {
    let path = PathBuf::from(std::env::var_os(INSTANCE_ENV).ok_or(RunError::NoInstance)?);
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(source) => return Err(RunError::ReadInstance { path, source }),
    };
    serde_json::from_slice(&text).map_err(|source| RunError::ParseInstance { path, source })
}
