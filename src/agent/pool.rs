//! The same work for many items, on several threads.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use super::error::StoreError;

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
    let threads = threads.min(items.len());
    if threads <= 1 {
        let mut scratch = scratch();
        return items.iter().try_for_each(|item| work(item, &mut scratch));
    }
    let next = AtomicUsize::new(0);
    let failed = AtomicBool::new(false);
    let first = Mutex::new(None::<(usize, StoreError)>);
    let run = || {
        let mut scratch = scratch();
        while !failed.load(Ordering::Relaxed) {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(at) else {
                return;
            };
            if let Err(error) = work(item, &mut scratch) {
                failed.store(true, Ordering::Relaxed);
                let mut first = first.lock().unwrap_or_else(PoisonError::into_inner);
                if first.as_ref().is_none_or(|(earlier, _)| at < *earlier) {
                    *first = Some((at, error));
                }
            }
        }
    };
    // A thread that panics lets the scope panic too: nothing after this is done then.
    std::thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(run);
        }
        run();
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
