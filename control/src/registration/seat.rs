//! The seat of a registrar among those of its side: it leads, or follows who does.

use super::core::Core;
use super::etcd::{Etcd, LOOK, Leader, Leading, Standing, Term};
use super::store::etcd::EtcdStore;
use std::sync::Arc;
use zeroize::Zeroizing;

/// What is known of who leads.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Seat {
    /// This registrar leads its side, or is the only one.
    Leads,
    /// It does not; who does, if somebody is known to.
    Follows(Option<Leader>),
}

/// Tries to lead, leads, and follows again, as long as the program runs.
pub async fn run(core: Arc<Core>, etcd: Arc<Etcd>, key: Zeroizing<[u8; 32]>) {
    let mut silent = false;
    loop {
        match etcd.campaign().await {
            Ok(Standing::Leads(term)) => {
                silent = false;
                lead(&core, &etcd, term, &key).await;
            }
            Ok(Standing::Follows(leader)) => {
                silent = false;
                core.follow(leader);
            }
            Err(error) => {
                core.follow(None);
                if !silent {
                    tracing::error!(
                        error = format!("{error:#}"),
                        "etcd does not answer; nobody can lead; trying again"
                    );
                }
                silent = true;
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Until the term is over.
async fn lead(core: &Arc<Core>, etcd: &Arc<Etcd>, term: Arc<Term>, key: &Zeroizing<[u8; 32]>) {
    let (place, key) = (Leading { etcd: Arc::clone(etcd), term: Arc::clone(&term) }, key.clone());
    // It waits for etcd: not in the way of others.
    let opened = tokio::task::spawn_blocking(move || EtcdStore::open(place, &key)).await;
    let began = match opened {
        Ok(Ok(store)) => core.lead(Arc::new(store)),
        Ok(Err(error)) => Err(error.into()),
        Err(error) => Err(error.into()),
    };
    match began {
        Ok(()) => {
            while term.holds() && core.leads() {
                tokio::time::sleep(LOOK / 5).await;
            }
            core.follow(None);
        }
        Err(error) => tracing::error!(error = format!("{error:#}"), "this registrar cannot lead"),
    }
    etcd.resign(&term).await;
}
