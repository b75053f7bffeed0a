//! Several workers, of which one owns each flow: packets go to it, and the flow to where its packets come.

mod between;
mod lab;
mod moving;
mod split;
mod stopping;
mod threads;

pub(super) use lab::next;
