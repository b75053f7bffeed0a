//! Every order in which two workers may take packets into account.

use super::*;
use loom::sync::Arc;

/// One worker takes a late packet of the generation before last into account while another admits a new one into its
/// space. The new number space must be the new generation's.
#[test]
fn loom_a_late_packet_does_not_spoil_a_new_space() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(2);
    model.check(|| {
        let state = Arc::new(ReceiverState::default());
        let [g5, g6, g7] = [5, 6, 7].map(|g| SecretId::new(1, g));
        state.accept(g5, 1000, 100);
        state.accept(g6, 0, 200);
        let other = Arc::clone(&state);
        let late = loom::thread::spawn(move || other.accept(g5, 1000, 101));
        state.accept(g7, 0, 300);
        late.join().expect("no panic");
        let next = state.accept(g7, 0, 301);
        assert!(matches!(next, Verdict::Fresh { .. }), "{next:?} at {:?}", state.current());
    });
}
