//! Makes the registration service's types from its `.proto`, in Rust alone: no protoc is needed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    const PROTO: &str = "proto/registration.proto";
    println!("cargo::rerun-if-changed={PROTO}");
    let descriptors = protox::compile([PROTO], ["proto"])?;
    tonic_prost_build::configure()
        .build_transport(false)
        // They hold what is not to be shown: Debug is written by hand.
        .skip_debug(
            ["Sealing", "OpeningSecret", "ClientSecret", "Token"].map(|name| format!("pdmv2.registration.v1.{name}")),
        )
        // The same octets for all boxes, without a copy.
        .bytes("pdmv2.registration.v1.ToNode.changes")
        .compile_fds(descriptors)?;
    Ok(())
}
