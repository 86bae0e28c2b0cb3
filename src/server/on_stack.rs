//! Turns that can be paused in their midst: those that run scripts.
//!
//! Such a turn runs on a stack of its own. A script over its time switches back from it now and then; the connection's task then lets
//! the worker's other connections have their turns (they hear BUSY, and can end the script) and switches to it again. Turns that end
//! before that, nearly all, cost two switches and nothing else, as stack and buffers are kept.

use super::codec::Turn;
use super::connection::Connection;
use crate::worker::OwnStack;
use corosensei::{Coroutine, CoroutineResult, Yielder};
use std::io;
use std::mem::ManuallyDrop;
use std::rc::Rc;

/// Runs what `connection` has set aside.
pub async fn turn(connection: Box<Connection>) -> (Box<Connection>, io::Result<Turn>) {
    let worker = Rc::clone(connection.worker());
    let OwnStack { stack, mut scratch } = worker.take_stack();
    let body = move |yielder: &Yielder<(), ()>, ()| {
        let mut connection = connection;
        let turn = connection.turn_with_pause(&mut scratch, &|| yielder.suspend(()));
        (connection, scratch, turn)
    };
    // A node that ends in the midst of a script leaves it as it is: a stack with frames of C on it cannot be unwound.
    let mut turn = ManuallyDrop::new(Coroutine::with_stack(stack, body));
    loop {
        match turn.resume(()) {
            CoroutineResult::Yield(()) => tokio::task::yield_now().await,
            CoroutineResult::Return((connection, scratch, result)) => {
                let stack = ManuallyDrop::into_inner(turn).into_stack();
                worker.give_back(OwnStack { stack, scratch });
                return (connection, result);
            }
        }
    }
}
