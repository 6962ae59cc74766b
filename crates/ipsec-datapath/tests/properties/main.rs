//! Properties against models and slow second versions that are written here and share nothing with
//! the code under test.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../common/mod.rs"]
mod common;

mod coalesce;
mod replay;
mod robustness;
mod segment;
mod sequence;
mod spd;

use proptest::test_runner::{Config, TestRunner};

/// A runner with the same cases on each machine and no files left behind.
fn runner(cases: u32) -> TestRunner {
    let config = Config {
        cases,
        failure_persistence: None,
        max_shrink_iters: 2_000,
        ..Config::default()
    };
    TestRunner::new(config)
}
