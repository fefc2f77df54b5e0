//! What two agents say to each other on a link's connection: a request and its answer, then the
//! link's own bytes in chunks, with a sign of life whenever a second has passed. The link protocol
//! inside is not looked at here.
//!
//! Request and answer are a length (u16, little-endian) and JSON. A chunk is a length (u32,
//! little-endian) and bytes; a chunk of length 0 is the sign of life.

use std::{io, time::Duration};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    time::{MissedTickBehavior, interval, timeout},
};

/// Version of this protocol.
pub const VERSION: u32 = 1;
/// A sign of life is sent this often.
pub const ALIVE_PERIOD: Duration = Duration::from_secs(1);
/// A side that was not heard of for so long is gone.
pub const SILENCE: Duration = Duration::from_secs(4);
/// Longest request and answer.
const MAX_GREETING: usize = 4096;
/// Longest chunk.
pub const MAX_CHUNK: usize = 64 * 1024;
const LENGTH: usize = 4;

/// Which output is wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// [`VERSION`].
    pub version: u32,
    /// Producing instance.
    pub instance: String,
    /// Its output port.
    pub port: String,
}

/// Whether it is given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// Why not; empty: it is.
    #[serde(default)]
    pub refusal: String,
}

/// Writes a request or an answer.
pub async fn send<T: Serialize>(out: &mut (impl AsyncWrite + Unpin), value: &T) -> io::Result<()> {
    let body = serde_json::to_vec(value)?;
    let len = u16::try_from(body.len())
        .ok()
        .filter(|len| usize::from(*len) <= MAX_GREETING)
        .ok_or(io::ErrorKind::InvalidInput)?;
    let mut bytes = len.to_le_bytes().to_vec();
    bytes.extend_from_slice(&body);
    out.write_all(&bytes).await?;
    out.flush().await
}

/// Reads a request or an answer.
pub async fn receive<T: DeserializeOwned>(from: &mut (impl AsyncRead + Unpin)) -> io::Result<T> {
    let len = usize::from(from.read_u16_le().await?);
    if len > MAX_GREETING {
        return Err(invalid("a greeting is too long"));
    }
    let mut body = vec![0; len];
    from.read_exact(&mut body).await?;
    Ok(serde_json::from_slice(&body)?)
}

/// The next chunk; `None`: the other side is done. Fails when the other side is not heard of for
/// `silence`.
pub async fn next_chunk<'b>(
    far: &mut (impl AsyncRead + Unpin),
    silence: Duration,
    buffer: &'b mut Vec<u8>,
) -> io::Result<Option<&'b [u8]>> {
    buffer.resize(MAX_CHUNK, 0);
    loop {
        let len = match heard(silence, far.read_u32_le()).await {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            len => len? as usize,
        };
        if len > MAX_CHUNK {
            return Err(invalid("a chunk is too long"));
        }
        if len > 0 {
            let mut filled = 0;
            while filled < len {
                match heard(silence, far.read(&mut buffer[filled..len])).await? {
                    0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                    count => filled += count,
                }
            }
            return Ok(Some(&buffer[..len]));
        }
    }
}

async fn heard<T>(silence: Duration, read: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(silence, read).await.unwrap_or_else(|_| {
        let text = format!(
            "the other device was not heard of for {}",
            silence.as_secs()
        );
        Err(io::Error::new(io::ErrorKind::TimedOut, text + " s"))
    })
}

fn invalid(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

/// Carries a link until one side ends. A side that does not read is waited for: then the other
/// direction says that it lives. One that is not heard of for `silence`, [`SILENCE`] but for tests,
/// is gone.
pub async fn carry<F>(local: UnixStream, far: F, silence: Duration) -> io::Result<()>
where
    F: AsyncRead + AsyncWrite,
{
    let (from_local, to_local) = local.into_split();
    let (from_far, to_far) = tokio::io::split(far);
    let out = outward(from_local, to_far);
    let home = homeward(from_far, to_local, silence);
    tokio::pin!(out, home);
    tokio::select! {
        ended = &mut out => {
            // What the other side said before its end still counts: acknowledgements, a farewell.
            let rest = timeout(silence, home).await;
            ended?;
            rest.unwrap_or(Ok(()))
        }
        // The other side is gone: what is said here has nowhere to go.
        ended = &mut home => ended,
    }
}

async fn outward<F>(mut local: OwnedReadHalf, mut far: F) -> io::Result<()>
where
    F: AsyncWrite + Unpin,
{
    let mut buffer = vec![0; LENGTH + MAX_CHUNK];
    let mut alive = interval(ALIVE_PERIOD);
    alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let count = tokio::select! {
            count = local.read(&mut buffer[LENGTH..]) => match count? {
                0 => return far.shutdown().await,
                count => count,
            },
            _ = alive.tick() => 0,
        };
        let len = u32::try_from(count).unwrap_or_default();
        buffer[..LENGTH].copy_from_slice(&len.to_le_bytes());
        far.write_all(&buffer[..LENGTH + count]).await?;
        far.flush().await?;
    }
}

async fn homeward<F>(mut far: F, mut local: OwnedWriteHalf, silence: Duration) -> io::Result<()>
where
    F: AsyncRead + Unpin,
{
    let mut buffer = Vec::new();
    let mut gone = false;
    while let Some(chunk) = next_chunk(&mut far, silence, &mut buffer).await? {
        // A node that is gone gets nothing more; what it said last is still on its way out.
        gone = gone || local.write_all(chunk).await.is_err();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_greeting_is_read_as_it_was_sent_and_a_long_one_is_refused() {
        let (mut a, mut b) = tokio::io::duplex(2 * MAX_GREETING);
        let request = Request {
            version: VERSION,
            instance: "s.n.0".to_owned(),
            port: "out".to_owned(),
        };
        send(&mut a, &request).await.unwrap();
        assert_eq!(receive::<Request>(&mut b).await.unwrap(), request);
        let long = Answer {
            refusal: "x".repeat(MAX_GREETING),
        };
        assert!(send(&mut a, &long).await.is_err());
        a.write_all(&[0xff, 0xff]).await.unwrap();
        let error = receive::<Answer>(&mut b).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        a.write_all(&[2, 0, 0xff, 0xff]).await.unwrap();
        assert!(receive::<Answer>(&mut b).await.is_err());
    }

    #[tokio::test]
    async fn bytes_go_through_both_ways_and_the_end_too() {
        let (near, here) = UnixStream::pair().unwrap();
        let (there, end) = UnixStream::pair().unwrap();
        let (left, right) = tokio::io::duplex(1000);
        let first = tokio::spawn(carry(here, left, SILENCE));
        let second = tokio::spawn(carry(there, right, SILENCE));
        let (mut near_in, mut near_out) = near.into_split();
        let (mut end_in, mut end_out) = end.into_split();
        let data: Vec<u8> = (0..300_000_u32).map(|n| n as u8).collect();
        let sent = data.clone();
        let writing =
            tokio::spawn(async move { near_out.write_all(&sent).await.map(|()| near_out) });
        let mut got = vec![0; data.len()];
        end_in.read_exact(&mut got).await.unwrap();
        assert!(got == data);
        end_out.write_all(b"answer").await.unwrap();
        let mut answer = [0; 6];
        near_in.read_exact(&mut answer).await.unwrap();
        drop((writing.await.unwrap().unwrap(), near_in));
        assert_eq!(end_in.read(&mut got).await.unwrap(), 0);
        first.await.unwrap().unwrap();
        drop((end_in, end_out));
        let _ = second.await.unwrap();
    }

    #[tokio::test]
    async fn what_a_node_says_last_arrives_although_it_reads_no_more() {
        for _ in 0..50 {
            let (near, here) = UnixStream::pair().unwrap();
            let (there, mut end) = UnixStream::pair().unwrap();
            let (left, right) = tokio::io::duplex(1000);
            let first = tokio::spawn(carry(here, left, SILENCE));
            let second = tokio::spawn(carry(there, right, SILENCE));
            // The other side floods it meanwhile.
            end.write_all(&[7; 100_000]).await.unwrap();
            let mut near = near;
            near.write_all(b"farewell").await.unwrap();
            drop(near);
            // Then comes the end, or a reset because of what nobody reads any more.
            let mut said = [0; 8];
            end.read_exact(&mut said).await.unwrap();
            assert_eq!(&said, b"farewell");
            assert_eq!(end.read(&mut said).await.unwrap_or(0), 0);
            drop(end);
            // What nobody reads may end in the middle of a chunk.
            let _ = (first.await.unwrap(), second.await.unwrap());
        }
    }

    #[tokio::test]
    async fn a_silent_side_is_given_up_and_a_living_one_is_not() {
        let (_near, here) = UnixStream::pair().unwrap();
        let (far, mut other) = tokio::io::duplex(1000);
        let silence = Duration::from_millis(400);
        let carried = tokio::spawn(carry(here, far, silence));
        for _ in 0..10 {
            other.write_all(&[0; LENGTH]).await.unwrap();
            tokio::time::sleep(silence / 8).await;
            assert!(!carried.is_finished());
        }
        let error = carried.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_chunks_or_an_error(bytes in proptest::collection::vec(0_u8..4, 0..200)) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let mut from = &bytes[..];
                let mut buffer = Vec::new();
                let mut total = 0;
                while let Ok(Some(chunk)) = next_chunk(&mut from, SILENCE, &mut buffer).await {
                    assert!(!chunk.is_empty());
                    total += LENGTH + chunk.len();
                }
                assert!(total <= bytes.len());
                let _ = receive::<Request>(&mut &bytes[..]).await;
            });
        }
    }

    #[tokio::test]
    async fn a_chunk_over_the_limit_ends_the_link() {
        let (_near, here) = UnixStream::pair().unwrap();
        let (far, mut other) = tokio::io::duplex(1000);
        other.write_all(&u32::MAX.to_le_bytes()).await.unwrap();
        let error = carry(here, far, SILENCE).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}
