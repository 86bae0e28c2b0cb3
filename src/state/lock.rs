//! The lock of a partition.
//!
//! It is taken and left for every command, twice where requests are looked at ahead, and hardly ever found taken. So it is
//! made for that: a flag, raised by one exchange and lowered by a plain store. A general mutex looks at its flag when it is left,
//! for somebody who sleeps, with a second exchange that costs as much as the first, 18 cycles. Who waits here (housekeeping,
//! the running script, ...) tries again, less and less often.
//!
//! Invariant: who has a [`Guard`] is alone.

use std::cell::UnsafeCell;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Attempts of one who waits before others get the processor in between.
const SPINS: u32 = 100;
/// Attempts after which it sleeps in between.
const YIELDS: u32 = 200;
/// How long it sleeps.
const NAP: Duration = Duration::from_micros(50);

/// Something that one thread at a time may work with.
pub struct Lock<T> {
    taken: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: the value is reached through a guard alone, of which there is one at a time; so sharing the lock is no more than sending
// the value from thread to thread.
unsafe impl<T: Send> Sync for Lock<T> {}

/// The right to work with what a [`Lock`] guards, until it is dropped.
pub struct Guard<'a, T> {
    lock: &'a Lock<T>,
}

// SAFETY: a shared guard gives out shared references to the value and nothing else.
unsafe impl<T: Sync> Sync for Guard<'_, T> {}

impl<T> Lock<T> {
    /// A lock that nobody has taken.
    pub fn new(value: T) -> Lock<T> {
        Lock { taken: AtomicBool::new(false), value: UnsafeCell::new(value) }
    }

    /// Takes the lock unless somebody has it.
    #[inline(always)]
    pub fn try_lock(&self) -> Option<Guard<'_, T>> {
        let is_mine = !self.taken.swap(true, Ordering::Acquire);
        is_mine.then(|| Guard { lock: self })
    }

    /// Takes the lock as soon as nobody has it.
    #[inline]
    pub fn lock(&self) -> Guard<'_, T> {
        self.try_lock().unwrap_or_else(|| self.wait())
    }

    #[cold]
    fn wait(&self) -> Guard<'_, T> {
        let mut attempts = 0;
        loop {
            // A look first: exchanges in vain would keep the line from who has the lock.
            if !self.taken.load(Ordering::Relaxed)
                && let Some(guard) = self.try_lock()
            {
                return guard;
            }
            attempts += 1;
            match attempts {
                ..SPINS => std::hint::spin_loop(),
                SPINS..YIELDS => std::thread::yield_now(),
                YIELDS.. => std::thread::sleep(NAP),
            }
        }
    }
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: the guard is the only one, and is shared.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T> DerefMut for Guard<'_, T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the guard is the only one, and is not shared.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T> Drop for Guard<'_, T> {
    #[inline(always)]
    fn drop(&mut self) {
        self.lock.taken.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time() {
        let lock = Lock::new((0u64, 0u64));
        let each = if cfg!(miri) { 50 } else { 20_000 };
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..each {
                        let mut pair = lock.lock();
                        assert_eq!(pair.0, pair.1);
                        pair.0 += 1;
                        pair.1 += 1;
                    }
                });
            }
        });
        assert_eq!(*lock.lock(), (4 * each, 4 * each));
    }

    #[test]
    fn is_taken_until_the_guard_is_gone() {
        let lock = Lock::new(1);
        let guard = lock.try_lock().expect("nobody has it");
        assert!(lock.try_lock().is_none());
        drop(guard);
        assert_eq!(lock.try_lock().as_deref(), Some(&1));
        let panicked = std::thread::scope(|scope| {
            scope
                .spawn(|| {
                    let _guard = lock.lock();
                    panic!("as a command may");
                })
                .join()
        });
        assert!(panicked.is_err() && lock.try_lock().is_some());
    }
}
