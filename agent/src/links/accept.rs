//! Takes connections and serves each in a task of its own, up to a limit. Knows nothing of links.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    sync::Semaphore,
    task::JoinSet,
    time::sleep,
};

/// Pause after a failed accept, out of descriptors for example.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Where connections come from.
pub(super) trait Listen {
    /// A connection.
    type Connection;
    /// The next one.
    fn next(&self) -> impl Future<Output = io::Result<Self::Connection>> + Send;
}

impl Listen for TcpListener {
    type Connection = (TcpStream, SocketAddr);

    async fn next(&self) -> io::Result<Self::Connection> {
        self.accept().await
    }
}

impl Listen for UnixListener {
    type Connection = UnixStream;

    async fn next(&self) -> io::Result<UnixStream> {
        Ok(self.accept().await?.0)
    }
}

/// Serves until it is dropped, and with it everything that is served. What comes beyond the limit is
/// closed at once. `what` is for the log: `a consumer`.
pub(super) async fn each<L, S>(
    what: &'static str,
    limit: usize,
    listener: L,
    serve: impl Fn(L::Connection) -> S,
) where
    L: Listen,
    S: Future<Output = ()> + Send + 'static,
{
    let slots = Arc::new(Semaphore::new(limit));
    let mut served = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.next() => accepted,
            Some(_) = served.join_next() => continue,
        };
        match (accepted, Arc::clone(&slots).try_acquire_owned()) {
            (Ok(connection), Ok(slot)) => {
                let serving = serve(connection);
                served.spawn(async move {
                    serving.await;
                    drop(slot);
                });
            }
            (Ok(_), Err(_)) => tracing::warn!(what, limit, "too many at once; one was refused"),
            (Err(error), _) => {
                tracing::warn!(what, %error, "it can't be accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
