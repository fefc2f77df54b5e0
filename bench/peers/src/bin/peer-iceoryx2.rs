//! The work over iceoryx2: publish and subscribe in shared memory, with an event service that wakes the
//! subscriber, as its documentation has it. The payload is copied into the loaned sample.

use anyhow::{Context, Result, anyhow};
use edgeflow_bench_peers::{PATIENCE, Receiver, Work, age_us, cpu_us, report, stamp};
use iceoryx2::prelude::*;

/// Samples that wait for the subscriber.
const BUFFER: usize = 16;

fn main() -> Result<()> {
    set_log_level_from_env_or(LogLevel::Error);
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.as_slice() {
        [role, name, work @ ..] if role == "receive" => receive(name, &Work::parse(work)?),
        work => send(&Work::parse(work)?),
    }
}

fn failed(error: impl std::fmt::Debug) -> anyhow::Error {
    anyhow!("iceoryx2: {error:?}")
}

fn send(work: &Work) -> Result<()> {
    let name = format!("edgeflow/bench/{}", std::process::id());
    let name = name.as_str();
    let node = NodeBuilder::new()
        .create::<ipc::Service>()
        .map_err(failed)?;
    let service_name: ServiceName = name.try_into().map_err(failed)?;
    let frames = node
        .service_builder(&service_name)
        .publish_subscribe::<[u8]>()
        .subscriber_max_buffer_size(BUFFER)
        .open_or_create()
        .map_err(failed)?;
    let publisher = frames
        .publisher_builder()
        .initial_max_slice_len(work.bytes)
        .create()
        .map_err(failed)?;
    let events = node
        .service_builder(&service_name)
        .event()
        .open_or_create()
        .map_err(failed)?;
    let notifier = events.notifier_builder().create().map_err(failed)?;
    let mut receiver = Receiver::start("receive", &[name], work)?;
    let mut payload = vec![7; work.bytes];
    let mut send = || {
        stamp(&mut payload);
        let sample = publisher.loan_slice_uninit(work.bytes).map_err(failed)?;
        let mut sample = sample.write_from_slice(&payload);
        if work.in_place {
            stamp(sample.payload_mut());
        }
        sample.send().map_err(failed)?;
        notifier.notify().map_err(failed)?;
        Ok(())
    };
    let cpu = cpu_us();
    work.pace(&mut send)?;
    let cpu = cpu_us() - cpu;
    // As with our own link: what a stalled machine has dropped is sent again.
    let start = std::time::Instant::now();
    while receiver.runs()? && start.elapsed() < PATIENCE {
        std::thread::sleep(std::time::Duration::from_millis(5));
        if receiver.runs()? {
            // It fails when the receiver has just gone.
            let _ = send();
        }
    }
    receiver.finish(cpu)
}

fn receive(name: &str, work: &Work) -> Result<()> {
    let node = NodeBuilder::new()
        .create::<ipc::Service>()
        .map_err(failed)?;
    let service_name: ServiceName = name.try_into().map_err(failed)?;
    let frames = node
        .service_builder(&service_name)
        .publish_subscribe::<[u8]>()
        .subscriber_max_buffer_size(BUFFER)
        .open_or_create()
        .map_err(failed)?;
    let subscriber = frames.subscriber_builder().create().map_err(failed)?;
    let events = node
        .service_builder(&service_name)
        .event()
        .open_or_create()
        .map_err(failed)?;
    let listener = events.listener_builder().create().map_err(failed)?;
    println!("ready");
    let cpu = cpu_us();
    let mut hops = Vec::with_capacity(work.frames as usize);
    while hops.len() < work.frames as usize {
        listener.timed_wait(|_| {}, PATIENCE).map_err(failed)?;
        while let Some(sample) = subscriber.receive().map_err(failed)? {
            hops.push(age_us(sample.payload()).context("an empty payload")?);
        }
    }
    hops.truncate(work.frames as usize);
    report(&hops, cpu_us() - cpu);
    Ok(())
}
