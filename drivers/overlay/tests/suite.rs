//! The overlay driver keeps the contract of `snapshot`.

#[test]
fn overlay_passes_the_suite() {
    snapshot::suite::run("overlay", |root| Box::new(overlay::Snapshotter::open(root).unwrap()));
}
