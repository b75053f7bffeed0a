//! Several workers, of which one owns each flow: packets go to it, and the flow to where its packets come.

mod lab;
mod moving;
mod stopping;
mod threads;
