//! Nothing: this crate is its tests. The harness is `edgeflow-testkit`.
