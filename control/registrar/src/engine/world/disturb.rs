//! What may happen to a world: kills, lost links, machines that are gone or cloned, stores that are lost or set back.

use super::{BoxState, MS, Values, World};

/// Kinds of [`World::disturb`].
pub const KINDS: u64 = 18;

impl World {
    /// A process that has noticed that it was resumed or cloned, or another one in its place.
    pub fn becomes_new(&mut self, i: usize) {
        let process = self.new_process();
        let b = &mut self.boxes[i];
        (b.instance, b.process, b.token, b.keys) = (process, process, None, None);
    }

    /// Its machine is gone, and says nothing any more: to the registrar it is still connected.
    pub fn vanish(&mut self, i: usize) {
        self.boxes[i].session = None;
    }

    /// One more process under the name of that box, with what a snapshot has. It is another one in the audit.
    pub fn resume(&mut self, snapshot: &BoxState) -> usize {
        let process = self.new_process();
        self.boxes.push(BoxState { process, session: None, second: true, ..snapshot.clone() });
        self.boxes.len() - 1
    }

    /// A registrar's store is set back to this, and the registrar starts with it.
    pub fn set_back(&mut self, side: usize, store: &Values) {
        self.stores[side] = store.clone();
        self.restart_registrar(side);
    }

    /// Something happens, of [`KINDS`] kinds, mostly to box `i`.
    pub fn disturb(&mut self, kind: u8, i: usize) {
        let (i, side) = (i % self.boxes.len(), i % 2);
        match kind {
            11 => self.backups[side].push(self.stores[side].clone()),
            // A store is set back, to any of its copies; or both, to times of their own.
            12 | 13 => {
                for side in if kind == 12 { side..side + 1 } else { 0..2 } {
                    let backups = &self.backups[side];
                    if let Some(store) = backups.get(i % backups.len().max(1)).cloned() {
                        self.set_back(side, &store);
                    }
                }
            }
            14 => self.dies[side] = true,
            15 => {
                self.vanish(i);
                self.becomes_new(i);
            }
            // A machine is cloned: the clone notices, and asks for the place.
            16 if self.boxes.len() < 8 => {
                let clone = self.resume(&self.boxes[i].clone());
                self.becomes_new(clone);
                let _ = self.connect(clone); // or not
            }
            0 => self.set_link(false),
            1 | 2 => self.set_link(true),
            3 => self.restart_box(i),
            4 => self.disconnect(i),
            5 | 6 => self.connect_all(),
            7 => self.restart_registrar(side),
            8 => self.fault = Some(i / 2 % 2 == 0),
            9 => {
                let effects = self.engines[side].rotate(self.now);
                self.apply(side, effects);
            }
            10 => {
                // A registrar whose store is lost.
                self.stores[side].clear();
                self.restart_registrar(side);
            }
            _ => {
                if !self.mute.remove(&i) {
                    self.mute.insert(i);
                }
            }
        }
    }

    /// All is mended: what can be in touch is, for as long as it takes.
    pub fn come_to_rest(&mut self) {
        self.mute.clear();
        self.dies = [false; 2];
        for i in 0..self.boxes.len() {
            if self.boxes[i].second {
                self.disconnect(i);
            }
        }
        // Of two that are one, one is left.
        self.boxes.retain(|b| !b.second);
        self.set_link(true);
        for _ in 0..3 {
            self.connect_all();
            self.run(15_000 * MS);
        }
    }
}
