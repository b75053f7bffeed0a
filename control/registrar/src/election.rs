//! How a registrar comes to lead its side and ceases to, when several are on one etcd.

use crate::core::Core;
use crate::etcd_client::{Etcd, LOOK, Leading, Standing, Term};
use crate::store::in_etcd::EtcdStore;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use zeroize::Zeroizing;

/// A registrar that cannot read what is kept leaves the lead to others for so long.
const BARRED: Duration = Duration::from_secs(5);
/// That etcd is of no use is said so often.
const SAY: Duration = Duration::from_secs(10);

/// Tries to lead, leads, and follows again, until it is told to stop: then it lets another lead at once.
pub async fn run(core: Arc<Core>, etcd: Arc<Etcd>, key: Zeroizing<[u8; 32]>, mut stop: watch::Receiver<bool>) {
    let (mut said, mut barred): (Option<Instant>, Option<Instant>) = (None, None);
    while !*stop.borrow() {
        let standing = if barred.is_some_and(|since| since.elapsed() < BARRED) {
            etcd.look().await
        } else {
            etcd.campaign().await
        };
        match standing {
            Ok(Standing::Leads(term)) => {
                said = None;
                barred = (!lead(&core, &etcd, term, &key, &stop).await).then(Instant::now);
            }
            Ok(Standing::Follows(leader)) => {
                said = None;
                core.follow(leader);
            }
            Err(error) => {
                core.follow(None);
                if said.is_none_or(|at| at.elapsed() > SAY) {
                    tracing::error!(
                        error = format!("{error:#}"),
                        "etcd does not answer, or not as it should; nobody can lead; trying again"
                    );
                    said = Some(Instant::now());
                }
            }
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

/// Until the term is over, or it is told to stop. `false`: what is kept cannot be read, and trying again at once is of no
/// use.
async fn lead(
    core: &Arc<Core>,
    etcd: &Arc<Etcd>,
    term: Arc<Term>,
    key: &Zeroizing<[u8; 32]>,
    stop: &watch::Receiver<bool>,
) -> bool {
    let (place, key) = (Leading { etcd: Arc::clone(etcd), term: Arc::clone(&term) }, key.clone());
    // It waits for etcd: not in the way of others.
    let opened = tokio::task::spawn_blocking(move || EtcdStore::open(place, &key)).await;
    let began = match opened {
        Ok(Ok(store)) => core.lead(Arc::new(store)),
        Ok(Err(error)) => Err(error.into()),
        Err(error) => Err(error.into()),
    };
    let readable = match began {
        Ok(()) => {
            while term.holds() && core.leads() && !*stop.borrow() {
                tokio::time::sleep(LOOK / 5).await;
            }
            core.follow(None);
            true
        }
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "this registrar cannot lead");
            // Otherwise etcd was gone meanwhile.
            !term.holds()
        }
    };
    etcd.resign(&term).await;
    readable
}
