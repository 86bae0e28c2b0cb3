//! Turns that can be paused in their midst: those that run scripts.
//!
//! Such a turn runs on a stack of its own. A script over its time switches back from it now and then; the task then lets the worker's
//! other connections and links have their turns (they hear BUSY, and can end the script) and switches to it again. Turns that end
//! before that, nearly all, cost two switches and nothing else, as stack and buffers are kept.

use crate::worker::{OwnStack, Scratch, Worker};
use corosensei::{Coroutine, CoroutineResult, Yielder};
use std::mem::ManuallyDrop;
use std::rc::Rc;

/// Does `work`, which is given buffers, and what it may call to let others have their turns.
pub async fn run<R: 'static>(
    worker: Rc<Worker>,
    work: impl FnOnce(&mut Scratch, &dyn Fn()) -> R + 'static,
) -> R {
    let OwnStack { stack, mut scratch } = worker.take_stack();
    let body = move |yielder: &Yielder<(), ()>, ()| {
        let result = work(&mut scratch, &|| yielder.suspend(()));
        (scratch, result)
    };
    // A node that ends in the midst of a script leaves it as it is: a stack with frames of C on it cannot be unwound.
    let mut turn = ManuallyDrop::new(Coroutine::with_stack(stack, body));
    loop {
        match turn.resume(()) {
            CoroutineResult::Yield(()) => tokio::task::yield_now().await,
            CoroutineResult::Return((scratch, result)) => {
                let stack = ManuallyDrop::into_inner(turn).into_stack();
                worker.give_back(OwnStack { stack, scratch });
                return result;
            }
        }
    }
}
