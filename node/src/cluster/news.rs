//! Applies here what operators change at other nodes: credentials, profiles, object models; and gives up what other nodes have
//! claimed, should they not have been able to say so.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use crate::{
    clock,
    endpoint::{Service, ShardMessage, handle::Endpoints},
    models::Models,
    store::{Changed, Changes, Cursor, DocumentKey},
};

/// How often the store is asked: a revocation counts within a second on every node.
const PAUSE: Duration = Duration::from_millis(400);
/// How often it is asked for word from nodes that no link leads to. Until it comes, the fence keeps what was claimed safe.
const WORD_PAUSE: Duration = Duration::from_secs(1);

/// Follows the store's stream of changes.
pub struct News {
    service: Service,
    models: Arc<Models>,
}

impl News {
    /// For these endpoints.
    #[must_use]
    pub fn new(service: Service, models: Arc<Models>) -> Self {
        Self { service, models }
    }

    /// Follows the stream for as long as the node lives.
    pub async fn run(self) {
        let (mut cursor, mut asked) = (None, None::<Instant>);
        loop {
            let now = clock::now();
            if asked.is_none_or(|asked| now.duration_since(asked) >= WORD_PAUSE) {
                asked = Some(now);
                self.give_up().await;
            }
            match self.turn(cursor.clone()).await {
                Some(next) => cursor = Some(next),
                None => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    /// Gives up what was claimed from here while no link led here: a write of it is refused, and it stops. One that has come
    /// back since is given up as well, to be claimed with its next packet.
    async fn give_up(&self) {
        let process = self.service.process();
        for device in process.store.told(&process.owner).await.unwrap_or_default() {
            if let Some(holder) = process.directory.find(device) {
                // Nobody waits for its end.
                let (done, _) = oneshot::channel();
                process.inboxes.of(holder).push(ShardMessage::Release { device, done });
            }
        }
    }

    /// Applies the next part; where the stream goes on, if there may be more at once.
    async fn turn(&self, after: Option<Cursor>) -> Option<Cursor> {
        let Changes { cursor, changes, gap } = match self.service.process().store.changes(after.clone()).await
        {
            Ok(next) => next,
            Err(error) => {
                tracing::debug!(%error, "changes of other nodes could not be read");
                return None;
            }
        };
        if gap {
            self.read_anew().await;
        }
        let mut models = false;
        for change in changes {
            match change {
                Changed::Device(device) => self.device(device).await,
                Changed::Document(DocumentKey::Profile(name)) => self.service.profile_changed(&name).await,
                Changed::Document(DocumentKey::Model { .. }) => models = true,
            }
        }
        if models {
            self.read_models().await;
        }
        cursor.filter(|next| after.as_ref() != Some(next))
    }

    /// A device that is not live here is read anew when it is activated.
    async fn device(&self, device: crate::identity::DeviceId) {
        if self.service.process().directory.find(device).is_some() {
            self.service.device_changed(device).await;
        }
    }

    async fn read_models(&self) {
        match self.models.reload(&*self.service.process().store).await {
            Ok(()) => self.service.models_changed().await,
            Err(error) => tracing::warn!(%error, "changed object models could not be read"),
        }
    }

    /// Some changes are forgotten: everything that is live is compared with the store.
    async fn read_anew(&self) {
        tracing::info!("changes of other nodes were missed: what is live is read anew");
        for profile in self.service.process().profiles.names() {
            self.service.profile_changed(&profile).await;
        }
        self.read_models().await;
        for device in self.service.process().directory.devices() {
            self.service.device_changed(device).await;
        }
    }
}
