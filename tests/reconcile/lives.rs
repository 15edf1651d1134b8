//! Operators that die, one after another, until one of them is done.

use super::calls::Fault;
use super::world::World;

/// Starts operator after operator; `faults` says what happens to the calls of each, the last one being the end of it.
pub async fn lives(world: &World, faults: impl Fn(usize) -> Vec<(usize, Fault)>) {
    let mut lives = 0;
    loop {
        for (k, fault) in faults(lives) {
            world.calls.fail(k, fault);
        }
        let operator = world.operator();
        let ready = world.until_condition("Ready", "True");
        tokio::select! {
            () = world.calls.cut() => {}
            () = ready => break,
        }
        drop(operator);
        lives += 1;
        assert!(lives < 300, "it writes for ever: {:#?}", world.calls);
    }
    assert!(lives > 10, "{lives} lives");
    let pd = world.pd.lock().unwrap();
    assert!(pd.evicting.is_empty(), "left behind: {:?}", pd.evicting);
    assert_eq!(pd.maintenance, None);
    assert_eq!(pd.down_time, "30m0s");
}
