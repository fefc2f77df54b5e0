//! A consumer of `curves`: a process with a thread for each of its links, and the handle of it in the
//! process that sends.

use std::{
    io::{BufRead, BufReader, Lines, Read},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Sender, channel},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail};
use edgeflow_spec::qos::LinkQos;
use edgeflow_stream::transport::unix::UnixDial;
use edgeflow_stream::{InputConfig, Limits, Subscriber, SubscriberConfig};
use serde_json::{Value, json};

use super::{link_name, socket};
use crate::hop::cpu_us;

/// How often a link looks whether it is over.
const LOOK_EVERY: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(20);

/// It prints `ready`, and a line of JSON when its input is closed.
pub(super) struct Consumer {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Consumer {
    pub(super) fn start(dir: &Path, links: usize, group: usize) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["curves", "consumer"])
            .arg(dir)
            .args([links.to_string(), group.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting a consumer")?;
        let stdout = child.stdout.take().context("no pipe to the consumer")?;
        let lines = BufReader::new(stdout).lines();
        Ok(Self { child, lines })
    }

    pub(super) fn line(&mut self) -> Result<String> {
        Ok(self.lines.next().context("a consumer ended early")??)
    }

    /// Latencies and time on a processor, both in microseconds.
    pub(super) fn finish(mut self) -> Result<(Vec<f64>, f64)> {
        drop(self.child.stdin.take());
        let result: Value = serde_json::from_str(&self.line()?)?;
        self.child.wait()?;
        let hops = result["hops_us"].as_array().context("no figures")?;
        let hops = hops.iter().filter_map(Value::as_f64).collect();
        Ok((hops, result["cpu_us"].as_f64().unwrap_or_default()))
    }
}

/// The process: every link, until standard input ends.
pub(super) fn serve(args: &[String]) -> Result<()> {
    let [dir, links, group] = args else {
        bail!("for benchmarks only");
    };
    let (links, group): (usize, usize) = (links.parse()?, group.parse()?);
    let over = Arc::new(AtomicBool::new(false));
    let (ready, connected) = channel();
    let mut threads = Vec::new();
    for link in 0..links {
        let subscriber = subscribe(Path::new(dir), link, group)?;
        let (over, ready) = (over.clone(), ready.clone());
        let run = move || receive(subscriber, &over, &ready);
        threads.push(std::thread::spawn(run));
    }
    for _ in 0..links {
        connected.recv_timeout(PATIENCE)?;
    }
    println!("ready");
    let cpu = cpu_us();
    std::io::stdin().read_to_end(&mut Vec::new())?;
    let cpu = cpu_us() - cpu;
    over.store(true, Ordering::Relaxed);
    let mut hops = Vec::new();
    for thread in threads {
        hops.extend(thread.join().map_err(|_| anyhow!("a link panicked"))??);
    }
    println!("{}", json!({"hops_us": hops, "cpu_us": cpu}));
    Ok(())
}

fn subscribe(dir: &Path, link: usize, group: usize) -> Result<Subscriber> {
    let config = SubscriberConfig {
        member: format!("bench.c{group}.0"),
        limits: Limits::default(),
    };
    let input = InputConfig {
        port: "in".to_owned(),
        link: link_name(link, group),
        group: format!("c{group}"),
        qos: LinkQos::realtime(),
        from: format!("bench{link}"),
        dial: Box::new(UnixDial::new(socket(dir, link))),
    };
    Ok(Subscriber::new(&config, vec![input])?)
}

fn receive(mut subscriber: Subscriber, over: &AtomicBool, ready: &Sender<()>) -> Result<Vec<f64>> {
    let start = Instant::now();
    while !subscriber.is_connected() {
        subscriber.recv(Duration::from_millis(10))?;
        if start.elapsed() > PATIENCE {
            bail!("no connection");
        }
    }
    ready.send(())?;
    let mut hops = Vec::new();
    while !over.load(Ordering::Relaxed) {
        if let Some(received) = subscriber.recv(LOOK_EVERY)? {
            let hop = received.hop.context("the clocks are not the same")?;
            hops.push(hop.as_secs_f64() * 1e6);
        }
    }
    Ok(hops)
}
