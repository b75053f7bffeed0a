//! `bench demo`
