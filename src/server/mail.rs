//! What others have sent to a connection.

use crate::command::client::Client;
use crate::command::{blocking, error};
use crate::state::State;
use crate::state::clients::{Mail, Unblock};
use crate::state::stats::WorkerStats;
use shoal_protocol::resp::Output;
use std::sync::Arc;

/// Takes the mail out of the inbox and puts pushes behind the replies.
pub(super) fn open(state: &State, stats: &WorkerStats, client: &mut Client, out: &mut Output) {
    // What serving a request that waited has to tell its client comes behind the reply.
    let mut held = Vec::new();
    loop {
        while let Some(mail) = client.shared.receive() {
            match mail {
                Mail::Push(bytes) if client.blocked.is_some() => held.push(bytes),
                Mail::Push(bytes) => out.raw(&bytes),
                Mail::Unblocked { reply, waits } => {
                    out.raw(&reply);
                    client.waits.append(waits);
                    client.commands += 1;
                    blocking::end(state, client);
                    held.drain(..).for_each(|bytes: Arc<[u8]>| out.raw(&bytes));
                }
                Mail::AskAgain => blocking::ask_again(state, client),
                Mail::Unblock(how) => {
                    let blocked =
                        client.blocked.as_ref().map(|blocked| (blocked.nothing, blocked.waiter.row));
                    if let Some((nothing, row)) = blocked
                        && blocking::give_up(state, stats, client)
                    {
                        if how == Unblock::Error {
                            out.error(error::UNBLOCKED.text());
                            state.count_error(stats, error::UNBLOCKED.text());
                            stats.commands[row].rejected.add(1);
                        } else {
                            nothing.reply(out);
                        }
                    }
                }
                Mail::Close => {
                    client.closing = true;
                    client.killed = true;
                }
            }
        }
        // Its request is being served this very moment, which takes microseconds: what that changed is known, the reply is not here.
        if held.is_empty() || !client.blocked.as_ref().is_some_and(|blocked| blocked.waiter.is_begun()) {
            break;
        }
        std::thread::yield_now();
    }
    held.iter().for_each(|bytes| out.raw(bytes));
}
