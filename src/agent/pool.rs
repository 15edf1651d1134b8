//! The same work for many items, on several threads.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use super::error::StoreError;

/// How many items each thread has begun with before it works on the first of them.
const AHEAD: usize = 32;

/// Does `work` for each of `items` with as many `threads`; each thread has its own `scratch`.
///
/// Guarantees: with one thread nothing is spawned and the items come in order. When it returns, no work is under way.
/// Errors: that of the first item that failed; what was not begun by then is not.
pub fn each<T: Sync, S>(
    threads: usize,
    items: &[T],
    scratch: impl Fn() -> S + Sync,
    work: impl Fn(&T, &mut S) -> Result<(), StoreError> + Sync,
) -> Result<(), StoreError> {
    each_ahead(
        threads,
        items,
        scratch,
        |_| Ok(None::<()>),
        |item, _, scratch| work(item, scratch),
    )
}

/// As [`each`], and each thread lets `begin` run some items ahead of `work`: the device is asked for what many of them
/// need, and none waits for it alone. An item for which `begin` gives `None` is worked on at once.
pub fn each_ahead<T: Sync, B, S>(
    threads: usize,
    items: &[T],
    scratch: impl Fn() -> S + Sync,
    begin: impl Fn(&T) -> Result<Option<B>, StoreError> + Sync,
    work: impl Fn(&T, Option<B>, &mut S) -> Result<(), StoreError> + Sync,
) -> Result<(), StoreError> {
    let next = AtomicUsize::new(0);
    let failed = AtomicBool::new(false);
    let first = Mutex::new(None::<(usize, StoreError)>);
    let fail = |at: usize, error: StoreError| {
        failed.store(true, Ordering::Relaxed);
        let mut first = first.lock().unwrap_or_else(PoisonError::into_inner);
        if first.as_ref().is_none_or(|(earlier, _)| at < *earlier) {
            *first = Some((at, error));
        }
    };
    let one_thread = || {
        let mut scratch = scratch();
        let mut begun = VecDeque::with_capacity(AHEAD);
        while !failed.load(Ordering::Relaxed) {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let ready = match items.get(at).map(|item| (item, begin(item))) {
                Some((item, Ok(Some(what)))) => {
                    begun.push_back((at, item, what));
                    if begun.len() < AHEAD {
                        continue;
                    }
                    None
                }
                Some((item, Ok(None))) => Some((at, item, None)),
                Some((_, Err(error))) => return fail(at, error),
                None => None,
            };
            let oldest = || {
                begun
                    .pop_front()
                    .map(|(at, item, what)| (at, item, Some(what)))
            };
            let Some((at, item, what)) = ready.or_else(oldest) else {
                return;
            };
            if let Err(error) = work(item, what, &mut scratch) {
                return fail(at, error);
            }
        }
    };
    // A thread that panics lets the scope panic too: nothing after this is done then.
    std::thread::scope(|scope| {
        for _ in 1..threads.min(items.len()) {
            scope.spawn(one_thread);
        }
        one_thread();
    });
    match first.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some((_, error)) => Err(error),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::each;
    use crate::agent::error::StoreError;

    #[test]
    fn every_item_is_worked_on_once() {
        for threads in [1, 2, 7, 100] {
            let items: Vec<usize> = (0..50).collect();
            let seen = Mutex::new(Vec::new());
            each(
                threads,
                &items,
                || (),
                |item, ()| {
                    seen.lock().unwrap().push(*item);
                    Ok(())
                },
            )
            .unwrap();
            let mut seen = seen.into_inner().unwrap();
            if threads > 1 {
                seen.sort_unstable();
            }
            assert_eq!(seen, items, "{threads} threads");
        }
    }

    #[test]
    fn an_error_ends_it() {
        for threads in [1, 3] {
            let items: Vec<usize> = (0..1000).collect();
            let result = each(
                threads,
                &items,
                || (),
                |item, ()| match item {
                    10.. => Err(StoreError::Interrupted),
                    _ => Ok(()),
                },
            );
            assert!(matches!(result, Err(StoreError::Interrupted)));
        }
    }
}
