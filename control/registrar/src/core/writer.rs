//! The thread that writes what is to be kept, and lets happen what comes after it.

use super::{Core, State};
use crate::engine::Engine;
use crate::store::{Batch, Store, StoreError};
use common::fault;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

/// The pause before a store that refuses is written to again.
const RETRY: Duration = Duration::from_secs(1);

/// Where tests kill it, by what is written.
fn faults(batch: &Batch, when: &str) {
    for kind in ["generation", "sealed"] {
        if batch.iter().any(|(name, _)| name.contains(&format!("/{kind}"))) {
            fault::point(&format!("{when}-{kind}"));
        }
    }
}

/// As a database may panic over what it finds on the disk, and everything waits for this thread.
fn write(store: &dyn Store, batch: &Batch) -> Result<(), StoreError> {
    catch_unwind(AssertUnwindSafe(|| store.write(batch))).unwrap_or_else(|_| {
        Err(StoreError::Io { path: store.name().into(), action: "write", error: "the database has failed".to_owned() })
    })
}

impl State {
    /// Whether this is the store of the present term.
    fn is_of(&self, store: &Arc<dyn Store>) -> bool {
        self.store.as_ref().is_some_and(|own| Arc::ptr_eq(own, store))
    }
}

impl Core {
    /// Writes to the store of a term until that is over, or the program ends.
    pub(super) fn keep(&self, store: &Arc<dyn Store>) {
        let mut state = self.state();
        while state.is_of(store) {
            let Some(batch) = state.keeping.take(Instant::now()) else {
                if state.ends {
                    return;
                }
                state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            drop(state);
            faults(&batch, "write");
            let result = write(&**store, &batch);
            if result.is_ok() {
                faults(&batch, "wrote");
            }
            state = self.state();
            if !state.is_of(store) {
                return;
            }
            state.changed = true;
            match result {
                Ok(()) if store.holds() => self.written(&mut state),
                Ok(()) | Err(StoreError::Deposed) => return self.step_down(&mut state, None),
                Err(error) => {
                    state.keeping.refused(batch, error.to_string(), Instant::now());
                    state.engines.values_mut().for_each(Engine::hold);
                    self.publish(&mut state);
                    let again = |state: &mut State| state.is_of(store) && !state.ends;
                    let waited = self.work.wait_timeout_while(state, RETRY, again);
                    state = waited.unwrap_or_else(PoisonError::into_inner).0;
                    if state.ends {
                        return;
                    }
                }
            }
        }
    }

    fn written(&self, state: &mut State) {
        let (after, was_behind) = state.keeping.written();
        for (peer, action) in after.actions {
            self.perform(state, &peer, action);
        }
        for told in after.told {
            let _ = told.send(()); // it has given up
        }
        if was_behind {
            let now = Instant::now();
            let peers: Vec<_> = state.engines.keys().cloned().collect();
            for peer in peers {
                if let Some(engine) = state.engines.get_mut(&peer) {
                    let effects = engine.resume(now);
                    self.apply(state, &peer, effects, None);
                }
            }
            self.publish(state);
        }
    }

    /// The program ends: what waits for the store is written if that goes at once, and the store is closed. Waits so long at
    /// most.
    pub fn close(&self, limit: Duration) {
        let mut state = self.state();
        state.ends = true;
        self.work.notify_all();
        let waited = self.work.wait_timeout_while(state, limit, |state| state.writers > 0);
        let store = waited.unwrap_or_else(PoisonError::into_inner).0.store.take();
        drop(store);
    }
}
