//! The thread of a publisher: polls the listener and the members' sockets, reads what members say
//! and finishes writes. All rules are in `state`.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;

use super::Shared;
use super::member::Phase;
use super::state::State;
use crate::transport::{self, Listen};

/// Consumers accepted before the sockets of the others are looked at again.
const MAX_ACCEPTS: usize = 16;
/// Pause after the listener or poll itself failed, out of descriptors for example.
const FAILURE_PAUSE: Duration = Duration::from_millis(100);

/// A member, what is polled for it, and for what.
type Watched = (u64, Arc<OwnedFd>, PollFlags);

pub(super) fn run(shared: &Shared, mut listen: Box<dyn Listen>) {
    let mut watched: Vec<Watched> = Vec::new();
    loop {
        let deadline = {
            let state = shared.state();
            if state.is_closed() {
                return;
            }
            watched.clear();
            for (id, member) in state.members() {
                watched.push((*id, Arc::clone(&member.fd), PollFlags::IN));
                if let Some(fd) = member.blocked_on() {
                    watched.push((*id, Arc::clone(fd), PollFlags::OUT));
                }
                if let Some(fd) = member.broken_pipe() {
                    watched.push((*id, Arc::clone(fd), PollFlags::IN));
                }
            }
            next_deadline(&state)
        };
        let events = match poll(shared, listen.as_ref(), &watched, deadline) {
            Ok(events) => events,
            Err(Errno::INTR) => continue,
            Err(error) => {
                tracing::error!(%error, "output sockets can't be polled");
                std::thread::sleep(FAILURE_PAUSE);
                continue;
            }
        };
        if !events[0].is_empty() {
            shared.waker.clear();
        }
        let mut state = shared.state();
        if state.is_closed() {
            return;
        }
        for ((id, _, wanted), flags) in watched.iter().zip(&events[2..]) {
            if !flags.is_empty() {
                serve(&mut state, *id, *wanted);
            }
        }
        expire_greetings(&mut state);
        if state.take_made_room() {
            shared.room.notify_all();
        }
        state.take_needs_thread();
        if !events[1].is_empty() {
            accept(&mut state, listen.as_mut());
        }
    }
}

/// Waits for something to do. The events of the waker, the listener and the members, in order.
fn poll(
    shared: &Shared,
    listen: &dyn Listen,
    watched: &[Watched],
    deadline: Option<Instant>,
) -> Result<Vec<PollFlags>, Errno> {
    let mut fds = Vec::with_capacity(2 + watched.len());
    fds.push(PollFd::from_borrowed_fd(
        shared.waker.as_fd(),
        PollFlags::IN,
    ));
    fds.push(PollFd::from_borrowed_fd(listen.fd(), PollFlags::IN));
    for (_, fd, wanted) in watched {
        fds.push(PollFd::from_borrowed_fd(fd.as_fd(), *wanted));
    }
    let timeout = deadline.map(|deadline| {
        let left = deadline.saturating_duration_since(Instant::now());
        Timespec::try_from(left).unwrap_or(Timespec {
            tv_sec: 1,
            tv_nsec: 0,
        })
    });
    rustix::event::poll(&mut fds, timeout.as_ref())?;
    Ok(fds.iter().map(PollFd::revents).collect())
}

fn next_deadline(state: &State) -> Option<Instant> {
    let deadlines = state
        .members()
        .values()
        .filter_map(|member| match member.phase {
            Phase::Greeting { deadline } => Some(deadline),
            Phase::Member { .. } => None,
        });
    deadlines.min()
}

fn accept(state: &mut State, listen: &mut dyn Listen) {
    for _ in 0..MAX_ACCEPTS {
        match listen.accept() {
            Ok(Some(fd)) => state.accept(fd),
            Ok(None) => return,
            Err(error) => {
                tracing::warn!(%error, "a consumer can't be accepted");
                std::thread::sleep(FAILURE_PAUSE);
                return;
            }
        }
    }
}

/// Reads from a member or writes to it; removes the member when it is done for.
fn serve(state: &mut State, id: u64, wanted: PollFlags) {
    if wanted == PollFlags::OUT {
        return write_out(state, id);
    }
    let served = read_in(state, id);
    if let Err(reason) = served {
        if let Some(member) = state.member_mut(id) {
            tracing::debug!(member = %member.name, %reason, "consumer gone");
        }
        state.remove_member(id);
    }
}

fn write_out(state: &mut State, id: u64) {
    let Some(member) = state.member_mut(id).filter(|one| one.has_unwritten()) else {
        return;
    };
    match member.flush() {
        Err(_) => member.broken = true,
        Ok(()) => {
            if let Phase::Member { group } = member.phase {
                state.dispatch(group);
            }
        }
    }
}

fn read_in(state: &mut State, id: u64) -> Result<(), String> {
    let Some(member) = state.member_mut(id) else {
        return Ok(());
    };
    let space = member.decoder.space();
    match transport::receive(&member.fd, space) {
        Ok(None) if member.broken => return Err("it can't be written to".to_owned()),
        Ok(None) => return Ok(()),
        Ok(Some(0)) => return Err("it closed the connection".to_owned()),
        Ok(Some(count)) => member.decoder.advance(count),
        Err(error) => return Err(error.to_string()),
    }
    while let Some(member) = state.member_mut(id) {
        let message = member.decoder.next().map_err(|error| error.to_string())?;
        let Some(message) = message else {
            return Ok(());
        };
        state.receive(id, message)?;
    }
    Ok(())
}

fn expire_greetings(state: &mut State) {
    let now = Instant::now();
    let late: Vec<u64> = state
        .members()
        .iter()
        .filter(
            |(_, member)| matches!(member.phase, Phase::Greeting { deadline } if deadline <= now),
        )
        .map(|(id, _)| *id)
        .collect();
    for id in late {
        state.remove_member(id);
    }
}
