//! bindgen's output.
#![allow(
    missing_docs,
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    dead_code,
    clippy::all,
    clippy::pedantic,
    clippy::undocumented_unsafe_blocks,
    unsafe_op_in_unsafe_fn,
    unnecessary_transmutes,
    reason = "written by bindgen, with the names of C"
)]

include!(concat!(env!("OUT_DIR"), "/bindings.rs"));
