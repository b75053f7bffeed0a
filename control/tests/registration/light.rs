//! A box that only registers and acknowledges: thousands of them fit into one process. It does not look into what it opens;
//! that others do.

use middlebox::keys::connection::{self, RegistrationSettings};
use registration::net;
use registration::wire::proto::secondary_client::SecondaryClient;
use registration::wire::{Ack, FromNode, Hello, MAX_MESSAGE, from_node};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;

/// What it has been sent.
#[derive(Default)]
pub struct Light {
    pub registrations: AtomicU64,
    /// The generation it seals under.
    pub generation: AtomicU32,
    /// Octets of what it opens.
    pub changes: AtomicU64,
}

/// Registers, again and again.
pub async fn run(settings: RegistrationSettings, light: Arc<Light>) {
    let instance = connection::instance().expect("random numbers");
    loop {
        // A registrar that is busy may be slow to answer; what ended the call does not matter here.
        drop(once(&settings, instance, &light).await);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn once(settings: &RegistrationSettings, instance: [u8; 16], light: &Light) -> anyhow::Result<()> {
    let tls = connection::check(settings)?;
    let connection = net::connect(&tls, None, &settings.registrars[0]).await?;
    let mut client = SecondaryClient::new(connection.channel).max_decoding_message_size(MAX_MESSAGE);
    let (acks, sent) = mpsc::channel(64);
    let (name, id) = (settings.name.clone(), settings.id.to_vec());
    let hello = Hello { name, id, instance: instance.to_vec(), differences: true, ..Hello::default() };
    acks.send(FromNode { message: Some(from_node::Message::Hello(hello)) }).await?;
    let sent = futures_util::stream::unfold(sent, |mut sent| async move { sent.recv().await.map(|m| (m, sent)) });
    let mut incoming = client.register(sent).await?.into_inner();
    light.registrations.fetch_add(1, Ordering::Relaxed);
    while let Some(message) = incoming.message().await? {
        light.changes.fetch_add(message.changes.len() as u64, Ordering::Relaxed);
        if let Some(keys) = message.keys {
            acks.send(FromNode { message: Some(from_node::Message::Ack(Ack { revision: keys.revision })) }).await?;
            light.generation.store(keys.sealing.as_ref().map_or(0, |s| s.generation), Ordering::Relaxed);
        }
    }
    Ok(())
}
