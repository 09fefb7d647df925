//! Telling neighbours of links that have just come, so that they forget who had the addresses before.
//!
//! The first announcement leaves at once, the others at their interval until the endpoint goes. Nobody waits for any of
//! them: a start hands over a descriptor and goes on. Between announcements there is only that descriptor of the
//! container's namespace, which an endpoint that goes gives up at once: a packet socket, which the kernel takes its time
//! to close, would keep the namespace and with it the addresses, and a container that starts again would get others.

use network::{Announcements, EndpointId, Joined, announce};
use std::collections::HashMap;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use stdx::{Context as _, Error, Result};
use sys::netns;
use sys::packet::Frames;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

/// Who is being announced: dropping the sender ends it.
#[derive(Debug, Default)]
pub(super) struct Announcing(Mutex<HashMap<EndpointId, oneshot::Sender<()>>>);

/// What is said of a link, and how often.
#[derive(Debug)]
struct News {
    interface: String,
    mac: [u8; 6],
    frames: Vec<Vec<u8>>,
    how: Announcements,
}

impl Announcing {
    /// Announces a link in the namespace. What has no Ethernet address of its own (ipvlan) or no addresses is not news.
    pub(super) fn begin(
        &self,
        id: EndpointId,
        joined: &Joined,
        netns: BorrowedFd<'_>,
        how: Announcements,
    ) -> Result<()> {
        let Some(mac) = joined.mac.filter(|_| how.count > 0 && !joined.addresses.is_empty()) else {
            return Ok(());
        };
        // Where no runtime drives timers, in tests, nothing is repeated and nothing said.
        let Ok(runtime) = Handle::try_current() else { return Ok(()) };
        let frames = joined.addresses.iter().map(|net| announce::frame(mac, net.addr()));
        let news = News {
            interface: joined.interface.clone(),
            mac: *mac.bytes(),
            frames: frames.collect(),
            how,
        };
        let netns = netns.try_clone_to_owned().context(|| "keep the network namespace")?;
        let (goes_on, ended) = oneshot::channel();
        self.lock().insert(id, goes_on);
        runtime.spawn(async move {
            if let Err(e) = tell(news, netns, ended).await {
                tracing::debug!("announce an endpoint's addresses: {e}");
            }
        });
        Ok(())
    }

    /// The endpoint goes.
    pub(super) fn end(&self, id: &EndpointId) {
        self.lock().remove(id);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<EndpointId, oneshot::Sender<()>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn tell(news: News, netns: OwnedFd, mut ended: oneshot::Receiver<()>) -> Result<()> {
    let (news, netns) = (Arc::new(news), Arc::new(netns));
    for left in (0..news.how.count).rev() {
        let (said, there) = (Arc::clone(&news), Arc::clone(&netns));
        let once = move || {
            let frames = netns::inside(there.as_fd(), Frames::open)
                .and_then(|opened| opened)
                .context(|| "open a packet socket")?;
            // Closed here, where nobody else is waiting.
            said.send(&frames)
        };
        spawn_blocking(once).await.map_err(|e| Error::internal(e.to_string()))??;
        if left > 0 {
            tokio::select! {
                () = sleep(news.how.interval) => {}
                _ = &mut ended => break,
            }
        }
    }
    Ok(())
}

impl News {
    /// Once, unless the link is not what it was: whoever is root in the container may have named it or its address anew.
    fn send(&self, frames: &Frames) -> Result<()> {
        let (index, mac) = frames.link(&self.interface).context(|| "look at the link")?;
        if mac != self.mac {
            return Err(Error::conflict("the link has another Ethernet address now"));
        }
        self.frames
            .iter()
            .try_for_each(|frame| frames.send(index, frame))
            .context(|| "send an announcement")
    }
}
