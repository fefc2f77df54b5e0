//! Join tokens that must not let a device in, and what the person reads then.

use std::time::Duration;

use anyhow::{Result, ensure};
use edgeflow_testkit::{AgentOptions, Fleet, until};

const LIMIT: Duration = Duration::from_secs(20);

#[test]
fn a_token_with_a_wrong_secret_is_refused() -> Result<()> {
    let mut fleet = Fleet::empty()?;
    let token = fleet.api.create_token(0, 1)?;
    let (start, _) = token.rsplit_once('.').unwrap_or_default();
    let forged = format!("{start}.{}", "A".repeat(token.len() - start.len() - 1));
    refused(&mut fleet, &forged, &["token"])
}

#[test]
fn a_token_of_another_control_plane_gets_no_secret_out_of_the_agent() -> Result<()> {
    let mut fleet = Fleet::empty()?;
    let other = Fleet::empty()?;
    let token = other.api.create_token(0, 1)?;
    refused(&mut fleet, &token, &["certificate", "CA", "control plane"])
}

#[test]
fn a_text_that_is_no_token_is_refused() -> Result<()> {
    let mut fleet = Fleet::empty()?;
    refused(&mut fleet, "hello", &["token"])
}

#[test]
fn an_expired_token_is_refused() -> Result<()> {
    let mut fleet = Fleet::empty()?;
    let token = fleet.api.create_token(1, 1)?;
    let made = std::time::Instant::now();
    until("the token to expire", || {
        Ok((made.elapsed() > Duration::from_millis(1500)).then_some(()))
    })?;
    refused(&mut fleet, &token, &["expired"])
}

#[test]
fn a_used_up_token_is_refused_and_the_first_device_stays() -> Result<()> {
    let mut fleet = Fleet::empty()?;
    let token = fleet.api.create_token(0, 1)?;
    fleet.add(options("edge-1", &token))?;
    fleet.wait_online("edge-1")?;
    let mut second = edgeflow_testkit::Agent::start(
        fleet.home(),
        &fleet.plane.listen,
        options("edge-2", &token),
    )?;
    let status = second.process().wait(LIMIT)?;
    ensure!(!status.success());
    let output = second.output();
    ensure!(output.contains("used"), "{output}");
    ensure!(fleet.api.devices()?.len() == 1);
    fleet.wait_online("edge-1")?;
    Ok(())
}

#[test]
fn an_agent_that_never_joined_says_how_to() -> Result<()> {
    let mut fleet = Fleet::empty()?;
    let mut without = options("edge-1", "");
    without.join = None;
    let agent = fleet.add(without)?;
    let status = agent.process().wait(LIMIT)?;
    ensure!(!status.success());
    ensure!(
        agent.output().contains("token create"),
        "{}",
        agent.output()
    );
    Ok(())
}

fn refused(fleet: &mut Fleet, token: &str, words: &[&str]) -> Result<()> {
    let agent = fleet.add(options("edge-1", token))?;
    let status = agent.process().wait(LIMIT)?;
    let output = agent.output();
    ensure!(!status.success(), "{output}");
    ensure!(words.iter().any(|word| output.contains(word)), "{output}");
    ensure!(!output.contains("panicked"), "{output}");
    ensure!(fleet.api.devices()?.is_empty(), "a device got in");
    Ok(())
}

fn options(name: &str, token: &str) -> AgentOptions {
    AgentOptions {
        name: name.to_owned(),
        join: Some(token.to_owned()),
        ..Default::default()
    }
}
