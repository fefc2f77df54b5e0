//! Ends and restarts: of the agent, of the control plane, of a full disk.

use std::time::{Duration, Instant};

use edgeflow_proto::v1::AckResult;

use crate::{
    agent::{AgentDirs, is_alive},
    eventually,
    fleet::Fleet,
    node::{command, well_behaved},
};

#[tokio::test]
async fn after_a_kill_of_the_agent_nothing_runs_twice() {
    let fleet = Fleet::start().await;
    let dirs = AgentDirs::new();
    let agent = dirs.start(&fleet.address(), &fleet.token());
    let node = well_behaved("camera");
    let group = command("group", &["sh", "-c", "sleep 1000 & wait"]);
    fleet
        .assign_accepted(1, &[node.clone(), group.clone()])
        .await;
    let before = fleet.ready(&node.id).await.pid;
    eventually("three processes", || {
        Some(()).filter(|()| dirs.node_pids().len() == 3)
    })
    .await;
    let old = dirs.node_pids();
    agent.kill();
    assert!(is_alive(before), "nodes outlive the agent");

    let _agent = dirs.start(&fleet.address(), &fleet.token());
    fleet.hello(2).await;
    let after = fleet
        .instance("the node is ready again", &node.id, |status| {
            status.pid != before && status.phase() == edgeflow_proto::v1::InstancePhase::Ready
        })
        .await
        .pid;
    assert_ne!(after, before);
    assert!(old.iter().all(|pid| !is_alive(*pid)));
    eventually("three processes again", || {
        Some(()).filter(|()| dirs.node_pids().len() == 3)
    })
    .await;
}

#[tokio::test]
async fn a_lost_record_does_not_lead_to_a_second_process() {
    let fleet = Fleet::start().await;
    let dirs = AgentDirs::new();
    let agent = dirs.start(&fleet.address(), &fleet.token());
    let node = well_behaved("camera");
    fleet.assign_accepted(1, std::slice::from_ref(&node)).await;
    let before = fleet.ready(&node.id).await.pid;
    agent.kill();
    std::fs::remove_file(
        dirs.data
            .join("instances")
            .join(format!("{}.json", node.id)),
    )
    .unwrap();
    let _agent = dirs.start(&fleet.address(), &fleet.token());
    fleet.hello(2).await;
    eventually("one process", || {
        Some(()).filter(|()| !is_alive(before) && dirs.node_pids().len() == 1)
    })
    .await;
}

#[tokio::test]
async fn the_last_assignment_is_booted_without_a_control_plane() {
    let mut fleet = Fleet::start().await;
    let dirs = AgentDirs::new();
    let agent = dirs.start(&fleet.address(), &fleet.token());
    let node = well_behaved("camera");
    fleet.assign_accepted(7, std::slice::from_ref(&node)).await;
    fleet.ready(&node.id).await;
    agent.kill();
    for pid in dirs.node_pids() {
        crate::agent::signal(pid, rustix::process::Signal::KILL);
    }
    fleet.stop();
    let _agent = dirs.start(&fleet.address(), &fleet.token());
    eventually("the node runs", || {
        Some(()).filter(|()| dirs.node_pids().len() == 1)
    })
    .await;
    fleet.start_again().await;
    let hello = fleet.hello(2).await;
    assert_eq!(hello.applied_generation, 7);
    assert!(!hello.applied_hash.is_empty());
}

#[tokio::test]
async fn nodes_run_on_without_the_control_plane_and_the_status_is_whole_when_it_is_back() {
    let mut fleet = Fleet::start().await;
    let dirs = AgentDirs::new();
    let _agent = dirs.start(&fleet.address(), &fleet.token());
    let node = well_behaved("camera");
    fleet.assign_accepted(1, std::slice::from_ref(&node)).await;
    let pid = fleet.ready(&node.id).await.pid;
    fleet.stop();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(is_alive(pid));
    fleet.start_again().await;
    fleet.hello(2).await;
    let status = fleet
        .status("a status", |status| status.facts.is_some())
        .await;
    assert_eq!(status.observed_generation, 1);
    assert_eq!(fleet.ready(&node.id).await.pid, pid);
}

#[tokio::test]
async fn an_agent_tied_to_its_parent_takes_the_nodes_along_in_time() {
    let fleet = Fleet::start().await;
    let dirs = AgentDirs::new();
    let agent = dirs.start_with(
        &fleet.address(),
        &fleet.token(),
        &["--exit-with-stdin", "--stop-nodes-on-exit"],
    );
    let node = well_behaved("camera");
    let mut stubborn = command("stubborn", &["sh", "-c", "trap '' TERM; sleep 1000"]);
    stubborn.stop_grace_ms = 60_000;
    fleet.assign_accepted(1, &[node.clone(), stubborn]).await;
    fleet.ready(&node.id).await;
    let begin = Instant::now();
    assert_eq!(agent.close_stdin().await, Some(0));
    assert!(
        begin.elapsed() < Duration::from_secs(5),
        "{:?}",
        begin.elapsed()
    );
    assert!(dirs.node_pids().is_empty());
}

#[tokio::test]
async fn without_the_flag_nodes_outlive_the_agent() {
    let fleet = Fleet::start().await;
    let dirs = AgentDirs::new();
    let agent = dirs.start(&fleet.address(), &fleet.token());
    let node = well_behaved("camera");
    fleet.assign_accepted(1, std::slice::from_ref(&node)).await;
    let pid = fleet.ready(&node.id).await.pid;
    assert_eq!(agent.terminate().await, Some(0));
    assert!(is_alive(pid));
}

/// A folder on a file system of its own, or `None` where mounting is not allowed.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    fn mount(dir: std::path::PathBuf) -> Option<Self> {
        std::fs::create_dir_all(&dir).unwrap();
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=512k", "tmpfs"])
            .arg(&dir)
            .output()
            .is_ok_and(|output| output.status.success());
        mounted.then_some(Self(dir))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount")
            .arg("-l")
            .arg(&self.0)
            .status();
    }
}

#[tokio::test]
async fn a_full_disk_refuses_an_assignment_and_loses_nothing() {
    let fleet = Fleet::start().await;
    let dirs = AgentDirs::new();
    let Some(disk) = SmallDisk::mount(dirs.data.clone()) else {
        eprintln!("SKIPPED: a_full_disk_refuses_an_assignment: mounting a tmpfs is not allowed");
        return;
    };
    let _agent = dirs.start(&fleet.address(), &fleet.token());
    let node = well_behaved("camera");
    fleet.assign_accepted(1, std::slice::from_ref(&node)).await;
    let pid = fleet.ready(&node.id).await.pid;
    let filler = disk.0.join("filler");
    let _ = std::fs::write(&filler, vec![0_u8; 1024 * 1024]);

    let mut large = node.clone();
    large.env.insert("X".to_owned(), "x".repeat(20_000));
    let ack = fleet.assign(2, &[large.clone()]).await;
    assert_eq!(ack.result(), AckResult::FailedStore, "{}", ack.message);
    assert!(ack.message.contains("assignment"), "{}", ack.message);
    assert_eq!(fleet.ready(&node.id).await.pid, pid);
    let status = fleet
        .status("the condition", |status| !status.conditions.is_empty())
        .await;
    assert_eq!(status.observed_generation, 1);

    std::fs::remove_file(&filler).unwrap();
    fleet.assign_accepted(2, &[large]).await;
}
