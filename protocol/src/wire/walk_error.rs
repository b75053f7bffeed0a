//! How far a packet's extension headers are walked, and why a packet is left alone.

/// Extension headers that are walked at most.
pub const MAX_HEADERS: usize = 16;

/// Why a packet is left alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum WalkError {
    /// The version is not 6.
    #[error("not an IPv6 packet")]
    NotIpv6,
    /// Payload, headers or ports end behind the frame, the payload or the first segment.
    #[error("the payload, a header or the ports are cut off")]
    Truncated,
    /// More than [`MAX_HEADERS`] extension headers.
    #[error("more than {MAX_HEADERS} extension headers")]
    TooManyHeaders,
    /// Any fragment, atomic fragments included.
    #[error("a fragment")]
    Fragment,
    /// The ICV covers the chain.
    #[error("the packet has an Authentication Header")]
    AuthenticationHeader,
    /// Jumbo Payload (RFC 2675).
    #[error("a jumbogram")]
    Jumbogram,
    /// Neighbor Discovery, its inverse and secure variants.
    #[error("Neighbor Discovery")]
    NeighborDiscovery,
    /// Multicast Listener Discovery and Multicast Router Discovery.
    #[error("Multicast Listener Discovery")]
    Mld,
    /// Options or addresses that contradict their header's length, Hop-by-Hop Options not at the front.
    #[error("an extension header contradicts itself")]
    MalformedHeader,
    /// A PDM option of unknown length or version, or a second one.
    #[error("the PDM option is malformed, or there are two")]
    MalformedOption,
    /// A Routing header of unknown type with segments left: the final destination is not known.
    #[error("unknown Routing header with segments left")]
    UnknownRouting,
}
