//! The one EAL that the unit tests share.

use crate::Eal;
use std::sync::OnceLock;

/// With the ports `net_null0` to 4, and `net_ring0` and 1; a test takes those that no other one does.
pub fn eal() -> Eal {
    static EAL: OnceLock<Eal> = OnceLock::new();
    let arguments = "--no-huge -m 64 --no-pci --no-shconf --no-telemetry --iova-mode=va -l 0 --log-level=error \
                     --vdev=net_null0 --vdev=net_null1 --vdev=net_null2 --vdev=net_null3 --vdev=net_null4 \
                     --vdev=net_ring0 --vdev=net_ring1";
    EAL.get_or_init(|| Eal::init(&arguments.split_whitespace().collect::<Vec<_>>()).expect("EAL")).clone()
}
