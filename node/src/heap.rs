//! How much heap is in use.
//!
//! What the kernel calls resident also holds what the allocator sets aside and has yet to give back, which says little of
//! what a program keeps. [`Counted`] adds up what was asked for and not freed.
//!
//! Each of the first threads has a cell of its own, which it alone writes, so that counting is a load and a store without
//! a lock; later ones share a cell. What one thread allocates and another frees makes a cell negative: only the sum says
//! anything.
#![allow(unsafe_code)]

use std::{
    alloc::{GlobalAlloc, Layout},
    cell::Cell,
    sync::atomic::{AtomicIsize, AtomicUsize, Ordering},
};

/// Threads with a cell of their own. A node has its shards, a store's writer and a few helpers.
const OWN: usize = 63;

/// Wide enough that no two threads write to one cache line, or to two that the processor fetches together.
#[repr(align(128))]
struct Sum(AtomicIsize);

static SUMS: [Sum; OWN + 1] = [const { Sum(AtomicIsize::new(0)) }; OWN + 1];
static THREADS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// Without a destructor, so that it may be used as long as its thread allocates.
    static CELL: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// Bytes of heap in use, as they were asked for; 0 where [`Counted`] is not the process's allocator. Others that allocate
/// meanwhile are counted or not.
#[must_use]
pub fn in_use() -> u64 {
    let sum: isize = SUMS.iter().map(|sum| sum.0.load(Ordering::Relaxed)).sum();
    u64::try_from(sum).unwrap_or(0)
}

fn count(bytes: isize) {
    let cell = CELL.get();
    if cell < OWN {
        let sum = &SUMS[cell].0;
        sum.store(sum.load(Ordering::Relaxed).wrapping_add(bytes), Ordering::Relaxed);
    } else {
        count_elsewhere(cell, bytes);
    }
}

/// The first time of a thread, or one of many threads.
#[cold]
fn count_elsewhere(cell: usize, bytes: isize) {
    if cell == OWN {
        SUMS[OWN].0.fetch_add(bytes, Ordering::Relaxed);
    } else {
        CELL.set(THREADS.fetch_add(1, Ordering::Relaxed).min(OWN));
        count(bytes);
    }
}

/// An allocator that counts what is in use, for [`in_use`].
#[derive(Debug)]
pub struct Counted<A>(
    /// The allocator that does the work.
    pub A,
);

// SAFETY: every call goes to the inner allocator as it came, and counting touches no heap.
unsafe impl<A: GlobalAlloc> GlobalAlloc for Counted<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller promised.
        let at = unsafe { self.0.alloc(layout) };
        if !at.is_null() {
            count(layout.size().cast_signed());
        }
        at
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller promised.
        let at = unsafe { self.0.alloc_zeroed(layout) };
        if !at.is_null() {
            count(layout.size().cast_signed());
        }
        at
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as the caller promised.
        unsafe { self.0.dealloc(at, layout) };
        count(-layout.size().cast_signed());
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as the caller promised.
        let moved = unsafe { self.0.realloc(at, layout, size) };
        if !moved.is_null() {
            count(size.cast_signed() - layout.size().cast_signed());
        }
        moved
    }
}

#[cfg(test)]
mod tests {
    use std::alloc::System;

    use super::*;

    fn live<R>(work: impl FnOnce() -> R) -> (isize, R) {
        let sum = || SUMS.iter().map(|sum| sum.0.load(Ordering::Relaxed)).sum::<isize>();
        let before = sum();
        let result = work();
        (sum() - before, result)
    }

    /// One test, as the sums are the process's.
    #[test]
    fn what_is_allocated_counts_until_it_is_freed_by_whatever_thread() {
        let allocator = Counted(System);
        let layout = Layout::from_size_align(100, 8).unwrap();
        // SAFETY: a layout of some bytes, freed once with the size that it has by then.
        unsafe {
            let (grown, at) = live(|| allocator.alloc(layout));
            assert_eq!(grown, 100);
            let (grown, at) = live(|| allocator.realloc(at, layout, 300));
            assert_eq!(grown, 200);
            let (shrunk, at) = live(|| allocator.realloc(at, Layout::from_size_align(300, 8).unwrap(), 50));
            assert_eq!(shrunk, -250);
            let address = at as usize;
            let (freed, ()) = live(|| {
                let layout = Layout::from_size_align(50, 8).unwrap();
                let free = move || Counted(System).dealloc(address as *mut u8, layout);
                std::thread::spawn(free).join().unwrap();
            });
            assert_eq!(freed, -50);
            let (zeroed, at) = live(|| allocator.alloc_zeroed(layout));
            assert_eq!((zeroed, *at), (100, 0));
            allocator.dealloc(at, layout);
        }
        // More threads than cells.
        let (sum, ()) = live(|| {
            let threads: Vec<_> = (0..OWN + 20)
                .map(|_| {
                    std::thread::spawn(move || {
                        // SAFETY: as above.
                        unsafe { Counted(System).dealloc(Counted(System).alloc(layout), layout) };
                        unsafe { Counted(System).alloc(layout) as usize }
                    })
                })
                .collect();
            for thread in threads {
                let at = thread.join().unwrap();
                // SAFETY: allocated by that thread, with this layout.
                unsafe { allocator.dealloc(at as *mut u8, layout) };
            }
        });
        assert_eq!(sum, 0);
    }
}
